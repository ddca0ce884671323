//! How much a subscription may have sent again, and what it just got.

use std::time::{Duration, Instant};

use crate::limits::{RESEND_BURST_PACKETS, RESEND_PACKETS_PER_S, RESENDS_REMEMBERED};

/// A token bucket, and the last retransmissions with their times.
#[derive(Default)]
pub(crate) struct Resends {
    /// Made with the first retransmission: most subscriptions never need it.
    recent: Option<Box<Recent>>,
    tokens: u32,
    refilled_at: Option<Instant>,
}

/// Source packet and when it was sent again, by sequence number modulo the length.
type Recent = [Option<(u64, Instant)>; RESENDS_REMEMBERED];

impl Resends {
    /// Whether source packet `sequence` may be sent again now; counts it as sent. No to one sent within `interval`.
    pub(crate) fn admit(&mut self, now: Instant, sequence: u64, interval: Duration) -> bool {
        self.refill(now);
        let recent = self.recent.get_or_insert_with(|| Box::new([None; RESENDS_REMEMBERED]));
        let slot = &mut recent[(sequence % RESENDS_REMEMBERED as u64) as usize];
        let is_repeated =
            slot.is_some_and(|(sent, at)| sent == sequence && now.saturating_duration_since(at) < interval);
        if is_repeated || self.tokens == 0 {
            return false;
        }
        *slot = Some((sequence, now));
        self.tokens -= 1;
        true
    }

    fn refill(&mut self, now: Instant) {
        let Some(before) = self.refilled_at else {
            (self.tokens, self.refilled_at) = (RESEND_BURST_PACKETS, Some(now));
            return;
        };
        let passed = now.saturating_duration_since(before).as_micros();
        let grown = passed * u128::from(RESEND_PACKETS_PER_S) / 1_000_000;
        if grown > 0 {
            let room = RESEND_BURST_PACKETS - self.tokens;
            self.tokens += u32::try_from(grown).unwrap_or(u32::MAX).min(room);
            self.refilled_at = Some(now);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(40);

    #[test]
    fn a_packet_is_sent_again_once_a_round_trip() {
        let now = Instant::now();
        let mut resends = Resends::default();
        assert!(resends.admit(now, 7, ROUND_TRIP));
        assert!(!resends.admit(now + ROUND_TRIP / 2, 7, ROUND_TRIP));
        assert!(resends.admit(now + ROUND_TRIP, 7, ROUND_TRIP));
    }

    #[test]
    fn a_flood_of_requests_gets_the_burst_and_then_the_rate() {
        let now = Instant::now();
        let mut resends = Resends::default();
        let mut admitted = |at: Instant, from: u64| {
            (from..from + 1_000)
                .filter(|s| resends.admit(at, *s, ROUND_TRIP))
                .count()
        };
        assert_eq!(admitted(now, 0), RESEND_BURST_PACKETS as usize);
        assert_eq!(
            admitted(now + Duration::from_millis(100), 1_000),
            RESEND_PACKETS_PER_S as usize / 10
        );
    }
}
