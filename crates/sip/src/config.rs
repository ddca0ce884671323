//! How an endpoint is set up.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use voex_base::{Protocol, SocketId};

/// Settings of an [`Endpoint`](crate::Endpoint).
#[derive(Clone, Debug)]
pub struct Config {
    /// Our sockets; at least one.
    pub listen: Vec<Listen>,
    /// User-Agent and Server, unless an account has its own.
    pub user_agent: String,
    /// Timer values.
    pub timers: TimerConfig,
    /// Who may send requests outside dialogs, besides the hosts of accounts.
    pub allow: Vec<IpNet>,
    /// Also take requests from the addresses of registrars, proxies and outbound proxies of accounts.
    pub allow_account_hosts: bool,
    /// What other sources get.
    pub strangers: Strangers,
    /// Bounds of the tables.
    pub limits: Limits,
}

/// One of our sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Its id in [`Output::Transmit`](crate::Output::Transmit) and `handle_datagram`.
    pub id: SocketId,
    /// UDP (the others come later).
    pub protocol: Protocol,
    /// The address that peers reach: written into Via and Contact. Never unspecified (`0.0.0.0`).
    pub advertised: SocketAddr,
}

/// What sources outside the allow list get; both are counted and cost no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strangers {
    /// 403 Forbidden.
    Refuse,
    /// Silence.
    Ignore,
}

/// The base values of RFC 3261 §17.1.1.1 and what else is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerConfig {
    /// T1, the round-trip estimate: 500 ms. Transactions live 64 x T1.
    pub t1: Duration,
    /// T2, longest interval between retransmissions: 4 s.
    pub t2: Duration,
    /// T4, longest life of a message in the network: 5 s.
    pub t4: Duration,
    /// Interval of session timers that we propose (RFC 4028): 1800 s, 90 s at least.
    pub session: Duration,
    /// How long a call may ring, either way, before the endpoint gives it up: 180 s.
    pub ring: Duration,
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            session: Duration::from_secs(1_800),
            ring: Duration::from_secs(180),
        }
    }
}

/// Bounds of the tables. A request that would pass one gets 503 with Retry-After; a command's leg ends with 503.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Client and server transactions, each. A call costs about two for 32 s after its last message.
    pub transactions_max: usize,
    /// Legs, in calls or ringing.
    pub legs_max: usize,
    /// Accounts.
    pub accounts_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions_max: 32_768,
            legs_max: 4_096,
            accounts_max: 16_384,
        }
    }
}

impl Config {
    /// Makes settings for one UDP socket with nobody on the allow list but the hosts of accounts.
    pub fn new(socket: SocketId, advertised: SocketAddr) -> Self {
        Self {
            listen: vec![Listen {
                id: socket,
                protocol: Protocol::Udp,
                advertised,
            }],
            user_agent: "voex".to_owned(),
            timers: TimerConfig::default(),
            allow: Vec::new(),
            allow_account_hosts: true,
            strangers: Strangers::Refuse,
            limits: Limits::default(),
        }
    }
}
