//! Everything a load needs in place before the first packet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use voex_stun::{AddressFamily, ChannelNumber, ErrorCode};

use crate::client::{Client, Credentials};
use crate::endpoint::Endpoint;
use crate::error::{Doing as _, LoadError};
use crate::flow::Flow;
use crate::framing::Framing;
use crate::interrupt;
use crate::link::{Link, udp_socket};
use crate::pattern::{Direction, Pattern, Wrap};
use crate::tls::Tls;
use crate::transport::Transport;

/// Other ports tried when a server answers 437 (RFC 8656 §7.4).
const OTHER_PORTS: usize = 16;

/// Longest time to make all clients of a load.
const MAKING_MAX: Duration = Duration::from_secs(60);

/// The server under test, and how clients come to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What clients speak over.
    pub transport: Transport,
    /// Who may allocate.
    pub credentials: Credentials,
    /// Settings of [`Transport::Tls`], which needs them.
    pub tls: Option<Tls>,
    /// Where peers are, when not where clients are; an address of this host.
    pub peer: Option<IpAddr>,
    /// Most bytes that a client writes to its stream at once, so that a server gets messages in pieces.
    pub cut: Option<usize>,
}

/// Clients, peers and the flows between them.
#[derive(Debug)]
pub struct Rig {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) flows: Vec<Flow>,
}

/// How long clients may take to be made.
pub(crate) struct Patience {
    begun: Instant,
    wanted: usize,
}

impl Patience {
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            begun: Instant::now(),
            wanted,
        }
    }

    /// Ends what takes too long, or is no longer wanted.
    pub(crate) fn check(&self, made: usize) -> Result<(), LoadError> {
        interrupt::check()?;
        if self.begun.elapsed() < MAKING_MAX {
            return Ok(());
        }
        Err(LoadError::TooSlow {
            seconds: MAKING_MAX.as_secs(),
            made,
            wanted: self.wanted,
        })
    }
}

impl Target {
    /// Reaches a server over UDP.
    pub fn udp(address: SocketAddr, credentials: Credentials) -> Self {
        Self {
            address,
            transport: Transport::Udp,
            credentials,
            tls: None,
            peer: None,
            cut: None,
        }
    }

    /// Makes one allocation from a socket of its own.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn allocate(&self) -> Result<Client, LoadError> {
        let mut result = self.allocate_once();
        for _ in 0..OTHER_PORTS {
            match result {
                // The port was another client's a moment ago: a server may keep a dead five-tuple for a while.
                Err(LoadError::Refused { code, .. }) if code == ErrorCode::ALLOCATION_MISMATCH => {
                    result = self.allocate_once();
                }
                _ => break,
            }
        }
        result
    }

    fn allocate_once(&self) -> Result<Client, LoadError> {
        let link = Link::open(self)?;
        let family = match self.peer.unwrap_or(self.address.ip()) {
            IpAddr::V4(_) => AddressFamily::V4,
            IpAddr::V6(_) => AddressFamily::V6,
        };
        Client::allocate(link, &self.credentials, family)
    }

    /// Makes the socket of a peer, near a client that is connected from `near`.
    fn peer_socket(&self, near: SocketAddr) -> Result<UdpSocket, LoadError> {
        udp_socket(self.peer.unwrap_or(near.ip()))
    }
}

impl Rig {
    /// Allocates, permits and binds what a pattern needs.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn build(target: &Target, pattern: &Pattern) -> Result<Self, LoadError> {
        let mut rig = Self {
            endpoints: Vec::new(),
            flows: Vec::new(),
        };
        let patience = Patience::new(pattern.clients);
        let mut made = 0;
        while made < pattern.clients {
            patience.check(made)?;
            if pattern.direction == Direction::Pair {
                rig.add_pair(target, pattern)?;
                made += 2;
            } else {
                rig.add_client_and_peer(target, pattern)?;
                made += 1;
            }
        }
        for _ in 0..pattern.stalled {
            patience.check(made)?;
            rig.add_stalled(target, pattern)?;
        }
        Ok(rig)
    }

    /// Gives allocations back. Those of streams that are full either way end with their connection.
    ///
    /// # Errors
    /// See [`LoadError`]; the first one ends it, the rest expire.
    pub fn release(self) -> Result<(), LoadError> {
        for endpoint in self.endpoints {
            let is_blocked = endpoint.stream().is_some_and(|stream| stream.is_blocked());
            match endpoint {
                Endpoint::Client(mut client) if !is_blocked => client.release()?,
                Endpoint::Stalled(mut client) if !client.link().is_reliable() => client.release()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a client that reads nothing of what its peer sends.
    fn add_stalled(&mut self, target: &Target, pattern: &Pattern) -> Result<(), LoadError> {
        let (client, _, peer) = make_client_and_peer(target, pattern)?;
        let at = self.endpoints.len();
        self.endpoints
            .extend([Endpoint::Stalled(Box::new(client)), Endpoint::Peer(peer)]);
        let mut flow = Flow::new(at + 1, at, Framing::Raw);
        flow.is_expected = false;
        self.flows.push(flow);
        Ok(())
    }

    fn add_client_and_peer(&mut self, target: &Target, pattern: &Pattern) -> Result<(), LoadError> {
        let (client, framing, peer) = make_client_and_peer(target, pattern)?;
        let at = self.endpoints.len();
        self.endpoints
            .extend([Endpoint::Client(Box::new(client)), Endpoint::Peer(peer)]);
        if pattern.direction != Direction::Down {
            self.flows.push(Flow::new(at, at + 1, framing));
        }
        if pattern.direction != Direction::Up {
            self.flows.push(Flow::new(at + 1, at, Framing::Raw));
        }
        Ok(())
    }

    fn add_pair(&mut self, target: &Target, pattern: &Pattern) -> Result<(), LoadError> {
        let (mut a, mut b) = (target.allocate()?, target.allocate()?);
        let (a_relayed, b_relayed) = (a.relayed(), b.relayed());
        let from_a = open(&mut a, target, pattern, b_relayed)?;
        let from_b = open(&mut b, target, pattern, a_relayed)?;
        let at = self.endpoints.len();
        self.endpoints
            .extend([Endpoint::Client(Box::new(a)), Endpoint::Client(Box::new(b))]);
        self.flows
            .extend([Flow::new(at, at + 1, from_a), Flow::new(at + 1, at, from_b)]);
        Ok(())
    }
}

/// Makes a client, how it wraps what it sends, and the socket of its peer.
fn make_client_and_peer(target: &Target, pattern: &Pattern) -> Result<(Client, Framing, UdpSocket), LoadError> {
    let mut client = target.allocate()?;
    let peer = target.peer_socket(client.link().local_addr()?)?;
    let peer_addr = peer.local_addr().doing(|| "reading a local address".into())?;
    let relayed = client.relayed();
    peer.connect(relayed).doing(|| format!("connecting to {relayed}"))?;
    let framing = open(&mut client, target, pattern, peer_addr)?;
    Ok((client, framing, peer))
}

/// Lets data flow between a client and a peer.
fn open(client: &mut Client, target: &Target, pattern: &Pattern, peer: SocketAddr) -> Result<Framing, LoadError> {
    match pattern.wrap {
        Wrap::Channel => {
            let channel = ChannelNumber::new(0x4000).expect("0x4000 is the first channel number");
            client.bind(channel, peer)?;
            Ok(if target.transport.is_stream() {
                Framing::PaddedChannel(channel)
            } else {
                Framing::Channel(channel)
            })
        }
        Wrap::Send => {
            client.permit(peer)?;
            Ok(Framing::Indication(peer))
        }
    }
}
