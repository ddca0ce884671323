//! What the loop does with peers of TCP relays: between their connections, the streams of clients, and the worker.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::SocketId;
use voex_turn::{BindError, ConnectionId, Way};
use voex_worker::{Output, Role};

use super::{Clock, WorkerLoop, bind_error};
use crate::metrics::StreamEnd;
use crate::peers::{Heard, PEERS_ACCEPTED_PER_PASS, Peers};
use crate::streams::{DataHeard, DataNews, Streams};
use crate::sys::ReadyEvent;

impl WorkerLoop {
    /// Obeys what the TURN shard wants of TCP relays, of connections with peers, and of streams that go elsewhere.
    pub(super) fn obey_of_peers(&mut self, output: Output, clock: Clock) {
        match output {
            Output::ListenRelay { request, address } => {
                let bound = self.listen_relay(address);
                self.worker
                    .handle_relay_bound(clock.now, clock.wall, request, bound, &mut self.egress);
            }
            Output::ConnectPeer {
                connection,
                relay,
                peer,
            } => {
                if !self.peers.connect(connection, relay, peer) {
                    self.answer_connect(connection, false, clock);
                }
            }
            Output::Bind { connection, client } => self.bind_data(connection, client.socket, clock),
            Output::ClosePeer(connection) => self.close_peer(connection, clock),
            Output::MoveClient { client, shard } => self.send_away(client.socket, shard),
            // Obeyed by the loop itself.
            Output::BindRelay { .. } | Output::CloseRelay(_) => {}
        }
    }

    fn listen_relay(&mut self, address: SocketAddr) -> Result<SocketId, BindError> {
        let id = self.ids.next();
        self.peers.listen(id, address).map_err(|error| bind_error(&error))?;
        self.worker.add_socket(id, Role::TcpRelay(address));
        Ok(id)
    }

    pub(super) fn close_relay(&mut self, id: SocketId) {
        if self.peers.unlisten(id) {
            self.worker.remove_socket(id);
        } else {
            self.close(id);
        }
    }

    /// Accepts peers that have a permission; the others are closed at once, and counted by the shard.
    pub(super) fn accept_peers(&mut self, token: u64, clock: Clock) {
        for _ in 0..PEERS_ACCEPTED_PER_PASS {
            let Some((relay, socket, peer)) = self.peers.accept(token, clock.now) else {
                return;
            };
            let accepted = self
                .worker
                .handle_peer_accepted(clock.now, relay, peer, &mut self.egress);
            if let Ok(connection) = accepted
                && !self.peers.keep(connection, socket)
            {
                self.worker.handle_peer_closed(connection);
            }
        }
    }

    /// Takes what a peer did; gives how much there was to do.
    pub(super) fn serve_peer(&mut self, token: u64, event: ReadyEvent, clock: Clock) -> u32 {
        match self.peers.receive(token, event) {
            Heard::Nothing => return 0,
            Heard::Connected(connection) => self.answer_connect(connection, true, clock),
            Heard::NotConnected(connection) => self.answer_connect(connection, false, clock),
            Heard::Gone(connection) => self.worker.handle_peer_closed(connection),
            Heard::Bytes(connection, client, len) => {
                self.count_carried(connection, client, Way::ToClient, len, clock);
                if !self.egress.streams.send_data(client, self.peers.said(len)) {
                    self.peers.pause(client, true);
                }
            }
            Heard::End(client) => {
                self.egress.streams.finish_data(client);
                self.end_if_over(client);
            }
            Heard::Drained(client) => {
                self.egress.streams.pause_data(client, false);
                self.end_if_over(client);
            }
            Heard::Broken(client) => self.egress.streams.close_data(client, StreamEnd::PeerBroken, clock.now),
        }
        1
    }

    /// Takes what the client of a data connection sent; gives how much there was to do.
    pub(super) fn serve_data(&mut self, client: SocketId, event: ReadyEvent, clock: Clock) -> u32 {
        let heard = self
            .egress
            .streams
            .receive_data(client, &mut self.stream_room, event.is_broken, clock.now);
        if matches!(heard, DataHeard::Bytes | DataHeard::LastBytes) {
            let len = self.stream_room.messages().len();
            if let Some(connection) = self.peers.connection_of(client).filter(|_| len > 0) {
                self.count_carried(connection, client, Way::ToPeer, len, clock);
                if !self.peers.carry(client, self.stream_room.messages()) {
                    self.egress.streams.pause_data(client, true);
                }
            }
        }
        if matches!(heard, DataHeard::LastBytes | DataHeard::End) {
            self.peers.finish(client);
            self.end_if_over(client);
        }
        u32::from(heard != DataHeard::Nothing)
    }

    /// Goes on where writing to data connections has made room or said the last word.
    pub(super) fn hear_of_data(&mut self) {
        let mut is_over = false;
        while let Some((client, news)) = self.egress.streams.poll_data() {
            match news {
                DataNews::Drained => self.peers.pause(client, false),
                DataNews::EndSaid => is_over |= self.end_if_over(client),
            }
        }
        if is_over {
            self.egress.streams.flush();
        }
    }

    fn answer_connect(&mut self, connection: ConnectionId, connected: bool, clock: Clock) {
        self.worker
            .handle_peer_connected(clock.now, connection, connected, &mut self.egress);
    }

    /// Joins a client's stream to its peer, beginning with what the client has sent already.
    fn bind_data(&mut self, connection: ConnectionId, client: SocketId, clock: Clock) {
        // A stream that is no more is being forgotten, and its peer with it.
        if !self.egress.streams.begin_data(client) {
            return;
        }
        if !self.peers.bind(connection, client) {
            return self.egress.streams.close_data(client, StreamEnd::PeerBroken, clock.now);
        }
        // What other connections owe of a limit, this one waits for too: or a new one would be a way around it.
        let mut is_throttled = |way| match self.worker.throttled_until(clock.now, connection, way) {
            Some(until) => {
                throttle(&mut self.peers, &mut self.egress.streams, client, way, until);
                true
            }
            None => false,
        };
        is_throttled(Way::ToClient);
        if !is_throttled(Way::ToPeer) {
            self.carry_first(connection, client, clock);
        }
    }

    /// Carries what a client has sent behind its request.
    fn carry_first(&mut self, connection: ConnectionId, client: SocketId, clock: Clock) {
        let (first, is_all) = self.egress.streams.take_first_data(client);
        if !first.is_empty() {
            self.count_carried(connection, client, Way::ToPeer, first.len(), clock);
            if !self.peers.carry(client, &first) {
                self.egress.streams.pause_data(client, true);
            }
        }
        if is_all {
            self.peers.finish(client);
        }
    }

    /// Counts what was carried, and leaves who said it unread for a while if a limit is reached.
    fn count_carried(&mut self, connection: ConnectionId, client: SocketId, way: Way, len: usize, clock: Clock) {
        if let Some(until) = self.worker.handle_carried(clock.now, connection, way, len) {
            throttle(&mut self.peers, &mut self.egress.streams, client, way, until);
        }
    }

    /// Reads on who was left unread for long enough.
    pub(super) fn unthrottle(&mut self, clock: Clock) {
        while let Some((connection, client, way)) = self.peers.poll_throttled(clock.now) {
            if let Some(until) = self.worker.throttled_until(clock.now, connection, way) {
                throttle(&mut self.peers, &mut self.egress.streams, client, way, until);
                continue;
            }
            self.peers.unthrottle(client, way);
            if way == Way::ToPeer {
                self.egress.streams.throttle_data(client, false);
                self.carry_first(connection, client, clock);
            }
        }
    }

    fn close_peer(&mut self, connection: ConnectionId, clock: Clock) {
        if let Some(client) = self.peers.close(connection, clock.now) {
            self.egress.streams.close_data(client, StreamEnd::RelayEnded, clock.now);
        }
    }

    /// Ends a data connection when neither its client nor the peer has more to say; tells whether it did.
    fn end_if_over(&mut self, client: SocketId) -> bool {
        let is_over = self.peers.is_over(client) && self.egress.streams.is_end_said(client);
        if is_over {
            self.egress.streams.end_data(client);
        }
        is_over
    }

    fn send_away(&mut self, client: SocketId, shard: u16) {
        self.worker.remove_socket(client);
        let way = self.moves_out.get_mut(usize::from(shard)).and_then(Option::as_mut);
        self.egress.streams.depart(client, way);
    }
}

/// Leaves the side unread whose bytes go one way.
fn throttle(peers: &mut Peers, streams: &mut Streams, client: SocketId, way: Way, until: Instant) {
    peers.throttle(client, way, until);
    if way == Way::ToPeer {
        streams.throttle_data(client, true);
    }
}
