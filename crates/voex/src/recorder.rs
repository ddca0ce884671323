//! The recorder: one thread that writes what the media workers hand it into `.mjr` files.
//!
//! ```text
//!  control task ── Order: open, close ──► ┌──────────┐
//!  workers ─────── rings of packets ────► │ recorder │ ──► FOLDER/NAME-audio-0.mjr
//!                                         └──────────┘
//! ```
//!
//! A disk that hangs or is full holds up nobody: rings that are full drop, a file that cannot be written ends with a line in
//! the log. What was written is in the hands of the system after a second at most, so that a file is readable up to then
//! whatever becomes of this process.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use voex_base::{Counter, CounterSet, Gauge, Label, SocketId, WallTime};
use voex_janus::{RecorderOrder, RecordingSpec};
use voex_mjr::{Header, Kind, frame_head};
use voex_net::{Recorded, RecordedPacket};
use voex_sfu::command::MediaKind;

/// Orders that may wait; beyond, they are lost and logged.
const ORDERS_MAX: usize = 65_536;
/// Recordings at a time; beyond, nothing is recorded, counted.
pub(crate) const RECORDINGS_MAX: usize = 4_096;
/// Files of one name that get a number each.
const SAME_NAMES_MAX: u32 = 1_000;
/// How often the rings are emptied while something is recorded.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long a file stays open after its end was ordered: packets of the last moment are on their way.
const LINGER: Duration = Duration::from_secs(1);
/// How long what was written may wait in this process.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that wait so.
const BUFFER_BYTES: usize = 16 << 10;

/// What the recorder counts.
#[derive(Default, Debug)]
pub(crate) struct Metrics {
    /// Recordings that run.
    pub(crate) open: Gauge,
    /// Packets written.
    pub(crate) packets: Counter,
    /// Bytes written.
    pub(crate) bytes: Counter,
    /// Packets that came for a recording that had failed.
    pub(crate) lost_packets: Counter,
    /// Recordings that failed.
    pub(crate) failed: CounterSet<Failure>,
}

/// Why a recording failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The file could not be made.
    Open,
    /// It could not be written to: the disk is full.
    Write,
    /// There were [`RECORDINGS_MAX`] already.
    TooMany,
}

impl Label for Failure {
    const ALL: &'static [Self] = &[Self::Open, Self::Write, Self::TooMany];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::TooMany => "too_many",
        }
    }
}

/// What the thread is told.
enum Order {
    Gateway(RecorderOrder),
    Stop,
}

/// The way to the recorder, for the control task.
#[derive(Clone)]
pub(crate) struct Orders(SyncSender<Order>);

/// The running recorder.
pub(crate) struct Recorder {
    orders: Orders,
    thread: JoinHandle<()>,
}

impl Orders {
    /// Hands an order over without waiting.
    pub(crate) fn send(&self, order: RecorderOrder) {
        match self.0.try_send(Order::Gateway(order)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::error!("the recorder is behind; an order is lost"),
            Err(TrySendError::Disconnected(_)) => tracing::error!("the recorder has ended; nothing is recorded"),
        }
    }
}

impl Recorder {
    /// Starts the thread. Files go below `root`, which is made when the first is.
    pub(crate) fn start(root: &Path, rings: Vec<Recorded>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (sender, orders) = sync_channel(ORDERS_MAX);
        let desk = Desk {
            root: root.to_owned(),
            orders,
            rings,
            recordings: HashMap::new(),
            is_stopping: false,
            metrics,
        };
        let thread = thread::Builder::new()
            .name("voex-recorder".to_owned())
            .spawn(move || desk.run())?;
        Ok(Self {
            orders: Orders(sender),
            thread,
        })
    }

    /// Gives the way to it.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Has everything written that the workers handed over, and every file closed. They have ended before.
    pub(crate) fn stop(self) {
        // A thread that ended took its orders' channel with it.
        let _ = self.orders.0.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the recorder fell; what was recorded last may be missing");
        }
    }
}

/// What the thread works with.
struct Desk {
    root: PathBuf,
    orders: Receiver<Order>,
    rings: Vec<Recorded>,
    recordings: HashMap<SocketId, Recording>,
    is_stopping: bool,
    metrics: Arc<Metrics>,
}

impl Desk {
    fn run(mut self) {
        let mut room = vec![0; usize::from(u16::MAX)];
        let mut flushed = Instant::now();
        loop {
            // While nothing is recorded, nothing can come but orders.
            let order = match self.recordings.is_empty() {
                true => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => self.orders.recv_timeout(INTERVAL),
            };
            match order {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
            }
            self.obey_waiting();
            self.take_packets(&mut room);
            if self.is_stopping {
                break;
            }
            self.close_ended();
            if flushed.elapsed() >= FLUSH_INTERVAL {
                flushed = Instant::now();
                let metrics = &self.metrics;
                self.recordings
                    .values_mut()
                    .for_each(|recording| recording.attempt(metrics, State::flush));
            }
        }
        for (_, recording) in self.recordings.drain() {
            recording.close(&self.metrics);
        }
        self.metrics.open.set(0);
    }

    /// Obeys what has been ordered so far.
    fn obey_waiting(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Stop => self.is_stopping = true,
            Order::Gateway(RecorderOrder::Open(spec)) => {
                if self.recordings.len() < RECORDINGS_MAX {
                    self.recordings.insert(spec.id, Recording::new(*spec, &self.root));
                } else {
                    self.metrics.failed.of(Failure::TooMany).inc();
                    tracing::error!(
                        "{} is not recorded: {RECORDINGS_MAX} recordings run",
                        spec.path.display()
                    );
                }
            }
            Order::Gateway(RecorderOrder::Close(id)) => {
                if let Some(recording) = self.recordings.get_mut(&id) {
                    recording.ended.get_or_insert_with(Instant::now);
                }
            }
        }
        self.metrics.open.set(self.recordings.len() as i64);
    }

    fn take_packets(&mut self, room: &mut [u8]) {
        for at in 0..self.rings.len() {
            while let Some(packet) = self.rings[at].pop(room) {
                if !self.recordings.contains_key(&packet.recording) {
                    // Its order was sent before the packet was: it is here by now.
                    self.obey_waiting();
                }
                match self.recordings.get_mut(&packet.recording) {
                    Some(recording) => recording.take(&packet, &self.metrics),
                    None => self.metrics.lost_packets.inc(),
                }
            }
        }
    }

    fn close_ended(&mut self) {
        let is_over = |recording: &mut Recording| recording.ended.is_some_and(|at| at.elapsed() >= LINGER);
        for (_, recording) in self.recordings.extract_if(|_, recording| is_over(recording)) {
            recording.close(&self.metrics);
        }
        self.metrics.open.set(self.recordings.len() as i64);
    }
}

/// A recording and its file.
struct Recording {
    spec: RecordingSpec,
    path: PathBuf,
    state: State,
    /// When its end was ordered.
    ended: Option<Instant>,
}

enum State {
    /// No packet came yet, so there is no file.
    Waiting,
    Writing {
        file: BufWriter<File>,
        first: WallTime,
    },
    Failed,
}

impl Recording {
    fn new(spec: RecordingSpec, root: &Path) -> Self {
        Self {
            path: root.join(&spec.path),
            spec,
            state: State::Waiting,
            ended: None,
        }
    }

    fn take(&mut self, packet: &RecordedPacket<'_>, metrics: &Metrics) {
        if matches!(self.state, State::Waiting) {
            self.open(packet.at, metrics);
        }
        if matches!(self.state, State::Failed) {
            return metrics.lost_packets.inc();
        }
        self.attempt(metrics, |state| state.write(packet));
        if !matches!(self.state, State::Failed) {
            metrics.packets.inc();
            metrics.bytes.add(packet.bytes.len() as u64);
        }
    }

    fn open(&mut self, first: WallTime, metrics: &Metrics) {
        let created = create(&self.path).and_then(|(path, file)| {
            let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
            file.write_all(&header(&self.spec, first).to_bytes())?;
            Ok((path, file))
        });
        match created {
            Ok((path, file)) => {
                tracing::info!("recording {}", path.display());
                self.path = path;
                self.state = State::Writing { file, first };
            }
            Err(error) => {
                metrics.failed.of(Failure::Open).inc();
                tracing::error!("cannot record {}: {error}", self.path.display());
                self.state = State::Failed;
            }
        }
    }

    /// Does something with the file; an error ends the recording.
    fn attempt(&mut self, metrics: &Metrics, action: impl FnOnce(&mut State) -> io::Result<()>) {
        if let Err(error) = action(&mut self.state) {
            metrics.failed.of(Failure::Write).inc();
            tracing::error!("recording {} ends: {error}", self.path.display());
            // What is still in the buffer would fail again when dropped.
            if let State::Writing { file, .. } = std::mem::replace(&mut self.state, State::Failed) {
                drop(file.into_parts());
            }
        }
    }

    fn close(mut self, metrics: &Metrics) {
        let was_writing = matches!(self.state, State::Writing { .. });
        self.attempt(metrics, State::flush);
        if was_writing && !matches!(self.state, State::Failed) {
            tracing::info!("recorded {}", self.path.display());
        }
    }
}

impl State {
    fn write(&mut self, packet: &RecordedPacket<'_>) -> io::Result<()> {
        let Self::Writing { file, first } = self else {
            return Ok(());
        };
        let since = packet.at.since_unix().saturating_sub(first.since_unix()).as_millis();
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        // The ring knows no longer packets.
        let length = u16::try_from(packet.bytes.len()).unwrap_or(u16::MAX);
        file.write_all(&frame_head(since, length))?;
        file.write_all(packet.bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Writing { file, .. } => file.flush(),
            Self::Waiting | Self::Failed => Ok(()),
        }
    }
}

/// Makes a file that was not there: of names that are taken, the first free number behind them.
fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    for number in 0..SAME_NAMES_MAX {
        let mut name = path.as_os_str().to_owned();
        match number {
            0 => name.push(".mjr"),
            number => name.push(format!("-{number}.mjr")),
        }
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&name);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((name.into(), opened?)),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "there are too many files of this name",
    ))
}

fn header(spec: &RecordingSpec, first: WallTime) -> Header {
    let us = |time: WallTime| time.since_unix().as_micros() as u64;
    let extensions = spec.extensions.iter().map(|(id, uri)| (*id, (*uri).to_owned()));
    Header {
        kind: match spec.kind {
            MediaKind::Audio => Kind::Audio,
            MediaKind::Video => Kind::Video,
        },
        codec: spec.codec.to_owned(),
        fmtp: spec.fmtp.clone(),
        extensions: extensions.collect(),
        created_us: us(spec.created),
        first_us: us(first),
        is_encrypted: spec.is_encrypted,
    }
}

#[cfg(test)]
mod tests;
