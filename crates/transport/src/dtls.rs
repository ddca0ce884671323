//! The DTLS association that keys SRTP (RFC 5763, RFC 5764): our part around the handshake of `dimpl`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Error, Output, SecurityError, SrtpProfile};
use voex_base::{MTU_BYTES, Outbox};

use crate::ice::Pair;
use crate::srtp::{MasterKey, Profile};
use crate::{Certificate, DownReason, DtlsRole};

/// Longest datagram handed to the handshake: DTLS fragments its messages below the path's MTU.
pub(crate) const DTLS_DATAGRAM_BYTES_MAX: usize = MTU_BYTES;

/// Datagrams of one handshake message that wait for the missing ones.
const QUEUE_DATAGRAMS_MAX: usize = 30;

/// What the handshake hands out at once: its own datagrams, or the remote's certificate. The latter has arrived in at
/// most [`QUEUE_DATAGRAMS_MAX`] datagrams, so it fits.
const OUTPUT_BYTES_MAX: usize = QUEUE_DATAGRAMS_MAX * DTLS_DATAGRAM_BYTES_MAX + 512;

/// Room for what comes once the certificate is known: datagrams and decrypted records.
const RECORD_BYTES_MAX: usize = 2 * MTU_BYTES;

/// Longest datagram that the handshake sends.
const SENT_BYTES_MAX: usize = 1_200;

/// First retransmission of a flight; doubles from there. The path is known to be open when the handshake starts, so
/// this is less than the second of RFC 6347 §4.2.4.1.
const FLIGHT_RTO: Duration = Duration::from_millis(250);

/// Retransmissions of a flight: the last is due after a minute, later than any time-out set for the whole handshake.
const FLIGHT_RETRIES: usize = 7;

/// Settings of `dimpl`, made once for a certificate since making them runs self-tests.
pub(crate) fn settings() -> Result<Arc<dimpl::Config>, Error> {
    dimpl::Config::builder()
        .mtu(SENT_BYTES_MAX)
        .max_queue_rx(QUEUE_DATAGRAMS_MAX)
        .flight_start_rto(FLIGHT_RTO)
        .flight_retries(FLIGHT_RETRIES)
        // The address has passed an ICE check, which proves what the cookie would.
        .use_server_cookie(false)
        .require_client_certificate(true)
        .build()
        .map(Arc::new)
}

/// One association, from before its start to its end.
pub(crate) struct Dtls {
    certificate: Arc<Certificate>,
    engine: Option<Box<dimpl::Dtls>>,
    role: Option<DtlsRole>,
    timeout: Option<Instant>,
    /// The remote's certificate, DER.
    remote_certificate: Option<Vec<u8>>,
    keys: Option<Keys>,
    connected: bool,
    /// Application data that came, once somebody wants it.
    inbox: Option<Vec<Vec<u8>>>,
}

/// Master keys of both directions.
pub(crate) struct Keys {
    pub(crate) local: MasterKey,
    pub(crate) remote: MasterKey,
}

/// One output of the handshake, without its borrow of the buffer.
enum Step {
    Send(usize),
    Certificate(usize),
    Keys(dimpl::KeyingMaterial, SrtpProfile),
    Connected,
    Data(usize),
    Closed,
    Wait(Instant),
    Ignore,
    Overflow,
}

impl Dtls {
    pub(crate) fn new(certificate: Arc<Certificate>) -> Self {
        Self {
            certificate,
            engine: None,
            role: None,
            timeout: None,
            remote_certificate: None,
            keys: None,
            connected: false,
            inbox: None,
        }
    }

    /// Keeps application data from now on, for [`take_inbox`](Self::take_inbox) after each [`drain`](Self::drain).
    pub(crate) fn keep_data(&mut self) {
        self.inbox.get_or_insert_default();
    }

    /// Takes the application data of the datagrams since the last time.
    pub(crate) fn take_inbox(&mut self) -> Vec<Vec<u8>> {
        self.inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Starts a handshake, or starts anew when one with the other role is under way and not finished.
    ///
    /// Gives whether it did; after it, [`drain`](Self::drain).
    pub(crate) fn start(&mut self, now: Instant, role: DtlsRole) -> Result<bool, DownReason> {
        if self.connected || self.role == Some(role) {
            return Ok(false);
        }
        let settings = Arc::clone(self.certificate.settings());
        let mut engine = Box::new(dimpl::Dtls::new_12(settings, self.certificate.dtls(), now));
        engine.set_active(role == DtlsRole::Client);
        engine.handle_timeout(now).map_err(|error| reason(&error))?;
        self.engine = Some(engine);
        self.role = Some(role);
        self.remote_certificate = None;
        self.keys = None;
        Ok(true)
    }

    pub(crate) fn is_started(&self) -> bool {
        self.engine.is_some()
    }

    /// Our role, once it has started.
    pub(crate) fn role(&self) -> Option<DtlsRole> {
        self.role
    }

    /// The handshake is over.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(crate) fn remote_certificate(&self) -> Option<&[u8]> {
        self.remote_certificate.as_deref()
    }

    pub(crate) fn take_keys(&mut self) -> Option<Keys> {
        self.keys.take()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, data: &[u8]) -> Result<(), DownReason> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        engine.handle_timeout(now).map_err(|error| reason(&error))?;
        engine.handle_packet(data).map_err(|error| reason(&error))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), DownReason> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        engine.handle_timeout(now).map_err(|error| reason(&error))
    }

    /// Sends what is due to `pair` and takes in what the handshake found out. `trusts` judges the remote's certificate;
    /// when it says no, nothing more is sent.
    pub(crate) fn drain(
        &mut self,
        pair: Option<Pair>,
        trusts: impl Fn(&[u8]) -> bool,
        out: &mut impl Outbox,
    ) -> Result<(), DownReason> {
        if self.engine.is_none() {
            return Ok(());
        }
        let room = if self.connected {
            RECORD_BYTES_MAX
        } else {
            OUTPUT_BYTES_MAX
        };
        let mut buffer = vec![0; room];
        loop {
            match self.poll(&mut buffer) {
                Step::Send(len) => {
                    if let Some((socket, to)) = pair {
                        out.send(socket, to, &buffer[..len], &[]);
                    }
                }
                Step::Certificate(len) if trusts(&buffer[..len]) => {
                    self.remote_certificate = Some(buffer[..len].to_vec());
                }
                Step::Certificate(_) | Step::Overflow => return Err(DownReason::DtlsError),
                Step::Keys(material, profile) => self.keys = Some(self.split(&material, profile)?),
                Step::Connected => self.connected = true,
                Step::Data(len) => {
                    if let Some(inbox) = &mut self.inbox {
                        inbox.push(buffer[..len].to_vec());
                    }
                }
                Step::Closed => return Err(DownReason::DtlsAlert),
                Step::Wait(until) => {
                    self.timeout = Some(until);
                    return Ok(());
                }
                Step::Ignore => {}
            }
        }
    }

    /// Sends `data`, which fits into one datagram, as application data.
    pub(crate) fn send_data(&mut self, data: &[u8], (socket, to): Pair, out: &mut impl Outbox) {
        let Some(engine) = self.engine.as_mut().filter(|_| self.connected) else {
            return;
        };
        if engine.send_application_data(data).is_err() {
            return;
        }
        loop {
            let room = out.reserve(DTLS_DATAGRAM_BYTES_MAX);
            match self.poll(room) {
                Step::Send(len) => out.commit(socket, to, len),
                Step::Wait(until) => {
                    self.timeout = Some(until);
                    return;
                }
                // What came has been drained before; nothing else is left to hear.
                Step::Closed | Step::Overflow => return,
                _ => {}
            }
        }
    }

    /// Sends close_notify when there is an association to close, and ends.
    pub(crate) fn close(&mut self, pair: Option<Pair>, out: &mut impl Outbox) {
        if let Some(engine) = &mut self.engine
            && engine.close().is_ok()
        {
            // What the handshake reports besides its last datagram no longer matters.
            let _ = self.drain(pair, |_| false, out);
        }
        self.end();
    }

    /// Forgets the association without a word.
    pub(crate) fn end(&mut self) {
        self.engine = None;
        self.timeout = None;
        self.keys = None;
    }

    fn poll(&mut self, buffer: &mut [u8]) -> Step {
        let Some(engine) = &mut self.engine else {
            return Step::Closed;
        };
        match engine.poll_output(buffer) {
            Output::Packet(packet) => Step::Send(packet.len()),
            Output::PeerCert(der) => Step::Certificate(der.len()),
            Output::KeyingMaterial(material, profile) => Step::Keys(material, profile),
            Output::Connected => Step::Connected,
            Output::ApplicationData(data) => Step::Data(data.len()),
            Output::CloseNotify => Step::Closed,
            Output::Timeout(until) => Step::Wait(until),
            Output::BufferTooSmall { .. } => Step::Overflow,
            _ => Step::Ignore,
        }
    }

    fn split(&self, material: &[u8], profile: SrtpProfile) -> Result<Keys, DownReason> {
        let profile = match profile {
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
            _ => return Err(DownReason::DtlsError),
        };
        let (client, server) = MasterKey::pair_from_dtls(profile, material).map_err(|_| DownReason::DtlsError)?;
        Ok(match self.role {
            Some(DtlsRole::Client) => Keys {
                local: client,
                remote: server,
            },
            _ => Keys {
                local: server,
                remote: client,
            },
        })
    }
}

fn reason(error: &Error) -> DownReason {
    match error {
        Error::Timeout(_) => DownReason::DtlsTimeout,
        Error::SecurityError(SecurityError::FatalAlert { .. }) => DownReason::DtlsAlert,
        _ => DownReason::DtlsError,
    }
}
