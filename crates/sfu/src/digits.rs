//! Telephone events of a track, each told once (RFC 4733 §2.5).

use std::time::Duration;

use voex_rtp::payload::event::TelephoneEvent;

/// Follows the events of one track.
#[derive(Default)]
pub(crate) struct Digits {
    current: Option<Current>,
}

#[derive(Clone, Copy)]
struct Current {
    timestamp: u32,
    digit: char,
    duration: u16,
    clock_rate: u32,
    is_told: bool,
}

impl Current {
    fn tell(&mut self) -> Option<(char, Duration)> {
        if self.is_told {
            return None;
        }
        self.is_told = true;
        let micros = u64::from(self.duration) * 1_000_000 / u64::from(self.clock_rate.max(1));
        Some((self.digit, Duration::from_micros(micros)))
    }
}

impl Digits {
    /// Takes one report; gives a digit that has ended with it. An event whose end was lost ends when the next begins.
    pub(crate) fn handle(
        &mut self,
        timestamp: u32,
        event: TelephoneEvent,
        clock_rate: u32,
    ) -> Option<(char, Duration)> {
        let digit = event.digit()?;
        let is_same = |current: &Current| current.timestamp == timestamp && current.digit == digit;
        let mut ended = None;
        let current = match &mut self.current {
            Some(current) if is_same(current) => current,
            // A late report of an event before this one.
            Some(current) if timestamp.wrapping_sub(current.timestamp) > 1 << 31 => return None,
            other => {
                ended = other.as_mut().and_then(Current::tell);
                other.insert(Current {
                    timestamp,
                    digit,
                    duration: 0,
                    clock_rate,
                    is_told: false,
                })
            }
        };
        current.duration = current.duration.max(event.duration);
        if event.end { current.tell().or(ended) } else { ended }
    }

    /// Ends an event whose end was lost, when other media follow it.
    pub(crate) fn handle_other(&mut self, timestamp: u32) -> Option<(char, Duration)> {
        let current = self.current.as_mut().filter(|current| !current.is_told)?;
        // Audio may go on beside an event, at the earliest from the timestamp at which the event began.
        let behind = timestamp.wrapping_sub(current.timestamp);
        let is_over = behind > u32::from(current.duration) + current.clock_rate && behind < 1 << 31;
        if is_over { current.tell() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(code: u8, end: bool, duration: u16) -> TelephoneEvent {
        TelephoneEvent {
            code,
            end,
            volume: 10,
            duration,
        }
    }

    #[test]
    fn the_three_ends_of_one_event_tell_one_digit() {
        let mut digits = Digits::default();
        assert_eq!(digits.handle(1_000, report(5, false, 160), 8_000), None);
        assert_eq!(digits.handle(1_000, report(5, false, 320), 8_000), None);
        let told = Some(('5', Duration::from_millis(60)));
        assert_eq!(digits.handle(1_000, report(5, true, 480), 8_000), told);
        assert_eq!(digits.handle(1_000, report(5, true, 480), 8_000), None);
        assert_eq!(digits.handle(1_000, report(5, true, 480), 8_000), None);
        assert!(
            digits.handle(4_000, report(5, true, 480), 8_000).is_some(),
            "pressed again"
        );
    }

    #[test]
    fn an_event_whose_end_was_lost_ends_with_the_next_or_with_speech() {
        let mut digits = Digits::default();
        assert_eq!(digits.handle(1_000, report(1, false, 800), 8_000), None);
        let told = Some(('1', Duration::from_millis(100)));
        assert_eq!(digits.handle(9_000, report(2, false, 160), 8_000), told);
        assert_eq!(digits.handle(1_000, report(1, true, 900), 8_000), None, "late");
        assert_eq!(digits.handle_other(9_160), None, "speech beside the event");
        assert_eq!(digits.handle_other(18_000), Some(('2', Duration::from_millis(20))));
    }

    #[test]
    fn events_that_are_no_keys_are_not_told() {
        assert_eq!(Digits::default().handle(0, report(16, true, 800), 8_000), None);
    }
}
