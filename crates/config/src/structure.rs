//! Readers of the structured lists: `mcu.rooms`, `sip.trunks`, `sip.routes`.

use crate::Secret;
use crate::problem::Wrong;
use crate::read::{self, Wrongs, boolean, collect, list, network, number, refuse, secret, text};
use crate::settings::{RoomField, Route, RouteTarget, StaticRoom, Trunk};
use crate::yaml::{Entry, Node, Value};

/// Reads the rooms: the fields of `create`, by the names that the API gives them.
pub(crate) fn rooms(node: &Node) -> Result<Vec<StaticRoom>, Wrongs> {
    maps(
        node,
        "{room: 1234, description: \"Board\", publishers: 6}",
        |node, fields| {
            let id = fields.required("room", text)?;
            let mut known = vec!["room"];
            let mut settings = Vec::new();
            for (name, kind) in ROOM_FIELDS {
                known.push(name);
                let field = fields.optional(name, |node| room_field(node, *kind))?;
                settings.extend(field.map(|field| (*name, field)));
            }
            fields.nothing_else(node, &known)?;
            Ok(StaticRoom { id, fields: settings })
        },
    )
}

/// What a field of a room is written as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flag,
    Number,
    Text,
    Secret,
    Secrets,
    Codecs(&'static [&'static str]),
}

const AUDIO_CODECS: &[&str] = &[
    "opus",
    "multiopus",
    "isac32",
    "isac16",
    "pcmu",
    "pcma",
    "g722",
    "l16-48",
    "l16",
];
const VIDEO_CODECS: &[&str] = &["vp8", "vp9", "h264", "av1", "h265"];

/// Most codecs of a kind in one room.
const CODECS_MAX: usize = 5;

const ROOM_FIELDS: &[(&str, Kind)] = &[
    ("description", Kind::Text),
    ("publishers", Kind::Number),
    ("bitrate", Kind::Number),
    ("bitrate_cap", Kind::Flag),
    ("fir_freq", Kind::Number),
    ("secret", Kind::Secret),
    ("pin", Kind::Secret),
    ("is_private", Kind::Flag),
    ("allowed", Kind::Secrets),
    ("require_pvtid", Kind::Flag),
    ("signed_tokens", Kind::Flag),
    ("require_e2ee", Kind::Flag),
    ("notify_joining", Kind::Flag),
    ("audiocodec", Kind::Codecs(AUDIO_CODECS)),
    ("videocodec", Kind::Codecs(VIDEO_CODECS)),
    ("vp9_profile", Kind::Text),
    ("h264_profile", Kind::Text),
    ("opus_fec", Kind::Flag),
    ("opus_dtx", Kind::Flag),
    ("audiolevel_ext", Kind::Flag),
    ("audiolevel_event", Kind::Flag),
    ("audio_active_packets", Kind::Number),
    ("audio_level_average", Kind::Number),
    ("videoorient_ext", Kind::Flag),
    ("playoutdelay_ext", Kind::Flag),
    ("transport_wide_cc_ext", Kind::Flag),
    ("record", Kind::Flag),
    ("rec_dir", Kind::Text),
    ("lock_record", Kind::Flag),
    ("dummy_publisher", Kind::Flag),
];

fn room_field(node: &Node, kind: Kind) -> Result<RoomField, Wrongs> {
    match kind {
        Kind::Flag => boolean(node).map(RoomField::Flag),
        Kind::Number => number(node).map(RoomField::Number),
        Kind::Text => text(node).map(RoomField::Text),
        Kind::Secret => secret(node).map(RoomField::Secret),
        Kind::Secrets => list(secret)(node).map(RoomField::Secrets),
        Kind::Codecs(known) => codecs(node, known).map(RoomField::Text),
    }
}

/// Reads names of codecs, in a list or with commas between.
fn codecs(node: &Node, known: &[&str]) -> Result<String, Wrongs> {
    let names = list(text)(node)?;
    if names.is_empty() || names.len() > CODECS_MAX || names.iter().any(|name| !known.contains(&name.as_str())) {
        let text = format!("one to {CODECS_MAX} of {} are expected", known.join(", "));
        return Err(refuse(node, text));
    }
    Ok(names.join(","))
}

pub(crate) fn trunks(node: &Node) -> Result<Vec<Trunk>, Wrongs> {
    maps(
        node,
        "{name: pbx, server: pbx.example.org, allow: [192.0.2.0/24]}",
        |node, fields| {
            let trunk = Trunk {
                name: fields.required("name", text)?,
                server: fields.required("server", text)?,
                proxy: fields.optional("proxy", text)?,
                allow: fields.optional("allow", list(network))?.unwrap_or_default(),
                prefix: fields.optional("prefix", text)?.unwrap_or_default(),
                register: fields.optional("register", credentials)?,
                codecs: fields.optional("codecs", list(text))?.unwrap_or_default(),
                srtp: fields.optional("srtp", boolean)?.unwrap_or(false),
            };
            let known = [
                "name", "server", "proxy", "allow", "prefix", "register", "codecs", "srtp",
            ];
            fields.nothing_else(node, &known)?;
            Ok(trunk)
        },
    )
}

/// Reads `[{match: "100", to: echo}]`, or `100=echo,9*=room:5`.
pub(crate) fn routes(node: &Node) -> Result<Vec<Route>, Wrongs> {
    if let Value::Scalar { .. } = node.value {
        return list(|item: &Node| {
            let pair = item.text().and_then(|text| text.split_once('='));
            let (pattern, to) = pair.ok_or_else(|| refuse(item, "MATCH=TO is expected, such as 100=echo"))?;
            route(item, pattern, to)
        })(node);
    }
    maps(node, "{match: \"100\", to: echo}", |node, fields| {
        let (pattern, to) = (fields.required("match", text)?, fields.required("to", text)?);
        fields.nothing_else(node, &["match", "to"])?;
        route(node, &pattern, &to)
    })
}

fn route(node: &Node, pattern: &str, to: &str) -> Result<Route, Wrongs> {
    let number = pattern.strip_suffix('*').unwrap_or(pattern);
    if number.contains('*') || (number.is_empty() && pattern != "*") {
        return Err(refuse(
            node,
            "`match` is a number, or the beginning of one followed by `*`",
        ));
    }
    let target = match (to, to.split_once(':')) {
        ("echo", _) => Some(RouteTarget::Echo),
        ("handle", _) => Some(RouteTarget::Handle),
        (_, Some(("room", id))) => id.parse().ok().map(RouteTarget::Room),
        (_, Some(("reject", code))) => code
            .parse()
            .ok()
            .filter(|code| (300..700).contains(code))
            .map(RouteTarget::Reject),
        _ => None,
    };
    let to = target.ok_or_else(|| {
        refuse(
            node,
            "`to` is one of echo, room:ID, handle, reject:CODE (CODE 300 to 699)",
        )
    })?;
    Ok(Route {
        pattern: pattern.to_owned(),
        to,
    })
}

fn credentials(node: &Node) -> Result<(String, Secret), Wrongs> {
    let Value::Map(entries) = &node.value else {
        return Err(refuse(node, "{user: NAME, password: SECRET} is expected"));
    };
    let fields = Fields { node, entries };
    let pair = (fields.required("user", text)?, fields.required("password", secret)?);
    fields.nothing_else(node, &["user", "password"])?;
    Ok(pair)
}

fn maps<T>(
    node: &Node,
    example: &str,
    read: impl Fn(&Node, &Fields<'_>) -> Result<T, Wrongs>,
) -> Result<Vec<T>, Wrongs> {
    let Value::List(items) = &node.value else {
        return Err(refuse(node, format!("a list of maps is expected, such as [{example}]")));
    };
    collect(items.iter(), |item: &Node| match &item.value {
        Value::Map(entries) => read(item, &Fields { node: item, entries }),
        _ => Err(refuse(item, format!("a map is expected, such as {example}"))),
    })
}

/// The fields of one map.
struct Fields<'a> {
    node: &'a Node,
    entries: &'a [Entry],
}

impl Fields<'_> {
    fn optional<T>(&self, name: &str, read: impl Fn(&Node) -> Result<T, Wrongs>) -> Result<Option<T>, Wrongs> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.key == name && !entry.node.is_null());
        entry
            .map(|entry| read(&entry.node).map_err(|wrongs| named(name, wrongs)))
            .transpose()
    }

    fn required<T>(&self, name: &str, read: impl Fn(&Node) -> Result<T, Wrongs>) -> Result<T, Wrongs> {
        self.optional(name, read)?
            .ok_or_else(|| read::refuse(self.node, format!("`{name}` is missing")))
    }

    fn nothing_else(&self, node: &Node, known: &[&str]) -> Result<(), Wrongs> {
        let unknown = self.entries.iter().find(|entry| !known.contains(&entry.key.as_str()));
        match unknown {
            None => Ok(()),
            Some(entry) => {
                let text = format!("`{}` is not known here; allowed are {}", entry.key, known.join(", "));
                Err(vec![Wrong {
                    place: entry.place,
                    ..refuse(node, text).remove(0)
                }])
            }
        }
    }
}

fn named(field: &str, wrongs: Wrongs) -> Wrongs {
    let named = |wrong: Wrong| Wrong {
        text: format!("`{field}`: {}", wrong.text),
        ..wrong
    };
    wrongs.into_iter().map(named).collect()
}
