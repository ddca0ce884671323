//! What is sent, from where to where, and when.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};
use crate::transport::Transport;

/// Most clients of one process: each costs two descriptors here, and as many in the server.
pub const CLIENTS_MAX: usize = 8_000;
/// Most packets of one shot: the kernel takes no more in one GSO message.
pub const BURST_MAX: usize = 64;
/// Most packets under way in a flow: far inside what a tracker remembers.
pub const UNDER_WAY_MAX: usize = 1024;
/// Longest load: permissions live for 300 s (RFC 8656 §9) and are not refreshed.
pub const SECONDS_MAX: u64 = 240;

/// A load on a TURN server.
#[derive(Clone, Debug, Serialize)]
pub struct Pattern {
    /// Clients, each with one allocation (1-[`CLIENTS_MAX`]).
    pub clients: usize,
    /// Clients beside them that read nothing, while their peers send at the pace of a flow; what becomes of those
    /// packets is not judged (0-[`CLIENTS_MAX`]).
    pub stalled: usize,
    /// Which way packets go.
    pub direction: Direction,
    /// How clients wrap them.
    pub wrap: Wrap,
    /// Bytes of a payload ([`PAYLOAD_BYTES_MIN`]-[`PAYLOAD_BYTES_MAX`]).
    pub payload_bytes: usize,
    /// Packets sent back to back to one destination: a shot (1-[`BURST_MAX`]).
    pub burst: usize,
    /// A shot leaves as one GSO message, so that a server with receive offload gets it whole.
    pub gso: bool,
    /// When shots leave.
    pub pacing: Pacing,
    /// Time before the measured time.
    pub warm_up: Duration,
    /// The measured time.
    pub measured: Duration,
}

/// Which way packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From clients to a peer socket of ours.
    Up,
    /// From a peer socket of ours to clients.
    Down,
    /// Both ways between each client and its peer.
    Both,
    /// Both ways between two clients, through the allocations of both.
    Pair,
}

/// How a client wraps payloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wrap {
    /// ChannelData.
    Channel,
    /// Send and Data indications.
    Send,
}

/// When shots leave.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// Evenly spread: shots a second a client, over all its flows.
    Rate(f64),
    /// As fast as they come back: shots under way in each flow.
    InFlight(usize),
}

impl Direction {
    /// Gives how many flows there are for each client.
    pub fn flows_per_client(self) -> usize {
        match self {
            Self::Up | Self::Down | Self::Pair => 1,
            Self::Both => 2,
        }
    }
}

impl Pattern {
    /// Finds what cannot be run over a transport.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn check(&self, transport: Transport) -> Result<(), String> {
        within("clients", self.clients, 1, CLIENTS_MAX)?;
        within("stalled clients", self.stalled, 0, CLIENTS_MAX - self.clients)?;
        within(
            "payload bytes",
            self.payload_bytes,
            PAYLOAD_BYTES_MIN,
            PAYLOAD_BYTES_MAX,
        )?;
        within("packets of a burst", self.burst, 1, BURST_MAX)?;
        if self.direction == Direction::Pair && !self.clients.is_multiple_of(2) {
            return Err("pairs need an even number of clients".into());
        }
        if self.gso && transport.is_stream() {
            return Err(
                "GSO is for datagrams: leave --gso out over TCP and TLS, where a burst is one write anyway".into(),
            );
        }
        if self.gso && self.burst * (self.payload_bytes + 64) > 65_000 {
            return Err("a GSO message holds 65 000 bytes: fewer or smaller packets a burst are expected".into());
        }
        if self.measured.is_zero() || (self.warm_up + self.measured).as_secs() > SECONDS_MAX {
            return Err(format!("1 to {SECONDS_MAX} seconds are expected, warm-up included"));
        }
        match self.pacing {
            Pacing::Rate(rate) if !(rate > 0.0 && rate <= 1e6) => Err("a rate above 0 is expected".into()),
            Pacing::InFlight(shots) => within("packets under way in a flow", shots * self.burst, 1, UNDER_WAY_MAX),
            Pacing::Rate(_) => Ok(()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clients, ", self.clients)?;
        if self.stalled > 0 {
            write!(f, "{} more that read nothing, ", self.stalled)?;
        }
        write!(f, "{:?}, {:?}, ", self.direction, self.wrap)?;
        if self.burst > 1 {
            write!(f, "bursts of {} x ", self.burst)?;
        }
        write!(f, "{} B, ", self.payload_bytes)?;
        match self.pacing {
            Pacing::Rate(rate) => write!(f, "{rate}/s a client"),
            Pacing::InFlight(shots) => write!(f, "flood with {shots} under way in a flow"),
        }
    }
}

fn within(what: &str, value: usize, min: usize, max: usize) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{value} {what}: {min} to {max} are expected"))
    }
}
