//! What the control plane hears of allocations, and what it may do to them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use voex_base::{Outbox, WallTime};

use crate::allocation::Allocation;
use crate::answer::Answers;
use crate::answer_limiter::AnswerLimiter;
use crate::credentials::Credentials;
use crate::nonce::NonceSource;
use crate::peer_policy::PeerPolicy;
use crate::rate::Meters;
use crate::relays::Relay;
use crate::session::is_of;
use crate::timer::AllocationId;
use crate::{ClientPath, Command, Config, EndReason, Event, Selection, Server, Session};

/// Events that may wait for the control plane. Then traffic is reported later, refreshes are not, and nothing new begins.
pub(crate) const EVENTS_WAITING_MAX: usize = 65_536;

/// Reports what an allocation relayed, if enough has come together.
#[inline]
pub(crate) fn report_traffic(allocation: &mut Allocation, events: &mut VecDeque<Event>) {
    if allocation.is_report_due() && events.len() < EVENTS_WAITING_MAX {
        let (client, peer) = allocation.report();
        let session = allocation.session;
        events.push_back(Event::Traffic { session, client, peer });
    }
}

impl Server {
    /// Takes an order of the control plane.
    pub fn handle_command(&mut self, now: Instant, wall: WallTime, command: Command, out: &mut impl Outbox) {
        match command {
            Command::LookedUp { id, found } => self.handle_looked_up(now, wall, id, &found, out),
            Command::End(selection) => self.end_selected(&selection),
            Command::RefuseNewAllocations => self.refuse_new_allocations(),
            Command::Reconfigure(config) => self.reconfigure(*config),
        }
    }

    pub(crate) fn report_began(&mut self, wall: WallTime, id: AllocationId) {
        let allocation = self.table.get(id);
        let socket = allocation.five_tuple.socket;
        let session = Session {
            id: allocation.session,
            user: Arc::clone(&allocation.user),
            realm: Arc::clone(&self.realm),
            path: self.client_path(socket),
            client: allocation.five_tuple.client,
            transport: allocation.transport,
            relayed: allocation.relays.iter().map(Relay::relayed).collect(),
            lifetime_s: allocation.making.lifetime_s,
            began: wall,
            traffic: Arc::clone(&allocation.traffic),
        };
        self.events.push_back(Event::Began(Box::new(session)));
    }

    pub(crate) fn report_refreshed(&mut self, id: AllocationId, lifetime_s: u32) {
        let session = self.table.get(id).session;
        if self.events.len() < EVENTS_WAITING_MAX {
            self.events.push_back(Event::Refreshed { session, lifetime_s });
        }
    }

    /// Gives how clients reach a socket.
    pub(crate) fn client_path(&self, socket: voex_base::SocketId) -> ClientPath {
        let known = self.client_sockets.get(&socket).copied();
        known.unwrap_or_else(|| ClientPath::udp(([0, 0, 0, 0], 0).into()))
    }

    pub(crate) fn end_selected(&mut self, selection: &Selection) {
        let (wanted, reason) = match selection {
            Selection::Session(session) => (self.table.find(|one| one.session == *session), EndReason::Administrator),
            Selection::User(user) => (self.table.find(|one| is_of(&one.user, user)), EndReason::Administrator),
            Selection::DeletedUser(user) => (self.table.find(|one| *one.user == **user), EndReason::UserDeleted),
            Selection::All => (self.table.find(|_| true), EndReason::Administrator),
        };
        for id in wanted {
            self.end(id, reason);
        }
    }

    /// Takes over settings; allocations keep what they were granted, but for peers that are closed from now on.
    fn reconfigure(&mut self, fresh: Config) {
        let config = Config {
            shard: self.config.shard,
            signing_key: self.config.signing_key,
            ports: self.config.ports.clone(),
            ..fresh
        };
        self.answers = Answers::new(&config);
        self.listeners.set_relays(&config.relays);
        self.realm = config.realm.as_str().into();
        self.credentials = Credentials::new(&config, &mut self.rng);
        self.nonces = NonceSource::new(&config.signing_key, config.lifetimes.nonce, config.features());
        self.policy = PeerPolicy::new(config.peers.clone());
        if config.challenges != self.config.challenges {
            self.challenge_limiter = AnswerLimiter::new(config.challenges, &mut self.rng);
        }
        if config.bindings != self.config.bindings {
            self.binding_limiter = AnswerLimiter::new(config.bindings, &mut self.rng);
        }
        if config.look_ups != self.config.look_ups {
            self.look_up_limiter = AnswerLimiter::new(config.look_ups, &mut self.rng);
        }
        self.knows_tcp_relays |= config.tcp_relays;
        self.config = config;
        self.measure();
        self.close_peers();
    }

    /// Begins to measure what is limited from now on, or ends it.
    fn measure(&mut self) {
        for id in self.table.find(|_| true) {
            let meters = &mut self.table.get_mut(id).meters;
            *meters = Meters::new(&self.config.rates).map(|fresh| meters.take().unwrap_or(fresh));
        }
    }

    /// Takes back permissions and channels of peers that the policy no longer permits.
    fn close_peers(&mut self) {
        for id in self.table.find(|_| true) {
            let (policy, allocation) = (&self.policy, self.table.get_mut(id));
            allocation.permissions.retain(|ip| policy.permits_ip(ip));
            allocation
                .channels
                .retain(|peer, _| policy.permits_ip(peer.ip()) && policy.permits_port(peer));
            self.table.reschedule(id);
            self.close_connections(id, Self::is_closed_peer);
        }
    }
}
