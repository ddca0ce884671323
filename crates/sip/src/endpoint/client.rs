//! Requests of ours: where they go, the transactions that carry them, and who hears the answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use voex_base::SocketId;
use voex_sip_wire::{
    Essentials, Header, Host, MAGIC_COOKIE, Method, NameAddr, Request, Response, Uri, Via, reason_phrase,
};

use super::session_timer::least_interval;
use super::{ClientId, Endpoint, Output, ResolveError, TimerOwner};
use crate::metrics::{DropReason, MethodLabel, ResponseClass};
use crate::transaction::{ClientAction, InviteClient, NonInviteClient};
use crate::{AccountId, LegId, Listen, QueryId};

/// A client transaction: its machine and what it sends.
pub(super) struct ClientTransaction {
    machine: Machine,
    pub(super) branch: String,
    pub(super) outgoing: Outgoing,
    bytes: Vec<u8>,
    pub(super) socket: SocketId,
    pub(super) to: SocketAddr,
    /// Other addresses of the same name, tried when this one is silent or unavailable.
    more: VecDeque<SocketAddr>,
    /// The ACK of a refusal.
    ack: Vec<u8>,
}

enum Machine {
    Invite(InviteClient),
    Other(NonInviteClient),
}

/// A request on its way to a transaction, without Via.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) request: Request,
    pub(super) purpose: Purpose,
    pub(super) socket: Option<SocketId>,
    /// How often a challenge has been answered to get here.
    pub(super) challenges: u8,
}

/// What a request is for: who hears its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// REGISTER; the serial tells this registration from an earlier one of the same id.
    Register(AccountId, u64),
    /// The INVITE that begins a leg.
    Invite(LegId),
    /// An INVITE within a leg.
    Reinvite(LegId),
    /// INFO.
    Info(LegId),
    /// PRACK; its answer changes nothing.
    Prack(LegId),
    /// UPDATE without an offer: a refresh.
    Update(LegId),
    /// REFER.
    Refer(LegId),
    /// NOTIFY of what became of a transfer.
    Notify(LegId),
    /// BYE; its answer ends the leg.
    Bye(LegId),
    /// CANCEL; the INVITE's answer counts, not its own.
    Cancel,
    /// BYE to a fork that nobody waits for.
    StrayBye,
}

/// What waits for a name.
pub(super) enum Lookup {
    Request(Box<Outgoing>),
    /// An ACK for a 200, and where the 200 came from if the name gives nothing.
    Ack(LegId, Box<Request>, SocketAddr),
    /// The hosts of an account, for admission.
    AccountHost(AccountId),
}

/// The first hop of a request.
pub(super) enum Hop {
    Address(SocketAddr),
    Name(String, Option<u16>),
}

/// Most addresses of one name that are tried in turn.
const TARGETS_MAX: usize = 4;

/// Most challenges answered for one request: two proxies and a registrar, each with a stale nonce once.
const CHALLENGES_MAX: u8 = 6;

/// UDP port of SIP.
const PORT: u16 = 5060;

impl Endpoint {
    /// Sends a request in a transaction of its own, after a look-up if need be. Failure is reported like a response.
    pub(super) fn send_request(&mut self, now: Instant, outgoing: Outgoing) {
        match first_hop(&outgoing.request) {
            Some(Hop::Address(to)) => self.start_client(now, outgoing, VecDeque::from([to])),
            Some(Hop::Name(host, port)) => self.look_up(now, Lookup::Request(Box::new(outgoing)), host, port),
            None => self.request_failed(now, &outgoing, 503, "No Route"),
        }
    }

    pub(super) fn look_up(&mut self, now: Instant, lookup: Lookup, host: String, port: Option<u16>) {
        if self.lookups.len() >= self.config.limits.transactions_max {
            return self.lookup_failed(now, lookup);
        }
        let query = QueryId(self.next_id());
        self.lookups.insert(query, lookup);
        self.timers
            .arm(TimerOwner::Lookup(query), Some(now + self.config.timers.t1 * 64));
        self.outputs.push_back(Output::Resolve { query, host, port });
    }

    /// Takes the answer to [`Output::Resolve`]: addresses in the order in which they are to be tried.
    pub fn handle_resolved(&mut self, now: Instant, query: QueryId, result: Result<Vec<SocketAddr>, ResolveError>) {
        self.resolved(now, query, result);
        self.tell_refers(now);
    }

    fn resolved(&mut self, now: Instant, query: QueryId, result: Result<Vec<SocketAddr>, ResolveError>) {
        self.timers.arm(TimerOwner::Lookup(query), None);
        let Some(lookup) = self.lookups.remove(&query) else {
            return;
        };
        let mut addresses = VecDeque::from(result.unwrap_or_default());
        addresses.truncate(TARGETS_MAX);
        if addresses.is_empty() {
            return self.lookup_failed(now, lookup);
        }
        match lookup {
            Lookup::Request(outgoing) => {
                if let Purpose::Register(account, _) = outgoing.purpose {
                    addresses
                        .iter()
                        .for_each(|address| self.add_account_host(account, address.ip()));
                }
                self.start_client(now, *outgoing, addresses);
            }
            Lookup::Ack(leg, request, _) => self.send_ack(leg, *request, addresses[0]),
            Lookup::AccountHost(account) => {
                addresses
                    .iter()
                    .for_each(|address| self.add_account_host(account, address.ip()));
            }
        }
    }

    fn lookup_failed(&mut self, now: Instant, lookup: Lookup) {
        match lookup {
            Lookup::Request(outgoing) => self.request_failed(now, &outgoing, 503, "Name Does Not Resolve"),
            Lookup::Ack(leg, request, source) => self.send_ack(leg, *request, source),
            Lookup::AccountHost(_) => {}
        }
    }

    /// Finds a socket for a destination: the wanted one, else the first of its family.
    pub(super) fn socket_towards(&self, to: SocketAddr, wanted: Option<SocketId>) -> Option<Listen> {
        let fits = |listen: &&Listen| listen.advertised.is_ipv4() == to.is_ipv4();
        let mut listens = self.config.listen.iter().filter(fits);
        let chosen = listens.clone().find(|listen| Some(listen.id) == wanted);
        chosen.or_else(|| listens.next()).copied()
    }

    fn start_client(&mut self, now: Instant, outgoing: Outgoing, mut targets: VecDeque<SocketAddr>) {
        if self.is_obsolete(&outgoing) {
            return;
        }
        if self.clients.len() >= self.config.limits.transactions_max {
            return self.request_failed(now, &outgoing, 503, reason_phrase(503));
        }
        let target = targets.pop_front();
        let found = target.and_then(|to| Some((to, self.socket_towards(to, outgoing.socket)?)));
        let Some((to, listen)) = found else {
            return self.request_failed(now, &outgoing, 503, "No Route");
        };
        let branch = format!("{MAGIC_COOKIE}{}", self.rng.token(20));
        self.start_client_at(now, outgoing, branch, (listen, to), targets);
    }

    /// CANCEL comes here directly, with the branch of its INVITE.
    pub(super) fn start_client_at(
        &mut self,
        now: Instant,
        outgoing: Outgoing,
        branch: String,
        (listen, to): (Listen, SocketAddr),
        more: VecDeque<SocketAddr>,
    ) {
        let mut on_wire = outgoing.request.clone();
        let via = Via::new("UDP", listen.advertised, &branch);
        on_wire.headers.push_front(Header::Via, via.to_string());
        let bytes = on_wire.to_bytes();
        let machine = match outgoing.request.method {
            Method::Invite => Machine::Invite(InviteClient::new(now, self.config.timers)),
            _ => Machine::Other(NonInviteClient::new(now, self.config.timers)),
        };
        self.metrics
            .requests_out
            .of(MethodLabel::from(&outgoing.request.method))
            .inc();
        self.transmit(listen.id, to, bytes.clone());
        let id = ClientId(self.next_id());
        self.client_keys
            .insert((branch.clone(), outgoing.request.method.to_string()), id);
        self.timers.arm(TimerOwner::Client(id), machine.deadline());
        self.note_client(outgoing.purpose, id);
        let socket = listen.id;
        let ack = Vec::new();
        let transaction = ClientTransaction {
            machine,
            branch,
            outgoing,
            bytes,
            socket,
            to,
            more,
            ack,
        };
        self.clients.insert(id, transaction);
        self.count_transactions();
    }

    /// Tells the owner of an INVITE which transaction carries it.
    fn note_client(&mut self, purpose: Purpose, id: ClientId) {
        if let Purpose::Invite(leg) | Purpose::Reinvite(leg) = purpose
            && let Some(leg) = self.legs.get_mut(&leg)
        {
            leg.invite_client = Some(id);
        }
    }

    /// A request whose leg or registration has gone while its name was looked up.
    fn is_obsolete(&self, outgoing: &Outgoing) -> bool {
        match outgoing.purpose {
            Purpose::Register(account, serial) => self.accounts.get(&account).is_none_or(|a| a.serial != serial),
            Purpose::Invite(leg)
            | Purpose::Reinvite(leg)
            | Purpose::Info(leg)
            | Purpose::Prack(leg)
            | Purpose::Update(leg)
            | Purpose::Refer(leg)
            | Purpose::Notify(leg)
            | Purpose::Bye(leg) => !self.legs.contains_key(&leg),
            Purpose::Cancel | Purpose::StrayBye => false,
        }
    }

    pub(super) fn remove_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            self.client_keys
                .remove(&(client.branch, client.outgoing.request.method.to_string()));
            self.timers.arm(TimerOwner::Client(id), None);
            self.count_transactions();
        }
    }

    pub(super) fn handle_client_timeout(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match client.machine.handle_timeout(now) {
            ClientAction::Retransmit => {
                let (socket, to, bytes) = (client.socket, client.to, client.bytes.clone());
                self.timers.arm(TimerOwner::Client(id), client.machine.deadline());
                self.metrics.retransmissions.inc();
                self.transmit(socket, to, bytes);
            }
            ClientAction::TimedOut => self.try_next_target(now, id, 408),
            ClientAction::Terminated => self.remove_client(id),
            _ => self.timers.arm(TimerOwner::Client(id), client.machine.deadline()),
        }
    }

    /// Says whether this is the INVITE of a leg that is being cancelled: it must not be sent anew, since nobody would
    /// cancel it.
    fn is_given_up(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Invite(leg) => self.legs.get(&leg).is_some_and(|leg| leg.ending.is_some()),
            _ => false,
        }
    }

    /// Goes on with the next address of the name, or reports the failure.
    fn try_next_target(&mut self, now: Instant, id: ClientId, code: u16) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let (outgoing, more) = (client.outgoing.clone(), std::mem::take(&mut client.more));
        self.remove_client(id);
        if more.is_empty() || self.is_given_up(outgoing.purpose) {
            self.request_failed(now, &outgoing, code, reason_phrase(code));
        } else {
            self.start_client(now, outgoing, more);
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant, from: SocketAddr, response: Response, parts: &Essentials) {
        self.metrics.responses_in.of(ResponseClass::from(response.code)).inc();
        let branch = parts.via.branch().unwrap_or_default().to_owned();
        let key = (branch, parts.cseq.method.to_string());
        let found = self.client_keys.get(&key).copied().filter(|_| parts.via_count == 1);
        let Some((id, client)) = found.and_then(|id| Some((id, self.clients.get_mut(&id)?))) else {
            return self.metrics.dropped.of(DropReason::StrayResponse).inc();
        };
        let action = client.machine.handle_response(now, response.code);
        self.timers.arm(TimerOwner::Client(id), client.machine.deadline());
        match action {
            ClientAction::PassUp => self.pass_up(now, id, from, response, parts),
            ClientAction::AckAndPassUp => {
                client.ack = ack_refusal(client, &response, self.config.listen.as_slice());
                self.send_refusal_ack(id);
                self.pass_up(now, id, from, response, parts);
            }
            ClientAction::Ack => self.send_refusal_ack(id),
            _ => {}
        }
    }

    fn send_refusal_ack(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get(&id) {
            let (socket, to, bytes) = (client.socket, client.to, client.ack.clone());
            self.metrics.requests_out.of(MethodLabel::Ack).inc();
            self.transmit(socket, to, bytes);
        }
    }

    fn pass_up(&mut self, now: Instant, id: ClientId, from: SocketAddr, response: Response, parts: &Essentials) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let purpose = client.outgoing.purpose;
        let has_more = !client.more.is_empty();
        let given_up = self.is_given_up(purpose);
        if response.code == 503 && has_more && !given_up && purpose != Purpose::Cancel {
            return self.try_next_after_503(now, id);
        }
        if matches!(response.code, 401 | 407) && !given_up && self.answer_challenge(now, id, &response) {
            return;
        }
        if response.code == 422 && !given_up && self.propose_longer(now, id, &response) {
            return;
        }
        match purpose {
            Purpose::Invite(leg) => self.handle_invite_response(now, leg, id, from, response, parts),
            Purpose::Reinvite(leg) => self.handle_reinvite_response(now, leg, id, from, response, parts),
            _ if response.code < 200 => {}
            Purpose::Register(account, serial) => self.handle_register_response(now, account, serial, response),
            Purpose::Info(leg) => self.info_done(leg, response.code, response.reason),
            Purpose::Update(leg) => self.handle_update_response(now, leg, &response),
            Purpose::Refer(leg) => self.refer_answered(leg, response.code, response.reason),
            Purpose::Notify(leg) => self.notify_answered(leg, &response),
            Purpose::Bye(leg) => self.finish_leg(leg, response),
            Purpose::Prack(_) | Purpose::Cancel | Purpose::StrayBye => {}
        }
    }

    /// The refused transaction lives on for repeats of the 503.
    fn try_next_after_503(&mut self, now: Instant, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            let (outgoing, more) = (client.outgoing.clone(), std::mem::take(&mut client.more));
            self.start_client(now, outgoing, more);
        }
    }

    /// Sends the request again with an answer to the challenge. False: there is no answer to give.
    fn answer_challenge(&mut self, now: Instant, id: ClientId, response: &Response) -> bool {
        let Some(client) = self.clients.get(&id) else {
            return false;
        };
        let mut outgoing = client.outgoing.clone();
        if outgoing.challenges >= CHALLENGES_MAX {
            return false;
        }
        let Some((digest, credentials, cseq)) = self.authenticator(outgoing.purpose) else {
            return false;
        };
        let Some(credentials) = credentials else { return false };
        if !digest.take_challenge(&outgoing.request, response, &credentials, outgoing.challenges > 0) {
            return false;
        }
        *cseq += 1;
        let value = format!("{cseq} {}", outgoing.request.method);
        let mut digest = digest.clone();
        outgoing.request.headers.set(Header::CSeq, value);
        digest.authorize(&mut outgoing.request, &credentials, &mut self.rng);
        if let Some((stored, ..)) = self.authenticator(outgoing.purpose) {
            *stored = digest;
        }
        outgoing.challenges += 1;
        self.send_request(now, outgoing);
        true
    }

    /// Sends the request again with the longer interval that a 422 asks for (RFC 4028 §7.4). False: it asks for none.
    fn propose_longer(&mut self, now: Instant, id: ClientId, response: &Response) -> bool {
        let Some(client) = self.clients.get(&id) else {
            return false;
        };
        let mut outgoing = client.outgoing.clone();
        let (Purpose::Invite(leg) | Purpose::Reinvite(leg) | Purpose::Update(leg)) = outgoing.purpose else {
            return false;
        };
        let Some((leg, least)) = self.legs.get_mut(&leg).zip(least_interval(response)) else {
            return false;
        };
        if outgoing.challenges >= CHALLENGES_MAX || least <= leg.session_interval {
            return false;
        }
        (leg.session_interval, leg.session_least) = (least, Some(least));
        let cseq = format!("{} {}", leg.dialog.next_cseq(), outgoing.request.method);
        let headers = &mut outgoing.request.headers;
        headers.set(Header::CSeq, cseq);
        headers.set(Header::SessionExpires, least.as_secs().to_string());
        headers.set(Header::MinSe, least.as_secs().to_string());
        outgoing.challenges += 1;
        self.send_request(now, outgoing);
        true
    }

    /// Reports a request that got no answer, or could not be sent, to its owner.
    pub(super) fn request_failed(&mut self, now: Instant, outgoing: &Outgoing, code: u16, reason: &str) {
        let mut response = Response::answering(&outgoing.request.headers, code, Some(reason));
        response.headers = voex_sip_wire::HeaderFields::new();
        match outgoing.purpose {
            Purpose::Register(account, serial) => self.handle_register_response(now, account, serial, response),
            Purpose::Invite(leg) => self.invite_failed(now, leg, response),
            Purpose::Reinvite(leg) => self.reinvite_failed(now, leg, response),
            Purpose::Info(leg) => self.info_done(leg, code, response.reason),
            Purpose::Update(leg) => self.handle_update_response(now, leg, &response),
            Purpose::Refer(leg) => self.refer_answered(leg, code, response.reason),
            Purpose::Notify(leg) => self.notify_answered(leg, &response),
            Purpose::Bye(leg) => self.finish_leg(leg, response),
            Purpose::Prack(_) | Purpose::Cancel | Purpose::StrayBye => {}
        }
    }
}

impl ClientTransaction {
    /// Says whether this is an INVITE without a final answer.
    pub(super) fn is_pending_invite(&self) -> bool {
        matches!(&self.machine, Machine::Invite(machine) if machine.is_pending())
    }
}

impl Machine {
    fn handle_response(&mut self, now: Instant, code: u16) -> ClientAction {
        match self {
            Self::Invite(machine) => machine.handle_response(now, code),
            Self::Other(machine) => machine.handle_response(now, code),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> ClientAction {
        match self {
            Self::Invite(machine) => machine.handle_timeout(now),
            Self::Other(machine) => machine.handle_timeout(now),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.deadline(),
            Self::Other(machine) => machine.deadline(),
        }
    }
}

/// Finds where a request goes: its first Route, else its Request-URI. `None` for URIs that are no SIP.
pub(super) fn first_hop(request: &Request) -> Option<Hop> {
    let routes = request.headers.list(Header::Route).ok()?;
    match routes.first() {
        Some(route) => hop(&NameAddr::parse(route).ok()?.uri),
        None => hop(&request.uri),
    }
}

pub(super) fn hop(uri: &Uri) -> Option<Hop> {
    let sip = uri.as_sip().filter(|sip| !sip.secure)?;
    Some(match &sip.host {
        Host::Address(ip) => Hop::Address(SocketAddr::new(*ip, sip.port.unwrap_or(PORT))),
        Host::Name(name) => Hop::Name(name.clone(), sip.port),
    })
}

/// Makes the ACK for a refusal: same branch, same hop (RFC 3261 §17.1.1.3).
fn ack_refusal(client: &ClientTransaction, response: &Response, listens: &[Listen]) -> Vec<u8> {
    let invite = &client.outgoing.request;
    let mut ack = Request::new(Method::Ack, invite.uri.clone());
    let sent_by = listens
        .iter()
        .find(|listen| listen.id == client.socket)
        .map(|listen| listen.advertised);
    if let Some(sent_by) = sent_by {
        ack.headers
            .push(Header::Via, Via::new("UDP", sent_by, &client.branch).to_string());
    }
    for header in [Header::Route, Header::From, Header::CallId, Header::MaxForwards] {
        for value in invite.headers.all(header) {
            ack.headers.push(header, value);
        }
    }
    if let Some(to) = response.headers.get(Header::To) {
        ack.headers.push(Header::To, to);
    }
    let number = invite.headers.get(Header::CSeq).and_then(|cseq| cseq.split(' ').next());
    ack.headers
        .push(Header::CSeq, format!("{} ACK", number.unwrap_or_default()));
    ack.to_bytes()
}
