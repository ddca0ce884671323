//! Messages out of a stream that cuts them anywhere.

use voex_stun::{ParseError, frame_len};

/// Cuts a stream into STUN and ChannelData messages (RFC 8489 §6.2.2, RFC 8656 §12.5).
///
/// Only the part of a message that is still incomplete is kept, so that an idle client keeps nothing.
#[derive(Debug, Default)]
pub struct Deframer {
    kept: Vec<u8>,
}

impl Deframer {
    /// Takes bytes as they came and gives each whole message, padding included, to `each`.
    ///
    /// # Errors
    /// [`ParseError`] when the stream carries something else; nothing that follows can be trusted.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), ParseError> {
        if self.kept.is_empty() {
            let taken = take_whole(bytes, &mut each)?;
            self.kept.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        self.kept.extend_from_slice(bytes);
        let taken = take_whole(&self.kept, &mut each)?;
        self.kept.drain(..taken);
        Ok(())
    }
}

/// Gives whole messages to `each`, and tells how many bytes they took.
fn take_whole(bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<usize, ParseError> {
    let mut taken = 0;
    while let Some(len) = frame_len(&bytes[taken..])? {
        let Some(message) = bytes.get(taken..taken + len) else {
            break;
        };
        each(message);
        taken += len;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voex_stun::{Class, MessageWriter, Method, TransactionId};

    use super::*;

    /// ChannelData with a payload of so many bytes, padded.
    fn channel_data(len: u16) -> Vec<u8> {
        let mut message = vec![0x40, 0];
        message.extend(len.to_be_bytes());
        message.resize(4 + usize::from(len).next_multiple_of(4), len as u8);
        message
    }

    fn refresh() -> Vec<u8> {
        let mut message = vec![0; 28];
        MessageWriter::new(&mut message, Class::Request, Method::REFRESH, TransactionId([5; 12]))
            .lifetime_s(0)
            .finish()
            .unwrap();
        message
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_the_stream_is_cut(
            lens in prop::collection::vec(prop::option::of(0..1500u16), 1..20),
            cuts in prop::collection::vec(1..700usize, 0..60),
        ) {
            let messages: Vec<_> = lens.iter().map(|len| len.map_or_else(refresh, channel_data)).collect();
            let stream = messages.concat();
            let mut deframer = Deframer::default();
            let mut out = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.into_iter().chain([stream.len()]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                deframer.feed(now, |message| out.push(message.to_vec())).unwrap();
                rest = later;
            }
            prop_assert_eq!(out, messages);
            prop_assert!(deframer.kept.is_empty());
        }
    }

    #[test]
    fn a_stream_of_something_else_is_refused() {
        let mut deframer = Deframer::default();
        assert!(deframer.feed(b"\x15\x03\x03\x00\x02", |_| ()).is_err());
    }
}
