//! RTCP compound packets (RFC 3550 §6), reduced-size ones included (RFC 5506).

mod feedback;
mod report;
mod twcc;
mod writer;

pub use feedback::{FullIntraRequests, Nacks, Remb, SequenceNumbers, nack_pairs};
pub use report::{ReportBlock, Reports, SenderInfo};
pub use twcc::{Arrivals, TransportFeedback, TwccHeader};
pub use writer::Writer;

use crate::Error;
use crate::error::{u16_at, u32_at};

/// Length of the header: version word and the SSRC of whoever speaks.
const HEADER_BYTES: usize = 4;

/// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback message types (RFC 4585 §6, RFC 5104 §4).
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TWCC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// A compound packet whose framing was checked: every length and padding lies within it.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    data: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks version, length and padding of every packet in it.
    ///
    /// # Errors
    /// [`Error::Truncated`] (also when empty), [`Error::Version`], [`Error::Padding`].
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let mut rest = data;
        loop {
            let (_, _, next) = split(rest)?;
            rest = next;
            if rest.is_empty() {
                return Ok(Self { data });
            }
        }
    }

    /// The packets in it, in order. One with a malformed body is an error and does not end the iteration.
    pub fn packets(&self) -> Packets<'a> {
        Packets { rest: self.data }
    }
}

/// Iterator over the packets of a compound packet.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (head, body, next) = match split(self.rest) {
            Ok(parts) => parts,
            Err(error) => {
                self.rest = &[];
                return Some(Err(error));
            }
        };
        self.rest = next;
        Some(Packet::parse(head, body))
    }
}

/// Count or format field, and packet type.
type Head = (u8, u8);

/// Splits off the first packet: head, body without padding, rest.
fn split(data: &[u8]) -> Result<(Head, &[u8], &[u8]), Error> {
    if data.len() < HEADER_BYTES {
        return Err(Error::Truncated);
    }
    if data[0] >> 6 != 2 {
        return Err(Error::Version);
    }
    let length = HEADER_BYTES + 4 * usize::from(u16_at(data, 2));
    if data.len() < length {
        return Err(Error::Truncated);
    }
    let (packet, rest) = data.split_at(length);
    let mut body = &packet[HEADER_BYTES..];
    if data[0] & 0x20 != 0 {
        let padding = usize::from(packet[length - 1]);
        if padding == 0 || padding > body.len() {
            return Err(Error::Padding);
        }
        body = &body[..body.len() - padding];
    }
    Ok(((data[0] & 0x1f, data[1]), body, rest))
}

/// One RTCP packet.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// SR: what the sender sent, and what it heard.
    SenderReport(SenderInfo, Reports<'a>),
    /// RR: SSRC of the receiver, and what it heard.
    ReceiverReport(u32, Reports<'a>),
    /// SDES; its items are not read.
    SourceDescription,
    /// BYE: the sources that leave.
    Bye(Sources<'a>),
    /// Generic NACK.
    Nack(Nacks<'a>),
    /// Picture loss indication for this media SSRC.
    PictureLoss {
        /// SSRC of the medium.
        media_ssrc: u32,
    },
    /// Full intra requests.
    FullIntra(FullIntraRequests<'a>),
    /// Receiver estimated maximum bit rate.
    Remb(Remb<'a>),
    /// Transport-wide congestion control feedback.
    TransportFeedback(TransportFeedback<'a>),
    /// Anything else, APP and XR among it.
    Other {
        /// RTCP packet type.
        packet_type: u8,
        /// Count, subtype or feedback format.
        format: u8,
    },
}

impl<'a> Packet<'a> {
    fn parse((format, packet_type): Head, body: &'a [u8]) -> Result<Self, Error> {
        use packet_type::{
            BYE, PAYLOAD_FEEDBACK, RECEIVER_REPORT, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
        };
        Ok(match packet_type {
            SENDER_REPORT => {
                let info = SenderInfo::parse(body)?;
                Self::SenderReport(info, Reports::parse(&body[SenderInfo::BYTES..], format)?)
            }
            RECEIVER_REPORT => {
                let ssrc = first_word(body)?;
                Self::ReceiverReport(ssrc, Reports::parse(&body[4..], format)?)
            }
            SOURCE_DESCRIPTION => Self::SourceDescription,
            BYE => Self::Bye(Sources::parse(body, format)?),
            TRANSPORT_FEEDBACK => match format {
                format::NACK => Self::Nack(Nacks::parse(body)?),
                format::TWCC => Self::TransportFeedback(TransportFeedback::parse(body)?),
                _ => Self::Other { packet_type, format },
            },
            PAYLOAD_FEEDBACK => Self::payload_feedback(format, body)?,
            _ => Self::Other { packet_type, format },
        })
    }

    fn payload_feedback(format: u8, body: &'a [u8]) -> Result<Self, Error> {
        Ok(match format {
            format::PLI => {
                let (_, media_ssrc) = feedback_ssrcs(body)?;
                Self::PictureLoss { media_ssrc }
            }
            format::FIR => Self::FullIntra(FullIntraRequests::parse(body)?),
            format::APPLICATION if Remb::is_remb(body) => Self::Remb(Remb::parse(body)?),
            _ => Self::Other {
                packet_type: packet_type::PAYLOAD_FEEDBACK,
                format,
            },
        })
    }
}

fn first_word(body: &[u8]) -> Result<u32, Error> {
    if body.len() < 4 {
        return Err(Error::Truncated);
    }
    Ok(u32_at(body, 0))
}

/// SSRC of the sender and SSRC of the medium of a feedback message (RFC 4585 §6.1).
fn feedback_ssrcs(body: &[u8]) -> Result<(u32, u32), Error> {
    if body.len() < 8 {
        return Err(Error::Truncated);
    }
    Ok((u32_at(body, 0), u32_at(body, 4)))
}

/// The SSRCs of a BYE.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    words: &'a [u8],
}

impl<'a> Sources<'a> {
    fn parse(body: &'a [u8], count: u8) -> Result<Self, Error> {
        let words = body.get(..4 * usize::from(count)).ok_or(Error::Truncated)?;
        Ok(Self { words })
    }
}

impl Iterator for Sources<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (word, rest) = self.words.split_first_chunk()?;
        self.words = rest;
        Some(u32::from_be_bytes(*word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_that_leaves_the_compound_is_refused() {
        let refused = |data: &[u8]| Compound::parse(data).map(|_| ()).unwrap_err();
        assert_eq!(refused(&[]), Error::Truncated);
        assert_eq!(refused(&[0x80, 201, 0]), Error::Truncated);
        assert_eq!(refused(&[0x40, 201, 0, 0]), Error::Version);
        assert_eq!(refused(&[0x80, 201, 0, 1, 0, 0, 0]), Error::Truncated);
        assert_eq!(refused(&[0xa0, 201, 0, 1, 0, 0, 0, 5]), Error::Padding);
        assert_eq!(refused(&[0xa0, 201, 0, 1, 0, 0, 0, 0]), Error::Padding);
        assert_eq!(refused(&[0x80, 201, 0, 1, 0, 0, 0, 1, 0x80]), Error::Truncated);
    }

    #[test]
    fn a_malformed_packet_does_not_hide_the_next_one() {
        // RR that promises a report block, then a BYE of one source.
        let data = [0x81, 201, 0, 1, 0, 0, 0, 1, 0x81, 203, 0, 1, 0, 0, 0, 9];
        let compound = Compound::parse(&data).unwrap();
        let packets: Vec<_> = compound.packets().collect();
        assert_eq!(packets.len(), 2);
        assert!(packets[0].is_err());
        let Ok(Packet::Bye(sources)) = &packets[1] else {
            panic!("{packets:?}")
        };
        assert_eq!(sources.clone().collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn app_and_unknown_feedback_are_skipped_by_type() {
        let data = [
            0x82, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e', 0x83, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2,
        ];
        let compound = Compound::parse(&data).unwrap();
        let kinds: Vec<_> = compound
            .packets()
            .map(|packet| match packet {
                Ok(Packet::Other { packet_type, format }) => (packet_type, format),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [(204, 2), (205, 3)]);
    }
}
