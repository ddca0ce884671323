//! What is done with an option: the readers behind the rows of the table.

use ipnet::IpNet;

use super::Outcome;
use super::draft::{Draft, Value};
use super::line::{Line, Lines, switch};
use super::values::{address, endpoint, external, networks, number, port};
use crate::{RedisTarget, UserKey};

/// What became of a line, and how that is said.
pub(super) type Verdict = (Outcome, String);

/// What a reader looks at and writes to.
pub(super) struct Job<'a> {
    pub(super) lines: &'a Lines,
    pub(super) draft: &'a mut Draft,
}

/// What is done with an option.
pub(super) enum Act {
    /// Its value is read; an error makes a gap.
    Read(fn(&mut Job<'_>, &Line) -> Result<Verdict, String>),
    /// A switch is passed on, with the same sense or with the other one.
    Switch(&'static str, Sense),
    /// A switch of which one position has no counterpart.
    Only {
        fits: bool,
        why: &'static str,
        else_gap: &'static str,
    },
    /// It says nothing that is not so here, or nothing that matters.
    Needless(&'static str),
    /// It is obsolete.
    Obsolete,
    /// There is no counterpart.
    Gap(&'static str),
}

/// Whether a switch means the same as our key.
pub(super) enum Sense {
    Same,
    Inverse,
}

impl Act {
    pub(super) fn judge(&self, job: &mut Job<'_>, line: &Line) -> Verdict {
        let verdict = match self {
            Self::Read(read) => read(job, line),
            Self::Switch(key, sense) => switch(&line.value).and_then(|on| {
                let on = on == matches!(sense, Sense::Same);
                match job.set(line, key, Value::Switch(on)) {
                    Err(_) if !on => Ok((Outcome::Needless, "off, as here".to_owned())),
                    set => set,
                }
            }),
            Self::Only { fits, why, else_gap } => switch(&line.value).map(|on| match on == *fits {
                true => (Outcome::Needless, (*why).to_owned()),
                false => (Outcome::Gap, (*else_gap).to_owned()),
            }),
            Self::Needless(why) => Ok((Outcome::Needless, (*why).to_owned())),
            Self::Obsolete => Ok((Outcome::Obsolete, "nothing depends on it any more".to_owned())),
            Self::Gap(instead) => Ok((Outcome::Gap, (*instead).to_owned())),
        };
        verdict.unwrap_or_else(|wrong| (Outcome::Gap, wrong))
    }
}

impl Job<'_> {
    fn set(&mut self, line: &Line, key: &str, value: Value) -> Result<Verdict, String> {
        self.draft
            .set(key, value, format!("line {}: {}", line.number, line.name))?;
        Ok((Outcome::Taken, key.to_owned()))
    }

    /// Sets a key and says something about it.
    fn set_with(&mut self, line: &Line, key: &str, value: Value, note: &str) -> Result<Verdict, String> {
        self.set(line, key, value)?;
        Ok((Outcome::Taken, format!("{key}; {note}")))
    }

    /// Reads the value that counts for an option, or gives a default.
    fn number_or<T>(&self, name: &str, read: fn(&str) -> Result<T, String>, default: T) -> Result<T, String> {
        self.lines.value(name).map_or(Ok(default), read)
    }

    /// Tells whether coturn looks at secrets only: static users are then nobody.
    fn has_secrets_only(&self) -> bool {
        self.lines.is_on("use-auth-secret") || self.lines.last("static-auth-secret").is_some()
    }
}

/// The plain ports, the second of which coturn puts behind the first unless it is told otherwise.
pub(super) fn plain_ports(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = ports(job, "listening-port", 3_478, "alt-listening-port")?;
    job.set(line, "turn.ports.plain", value)
}

pub(super) fn tls_ports(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = ports(job, "tls-listening-port", 5_349, "alt-tls-listening-port")?;
    job.set(line, "turn.ports.tls", value)
}

fn ports(job: &Job<'_>, name: &str, default: u16, alternative: &str) -> Result<Value, String> {
    let first = job.number_or(name, port, default)?;
    let second = match job.number_or(alternative, number, 0)? {
        0 => first.checked_add(1),
        given => u16::try_from(given).ok(),
    };
    let ports = [Some(first), second.filter(|second| *second != first)];
    Ok(Value::Numbers(ports.into_iter().flatten().map(u64::from).collect()))
}

/// Where to listen and where to relay from: ours relays from the first address of each family that it listens on.
pub(super) fn listen(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let read = |name: &str| {
        job.lines
            .all(name)
            .map(|line| address(&line.value))
            .collect::<Result<Vec<_>, _>>()
    };
    let (listening, relays) = (read("listening-ip")?, read("relay-ip")?);
    if line.name == "relay-ip" {
        if listening.is_empty() {
            return Err(
                "relays are made on the first address of turn.listen of each family; coturn listens on every \
                        address here: name them with listening-ip, the relay's first"
                    .to_owned(),
            );
        }
        if relays.iter().any(|relay| !listening.contains(relay)) {
            return Err(
                "relays are made on an address that is listened on; add it to turn.listen, before others of \
                        its family"
                    .to_owned(),
            );
        }
    }
    let mut ordered: Vec<String> = Vec::new();
    for address in relays
        .iter()
        .filter(|relay| listening.contains(relay))
        .chain(&listening)
    {
        let address = address.to_string();
        if !ordered.contains(&address) {
            ordered.push(address);
        }
    }
    let value = Value::List(ordered);
    let spare = |v4: bool| relays.iter().filter(|relay| relay.is_ipv4() == v4).count() > 1;
    if line.name == "relay-ip" && (spare(true) || spare(false)) {
        job.set(line, "turn.listen", value)?;
        return Err("of several relay addresses of a family the first one is used".to_owned());
    }
    job.set(line, "turn.listen", value)
}

pub(super) fn external_ip(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = external(&line.value)?;
    job.set(line, "turn.external", Value::List(vec![value]))
}

pub(super) fn relay_ports(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let (first, last) = (
        job.number_or("min-port", port, 49_152)?,
        job.number_or("max-port", port, 65_535)?,
    );
    if first > last {
        return Err(format!("min-port {first} is above max-port {last}"));
    }
    job.set(line, "turn.relay_ports", Value::Text(format!("{first}-{last}")))
}

pub(super) fn relay_threads(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let threads = number(&line.value)?.clamp(1, 256);
    job.set(line, "workers", Value::Number(threads))
}

pub(super) fn realm(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    if line.value.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    job.set(line, "turn.realm", Value::Text(line.value.clone()))
}

pub(super) fn server_name(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match line.value.trim() {
        "" => Err("it is empty".to_owned()),
        name => job.set(line, "turn.server_name", Value::Text(name.to_owned())),
    }
}

pub(super) fn user(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let pair = line
        .value
        .split_once(':')
        .filter(|(name, secret)| !name.is_empty() && !secret.is_empty());
    let (name, secret) = pair.ok_or("NAME:PASSWORD or NAME:0xKEY is expected")?;
    if job.has_secrets_only() {
        let text = "left out: coturn asks no static user beside shared secrets; here both work, in turn.users.static";
        return Ok((Outcome::Needless, text.to_owned()));
    }
    let (key, other, value) = match secret.strip_prefix("0x") {
        None => ("turn.users.static", "turn.users.keys", secret),
        Some(hex) if UserKey::parse(hex).is_some() => ("turn.users.keys", "turn.users.static", hex),
        Some(_) => return Err("the key is not 32 hexadecimal digits".to_owned()),
    };
    job.draft.remove_entry(other, name);
    job.set(line, key, Value::Map(vec![(name.to_owned(), value.to_owned())]))
}

pub(super) fn shared_secret(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    if line.value.is_empty() {
        return Err("it is empty".to_owned());
    }
    job.set(line, "turn.users.secrets", Value::List(vec![line.value.clone()]))
}

pub(super) fn use_auth_secret(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    if !switch(&line.value)? {
        return Ok((Outcome::Needless, "secrets are tried when there are some".to_owned()));
    }
    let has = |name| job.lines.last(name).is_some();
    if has("static-auth-secret") {
        return Ok((Outcome::Needless, "turn.users.secrets are always tried".to_owned()));
    }
    if has("redis-userdb") {
        let text = "secrets in Redis are always tried; so are the keys of users there, which coturn then leaves out";
        return Ok((Outcome::Needless, text.to_owned()));
    }
    Err("there is no static-auth-secret and no Redis: put the secrets into turn.users.secrets".to_owned())
}

pub(super) fn redis_users(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = redis(&line.value)?;
    job.set(line, "turn.users.redis", value)
}

pub(super) fn redis_stats(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = redis(&line.value)?;
    job.set(line, "turn.stats.redis", value)
}

/// Says what coturn takes for granted: 127.0.0.1 and database 0.
fn redis(value: &str) -> Result<Value, String> {
    let names: Vec<&str> = value
        .split_whitespace()
        .filter_map(|word| Some(word.split_once('=')?.0))
        .collect();
    let mut text = value.trim().to_owned();
    if !names
        .iter()
        .any(|name| ["host", "ip", "addr", "ipaddr", "hostaddr"].contains(name))
    {
        text += " ip=127.0.0.1";
    }
    if !names.iter().any(|name| ["dbname", "db", "database"].contains(name)) {
        text += " dbname=0";
    }
    RedisTarget::parse(&text)?;
    Ok(Value::Text(text.trim().to_owned()))
}

pub(super) fn certificate(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let (key, other) = match line.name.as_str() {
        "cert" => ("tls.certificate", "pkey"),
        _ => ("tls.key", "cert"),
    };
    if line.value.is_empty() {
        return Err("the path of a file is expected".to_owned());
    }
    if job.lines.value(other).is_none_or(str::is_empty) {
        return Err(format!("{other} is not given: name both tls.certificate and tls.key"));
    }
    let value = Value::Text(line.value.clone());
    match line.value.starts_with('/') {
        true => job.set(line, key, value),
        false => job.set_with(line, key, value, "give it from the root: it is not searched for"),
    }
}

/// What carries clients' messages; all four unless something is switched off.
pub(super) fn transports(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    switch(&line.value)?;
    let lines = job.lines;
    let no_dtls = lines.is_on("no-dtls") || (lines.last("dtls").is_some() && !lines.is_on("dtls"));
    let off = [
        ("udp", lines.is_on("no-udp")),
        ("tcp", lines.is_on("no-tcp")),
        ("tls", lines.is_on("no-tls")),
        ("dtls", no_dtls),
    ];
    let on: Vec<_> = off
        .iter()
        .filter(|(_, off)| !off)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    match on.len() {
        4 => Ok((Outcome::Needless, "udp, tcp, tls and dtls are all on".to_owned())),
        0 => Err("nothing would be left to listen on; turn.enabled: false is meant".to_owned()),
        _ => job.set(line, "turn.transports", Value::List(on)),
    }
}

/// A limit that means the same under another name.
macro_rules! limits {
    ($($reader:ident => $key:literal;)*) => {$(
        pub(super) fn $reader(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
            match number(&line.value)? {
                0 => Ok((Outcome::Needless, "0 is no limit, as here".to_owned())),
                limit => job.set(line, $key, Value::Number(limit)),
            }
        }
    )*};
}

limits! {
    user_quota => "turn.quota.allocations_per_user";
    total_quota => "turn.quota.allocations";
    max_bps => "turn.quota.bytes_per_s";
    bps_capacity => "turn.quota.total_bytes_per_s";
}

pub(super) fn stale_nonce(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match line.value.as_str() {
        "" => lifetime(job, line, "turn.lifetimes.nonce_s", 600, 86_400),
        "0" => {
            let value = Value::Number(86_400);
            job.set_with(
                line,
                "turn.lifetimes.nonce_s",
                value,
                "a nonce is good for a day at most",
            )
        }
        value => lifetime(job, line, "turn.lifetimes.nonce_s", number(value)?, 86_400),
    }
}

pub(super) fn allocation_lifetime(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    lifetime(
        job,
        line,
        "turn.lifetimes.allocation_max_s",
        number(&line.value)?,
        86_400,
    )
}

pub(super) fn channel_lifetime(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    lifetime(job, line, "turn.lifetimes.channel_s", number(&line.value)?, 86_400)
}

pub(super) fn permission_lifetime(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    lifetime(job, line, "turn.lifetimes.permission_s", number(&line.value)?, 3_600)
}

fn lifetime(job: &mut Job<'_>, line: &Line, key: &str, seconds: u64, max: u64) -> Result<Verdict, String> {
    let within = seconds.clamp(60, max);
    match within == seconds {
        true => job.set(line, key, Value::Number(seconds)),
        false => {
            let note = format!("{within} instead of {seconds}: 60 to {max} are possible");
            job.set_with(line, key, Value::Number(within), &note)
        }
    }
}

pub(super) fn denied_peers(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = Value::List(networks(&line.value)?);
    job.set(line, "turn.peers.deny", value)
}

pub(super) fn allowed_peers(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let networks = networks(&line.value)?;
    let is_closed = networks
        .iter()
        .filter_map(|network| network.parse().ok())
        .any(|network| touches_closed(&network));
    let value = Value::List(networks);
    match is_closed {
        false => job.set(line, "turn.peers.allow", value),
        true => job.set_with(
            line,
            "turn.peers.allow",
            value,
            "link-local, multicast and unspecified peers stay closed, loopback but for turn.peers.allow_loopback",
        ),
    }
}

/// Tells whether a network shares addresses with what no list opens.
fn touches_closed(network: &IpNet) -> bool {
    const CLOSED: [&str; 8] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "::/127",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];
    let closed = CLOSED.iter().filter_map(|closed| closed.parse::<IpNet>().ok());
    closed
        .into_iter()
        .any(|closed| closed.contains(network) || network.contains(&closed))
}

pub(super) fn prometheus(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    if !job.lines.is_on("prometheus") {
        return Ok((
            Outcome::Needless,
            "prometheus is off; http.listen has metrics all the same".to_owned(),
        ));
    }
    let host = job
        .lines
        .value("prometheus-address")
        .map_or(Ok([0, 0, 0, 0].into()), address)?;
    let at = std::net::SocketAddr::new(host, job.number_or("prometheus-port", port, 9_641)?);
    let note = "console and API are there too: whoever scrapes from elsewhere must stand in http.allow";
    job.set_with(line, "http.listen", Value::Text(at.to_string()), note)
}

pub(super) fn prometheus_path(_: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match line.value.as_str() {
        "/metrics" => Ok((Outcome::Needless, "it is /metrics".to_owned())),
        _ => Err("metrics are at /metrics; change the scraper".to_owned()),
    }
}

pub(super) fn log_min_level(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let level = match line.value.to_ascii_lowercase().as_str() {
        "error" | "critical" => "error",
        "warning" | "warn" => "warn",
        "info" | "notice" | "" => "info",
        "debug" => "debug",
        _ => return Err("one of error, warning, info, debug is expected".to_owned()),
    };
    job.set(line, "log.level", Value::Text(level.to_owned()))
}

pub(super) fn very_verbose(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match switch(&line.value)? {
        true => job.set(line, "log.level", Value::Text("debug".to_owned())),
        false => Ok((Outcome::Needless, "as here".to_owned())),
    }
}

/// What belongs to the telnet interface: nothing is lost when that is off.
pub(super) fn telnet(job: &mut Job<'_>, _: &Line) -> Result<Verdict, String> {
    let is_off = job.lines.is_on("no-cli") || (job.lines.last("cli").is_some() && !job.lines.is_on("cli"));
    match is_off {
        true => Ok((
            Outcome::Needless,
            "the telnet interface is off, and there is none".to_owned(),
        )),
        false => Err(TELNET.to_owned()),
    }
}

pub(super) fn web_admin(job: &mut Job<'_>, _: &Line) -> Result<Verdict, String> {
    match job.lines.is_on("web-admin") {
        false => Ok((Outcome::Needless, "the web interface is off".to_owned())),
        true => Err(WEB_ADMIN.to_owned()),
    }
}

pub(super) fn dynamic_peers(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    if !switch(&line.value)? || job.lines.last("redis-userdb").is_none() {
        return Ok((
            Outcome::Needless,
            "only Redis adds peers, and it is asked when it is there".to_owned(),
        ));
    }
    Err(
        "peer lists of the realm in Redis are always heeded; remove the keys allowed-peer-ip and denied-peer-ip"
            .to_owned(),
    )
}

pub(super) fn separator(_: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match line.value.as_str() {
        ":" => Ok((Outcome::Needless, "it is a colon".to_owned())),
        _ => Err("time-limited names are EXPIRY:NAME or NAME:EXPIRY; let whoever makes them use a colon".to_owned()),
    }
}

pub(super) fn address_family(_: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match line.value.as_str() {
        "ipv4" | "" => Ok((Outcome::Needless, "IPv4 unless a client asks for IPv6".to_owned())),
        _ => Err("a client that does not ask for a family gets IPv4, as RFC 8656 has it".to_owned()),
    }
}

pub(super) fn cipher_list(_: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    match line.value.as_str() {
        "DEFAULT" | "" => Ok((
            Outcome::Needless,
            "the suites of the TLS library, none of them weak".to_owned(),
        )),
        _ => Err("the suites are those of the TLS library, none of them weak, and cannot be chosen".to_owned()),
    }
}

pub(super) fn alternate_server(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = endpoint(&line.value, 3_478)?.to_string();
    job.set(line, "turn.alternate_server", Value::List(vec![value]))
}

pub(super) fn alternate_server_tls(job: &mut Job<'_>, line: &Line) -> Result<Verdict, String> {
    let value = endpoint(&line.value, 5_349)?.to_string();
    job.set(line, "turn.alternate_server_tls", Value::List(vec![value]))
}

pub(super) const TELNET: &str =
    "there is no telnet interface; the JSON API at http.listen lists and ends sessions, and drains";
pub(super) const WEB_ADMIN: &str =
    "users are kept in the settings or in Redis; the console at http.listen shows and ends sessions";
