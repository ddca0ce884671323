//! From recordings to files that players know.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Seek, Write};

use crate::format::{Header, Kind};
use crate::frames::{Frames, VideoCodec};
use crate::h264_units;
use crate::matroska::{Matroska, Media, Track};
use crate::opus::{self, OggOpus};
use crate::order::Order;
use crate::read::Reader;
use crate::wav::{Law, Wav};

const VIDEO_CLOCK_RATE: u32 = 90_000;
/// Tracks of one file.
pub const TRACKS_MAX: usize = 16;
/// How long the last block of a file is taken to play, in milliseconds.
const TAIL_MS: u64 = 20;

/// What a file is turned into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Matroska or WebM: any codec here, several recordings.
    Matroska,
    /// Ogg Opus: one recording of Opus.
    OggOpus,
    /// WAV: one recording of G.711.
    Wav,
}

/// Why a recording was not turned into another file.
#[derive(Debug)]
pub enum ConvertError {
    /// The system says so.
    Io(io::Error),
    /// No way is known from this codec to this kind of file.
    Codec(String),
    /// The media is encrypted end to end.
    Encrypted,
    /// There is nothing in it that could be played.
    Empty,
    /// This kind of file holds one recording, Matroska at most [`TRACKS_MAX`].
    TooMany,
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Codec(codec) => write!(f, "{codec} cannot be put into a file of this kind"),
            Self::Encrypted => f.write_str("the media is encrypted end to end"),
            Self::Empty => f.write_str("there is nothing in it that could be played"),
            Self::TooMany => f.write_str("a file of this kind holds fewer recordings"),
        }
    }
}

impl std::error::Error for ConvertError {}

impl From<io::Error> for ConvertError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What was found in a recording.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Found {
    /// Packets that were used.
    pub packets: u64,
    /// Packets that are missing.
    pub lost: u64,
    /// Packets that came twice, too late, or of another format.
    pub unused: u64,
    /// Frames of video that are not whole, or before the first key frame.
    pub incomplete_frames: u64,
    /// Bytes of the file that belong to no record.
    pub skipped_bytes: u64,
    /// When the last packet came, in milliseconds after the first.
    pub length_ms: u64,
}

/// What can be done with a codec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Codec {
    Opus,
    G711(Law),
    Video(VideoCodec),
}

impl Codec {
    fn of(header: &Header) -> Result<Self, ConvertError> {
        if header.is_encrypted {
            return Err(ConvertError::Encrypted);
        }
        match (header.kind, header.codec.as_str()) {
            (Kind::Audio, "opus") => Ok(Self::Opus),
            (Kind::Audio, "pcma") => Ok(Self::G711(Law::A)),
            (Kind::Audio, "pcmu") => Ok(Self::G711(Law::Mu)),
            (Kind::Video, "vp8") => Ok(Self::Video(VideoCodec::Vp8)),
            (Kind::Video, "vp9") => Ok(Self::Video(VideoCodec::Vp9)),
            (Kind::Video, "h264") => Ok(Self::Video(VideoCodec::H264)),
            (_, other) => Err(ConvertError::Codec(other.to_owned())),
        }
    }

    fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => opus::CLOCK_RATE,
            Self::G711(_) => crate::wav::CLOCK_RATE,
            Self::Video(_) => VIDEO_CLOCK_RATE,
        }
    }
}

/// What is played at a time.
struct Block {
    time: u64,
    is_key: bool,
    data: Vec<u8>,
}

/// A recording as a stream of blocks.
struct Stream<R> {
    reader: Reader<R>,
    codec: Codec,
    order: Order,
    frames: Option<Frames>,
    ready: VecDeque<Block>,
    length_ms: u64,
    is_at_end: bool,
}

impl<R: Read> Stream<R> {
    fn new(reader: Reader<R>) -> Result<Self, ConvertError> {
        let codec = Codec::of(reader.header())?;
        Ok(Self {
            order: Order::new(codec.clock_rate()),
            frames: match codec {
                Codec::Video(codec) => Some(Frames::new(codec)),
                Codec::Opus | Codec::G711(_) => None,
            },
            reader,
            codec,
            ready: VecDeque::new(),
            length_ms: 0,
            is_at_end: false,
        })
    }

    fn peek(&mut self) -> io::Result<Option<&Block>> {
        while self.ready.is_empty() && !self.is_at_end {
            match self.reader.next_record()? {
                Some(record) => {
                    self.length_ms = self.length_ms.max(record.since_first_ms.into());
                    self.order.put(record.since_first_ms, record.bytes);
                }
                None => self.is_at_end = true,
            }
            self.take_packets();
        }
        Ok(self.ready.front())
    }

    fn take(&mut self) -> io::Result<Option<Block>> {
        self.peek()?;
        Ok(self.ready.pop_front())
    }

    fn take_packets(&mut self) {
        while let Some(packet) = self.order.take(self.is_at_end) {
            match &mut self.frames {
                Some(frames) => frames.put(&packet),
                None => self.ready.push_back(Block {
                    time: packet.time,
                    is_key: true,
                    data: packet.payload,
                }),
            }
        }
        if let Some(frames) = &mut self.frames {
            if self.is_at_end {
                frames.end();
            }
            let blocks = std::iter::from_fn(|| frames.take()).map(|frame| Block {
                time: frame.time,
                is_key: frame.is_key,
                data: frame.data,
            });
            self.ready.extend(blocks);
        }
    }

    fn found(&self) -> Found {
        Found {
            packets: self.order.used,
            lost: self.order.lost,
            unused: self.order.unused,
            incomplete_frames: self.frames.as_ref().map_or(0, |frames| frames.incomplete),
            skipped_bytes: self.reader.skipped_bytes(),
            length_ms: self.length_ms,
        }
    }

    /// When a block plays, in milliseconds after `began_us`.
    fn ms(&self, time: u64, began_us: u64) -> u64 {
        let offset_ms = self.reader.header().first_us.saturating_sub(began_us) / 1_000;
        offset_ms.saturating_add(time.saturating_mul(1_000) / u64::from(self.codec.clock_rate()))
    }

    /// Describes the track; looks at the first block for it.
    fn track(&mut self) -> Result<Track, ConvertError> {
        let codec = self.codec;
        let first = self.peek()?.ok_or(ConvertError::Empty)?;
        let track = match codec {
            Codec::Opus => Some(audio("A_OPUS", opus::head(), opus::CLOCK_RATE, 2, None)),
            Codec::G711(_) => Some(audio("A_PCM/INT/LIT", Vec::new(), crate::wav::CLOCK_RATE, 1, Some(16))),
            Codec::Video(VideoCodec::Vp8) => vp8_size(&first.data).map(|size| video("V_VP8", Vec::new(), size)),
            Codec::Video(VideoCodec::Vp9) => vp9_size(&first.data).map(|size| video("V_VP9", Vec::new(), size)),
            Codec::Video(VideoCodec::H264) => h264_units::configuration(&first.data)
                .map(|(record, width, height)| video("V_MPEG4/ISO/AVC", record, (width, height))),
        };
        track.ok_or(ConvertError::Empty)
    }
}

fn audio(codec: &'static str, private: Vec<u8>, rate: u32, channels: u8, bits: Option<u8>) -> Track {
    Track {
        codec,
        private,
        media: Media::Audio { rate, channels, bits },
    }
}

fn video(codec: &'static str, private: Vec<u8>, (width, height): (u32, u32)) -> Track {
    Track {
        codec,
        private,
        media: Media::Video { width, height },
    }
}

/// Reads the size of a picture out of a key frame (RFC 6386 §9.1).
fn vp8_size(frame: &[u8]) -> Option<(u32, u32)> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *frame else {
        return None;
    };
    let size = |low: u8, high: u8| u32::from(low) | u32::from(high & 0x3f) << 8;
    Some((size(w0, w1), size(h0, h1)))
}

/// Reads the size of a picture out of a key frame (VP9 bitstream specification §6.2).
fn vp9_size(frame: &[u8]) -> Option<(u32, u32)> {
    let bits: Vec<_> = frame
        .iter()
        .take(16)
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let number = |at: usize, count: usize| {
        let bits = bits.get(at..at + count)?;
        Some(bits.iter().fold(0_u32, |number, bit| number << 1 | u32::from(*bit)))
    };
    let profile = number(2, 1)? | number(3, 1)? << 1;
    // Marker, profile, a reserved bit of profile 3, no repeated frame, key frame, shown, not resilient, synchronization code.
    let mut at = 4 + usize::from(profile == 3);
    let (is_repeated, is_other) = (number(at, 1)? == 1, number(at + 1, 1)? == 1);
    at += 4;
    if is_repeated || is_other || number(at, 24)? != 0x0049_8342 {
        return None;
    }
    at += 24 + usize::from(profile >= 2);
    const RGB: u32 = 7;
    let is_rgb = number(at, 3)? == RGB;
    at += 3;
    at += match (is_rgb, profile & 1) {
        (false, 0) => 1,
        (false, _) => 4,
        (true, 0) => 0,
        (true, _) => 1,
    };
    Some((number(at, 16)? + 1, number(at + 16, 16)? + 1))
}

/// Turns recordings into one file; their offsets to one another stay. Gives what was found in each.
///
/// # Errors
/// [`ConvertError`]; what was written by then is of no use.
pub fn convert<R: Read, W: Write + Seek>(
    readers: Vec<Reader<R>>,
    target: Target,
    output: W,
) -> Result<Vec<Found>, ConvertError> {
    let streams: Result<Vec<_>, _> = readers.into_iter().map(Stream::new).collect();
    let mut streams = streams?;
    match (target, streams.as_mut_slice()) {
        (_, []) => return Err(ConvertError::Empty),
        (Target::Matroska, many) if many.len() <= TRACKS_MAX => to_matroska(many, output)?,
        (Target::OggOpus, [one]) => to_ogg(one, output)?,
        (Target::Wav, [one]) => to_wav(one, output)?,
        _ => return Err(ConvertError::TooMany),
    }
    Ok(streams.iter().map(Stream::found).collect())
}

/// Reads a recording to its end; gives what was found in it.
///
/// # Errors
/// [`ConvertError`]; media that is encrypted or of an unknown codec cannot be looked into.
pub fn inspect<R: Read>(reader: Reader<R>) -> Result<Found, ConvertError> {
    let mut stream = Stream::new(reader)?;
    while stream.take()?.is_some() {}
    Ok(stream.found())
}

/// Writes everything of a recording that is whole. Gives how many records that is, and how many bytes were passed over.
///
/// # Errors
/// What the system says.
pub fn repair<R: Read, W: Write>(mut reader: Reader<R>, mut output: W) -> io::Result<(u64, u64)> {
    output.write_all(reader.header_bytes())?;
    let mut records = 0;
    while let Some(record) = reader.next_record()? {
        // What was read has a length of 16 bits.
        let head = crate::frame_head(record.since_first_ms, record.bytes.len() as u16);
        output.write_all(&head)?;
        output.write_all(record.bytes)?;
        records += 1;
    }
    output.flush()?;
    Ok((records, reader.skipped_bytes()))
}

fn to_matroska<R: Read, W: Write + Seek>(streams: &mut [Stream<R>], output: W) -> Result<(), ConvertError> {
    let tracks: Result<Vec<_>, _> = streams.iter_mut().map(Stream::track).collect();
    let began_us = streams
        .iter()
        .map(|stream| stream.reader.header().first_us)
        .min()
        .unwrap_or(0);
    let mut matroska = Matroska::new(output, &tracks?, began_us)?;
    loop {
        let mut first: Option<(u64, usize)> = None;
        for (at, stream) in streams.iter_mut().enumerate() {
            if let Some(time) = stream.peek()?.map(|block| block.time) {
                let ms = stream.ms(time, began_us);
                if first.is_none_or(|(before, _)| ms < before) {
                    first = Some((ms, at));
                }
            }
        }
        let Some((ms, at)) = first else { break };
        let stream = &mut streams[at];
        if let Some(block) = stream.take()? {
            let data = match stream.codec {
                Codec::G711(law) => block
                    .data
                    .iter()
                    .flat_map(|byte| law.linear(*byte).to_le_bytes())
                    .collect(),
                Codec::Opus | Codec::Video(_) => block.data,
            };
            let is_video = stream.frames.is_some();
            matroska.put(at as u8 + 1, ms, block.is_key, is_video, &data)?;
        }
    }
    Ok(matroska.end(TAIL_MS)?)
}

fn to_ogg<R: Read, W: Write>(stream: &mut Stream<R>, output: W) -> Result<(), ConvertError> {
    if stream.codec != Codec::Opus {
        return Err(ConvertError::Codec(stream.reader.header().codec.clone()));
    }
    stream.peek()?.ok_or(ConvertError::Empty)?;
    let mut ogg = OggOpus::new(output)?;
    while let Some(block) = stream.take()? {
        ogg.put(block.time, block.data)?;
    }
    Ok(ogg.end()?)
}

fn to_wav<R: Read, W: Write + Seek>(stream: &mut Stream<R>, output: W) -> Result<(), ConvertError> {
    let Codec::G711(law) = stream.codec else {
        return Err(ConvertError::Codec(stream.reader.header().codec.clone()));
    };
    stream.peek()?.ok_or(ConvertError::Empty)?;
    let mut wav = Wav::new(output, law)?;
    while let Some(block) = stream.take()? {
        wav.put(block.time, &block.data)?;
    }
    Ok(wav.end()?)
}
