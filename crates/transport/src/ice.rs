//! The lite agent of RFC 8445 §2.5: one component, always controlled, answers checks and sends none.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::{Outbox, SocketId};
use voex_stun::{AttributeType, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method, UnknownAttributes};

use crate::DropReason;

/// Remote addresses kept for a transport. Browsers show fewer than ten; when one more passes a check, the one that
/// was checked longest ago makes room, unless it is the nominated one or, before there is one, the one in use.
pub const REMOTES_MAX: usize = 16;

/// Longest answer: header, error code with reason, sixteen unknown attributes, integrity, fingerprint.
const ANSWER_BYTES_MAX: usize = 256;

/// One of our sockets and the remote's address: a candidate pair, since our side of it is the socket.
pub(crate) type Pair = (SocketId, SocketAddr);

pub(crate) struct Ice {
    local: Credentials,
    /// Those before the last change: checks under way still carry them.
    previous_local: Option<Credentials>,
    remote_ufrag: Option<String>,
    remotes: Vec<Remote>,
    nominated: Option<Pair>,
    /// The pair that carried the remote's last DTLS or SRTP before it nominated one.
    used: Option<Pair>,
    last_check: Option<Instant>,
}

struct Credentials {
    ufrag: String,
    key: IntegrityKey,
}

struct Remote {
    pair: Pair,
    last_check: Instant,
}

/// What a STUN message did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A valid check, answered.
    Checked(Change),
    /// A Binding indication, which asks for nothing (RFC 8445 §11).
    Indication,
    /// Refused with an error response.
    Refused(DropReason),
    /// Dropped in silence.
    Dropped(DropReason),
}

/// What a valid check changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Change {
    pub(crate) added: Option<Pair>,
    pub(crate) removed: Option<Pair>,
    /// Another pair took the place of the nominated one.
    pub(crate) moved: bool,
}

/// A check that passed.
struct Check<'a> {
    key: &'a IntegrityKey,
    remote_ufrag: &'a str,
}

/// A check that did not.
struct Refusal<'a> {
    code: ErrorCode,
    reason: DropReason,
    unknown: UnknownAttributes,
    /// Authenticates the error response once the request was authentic (RFC 8489 §9.1.4).
    key: Option<&'a IntegrityKey>,
}

impl Ice {
    pub(crate) fn new(ufrag: String, pwd: &str) -> Self {
        Self {
            local: Credentials::new(ufrag, pwd),
            previous_local: None,
            remote_ufrag: None,
            remotes: Vec::new(),
            nominated: None,
            used: None,
            last_check: None,
        }
    }

    /// Takes new local credentials; those before are still good for checks.
    pub(crate) fn set_local(&mut self, ufrag: String, pwd: &str) {
        let before = std::mem::replace(&mut self.local, Credentials::new(ufrag, pwd));
        self.previous_local = Some(before);
    }

    /// Takes the remote's user name fragment: from now on only checks that carry it nominate.
    pub(crate) fn set_remote_ufrag(&mut self, ufrag: String) {
        self.remote_ufrag = Some(ufrag);
    }

    /// The nominated pair; before there is one the pair that the remote uses, and before that the pair that was checked
    /// last. A remote checks all its pairs in turn, and what follows its checks would go now here, now there.
    #[inline]
    pub(crate) fn best(&self) -> Option<Pair> {
        self.nominated.or(self.used).or_else(|| self.checked_last())
    }

    /// Takes note that the remote sent DTLS or authentic SRTP over a pair that it has checked.
    #[inline]
    pub(crate) fn note_use(&mut self, pair: Pair) {
        if self.nominated.is_none() {
            self.used = Some(pair);
        }
    }

    /// Tells whether a valid check came over this pair.
    #[inline]
    pub(crate) fn knows(&self, pair: Pair) -> bool {
        self.nominated == Some(pair) || self.remotes.iter().any(|remote| remote.pair == pair)
    }

    pub(crate) fn remotes(&self) -> impl Iterator<Item = Pair> + '_ {
        self.remotes.iter().map(|remote| remote.pair)
    }

    /// When the last valid check came.
    pub(crate) fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// Takes a STUN message and answers it from the socket it came to.
    pub(crate) fn handle_stun(&mut self, now: Instant, pair: Pair, data: &[u8], out: &mut impl Outbox) -> Outcome {
        let Ok(message) = Message::parse(data) else {
            return Outcome::Dropped(DropReason::Malformed);
        };
        if message.fingerprint_fits() == Some(false) {
            return Outcome::Dropped(DropReason::Malformed);
        }
        match (message.method(), message.class()) {
            (Method::BINDING, Class::Request) => self.handle_check(now, pair, &message, out),
            (Method::BINDING, Class::Indication) => Outcome::Indication,
            _ => Outcome::Dropped(DropReason::UnexpectedStun),
        }
    }

    fn handle_check(&mut self, now: Instant, pair: Pair, request: &Message<'_>, out: &mut impl Outbox) -> Outcome {
        match self.check(request) {
            Ok(check) => {
                let nominates = request.use_candidate() && self.is_current_remote(check.remote_ufrag);
                answer(request, pair, check.key, out);
                Outcome::Checked(self.accept(now, pair, nominates))
            }
            Err(refusal) => {
                refuse(request, pair, &refusal, out);
                Outcome::Refused(refusal.reason)
            }
        }
    }

    /// Authenticates a request by the short-term mechanism (RFC 8489 §9.1.3, RFC 8445 §7.3), then looks at roles.
    fn check<'a>(&'a self, request: &'a Message<'_>) -> Result<Check<'a>, Refusal<'a>> {
        let (Ok(Some(username)), true) = (request.username(), request.has_integrity()) else {
            return Err(Refusal::new(ErrorCode::BAD_REQUEST, DropReason::IceIncomplete));
        };
        let unauthorized = || Refusal::new(ErrorCode::UNAUTHENTICATED, DropReason::IceUnauthorized);
        let (ufrag, remote_ufrag) = username.split_once(':').ok_or_else(unauthorized)?;
        let local = self.credentials(ufrag).ok_or_else(unauthorized)?;
        request.check_integrity(&local.key).map_err(|_| unauthorized())?;

        let unknown = request.unknown_attributes(is_known);
        if !unknown.is_empty() {
            let refusal = Refusal::new(ErrorCode::UNKNOWN_ATTRIBUTE, DropReason::IceUnknownAttribute);
            return Err(Refusal {
                unknown,
                ..refusal.authenticated(&local.key)
            });
        }
        // A lite agent is always controlled, whatever the tie-breakers say (RFC 8445 §6.1.1).
        if request.has(AttributeType::ICE_CONTROLLED) {
            let refusal = Refusal::new(ErrorCode::ROLE_CONFLICT, DropReason::IceRoleConflict);
            return Err(refusal.authenticated(&local.key));
        }
        Ok(Check {
            key: &local.key,
            remote_ufrag,
        })
    }

    fn credentials(&self, ufrag: &str) -> Option<&Credentials> {
        [Some(&self.local), self.previous_local.as_ref()]
            .into_iter()
            .flatten()
            .find(|credentials| credentials.ufrag == ufrag)
    }

    /// Before the remote parameters are known every remote is taken for current: the check proves that it knows our
    /// password, and the answer may be slower than its first checks.
    fn is_current_remote(&self, ufrag: &str) -> bool {
        self.remote_ufrag.as_deref().is_none_or(|current| current == ufrag)
    }

    fn accept(&mut self, now: Instant, pair: Pair, nominates: bool) -> Change {
        let mut change = Change::default();
        self.last_check = Some(now);
        match self.remotes.iter_mut().find(|remote| remote.pair == pair) {
            Some(remote) => remote.last_check = now,
            None => {
                change.removed = self.make_room();
                change.added = Some(pair);
                self.remotes.push(Remote { pair, last_check: now });
            }
        }
        // The latest nomination wins: controlling agents move to a better pair by nominating it.
        if nominates && self.nominated != Some(pair) {
            change.moved = self.nominated.is_some();
            self.nominated = Some(pair);
        }
        change
    }

    fn checked_last(&self) -> Option<Pair> {
        let latest = self.remotes.iter().max_by_key(|remote| remote.last_check);
        latest.map(|remote| remote.pair)
    }

    fn make_room(&mut self) -> Option<Pair> {
        if self.remotes.len() < REMOTES_MAX {
            return None;
        }
        let kept = self.nominated.or(self.used);
        let (oldest, _) = self
            .remotes
            .iter()
            .enumerate()
            .filter(|(_, remote)| Some(remote.pair) != kept)
            .min_by_key(|(_, remote)| remote.last_check)?;
        Some(self.remotes.swap_remove(oldest).pair)
    }
}

impl Credentials {
    fn new(ufrag: String, pwd: &str) -> Self {
        Self {
            ufrag,
            key: IntegrityKey::new(pwd.as_bytes()),
        }
    }
}

impl<'a> Refusal<'a> {
    fn new(code: ErrorCode, reason: DropReason) -> Self {
        Self {
            code,
            reason,
            unknown: UnknownAttributes::default(),
            key: None,
        }
    }

    fn authenticated(self, key: &'a IntegrityKey) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// Gives our user name fragment out of the USERNAME of a Binding request: by it a shared socket finds the transport of
/// an address it does not know yet. Nothing is authenticated here.
pub fn binding_request_ufrag(data: &[u8]) -> Option<&str> {
    let message = Message::parse(data).ok()?;
    if (message.method(), message.class()) != (Method::BINDING, Class::Request) {
        return None;
    }
    let (ufrag, _) = message.username().ok()??.split_once(':')?;
    Some(ufrag)
}

fn is_known(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::USERNAME | AttributeType::PRIORITY | AttributeType::USE_CANDIDATE
    )
}

fn answer(request: &Message<'_>, (socket, from): Pair, key: &IntegrityKey, out: &mut impl Outbox) {
    // On a socket of both families an IPv4 source looks like ::ffff:a.b.c.d, which is no candidate of the remote's.
    let seen = SocketAddr::new(from.ip().to_canonical(), from.port());
    let room = out.reserve(ANSWER_BYTES_MAX);
    let written = MessageWriter::new(room, Class::Success, Method::BINDING, request.transaction_id())
        .xor_mapped_address(seen)
        .message_integrity(key)
        .fingerprint()
        .finish();
    if let Ok(len) = written {
        out.commit(socket, from, len);
    }
}

fn refuse(request: &Message<'_>, (socket, to): Pair, refusal: &Refusal<'_>, out: &mut impl Outbox) {
    let room = out.reserve(ANSWER_BYTES_MAX);
    let mut writer =
        MessageWriter::new(room, Class::Error, Method::BINDING, request.transaction_id()).error_code(refusal.code);
    if !refusal.unknown.is_empty() {
        writer = writer.unknown_attributes(&refusal.unknown);
    }
    if let Some(key) = refusal.key {
        writer = writer.message_integrity(key);
    }
    let Ok(len) = writer.fingerprint().finish() else { return };
    // Whoever has proved nothing may have forged where it is, so it gets nothing worth forging for. A check that is
    // one in earnest names a user and is long enough.
    if refusal.key.is_some() || 2 * len <= 3 * request.as_bytes().len() {
        out.commit(socket, to, len);
    }
}
