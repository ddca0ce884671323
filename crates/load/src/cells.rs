//! What is compared: a cell for every row of the budget, and some beside them.

use std::time::Duration;

use serde::Serialize;

use crate::pattern::{Direction, Pacing, Pattern, Wrap};
use crate::tls::KeyKind;
use crate::transport::Transport;

/// One thing that is compared.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for readers.
    pub title: &'static str,
    /// What clients speak over.
    pub transport: Transport,
    /// The key of both servers' certificate.
    #[serde(skip)]
    pub key: KeyKind,
    /// What is run.
    pub workload: Workload,
    /// What ours may cost at most.
    pub budget: Budget,
    /// Only run when it is asked for by name.
    #[serde(skip)]
    pub is_extra: bool,
}

/// What is run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Packets.
    Load(Pattern),
    /// So many idle allocations.
    Idle(usize),
}

/// What ours may cost at most.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Share of the rival's processor time a packet.
    CpuShare(f64),
    /// So many times the rival's packets out of the same processor time, which stands whether or not the load could
    /// fill the faster server.
    Packets(f64),
    /// An allocation.
    Allocation {
        /// Share of the rival's processor time to make one.
        cpu_share: f64,
        /// Bytes of memory that one holds, whatever the rival's takes.
        bytes: Option<f64>,
    },
    /// Shown for comparison.
    None,
}

impl Budget {
    /// Gives the most that ours may cost, as a share of the rival's processor time.
    pub fn cpu_share(self) -> Option<f64> {
        match self {
            Self::CpuShare(share) | Self::Allocation { cpu_share: share, .. } => Some(share),
            Self::Packets(times) => Some(1.0 / times),
            Self::None => None,
        }
    }

    /// Gives the most bytes that an allocation of ours may hold.
    pub fn bytes(self) -> Option<f64> {
        match self {
            Self::Allocation { bytes, .. } => bytes,
            _ => None,
        }
    }
}

/// Gives the cells of these names, in the order of the budget; without names all but the extra ones.
pub fn cells(names: &[String], measured: Duration) -> Vec<Cell> {
    let is_wanted = |cell: &Cell| match names {
        [] => !cell.is_extra,
        names => names.iter().any(|name| name == cell.name),
    };
    let mut cells = packet_cells(measured);
    cells.extend(idle_cells());
    cells.retain(is_wanted);
    cells
}

/// Names of all cells.
pub fn cell_names() -> Vec<&'static str> {
    let all = packet_cells(Duration::ZERO).into_iter().chain(idle_cells());
    all.map(|cell| cell.name).collect()
}

/// 170 bytes are 160 of G.711 or so and an RTP header; 50 packets a second are what a telephone sends.
///
/// A burst enters the kernel at once, as it does from a network card at line rate: a server without receive offload
/// finds single packets, one with it a train. Sent singly, a burst leaves slower than a fast server relays it, and the
/// server never sees it whole; that is shown too.
fn packet_cells(measured: Duration) -> Vec<Cell> {
    let flood = Pattern {
        clients: 64,
        stalled: 0,
        direction: Direction::Both,
        wrap: Wrap::Channel,
        payload_bytes: 170,
        burst: 1,
        gso: false,
        pacing: Pacing::InFlight(2),
        warm_up: Duration::from_millis(500),
        measured,
    };
    let paced = |clients| Pattern {
        clients,
        pacing: Pacing::Rate(50.0),
        ..flood.clone()
    };
    let flood_send = Pattern {
        wrap: Wrap::Send,
        ..flood.clone()
    };
    let burst = Pattern {
        clients: 4,
        direction: Direction::Up,
        payload_bytes: 1200,
        burst: 32,
        gso: true,
        pacing: Pacing::InFlight(1),
        ..flood.clone()
    };
    let burst_singly = Pattern {
        gso: false,
        ..burst.clone()
    };
    let pair = Pattern {
        direction: Direction::Pair,
        ..flood.clone()
    };
    let (udp, tcp, tls) = (Transport::Udp, Transport::Tcp, Transport::Tls);
    let share = Budget::CpuShare;
    let cell = |name, title, transport, pattern, budget| Cell {
        name,
        title,
        transport,
        key: KeyKind::Ecdsa,
        workload: Workload::Load(pattern),
        budget,
        is_extra: false,
    };
    let extra = |cell: Cell| Cell { is_extra: true, ..cell };
    vec![
        cell(
            "flood-170",
            "flood, 170 B, ChannelData",
            udp,
            flood.clone(),
            share(0.75),
        ),
        cell(
            "flood-170-send",
            "flood, 170 B, Send and Data",
            udp,
            flood_send,
            Budget::None,
        ),
        cell("paced-50", "voice, 50 clients x 50/s", udp, paced(50), share(0.6)),
        cell("paced-1000", "voice, 1000 clients x 50/s", udp, paced(1000), share(0.6)),
        cell(
            "burst-32x1200",
            "bursts of 32 x 1200 B, as a train",
            udp,
            burst,
            Budget::Packets(2.5),
        ),
        cell(
            "burst-32x1200-singly",
            "bursts of 32 x 1200 B, singly",
            udp,
            burst_singly,
            Budget::Packets(2.5),
        ),
        cell("pair-170", "both peers on this host", udp, pair, Budget::Packets(2.0)),
        cell("paced-tcp", "TCP, 800 clients x 50/s", tcp, paced(800), share(0.6)),
        cell("paced-tls", "TLS, 800 clients x 50/s", tls, paced(800), share(0.6)),
        extra(cell("flood-tcp", "TCP, flood, 170 B", tcp, flood.clone(), Budget::None)),
        extra(cell("flood-tls", "TLS, flood, 170 B", tls, flood, Budget::None)),
    ]
}

/// Memory over TCP has no budget, nor has a handshake with RSA, which is the library's work for the most part.
fn idle_cells() -> Vec<Cell> {
    let cell = |name, title, transport, count, bytes: Option<u32>| Cell {
        name,
        title,
        transport,
        key: KeyKind::Ecdsa,
        workload: Workload::Idle(count),
        budget: Budget::Allocation {
            cpu_share: 0.5,
            bytes: bytes.map(f64::from),
        },
        is_extra: false,
    };
    let rsa = Cell {
        key: KeyKind::Rsa,
        budget: Budget::None,
        is_extra: true,
        ..cell("idle-tls-rsa", "idle over TLS with RSA", Transport::Tls, 1000, None)
    };
    vec![
        cell("idle-udp", "idle over UDP", Transport::Udp, 2000, Some(4 << 10)),
        cell("idle-tcp", "idle over TCP", Transport::Tcp, 1000, None),
        cell("idle-tls", "idle over TLS", Transport::Tls, 1000, Some(20 << 10)),
        rsa,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_can_be_run_for_as_long_as_the_command_line_allows() {
        for cell in packet_cells(Duration::from_secs(200)) {
            if let Workload::Load(pattern) = cell.workload {
                assert_eq!(pattern.check(cell.transport), Ok(()), "{}", cell.name);
            }
        }
    }

    #[test]
    fn extra_cells_are_run_when_they_are_named() {
        let named = cells(&["flood-tls".into(), "idle-udp".into()], Duration::from_secs(1));
        let names: Vec<_> = named.iter().map(|cell| cell.name).collect();
        assert_eq!(names, ["flood-tls", "idle-udp"]);
        assert!(cells(&[], Duration::from_secs(1)).iter().all(|cell| !cell.is_extra));
    }

    #[test]
    fn twice_the_packets_is_half_the_cost() {
        assert_eq!(Budget::Packets(2.0).cpu_share(), Some(0.5));
        assert_eq!(Budget::None.cpu_share(), None);
    }
}
