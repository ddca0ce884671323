//! The recorder on real files; packets are handed to it as the rings would.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("voex-recorder-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the temporary folder is writable");
        Self(path)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).expect("the recording is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ID: SocketId = SocketId::recording(1);

fn spec(path: &str) -> RecordingSpec {
    RecordingSpec {
        id: ID,
        path: path.into(),
        kind: MediaKind::Audio,
        codec: "opus",
        fmtp: None,
        extensions: Vec::new(),
        created: at(1_000),
        is_encrypted: false,
    }
}

fn at(ms: u64) -> WallTime {
    WallTime::from_unix(Duration::from_millis(ms))
}

fn packet(ms: u64, bytes: &[u8]) -> RecordedPacket<'_> {
    RecordedPacket {
        recording: ID,
        at: at(ms),
        bytes,
    }
}

#[test]
fn a_file_begins_with_its_header_and_has_each_packet_behind_its_time() {
    let folder = Folder::new();
    let metrics = Metrics::default();
    let mut recording = Recording::new(spec("room/anna-audio-0"), &folder.0);
    recording.take(&packet(5_000, b"first"), &metrics);
    recording.take(&packet(5_020, b"second!"), &metrics);
    recording.close(&metrics);
    let header = br#"{"t":"a","c":"opus","s":1000000,"u":5000000}"#;
    let mut expected = b"MJR00002\x00".to_vec();
    expected.push(header.len() as u8);
    expected.extend(header);
    expected.extend(b"MEET\x00\x00\x00\x00\x00\x05first");
    expected.extend(b"MEET\x00\x00\x00\x14\x00\x07second!");
    assert_eq!(folder.read("room/anna-audio-0.mjr"), expected);
    assert_eq!((metrics.packets.value(), metrics.bytes.value()), (2, 12));
}

#[test]
fn a_recording_without_packets_leaves_no_file() {
    let folder = Folder::new();
    Recording::new(spec("silent"), &folder.0).close(&Metrics::default());
    assert!(!folder.0.join("silent.mjr").exists());
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten() {
    let folder = Folder::new();
    let metrics = Metrics::default();
    for content in [b"one", b"two"] {
        let mut recording = Recording::new(spec("same"), &folder.0);
        recording.take(&packet(1, content), &metrics);
        recording.close(&metrics);
    }
    assert!(folder.read("same.mjr").ends_with(b"one"));
    assert!(folder.read("same-1.mjr").ends_with(b"two"));
}

#[test]
fn a_folder_that_cannot_be_made_fails_the_recording_and_counts_what_comes() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("file"), b"").expect("writable");
    let metrics = Metrics::default();
    let mut recording = Recording::new(spec("file/below"), &folder.0);
    recording.take(&packet(1, b"a"), &metrics);
    recording.take(&packet(2, b"b"), &metrics);
    recording.close(&metrics);
    assert_eq!(metrics.failed.of(Failure::Open).value(), 1);
    assert_eq!((metrics.packets.value(), metrics.lost_packets.value()), (0, 2));
}

#[test]
fn a_full_disk_ends_the_recording_and_counts_what_comes() {
    let folder = Folder::new();
    let metrics = Metrics::default();
    let mut recording = Recording::new(spec("full"), &folder.0);
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has a device that is full");
    recording.state = State::Writing {
        file: BufWriter::with_capacity(BUFFER_BYTES, full),
        first: at(0),
    };
    recording.take(&packet(1, b"kept back"), &metrics);
    recording.attempt(&metrics, State::flush);
    recording.take(&packet(2, b"lost"), &metrics);
    recording.close(&metrics);
    assert_eq!(metrics.failed.of(Failure::Write).value(), 1, "told once");
    assert_eq!(metrics.lost_packets.value(), 1);
}

#[test]
fn more_recordings_than_may_run_are_refused_and_counted() {
    let metrics = Arc::new(Metrics::default());
    let (_sender, orders) = sync_channel(1);
    let mut desk = Desk {
        root: PathBuf::from("/nonexistent"),
        orders,
        rings: Vec::new(),
        recordings: HashMap::new(),
        is_stopping: false,
        metrics: metrics.clone(),
    };
    for number in 0..=RECORDINGS_MAX as u64 {
        let id = SocketId::recording(number);
        desk.obey(Order::Gateway(RecorderOrder::Open(Box::new(RecordingSpec {
            id,
            ..spec("x")
        }))));
    }
    assert_eq!(metrics.open.value(), RECORDINGS_MAX as i64);
    assert_eq!(metrics.failed.of(Failure::TooMany).value(), 1);
}
