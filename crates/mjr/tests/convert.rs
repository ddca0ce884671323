//! Whole recordings, as the recorder writes them, and what becomes of them.
#![forbid(unsafe_code)]

use std::io::Cursor;

use proptest::prelude::*;
use voex_mjr::{ConvertError, Found, Header, Kind, Reader, Target, convert, frame_head, inspect, repair};
use voex_rtp::FixedHeader;

fn header(kind: Kind, codec: &str) -> Header {
    Header {
        kind,
        codec: codec.to_owned(),
        fmtp: None,
        extensions: Vec::new(),
        created_us: 1_000_000,
        first_us: 2_000_000,
        is_encrypted: false,
    }
}

fn record(ms: u32, sequence_number: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let header = FixedHeader {
        has_extension: false,
        marker,
        payload_type: 96,
        sequence_number,
        timestamp,
        ssrc: 7,
    };
    let length = 12 + payload.len() as u16;
    [&frame_head(ms, length)[..], &header.to_bytes(), payload].concat()
}

/// Opus of 20 ms each, without those of the list.
fn opus(packets: u16, missing: &[u16]) -> Vec<u8> {
    let mut file = header(Kind::Audio, "opus").to_bytes();
    for n in (0..packets).filter(|n| !missing.contains(n)) {
        let at = u32::from(n);
        file.extend(record(
            at * 20,
            65_000_u16.wrapping_add(n),
            4_294_900_000_u32.wrapping_add(at * 960),
            false,
            &[0xfc, n as u8],
        ));
    }
    file
}

fn vp8(frames: u16) -> Vec<u8> {
    let mut file = header(Kind::Video, "vp8").to_bytes();
    for n in 0..frames {
        let key: &[u8] = &[0x10, 0x10, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1];
        let payload = if n % 30 == 0 { key } else { &[0x10, 0x11, n as u8] };
        file.extend(record(u32::from(n) * 33, n, u32::from(n) * 3_000, true, payload));
    }
    file
}

fn run(files: &[&[u8]], target: Target) -> Result<(Vec<u8>, Vec<Found>), ConvertError> {
    let readers = files.iter().map(|file| Reader::new(*file).expect("a recording"));
    let mut out = Cursor::new(Vec::new());
    let found = convert(readers.collect(), target, &mut out)?;
    Ok((out.into_inner(), found))
}

#[test]
fn opus_plays_as_long_as_it_was_recorded_whatever_is_missing() {
    let (file, found) = run(&[&opus(500, &[100, 101, 300])], Target::OggOpus).expect("Opus");
    assert_eq!((found[0].packets, found[0].lost), (497, 3));
    let mut reader = ogg::PacketReader::new(Cursor::new(file));
    let (mut packets, mut end) = (0, 0);
    while let Some(packet) = reader.read_packet().expect("Ogg") {
        packets += 1;
        end = packet.absgp_page();
    }
    assert_eq!(packets, 2 + 500, "gaps are filled");
    assert_eq!(end, 500 * 960);
}

#[test]
fn audio_and_video_of_a_publisher_become_one_file() {
    let (file, found) = run(&[&opus(100, &[]), &vp8(60)], Target::Matroska).expect("both fit");
    assert_eq!(
        (found[0].packets, found[1].packets, found[1].incomplete_frames),
        (100, 60, 0)
    );
    let has = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
    assert!(has(b"webm") && has(b"A_OPUS") && has(b"V_VP8") && has(b"OpusHead"));
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let refused = |files: &[&[u8]], target| run(files, target).map(|_| ()).unwrap_err();
    let (audio, video) = (opus(3, &[]), vp8(3));
    assert!(matches!(refused(&[&video], Target::OggOpus), ConvertError::Codec(_)));
    assert!(matches!(refused(&[&audio], Target::Wav), ConvertError::Codec(_)));
    assert!(matches!(
        refused(&[&audio, &audio], Target::OggOpus),
        ConvertError::TooMany
    ));
    assert!(matches!(refused(&[], Target::Matroska), ConvertError::Empty));
    let silent = header(Kind::Audio, "opus").to_bytes();
    assert!(matches!(refused(&[&silent], Target::OggOpus), ConvertError::Empty));
    let secret = Header {
        is_encrypted: true,
        ..header(Kind::Audio, "opus")
    };
    assert!(matches!(
        refused(&[&secret.to_bytes()], Target::OggOpus),
        ConvertError::Encrypted
    ));
}

#[test]
fn a_repaired_file_is_what_was_whole() {
    let whole = vp8(40);
    let cut = &whole[..whole.len() - 5];
    let mut repaired = Vec::new();
    let (records, skipped) = repair(Reader::new(cut).expect("a recording"), &mut repaired).expect("memory is writable");
    assert_eq!(records, 39);
    assert!(whole.starts_with(&repaired));
    assert_eq!(repaired.len() + skipped as usize, cut.len());
    let found = inspect(Reader::new(&repaired[..]).expect("a recording")).expect("VP8");
    assert_eq!((found.packets, found.skipped_bytes), (39, 0));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40), noise in prop::collection::vec(any::<u8>(), 0..300), codec in 0..4_usize) {
        let codecs = [(Kind::Audio, "opus"), (Kind::Audio, "pcma"), (Kind::Video, "vp9"), (Kind::Video, "h264")];
        let (kind, codec) = codecs[codec];
        let mut file = header(kind, codec).to_bytes();
        let begin = file.len();
        for n in 0..20_u16 {
            let payload = noise.get(usize::from(n) * 10..).unwrap_or(&[1, 2, 3]);
            file.extend(record(u32::from(n), n, u32::from(n) * 3_000, n % 3 == 0, &payload[..payload.len().min(40)]));
        }
        let length = file.len() - begin;
        for (at, byte) in damage {
            file[begin + at.index(length)] = byte;
        }
        let _ = run(&[&file], Target::Matroska);
        let found = inspect(Reader::new(&file[..]).expect("the header is whole"));
        // A day of silence is bounded, and too long for a test.
        if found.is_ok_and(|found| found.length_ms < 60_000) {
            let _ = run(&[&file], Target::OggOpus);
            let _ = run(&[&file], Target::Wav);
        }
    }
}
