//! `switch`: other publishers on the lines of a subscriber, without an offer wherever something flows already.

use serde_json::{Map, Value, json};

use super::VideoRoom;
use super::error::{Code, Error};
use super::layers::{LayerWish, check_layers};
use super::publish::{check_objects, objects};
use super::publisher::{PublishedStream, Publisher};
use super::subscribe::RoomView;
use super::subscriber::{Subscriber, Switched};
use super::tell::tell_subscriber;
use crate::host::{HandleId, Host};
use crate::plugin::Message;
use crate::plugin::fields::{Field, Fields, Type, optional, required};
use crate::plugin::id::{Id, Ids};

const SWITCH: [Field; 5] = [
    optional("streams", Type::Array),
    optional("feed", Type::Id),
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("data", Type::Boolean),
];
const STREAM: [Field; 3] = [
    required("feed", Type::Id),
    required("mid", Type::String),
    required("sub_mid", Type::String),
];

/// A line of the subscriber, the stream that is to flow on it, and the layers of it.
type Change = (usize, Id, PublishedStream, LayerWish);

impl VideoRoom {
    pub(super) fn switch(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        handle: HandleId,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        self.ids.check(body, &SWITCH)?;
        check_objects(self.ids, body, "streams", &STREAM)?;
        check_layers(body)?;
        objects(body, "streams").try_for_each(check_layers)?;
        let ids = self.ids;
        let (view, subscriber) = self.subscriber(room_id, handle)?;
        let changes = changes(ids, view, subscriber, body)?;
        let mut count = 0;
        let mut needs_offer = false;
        for (line, feed, stream, wish) in changes {
            let switched = subscriber.switch(host, line, (&feed, &stream), &wish);
            count += u32::from(switched != Switched::Nothing);
            needs_offer |= switched == Switched::NeedsOffer;
        }
        let waits = host.peer_connection(handle).is_some_and(|pc| pc.awaits_answer);
        subscriber.is_stale |= needs_offer && waits;
        let worker = host.worker_near(view.worker);
        let jsep = (needs_offer && !waits).then(|| subscriber.offer(host, room_id, worker));
        let streams = subscriber.stream_list(view.publishers);
        tell_subscriber(host, room_id, handle, "switched", Some(&streams));
        let event = json!({
            "videoroom": "event", "switched": "ok", "room": room_id, "changes": count, "streams": streams,
        });
        host.push_event(handle, Some(&message.transaction), event, jsep.as_ref());
        Ok(())
    }
}

/// Finds what a request names: every stream, or the feed of the old form, whose streams go to the lines of their kind
/// in order.
fn changes(ids: Ids, view: RoomView, subscriber: &Subscriber, body: &Map<String, Value>) -> Result<Vec<Change>, Error> {
    match (body.list("streams"), ids.read(body, "feed")) {
        (Some(_), _) => objects(body, "streams")
            .map(|wish| change(ids, view, subscriber, wish))
            .collect(),
        (None, Some(feed)) => feed_changes(view, subscriber, &feed, body),
        (None, None) => {
            let text = "At least one between 'streams' and 'feed' must be specified";
            Err(Error::new(Code::MissingElement, text))
        }
    }
}

fn change(ids: Ids, view: RoomView, subscriber: &Subscriber, wish: &Map<String, Value>) -> Result<Change, Error> {
    let publisher = active(view, &ids.read_required(wish, "feed"))?;
    let (mid, sub_mid) = (
        wish.text("mid").unwrap_or_default(),
        wish.text("sub_mid").unwrap_or_default(),
    );
    let no_such = |text: String| Error::new(Code::NoSuchFeed, text);
    let stream = publisher.enabled_stream(mid);
    let stream = stream.ok_or_else(|| no_such(format!("No such mid '{mid}' in feed ({})", publisher.id)))?;
    let line = subscriber.lines.iter().position(|line| line.mid == sub_mid);
    let line = line.ok_or_else(|| no_such(format!("No such mid '{sub_mid}' in subscription")))?;
    Ok((line, publisher.id.clone(), stream.clone(), LayerWish::of(wish)))
}

fn feed_changes(
    view: RoomView,
    subscriber: &Subscriber,
    feed: &Id,
    body: &Map<String, Value>,
) -> Result<Vec<Change>, Error> {
    let publisher = active(view, feed)?;
    let mut left: Vec<_> = publisher
        .enabled_streams()
        .filter(|stream| body.flag(stream.kind.name()) != Some(false))
        .collect();
    let mut changes = Vec::new();
    for (index, line) in subscriber.lines.iter().enumerate() {
        if let Some(position) = left.iter().position(|stream| stream.kind == line.kind) {
            changes.push((index, feed.clone(), left.remove(position).clone(), LayerWish::of(body)));
        }
    }
    Ok(changes)
}

fn active<'a>(view: RoomView<'a>, feed: &Id) -> Result<&'a Publisher, Error> {
    let publisher = view.publishers.get(feed).filter(|publisher| publisher.active);
    publisher.ok_or_else(|| Error::no_such_feed(feed))
}
