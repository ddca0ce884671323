//! Requests of theirs: the transactions that answer them.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::SocketId;
use voex_sip_wire::{Essentials, Header, HeaderFields, Method, Request, Response};

use super::fields::{ALLOW, SDP, SUPPORTED};
use super::{Endpoint, ServerId, TimerOwner};
use crate::metrics::ResponseClass;
use crate::transaction::{InviteServer, NonInviteServer, ServerAction};

/// A server transaction: its machine, what it answers and with what.
pub(super) struct ServerTransaction {
    machine: Machine,
    key: ServerKey,
    merge_key: Option<String>,
    /// Fields of the request, the source noted in its Via.
    pub(super) request: HeaderFields,
    pub(super) source: Source,
    pub(super) to_tag: String,
    /// The last response; empty before the first.
    bytes: Vec<u8>,
}

enum Machine {
    Invite(InviteServer),
    Other(NonInviteServer),
}

/// Where a request came from and its answers go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) socket: SocketId,
    pub(super) address: SocketAddr,
}

/// What makes two requests one transaction (RFC 3261 §17.2.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ServerKey(String);

/// A response to make: what differs from one to the next.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) reason: Option<String>,
    /// Contact, Record-Route and what an application added.
    pub(super) fields: HeaderFields,
    pub(super) sdp: Option<Vec<u8>>,
}

impl ServerKey {
    /// Gives the key of the transaction that `request` belongs to; that of an ACK or CANCEL is its INVITE's.
    pub(super) fn of(request: &Request, parts: &Essentials) -> Self {
        let invite = matches!(request.method, Method::Invite | Method::Ack | Method::Cancel);
        let method = if invite {
            Method::Invite.as_str()
        } else {
            request.method.as_str()
        };
        let via = &parts.via;
        let key = match via.unique_branch() {
            Some(branch) => format!("{branch} {}:{:?} {method}", via.host, via.port),
            None => {
                let tag = parts.from.tag().unwrap_or_default();
                let (call_id, cseq) = (&parts.call_id, parts.cseq.number);
                format!("{} {tag} {call_id} {cseq} {via} {method}", request.uri)
            }
        };
        Self(key)
    }
}

/// Gives what two INVITEs share when a proxy forked them to us twice (RFC 3261 §8.2.2.2).
pub(super) fn merge_key(parts: &Essentials) -> String {
    let tag = parts.from.tag().unwrap_or_default();
    format!("{} {tag} {}", parts.call_id, parts.cseq.number)
}

impl Endpoint {
    /// Begins the transaction of an INVITE, with 100 Trying.
    pub(super) fn start_invite_server(
        &mut self,
        now: Instant,
        source: Source,
        request: &Request,
        parts: &Essentials,
        to_tag: String,
    ) -> ServerId {
        let machine = Machine::Invite(InviteServer::new(self.config.timers));
        let id = self.insert_server(source, request, parts, to_tag, machine);
        let code = 100;
        self.respond(
            now,
            id,
            Answer {
                code,
                ..Answer::default()
            },
        );
        id
    }

    /// Begins the transaction of a request other than INVITE that is answered later, within 64 x T1.
    pub(super) fn start_server(
        &mut self,
        now: Instant,
        source: Source,
        request: &Request,
        parts: &Essentials,
    ) -> ServerId {
        let machine = Machine::Other(NonInviteServer::new(now, self.config.timers));
        let to_tag = self.rng.token(TAG_LENGTH);
        self.insert_server(source, request, parts, to_tag, machine)
    }

    /// Answers a request other than INVITE in a transaction of its own.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        source: Source,
        request: &Request,
        parts: &Essentials,
        answer: Answer,
    ) {
        let id = self.start_server(now, source, request, parts);
        self.respond(now, id, answer);
    }

    fn insert_server(
        &mut self,
        source: Source,
        request: &Request,
        parts: &Essentials,
        to_tag: String,
        machine: Machine,
    ) -> ServerId {
        let id = ServerId(self.next_id());
        let key = ServerKey::of(request, parts);
        let merge_key = matches!(machine, Machine::Invite(_)).then(|| merge_key(parts));
        if let Some(key) = &merge_key {
            self.merges.insert(key.clone(), id);
        }
        self.server_keys.insert(key.clone(), id);
        self.timers.arm(TimerOwner::Server(id), machine.deadline());
        let transaction = ServerTransaction {
            machine,
            key,
            merge_key,
            request: request.headers.clone(),
            source,
            to_tag,
            bytes: Vec::new(),
        };
        self.servers.insert(id, transaction);
        self.count_transactions();
        id
    }

    /// Sends a response and tells the machine. Gives what was sent; `None` when the transaction had its final one.
    pub(super) fn respond(&mut self, now: Instant, id: ServerId, answer: Answer) -> Option<Vec<u8>> {
        let server = self.servers.get_mut(&id)?;
        let code = answer.code;
        let action = match &mut server.machine {
            Machine::Invite(machine) => machine.respond(now, code),
            Machine::Other(_) => ServerAction::Respond,
        };
        if action != ServerAction::Respond {
            return None;
        }
        server.bytes = build(&server.request, &server.to_tag, answer, &self.config.user_agent).to_bytes();
        let (bytes, source) = (server.bytes.clone(), server.source);
        self.timers.arm(TimerOwner::Server(id), server.machine.deadline());
        self.metrics.responses_out.of(ResponseClass::from(code)).inc();
        self.transmit(source.socket, source.address, bytes.clone());
        Some(bytes)
    }

    /// Sends the last response again.
    pub(super) fn respond_again(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get(&id).filter(|server| !server.bytes.is_empty()) {
            let (bytes, source) = (server.bytes.clone(), server.source);
            self.metrics.retransmissions.inc();
            self.transmit(source.socket, source.address, bytes);
        }
    }

    pub(super) fn handle_retransmitted_request(&mut self, id: ServerId) {
        let action = self.servers.get_mut(&id).map(|server| match &mut server.machine {
            Machine::Invite(machine) => machine.handle_retransmission(),
            Machine::Other(machine) => machine.handle_retransmission(),
        });
        if action == Some(ServerAction::Respond) {
            self.respond_again(id);
        }
    }

    /// An ACK with the branch of an INVITE: it was for a refusal.
    pub(super) fn handle_refusal_ack(&mut self, now: Instant, id: ServerId) {
        if let Some(ServerTransaction { machine, .. }) = self.servers.get_mut(&id) {
            if let Machine::Invite(invite) = machine {
                invite.handle_ack(now);
            }
            self.timers.arm(TimerOwner::Server(id), machine.deadline());
        }
    }

    pub(super) fn handle_server_timeout(&mut self, now: Instant, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        let action = match &mut server.machine {
            Machine::Invite(machine) => machine.handle_timeout(now),
            Machine::Other(machine) => machine.handle_timeout(now),
        };
        self.timers.arm(TimerOwner::Server(id), server.machine.deadline());
        match action {
            ServerAction::Respond => self.respond_again(id),
            ServerAction::Terminated => self.remove_server(id),
            ServerAction::Nothing => {}
        }
    }

    fn remove_server(&mut self, id: ServerId) {
        if let Some(server) = self.servers.remove(&id) {
            self.server_keys.remove(&server.key);
            if let Some(key) = server.merge_key.filter(|key| self.merges.get(key) == Some(&id)) {
                self.merges.remove(&key);
            }
            self.timers.arm(TimerOwner::Server(id), None);
            self.count_transactions();
        }
    }

    /// Says whether the INVITE of this transaction still waits for its final response.
    pub(super) fn is_proceeding(&self, id: ServerId) -> bool {
        let machine = self.servers.get(&id).map(|server| &server.machine);
        matches!(machine, Some(Machine::Invite(machine)) if machine.is_proceeding())
    }

    pub(super) fn server_request(&self, id: ServerId) -> Option<&HeaderFields> {
        self.servers.get(&id).map(|server| &server.request)
    }
}

impl Machine {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.deadline(),
            Self::Other(machine) => machine.deadline(),
        }
    }
}

/// Characters of our tags: 119 bits that nobody guesses.
pub(super) const TAG_LENGTH: usize = 20;

/// Makes a response. `to_tag` is added unless the request had one (RFC 3261 §8.2.6.2).
pub(super) fn build(request: &HeaderFields, to_tag: &str, answer: Answer, server: &str) -> Response {
    let mut response = Response::answering(request, answer.code, answer.reason.as_deref());
    let tagged = voex_sip_wire::NameAddr::parse(request.get(Header::To).unwrap_or_default());
    let untagged = tagged.is_ok_and(|to| to.tag().is_none());
    if let Some(to) = request.get(Header::To).filter(|_| answer.code > 100 && untagged) {
        let to = format!("{to};tag={to_tag}");
        response.headers.set(Header::To, to);
    }
    for (name, value) in answer.fields.iter() {
        response.headers.push_by_name(name, value);
    }
    response.headers.push(Header::Server, server);
    if matches!(answer.code, 200..=299 | 405) {
        response.headers.push(Header::Allow, ALLOW);
    }
    if matches!(answer.code, 200..=299) {
        response.headers.push(Header::Supported, SUPPORTED.join(", "));
    }
    if let Some(sdp) = answer.sdp {
        response.headers.push(Header::ContentType, SDP);
        response.body = sdp;
    }
    response
}
