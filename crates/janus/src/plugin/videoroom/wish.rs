//! Which streams a subscriber asks for, and where they are in the room.

use serde_json::{Map, Value};

use super::error::{Code, Error};
use super::layers::{LayerWish, check_layers};
use super::publish::{check_objects, objects};
use super::publisher::{PublishedStream, Publisher, StreamKind};
use super::room::Room;
use super::subscriber::{LINES_MAX, Subscriber};
use crate::host::Host;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::{Id, Ids};

const SUBSCRIBE: [Field; 4] = [
    required("feed", Type::Id),
    optional("mid", Type::String),
    optional("crossrefid", Type::String),
    optional("send", Type::Boolean),
];
const UNSUBSCRIBE: [Field; 3] = [
    optional("feed", Type::Id),
    optional("mid", Type::String),
    optional("sub_mid", Type::String),
];
/// Streams that a request asks for.
pub(super) struct Wish {
    feed: Id,
    /// One stream; `None` is every stream of the feed.
    mid: Option<String>,
    crossrefid: Option<String>,
    /// Kinds that are left out, as the old form of `join` says.
    skipped: Vec<StreamKind>,
    /// Kinds that do not flow at first.
    muted: Vec<StreamKind>,
    layers: LayerWish,
}

/// A stream that was found, with how it is wanted.
pub(super) struct Found {
    pub(super) feed: Id,
    e2ee: bool,
    pub(super) stream: PublishedStream,
    pub(super) send: bool,
    pub(super) crossrefid: Option<String>,
    pub(super) layers: LayerWish,
}

impl Room {
    /// Finds the streams of some wishes, for a subscriber that has `lines` m-lines already.
    pub(super) fn find_all(&self, wishes: &[Wish], lines: usize) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for wish in wishes {
            found.extend(self.find(wish)?);
            if lines + found.len() > LINES_MAX {
                return Err(Error::new(Code::Unknown, "Too many streams"));
            }
        }
        Ok(found)
    }

    fn find(&self, wish: &Wish) -> Result<Vec<Found>, Error> {
        let feed = self.publishers.get(&wish.feed).filter(|publisher| publisher.active);
        let feed = feed.ok_or_else(|| Error::no_such_feed(&wish.feed))?;
        let is_wanted = |stream: &&PublishedStream| {
            wish.mid.as_ref().is_none_or(|mid| stream.mid == *mid) && !wish.skipped.contains(&stream.kind)
        };
        let found: Vec<_> = feed
            .enabled_streams()
            .filter(is_wanted)
            .map(|stream| wish.found(feed, stream))
            .collect();
        match &wish.mid {
            Some(mid) if found.is_empty() => {
                let text = format!("No such mid '{mid}' in feed ({})", wish.feed);
                Err(Error::new(Code::NoSuchFeed, text))
            }
            _ => Ok(found),
        }
    }
}

impl Wish {
    fn found(&self, feed: &Publisher, stream: &PublishedStream) -> Found {
        Found {
            feed: feed.id.clone(),
            e2ee: feed.e2ee,
            stream: stream.clone(),
            send: !self.muted.contains(&stream.kind),
            crossrefid: self.crossrefid.clone(),
            layers: self.layers,
        }
    }

    /// Reads an object of `streams`.
    fn of_stream(ids: Ids, stream: &Map<String, Value>) -> Self {
        let muted = match stream.flag("send") {
            Some(false) => vec![StreamKind::Audio, StreamKind::Video, StreamKind::Data],
            _ => Vec::new(),
        };
        Self {
            feed: ids.read_required(stream, "feed"),
            mid: stream.text("mid").map(str::to_owned),
            crossrefid: stream.text("crossrefid").map(str::to_owned),
            skipped: Vec::new(),
            muted,
            layers: LayerWish::of(stream),
        }
    }

    /// Reads the old form of `join`: one feed.
    fn of_feed(feed: Id, body: &Map<String, Value>) -> Self {
        let kinds = [StreamKind::Audio, StreamKind::Video, StreamKind::Data];
        let off = |prefix: &str| -> Vec<_> {
            let is_off = |kind: &StreamKind| body.flag(&format!("{prefix}{}", kind.name())) == Some(false);
            kinds.into_iter().filter(is_off).collect()
        };
        Self {
            feed,
            mid: None,
            crossrefid: None,
            skipped: off("offer_"),
            muted: off(""),
            layers: LayerWish::of(body),
        }
    }
}

impl Subscriber {
    /// Adds streams; true when one was not there before.
    pub(super) fn add_all(&mut self, host: &mut Host, found: Vec<Found>) -> bool {
        let mut is_changed = false;
        for found in found {
            self.e2ee |= found.e2ee;
            is_changed |= self.add(host, found);
        }
        is_changed
    }
}

pub(super) fn join_wishes(ids: Ids, body: &Map<String, Value>) -> Result<Vec<Wish>, Error> {
    check_streams(ids, body, "streams")?;
    check_layers(body)?;
    match (body.list("streams"), ids.read(body, "feed")) {
        (Some(streams), _) if streams.is_empty() => {
            Err(Error::invalid("Invalid element (streams should not be an empty array)"))
        }
        (Some(_), _) => Ok(objects(body, "streams")
            .map(|stream| Wish::of_stream(ids, stream))
            .collect()),
        (None, Some(feed)) => Ok(vec![Wish::of_feed(feed, body)]),
        (None, None) => {
            let text = "At least one between 'streams' and 'feed' must be specified";
            Err(Error::new(Code::MissingElement, text))
        }
    }
}

/// What an update adds, and the objects that say what it removes.
pub(super) type Update<'a> = (Vec<Wish>, Vec<&'a Map<String, Value>>);

/// Reads what `subscribe`, `unsubscribe` or `update` adds and removes.
pub(super) fn update_wishes<'a>(ids: Ids, request: &str, body: &'a Map<String, Value>) -> Result<Update<'a>, Error> {
    let (added, removed) = match request {
        "subscribe" => (Some("streams"), None),
        "unsubscribe" => (None, Some("streams")),
        _ => (Some("subscribe"), Some("unsubscribe")),
    };
    if request != "update" {
        check(body, &[required("streams", Type::Array)])?;
    } else if body.get("subscribe").is_none() && body.get("unsubscribe").is_none() {
        let text = "At least one of either 'subscribe' or 'unsubscribe' must be present";
        return Err(Error::new(Code::MissingElement, text));
    }
    check(
        body,
        &[optional("subscribe", Type::Array), optional("unsubscribe", Type::Array)],
    )?;
    if let Some(name) = added {
        check_streams(ids, body, name)?;
    }
    if let Some(name) = removed {
        check_objects(ids, body, name, &UNSUBSCRIBE)?;
        if objects(body, name).any(|removal| removal.get("feed").is_none() && removal.get("sub_mid").is_none()) {
            let text = "At least one of either 'feed' or 'sub_mid' must be present";
            return Err(Error::new(Code::MissingElement, text));
        }
    }
    let wishes = added
        .into_iter()
        .flat_map(|name| objects(body, name))
        .map(|stream| Wish::of_stream(ids, stream))
        .collect();
    Ok((
        wishes,
        removed.into_iter().flat_map(|name| objects(body, name)).collect(),
    ))
}

fn check_streams(ids: Ids, body: &Map<String, Value>, name: &str) -> Result<(), Error> {
    check_objects(ids, body, name, &SUBSCRIBE)?;
    objects(body, name).try_for_each(check_layers)
}
