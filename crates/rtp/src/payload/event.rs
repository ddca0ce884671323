//! Telephone events (RFC 4733 §2.3).

use crate::Error;
use crate::error::u16_at;

/// Length of the payload.
pub const EVENT_BYTES: usize = 4;

/// One report of a telephone event. Reports of one event share the RTP timestamp; the last is sent three times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// Event code: 0-9 digits, 10 `*`, 11 `#`, 12-15 `A`-`D`, 16 flash, others tones.
    pub code: u8,
    /// Whether the event has ended.
    pub end: bool,
    /// Power in -dBm0, 0-63.
    pub volume: u8,
    /// How long it lasts so far, in timestamp units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the first report of a payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        if payload.len() < EVENT_BYTES {
            return Err(Error::Truncated);
        }
        Ok(Self {
            code: payload[0],
            end: payload[1] & 0x80 != 0,
            volume: payload[1] & 0x3f,
            duration: u16_at(payload, 2),
        })
    }

    /// Gives the payload.
    pub fn to_bytes(self) -> [u8; EVENT_BYTES] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | (self.volume & 0x3f), high, low]
    }

    /// The key of a telephone that the event stands for.
    pub fn digit(&self) -> Option<char> {
        const DIGITS: &[u8; 16] = b"0123456789*#ABCD";
        DIGITS.get(usize::from(self.code)).map(|digit| char::from(*digit))
    }
}

/// Gives the event code of a key; lower case letters count.
pub fn code_of(digit: char) -> Option<u8> {
    let code = match digit {
        '*' => 10,
        '#' => 11,
        'A'..='D' => digit as u8 - b'A' + 12,
        'a'..='d' => digit as u8 - b'a' + 12,
        '0'..='9' => digit as u8 - b'0',
        _ => return None,
    };
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back_what_was_written() {
        let event = TelephoneEvent {
            code: 11,
            end: true,
            volume: 10,
            duration: 800,
        };
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x03, 0x20]);
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Ok(event));
        assert_eq!(TelephoneEvent::parse(&[11, 0x8a, 3]), Err(Error::Truncated));
    }

    #[test]
    fn keys_and_codes_fit_each_other() {
        for code in 0..16 {
            let event = TelephoneEvent {
                code,
                end: false,
                volume: 0,
                duration: 0,
            };
            assert_eq!(code_of(event.digit().unwrap()), Some(code));
        }
        assert_eq!(code_of('x'), None);
    }
}
