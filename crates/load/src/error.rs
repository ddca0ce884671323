//! What ends a run.

use std::io;

use voex_stun::{ErrorCode, Method};

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server refused a request.
    #[error("the server refused {method:?} with {} {}", code.number(), code.reason())]
    Refused {
        /// The request.
        method: Method,
        /// The code of its ERROR-CODE attribute.
        code: ErrorCode,
    },
    /// The server did not answer a request, repeated several times.
    #[error("the server did not answer {method:?}")]
    NoAnswer {
        /// The request.
        method: Method,
    },
    /// The server answered with something that RFC 8656 does not allow there.
    #[error("the server's answer to {method:?} lacks {what}")]
    BadAnswer {
        /// The request.
        method: Method,
        /// What is missing or unusable.
        what: &'static str,
    },
    /// The server answers, but so slowly that the load would never begin.
    #[error("after {seconds} s only {made} of {wanted} clients were ready")]
    TooSlow {
        /// How long it was waited.
        seconds: u64,
        /// Clients that were ready.
        made: usize,
        /// Clients that were wanted.
        wanted: usize,
    },
    /// A server under test did not start.
    #[error("{server} did not start: {why}")]
    NotStarted {
        /// Its name.
        server: String,
        /// What happened instead.
        why: String,
    },
}

/// Adds what was tried to an error of the operating system.
pub(crate) trait Doing<T> {
    /// Says what was tried; `what` is only called on an error.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LoadError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LoadError> {
        self.map_err(|error| LoadError::Io {
            doing: what(),
            source: error.into(),
        })
    }
}
