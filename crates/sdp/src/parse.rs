//! Text to [`Description`].

use crate::attribute::{
    Attribute, Bandwidth, Candidate, Connection, Crypto, Direction, Extmap, Fingerprint, Ice, Rid, Rtcp, Setup, Ssrc,
    SsrcGroup,
};
use crate::description::{Description, Kind, Media, Origin, is_rtp};
use crate::error::{Error, ErrorKind};
use crate::payload::Payload;

/// Longest description read, in bytes. A room of a hundred tracks answers in 200 kB.
pub const BYTES_MAX: usize = 512 * 1024;
/// Most lines read.
pub const LINES_MAX: usize = 16_384;
/// Most m-lines read.
pub const MEDIA_MAX: usize = 256;

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Most attributes of one kind kept for an m-line or the session; more are dropped.
const LIST_MAX: usize = 256;
/// Most things kept that every m-line or payload type inherits, and their longest text: they are copied.
const INHERITED_MAX: usize = 32;
const INHERITED_BYTES_MAX: usize = 256;
/// Longest digest: SHA-512.
const FINGERPRINT_BYTES_MAX: usize = 64;

impl Description {
    /// Reads a description. Lines end with CR LF, LF or CR; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// What is wrong and on which line; see [`ErrorKind`].
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Self, Error> {
        let bytes = bytes.as_ref();
        if bytes.len() > BYTES_MAX {
            return Err(at(ErrorKind::TooLong, 0));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut draft = Draft::default();
        let mut lines = text.lines().flat_map(|line| line.split('\r')).enumerate();
        let first = lines
            .by_ref()
            .map(|(_, line)| line.trim_ascii_end())
            .find(|line| !line.is_empty());
        if first != Some("v=0") {
            return Err(at(ErrorKind::Version, 1));
        }
        for (index, line) in lines {
            if index >= LINES_MAX {
                return Err(at(ErrorKind::TooManyLines, index));
            }
            draft.line(line.trim_ascii_end()).map_err(|kind| at(kind, index + 1))?;
        }
        Ok(draft.finish())
    }
}

fn at(kind: ErrorKind, line: usize) -> Error {
    Error {
        kind,
        line: u16::try_from(line).unwrap_or(u16::MAX),
    }
}

/// A description in the making, with what is to be inherited at its end.
#[derive(Default)]
struct Draft {
    session: Description,
    level: Level,
    extmaps: Vec<Extmap>,
    done: Vec<(Media, Level)>,
    current: Option<(Media, Level)>,
}

/// What one level says in several lines, or says or leaves open.
#[derive(Default)]
struct Level {
    direction: Option<Direction>,
    ufrag: Option<String>,
    pwd: Option<String>,
    /// Bit n: payload type n has an `rtpmap`.
    mapped: u128,
    /// `rtcp-fb` of all payload types.
    feedback: Vec<String>,
}

impl Level {
    fn ice(&self) -> Option<Ice> {
        Some(Ice {
            ufrag: self.ufrag.clone()?,
            pwd: self.pwd.clone()?,
        })
    }
}

impl Draft {
    fn line(&mut self, line: &str) -> Result<(), ErrorKind> {
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(ErrorKind::TooLong);
        }
        if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err(ErrorKind::Character);
        }
        let (&[letter, b'='], _) = line.as_bytes().split_first_chunk().ok_or(ErrorKind::Syntax)? else {
            return Err(ErrorKind::Syntax);
        };
        let value = line[2..].trim_ascii();
        match (letter, &mut self.current) {
            (b'm', _) => self.media_line(value)?,
            (b'a', Some((media, level))) => media_attribute(media, level, value),
            (b'a', None) => self.session_attribute(value),
            (b'c', Some((media, _))) => set_first(&mut media.connection, Some(connection(value)?)),
            (b'c', None) => set_first(&mut self.session.connection, Some(connection(value)?)),
            (b'b', Some((media, _))) => push(&mut media.bandwidth, bandwidth(value)),
            (b'b', None) => push(&mut self.session.bandwidth, bandwidth(value)),
            (b'o', None) => self.session.origin = origin(value).ok_or(ErrorKind::Origin)?,
            (b's', None) => self.session.session_name = if value == "-" { "" } else { value }.to_owned(),
            _ => {}
        }
        Ok(())
    }

    fn media_line(&mut self, value: &str) -> Result<(), ErrorKind> {
        if self.done.len() + 2 > MEDIA_MAX {
            return Err(ErrorKind::TooManyMedia);
        }
        let media = media(value)?;
        self.done.extend(self.current.replace((media, Level::default())));
        Ok(())
    }

    fn session_attribute(&mut self, line: &str) {
        let (name, value) = split_attribute(line);
        let session = &mut self.session;
        match (name, value) {
            ("group", Some(value)) if value.split_ascii_whitespace().next() == Some("BUNDLE") => {
                if session.bundle.is_empty() {
                    session.bundle = value
                        .split_ascii_whitespace()
                        .skip(1)
                        .take(MEDIA_MAX)
                        .map(str::to_owned)
                        .collect();
                }
            }
            ("ice-lite", None) => session.ice_lite = true,
            ("ice-options", Some(value)) => set_first(&mut session.ice_options, text(value)),
            ("ice-ufrag", Some(value)) => set_first(&mut self.level.ufrag, short(value)),
            ("ice-pwd", Some(value)) => set_first(&mut self.level.pwd, short(value)),
            ("fingerprint", Some(value)) => set_first(&mut session.fingerprint, fingerprint(value)),
            ("setup", Some(value)) => set_first(&mut session.setup, Setup::from_name(value)),
            ("msid-semantic", Some(value)) => set_first(&mut session.msid_semantic, text(value)),
            ("extmap-allow-mixed", None) => session.extmap_allow_mixed = true,
            ("extmap", Some(value)) => {
                let extmap = extmap(value).filter(|e| e.uri.len() + e.attributes.len() <= INHERITED_BYTES_MAX);
                if self.extmaps.len() < INHERITED_MAX {
                    self.extmaps.extend(extmap);
                }
            }
            (name, None) if Direction::from_name(name).is_some() => {
                set_first(&mut self.level.direction, Direction::from_name(name));
            }
            _ => push(&mut session.attributes, unknown(name, value)),
        }
    }

    /// Resolves what m-lines inherit.
    fn finish(mut self) -> Description {
        self.done.extend(self.current.take());
        self.session.ice = self.level.ice();
        for (mut media, level) in self.done {
            inherit(&mut media, &self.session);
            media.direction = level.direction.or(self.level.direction).unwrap_or_default();
            media.ice = level.ice().or_else(|| self.session.ice.clone());
            for extmap in &self.extmaps {
                if !media
                    .extmaps
                    .iter()
                    .any(|own| own.id == extmap.id || own.uri == extmap.uri)
                {
                    media.extmaps.push(extmap.clone());
                }
            }
            for payload in &mut media.payloads {
                payload.rtcp_fb.extend(level.feedback.iter().cloned());
            }
            self.session.media.push(media);
        }
        self.session
    }
}

/// Fills what an m-line leaves to the session level.
fn inherit(media: &mut Media, session: &Description) {
    set_first(&mut media.connection, session.connection.clone());
    set_first(&mut media.fingerprint, session.fingerprint.clone());
    set_first(&mut media.setup, session.setup);
    media.extmap_allow_mixed |= session.extmap_allow_mixed;
}

fn media_attribute(media: &mut Media, level: &mut Level, line: &str) {
    let (name, value) = split_attribute(line);
    match (name, value) {
        ("rtpmap", Some(value)) => rtpmap(media, level, value),
        ("fmtp", Some(value)) => fmtp(media, value),
        ("rtcp-fb", Some(value)) => rtcp_fb(media, level, value),
        ("mid", Some(value)) => set_first(&mut media.mid, text(value)),
        ("rtcp-mux", None) => media.rtcp_mux = true,
        ("rtcp-rsize", None) => media.rtcp_rsize = true,
        ("bundle-only", None) => media.bundle_only = true,
        ("end-of-candidates", None) => media.end_of_candidates = true,
        ("extmap-allow-mixed", None) => media.extmap_allow_mixed = true,
        ("ice-ufrag", Some(value)) => set_first(&mut level.ufrag, short(value)),
        ("ice-pwd", Some(value)) => set_first(&mut level.pwd, short(value)),
        ("ice-options", Some(value)) => set_first(&mut media.ice_options, text(value)),
        ("fingerprint", Some(value)) => set_first(&mut media.fingerprint, fingerprint(value)),
        ("setup", Some(value)) => set_first(&mut media.setup, Setup::from_name(value)),
        ("sctp-port", Some(value)) => set_first(&mut media.sctp_port, value.parse().ok()),
        ("max-message-size", Some(value)) => set_first(&mut media.max_message_size, value.parse().ok()),
        ("ptime", Some(value)) => set_first(&mut media.ptime, value.parse().ok()),
        ("maxptime", Some(value)) => set_first(&mut media.maxptime, value.parse().ok()),
        ("rtcp", Some(value)) => set_first(&mut media.rtcp, rtcp(value)),
        ("crypto", Some(value)) => push(&mut media.crypto, crypto(value)),
        ("extmap", Some(value)) => push(&mut media.extmaps, extmap(value)),
        ("rid", Some(value)) => push(&mut media.rids, rid(value)),
        ("simulcast", Some(value)) => set_first(&mut media.simulcast, text(value)),
        ("msid", Some(value)) => set_first(&mut media.msid, text(value)),
        ("ssrc", Some(value)) => ssrc(media, value),
        ("ssrc-group", Some(value)) => push(&mut media.ssrc_groups, ssrc_group(value)),
        ("candidate", Some(value)) => push(&mut media.candidates, candidate(value)),
        (name, None) if Direction::from_name(name).is_some() => {
            set_first(&mut level.direction, Direction::from_name(name));
        }
        _ => push(&mut media.attributes, unknown(name, value)),
    }
}

fn split_attribute(line: &str) -> (&str, Option<&str>) {
    match line.split_once(':') {
        Some((name, value)) => (name, Some(value.trim_ascii())),
        None => (line, None),
    }
}

fn unknown(name: &str, value: Option<&str>) -> Option<Attribute> {
    (!name.is_empty()).then(|| Attribute {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    })
}

fn set_first<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn push<T>(list: &mut Vec<T>, value: Option<T>) {
    if list.len() < LIST_MAX {
        list.extend(value);
    }
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn short(value: &str) -> Option<String> {
    text(value).filter(|value| value.len() <= INHERITED_BYTES_MAX)
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split_ascii_whitespace()
}

/// Joins the words of the rest of a line with single blanks.
fn rest<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn media(value: &str) -> Result<Media, ErrorKind> {
    let mut fields = words(value);
    let mut field = || fields.next().ok_or(ErrorKind::Media);
    let kind = match field()? {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        "application" => Kind::Application,
        other => Kind::Other(other.to_owned()),
    };
    let port = field()?;
    let port = port.split_once('/').map_or(port, |(first, _count)| first);
    let mut media = Media {
        kind,
        port: port.parse().map_err(|_| ErrorKind::Media)?,
        protocol: field()?.to_owned(),
        ..Media::default()
    };
    let mut formats = fields.peekable();
    if formats.peek().is_none() && media.port != 0 {
        return Err(ErrorKind::Media);
    }
    // A refused m-line without format is seen in the wild; one is made up, since the grammar asks for it.
    let made_up = formats.peek().is_none().then_some("0");
    for format in formats.chain(made_up) {
        if !is_rtp(&media.protocol) {
            push(&mut media.formats, text(format));
            continue;
        }
        let number = format.parse().ok().filter(|n| *n < 128).ok_or(ErrorKind::PayloadType)?;
        if media.payload(number).is_none() {
            media.payloads.push(Payload::implied(number));
        }
    }
    Ok(media)
}

fn origin(value: &str) -> Option<Origin> {
    let fields: Vec<&str> = words(value).collect();
    let [username, .., session_id, version, network, kind, address] = *fields.as_slice() else {
        return None;
    };
    Some(Origin {
        username: username.to_owned(),
        session_id: number(session_id)?,
        version: number(version)?,
        connection: internet(network, kind, address)?,
    })
}

/// Reads a number of any length (RFC 8866 §5.2 sets none).
fn number(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().unwrap_or(u64::MAX))
}

fn connection(value: &str) -> Result<Connection, ErrorKind> {
    let mut fields = words(value);
    (|| internet(fields.next()?, fields.next()?, fields.next()?))().ok_or(ErrorKind::Connection)
}

fn internet(network: &str, kind: &str, address: &str) -> Option<Connection> {
    let ip6 = match kind {
        "IP4" => false,
        "IP6" => true,
        _ => return None,
    };
    let address = address.split_once('/').map_or(address, |(address, _ttl)| address);
    (network == "IN" && !address.is_empty() && address.len() <= INHERITED_BYTES_MAX).then(|| Connection {
        ip6,
        address: address.to_owned(),
    })
}

fn bandwidth(value: &str) -> Option<Bandwidth> {
    let (kind, value) = value.split_once(':')?;
    let whole = value.split_once('.').map_or(value, |(whole, _fraction)| whole);
    Some(Bandwidth {
        kind: text(kind.trim_ascii())?,
        value: whole.trim_ascii().parse().ok()?,
    })
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, digest) = value.split_once(' ')?;
    let bytes: Vec<u8> = digest
        .trim_ascii()
        .split(':')
        .take(FINGERPRINT_BYTES_MAX + 1)
        .map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2))
        .collect::<Option<_>>()?;
    (bytes.len() <= FINGERPRINT_BYTES_MAX && hash.len() <= 16).then(|| Fingerprint {
        hash: hash.to_owned(),
        bytes,
    })
}

fn rtpmap(media: &mut Media, level: &mut Level, value: &str) {
    let Some((number, (name, clock_rate, channels))) = (|| {
        let (number, encoding) = value.split_once(' ')?;
        let mut parts = encoding.trim_ascii().split('/');
        let name = parts.next()?.trim_ascii();
        let clock_rate = parts.next()?.trim_ascii().parse().ok()?;
        let channels = parts
            .next()
            .and_then(|channels| channels.trim_ascii().parse().ok())
            .unwrap_or(1);
        let number = number.parse::<u8>().ok().filter(|n| *n < 128 && !name.is_empty())?;
        Some((number, (name, clock_rate, channels)))
    })() else {
        return;
    };
    let payload = media.payloads.iter_mut().find(|p| p.payload_type == number);
    if let Some(payload) = payload.filter(|_| level.mapped & (1 << number) == 0) {
        level.mapped |= 1 << number;
        payload.name = name.to_owned();
        payload.clock_rate = clock_rate;
        payload.channels = channels;
    }
}

fn fmtp(media: &mut Media, value: &str) {
    let Some((number, parameters)) = value.split_once(' ') else {
        return;
    };
    let Some(payload) = number
        .parse()
        .ok()
        .and_then(|n: u8| media.payloads.iter_mut().find(|p| p.payload_type == n))
    else {
        return;
    };
    let parameters = parameters.trim_ascii();
    match &mut payload.fmtp {
        None => payload.fmtp = text(parameters),
        Some(already) if already.len() + parameters.len() < LINE_BYTES_MAX / 2 => {
            already.push(';');
            already.push_str(parameters);
        }
        Some(_) => {}
    }
}

fn rtcp_fb(media: &mut Media, level: &mut Level, value: &str) {
    let mut fields = words(value);
    let Some(number) = fields.next() else { return };
    let message = rest(fields);
    if message.is_empty() || message.len() > INHERITED_BYTES_MAX / 4 {
        return;
    }
    if number == "*" {
        if level.feedback.len() < INHERITED_MAX / 4 {
            level.feedback.push(message);
        }
        return;
    }
    let payload = number
        .parse()
        .ok()
        .and_then(|n: u8| media.payloads.iter_mut().find(|p| p.payload_type == n));
    if let Some(payload) = payload {
        push(&mut payload.rtcp_fb, Some(message));
    }
}

fn rtcp(value: &str) -> Option<Rtcp> {
    let (port, address) = value
        .split_once(' ')
        .map_or((value, None), |(port, address)| (port, Some(address)));
    Some(Rtcp {
        port: port.parse().ok()?,
        connection: address.and_then(|address| connection(address).ok()),
    })
}

fn crypto(value: &str) -> Option<Crypto> {
    let mut fields = words(value);
    let (tag, suite, keys) = (fields.next()?.parse().ok()?, text(fields.next()?)?, rest(fields));
    (!keys.is_empty()).then_some(Crypto { tag, suite, keys })
}

fn extmap(value: &str) -> Option<Extmap> {
    let mut fields = words(value);
    let id = fields.next()?;
    let (id, direction) = match id.split_once('/') {
        Some((id, direction)) => (id, Some(Direction::from_name(direction)?)),
        None => (id, None),
    };
    Some(Extmap {
        id: id.parse().ok()?,
        direction,
        uri: text(fields.next()?)?,
        attributes: rest(fields),
    })
}

fn rid(value: &str) -> Option<Rid> {
    let mut fields = words(value);
    let id = text(fields.next()?)?;
    let send = match fields.next()? {
        "send" => true,
        "recv" => false,
        _ => return None,
    };
    Some(Rid {
        id,
        send,
        restrictions: rest(fields),
    })
}

fn ssrc(media: &mut Media, value: &str) {
    let (number, attribute) = value.split_once(' ').unwrap_or((value, ""));
    let Ok(number) = number.parse() else { return };
    let index = match media.ssrcs.iter().position(|s| s.ssrc == number) {
        Some(index) => index,
        None if media.ssrcs.len() >= LIST_MAX => return,
        None => {
            media.ssrcs.push(Ssrc {
                ssrc: number,
                cname: None,
                msid: None,
            });
            media.ssrcs.len() - 1
        }
    };
    match attribute.trim_ascii().split_once(':') {
        Some(("cname", cname)) => set_first(&mut media.ssrcs[index].cname, text(cname.trim_ascii())),
        Some(("msid", msid)) => set_first(&mut media.ssrcs[index].msid, text(msid.trim_ascii())),
        _ => {}
    }
}

fn ssrc_group(value: &str) -> Option<SsrcGroup> {
    let mut fields = words(value);
    Some(SsrcGroup {
        semantics: text(fields.next()?)?,
        ssrcs: fields
            .map(|n| n.parse().ok())
            .collect::<Option<Vec<u32>>>()
            .filter(|s| !s.is_empty())?,
    })
}

fn candidate(value: &str) -> Option<Candidate> {
    let mut fields = words(value);
    let candidate = Candidate {
        foundation: text(fields.next()?)?,
        component: fields.next()?.parse().ok()?,
        transport: text(fields.next()?)?,
        priority: fields.next()?.parse().ok()?,
        address: text(fields.next()?)?,
        port: fields.next()?.parse().ok()?,
        kind: fields
            .next()
            .filter(|word| *word == "typ")
            .and_then(|_| text(fields.next()?))?,
        rest: String::new(),
    };
    let rest = rest(fields);
    Some(Candidate { rest, ..candidate })
}
