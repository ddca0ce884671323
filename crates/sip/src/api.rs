//! What an application tells the endpoint, and what it hears back.
//!
//! ```text
//!  Register ──► Registered | RegistrationFailed          Unregister ──► Unregistered
//!
//!  Call ──► Provisional* ──► Answered ──► Ended          the caller chose the leg's id
//!   └──────────────┴───────────────────► Ended           refused, cancelled, timed out
//!
//!  IncomingCall ──► Ring/Progress* ──► Accept ──► Confirmed ──► Ended      the endpoint chose the leg's id
//!   └───────────────────┴──► Decline | Hangup | caller's CANCEL ──► Ended
//! ```
//!
//! Rules that hold for every leg:
//! - `Ended` is the last event of a leg, and every leg that was ever named in a `Call` or an `IncomingCall` gets one,
//!   whatever happens. After it the id means nothing; commands that still name it are ignored.
//! - A command that does not fit the state of its leg (`Accept` on an outgoing call, `Info` before the answer) is
//!   ignored and counted, since command and event pass each other on the way.
//! - Digest challenges, retransmissions, ACK, 100 Trying, CANCEL crossing 200, stray forks and refreshes of
//!   registrations are the endpoint's business and make no event.
//! - SDP is carried as bytes and never looked into.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use voex_base::SocketId;

/// A SIP account: an address of record under which calls are made and found. Chosen by the caller, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(pub u64);

/// One call leg: one INVITE and the dialog it makes.
///
/// Ids below 2^63 are chosen by the caller with [`Command::Call`], never reused; ids from 2^63 on are chosen by the
/// endpoint for incoming calls, so the two never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId(pub u64);

impl LegId {
    /// First id that the endpoint itself gives out.
    pub const INCOMING_FIRST: u64 = 1 << 63;

    /// Says whether the endpoint chose this id, for an incoming call.
    pub const fn is_incoming(self) -> bool {
        self.0 >= Self::INCOMING_FIRST
    }
}

/// A transfer that somebody asked of us by REFER. Chosen by the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReferId(pub u64);

/// A name to look up, see [`Output::Resolve`](crate::Output::Resolve).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub u64);

/// Header fields in order: name and value.
///
/// In events: every field of the message but Content-Length, values unfolded. Names that the standards know are
/// spelled as there (`v` and `VIA` are `Via`), others as received.
/// In commands: fields to add. Names that are no token, values with line breaks, and fields that the endpoint itself
/// writes (Via, From, To, Call-ID, CSeq, Contact, Content-Length, ...) are left out and counted.
pub type Headers = Vec<(String, String)>;

/// An order to the endpoint.
#[derive(Clone, Debug)]
pub enum Command {
    /// Makes an account, or replaces the one of this id, and registers it when its spec says so.
    /// Answered by `Registered` (a guest: at once, with no fields) or `RegistrationFailed`.
    Register(Box<AccountSpec>),
    /// Takes the registration back (REGISTER with Expires 0), then forgets the account. Answered by `Unregistered`
    /// whatever the registrar says; a guest's comes at once. Legs of the account go on.
    Unregister {
        /// The account.
        account: AccountId,
    },
    /// Calls. Answered by `Provisional`, `Answered`, `Ended`.
    Call(Box<CallSpec>),
    /// Sends 180 Ringing on an incoming leg.
    Ring {
        /// The leg.
        leg: LegId,
        /// Fields to add.
        headers: Headers,
    },
    /// Sends 183 Session Progress with SDP on an incoming leg.
    Progress {
        /// The leg.
        leg: LegId,
        /// The early answer.
        sdp: Vec<u8>,
        /// Fields to add.
        headers: Headers,
    },
    /// Answers an incoming leg with 200. The 200 is repeated until the ACK comes (`Confirmed`); without one in
    /// 64 x T1 the endpoint sends BYE and reports `Ended` with 408.
    Accept {
        /// The leg.
        leg: LegId,
        /// The answer; the offer when the INVITE had none. The caller's answer then comes in `Confirmed`.
        sdp: Vec<u8>,
        /// Fields to add.
        headers: Headers,
    },
    /// Refuses an incoming leg.
    Decline {
        /// The leg.
        leg: LegId,
        /// Status code; anything outside 300..=699 becomes 486.
        code: u16,
        /// Reason phrase; `None` is the standard's.
        reason: Option<String>,
        /// Fields to add (Contact and Retry-After are allowed here).
        headers: Headers,
    },
    /// Ends a leg in whatever state: CANCEL, BYE, 480, or nothing when it has ended.
    Hangup {
        /// The leg.
        leg: LegId,
        /// Fields to add to the CANCEL, BYE or refusal: a `Reason`, for example.
        headers: Headers,
    },
    /// Offers new SDP in an answered call. Answered by `ReinviteAnswered` or `ReinviteFailed`; a 491 (both sides at
    /// once) is retried by the endpoint as RFC 3261 §14.1 says.
    Reinvite {
        /// The leg.
        leg: LegId,
        /// The offer.
        sdp: Vec<u8>,
        /// Fields to add.
        headers: Headers,
    },
    /// Answers the remote's re-INVITE that an event `Reinvite` told of.
    AnswerReinvite {
        /// The leg.
        leg: LegId,
        /// 200 with this SDP; the other way round a refusal with this status code (488 when out of 300..=699).
        answer: Result<Vec<u8>, u16>,
        /// Fields to add.
        headers: Headers,
    },
    /// Sends INFO in an answered (or early) dialog. Answered by `InfoDone`.
    Info {
        /// The leg.
        leg: LegId,
        /// MIME type of the body: `application/dtmf-relay`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
        /// Fields to add.
        headers: Headers,
    },
    /// Asks the remote of an answered call to call somebody else (REFER). Answered by `ReferAnswered`; what becomes of it
    /// comes by `Notify`.
    Refer {
        /// The leg.
        leg: LegId,
        /// URI of whom to call.
        to: String,
        /// Call-ID of another answered leg whose place that call is to take (an attended transfer).
        replaces: Option<String>,
        /// Fields to add.
        headers: Headers,
    },
    /// Does not follow a transfer that `Refer` told of; who asked for it is told. One that is followed is named in
    /// [`CallSpec::refer`], and its progress is told.
    DeclineRefer {
        /// The transfer.
        refer: ReferId,
        /// Status code; anything outside 300..=699 becomes 603.
        code: u16,
    },
}

/// An account to make.
#[derive(Clone, Debug)]
pub struct AccountSpec {
    /// Its id.
    pub id: AccountId,
    /// Address of record, a SIP URI: `sip:alice@example.com`. Goes into From; its user part is what incoming calls
    /// are matched with.
    pub aor: String,
    /// Display name for From, without quotes.
    pub display_name: Option<String>,
    /// How the account is registered; `None` is a guest: no REGISTER is sent, calls work.
    pub registration: Option<Registration>,
    /// URI of the registrar or proxy (`sip:host[:port]`): where REGISTER goes, and, resolved, a source that calls are
    /// taken from. `None` is the domain of `aor`. Calls go to their own URI unless `outbound_proxy` is set.
    pub proxy: Option<String>,
    /// URI of the outbound proxy: first hop of every request outside dialogs, as a loose route.
    pub outbound_proxy: Option<String>,
    /// Answers to digest challenges; `None`: a challenge is a refusal.
    pub credentials: Option<Credentials>,
    /// User-Agent of this account; `None` is the one of the configuration.
    pub user_agent: Option<String>,
    /// Parameters to add to Contact in REGISTER, with or without values.
    pub contact_params: Vec<(String, Option<String>)>,
    /// Takes incoming calls whose user no other account has: the account of a trunk.
    pub catch_all: bool,
    /// Socket to use; `None` is the first of the target's address family.
    pub socket: Option<SocketId>,
}

impl AccountSpec {
    /// Makes a guest account with nothing but an address of record.
    pub fn guest(id: AccountId, aor: impl Into<String>) -> Self {
        Self {
            id,
            aor: aor.into(),
            display_name: None,
            registration: None,
            proxy: None,
            outbound_proxy: None,
            credentials: None,
            user_agent: None,
            contact_params: Vec::new(),
            catch_all: false,
            socket: None,
        }
    }
}

/// How to register.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Life to ask for; whole seconds. The registrar's answer wins; refreshed by the endpoint before it ends.
    pub ttl: Duration,
    /// Fields to add to REGISTER.
    pub headers: Headers,
}

/// A user name and what proves it. Prints nothing of the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name in the digest: `authuser`, else the user part of the address of record.
    pub user: String,
    /// The secret.
    pub secret: Secret,
}

/// A password or its digest.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself.
    Password(String),
    /// MD5(user ":" realm ":" password) in hex, RFC 2617 §3.2.2.2. Serves MD5 challenges only.
    Ha1(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct CallSpec {
    /// Id of the new leg, below [`LegId::INCOMING_FIRST`].
    pub leg: LegId,
    /// Account to call from.
    pub account: AccountId,
    /// Whom to call: Request-URI and To.
    pub uri: String,
    /// Call-ID to use; `None` is a random one. Must be a Call-ID by grammar, else the leg ends at once with 400.
    pub call_id: Option<String>,
    /// The offer.
    pub sdp: Vec<u8>,
    /// Fields to add to the INVITE.
    pub headers: Headers,
    /// Credentials for this call instead of the account's.
    pub credentials: Option<Credentials>,
    /// Answer re-INVITEs of the remote at once with the SDP we sent last, and report them as answered.
    pub auto_answer_reinvites: bool,
    /// The transfer that this call follows: whoever asked for it is told how it goes.
    pub refer: Option<ReferId>,
}

impl CallSpec {
    /// Makes a call with nothing but the necessary.
    pub fn new(leg: LegId, account: AccountId, uri: impl Into<String>, sdp: Vec<u8>) -> Self {
        Self {
            leg,
            account,
            uri: uri.into(),
            call_id: None,
            sdp,
            headers: Vec::new(),
            credentials: None,
            auto_answer_reinvites: false,
            refer: None,
        }
    }
}

/// What the endpoint reports. Events of one leg or account keep their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The account is registered, or is a guest and ready. Not repeated at refreshes.
    Registered {
        /// The account.
        account: AccountId,
        /// Life that the registrar granted; zero for a guest.
        ttl: Duration,
        /// Fields of the 200; none for a guest.
        headers: Headers,
    },
    /// The account is not registered (any more). After a time-out, a 5xx or an unreachable registrar the endpoint
    /// tries again by itself (30 s, doubling to 300 s) and reports `Registered` when it worked; after other refusals
    /// it does not.
    RegistrationFailed {
        /// The account.
        account: AccountId,
        /// Status code: the registrar's, 408 for silence, 503 for a name that does not resolve, 400 for a spec whose
        /// URIs do not parse.
        code: u16,
        /// Reason phrase.
        reason: String,
        /// Fields of the refusal.
        headers: Headers,
    },
    /// The account is gone.
    Unregistered {
        /// The account.
        account: AccountId,
        /// Fields of the registrar's answer, if any came.
        headers: Headers,
    },
    /// Somebody calls. 100 Trying has been sent; `Ring`, `Progress`, `Accept` or `Decline` are up to the application.
    IncomingCall(Box<IncomingCall>),
    /// A provisional answer (101..=199) to an outgoing call.
    Provisional {
        /// The leg.
        leg: LegId,
        /// 180, 183, ...
        code: u16,
        /// Reason phrase.
        reason: String,
        /// Early media, if the answer carried SDP.
        sdp: Option<Vec<u8>>,
        /// Fields of the answer.
        headers: Headers,
    },
    /// An outgoing call was answered; the ACK has been sent.
    Answered {
        /// The leg.
        leg: LegId,
        /// The answer; `None` when the 200 had no body (an earlier `Provisional` carried it).
        sdp: Option<Vec<u8>>,
        /// URI in To: whom we called.
        remote: String,
        /// Fields of the 200.
        headers: Headers,
    },
    /// The ACK for an accepted incoming call (or for our 200 to a re-INVITE) came.
    Confirmed {
        /// The leg.
        leg: LegId,
        /// The remote's answer, when the INVITE had no offer.
        sdp: Option<Vec<u8>>,
    },
    /// The remote changes the session, by re-INVITE or by UPDATE (to which no `Confirmed` follows).
    Reinvite {
        /// The leg.
        leg: LegId,
        /// The offer; `None` asks for ours.
        sdp: Option<Vec<u8>>,
        /// True when the endpoint has answered it (`auto_answer_reinvites`); else `AnswerReinvite` is due.
        answered: bool,
        /// Fields of the re-INVITE.
        headers: Headers,
    },
    /// Our re-INVITE was answered; the ACK has been sent.
    ReinviteAnswered {
        /// The leg.
        leg: LegId,
        /// The answer.
        sdp: Option<Vec<u8>>,
        /// Fields of the 200.
        headers: Headers,
    },
    /// Our re-INVITE was refused; the session stays what it was. (408 and 481 end the leg instead.)
    ReinviteFailed {
        /// The leg.
        leg: LegId,
        /// Status code.
        code: u16,
        /// Reason phrase.
        reason: String,
    },
    /// INFO from the remote; it has been answered with 200.
    Info {
        /// The leg.
        leg: LegId,
        /// URI in From.
        from: String,
        /// Display name in From, quotes as received.
        display_name: Option<String>,
        /// MIME type; empty when there was no body.
        content_type: String,
        /// The body.
        body: Vec<u8>,
        /// Fields of the INFO.
        headers: Headers,
    },
    /// Our INFO got its final answer.
    InfoDone {
        /// The leg.
        leg: LegId,
        /// Status code; 408 for silence.
        code: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The remote asks us to call somebody else; it has been told that we try. `Call` with [`CallSpec::refer`] follows, or
    /// `DeclineRefer` does not.
    Refer(Box<Referral>),
    /// Our REFER got its final answer.
    ReferAnswered {
        /// The leg.
        leg: LegId,
        /// Status code: 202 for yes; 408 for silence, 481 for a call to replace that is not there.
        code: u16,
        /// Reason phrase.
        reason: String,
    },
    /// NOTIFY from the remote within a call; it has been answered with 200.
    Notify {
        /// The leg.
        leg: LegId,
        /// `Event`: `refer` tells what becomes of a transfer of ours.
        event: String,
        /// `Subscription-State` with its parameters; empty when there was none.
        state: String,
        /// MIME type; empty when there was no body.
        content_type: String,
        /// The body: `SIP/2.0 180 Ringing` for a transfer.
        body: Vec<u8>,
        /// Fields of the NOTIFY.
        headers: Headers,
    },
    /// The leg is over; its last event.
    Ended(Box<Ended>),
}

/// An incoming call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IncomingCall {
    /// Id of the new leg, chosen by the endpoint.
    pub leg: LegId,
    /// Account that is called.
    pub account: AccountId,
    /// URI in From: `sip:peer@127.0.0.1`, without parameters of the header.
    pub from: String,
    /// Display name in From, quotes as received: `"Peer"`.
    pub display_name: Option<String>,
    /// URI in To.
    pub callee: String,
    /// The Request-URI: which number of a trunk was dialled.
    pub request_uri: String,
    /// Call-ID.
    pub call_id: String,
    /// The offer; `None`: the caller waits for ours.
    pub sdp: Option<Vec<u8>>,
    /// Fields of the INVITE, Referred-By and Replaces among them.
    pub headers: Headers,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// On which of our sockets.
    pub socket: SocketId,
}

/// A transfer that was asked of us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Referral {
    /// The leg whose remote asks.
    pub leg: LegId,
    /// Id of the transfer.
    pub refer: ReferId,
    /// URI of whom to call, without header fields.
    pub to: String,
    /// The call whose place the new one is to take: value for a Replaces field (RFC 3891).
    pub replaces: Option<String>,
    /// Referred-By, as received.
    pub referred_by: Option<String>,
    /// Fields of the REFER.
    pub headers: Headers,
}

/// How a leg ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The leg.
    pub leg: LegId,
    /// Who or what ended it.
    pub cause: EndCause,
    /// Status code: of the refusal; 487 after CANCEL; 200 after a BYE; 408 for silence.
    pub code: u16,
    /// Reason phrase: of the refusal as received; `Session Terminated` after the remote's BYE, `to BYE` after ours.
    pub reason: String,
    /// The Reason field (RFC 3326) of the remote's BYE, CANCEL or refusal: the first value.
    pub reason_header: Option<ReasonHeader>,
    /// Fields of the remote's BYE, CANCEL or final answer; empty when none came.
    pub headers: Headers,
}

/// Who or what ended a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// The remote refused our INVITE.
    Refused,
    /// We refused theirs.
    Declined,
    /// We took our call back before it was answered.
    CancelledByUs,
    /// The caller took the call back before it was answered.
    CancelledByRemote,
    /// The remote hung up.
    ByeByRemote,
    /// We hung up.
    ByeByUs,
    /// The remote is silent, or an answered call was never acknowledged.
    Timeout,
    /// Nothing was sent: bad URI, unknown account, a name that does not resolve, a table that is full.
    Local,
}

/// A Reason header field (RFC 3326).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReasonHeader {
    /// `SIP`, `Q.850`, ...
    pub protocol: String,
    /// The cause, as received.
    pub cause: Option<String>,
    /// The text, unquoted.
    pub text: Option<String>,
}
