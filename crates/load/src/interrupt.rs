//! Ctrl-C and SIGTERM: a run ends where it stands, and what it started ends with it.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::LoadError;

/// Exit code of a run that was interrupted, as shells count it.
pub const EXIT_CODE: u8 = 130;

const GLANCE: Duration = Duration::from_millis(50);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes the first signal end a run in order, and the second one at once: servers started here die with this process.
///
/// # Errors
/// [`LoadError::Io`] when signals cannot be caught.
pub fn install() -> Result<(), LoadError> {
    let caught = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            process::exit(i32::from(EXIT_CODE));
        }
    });
    caught.map_err(|error| LoadError::Io {
        doing: "catching signals".into(),
        source: std::io::Error::other(error),
    })
}

/// Ends a run that is no longer wanted.
pub(crate) fn check() -> Result<(), LoadError> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(LoadError::Interrupted);
    }
    Ok(())
}

/// Waits, but not longer than anybody wants it.
pub(crate) fn sleep(time: Duration) -> Result<(), LoadError> {
    let until = Instant::now() + time;
    loop {
        check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(GLANCE));
    }
}
