//! Who talks, by the audio levels that senders put beside their packets (RFC 6464).

use crate::command::{Speech, SpeechRule};

/// Bits of the level; the eighth says whether the sender thinks that it is a voice.
const LEVEL: u8 = 0x7f;

/// Most packets of one measurement.
const PACKETS_MAX: u32 = 65_536;

/// Follows the levels of one track.
pub(crate) struct SpeechDetector {
    rule: SpeechRule,
    sum: u32,
    packets: u32,
    is_talking: bool,
}

impl SpeechDetector {
    pub(crate) fn new(rule: SpeechRule) -> Self {
        Self {
            rule,
            sum: 0,
            packets: 0,
            is_talking: false,
        }
    }

    /// Measures by another rule from now on; who talked still does.
    pub(crate) fn set_rule(&mut self, rule: SpeechRule) {
        if self.rule != rule {
            (self.rule, self.sum, self.packets) = (rule, 0, 0);
        }
    }

    /// Takes the level of one packet; gives the state when it changed with it.
    pub(crate) fn handle(&mut self, level: u8) -> Option<Speech> {
        self.sum += u32::from(level & LEVEL);
        self.packets += 1;
        if self.packets < self.rule.packets.clamp(1, PACKETS_MAX) {
            return None;
        }
        let (sum, packets) = (self.sum, self.packets);
        (self.sum, self.packets) = (0, 0);
        let is_talking = u64::from(sum) < u64::from(self.rule.level) * u64::from(packets);
        let is_news = std::mem::replace(&mut self.is_talking, is_talking) != is_talking;
        is_news.then_some(Speech {
            is_talking,
            level_sum: sum,
            packets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_after_as_many_packets_as_the_rule_says() {
        let mut detector = SpeechDetector::new(SpeechRule { packets: 3, level: 25 });
        let mut told = Vec::new();
        // The bit for voice is no part of the level; a mean of 25 is not below 25.
        for level in [0x80 | 24, 24, 26, 10, 10, 10, 25, 25, 25, 127, 127, 127] {
            told.extend(detector.handle(level).map(|speech| (speech.is_talking, speech.level())));
        }
        assert_eq!(told, [(true, 74.0 / 3.0), (false, 25.0)]);
    }
}
