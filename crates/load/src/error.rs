//! What ends a run.

use std::io;
use std::net::SocketAddr;

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
    /// There is no way to the server.
    #[error("cannot reach {address}: {source}; is the server running, and is this its address, port and transport?")]
    Unreachable {
        /// Where it should be.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A connection ended while an answer was awaited.
    #[error(
        "the connection ended while {method:?} was to be answered: {source}{}",
        hint_of_loss(source)
    )]
    ConnectionLost {
        /// The request.
        method: Method,
        /// What happened.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// The WebSocket connection to the server failed.
    #[error("{url}: {why}; is the server running, and is this the address of its Janus API?")]
    WebSocket {
        /// Where it is.
        url: String,
        /// What happened.
        why: String,
    },
    /// The server answered a request of the Janus API with something else than was hoped for.
    #[error("{request}: {why}")]
    Api {
        /// What was asked.
        request: String,
        /// What came.
        why: String,
    },
    /// A description of the server's cannot be used.
    #[error("the server's SDP cannot be used: {0}")]
    Sdp(String),
    /// A handshake failed.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// The server refused a request.
    #[error("the server refused {method:?} with {} {}{}", code.number(), code.reason(), hint_of_refusal(*code))]
    Refused {
        /// The request.
        method: Method,
        /// The code of its ERROR-CODE attribute.
        code: ErrorCode,
    },
    /// The server did not answer a request, repeated several times.
    #[error(
        "the server did not answer {method:?}; is it running, is this its address, port and transport, and does a \
         firewall let it through?"
    )]
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
    /// Nobody is left to send or receive.
    #[error("the server closed every connection; first because: {0}")]
    AllClosed(String),
    /// The user had enough.
    #[error("interrupted")]
    Interrupted,
    /// A server under test did not start.
    #[error("{server} did not start: {why}")]
    NotStarted {
        /// Its name.
        server: String,
        /// What happened instead.
        why: String,
    },
}

/// Says what usually helps against a refusal.
fn hint_of_refusal(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UNAUTHENTICATED => "; are --user and --password right?",
        ErrorCode::FORBIDDEN => {
            "; peers of a load are on this host: let the server relay to it (voex: turn.peers.allow or \
             turn.peers.allow_loopback, coturn: --allowed-peer-ip or --allow-loopback-peers)"
        }
        ErrorCode::ALLOCATION_QUOTA_REACHED => "; raise the server's quota or ask for fewer --clients",
        ErrorCode::INSUFFICIENT_CAPACITY => "; give the server more relay ports or ask for fewer --clients",
        ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED | ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH => {
            "; name a --peer address of a family that the server relays to"
        }
        _ => "",
    }
}

fn hint_of_loss(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "; name its authorities with --authorities and its name with --server-name, or accept any certificate of a \
             test server with --insecure"
        }
        Some(rustls::Error::InvalidMessage(_)) => "; does this port speak TLS?",
        _ => "",
    }
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
