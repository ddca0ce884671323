//! Cutting a stream into messages.

use voex_stun::{ParseError, frame_len};
use voex_turn::Departure;

/// Bytes that tell how long a message is.
const HEAD_BYTES: usize = 4;

/// Cuts what arrives on a stream into STUN and ChannelData messages; keeps the part of a message that has not arrived.
///
/// Every byte is copied once at most, however small the pieces are: a client that sends a large message byte by byte
/// costs no more than one that sends it at once.
#[derive(Default)]
pub(crate) struct Framer {
    /// Start of a message whose rest is still to come; never a whole one, at most 65 552 bytes. Of a stream that departed,
    /// all that follows.
    partial: Vec<u8>,
}

/// What became of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Framed {
    /// Messages delivered.
    pub(crate) messages: u32,
    /// Set when the stream departed with the last one.
    pub(crate) departure: Option<Departure>,
}

impl Framer {
    /// Takes the next bytes of the stream and calls `deliver` with each message that is whole, padding included, until the
    /// stream departs with one.
    ///
    /// # Errors
    /// When the stream carries something else; nothing after that can be trusted.
    pub(crate) fn take(
        &mut self,
        mut bytes: &mut [u8],
        mut deliver: impl FnMut(&mut [u8]) -> Option<Departure>,
    ) -> Result<Framed, ParseError> {
        let mut messages = 0;
        if !self.partial.is_empty() {
            bytes = self.complete(bytes)?;
            if self.wanted()? > 0 {
                return Ok(Framed::default());
            }
            let mut message = std::mem::take(&mut self.partial);
            messages += 1;
            if let Some(departure) = deliver(&mut message) {
                return Ok(self.depart(messages, departure, &message, bytes));
            }
        }
        while let Some(len) = frame_len(bytes)?.filter(|len| *len <= bytes.len()) {
            let (message, rest) = bytes.split_at_mut(len);
            messages += 1;
            if let Some(departure) = deliver(message) {
                return Ok(self.depart(messages, departure, message, rest));
            }
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(Framed {
            messages,
            departure: None,
        })
    }

    /// Keeps what is not ours to cut.
    fn depart(&mut self, messages: u32, departure: Departure, message: &[u8], rest: &[u8]) -> Framed {
        if departure == Departure::Moved {
            self.partial.extend_from_slice(message);
        }
        self.partial.extend_from_slice(rest);
        Framed {
            messages,
            departure: Some(departure),
        }
    }

    /// Gives what was not handled: of a stream that departed, everything since then.
    pub(crate) fn into_unread(self) -> Vec<u8> {
        self.partial
    }

    /// Moves as many bytes as the kept message lacks; gives the rest.
    fn complete<'a>(&mut self, mut bytes: &'a mut [u8]) -> Result<&'a mut [u8], ParseError> {
        loop {
            let moved = self.wanted()?.min(bytes.len());
            if moved == 0 {
                return Ok(bytes);
            }
            let (mine, rest) = bytes.split_at_mut(moved);
            self.partial.extend_from_slice(mine);
            bytes = rest;
        }
    }

    /// Tells how many bytes the kept message lacks, as far as it is known.
    fn wanted(&self) -> Result<usize, ParseError> {
        let len = frame_len(&self.partial)?.unwrap_or(HEAD_BYTES);
        Ok(len - self.partial.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel_data(len: usize, filling: u8) -> Vec<u8> {
        let mut message = vec![0x40, 0x01];
        message.extend((len as u16).to_be_bytes());
        message.extend(vec![filling; len]);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn stun(len: usize, filling: u8) -> Vec<u8> {
        let mut message = vec![0, 1];
        message.extend((len as u16).to_be_bytes());
        message.extend(vec![filling; 16 + len]);
        message
    }

    /// Feeds a stream in pieces; gives the messages.
    fn cut(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, ParseError> {
        let mut framer = Framer::default();
        let mut heard = Vec::new();
        for piece in stream.chunks(piece) {
            framer.take(&mut piece.to_vec(), |message| {
                heard.push(message.to_vec());
                None
            })?;
        }
        assert!(framer.partial.is_empty(), "nothing is left of whole messages");
        Ok(heard)
    }

    #[test]
    fn the_longest_messages_are_whole_though_their_length_needs_more_than_16_bits() {
        for message in [stun(65_532, 7), channel_data(65_535, 8)] {
            assert!(message.len() > 65_535);
            let stream = [&message[..], &stun(0, 1)].concat();
            assert_eq!(cut(&stream, 16_384).unwrap(), [message, stun(0, 1)]);
        }
    }

    #[test]
    fn what_follows_a_departure_is_kept_as_it_is_and_a_message_that_moves_with_it() {
        let stream = [&stun(4, 1)[..], &stun(8, 2), b"\x16 no message"].concat();
        for (departure, kept) in [
            (Departure::Bound, &stream[24 + 28..]),
            (Departure::Moved, &stream[24..]),
        ] {
            for cut in 1..stream.len() {
                let mut framer = Framer::default();
                let mut departs = |message: &mut [u8]| (message.len() == 28).then_some(departure);
                let (head, tail) = stream.split_at(cut);
                let framed = framer.take(&mut head.to_vec(), &mut departs).unwrap();
                if framed.departure.is_none() {
                    let framed = framer.take(&mut tail.to_vec(), &mut departs).unwrap();
                    assert_eq!(framed.departure, Some(departure));
                    assert_eq!(framer.into_unread(), kept, "{cut}");
                } else {
                    assert_eq!([&framer.into_unread()[..], tail].concat(), kept, "{cut}");
                }
            }
        }
    }

    #[test]
    fn a_stream_of_something_else_is_refused_wherever_it_begins() {
        assert!(cut(b"\x16\x03\x01\x02\x00\x01", 5).is_err());
        let stream = [&stun(4, 1)[..], b"\x80\x60"].concat();
        assert!(cut(&stream, 3).is_err());
        // A STUN length that is no multiple of four.
        assert!(cut(&[0, 1, 0, 3, 0, 0, 0, 0], 1).is_err());
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_stream_is_cut(
            messages in prop::collection::vec((any::<bool>(), 0usize..3_000, any::<u8>()), 0..12),
            piece in 1usize..5_000,
        ) {
            let messages: Vec<Vec<u8>> = messages
                .into_iter()
                .map(|(is_stun, len, filling)| if is_stun { stun(len / 4 * 4, filling) } else { channel_data(len, filling) })
                .collect();
            prop_assert_eq!(cut(&messages.concat(), piece).unwrap(), messages);
        }
    }
}
