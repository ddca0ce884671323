//! What is written is read back element by element, by the rules of EBML and nothing of the writer.

use std::io::Cursor;

use super::*;

/// An element: its id, where its content begins, and the content.
type Element<'a> = (u32, usize, &'a [u8]);

/// Reads the elements that stand side by side.
fn elements(mut bytes: &[u8], mut at: usize) -> Vec<Element<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let id_bytes = bytes[0].leading_zeros() as usize + 1;
        let id = bytes[..id_bytes].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let first = bytes[id_bytes];
        let length_bytes = first.leading_zeros() as usize + 1;
        let mut length = u64::from(first) & ((1 << (8 - length_bytes)) - 1);
        for byte in &bytes[id_bytes + 1..id_bytes + length_bytes] {
            length = length << 8 | u64::from(*byte);
        }
        let begin = id_bytes + length_bytes;
        let end = begin + length as usize;
        found.push((id, at + begin, &bytes[begin..end]));
        bytes = &bytes[end..];
        at += end;
    }
    found
}

fn child<'a>(elements: &[Element<'a>], id: u32) -> Element<'a> {
    *elements
        .iter()
        .find(|element| element.0 == id)
        .unwrap_or_else(|| panic!("no element {id:x}"))
}

fn value(content: &[u8]) -> u64 {
    content.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[test]
fn blocks_lie_in_clusters_that_the_index_finds() {
    let tracks = [
        Track {
            codec: "A_OPUS",
            private: b"head".to_vec(),
            media: Media::Audio {
                rate: 48_000,
                channels: 2,
                bits: None,
            },
        },
        Track {
            codec: "V_VP8",
            private: Vec::new(),
            media: Media::Video {
                width: 640,
                height: 480,
            },
        },
    ];
    let mut file = Cursor::new(Vec::new());
    let mut matroska = Matroska::new(&mut file, &tracks, 1_795_000_000_000_000).expect("memory is writable");
    let blocks = [
        (1, 0, true, false),
        (2, 10, true, true),
        (1, 5_010, true, false),
        (2, 5_020, false, true),
        (2, 6_000, true, true),
        (1, 6_020, true, false),
    ];
    for (track, ms, is_key, is_video) in blocks {
        matroska
            .put(track, ms, is_key, is_video, &[track; 200])
            .expect("memory is writable");
    }
    matroska.end(20).expect("memory is writable");
    let file = file.into_inner();
    let top = elements(&file, 0);
    assert_eq!(child(&elements(child(&top, id::EBML).2, 0), 0x4282).2, b"webm");
    let (_, segment_at, segment) = child(&top, id::SEGMENT);
    let inside = elements(segment, 0);
    let info = elements(child(&inside, id::INFO).2, 0);
    assert_eq!(child(&info, 0x4489).2, 6_040_f64.to_be_bytes());
    let entries = elements(child(&inside, id::TRACKS).2, 0);
    let second = elements(entries[1].2, 0);
    assert_eq!(child(&second, 0x86).2, b"V_VP8");
    assert_eq!(value(child(&elements(child(&second, 0xe0).2, 0), 0xb0).2), 640);

    let mut read = Vec::new();
    let mut clusters = Vec::new();
    for (_, _, cluster) in inside.iter().filter(|element| element.0 == id::CLUSTER) {
        let parts = elements(cluster, 0);
        let start = value(child(&parts, 0xe7).2);
        clusters.push(start);
        for (_, _, block) in parts.iter().filter(|element| element.0 == 0xa3) {
            let ms = start + u64::from(u16::from_be_bytes([block[1], block[2]]));
            assert_eq!(block[4..], [block[0] & 0x7f; 200]);
            read.push((block[0] & 0x7f, ms, block[3] & 0x80 != 0));
        }
    }
    assert_eq!(read, blocks.map(|(track, ms, is_key, _)| (track, ms, is_key)));
    assert_eq!(clusters, [0, 6_000], "the second begins with a key frame of the video");
    let cues = elements(child(&inside, id::CUES).2, 0);
    for ((_, _, cue), start) in cues.iter().zip(clusters) {
        let point = elements(cue, 0);
        assert_eq!(value(child(&point, 0xb3).2), start);
        let at = value(child(&elements(child(&point, 0xb7).2, 0), 0xf1).2) as usize;
        assert!(file[segment_at + at..].starts_with(&id::CLUSTER.to_be_bytes()));
    }
    let seek = elements(child(&elements(child(&inside, id::SEEK_HEAD).2, 0), 0x4dbb).2, 0);
    let at = value(child(&seek, 0x53ac).2) as usize;
    assert!(file[segment_at + at..].starts_with(&id::CUES.to_be_bytes()));
}

#[test]
fn a_codec_that_webm_does_not_know_makes_the_file_matroska() {
    let track = Track {
        codec: "V_MPEG4/ISO/AVC",
        private: vec![1],
        media: Media::Video { width: 2, height: 2 },
    };
    let mut file = Cursor::new(Vec::new());
    Matroska::new(&mut file, &[track], 0)
        .and_then(|matroska| matroska.end(0))
        .expect("memory is writable");
    let file = file.into_inner();
    let header = elements(child(&elements(&file, 0), id::EBML).2, 0);
    assert_eq!(child(&header, 0x4282).2, b"matroska");
}
