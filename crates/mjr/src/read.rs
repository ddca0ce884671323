//! Reading a file, whatever became of it.

use std::io::{self, Read};

use crate::format::{FRAME_HEAD_BYTES, FRAME_MAGIC, HEADER_BYTES_MAX, Header, Kind, MAGIC};

/// Bytes that are looked at together: the longest record, and what the next begins with.
const WINDOW_BYTES: usize = 256 << 10;

/// Why a file cannot be read at all.
#[derive(Debug)]
pub enum OpenError {
    /// The system says so.
    Io(io::Error),
    /// It does not begin as a recording does.
    NoRecording,
    /// Its header is cut off or says nothing.
    Header,
}

/// Reads records one by one. Damage is passed over: reading goes on with the next record that begins in it.
pub struct Reader<R> {
    input: R,
    header: Header,
    header_bytes: Vec<u8>,
    window: Vec<u8>,
    at: usize,
    is_at_end: bool,
    skipped_bytes: u64,
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Milliseconds since the first one.
    pub since_first_ms: u32,
    /// The RTP packet, or what was sent on a data channel.
    pub bytes: &'a [u8],
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn new(input: R) -> Result<Self, OpenError> {
        let mut this = Self {
            input,
            header: Header {
                kind: Kind::Data,
                codec: String::new(),
                fmtp: None,
                extensions: Vec::new(),
                created_us: 0,
                first_us: 0,
                is_encrypted: false,
            },
            header_bytes: Vec::new(),
            window: Vec::new(),
            at: 0,
            is_at_end: false,
            skipped_bytes: 0,
        };
        let has_magic = this.fill(MAGIC.len() + 2).map_err(OpenError::Io)? && this.window.starts_with(MAGIC);
        if !has_magic {
            return Err(OpenError::NoRecording);
        }
        let length = usize::from(this.window[MAGIC.len()]) << 8 | usize::from(this.window[MAGIC.len() + 1]);
        let end = MAGIC.len() + 2 + length;
        if length > HEADER_BYTES_MAX || !this.fill(end).map_err(OpenError::Io)? {
            return Err(OpenError::Header);
        }
        this.header = Header::parse(&this.window[MAGIC.len() + 2..end]).ok_or(OpenError::Header)?;
        this.header_bytes = this.window[..end].to_vec();
        this.at = end;
        Ok(this)
    }

    /// Gives what the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Gives the header as it stands in the file, with all in front of the first record.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header_bytes
    }

    /// Bytes that belonged to no record, up to where reading has come.
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// Gives the next record; `None` at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            if !self.fill(FRAME_HEAD_BYTES)? {
                self.skip(self.left());
                return Ok(None);
            }
            let length = match self.length() {
                Some(length) if self.fill(FRAME_HEAD_BYTES + length)? => length,
                _ => {
                    self.resynchronize()?;
                    continue;
                }
            };
            let end = FRAME_HEAD_BYTES + length;
            self.fill(end + FRAME_MAGIC.len())?;
            let next = &self.window[self.at + end..];
            let is_next = FRAME_MAGIC.starts_with(&next[..next.len().min(FRAME_MAGIC.len())]);
            // Else the length is wrong, or damage begins behind this record. Another one inside of it tells.
            if !is_next && find(&self.window[self.at + 1..self.at + end], FRAME_MAGIC).is_some() {
                self.resynchronize()?;
                continue;
            }
            let start = self.at + FRAME_HEAD_BYTES;
            let ms = &self.window[self.at + 4..self.at + 8];
            let since_first_ms = ms.iter().fold(0, |ms, byte| ms << 8 | u32::from(*byte));
            self.at += end;
            return Ok(Some(Record {
                since_first_ms,
                bytes: &self.window[start..start + length],
            }));
        }
    }

    /// The length of the record that begins here, if one does.
    fn length(&self) -> Option<usize> {
        let head = &self.window[self.at..self.at + FRAME_HEAD_BYTES];
        let length = usize::from(head[8]) << 8 | usize::from(head[9]);
        (head.starts_with(FRAME_MAGIC) && length > 0).then_some(length)
    }

    /// Goes on to where the next record seems to begin.
    fn resynchronize(&mut self) -> io::Result<()> {
        self.skip(1);
        while self.fill(FRAME_MAGIC.len())? {
            match find(&self.window[self.at..], FRAME_MAGIC) {
                Some(distance) => {
                    self.skip(distance);
                    return Ok(());
                }
                None => self.skip(self.left() - (FRAME_MAGIC.len() - 1)),
            }
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.window.len() - self.at
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        self.skipped_bytes += bytes as u64;
    }

    /// Makes sure that so many bytes are there; false when the file ends before.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        if self.left() >= bytes {
            return Ok(true);
        }
        self.window.drain(..self.at);
        self.at = 0;
        while self.window.len() < bytes && !self.is_at_end {
            let wanted = WINDOW_BYTES - self.window.len();
            let read = (&mut self.input).take(wanted as u64).read_to_end(&mut self.window)?;
            self.is_at_end = read < wanted;
        }
        Ok(self.window.len() >= bytes)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_head;

    fn header() -> Vec<u8> {
        let text = br#"{"t":"a","c":"opus","s":1,"u":2}"#;
        let mut bytes = b"MJR00002\x00".to_vec();
        bytes.push(text.len() as u8);
        bytes.extend(text);
        bytes
    }

    fn record(ms: u32, bytes: &[u8]) -> Vec<u8> {
        [&frame_head(ms, bytes.len() as u16)[..], bytes].concat()
    }

    /// Everything that comes out, and what was passed over.
    fn read(file: &[u8]) -> (Vec<(u32, Vec<u8>)>, u64) {
        let mut reader = Reader::new(file).expect("a recording");
        let mut records = Vec::new();
        while let Some(record) = reader.next_record().expect("memory is readable") {
            records.push((record.since_first_ms, record.bytes.to_vec()));
        }
        (records, reader.skipped_bytes())
    }

    #[test]
    fn records_come_in_the_order_of_the_file() {
        let file = [
            header(),
            record(0, b"one"),
            record(20, b"second"),
            record(70_000, &[7; 65_535]),
        ]
        .concat();
        let expected = vec![
            (0, b"one".to_vec()),
            (20, b"second".to_vec()),
            (70_000, vec![7; 65_535]),
        ];
        assert_eq!(read(&file), (expected, 0));
    }

    #[test]
    fn a_file_that_ends_in_the_middle_gives_all_whole_records() {
        let whole = [header(), record(0, b"one"), record(20, b"second")].concat();
        let first = header().len() + FRAME_HEAD_BYTES + 3;
        for end in first..whole.len() {
            let (records, skipped) = read(&whole[..end]);
            assert_eq!(records, [(0, b"one".to_vec())]);
            assert_eq!(skipped, (end - first) as u64);
        }
    }

    #[test]
    fn damage_costs_the_record_that_it_hits() {
        let parts = [header(), record(0, b"one"), record(20, b"second"), record(40, b"third")];
        let mut wrong_mark = parts.concat();
        wrong_mark[parts[0].len() + parts[1].len()] = b'X';
        let (records, skipped) = read(&wrong_mark);
        assert_eq!(records, [(0, b"one".to_vec()), (40, b"third".to_vec())]);
        assert_eq!(skipped, parts[2].len() as u64);
        let mut wrong_length = parts.concat();
        wrong_length[parts[0].len() + parts[1].len() + 9] += 12;
        let (records, _) = read(&wrong_length);
        assert_eq!(records, [(0, b"one".to_vec()), (40, b"third".to_vec())]);
        let torn = [&parts[0][..], &parts[1], &[0; 300_000], &parts[3]].concat();
        let (records, skipped) = read(&torn);
        assert_eq!(records, [(0, b"one".to_vec()), (40, b"third".to_vec())]);
        assert_eq!(skipped, 300_000);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let open = |file: &[u8]| Reader::new(file).map(|_| ()).unwrap_err();
        assert!(matches!(open(b""), OpenError::NoRecording));
        assert!(matches!(open(b"MEETECHO\x00\x05audio"), OpenError::NoRecording));
        assert!(matches!(open(b"MJR00002\x00\x05{}"), OpenError::Header));
        assert!(matches!(open(b"MJR00002\xff\xff{}"), OpenError::Header));
        assert!(matches!(open(b"MJR00002\x00\x02{}"), OpenError::Header));
    }
}
