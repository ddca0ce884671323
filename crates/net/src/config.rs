//! What the media plane is started with, and why it may refuse to start.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use voex_base::Protocol;
use voex_worker::RelayRange;

use crate::identity::Identity;

/// Most worker threads of one process.
pub const WORKERS_MAX: usize = 256;

/// Settings of the media plane. `Config::default()` binds nothing and starts one worker a core.
#[derive(Clone)]
pub struct Config {
    /// Worker threads; 0 means one for each core that the process may use.
    pub workers: usize,
    /// Whether each worker stays on a core of its own; a refusal by the system is not an error.
    pub pin: bool,
    /// Addresses where TURN and STUN clients are served; port 0 asks the system for a port.
    pub turn_listeners: Vec<SocketAddr>,
    /// What clients may come over, on each of these addresses. The first byte tells the secured form from the plain one.
    pub turn_protocols: Vec<Protocol>,
    /// What TURN clients over TLS and DTLS are shown; without it they are not served.
    pub identity: Option<Identity>,
    /// Addresses of WebRTC media and of RTP towards the PBX.
    pub media_addresses: Vec<MediaAddress>,
    /// Ports of media: the lowest free ones become the workers' WebRTC sockets, the rest are for RTP pairs.
    pub media_ports: RangeInclusive<u16>,
    /// Where relays live, if TURN runs; the same values that its `Server`s are made with.
    pub relays: Option<RelayRange>,
    /// Whether there is a recorder: what is committed for [recordings](voex_base::SocketId::recording) goes to
    /// [`Workers::recorded`](crate::Workers::recorded), else nowhere.
    pub records: bool,
    /// Longest time that a worker looks again after work, without waiting; zero turns it off.
    pub look_again_max: Duration,
    /// Longest time that a worker naps to let packets gather, which is also the longest a packet waits for it; zero
    /// turns it off.
    pub nap_max: Duration,
    /// Sending of trains.
    pub gso: Toggle,
    /// Receiving of trains.
    pub gro: Toggle,
    /// Called by a worker after it queued events of the conference server: must be quick and must not wait (`tokio::sync::Notify::notify_one`).
    pub event_wake: Arc<dyn Fn() + Send + Sync>,
    /// Likewise for events of the TURN server.
    pub turn_event_wake: Arc<dyn Fn() + Send + Sync>,
    /// Seed of the order in which RTP ports are used, and of what the network must not foresee.
    pub seed: [u8; 32],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 0,
            pin: true,
            turn_listeners: Vec::new(),
            turn_protocols: Protocol::ALL.to_vec(),
            identity: None,
            media_addresses: Vec::new(),
            media_ports: 20_000..=40_000,
            relays: None,
            records: false,
            look_again_max: Duration::from_micros(5),
            nap_max: Duration::from_micros(900),
            gso: Toggle::Probe,
            gro: Toggle::Probe,
            event_wake: Arc::new(|| {}),
            turn_event_wake: Arc::new(|| {}),
            seed: [0; 32],
        }
    }
}

/// An address of the host for media.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaAddress {
    /// Address to bind.
    pub local: IpAddr,
    /// Addresses under which the outside reaches it with the same port, when a NAT maps one to one.
    pub public: Vec<IpAddr>,
}

/// Whether a kernel feature is used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Toggle {
    /// If it works when tried at start.
    #[default]
    Probe,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Toggle {
    pub(crate) fn decide(self, found: bool) -> bool {
        match self {
            Self::Probe => found,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// Why the media plane did not start. Nothing stays bound.
#[derive(thiserror::Error, Debug)]
pub enum StartError {
    /// These addresses could not be bound: all of them, not only the first.
    #[error("cannot bind {}", list(.0))]
    Bind(Vec<BindFailure>),
    /// More workers than [`WORKERS_MAX`].
    #[error("{0} workers asked for, at most {WORKERS_MAX} are possible")]
    TooManyWorkers(usize),
    /// The system refused a thread or a descriptor.
    #[error("the system refused a thread or descriptor: {0}")]
    System(#[from] io::Error),
}

/// An address that could not be bound.
#[derive(Debug)]
pub struct BindFailure {
    /// What it was for.
    pub purpose: Purpose,
    /// The address; for media its port is the last one tried.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// What an address is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// TURN and STUN clients.
    TurnListener,
    /// WebRTC media.
    Media,
}

impl fmt::Display for BindFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let purpose = match self.purpose {
            Purpose::TurnListener => "turn listener",
            Purpose::Media => "media",
        };
        write!(f, "{purpose} {} ({})", self.address, self.error)
    }
}

fn list(failures: &[BindFailure]) -> String {
    failures
        .iter()
        .map(BindFailure::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
