//! What a transport is told, and what it tells.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use voex_base::{Label, SocketId};

use crate::{Certificate, Metrics};

/// What a transport needs from the start.
pub struct Config {
    /// Our ICE user name fragment.
    pub local_ufrag: String,
    /// Our ICE password.
    pub local_pwd: String,
    /// Our certificate.
    pub certificate: Arc<Certificate>,
    /// Time-outs.
    pub timeouts: Timeouts,
    /// Counters shared by the transports of one thread.
    pub metrics: Arc<Metrics>,
}

/// Time-outs of a transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// How long the remote side may remain unknown: a call that rings, an offer that nobody has answered.
    pub answer: Duration,
    /// How long the first valid ICE check may take once the remote is known, and how long checks may be absent until the
    /// transport is up.
    pub ice_start: Duration,
    /// How long checks may be absent once it is up (RFC 7675 §5.1 gives consent 30 s).
    pub ice_consent: Duration,
    /// How long the DTLS handshake may take, from the first valid check or the remote parameters, whichever is later.
    pub dtls_handshake: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(600),
            ice_start: Duration::from_secs(60),
            ice_consent: Duration::from_secs(30),
            dtls_handshake: Duration::from_secs(30),
        }
    }
}

/// The remote side, out of its SDP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteParameters {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password. ICE lite sends no checks, so it only tells a restart from a repetition.
    pub pwd: String,
    /// Hash function of `fingerprint`, as in SDP: `sha-256`, `sha-1`, `sha-384`, `sha-512`; compared without case.
    pub fingerprint_hash: String,
    /// Certificate fingerprint bytes.
    pub fingerprint: Vec<u8>,
    /// Our role in the DTLS handshake. Has no effect once the handshake is over.
    pub dtls_role: DtlsRole,
}

/// Who starts the DTLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsRole {
    /// We send the ClientHello (`a=setup:active` in our SDP).
    Client,
    /// We wait for it (`a=setup:passive` in our SDP).
    Server,
}

/// What happened, out of [`Transport::poll_event`](crate::Transport::poll_event).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// ICE has a valid pair, the certificate fits and SRTP keys are set. Once for each transport, before its media.
    Up,
    /// The transport is gone; nothing but further events comes from it.
    Down(DownReason),
    /// A valid ICE check came from this address to this socket: its datagrams belong to this transport.
    RemoteAdded(SocketId, SocketAddr),
    /// The address made room for a newer one; its datagrams no longer belong to this transport.
    RemoteRemoved(SocketId, SocketAddr),
}

/// Why a transport went down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DownReason {
    /// The remote closed with a DTLS alert (a browser's `pc.close()`).
    DtlsAlert,
    /// The DTLS handshake failed: fingerprint mismatch, no common SRTP profile, bad message.
    DtlsError,
    /// The DTLS handshake did not finish in time.
    DtlsTimeout,
    /// No valid ICE check, or no consent, for the time-out.
    IceFailed,
}

impl Label for DownReason {
    const ALL: &'static [Self] = &[Self::DtlsAlert, Self::DtlsError, Self::DtlsTimeout, Self::IceFailed];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::DtlsAlert => "dtls_alert",
            Self::DtlsError => "dtls_error",
            Self::DtlsTimeout => "dtls_timeout",
            Self::IceFailed => "ice_failed",
        }
    }
}
