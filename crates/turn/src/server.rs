use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use voex_base::{DATAGRAM_BYTES_MAX, FiveTuple, Outbox, Rng, SocketId, WallTime};
use voex_stun::{
    AddressFamily, Attribute, AttributeType, ChannelData, Class, Message, MessageWriter, Method, PacketKind,
    TransactionId,
};

use crate::allocation::{Ended, RelayedAddress};
use crate::allocations::Allocations;
use crate::answer::Answers;
use crate::answer_limiter::AnswerLimiter;
use crate::claims::Claims;
use crate::credentials::Credentials;
use crate::keyed::{KeyedMap, keyed_map};
use crate::listeners::Listeners;
use crate::mobility::FarClient;
use crate::mobility_ticket::MobilityTickets;
use crate::nonce::NonceSource;
use crate::peer_connections::PeerConnections;
use crate::peer_policy::PeerPolicy;
use crate::relays::Relay;
use crate::report::report_traffic;
use crate::request::Request;
use crate::reservation::ReservationTokens;
use crate::timer::AllocationId;
use crate::waiting::WaitingRequests;
use crate::{ClientPath, Config, ConnectionId, DropReason, EndReason, Event, Metrics, Quotas, RelayTransport, Way};

/// One worker's shard of the TURN server.
///
/// After every `handle_*` call the owner drains [`poll_output`](Self::poll_output), lets
/// [`pass_claims`](Self::pass_claims) tell other shards what they have to know, answers each
/// [`Output::BindRelay`] with [`handle_relay_bound`](Self::handle_relay_bound) (at once or later), and wakes it with
/// [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout). Packets to send go straight into
/// the [`Outbox`].
pub struct Server {
    pub(crate) config: Config,
    pub(crate) realm: Arc<str>,
    pub(crate) rng: Rng,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) answers: Answers,
    pub(crate) credentials: Credentials,
    pub(crate) nonces: NonceSource,
    pub(crate) tokens: ReservationTokens,
    pub(crate) tickets: MobilityTickets,
    /// Clients of the listeners here whose allocation another shard has: two that it has claimed for each of those at most,
    /// and those of which that is expected.
    pub(crate) far_clients: KeyedMap<FiveTuple, FarClient>,
    pub(crate) claims_expected: VecDeque<(FiveTuple, Instant)>,
    pub(crate) claims: Claims,
    pub(crate) policy: PeerPolicy,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) challenge_limiter: AnswerLimiter,
    pub(crate) binding_limiter: AnswerLimiter,
    pub(crate) look_up_limiter: AnswerLimiter,
    pub(crate) table: Allocations,
    pub(crate) connections: PeerConnections,
    pub(crate) waiting: WaitingRequests,
    pub(crate) client_sockets: KeyedMap<SocketId, ClientPath>,
    pub(crate) listeners: Listeners,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) last_session: u64,
    pub(crate) last_bind_request: u64,
    pub(crate) draining: bool,
    /// TCP relays are on or have been: some shard may still have one.
    pub(crate) knows_tcp_relays: bool,
}

/// What became of a client's datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientVerdict {
    /// The part `payload` of the datagram goes to `peer`, from the relay's socket or by hand-over in the process.
    ToPeer {
        /// The relay to send from.
        relay: SocketId,
        /// The peer to send to.
        peer: SocketAddr,
        /// Where in the datagram the application data stands.
        payload: Range<usize>,
        /// Send with the DF bit.
        dont_fragment: bool,
    },
    /// Nothing is left to do; an answer may stand in the outbox.
    Handled,
    /// Another shard has the allocation of this client: it gets the whole datagram, as
    /// [`Server::handle_far_datagram`] takes it.
    Elsewhere {
        /// Number of the shard among those that share the relay ports.
        shard: u16,
    },
    /// Dropped and counted.
    Drop(DropReason),
}

/// What the server asks of the owner of sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Bind a UDP socket; the answer is [`Server::handle_relay_bound`], exactly one for each request.
    BindRelay {
        /// Names the request in the answer.
        request: BindRequest,
        /// The address and port to bind.
        address: SocketAddr,
    },
    /// Close a relay's socket; its id means nothing to the server any more.
    CloseRelay(SocketId),
    /// Listen on a TCP port; the answer is [`Server::handle_relay_bound`], exactly one for each request. Who connects is
    /// shown to [`Server::handle_peer_accepted`].
    ListenRelay {
        /// Names the request in the answer.
        request: BindRequest,
        /// The address and port to listen on.
        address: SocketAddr,
    },
    /// Connect a relay with a peer, from the relay's own address and port; the answer is
    /// [`Server::handle_peer_connected`], unless it is closed before.
    ConnectPeer {
        /// Names the connection from now on.
        connection: ConnectionId,
        /// The relay that listens.
        relay: SocketId,
        /// The peer to connect to.
        peer: SocketAddr,
    },
    /// Carry bytes both ways between a peer and a client's stream, from the message on that was just handled.
    Bind {
        /// The peer data connection.
        connection: ConnectionId,
        /// The client data connection.
        client: FiveTuple,
    },
    /// Close a connection with a peer, and the client data connection that it was bound to.
    ClosePeer(ConnectionId),
    /// Move a client's stream to another shard, with the message just handled as the first that is handled there.
    MoveClient {
        /// The stream.
        client: FiveTuple,
        /// Number of the shard among those that share the relay ports.
        shard: u16,
    },
}

/// Names a request to bind a relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BindRequest(pub u64);

/// Why a relay could not be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindError {
    /// Somebody has the port; another may be free.
    AddressInUse,
    /// No other port would do better: no descriptors, no such address.
    Failed,
}

impl Server {
    /// Makes a shard without allocations, that counts quotas for itself.
    pub fn new(config: Config, mut rng: Rng, metrics: Arc<Metrics>) -> Self {
        Self {
            realm: config.realm.as_str().into(),
            answers: Answers::new(&config),
            credentials: Credentials::new(&config, &mut rng),
            nonces: NonceSource::new(&config.signing_key, config.lifetimes.nonce, config.features()),
            tickets: MobilityTickets::new(&config.signing_key),
            far_clients: keyed_map(&mut rng),
            claims_expected: VecDeque::new(),
            claims: Claims::new(&mut rng),
            tokens: ReservationTokens::new(&config.signing_key, config.lifetimes.reservation),
            policy: PeerPolicy::new(config.peers.clone()),
            challenge_limiter: AnswerLimiter::new(config.challenges, &mut rng),
            binding_limiter: AnswerLimiter::new(config.bindings, &mut rng),
            look_up_limiter: AnswerLimiter::new(config.look_ups, &mut rng),
            quotas: Arc::new(Quotas::new(config.allocations_max, &mut rng)),
            table: Allocations::new(&mut rng),
            connections: PeerConnections::new(&mut rng),
            waiting: WaitingRequests::new(&mut rng),
            client_sockets: keyed_map(&mut rng),
            listeners: Listeners::new(&config.relays),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            last_session: 0,
            last_bind_request: 0,
            draining: false,
            knows_tcp_relays: config.tcp_relays,
            config,
            rng,
            metrics,
        }
    }

    /// Makes the shard count its quotas together with others, before it has allocations.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Arc<Quotas>) -> Self {
        self.quotas = quotas;
        self
    }

    /// Takes a datagram, or one message of a stream, from a client.
    #[inline]
    pub fn handle_client_datagram(
        &mut self,
        now: Instant,
        wall: WallTime,
        five_tuple: FiveTuple,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> ClientVerdict {
        if let Some(verdict) = self.give_on(now, &five_tuple) {
            return verdict;
        }
        self.handle_own_datagram(now, wall, five_tuple, None, data, out)
    }

    /// Takes a datagram of which it is clear that no other shard is meant.
    #[inline]
    pub(crate) fn handle_own_datagram(
        &mut self,
        now: Instant,
        wall: WallTime,
        five_tuple: FiveTuple,
        via: Option<u16>,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> ClientVerdict {
        let verdict = match PacketKind::of(data) {
            PacketKind::ChannelData => self.handle_channel_data(now, &five_tuple, data),
            PacketKind::Stun => self.handle_stun(now, wall, five_tuple, via, data, out),
            _ => Err(DropReason::NotTurn),
        };
        verdict.unwrap_or_else(|reason| ClientVerdict::Drop(self.dropped(reason)))
    }

    /// Takes a datagram that a peer sent to a relay, and sends it on to the relay's client.
    ///
    /// `peer` is the source as the client knows it: for a hand-over in the process, the address that the sender's relay
    /// would have had on the wire.
    ///
    /// # Errors
    /// Why the datagram was dropped; it is counted.
    #[inline]
    pub fn handle_peer_datagram(
        &mut self,
        now: Instant,
        relay: SocketId,
        peer: SocketAddr,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        self.relay_to_client(now, relay, peer, data, out)
            .map_err(|reason| self.dropped(reason))
    }

    /// Takes the next thing to be done with sockets.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes the next thing to report.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Gives when [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.table.next_timeout(),
            self.waiting.next_timeout(),
            self.connections.next_timeout(),
        ];
        timeouts.into_iter().flatten().min()
    }

    /// Lets everything end whose time has come.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outbox) {
        while let Some(ended) = self.table.pop_ended(now) {
            match ended {
                Ended::Allocation(id) => self.end(id, EndReason::Expired),
                Ended::Relay(id, family) => self.end_relay(id, family),
            }
        }
        self.expire_waiting(now);
        self.expire_connections(now, out);
    }

    /// Makes a socket known over which clients reach the server.
    pub fn add_client_socket(&mut self, socket: SocketId, path: ClientPath) {
        self.client_sockets.insert(socket, path);
        self.listeners.insert(socket, &path);
    }

    /// Forgets a socket of clients. For a stream, [`close_client`](Self::close_client) ends its allocation.
    pub fn remove_client_socket(&mut self, socket: SocketId) {
        self.client_sockets.remove(&socket);
        self.listeners.remove(socket);
    }

    /// Ends the allocation of a client whose stream is gone, unless it was given a ticket to come back with, or the peer
    /// data connection it was bound to, and forgets what it has asked.
    pub fn close_client(&mut self, five_tuple: FiveTuple) {
        self.forget_waiting(&five_tuple);
        self.close_connection_of_client(&five_tuple);
        match self.table.id_of_client(&five_tuple) {
            Some(id) if self.config.mobility && self.table.get(id).may_be_resumed() => {
                self.lose_path(id, &five_tuple);
            }
            Some(id) => self.end(id, EndReason::Disconnected),
            None => {}
        }
    }

    /// Refuses new allocations with 508 from now on; those that exist go on (drain).
    pub fn refuse_new_allocations(&mut self) {
        self.draining = true;
    }

    /// Counts the allocations that exist or are being made.
    pub fn allocations(&self) -> usize {
        self.table.len()
    }

    /// Tells whether a client has an allocation, or one is being made for it, or its stream is a data connection.
    pub fn serves(&self, client: &FiveTuple) -> bool {
        self.table.id_of_client(client).is_some() || self.connections.of_client(client.socket).is_some()
    }

    /// Finds the relay behind a transport address, in its local or its public form.
    #[inline]
    pub fn relay_by_address(&self, address: SocketAddr) -> Option<SocketId> {
        let relays = &self.table.of_address(address)?.relays;
        relays.get(AddressFamily::of(address.ip()))?.socket()
    }

    /// Gives both forms of a relay's transport address.
    pub fn relayed_address(&self, relay: SocketId) -> Option<RelayedAddress> {
        let allocation = self.table.of_relay(relay)?;
        allocation.relays.of_socket(relay).map(Relay::relayed)
    }

    /// Removes an allocation, has its relay closed and reports its end.
    pub(crate) fn end(&mut self, id: AllocationId, reason: EndReason) {
        self.close_connections(id, |_, _| true);
        self.release_claims(id);
        let mut allocation = self.table.remove(id);
        for socket in allocation.relays.iter().filter_map(Relay::socket) {
            self.outputs.push_back(Output::CloseRelay(socket));
        }
        if allocation.has_begun() {
            self.metrics.allocations.add(-1);
            self.events.push_back(Event::Ended {
                session: allocation.session,
                reason,
                last: allocation.report(),
            });
        }
    }

    /// Removes one of an allocation's two relays and has it closed.
    pub(crate) fn end_relay(&mut self, id: AllocationId, family: AddressFamily) {
        self.close_connections(id, |_, peer| AddressFamily::of(peer.ip()) == family);
        let relay = self.table.remove_relay(id, family);
        if let Some(socket) = relay.as_ref().and_then(Relay::socket) {
            self.outputs.push_back(Output::CloseRelay(socket));
        }
    }

    #[inline]
    fn handle_channel_data(
        &mut self,
        now: Instant,
        five_tuple: &FiveTuple,
        data: &[u8],
    ) -> Result<ClientVerdict, DropReason> {
        let message = ChannelData::parse(data).map_err(|_| DropReason::Malformed)?;
        let allocation = self.table.of_client_mut(five_tuple).ok_or(DropReason::NoAllocation)?;
        let peer = allocation
            .channels
            .peer_of(message.channel, now)
            .ok_or(DropReason::NoChannel)?;
        let relay = allocation
            .relays
            .toward(peer.ip(), now)
            .ok_or(DropReason::NoAllocation)?;
        let payload_bytes = message.payload.len();
        allocation.admit(now, Way::ToPeer, payload_bytes, &self.config.rates, &self.quotas)?;
        let end = voex_stun::CHANNEL_DATA_HEADER_BYTES + payload_bytes;
        allocation.traffic.from_client.count(data.len());
        allocation.traffic.to_peer.count(payload_bytes);
        report_traffic(allocation, &mut self.events);
        if allocation.is_awaited_on(five_tuple) {
            self.arrive(five_tuple);
        }
        self.metrics.count_to_peer(payload_bytes);
        Ok(ClientVerdict::ToPeer {
            relay,
            peer,
            payload: voex_stun::CHANNEL_DATA_HEADER_BYTES..end,
            dont_fragment: false,
        })
    }

    fn handle_stun(
        &mut self,
        now: Instant,
        wall: WallTime,
        five_tuple: FiveTuple,
        via: Option<u16>,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        let message = Message::parse(data).map_err(|_| DropReason::Malformed)?;
        if message.fingerprint_fits() == Some(false) {
            return Err(DropReason::BadFingerprint);
        }
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.handle_send(now, &five_tuple, &message),
            // A keep-alive (RFC 8489 §3).
            (Class::Indication, Method::BINDING) => Ok(ClientVerdict::Handled),
            (Class::Request, _) => self.handle_request(
                &Request {
                    now,
                    wall,
                    five_tuple,
                    via,
                    message,
                },
                out,
            ),
            _ => Err(DropReason::UnexpectedClass),
        }
    }

    /// Receiving a Send indication (RFC 8656 §11.2).
    #[inline]
    fn handle_send(
        &mut self,
        now: Instant,
        five_tuple: &FiveTuple,
        message: &Message<'_>,
    ) -> Result<ClientVerdict, DropReason> {
        let allocation = self.table.of_client_mut(five_tuple).ok_or(DropReason::NoAllocation)?;
        if allocation.transport == RelayTransport::Tcp {
            return Err(DropReason::TcpRelay);
        }
        let wants_whole = check_send(message, self.config.dont_fragment)?;
        let peer = message.xor_peer_address().ok().flatten().ok_or(DropReason::BadSend)?;
        let payload = message
            .data()
            .and_then(|data| message.range_of(data))
            .ok_or(DropReason::BadSend)?;
        if !allocation.has_begun() || allocation.relays.iter().all(|relay| relay.expires <= now) {
            return Err(DropReason::NoAllocation);
        }
        if !allocation.permissions.permits(peer.ip(), now) {
            return Err(DropReason::NoPermission);
        }
        let relay = allocation
            .relays
            .toward(peer.ip(), now)
            .ok_or(DropReason::NoAllocation)?;
        if !self.policy.permits_port(peer) {
            return Err(DropReason::ForbiddenPeer);
        }
        allocation.admit(now, Way::ToPeer, payload.len(), &self.config.rates, &self.quotas)?;
        allocation.traffic.from_client.count(message.as_bytes().len());
        allocation.traffic.to_peer.count(payload.len());
        report_traffic(allocation, &mut self.events);
        if allocation.is_awaited_on(five_tuple) {
            self.arrive(five_tuple);
        }
        self.metrics.count_to_peer(payload.len());
        // Between the families, and within IPv6, the server does not ask for it (RFC 8656 §13).
        let dont_fragment = wants_whole && peer.is_ipv4() && five_tuple.client.ip().to_canonical().is_ipv4();
        Ok(ClientVerdict::ToPeer {
            relay,
            peer,
            payload,
            dont_fragment,
        })
    }

    /// Receiving a datagram on a relayed transport address (RFC 8656 §11.3, §12.7).
    #[inline]
    fn relay_to_client(
        &mut self,
        now: Instant,
        relay: SocketId,
        peer: SocketAddr,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let allocation = self
            .table
            .live_of_relay(relay, AddressFamily::of(peer.ip()), now)
            .ok_or(DropReason::NoRelay)?;
        if allocation.is_away() {
            return Err(DropReason::ClientAway);
        }
        if !allocation.permissions.permits(peer.ip(), now) {
            return Err(DropReason::NoPermission);
        }
        if data.len() + DATA_OVERHEAD_BYTES_MAX > DATAGRAM_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        allocation.admit(now, Way::ToClient, data.len(), &self.config.rates, &self.quotas)?;
        let FiveTuple { socket, client } = allocation.five_tuple;
        let sent = match allocation.channels.number_of(peer, now) {
            Some(channel) => {
                let head = ChannelData::header(channel, data.len()).map_err(|_| DropReason::TooLong)?;
                out.send(socket, client, &head, data);
                head.len() + data.len()
            }
            None => send_indication(&mut self.rng, out, allocation.five_tuple, peer, data.len(), |writer| {
                writer.data(data)
            })?,
        };
        allocation.traffic.from_peer.count(data.len());
        allocation.traffic.to_client.count(sent);
        report_traffic(allocation, &mut self.events);
        self.metrics.count_to_client(data.len());
        Ok(())
    }

    #[cold]
    pub(crate) fn dropped(&self, reason: DropReason) -> DropReason {
        self.metrics.dropped.of(reason).inc();
        reason
    }
}

/// Bytes that a Data indication adds at most: header, an IPv6 XOR-PEER-ADDRESS, the head of DATA and its padding.
const DATA_OVERHEAD_BYTES_MAX: usize = 20 + 24 + 4 + 3;

/// Sends a Data indication with the body that is given.
pub(crate) fn send_indication(
    rng: &mut Rng,
    out: &mut impl Outbox,
    to: FiveTuple,
    peer: SocketAddr,
    body_bytes: usize,
    body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Result<usize, DropReason> {
    let mut id = TransactionId([0; 12]);
    rng.fill(&mut id.0);
    let room = out.reserve(body_bytes + DATA_OVERHEAD_BYTES_MAX);
    let writer = MessageWriter::new(room, Class::Indication, Method::DATA, id).xor_peer_address(peer);
    let len = body(writer).finish().map_err(|_| DropReason::TooLong)?;
    out.commit(to.socket, to.client, len);
    Ok(len)
}

/// Checks the attributes of a Send indication (RFC 8656 §11.2): unknown ones that ask to be understood end it. Tells
/// whether DONT-FRAGMENT is among them.
fn check_send(message: &Message<'_>, can_send_whole: bool) -> Result<bool, DropReason> {
    let mut wants_whole = false;
    for Attribute { kind, .. } in message.attributes() {
        match kind {
            AttributeType::XOR_PEER_ADDRESS | AttributeType::DATA => {}
            AttributeType::DONT_FRAGMENT if can_send_whole => wants_whole = true,
            AttributeType::DONT_FRAGMENT => return Err(DropReason::DontFragment),
            // Clients that sign everything send these; an indication is not authenticated (RFC 8656 §5).
            AttributeType::USERNAME | AttributeType::REALM | AttributeType::NONCE => {}
            other if other.is_comprehension_required() => return Err(DropReason::BadSend),
            _ => {}
        }
    }
    Ok(wants_whole)
}
