//! Readers: a YAML node becomes a value, or a list of what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use voex_base::Protocol;

use crate::problem::Wrong;
use crate::settings::{External, LogFormat, LogLevel, PasswordAlgorithm, PortRange, Prefix, SipListen, SipTransport};
use crate::yaml::{Entry, Node, Value};
use crate::{EventUrl, RedisTarget, Secret, TokenKey, UserKey};

/// Everything wrong with one value.
pub(crate) type Wrongs = Vec<Wrong>;

pub(crate) fn refuse(node: &Node, text: impl Into<String>) -> Wrongs {
    let value = match &node.value {
        Value::Scalar { text, .. } => text.clone(),
        Value::List(_) => "[..]".to_owned(),
        Value::Map(_) => "{..}".to_owned(),
    };
    vec![Wrong {
        place: node.place,
        value,
        text: text.into(),
    }]
}

/// As [`refuse`], for values that must not be shown.
fn refuse_secret(node: &Node, text: impl Into<String>) -> Wrongs {
    vec![Wrong {
        place: node.place,
        value: String::new(),
        text: text.into(),
    }]
}

pub(crate) fn text(node: &Node) -> Result<String, Wrongs> {
    match node.text() {
        Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(refuse(node, "a text is expected")),
    }
}

pub(crate) fn secret(node: &Node) -> Result<Secret, Wrongs> {
    match node.text() {
        Some(text) if !text.is_empty() => Ok(Secret::new(text)),
        _ => Err(refuse_secret(node, "a secret is expected: one text that is not empty")),
    }
}

pub(crate) fn path(node: &Node) -> Result<PathBuf, Wrongs> {
    text(node)
        .map(PathBuf::from)
        .map_err(|_| refuse(node, "the path of a file is expected"))
}

/// YAML 1.1 booleans, as administrators write them.
pub(crate) fn boolean(node: &Node) -> Result<bool, Wrongs> {
    match node.text().map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "yes" | "on" | "y" | "1") => Ok(true),
        Some("false" | "no" | "off" | "n" | "0") => Ok(false),
        _ => Err(refuse(
            node,
            "true or false is expected (yes, no, on, off are taken too)",
        )),
    }
}

pub(crate) fn number(node: &Node) -> Result<u32, Wrongs> {
    parse(node, "a whole number from 0 to 4294967295 is expected")
}

/// Seconds from `MIN` to `MAX`.
pub(crate) fn seconds<const MIN: u32, const MAX: u32>(node: &Node) -> Result<u32, Wrongs> {
    let expected = format!("a number of seconds from {MIN} to {MAX} is expected");
    match parse(node, &expected)? {
        seconds if (MIN..=MAX).contains(&seconds) => Ok(seconds),
        _ => Err(refuse(node, expected)),
    }
}

pub(crate) fn workers(node: &Node) -> Result<u16, Wrongs> {
    const EXPECTED: &str = "a number of threads from 0 to 256 is expected; 0 is one for each core";
    match parse(node, EXPECTED)? {
        count @ 0..=256 => Ok(count),
        _ => Err(refuse(node, EXPECTED)),
    }
}

pub(crate) fn port(node: &Node) -> Result<u16, Wrongs> {
    const EXPECTED: &str = "a port from 1 to 65535 is expected";
    match parse(node, EXPECTED)? {
        0 => Err(refuse(node, EXPECTED)),
        port => Ok(port),
    }
}

pub(crate) fn address(node: &Node) -> Result<IpAddr, Wrongs> {
    parse(node, "an IP address is expected, such as 192.0.2.10 or 2001:db8::10")
}

/// `ADDRESS:PORT`.
pub(crate) fn socket(node: &Node) -> Result<SocketAddr, Wrongs> {
    parse(
        node,
        "an address with a port is expected, such as 127.0.0.1:8188 or [::1]:8188",
    )
}

/// `ADDRESS`, or `ADDRESS:PORT`; the port is 8188 when it is not given.
pub(crate) fn api_socket(node: &Node) -> Result<SocketAddr, Wrongs> {
    match address(node) {
        Ok(address) => Ok(SocketAddr::new(address, 8188)),
        Err(_) => socket(node),
    }
}

/// `ws://HOST` of an event handler.
pub(crate) fn websocket_url(node: &Node) -> Result<EventUrl, Wrongs> {
    let url = EventUrl::parse("ws", node.text().unwrap_or_default().trim());
    url.ok_or_else(|| refuse_secret(node, "ws://HOST:PORT/PATH is expected"))
}

/// `http://HOST` of an event handler.
pub(crate) fn http_url(node: &Node) -> Result<EventUrl, Wrongs> {
    let url = EventUrl::parse("http", node.text().unwrap_or_default().trim());
    url.ok_or_else(|| refuse_secret(node, "http://[USER:PASSWORD@]HOST:PORT/PATH is expected"))
}

/// What an event handler may be told of.
const TOPICS: [&str; 9] = [
    "sessions",
    "handles",
    "external",
    "jsep",
    "webrtc",
    "media",
    "plugins",
    "transports",
    "core",
];

pub(crate) fn topic(node: &Node) -> Result<String, Wrongs> {
    let name = text(node)?.to_ascii_lowercase();
    match TOPICS.contains(&name.as_str()) {
        true => Ok(name),
        false => Err(refuse(node, format!("one of {} is expected", TOPICS.join(", ")))),
    }
}

/// Events that may wait for an event handler.
pub(crate) fn event_queue(node: &Node) -> Result<u32, Wrongs> {
    const EXPECTED: &str = "a number of events from 100 to 1000000 is expected";
    match parse(node, EXPECTED)? {
        events @ 100..=1_000_000 => Ok(events),
        _ => Err(refuse(node, EXPECTED)),
    }
}

/// A network. Host bits may be set (121.21.121.103/21 is 121.21.120.0/21); a bare address is a network of one.
pub(crate) fn network(node: &Node) -> Result<IpNet, Wrongs> {
    let text = node.text().unwrap_or_default().trim();
    let network = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(|network| network.trunc()).ok_or_else(|| {
        refuse(
            node,
            "an address or a network is expected, such as 192.0.2.10 or 192.0.2.0/24",
        )
    })
}

/// `FIRST-LAST`.
pub(crate) fn ports(node: &Node) -> Result<PortRange, Wrongs> {
    let parsed = node.text().and_then(|text| {
        let (first, last) = text.split_once('-')?;
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first > 0 && first <= last).then_some(PortRange { first, last })
    });
    parsed.ok_or_else(|| {
        refuse(
            node,
            "a range of ports is expected, such as 20000-40000, the smaller one first",
        )
    })
}

/// `PUBLIC` or `PUBLIC/PRIVATE`.
pub(crate) fn external(node: &Node) -> Result<External, Wrongs> {
    let text = node.text().unwrap_or_default();
    let (public, private) = match text.split_once('/') {
        None => (text, None),
        Some((public, private)) => (public, Some(private)),
    };
    let parsed = public
        .trim()
        .parse()
        .ok()
        .zip(private.map(|private| private.trim().parse()).transpose().ok());
    parsed
        .map(|(public, private)| External { public, private })
        .ok_or_else(|| {
            refuse(
                node,
                "an address PUBLIC or a pair PUBLIC/PRIVATE is expected, such as 203.0.113.5/10.0.0.5",
            )
        })
}

/// A textual address prefix, or a network.
pub(crate) fn prefix(node: &Node) -> Result<Prefix, Wrongs> {
    let text = node.text().unwrap_or_default().trim();
    if text.contains('/') {
        return network(node).map(Prefix::Network);
    }
    let is_prefix = !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit() || c == '.' || c == ':');
    if is_prefix {
        Ok(Prefix::Text(text.to_ascii_lowercase()))
    } else {
        Err(refuse(
            node,
            "the beginning of an address is expected, such as 172.18.0. (or a network such as 172.18.0.0/16)",
        ))
    }
}

/// `udp:ADDRESS:PORT`.
pub(crate) fn sip_listen(node: &Node) -> Result<SipListen, Wrongs> {
    let parsed = node.text().and_then(|text| {
        let (transport, address) = text.split_once(':')?;
        let transport = match transport.trim() {
            "udp" => SipTransport::Udp,
            "tcp" => SipTransport::Tcp,
            "tls" => SipTransport::Tls,
            _ => return None,
        };
        let address = address.trim().parse().ok()?;
        Some(SipListen { transport, address })
    });
    parsed.ok_or_else(|| {
        refuse(
            node,
            "TRANSPORT:ADDRESS:PORT is expected, such as udp:0.0.0.0:5060 (udp, tcp or tls)",
        )
    })
}

/// coturn's connection string, or a `redis://` URL.
pub(crate) fn redis(node: &Node) -> Result<RedisTarget, Wrongs> {
    let text = node.text().unwrap_or_default();
    RedisTarget::parse(text).map_err(|wrong| refuse_secret(node, wrong))
}

/// What TURN clients may come over; at least one.
pub(crate) fn protocols(node: &Node) -> Result<Vec<Protocol>, Wrongs> {
    let protocol = |item: &Node| {
        let found = Protocol::ALL
            .into_iter()
            .find(|protocol| item.text() == Some(protocol.name()));
        found.ok_or_else(|| refuse(item, "one of udp, tcp, tls, dtls is expected"))
    };
    match list(protocol)(node)? {
        none if none.is_empty() => Err(refuse(
            node,
            "at least one of udp, tcp, tls, dtls is expected; turn.enabled: false switches all off",
        )),
        protocols => Ok(protocols),
    }
}

pub(crate) fn log_level(node: &Node) -> Result<LogLevel, Wrongs> {
    match node.text().map(str::to_ascii_lowercase).as_deref() {
        Some("error") => Ok(LogLevel::Error),
        Some("warn" | "warning") => Ok(LogLevel::Warn),
        Some("info") => Ok(LogLevel::Info),
        Some("debug") => Ok(LogLevel::Debug),
        Some("trace") => Ok(LogLevel::Trace),
        _ => Err(refuse(node, "one of error, warning, info, debug, trace is expected")),
    }
}

pub(crate) fn log_format(node: &Node) -> Result<LogFormat, Wrongs> {
    match node.text() {
        Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        _ => Err(refuse(node, "text or json is expected")),
    }
}

pub(crate) fn password_algorithm(node: &Node) -> Result<PasswordAlgorithm, Wrongs> {
    match node.text().map(str::to_ascii_lowercase).as_deref() {
        Some("md5") => Ok(PasswordAlgorithm::Md5),
        Some("sha256" | "sha-256") => Ok(PasswordAlgorithm::Sha256),
        _ => Err(refuse(node, "md5 or sha256 is expected")),
    }
}

pub(crate) fn project_type(node: &Node) -> Result<(), Wrongs> {
    match node.text() {
        Some("express-voice") => Ok(()),
        _ => Err(refuse(
            node,
            "this file belongs to another product; only express-voice is served",
        )),
    }
}

/// Makes a reader of `Option<T>`.
pub(crate) fn some<T>(read: impl Fn(&Node) -> Result<T, Wrongs>) -> impl Fn(&Node) -> Result<Option<T>, Wrongs> {
    move |node| read(node).map(Some)
}

/// Makes a reader of lists: a YAML list, one value, or values with commas between.
pub(crate) fn list<T>(read: impl Fn(&Node) -> Result<T, Wrongs>) -> impl Fn(&Node) -> Result<Vec<T>, Wrongs> {
    move |node| collect(items(node)?.iter(), &read)
}

/// Reads `{name: secret}`, or `name:secret` with commas between.
pub(crate) fn users(node: &Node) -> Result<Vec<(String, Secret)>, Wrongs> {
    if let Value::Map(entries) = &node.value {
        return collect(entries.iter(), |entry: &Entry| {
            Ok((entry.key.clone(), secret(&entry.node)?))
        });
    }
    collect(items(node)?.iter(), |item: &Node| {
        let pair = item.text().and_then(|text| text.split_once(':'));
        match pair {
            Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                Ok((name.to_owned(), Secret::new(password)))
            }
            _ => Err(refuse_secret(item, "NAME: PASSWORD is expected for each user")),
        }
    })
}

/// Reads `{name: key}`, the key as 32 hexadecimal digits.
pub(crate) fn user_keys(node: &Node) -> Result<Vec<(String, UserKey)>, Wrongs> {
    let keyed = |(name, key): (String, Secret)| match UserKey::parse(key.reveal()) {
        Some(key) => Ok((name, key)),
        None => Err(refuse_secret(
            node,
            format!("the key of {name:?} must be 32 hexadecimal digits: MD5 of NAME:REALM:PASSWORD"),
        )),
    };
    users(node)?.into_iter().map(keyed).collect()
}

/// Reads `{kid: base64 of a key}`.
pub(crate) fn token_keys(node: &Node) -> Result<Vec<(String, TokenKey)>, Wrongs> {
    let keyed = |(kid, key): (String, Secret)| match TokenKey::parse(key.reveal()) {
        Some(key) => Ok((kid, key)),
        None => Err(refuse_secret(
            node,
            format!("the key of {kid:?} must be base64 of 16 bytes (AES-128-GCM) or 32 bytes (AES-256-GCM)"),
        )),
    };
    users(node)?.into_iter().map(keyed).collect()
}

/// Reads `{name: text}`.
pub(crate) fn names(node: &Node) -> Result<Vec<(String, String)>, Wrongs> {
    match &node.value {
        Value::Map(entries) => collect(entries.iter(), |entry: &Entry| {
            Ok((entry.key.clone(), text(&entry.node)?))
        }),
        _ => Err(refuse(node, "a map NAME: TEXT is expected")),
    }
}

/// Takes the password out of `redis_options: {command: [redis-server, --requirepass SECRET]}`: in one item, in two,
/// or with `=` between.
pub(crate) fn requirepass(node: &Node) -> Result<Option<Secret>, Wrongs> {
    let Value::Map(entries) = &node.value else {
        return Err(refuse(node, "a map with a `command` list is expected"));
    };
    let Some(command) = entries.iter().find(|entry| entry.key == "command") else {
        return Ok(None);
    };
    let words = list(|item: &Node| {
        item.text()
            .map(str::to_owned)
            .ok_or_else(|| refuse(item, "a word is expected"))
    })(&command.node)?;
    let joined = words.join(" ").replace("--requirepass=", "--requirepass ");
    let mut words = joined.split_whitespace();
    if words.by_ref().any(|word| word == "--requirepass") {
        return match words.next() {
            Some(password) => Ok(Some(Secret::new(password.trim_matches(['"', '\''])))),
            None => Err(refuse_secret(&command.node, "--requirepass needs a password after it")),
        };
    }
    Ok(None)
}

/// Gives the items of a list, or of a text with commas.
fn items(node: &Node) -> Result<Vec<Node>, Wrongs> {
    match &node.value {
        Value::List(items) => Ok(items.clone()),
        Value::Scalar { text, .. } => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(|part| Node::scalar(node.place, part)).collect())
        }
        Value::Map(_) => Err(refuse(node, "a list is expected: [A, B], or one `- A` a line")),
    }
}

/// Reads every element and keeps going after a wrong one, so that all are reported.
pub(crate) fn collect<'a, N: 'a, T>(
    nodes: impl Iterator<Item = &'a N>,
    read: impl Fn(&N) -> Result<T, Wrongs>,
) -> Result<Vec<T>, Wrongs> {
    let (mut values, mut wrongs) = (Vec::new(), Vec::new());
    for node in nodes {
        match read(node) {
            Ok(value) => values.push(value),
            Err(more) => wrongs.extend(more),
        }
    }
    if wrongs.is_empty() { Ok(values) } else { Err(wrongs) }
}

pub(crate) fn parse<T: std::str::FromStr>(node: &Node, expected: &str) -> Result<T, Wrongs> {
    node.text()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| refuse(node, expected))
}
