//! Matroska, and WebM where its codecs allow (RFC 9559).

use std::io::{self, Seek, SeekFrom, Write};

/// Milliseconds after which a new cluster begins, at the next key frame of a video or at once without one.
const CLUSTER_MS: u64 = 5_000;
/// Milliseconds, and bytes, after which one begins in any case: time stamps in it have 16 bits.
const CLUSTER_MS_MAX: u64 = 30_000;
const CLUSTER_BYTES_MAX: usize = 4 << 20;
/// A length that is put in later takes eight bytes.
const LENGTH_BYTES: usize = 8;

mod id {
    pub(super) const EBML: u32 = 0x1a45_dfa3;
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const SEEK_HEAD: u32 = 0x114d_9b74;
    pub(super) const INFO: u32 = 0x1549_a966;
    pub(super) const TRACKS: u32 = 0x1654_ae6b;
    pub(super) const CLUSTER: u32 = 0x1f43_b675;
    pub(super) const CUES: u32 = 0x1c53_bb6b;
}

/// What a track is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Track {
    /// Its codec by the name that Matroska has for it.
    pub(crate) codec: &'static str,
    /// What its decoder is told first.
    pub(crate) private: Vec<u8>,
    pub(crate) media: Media,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Media {
    Video { width: u32, height: u32 },
    Audio { rate: u32, channels: u8, bits: Option<u8> },
}

/// Writes blocks that come in the order of their times.
pub(crate) struct Matroska<W> {
    output: W,
    /// Where the segment's content begins.
    segment_at: u64,
    duration_at: u64,
    seek_head_at: u64,
    has_video: bool,
    cluster: Option<Cluster>,
    cues: Vec<Cue>,
    end_ms: u64,
}

struct Cluster {
    start_ms: u64,
    bytes: Vec<u8>,
    /// The track of the block that it begins with.
    cue_track: u8,
}

struct Cue {
    ms: u64,
    track: u8,
    at: u64,
}

impl<W: Write + Seek> Matroska<W> {
    /// Begins a file; `began_unix_us` is when its first packet came.
    pub(crate) fn new(mut output: W, tracks: &[Track], began_unix_us: u64) -> io::Result<Self> {
        let is_webm = tracks
            .iter()
            .all(|track| matches!(track.codec, "V_VP8" | "V_VP9" | "A_OPUS"));
        output.write_all(&element(id::EBML, &ebml_header(is_webm)))?;
        output.write_all(&id::SEGMENT.to_be_bytes())?;
        output.write_all(&length8(None))?;
        let segment_at = output.stream_position()?;
        output.write_all(&seek_head(0))?;
        let (info, duration_at) = info(began_unix_us);
        let info_at = output.stream_position()?;
        output.write_all(&info)?;
        let entries: Vec<u8> = tracks
            .iter()
            .zip(1..)
            .flat_map(|(track, at)| entry(track, at))
            .collect();
        output.write_all(&element(id::TRACKS, &entries))?;
        Ok(Self {
            output,
            segment_at,
            duration_at: info_at + duration_at as u64,
            seek_head_at: segment_at,
            has_video: tracks.iter().any(|track| matches!(track.media, Media::Video { .. })),
            cluster: None,
            cues: Vec::new(),
            end_ms: 0,
        })
    }

    /// Writes a block of the track with this number, from one on.
    pub(crate) fn put(&mut self, track: u8, ms: u64, is_key: bool, is_video: bool, data: &[u8]) -> io::Result<()> {
        let may_begin = is_key && (is_video || !self.has_video);
        let is_over = self.cluster.as_ref().is_none_or(|cluster| {
            let age = ms.saturating_sub(cluster.start_ms);
            (age >= CLUSTER_MS && may_begin) || age >= CLUSTER_MS_MAX || cluster.bytes.len() >= CLUSTER_BYTES_MAX
        });
        if is_over {
            self.flush()?;
        }
        let cluster = self.cluster.get_or_insert_with(|| Cluster {
            start_ms: ms,
            bytes: element(0xe7, &number(ms)),
            cue_track: track,
        });
        let since = i16::try_from(ms.saturating_sub(cluster.start_ms)).unwrap_or(i16::MAX);
        let flags = if is_key { 0x80 } else { 0 };
        let mut block = vec![0x80 | track];
        block.extend(since.to_be_bytes());
        block.push(flags);
        block.extend(data);
        cluster.bytes.extend(element(0xa3, &block));
        self.end_ms = self.end_ms.max(ms);
        Ok(())
    }

    /// Writes the index and says how long it became. `tail_ms` is how long the last block plays.
    pub(crate) fn end(mut self, tail_ms: u64) -> io::Result<()> {
        self.flush()?;
        let cues_at = self.output.stream_position()?;
        let point = |cue: &Cue| {
            let mut position = element(0xf7, &number(cue.track.into()));
            position.extend(element(0xf1, &number(cue.at)));
            let mut point = element(0xb3, &number(cue.ms));
            point.extend(element(0xb7, &position));
            element(0xbb, &point)
        };
        let points: Vec<u8> = self.cues.iter().flat_map(point).collect();
        self.output.write_all(&element(id::CUES, &points))?;
        let end = self.output.stream_position()?;
        self.patch(
            self.segment_at - LENGTH_BYTES as u64,
            &length8(Some(end - self.segment_at)),
        )?;
        self.patch(self.seek_head_at, &seek_head(cues_at - self.segment_at))?;
        let duration = (self.end_ms + tail_ms) as f64;
        self.patch(self.duration_at, &duration.to_be_bytes())?;
        self.output.seek(SeekFrom::Start(end))?;
        self.output.flush()
    }

    fn patch(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.output.seek(SeekFrom::Start(at))?;
        self.output.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(cluster) = self.cluster.take() else {
            return Ok(());
        };
        self.cues.push(Cue {
            ms: cluster.start_ms,
            track: cluster.cue_track,
            at: self.output.stream_position()? - self.segment_at,
        });
        self.output.write_all(&element(id::CLUSTER, &cluster.bytes))
    }
}

fn ebml_header(is_webm: bool) -> Vec<u8> {
    let kind: &[u8] = if is_webm { b"webm" } else { b"matroska" };
    let mut header = Vec::new();
    for (id, content) in [
        (0x4286, &number(1)[..]),
        (0x42f7, &number(1)),
        (0x42f2, &number(4)),
        (0x42f3, &number(8)),
        (0x4282, kind),
        (0x4287, &number(4)),
        (0x4285, &number(2)),
    ] {
        header.extend(element(id, content));
    }
    header
}

/// Says where the index is; of a length that does not depend on it.
fn seek_head(cues_at: u64) -> Vec<u8> {
    let mut seek = element(0x53ab, &id::CUES.to_be_bytes());
    seek.extend(element(0x53ac, &cues_at.to_be_bytes()));
    element(id::SEEK_HEAD, &element(0x4dbb, &seek))
}

/// Gives the element and where the duration stands in it.
fn info(began_unix_us: u64) -> (Vec<u8>, usize) {
    /// 2001-01-01, where dates of Matroska begin, in seconds since 1970.
    const ORIGIN_S: i64 = 978_307_200;
    let began_ns = i64::try_from(began_unix_us)
        .ok()
        .and_then(|us| us.checked_mul(1_000)?.checked_sub(ORIGIN_S * 1_000_000_000));
    let mut info = element(0x002a_d7b1, &number(1_000_000));
    if let Some(began_ns) = began_ns.filter(|_| began_unix_us != 0) {
        info.extend(element(0x4461, &began_ns.to_be_bytes()));
    }
    info.extend(element(0x4d80, b"voex"));
    info.extend(element(0x5741, b"voex"));
    info.extend(element(0x4489, &0_f64.to_be_bytes()));
    let whole = element(id::INFO, &info);
    let duration_at = whole.len() - 8;
    (whole, duration_at)
}

fn entry(track: &Track, at: u8) -> Vec<u8> {
    let is_video = matches!(track.media, Media::Video { .. });
    let mut entry = Vec::new();
    for (id, value) in [
        (0xd7, at),
        (0x73c5, at),
        (0x9c, 0),
        (0x83, if is_video { 1 } else { 2 }),
    ] {
        entry.extend(element(id, &number(value.into())));
    }
    entry.extend(element(0x86, track.codec.as_bytes()));
    if !track.private.is_empty() {
        entry.extend(element(0x63a2, &track.private));
    }
    if track.codec == "A_OPUS" {
        entry.extend(element(0x56bb, &number(80_000_000)));
    }
    let (id, media) = match track.media {
        Media::Video { width, height } => {
            let mut video = element(0xb0, &number(width.into()));
            video.extend(element(0xba, &number(height.into())));
            (0xe0, video)
        }
        Media::Audio { rate, channels, bits } => {
            let mut audio = element(0xb5, &f64::from(rate).to_be_bytes());
            audio.extend(element(0x9f, &number(channels.into())));
            audio.extend(bits.into_iter().flat_map(|bits| element(0x6264, &number(bits.into()))));
            (0xe1, audio)
        }
    };
    entry.extend(element(id, &media));
    element(0xae, &entry)
}

/// Writes an element: id, length, content.
fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let first = id.iter().position(|byte| *byte != 0).unwrap_or(3);
    let mut element = id[first..].to_vec();
    if content.len() < 0x7f {
        element.push(0x80 | content.len() as u8);
    } else {
        element.extend(length8(Some(content.len() as u64)));
    }
    element.extend(content);
    element
}

/// A length of eight bytes; one that is not known yet has all bits set.
fn length8(length: Option<u64>) -> [u8; LENGTH_BYTES] {
    const ALL: u64 = (1 << 56) - 1;
    (1 << 56 | length.unwrap_or(ALL).min(ALL)).to_be_bytes()
}

/// A number in as few bytes as it takes.
fn number(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
    bytes[first..].to_vec()
}

#[cfg(test)]
mod tests;
