//! The certificate in force: whether its files changed, when it ends, what is counted of it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use rustls::pki_types::CertificateDer;
use voex_config::Settings;
use voex_telemetry::{Expose, Families};

use super::{Origin, Shown, inspect, is_wanted, now, shown, wrong_file};
use crate::addresses::Addresses;

const DAY_S: i64 = 86_400;
/// Days before the end of the certificate when the log reminds of it; 0 is the end.
const REMINDERS_DAYS: [i64; 4] = [0, 3, 14, 30];

/// What tells that a file was written or replaced: device, inode, length, and when its inode last changed.
type Stamp = Option<(u64, u64, u64, (i64, i64))>;

/// Keeps an eye on the certificate.
pub(crate) struct Watch {
    /// The files when they were last read.
    read: [Stamp; 2],
    /// The files when they were last found changed: whoever writes two files needs a moment for the second.
    changed: [Stamp; 2],
    /// What was read last could not be shown: it is due once more, changed or not.
    again: bool,
    chain: Vec<CertificateDer<'static>>,
    path: PathBuf,
    /// The reminder that was given last.
    reminded: Option<i64>,
    figures: Arc<Figures>,
}

/// What is counted of the certificate.
#[derive(Default)]
pub(crate) struct Figures {
    /// Unix time of its end; 0 where it was made here, without one.
    end: AtomicI64,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Watch {
    /// Begins with what is shown from the start.
    pub(crate) fn new(settings: &Settings, first: Option<Shown>) -> Self {
        let mut watch = Self {
            read: stamps(settings),
            changed: stamps(settings),
            again: false,
            chain: Vec::new(),
            path: PathBuf::new(),
            reminded: None,
            figures: Arc::default(),
        };
        watch.show(first.and_then(|first| first.origin));
        watch
    }

    /// Gives what is counted.
    pub(crate) fn figures(&self) -> Arc<Figures> {
        self.figures.clone()
    }

    /// Tells whether the files are others than those read last, and have been left alone since the last call.
    pub(crate) fn has_changed(&mut self, settings: &Settings) -> bool {
        let stamps = stamps(settings);
        let is_settled = std::mem::replace(&mut self.changed, stamps) == stamps;
        is_settled && (self.again || self.read != stamps)
    }

    /// Reads what is to be shown from now on; nothing when it is shown already, or is wrong.
    pub(crate) fn read(&mut self, settings: &Settings, addresses: &Addresses) -> Option<Shown> {
        if !is_wanted(settings) {
            return None;
        }
        (self.read, self.again) = (stamps(settings), false);
        match shown(settings, addresses).and_then(in_time) {
            Ok(fresh) => fresh.filter(|fresh| {
                let origin = fresh.origin.as_ref();
                origin.is_none_or(|origin| origin.chain != self.chain)
            }),
            Err(line) => {
                self.refuse(&line);
                None
            }
        }
    }

    /// Says and counts that the certificate in force stays.
    pub(crate) fn refuse(&mut self, why: &str) {
        self.figures.refused.fetch_add(1, Relaxed);
        tracing::error!("the certificate in force stays: {why}");
    }

    /// As [`refuse`](Self::refuse), for what is right and could not be handed to every worker: it is tried again.
    pub(crate) fn postpone(&mut self, why: &str) {
        self.again = true;
        self.refuse(why);
    }

    /// Says and counts that new clients are shown another one.
    pub(crate) fn take(&mut self, fresh: Shown) {
        self.figures.taken.fetch_add(1, Relaxed);
        match &fresh.origin {
            Some(origin) => tracing::info!("certificate: {}: new clients are shown it", origin.path.display()),
            None => tracing::info!("certificate: new clients are shown one that was made now"),
        }
        self.show(fresh.origin);
    }

    fn show(&mut self, origin: Option<Origin>) {
        let end = origin.as_ref().map_or(0, |origin| origin.end);
        self.figures.end.store(end, Relaxed);
        (self.chain, self.path) = origin.map(|origin| (origin.chain, origin.path)).unwrap_or_default();
        self.reminded = None;
    }

    /// Reminds of the end, once for each of [`REMINDERS_DAYS`].
    pub(crate) fn remind(&mut self) {
        let end = self.figures.end.load(Relaxed);
        let Some(reminder) = (end != 0).then(|| reminder(end - now())).flatten() else {
            return;
        };
        if self.reminded.is_some_and(|before| before <= reminder) {
            return;
        }
        self.reminded = Some(reminder);
        let path = self.path.display();
        let left = end - now();
        match (left + DAY_S / 2).div_euclid(DAY_S) {
            _ if left < 0 => tracing::error!("certificate: {path}: has expired; clients refuse it until it is renewed"),
            days => tracing::warn!(
                "certificate: {path}: expires in {days} days; renew it, new files are taken over by themselves"
            ),
        }
    }
}

/// A certificate that clients refuse today does not replace another one.
fn in_time(fresh: Option<Shown>) -> Result<Option<Shown>, String> {
    let origin = fresh.as_ref().and_then(|fresh| fresh.origin.as_ref());
    match origin.and_then(|origin| Some((origin, inspect::is_out_of_time(&origin.chain, now())?))) {
        Some((origin, why)) => Err(wrong_file("tls.certificate", &origin.path, why)),
        None => Ok(fresh),
    }
}

/// The reminder that is due so long before the end.
fn reminder(left_s: i64) -> Option<i64> {
    REMINDERS_DAYS.into_iter().find(|days| left_s < days * DAY_S)
}

fn stamps(settings: &Settings) -> [Stamp; 2] {
    let tls = &settings.tls;
    [&tls.certificate, &tls.key].map(|path| {
        let file = fs::metadata(path.as_ref()?).ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some((file.dev(), file.ino(), file.len(), changed))
    })
}

/// Writes the families of the certificate.
pub(crate) struct CertificateFigures(pub(crate) Arc<Figures>);

impl Expose for CertificateFigures {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let figures = &self.0;
        let end = figures.end.load(Relaxed);
        if end != 0 {
            families.gauge(
                "tls_certificate_expiry_seconds",
                "Time until the certificate in force expires; below zero once it has.",
                end - now(),
            )?;
        }
        families.counters(
            "tls_certificate_changes",
            "Certificates found on disk while running: taken over, and refused because they were wrong.",
            "outcome",
            [
                ("taken", figures.taken.load(Relaxed)),
                ("refused", figures.refused.load(Relaxed)),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use voex_config::Settings;

    use super::{DAY_S, Watch, reminder, shown};
    use crate::addresses::Addresses;

    fn write(folder: &Path) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["turn.example.org".to_owned()]).unwrap();
        std::fs::write(folder.join("chain"), cert.pem()).unwrap();
        std::fs::write(folder.join("key"), signing_key.serialize_pem()).unwrap();
    }

    fn settings(folder: &Path) -> Settings {
        let set = |key, file| format!("tls.{key}={}", folder.join(file).display());
        let sets = [set("certificate", "chain"), set("key", "key")];
        voex_config::load(None, &sets, true).unwrap().settings
    }

    #[test]
    fn what_busy_workers_did_not_take_is_tried_again_until_they_do() {
        let folder = std::env::temp_dir().join(format!("voex-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder);
        let settings = settings(&folder);
        let addresses = Addresses::of(&settings, &if_addrs::get_if_addrs().unwrap()).unwrap();
        let mut watch = Watch::new(&settings, shown(&settings, &addresses).unwrap());
        assert!(!watch.has_changed(&settings));
        write(&folder);
        // Found changed, then found settled.
        assert_eq!([(); 2].map(|()| watch.has_changed(&settings)), [false, true]);
        assert!(watch.read(&settings, &addresses).is_some());
        watch.postpone("a worker is busy");
        assert!(watch.has_changed(&settings));
        let fresh = watch.read(&settings, &addresses).expect("it is not shown yet");
        watch.take(fresh);
        assert!(!watch.has_changed(&settings));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_end_is_told_30_14_and_3_days_before_and_when_it_has_come() {
        let due = |days: i64| [days * DAY_S, days * DAY_S - 1].map(reminder);
        assert_eq!(due(31), [None, None]);
        assert_eq!(due(30), [None, Some(30)]);
        assert_eq!(due(14), [Some(30), Some(14)]);
        assert_eq!(due(3), [Some(14), Some(3)]);
        assert_eq!(due(0), [Some(3), Some(0)]);
    }
}
