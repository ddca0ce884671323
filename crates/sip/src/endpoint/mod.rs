//! The endpoint: datagrams, commands and time in; datagrams, events and look-ups out.

mod accounts;
mod admission;
mod call_in;
mod call_out;
mod client;
mod fields;
mod in_dialog;
mod leg;
mod receive;
mod refer;
mod reinvite;
mod reliable;
mod server;
mod session_timer;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use voex_base::{Rng, SocketId};

use self::accounts::Account;
use self::client::{ClientTransaction, Lookup};
use self::leg::Leg;
use self::refer::{Refer, ReferNews};
use self::server::{ServerKey, ServerTransaction};
use crate::timers::TimerQueue;
use crate::{AccountId, Command, Config, Event, LegId, Metrics, QueryId, ReferId};

/// A SIP endpoint: every account, transaction and dialog of this process.
///
/// Hand in what happens (`handle_*`), then drain [`poll_output`](Self::poll_output) until `None`, obey each output in
/// order, and call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) has come.
pub struct Endpoint {
    config: Config,
    rng: Rng,
    metrics: Arc<Metrics>,
    outputs: VecDeque<Output>,
    timers: TimerQueue<TimerOwner>,
    accounts: BTreeMap<AccountId, Account>,
    accounts_by_user: BTreeSet<(String, AccountId)>,
    account_hosts: BTreeSet<(IpAddr, AccountId)>,
    /// Accounts that take calls for users nobody else has.
    catch_all: BTreeSet<AccountId>,
    legs: BTreeMap<LegId, Leg>,
    legs_by_tag: BTreeMap<String, LegId>,
    clients: BTreeMap<ClientId, ClientTransaction>,
    /// Branch and method to client transaction.
    client_keys: BTreeMap<(String, String), ClientId>,
    servers: BTreeMap<ServerId, ServerTransaction>,
    server_keys: BTreeMap<ServerKey, ServerId>,
    /// From tag, Call-ID and CSeq of INVITEs in progress, to find merged requests.
    merges: BTreeMap<String, ServerId>,
    lookups: BTreeMap<QueryId, Lookup>,
    /// Transfers that were asked of us, until what became of them is known.
    refers: BTreeMap<ReferId, Refer>,
    refer_news: Vec<ReferNews>,
    /// Makes the To tags of answers without state the same for the same request.
    tag_secret: u64,
    last_id: u64,
}

/// A client transaction of this endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ClientId(u64);

/// A server transaction of this endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ServerId(u64);

/// Who has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum TimerOwner {
    Client(ClientId),
    Server(ServerId),
    Leg(LegId),
    Account(AccountId),
    Lookup(QueryId),
}

/// What the endpoint wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// Through which of our sockets.
        socket: SocketId,
        /// To whom.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Tell the application.
    Event(Event),
    /// Look a name up and answer with `handle_resolved`: NAPTR and SRV when `port` is `None`, else (and when they
    /// give nothing) A and AAAA with `port` or 5060; UDP only.
    Resolve {
        /// Id to answer with.
        query: QueryId,
        /// The name; never an address.
        host: String,
        /// The port in the URI.
        port: Option<u16>,
    },
}

/// Why a name gave no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResolveError {
    /// The name does not exist or has no address of a family we listen on.
    NotFound,
    /// No answer from the name servers.
    Unavailable,
}

impl Endpoint {
    /// Makes an endpoint with no accounts and no calls.
    pub fn new(config: Config, mut rng: Rng, metrics: Arc<Metrics>) -> Self {
        let tag_secret = rng.u64();
        Self {
            config,
            rng,
            metrics,
            outputs: VecDeque::new(),
            timers: TimerQueue::new(),
            accounts: BTreeMap::new(),
            accounts_by_user: BTreeSet::new(),
            account_hosts: BTreeSet::new(),
            catch_all: BTreeSet::new(),
            legs: BTreeMap::new(),
            legs_by_tag: BTreeMap::new(),
            clients: BTreeMap::new(),
            client_keys: BTreeMap::new(),
            servers: BTreeMap::new(),
            server_keys: BTreeMap::new(),
            merges: BTreeMap::new(),
            lookups: BTreeMap::new(),
            refers: BTreeMap::new(),
            refer_news: Vec::new(),
            tag_secret,
            last_id: 0,
        }
    }

    /// Takes an order. One that fits no leg or account is ignored and counted.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Register(spec) => self.register(now, *spec),
            Command::Unregister { account } => self.unregister(now, account),
            Command::Call(spec) => self.call(now, *spec),
            Command::Ring { leg, headers } => self.provisional(now, leg, 180, None, &headers),
            Command::Progress { leg, sdp, headers } => self.provisional(now, leg, 183, Some(sdp), &headers),
            Command::Accept { leg, sdp, headers } => self.accept(now, leg, sdp, &headers),
            Command::Decline {
                leg,
                code,
                reason,
                headers,
            } => self.decline(now, leg, code, reason, &headers),
            Command::Hangup { leg, headers } => self.hangup(now, leg, headers),
            Command::Reinvite { leg, sdp, headers } => self.reinvite(now, leg, sdp, headers),
            Command::AnswerReinvite { leg, answer, headers } => self.answer_reinvite(now, leg, answer, &headers),
            Command::Info {
                leg,
                content_type,
                body,
                headers,
            } => self.info(now, leg, content_type, body, &headers),
            Command::Refer {
                leg,
                to,
                replaces,
                headers,
            } => self.refer(now, leg, &to, replaces.as_deref(), &headers),
            Command::DeclineRefer { refer, code } => self.decline_refer(refer, code),
        }
        self.tell_refers(now);
    }

    /// Lets every timer fire whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(owner) = self.timers.take_due(now) {
            match owner {
                TimerOwner::Client(id) => self.handle_client_timeout(now, id),
                TimerOwner::Server(id) => self.handle_server_timeout(now, id),
                TimerOwner::Leg(id) => self.handle_leg_timeout(now, id),
                TimerOwner::Account(id) => self.handle_account_timeout(now, id),
                TimerOwner::Lookup(id) => self.handle_resolved(now, id, Err(ResolveError::Unavailable)),
            }
        }
        self.tell_refers(now);
    }

    /// Gives the time of the next timer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Gives the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Number of legs, ringing and answered.
    pub fn leg_count(&self) -> usize {
        self.legs.len()
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn transmit(&mut self, socket: SocketId, to: SocketAddr, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Transmit { socket, to, bytes });
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn ignore_command(&self) {
        self.metrics.commands_ignored.inc();
    }

    fn count_transactions(&self) {
        let count = self.clients.len() + self.servers.len();
        self.metrics.transactions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
