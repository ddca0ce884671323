//! A TURN server that knows the happy path only, and how to sin on demand.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses another part of this")]

pub mod front;

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use voex_load::client::Credentials;
use voex_load::pattern::{Direction, Pacing, Pattern, Wrap};
use voex_load::rig::Target;
use voex_stun::{
    ChannelData, ChannelNumber, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method, PacketKind,
};

const REALM: &str = "tiny.test";
const NONCE: &[u8] = b"once";

/// What happens to relayed packets: every `n`th one, counted over all.
#[derive(Clone, Copy, Default)]
pub struct Mischief {
    pub lose: Option<u64>,
    pub repeat: Option<u64>,
    pub spoil: Option<u64>,
    pub swap_clients: bool,
}

/// The server.
pub struct Relay {
    listen: UdpSocket,
    allocations: Vec<Allocation>,
    mischief: Mischief,
    relayed: u64,
}

struct Allocation {
    client: SocketAddr,
    socket: UdpSocket,
    channels: HashMap<u16, SocketAddr>,
}

impl Relay {
    /// Runs a relay for the rest of this process and gives its address.
    pub fn start(mischief: Mischief) -> SocketAddr {
        let listen = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = listen.local_addr().unwrap();
        let mut relay = Self {
            listen,
            allocations: Vec::new(),
            mischief,
            relayed: 0,
        };
        std::thread::spawn(move || {
            loop {
                relay.turn();
            }
        });
        address
    }

    /// Waits for datagrams and hands on one of each socket.
    fn turn(&mut self) {
        let sockets = std::iter::once(&self.listen).chain(self.allocations.iter().map(|a| &a.socket));
        let mut fds: Vec<_> = sockets.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::NONE).unwrap();
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap()).collect();
        for (index, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            match index.checked_sub(1) {
                None => self.handle_client(),
                Some(allocation) => self.handle_peer(allocation),
            }
        }
    }

    fn handle_client(&mut self) {
        let mut buffer = [0; 2048];
        let (len, client) = self.listen.recv_from(&mut buffer).unwrap();
        let datagram = &buffer[..len];
        if PacketKind::of(datagram) == PacketKind::ChannelData {
            let data = ChannelData::parse(datagram).unwrap();
            let allocation = self.allocation_of(client).unwrap();
            let peer = self.allocations[allocation].channels[&data.channel.number()];
            self.relay(data.payload, |relay, payload| {
                relay.allocations[allocation].socket.send_to(payload, peer).unwrap();
            });
            return;
        }
        let message = Message::parse(datagram).unwrap();
        if message.method() == Method::SEND {
            let allocation = self.allocation_of(client).unwrap();
            let peer = message.xor_peer_address().unwrap().unwrap();
            self.relay(message.data().unwrap(), |relay, payload| {
                relay.allocations[allocation].socket.send_to(payload, peer).unwrap();
            });
            return;
        }
        self.answer(&message, client);
    }

    fn handle_peer(&mut self, allocation: usize) {
        let mut buffer = [0; 2048];
        let (len, peer) = self.allocations[allocation].socket.recv_from(&mut buffer).unwrap();
        let to = if self.mischief.swap_clients {
            allocation ^ 1
        } else {
            allocation
        };
        let client = self.allocations[to].client;
        let channels = &self.allocations[allocation].channels;
        let channel = channels
            .iter()
            .find(|(_, bound)| **bound == peer)
            .map(|(number, _)| *number);
        self.relay(&buffer[..len], |relay, payload| {
            let mut out = [0; 2048];
            let len = match channel.and_then(ChannelNumber::new) {
                Some(channel) => ChannelData { channel, payload }.write(&mut out).unwrap(),
                None => data_indication(peer, payload, &mut out),
            };
            relay.listen.send_to(&out[..len], client).unwrap();
        });
    }

    /// Hands a payload on, as the mischief goes.
    fn relay(&mut self, payload: &[u8], hand_on: impl Fn(&Self, &[u8])) {
        self.relayed += 1;
        let is_hit = |every: Option<u64>| every.is_some_and(|every| self.relayed.is_multiple_of(every));
        let mut payload = payload.to_vec();
        if is_hit(self.mischief.spoil) {
            payload[100] ^= 1;
        }
        if !is_hit(self.mischief.lose) {
            hand_on(self, &payload);
        }
        if is_hit(self.mischief.repeat) {
            hand_on(self, &payload);
        }
    }

    fn answer(&mut self, request: &Message<'_>, client: SocketAddr) {
        let mut out = [0; 1500];
        let class = if request.has_integrity() {
            Class::Success
        } else {
            Class::Error
        };
        let mut writer = MessageWriter::new(&mut out, class, request.method(), request.transaction_id());
        if !request.has_integrity() {
            writer = writer.error_code(ErrorCode::UNAUTHENTICATED).realm(REALM).nonce(NONCE);
        } else {
            let key = IntegrityKey::long_term("load", REALM, "heavy");
            request.check_integrity(&key).unwrap();
            match request.method() {
                Method::ALLOCATE => writer = writer.xor_relayed_address(self.allocate(client)),
                Method::CHANNEL_BIND => self.bind(request, client),
                _ => {}
            }
        }
        let len = writer.finish().unwrap();
        self.listen.send_to(&out[..len], client).unwrap();
    }

    fn allocate(&mut self, client: SocketAddr) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let relayed = socket.local_addr().unwrap();
        self.allocations.push(Allocation {
            client,
            socket,
            channels: HashMap::new(),
        });
        relayed
    }

    fn bind(&mut self, request: &Message<'_>, client: SocketAddr) {
        let channel = request.channel_number().unwrap().unwrap().number();
        let peer = request.xor_peer_address().unwrap().unwrap();
        let allocation = self.allocation_of(client).unwrap();
        self.allocations[allocation].channels.insert(channel, peer);
    }

    fn allocation_of(&self, client: SocketAddr) -> Option<usize> {
        self.allocations
            .iter()
            .position(|allocation| allocation.client == client)
    }
}

fn data_indication(peer: SocketAddr, payload: &[u8], out: &mut [u8]) -> usize {
    let id = voex_stun::TransactionId([7; 12]);
    MessageWriter::new(out, Class::Indication, Method::DATA, id)
        .xor_peer_address(peer)
        .data(payload)
        .finish()
        .unwrap()
}

/// Gives a target over UDP with the credentials that the relay knows.
pub fn target(address: SocketAddr) -> Target {
    let credentials = Credentials {
        user: "load".into(),
        password: "heavy".into(),
    };
    Target::udp(address, credentials)
}

/// Four clients for a short time, two shots under way in each flow.
pub fn pattern(direction: Direction, wrap: Wrap) -> Pattern {
    Pattern {
        clients: 4,
        stalled: 0,
        direction,
        wrap,
        payload_bytes: 170,
        burst: 1,
        gso: false,
        pacing: Pacing::InFlight(2),
        warm_up: Duration::from_millis(20),
        measured: Duration::from_millis(200),
    }
}
