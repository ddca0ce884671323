//! RTP header extensions with one-byte and two-byte elements (RFC 8285).

use crate::Error;

/// Largest id of a one-byte element; 15 is reserved.
pub const ONE_BYTE_ID_MAX: u8 = 14;
/// Longest content of a one-byte element.
pub const ONE_BYTE_CONTENT_BYTES_MAX: usize = 16;

const ONE_BYTE_PROFILE: u16 = 0xbede;
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// How elements are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Id and length share a byte (RFC 8285 §4.2).
    OneByte,
    /// A byte each (RFC 8285 §4.3).
    TwoByte,
}

impl Form {
    /// Gives the form that a profile word stands for.
    pub fn of_profile(profile: u16) -> Option<Self> {
        match profile {
            ONE_BYTE_PROFILE => Some(Self::OneByte),
            _ if profile & 0xfff0 == TWO_BYTE_PROFILE => Some(Self::TwoByte),
            _ => None,
        }
    }

    /// The profile word to write.
    pub fn profile(self) -> u16 {
        match self {
            Self::OneByte => ONE_BYTE_PROFILE,
            Self::TwoByte => TWO_BYTE_PROFILE,
        }
    }

    fn head_bytes(self) -> usize {
        match self {
            Self::OneByte => 1,
            Self::TwoByte => 2,
        }
    }
}

/// The elements of a header extension: (id, content). Ends early at an element that leaves the extension.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    form: Option<Form>,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Iterates over the content of an extension; no form, no elements.
    pub fn new(form: Option<Form>, content: &'a [u8]) -> Self {
        Self { form, rest: content }
    }

    /// Gives (id, content length, bytes of the element's head), or `None` at the end.
    fn head(&self, form: Form) -> Option<(u8, usize, usize)> {
        let first = *self.rest.first()?;
        match form {
            Form::OneByte => match (first >> 4, first & 0x0f) {
                (15, _) => None,
                (id, length) => Some((id, usize::from(length) + 1, 1)),
            },
            Form::TwoByte => Some((first, usize::from(*self.rest.get(1)?), 2)),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let form = self.form?;
        while let [0, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (id, length, head) = self.head(form)?;
        let content = self.rest.get(head..head + length)?;
        self.rest = &self.rest[head + length..];
        Some((id, content))
    }
}

/// Writes a header extension behind a fixed header.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    length: usize,
    form: Form,
}

/// Length of profile and length words in front of the elements.
const HEAD_BYTES: usize = 4;

impl<'a> Writer<'a> {
    /// Starts writing at the start of `buf`.
    pub fn new(buf: &'a mut [u8], form: Form) -> Self {
        Self {
            buf,
            length: HEAD_BYTES,
            form,
        }
    }

    /// Appends an element.
    ///
    /// # Errors
    /// [`Error::Format`] when id or length cannot be told in this form (one-byte: id 1-14 and 1-16 bytes, two-byte: id
    /// 1-255 and 0-255 bytes); [`Error::NoRoom`] when the buffer is full. Nothing is written then.
    pub fn push(&mut self, id: u8, content: &[u8]) -> Result<(), Error> {
        let n = content.len();
        let fits = match self.form {
            Form::OneByte => (1..=ONE_BYTE_ID_MAX).contains(&id) && (1..=ONE_BYTE_CONTENT_BYTES_MAX).contains(&n),
            Form::TwoByte => id != 0 && n <= 255,
        };
        if !fits {
            return Err(Error::Format);
        }
        let head = self.form.head_bytes();
        let room = self.buf.get_mut(self.length..self.length + head + n);
        let room = room.ok_or(Error::NoRoom)?;
        match self.form {
            Form::OneByte => room[0] = id << 4 | (n as u8 - 1),
            Form::TwoByte => (room[0], room[1]) = (id, n as u8),
        }
        room[head..].copy_from_slice(content);
        self.length += head + n;
        Ok(())
    }

    /// Pads to a whole number of words, writes the head, and gives the length of the extension; zero, and nothing
    /// written, when no element was pushed.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when the buffer does not hold the padding.
    pub fn finish(self) -> Result<usize, Error> {
        if self.length == HEAD_BYTES {
            return Ok(0);
        }
        let end = self.length.next_multiple_of(4);
        self.buf.get_mut(self.length..end).ok_or(Error::NoRoom)?.fill(0);
        let words = ((end - HEAD_BYTES) / 4) as u16;
        self.buf[..2].copy_from_slice(&self.form.profile().to_be_bytes());
        self.buf[2..4].copy_from_slice(&words.to_be_bytes());
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(form: Form, content: &[u8]) -> Vec<(u8, Vec<u8>)> {
        Elements::new(Some(form), content)
            .map(|(id, c)| (id, c.to_vec()))
            .collect()
    }

    #[test]
    fn one_byte_example_of_rfc_8285_section_4_2() {
        // Figure of §4.2: ids 1, 2, 3 with 1, 2 and 4 bytes, padding between the second and the third.
        let content = [0x10, 0xaa, 0x21, 0xb0, 0xb1, 0, 0, 0x33, 1, 2, 3, 4];
        let expected = [(1, vec![0xaa]), (2, vec![0xb0, 0xb1]), (3, vec![1, 2, 3, 4])];
        assert_eq!(elements(Form::OneByte, &content), expected);
    }

    #[test]
    fn two_byte_example_of_rfc_8285_section_4_3() {
        let content = [1, 0, 2, 1, 0xbb, 0, 3, 4, 1, 2, 3, 4];
        let expected = [(1, vec![]), (2, vec![0xbb]), (3, vec![1, 2, 3, 4])];
        assert_eq!(elements(Form::TwoByte, &content), expected);
    }

    #[test]
    fn id_fifteen_ends_a_one_byte_extension() {
        assert_eq!(elements(Form::OneByte, &[0x10, 1, 0xf0, 9, 0x20, 2]), [(1, vec![1])]);
    }

    #[test]
    fn an_element_that_leaves_the_extension_ends_it() {
        assert_eq!(elements(Form::OneByte, &[0x10, 1, 0x23, 9]), [(1, vec![1])]);
        assert_eq!(elements(Form::TwoByte, &[1, 1, 1, 9]), [(1, vec![1])]);
    }

    #[test]
    fn what_was_written_is_read_back_and_padded_to_words() {
        let mut buf = [0xee; 32];
        let mut writer = Writer::new(&mut buf, Form::OneByte);
        writer.push(4, b"0").unwrap();
        writer.push(9, &[1, 2, 3]).unwrap();
        assert_eq!(writer.finish(), Ok(12));
        assert_eq!(buf[..12], [0xbe, 0xde, 0, 2, 0x40, b'0', 0x92, 1, 2, 3, 0, 0]);
    }

    #[test]
    fn ids_and_lengths_outside_the_form_are_refused() {
        let mut buf = [0; 64];
        let mut writer = Writer::new(&mut buf, Form::OneByte);
        assert_eq!(writer.push(15, &[1]), Err(Error::Format));
        assert_eq!(writer.push(0, &[1]), Err(Error::Format));
        assert_eq!(writer.push(1, &[]), Err(Error::Format));
        assert_eq!(writer.push(1, &[0; 17]), Err(Error::Format));
        assert_eq!(writer.finish(), Ok(0));
        let mut short = [0; 6];
        let mut writer = Writer::new(&mut short, Form::TwoByte);
        assert_eq!(writer.push(200, &[1, 2]), Err(Error::NoRoom));
        assert_eq!(writer.push(200, &[]), Ok(()));
    }
}
