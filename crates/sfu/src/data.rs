//! Messages of data channels on their way from one sender to many.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use voex_base::{SubscriptionId, TrackId};
use voex_transport::data::DataMessage;

use crate::limits::{
    DATA_BURST, DATA_BYTES_PER_S, DATA_BYTES_PER_SHARD_AND_S, DATA_PASS_BYTES, DATA_PASS_COPIES, DATA_PASS_PAUSE,
    DATA_REPORTS_PER_S, DATA_REPORTS_PER_SHARD_AND_S,
};

/// Data tracks of a shard, and where their messages go.
pub(crate) struct DataTracks {
    pub(crate) tracks: FxHashMap<TrackId, DataTrack>,
    /// The track of each subscription.
    pub(crate) subscriptions: FxHashMap<SubscriptionId, TrackId>,
    /// What may be forwarded of all tracks.
    pub(crate) bytes: Allowance,
    /// What may be reported of all tracks.
    pub(crate) reports: Allowance,
}

/// What arrives on the data channels of a transport.
pub(crate) struct DataTrack {
    /// Slab key of its transport.
    pub(crate) connection: usize,
    pub(crate) is_reported: bool,
    pub(crate) is_relayed: bool,
    /// In the order in which they came.
    pub(crate) subscriptions: Vec<DataSubscription>,
    /// Subscriptions on other workers.
    pub(crate) far_subscriptions: usize,
    /// A message that is on its way, and how many of the subscriptions have it.
    pub(crate) leaving: Option<(DataMessage, usize)>,
    /// Of a track of another worker: what came from there behind that one, [`DATA_PIPED_MAX`](crate::limits::DATA_PIPED_MAX)
    /// at most.
    pub(crate) waiting: VecDeque<DataMessage>,
}

/// Where messages of a data track go.
pub(crate) struct DataSubscription {
    pub(crate) id: SubscriptionId,
    /// Slab key of the transport they leave by.
    pub(crate) connection: usize,
    pub(crate) is_active: bool,
    pub(crate) text_prefix: Box<str>,
}

/// What a connection keeps for its data channels.
pub(crate) struct ConnectionData {
    pub(crate) track: Option<TrackId>,
    /// Subscriptions that leave by it.
    pub(crate) subscriptions: Vec<SubscriptionId>,
    pub(crate) bytes: Allowance,
    pub(crate) reports: Allowance,
    pub(crate) pace: Pace,
}

/// What has left of a sender lately.
#[derive(Default)]
pub(crate) struct Pace {
    since: Option<Instant>,
    copies: usize,
    bytes: usize,
}

impl Pace {
    /// When more may leave, if not now.
    pub(crate) fn wait_until(&mut self, now: Instant) -> Option<Instant> {
        let over = self.since.map(|since| since + DATA_PASS_PAUSE);
        if over.is_none_or(|over| over <= now) {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        over.filter(|_| self.copies >= DATA_PASS_COPIES || self.bytes >= DATA_PASS_BYTES)
    }

    pub(crate) fn count(&mut self, bytes: usize) {
        self.copies += 1;
        self.bytes += bytes;
    }
}

impl DataTrack {
    pub(crate) fn new(connection: usize, is_reported: bool) -> Self {
        Self {
            connection,
            is_reported,
            is_relayed: true,
            subscriptions: Vec::new(),
            far_subscriptions: 0,
            leaving: None,
            waiting: VecDeque::new(),
        }
    }
}

impl DataTracks {
    pub(crate) fn new() -> Self {
        Self {
            tracks: FxHashMap::default(),
            subscriptions: FxHashMap::default(),
            bytes: Allowance::new(DATA_BYTES_PER_SHARD_AND_S),
            reports: Allowance::new(DATA_REPORTS_PER_SHARD_AND_S),
        }
    }
}

impl ConnectionData {
    pub(crate) fn new() -> Self {
        Self {
            track: None,
            subscriptions: Vec::new(),
            bytes: Allowance::new(DATA_BYTES_PER_S),
            reports: Allowance::new(DATA_REPORTS_PER_S),
            pace: Pace::default(),
        }
    }
}

/// A rate that may be run ahead of by [`DATA_BURST`], and then by one message however large.
pub(crate) struct Allowance {
    per_second: u64,
    paid_until: Option<Instant>,
}

impl Allowance {
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second,
            paid_until: None,
        }
    }

    /// When the next may be taken, if not now.
    pub(crate) fn wait_until(&self, now: Instant) -> Option<Instant> {
        let paid_until = self.paid_until.filter(|paid| *paid > now + DATA_BURST)?;
        Some(paid_until - DATA_BURST)
    }

    pub(crate) fn charge(&mut self, now: Instant, amount: u64) {
        let from = self.paid_until.map_or(now, |paid| paid.max(now));
        let nanoseconds = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
        self.paid_until = Some(from + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // the clock is read once
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(100);
        let mut taken = 0;
        while allowance.wait_until(now).is_none() {
            allowance.charge(now, 1);
            taken += 1;
        }
        assert_eq!(taken, 26, "a quarter of a second, and the one that goes over");
        let end = now + Duration::from_secs(10);
        while let Some(at) = allowance.wait_until(now).filter(|at| *at <= end) {
            now = at;
            allowance.charge(now, 1);
            taken += 1;
        }
        assert_eq!(taken, 26 + 1_000);
    }
}
