use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use voex_base::{Counter, WallTime};

use crate::credentials::name_without_expiry;
use crate::{ClientPath, RelayTransport, RelayedAddress};

/// Names an allocation outside its shard, for the life of the process: 18 decimal digits, three of the shard and fifteen
/// of a count, as coturn's users know them from Redis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(u64);

/// What there is to know of an allocation when it begins.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The user as it authenticated, with the expiry in its name if it has one.
    pub user: Arc<str>,
    /// Its realm.
    pub realm: Arc<str>,
    /// How the client reaches us.
    pub path: ClientPath,
    /// The client's address.
    pub client: SocketAddr,
    /// What its relays speak with peers.
    pub transport: RelayTransport,
    /// Its relayed transport addresses: one, or one of each family.
    pub relayed: Vec<RelayedAddress>,
    /// Granted lifetime in seconds.
    pub lifetime_s: u32,
    /// When it began.
    pub began: WallTime,
    /// What it relays, counted while it lives.
    pub traffic: Arc<Traffic>,
}

/// Live counters of one allocation. The shard writes, anybody reads.
#[derive(Default, Debug)]
pub struct Traffic {
    /// From the client: requests of the allocation, the one that made it included, and data with its headers.
    pub from_client: TrafficCounters,
    /// To the client: answers and data with its headers.
    pub to_client: TrafficCounters,
    /// From peers: application data only.
    pub from_peer: TrafficCounters,
    /// To peers: application data only.
    pub to_peer: TrafficCounters,
}

/// Packets and bytes of one direction.
#[derive(Default, Debug)]
pub struct TrafficCounters {
    /// Packets.
    pub packets: Counter,
    /// Bytes.
    pub bytes: Counter,
}

/// Packets and bytes of both directions on one side of an allocation, as values.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flow {
    /// Packets received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Why an allocation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Its client asked for it: Refresh with lifetime 0.
    Released,
    /// It was not refreshed in time.
    Expired,
    /// Its client's stream was closed.
    Disconnected,
    /// An administrator ended it.
    Administrator,
    /// Its user exists no more.
    UserDeleted,
}

impl Session {
    /// Tells whether it is a user's, by the whole name or by the name without the expiry in it.
    pub fn is_of(&self, user: &str) -> bool {
        is_of(&self.user, user)
    }
}

/// Tells whether a user that authenticated as `name` is called `user`.
pub(crate) fn is_of(name: &str, user: &str) -> bool {
    name == user || name_without_expiry(name) == user
}

impl SessionId {
    /// Makes the id of the `count`th allocation of a shard.
    pub fn new(shard: u16, count: u64) -> Self {
        Self(u64::from(shard % 1_000) * COUNTS + count % COUNTS)
    }

    /// Reads 18 decimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok().map(Self)).flatten()
    }

    /// Gives it as a number.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Gives the shard that has the allocation.
    pub fn shard(self) -> u16 {
        (self.0 / COUNTS) as u16
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}", self.0)
    }
}

impl Traffic {
    /// Gives what passed on the client's side so far.
    pub fn client(&self) -> Flow {
        Flow::of(&self.from_client, &self.to_client)
    }

    /// Counts the packets of both sides together.
    #[inline]
    pub fn packets(&self) -> u64 {
        let all = [&self.from_client, &self.to_client, &self.from_peer, &self.to_peer];
        all.into_iter().map(|counters| counters.packets.value()).sum()
    }

    /// Gives what passed on the peers' side so far.
    pub fn peer(&self) -> Flow {
        Flow::of(&self.from_peer, &self.to_peer)
    }
}

impl TrafficCounters {
    /// Counts one packet.
    #[inline]
    pub(crate) fn count(&self, bytes: usize) {
        self.packets.inc();
        self.bytes.add(bytes as u64);
    }
}

impl Flow {
    fn of(received: &TrafficCounters, sent: &TrafficCounters) -> Self {
        Self {
            received_packets: received.packets.value(),
            received_bytes: received.bytes.value(),
            sent_packets: sent.packets.value(),
            sent_bytes: sent.bytes.value(),
        }
    }

    /// Gives what has passed since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            received_packets: self.received_packets - earlier.received_packets,
            received_bytes: self.received_bytes - earlier.received_bytes,
            sent_packets: self.sent_packets - earlier.sent_packets,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
        }
    }

    /// Counts the packets of both directions.
    pub fn packets(self) -> u64 {
        self.received_packets + self.sent_packets
    }
}

const DIGITS: usize = 18;
/// Ids of one shard: fifteen digits.
const COUNTS: u64 = 1_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_eighteen_digits_that_name_its_shard() {
        let id = SessionId::new(7, 42);
        assert_eq!(id.to_string(), "007000000000000042");
        assert_eq!(SessionId::parse("007000000000000042"), Some(id));
        assert_eq!(id.shard(), 7);
        for wrong in [
            "",
            "42",
            "00700000000000004x",
            "0070000000000000420",
            "+07000000000000042",
        ] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
