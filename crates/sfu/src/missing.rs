//! Which packets of a track are missing, and when to ask for them (RFC 4585 §6.2.1).

use std::time::{Duration, Instant};

use crate::limits::{
    MISSING_MAX, NACK_INTERVAL_DEFAULT, NACK_INTERVAL_MAX, NACK_INTERVAL_MIN, NACK_TRIES_MAX, REORDER_DELAY_MAX,
    REORDER_DELAY_MIN, REORDER_PACKETS_MAX,
};

/// The missing packets of one source, ascending.
///
/// A gap is asked for after a short wait, since it may be a reordering; how short is learned from packets that turn up
/// by themselves. A packet not sent again after a round trip is asked for again, up to a bound.
pub(crate) struct Missing {
    packets: Vec<MissingPacket>,
    reorder_delay: Duration,
}

struct MissingPacket {
    sequence: u64,
    since: Instant,
    ask_at: Instant,
    tries: u8,
}

/// A packet was missed for good: the decoder needs a key frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Outlook {
    /// Everything may still come.
    Hopeful,
    /// Something was given up.
    Lost,
}

impl Missing {
    /// Makes an empty list. It allocates here and never again.
    pub(crate) fn new() -> Self {
        Self {
            packets: Vec::with_capacity(MISSING_MAX),
            reorder_delay: REORDER_DELAY_MIN,
        }
    }

    /// Adds the `count` packets in front of `newest`. More than [`MISSING_MAX`] are given up together.
    pub(crate) fn add(&mut self, now: Instant, newest: u64, count: u64) -> Outlook {
        if self.packets.len() as u64 + count > MISSING_MAX as u64 {
            self.packets.clear();
            return Outlook::Lost;
        }
        let ask_at = now + self.reorder_delay;
        self.packets
            .extend((newest - count..newest).map(|sequence| MissingPacket {
                sequence,
                since: now,
                ask_at,
                tries: 0,
            }));
        Outlook::Hopeful
    }

    /// Takes a packet off that came after all; gives whether it was missing.
    pub(crate) fn remove(&mut self, now: Instant, sequence: u64) -> bool {
        let Ok(at) = self.packets.binary_search_by_key(&sequence, |packet| packet.sequence) else {
            return false;
        };
        let packet = self.packets.remove(at);
        if packet.tries == 0 {
            let was_late = now.saturating_duration_since(packet.since) * 5 / 4;
            let faded = self.reorder_delay * 7 / 8;
            self.reorder_delay = faded.max(was_late).clamp(REORDER_DELAY_MIN, REORDER_DELAY_MAX);
        }
        true
    }

    /// Gives up what was asked for often enough or is too old to be of use.
    pub(crate) fn give_up(&mut self, now: Instant, newest: u64) -> Outlook {
        let before = self.packets.len();
        self.packets.retain(|packet| {
            let is_spent = packet.tries >= NACK_TRIES_MAX && packet.ask_at <= now;
            !is_spent && newest - packet.sequence < REORDER_PACKETS_MAX
        });
        if self.packets.len() < before {
            Outlook::Lost
        } else {
            Outlook::Hopeful
        }
    }

    /// Gives the sequence numbers to ask for now, ascending, and counts them as asked.
    pub(crate) fn take_due(&mut self, now: Instant, round_trip: Option<Duration>) -> impl Iterator<Item = u16> {
        let interval = round_trip.map_or(NACK_INTERVAL_DEFAULT, |round_trip| {
            (round_trip * 5 / 4).clamp(NACK_INTERVAL_MIN, NACK_INTERVAL_MAX)
        });
        let due = self.packets.iter_mut().filter(move |packet| packet.ask_at <= now);
        due.map(move |packet| {
            packet.tries += 1;
            packet.ask_at = now + interval;
            packet.sequence as u16
        })
    }

    /// When something is to be asked for or given up next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.packets.iter().map(|packet| packet.ask_at).min()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.packets.clear();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn due(missing: &mut Missing, now: Instant) -> Vec<u16> {
        missing.take_due(now, Some(ms(40))).collect()
    }

    #[test]
    fn a_gap_is_asked_for_after_a_short_wait_and_again_after_a_round_trip() {
        let now = Instant::now();
        let mut missing = Missing::new();
        assert_eq!(missing.add(now, 105, 2), Outlook::Hopeful);
        assert_eq!(due(&mut missing, now + ms(9)), []);
        assert_eq!(due(&mut missing, now + ms(10)), [103, 104]);
        assert!(missing.remove(now + ms(20), 103));
        assert!(!missing.remove(now + ms(20), 103));
        assert_eq!(due(&mut missing, now + ms(59)), []);
        assert_eq!(due(&mut missing, now + ms(60)), [104]);
    }

    #[test]
    fn a_packet_never_sent_again_is_given_up_after_the_last_try() {
        let mut now = Instant::now();
        let mut missing = Missing::new();
        assert_eq!(missing.add(now, 5, 1), Outlook::Hopeful);
        let mut asked = 0;
        while let Some(next) = missing.next_at() {
            now = next;
            if missing.give_up(now, 5) == Outlook::Lost {
                break;
            }
            asked += due(&mut missing, now).len();
        }
        assert_eq!(asked, usize::from(NACK_TRIES_MAX));
        assert_eq!(missing.next_at(), None);
    }

    #[test]
    fn packets_that_turn_up_late_lengthen_the_wait() {
        let now = Instant::now();
        let mut missing = Missing::new();
        assert_eq!(missing.add(now, 5, 1), Outlook::Hopeful);
        assert!(missing.remove(now + ms(24), 4));
        assert_eq!(missing.add(now, 9, 1), Outlook::Hopeful);
        assert_eq!(missing.next_at(), Some(now + ms(30)));
    }

    #[test]
    fn more_than_can_be_asked_for_is_lost_at_once() {
        let now = Instant::now();
        let mut missing = Missing::new();
        assert_eq!(missing.add(now, 1_000, MISSING_MAX as u64), Outlook::Hopeful);
        assert_eq!(missing.add(now, 1_002, 1), Outlook::Lost);
        assert_eq!(missing.next_at(), None);
    }
}
