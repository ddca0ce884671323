//! The Data Channel Establishment Protocol (RFC 8832): two messages.

use crate::data::channel::{Channel, Reliability};

/// Longest label, and longest sub-protocol, that is taken.
const NAME_BYTES_MAX: usize = 512;

const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;
/// Length of DATA_CHANNEL_OPEN in front of its label.
const OPEN_BYTES: usize = 12;
const UNORDERED: u8 = 0x80;

/// A message of DCEP.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Dcep {
    /// The sender opens a channel on this stream.
    Open(Channel),
    /// The receiver has taken it.
    Ack,
}

impl Dcep {
    /// Reads one message; `None` when it is none, or its names are too long or no UTF-8.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [ACK, ..] => Some(Self::Ack),
            [OPEN, kind, _, _, r0, r1, r2, r3, l0, l1, p0, p1, ref names @ ..] => {
                let label = usize::from(u16::from_be_bytes([l0, l1]));
                let protocol = usize::from(u16::from_be_bytes([p0, p1]));
                if label > NAME_BYTES_MAX || protocol > NAME_BYTES_MAX || names.len() < label + protocol {
                    return None;
                }
                let parameter = u32::from_be_bytes([r0, r1, r2, r3]);
                Some(Self::Open(Channel {
                    label: std::str::from_utf8(&names[..label]).ok()?.into(),
                    protocol: std::str::from_utf8(&names[label..label + protocol]).ok()?.into(),
                    is_ordered: kind & UNORDERED == 0,
                    reliability: match kind & !UNORDERED {
                        0 => Reliability::Full,
                        1 => Reliability::Retransmits(parameter),
                        2 => Reliability::Lifetime(parameter),
                        _ => return None,
                    },
                }))
            }
            _ => None,
        }
    }

    /// Writes DATA_CHANNEL_ACK.
    pub(crate) fn ack() -> [u8; 1] {
        [ACK]
    }

    /// Writes DATA_CHANNEL_OPEN. Names come out of [`parse`](Self::parse) or are ours, so they fit.
    pub(crate) fn open(channel: &Channel) -> Vec<u8> {
        let (kind, parameter) = match channel.reliability {
            Reliability::Full => (0, 0),
            Reliability::Retransmits(times) => (1, times),
            Reliability::Lifetime(milliseconds) => (2, milliseconds),
        };
        let unordered = if channel.is_ordered { 0 } else { UNORDERED };
        let names = [&channel.label, &channel.protocol];
        let mut bytes = Vec::with_capacity(OPEN_BYTES + channel.label.len() + channel.protocol.len());
        bytes.extend([OPEN, kind | unordered, 0, 0]);
        bytes.extend(u32::to_be_bytes(parameter));
        for name in names {
            bytes.extend(u16::try_from(name.len()).unwrap_or(0).to_be_bytes());
        }
        for name in names {
            bytes.extend(name.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_channel_comes_back_as_it_was_opened() {
        for is_ordered in [true, false] {
            for reliability in [
                Reliability::Full,
                Reliability::Retransmits(3),
                Reliability::Lifetime(70_000),
            ] {
                let channel = Channel {
                    label: "häuser".into(),
                    protocol: "chat".into(),
                    is_ordered,
                    reliability,
                };
                assert_eq!(Dcep::parse(&Dcep::open(&channel)), Some(Dcep::Open(channel)));
            }
        }
        assert_eq!(Dcep::parse(&Dcep::ack()), Some(Dcep::Ack));
    }

    #[test]
    fn what_is_cut_short_too_long_or_no_text_is_refused() {
        let whole = Dcep::open(&Channel::reliable("label"));
        for cut in 0..whole.len() {
            assert_eq!(Dcep::parse(&whole[..cut]), None, "{cut}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(Dcep::parse(&Dcep::open(&Channel::reliable(&long))), None);
        let mut no_text = whole.clone();
        no_text[OPEN_BYTES] = 0xff;
        assert_eq!(Dcep::parse(&no_text), None);
        let mut unknown = whole;
        unknown[1] = 3;
        assert_eq!(Dcep::parse(&unknown), None);
    }
}
