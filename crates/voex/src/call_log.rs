//! Records of calls: one JSON line each, in a file a day below `sip.calls_dir`.
//!
//! A thread of its own writes them, so that a disk that hangs holds up nobody. Each line is in the hands of the system when
//! it has been written; files older than `sip.calls_kept_s` are removed when a day begins.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Records that may wait; beyond, they are lost and logged.
const WAITING_MAX: usize = 4_096;
const DAY_S: u64 = 86_400;
const PREFIX: &str = "calls-";
const SUFFIX: &str = ".jsonl";

/// The running log.
pub(crate) struct CallLog {
    records: SyncSender<String>,
    thread: JoinHandle<()>,
}

impl CallLog {
    /// Starts the thread; `folder` is made when it is not there.
    pub(crate) fn start(folder: &Path, kept: Duration) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let (records, waiting) = sync_channel(WAITING_MAX);
        let mut desk = Desk {
            folder: folder.to_owned(),
            kept,
            open: None,
        };
        let thread = thread::Builder::new()
            .name("voex-calls".to_owned())
            .spawn(move || desk.run(&waiting))?;
        Ok(Self { records, thread })
    }

    /// Hands a record over without waiting.
    pub(crate) fn write(&self, record: String) {
        match self.records.try_send(record) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::error!("the call log is behind; a record is lost"),
            Err(TrySendError::Disconnected(_)) => tracing::error!("the call log has ended; a record is lost"),
        }
    }

    /// Writes what waits, and ends.
    pub(crate) fn stop(self) {
        drop(self.records);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the call log has fallen");
        }
    }
}

/// The thread.
struct Desk {
    folder: PathBuf,
    kept: Duration,
    /// The file of a day, in days since 1970.
    open: Option<(u64, File)>,
}

impl Desk {
    fn run(&mut self, records: &Receiver<String>) {
        for record in records {
            if let Err(error) = self.append(now(), &record) {
                self.open = None;
                tracing::error!("call log in {}: {error}; lost: {record}", self.folder.display());
            }
        }
    }

    fn append(&mut self, now: Duration, record: &str) -> io::Result<()> {
        let today = now.as_secs() / DAY_S;
        if self.open.as_ref().is_none_or(|(day, _)| *day != today) {
            let path = self.folder.join(name_of(today));
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
            self.open = Some((today, file));
            self.remove_old(now)?;
        }
        if let Some((_, file)) = &mut self.open {
            file.write_all(format!("{record}\n").as_bytes())?;
        }
        Ok(())
    }

    /// Removes files all of whose records are older than they are kept.
    fn remove_old(&self, now: Duration) -> io::Result<()> {
        let oldest = now.saturating_sub(self.kept).as_secs() / DAY_S;
        let oldest = name_of(oldest);
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let is_old = name.to_str().is_some_and(|name| {
                name.starts_with(PREFIX) && name.ends_with(SUFFIX) && name.len() == oldest.len() && *name < *oldest
            });
            if is_old {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `calls-2026-11-26.jsonl`: names sort as their days do.
fn name_of(day: u64) -> String {
    let (year, month, day) = voex_base::civil(day);
    format!("{PREFIX}{year:04}-{month:02}-{day:02}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("voex-calls-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("the folder is there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn records_go_into_the_file_of_their_day_and_old_files_go() {
        let folder = folder("days");
        DirBuilder::new().recursive(true).create(&folder).expect("made");
        fs::write(folder.join("calls-notes.txt"), "mine").expect("written");
        let mut desk = Desk {
            folder: folder.clone(),
            kept: Duration::from_secs(3 * DAY_S),
            open: None,
        };
        let day = |day: u64| Duration::from_secs((20_000 + day) * DAY_S + 5);
        for today in 0..6 {
            for line in ["{\"a\":1}", "{\"a\":2}"] {
                desk.append(day(today), line).expect("appended");
            }
        }
        assert_eq!(
            names(&folder),
            [
                "calls-2024-10-06.jsonl",
                "calls-2024-10-07.jsonl",
                "calls-2024-10-08.jsonl",
                "calls-2024-10-09.jsonl",
                "calls-notes.txt"
            ]
        );
        let text = fs::read_to_string(folder.join("calls-2024-10-09.jsonl")).expect("read");
        assert_eq!(text, "{\"a\":1}\n{\"a\":2}\n");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let folder = folder("stop");
        let log = CallLog::start(&folder, Duration::from_secs(DAY_S)).expect("started");
        (0..100).for_each(|number| log.write(format!("{{\"n\":{number}}}")));
        log.stop();
        let [name] = &names(&folder)[..] else {
            panic!("one file")
        };
        let text = fs::read_to_string(folder.join(name)).expect("read");
        assert_eq!(text.lines().count(), 100);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
