//! Waking a worker: cheap while it runs, one system call when it sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::sys::EventFd;

/// Shared by a worker and everyone who puts something into its queues.
///
/// Both sides publish first and look second, with a full fence between: either the producer sees the worker asleep and
/// signals, or the worker sees the new item before it sleeps.
pub(crate) struct Wake {
    asleep: AtomicBool,
    signal: EventFd,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            asleep: AtomicBool::new(false),
            signal: EventFd::new()?,
        })
    }

    /// Producer side, after an item was queued.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.signal.signal();
        }
    }

    /// Worker side, before it looks at its queues for the last time.
    pub(crate) fn prepare_to_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Worker side, when it runs again.
    pub(crate) fn woke(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Worker side, when epoll reported the signal.
    pub(crate) fn clear(&self) {
        self.signal.clear();
    }

    /// The descriptor to watch.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}
