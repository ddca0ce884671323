//! Readers of the structured lists: `mcu.rooms`, `sip.trunks`, `sip.routes`.

use crate::Secret;
use crate::problem::Wrong;
use crate::read::{self, Wrongs, boolean, collect, list, network, number, parse, refuse, secret, text};
use crate::settings::{Route, RouteTarget, StaticRoom, Trunk};
use crate::yaml::{Entry, Node, Value};

pub(crate) fn rooms(node: &Node) -> Result<Vec<StaticRoom>, Wrongs> {
    maps(
        node,
        "{id: 1234, description: \"Board\", publishers: 6}",
        |node, fields| {
            let room = StaticRoom {
                id: fields.required("room", positive)?,
                description: fields.optional("description", text)?,
                publishers: fields.optional("publishers", number)?,
                bitrate_bps: fields.optional("bitrate", number)?,
                secret: fields.optional("secret", secret)?,
                pin: fields.optional("pin", secret)?,
                is_private: fields.optional("is_private", boolean)?.unwrap_or(false),
            };
            fields.nothing_else(
                node,
                &[
                    "room",
                    "description",
                    "publishers",
                    "bitrate",
                    "secret",
                    "pin",
                    "is_private",
                ],
            )?;
            Ok(room)
        },
    )
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

fn positive(node: &Node) -> Result<u64, Wrongs> {
    match parse(node, "a positive whole number is expected")? {
        0 => Err(refuse(node, "a positive whole number is expected")),
        number => Ok(number),
    }
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
