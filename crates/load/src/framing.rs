//! How a payload is wrapped between client and server.

use std::net::SocketAddr;

use voex_stun::{
    CHANNEL_DATA_HEADER_BYTES, ChannelData, ChannelNumber, Class, Message, MessageWriter, Method, PacketKind,
    TransactionId,
};

use crate::payload::{PAYLOAD_BYTES_MAX, Stamp};

/// Room for any framed payload.
pub const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64;

/// What stands around the payloads of a flow when they leave.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Nothing: peers speak plain UDP.
    Raw,
    /// ChannelData (RFC 8656 §12.4).
    Channel(ChannelNumber),
    /// ChannelData padded to four bytes, as streams want it (RFC 8656 §12.5).
    PaddedChannel(ChannelNumber),
    /// A Send indication (RFC 8656 §11.1) for this peer.
    Indication(SocketAddr),
}

impl Framing {
    /// Writes a whole message with a payload of `len` bytes and gives its length.
    pub(crate) fn write(self, stamp: &Stamp, len: usize, out: &mut [u8; FRAME_BYTES_MAX]) -> usize {
        match self {
            Self::Raw => {
                stamp.write(&mut out[..len]);
                len
            }
            Self::Channel(channel) => write_channel_data(channel, stamp, len, out),
            Self::PaddedChannel(channel) => {
                let end = write_channel_data(channel, stamp, len, out);
                let padded = end.next_multiple_of(4);
                out[end..padded].fill(0);
                padded
            }
            Self::Indication(peer) => {
                let mut payload = [0; PAYLOAD_BYTES_MAX];
                stamp.write(&mut payload[..len]);
                MessageWriter::new(out, Class::Indication, Method::SEND, indication_id(stamp))
                    .xor_peer_address(peer)
                    .data(&payload[..len])
                    .finish()
                    .expect("the frame has room for every payload")
            }
        }
    }
}

fn write_channel_data(channel: ChannelNumber, stamp: &Stamp, len: usize, out: &mut [u8; FRAME_BYTES_MAX]) -> usize {
    let header = ChannelData::header(channel, len).expect("payloads are shorter than 64 kB");
    out[..CHANNEL_DATA_HEADER_BYTES].copy_from_slice(&header);
    stamp.write(&mut out[CHANNEL_DATA_HEADER_BYTES..][..len]);
    CHANNEL_DATA_HEADER_BYTES + len
}

/// Finds the payload of a message that a client received.
///
/// Returns `None` for what carries none, such as a late answer to a request.
pub(crate) fn unwrap(message: &[u8]) -> Option<&[u8]> {
    match PacketKind::of(message) {
        PacketKind::ChannelData => Some(ChannelData::parse(message).ok()?.payload),
        PacketKind::Stun => {
            let message = Message::parse(message).ok()?;
            let is_data = message.class() == Class::Indication && message.method() == Method::DATA;
            if is_data { message.data() } else { None }
        }
        _ => None,
    }
}

/// Differs in every indication, as RFC 8489 §5 asks; nobody answers one, so nobody need be unable to guess it.
fn indication_id(stamp: &Stamp) -> TransactionId {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&stamp.flow.to_be_bytes());
    id[4..].copy_from_slice(&stamp.sequence.to_be_bytes());
    TransactionId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        flow: 7,
        sequence: 9,
        sent_ns: 11,
    };

    #[test]
    fn channel_data_is_unwrapped_to_what_was_written() {
        let mut out = [0; FRAME_BYTES_MAX];
        let channel = ChannelNumber::new(0x4001).unwrap();
        let len = Framing::Channel(channel).write(&STAMP, 170, &mut out);
        assert_eq!(len, 174);
        assert_eq!(Stamp::read(unwrap(&out[..len]).unwrap(), 170), Some(STAMP));
    }

    #[test]
    fn channel_data_in_a_stream_is_padded_outside_its_length() {
        let mut out = [0xff; FRAME_BYTES_MAX];
        let channel = ChannelNumber::new(0x4001).unwrap();
        let len = Framing::PaddedChannel(channel).write(&STAMP, 170, &mut out);
        assert_eq!(len, 176);
        assert_eq!(out[2..4], [0, 170]);
        assert_eq!(out[174..176], [0, 0]);
        assert_eq!(Stamp::read(unwrap(&out[..len]).unwrap(), 170), Some(STAMP));
    }

    #[test]
    fn a_send_indication_names_its_peer_and_carries_the_payload() {
        let mut out = [0; FRAME_BYTES_MAX];
        let peer = "[2001:db8::1]:5000".parse().unwrap();
        let len = Framing::Indication(peer).write(&STAMP, PAYLOAD_BYTES_MAX, &mut out);
        let message = Message::parse(&out[..len]).unwrap();
        assert_eq!(message.xor_peer_address(), Ok(Some(peer)));
        assert_eq!(Stamp::read(message.data().unwrap(), PAYLOAD_BYTES_MAX), Some(STAMP));
        assert_eq!(unwrap(&out[..len]), None, "only Data indications come from a server");
    }
}
