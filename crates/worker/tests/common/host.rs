//! A host on a virtual clock: some workers, their sockets, and a kernel that only writes down what it is given.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Outbox, Protocol, Rng, SocketId, WallTime, WorkerId};
use voex_sfu::Shard;
use voex_transport::Certificate;
use voex_turn::{ClientPath, Output, PeerRules, PortShare, RelayAddress, Secret, Server, UserSecret};
use voex_worker::{Command, Crossed, Egress, MediaSocket, Metrics, RelayRange, Role, Topology, Worker};

use super::turn_client::{PASSWORD, REALM, TurnClient, USER, relayed_address, success};

pub(crate) const RELAY_PORTS: std::ops::RangeInclusive<u16> = 50_000..=50_099;

pub(crate) struct Host {
    pub(crate) now: Instant,
    pub(crate) wall: WallTime,
    pub(crate) workers: Vec<Worker>,
    pub(crate) metrics: Vec<Arc<Metrics>>,
    pub(crate) turn_metrics: Vec<Arc<voex_turn::Metrics>>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) kernel: Kernel,
    /// Relay sockets that were bound, by worker.
    pub(crate) relays: Vec<(usize, SocketId, SocketAddr)>,
    /// What was asked of connections with peers.
    pub(crate) of_peers: Vec<Output>,
    next_socket: u64,
}

/// What left, and what is on its way to other workers.
#[derive(Default)]
pub(crate) struct Kernel {
    pub(crate) sent: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    /// With the DF bit.
    pub(crate) sent_whole: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    pub(crate) crossing: VecDeque<(WorkerId, Crossing)>,
    /// The worker to which the way is full.
    pub(crate) full_way_to: Option<WorkerId>,
    /// Number of the worker whose packets leave.
    pub(crate) sender: u16,
    room: Vec<u8>,
    reserved: usize,
}

/// What is on its way to another worker.
pub(crate) struct Crossing {
    pub(crate) by: WorkerId,
    pub(crate) what: Crossed,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) packet: Vec<u8>,
}

impl Outbox for Kernel {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        // What an earlier reservation held is gone.
        self.room.clear();
        self.room.resize(len_max, 0xee);
        self.reserved = len_max;
        &mut self.room
    }

    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        self.sent.push((socket, to, self.room[..len].to_vec()));
        self.reserved = 0;
    }
}

impl Egress for Kernel {
    fn reserved(&self) -> &[u8] {
        &self.room[..self.reserved]
    }

    fn send_whole(&mut self, socket: SocketId, to: SocketAddr, packet: &[u8]) {
        self.sent_whole.push((socket, to, packet.to_vec()));
    }

    fn cross(&mut self, worker: WorkerId, what: Crossed, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> bool {
        let is_full = self.full_way_to == Some(worker);
        if !is_full {
            let (by, packet) = (WorkerId(self.sender), packet.to_vec());
            let crossing = Crossing {
                by,
                what,
                from,
                to,
                packet,
            };
            self.crossing.push_back((worker, crossing));
        }
        !is_full
    }
}

impl Host {
    /// Makes `count` workers on 10.0.0.1; with `public`, behind a one-to-one NAT. Worker k has media socket 100 + k on
    /// port 20000 + k and TURN socket 200 + k.
    #[allow(clippy::disallowed_methods, reason = "the virtual clock has to start somewhere")]
    pub(crate) fn new(count: u16, public: Option<IpAddr>) -> Self {
        let local: IpAddr = "10.0.0.1".parse().unwrap();
        let media = (0..count)
            .map(|k| MediaSocket {
                worker: WorkerId(k),
                socket: SocketId(100 + u64::from(k)),
                local: SocketAddr::new(local, 20_000 + k),
                public: public.iter().map(|ip| SocketAddr::new(*ip, 20_000 + k)).collect(),
            })
            .collect();
        let relay = RelayAddress {
            local,
            public: public.unwrap_or(local),
        };
        let range = RelayRange {
            addresses: vec![relay],
            ports: RELAY_PORTS,
        };
        let topology = Arc::new(Topology::new(media, Some(range)));
        let mut host = Self {
            now: Instant::now(),
            wall: WallTime::from_unix(Duration::from_secs(1_700_000_000)),
            workers: Vec::new(),
            metrics: Vec::new(),
            turn_metrics: Vec::new(),
            topology,
            kernel: Kernel::default(),
            relays: Vec::new(),
            of_peers: Vec::new(),
            next_socket: 1_000,
        };
        (0..count).for_each(|k| host.add_worker(k, count, relay));
        host
    }

    /// Shows relays under another public address from now on.
    pub(crate) fn rename(&mut self, public: IpAddr) {
        let local = "10.0.0.1".parse().unwrap();
        let relay = RelayAddress { local, public };
        self.topology = Arc::new(self.topology.renamed(&[relay]));
        for k in 0..self.workers.len() {
            let config = Box::new(turn_config(k as u16, self.workers.len() as u16, relay));
            for command in [
                Command::Topology(self.topology.clone()),
                Command::Turn(voex_turn::Command::Reconfigure(config)),
            ] {
                self.workers[k].handle_command(self.now, self.wall, command, &mut self.kernel);
            }
        }
    }

    fn add_worker(&mut self, k: u16, count: u16, relay: RelayAddress) {
        let config = turn_config(k, count, relay);
        let (metrics, turn_metrics) = (Arc::new(Metrics::default()), Arc::new(voex_turn::Metrics::default()));
        let server = Server::new(config, Rng::from_number(k.into()), turn_metrics.clone());
        let mut worker = Worker::new(WorkerId(k), self.topology.clone(), metrics.clone()).with_turn(server);
        worker.add_socket(SocketId(100 + u64::from(k)), Role::Media);
        worker.add_socket(
            SocketId(200 + u64::from(k)),
            Role::TurnListener(ClientPath::udp(([10, 0, 0, 1], 3_478).into())),
        );
        self.workers.push(worker);
        self.metrics.push(metrics);
        self.turn_metrics.push(turn_metrics);
    }

    /// Adds a conference server to every worker.
    pub(crate) fn with_conference(mut self) -> Self {
        let certificate = Arc::new(Certificate::generate().expect("the cryptographic library works"));
        let workers = std::mem::take(&mut self.workers)
            .into_iter()
            .enumerate()
            .map(|(k, worker)| {
                let config = voex_sfu::Config::new(certificate.clone());
                worker.with_sfu(Shard::new(config, Rng::from_number(90 + k as u64), Arc::default()))
            });
        self.workers = workers.collect();
        self
    }

    /// Gives one worker an order.
    pub(crate) fn command(&mut self, worker: usize, command: voex_sfu::Command) {
        self.workers[worker].handle_command(self.now, self.wall, Command::Sfu(command), &mut self.kernel);
        self.settle();
    }

    /// Lets a datagram arrive and everything that follows from it happen; gives what left.
    pub(crate) fn arrive(
        &mut self,
        worker: usize,
        socket: SocketId,
        from: SocketAddr,
        packet: &[u8],
    ) -> Vec<(SocketId, SocketAddr, Vec<u8>)> {
        let mut packet = packet.to_vec();
        self.kernel.sender = worker as u16;
        self.workers[worker].handle_datagram(self.now, self.wall, socket, from, &mut packet, &mut self.kernel);
        self.settle();
        std::mem::take(&mut self.kernel.sent)
    }

    /// Obeys outputs and carries packets between workers until there are none.
    pub(crate) fn settle(&mut self) {
        loop {
            (0..self.workers.len()).for_each(|worker| self.obey(worker));
            let Some((worker, crossing)) = self.kernel.crossing.pop_front() else {
                return;
            };
            let Crossing {
                by,
                what,
                from,
                to,
                mut packet,
            } = crossing;
            self.kernel.sender = worker.0;
            let worker = &mut self.workers[usize::from(worker.0)];
            worker.handle_crossed(self.now, self.wall, by, what, from, to, &mut packet, &mut self.kernel);
        }
    }

    fn obey(&mut self, worker: usize) {
        self.kernel.sender = worker as u16;
        while let Some(output) = self.workers[worker].poll_output() {
            match output {
                Output::BindRelay { request, address } | Output::ListenRelay { request, address } => {
                    let socket = SocketId(self.next_socket);
                    self.next_socket += 1;
                    self.relays.push((worker, socket, address));
                    let role = match output {
                        Output::ListenRelay { .. } => Role::TcpRelay(address),
                        _ => Role::Relay(address),
                    };
                    self.workers[worker].add_socket(socket, role);
                    self.workers[worker].handle_relay_bound(self.now, self.wall, request, Ok(socket), &mut self.kernel);
                }
                Output::CloseRelay(socket) => {
                    self.relays.retain(|(_, open, _)| *open != socket);
                    self.workers[worker].remove_socket(socket);
                }
                other => self.of_peers.push(other),
            }
        }
        // What does not pass is tried again.
        let _ = self.workers[worker].pass_claims(&mut self.kernel);
    }

    /// Sends a request of a TURN client to one worker and gives the answer.
    pub(crate) fn request(&mut self, worker: usize, client: SocketAddr, request: &[u8]) -> Vec<u8> {
        let mut sent = self.arrive(worker, listener(worker), client, request);
        assert_eq!(sent.len(), 1, "one request, one answer");
        let (socket, to, answer) = sent.remove(0);
        assert_eq!((socket, to), (listener(worker), client));
        answer
    }

    /// Makes an allocation on one worker; gives the client and its relayed transport address.
    pub(crate) fn allocate(&mut self, worker: usize, client: SocketAddr) -> (TurnClient, SocketAddr) {
        let mut turn = TurnClient::new();
        let challenge = self.request(worker, client, &turn.allocate());
        turn.challenged(&challenge);
        let answer = self.request(worker, client, &turn.allocate());
        (turn, relayed_address(&answer))
    }

    /// Makes a TCP allocation for a client over a stream; gives the client, its relay and its relayed transport address.
    pub(crate) fn allocate_tcp(&mut self, stream: SocketId, client: SocketAddr) -> (TurnClient, SocketId, SocketAddr) {
        let path = ClientPath {
            protocol: Protocol::Tcp,
            local: ([10, 0, 0, 1], 3_478).into(),
            tls: None,
        };
        self.workers[0].add_socket(stream, Role::TurnClient(path, client));
        let mut turn = TurnClient::new();
        let challenge = self.arrive(0, stream, client, &turn.allocate()).remove(0).2;
        turn.challenged(&challenge);
        let answer = self.arrive(0, stream, client, &turn.allocate_tcp()).remove(0).2;
        let relay = self.relays.last().expect("a relay was bound").1;
        (turn, relay, relayed_address(&answer))
    }

    /// Binds a channel on one worker.
    pub(crate) fn bind(
        &mut self,
        worker: usize,
        client: SocketAddr,
        turn: &mut TurnClient,
        channel: u16,
        peer: SocketAddr,
    ) {
        let answer = self.request(worker, client, &turn.channel_bind(channel, peer));
        success(&answer);
    }
}

/// The TURN socket of a worker.
pub(crate) fn listener(worker: usize) -> SocketId {
    SocketId(200 + worker as u64)
}

fn turn_config(k: u16, count: u16, relay: RelayAddress) -> voex_turn::Config {
    let mut config = voex_turn::Config::new(REALM, [7; 32], vec![relay], PortShare::new(RELAY_PORTS, k, count));
    config.users = vec![(USER.to_owned(), UserSecret::Password(Secret::new(PASSWORD)))];
    config.peers = PeerRules {
        deny: vec!["10.9.0.0/16".parse().unwrap()],
        ..PeerRules::default()
    };
    config.tcp_relays = true;
    config.mobility = true;
    config
}
