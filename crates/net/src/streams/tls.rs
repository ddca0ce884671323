//! TLS over one stream.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CipherSuite, Error, ProtocolVersion, ServerConfig};
use voex_stun::frame_len;
use voex_turn::TlsSession;

/// Bytes of a handshake that may wait for the rest: one that needs more has no client we serve behind it.
const PENDING_BYTES_MAX: usize = 32 << 10;
/// Plain bytes after which sealing stops until they are written.
const SEAL_BYTES_MAX: usize = 64 << 10;
/// Room for what sealing adds to a message: 30 bytes a record, five records for the longest, and a change of keys.
const SEAL_OVERHEAD_BYTES: usize = 512;

/// The state of one TLS session. It holds keys and no buffers: what is read is decrypted out of the worker's buffer, what
/// is written is encrypted into it.
pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    /// Start of a record, or of a handshake message, whose rest is still to come.
    pending: Vec<u8>,
    is_up: bool,
}

/// What became of bytes that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// The session goes on.
    Open,
    /// The client has said that it sends no more.
    ClosedByClient,
}

impl Tls {
    /// Starts a session.
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config.clone())?,
            pending: Vec::new(),
            is_up: false,
        })
    }

    /// Tells whether the handshake is over.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Length of what waits for its rest; [`take`](Self::take) wants it in front of what arrives.
    pub(super) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes what arrived, behind what was [`pending`](Self::pending). Plain bytes are appended to `plain`, what the client
    /// must be told to `wire`; in case of an error that is the alert.
    pub(super) fn take(
        &mut self,
        mut bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Taken, Error> {
        self.pending.clear();
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(bytes);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(wire, &mut data)?;
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.is_up = true;
                    false
                }
                Ok(ConnectionState::BlockedHandshake) => false,
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => return Ok(Taken::ClosedByClient),
                // Early data is never offered.
                Ok(_) => return Err(Error::HandshakeNotComplete),
                Err(error) => {
                    self.append_alert(&mut bytes[discard..], wire);
                    return Err(error);
                }
            };
            bytes = &mut bytes[discard..];
            if !goes_on {
                return self.keep(bytes);
            }
        }
    }

    /// Keeps the start of a record or message. The session remembers how much of it was there: each later call must
    /// bring these bytes again.
    fn keep(&mut self, bytes: &[u8]) -> Result<Taken, Error> {
        if bytes.len() > PENDING_BYTES_MAX {
            return Err(Error::General("the handshake is too long".to_owned()));
        }
        if bytes.is_empty() {
            self.pending = Vec::new();
        } else {
            self.pending.extend_from_slice(bytes);
        }
        Ok(Taken::Open)
    }

    fn append_alert(&mut self, bytes: &mut [u8], wire: &mut Vec<u8>) {
        if let UnbufferedStatus {
            state: Ok(ConnectionState::EncodeTlsData(mut alert)),
            ..
        } = self.connection.process_tls_records(bytes)
        {
            // Without it the client sees the end of the stream alone.
            let _ = append(wire, &mut alert);
        }
    }

    /// Seals what stands at the front of what waits and appends it to `wire`; gives how many plain bytes that was. The first
    /// `messages_len` bytes of what waits are messages.
    ///
    /// Each message is a record: it can be read as soon as its own bytes have arrived, and simple clients take what a read
    /// gives them for one message. What a peer said is cut nowhere but where records are full.
    pub(super) fn seal(&mut self, waiting: &[u8], messages_len: usize, wire: &mut Vec<u8>) -> Result<usize, Error> {
        self.write(wire, |traffic, wire| {
            let mut sealed = 0;
            while sealed < waiting.len().min(SEAL_BYTES_MAX) {
                let len = if sealed < messages_len {
                    let rest = &waiting[sealed..messages_len];
                    frame_len(rest).ok().flatten().unwrap_or(rest.len()).min(rest.len())
                } else {
                    (waiting.len() - sealed).min(SEAL_BYTES_MAX)
                };
                let rest = &waiting[sealed..];
                put(wire, len + SEAL_OVERHEAD_BYTES, |room| {
                    traffic.encrypt(&rest[..len], room)
                })?;
                sealed += len;
            }
            Ok(sealed)
        })
    }

    /// Appends the end of the session to `wire`.
    pub(super) fn seal_end(&mut self, wire: &mut Vec<u8>) -> Result<(), Error> {
        self.write(wire, |traffic, wire| {
            put(wire, SEAL_OVERHEAD_BYTES, |room| traffic.queue_close_notify(room))
        })
    }

    fn write<T>(
        &mut self,
        wire: &mut Vec<u8>,
        seal: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<T, EncryptError>,
    ) -> Result<T, Error> {
        loop {
            // What is pending was looked at already and takes the session nowhere.
            match self.connection.process_tls_records(&mut self.pending).state? {
                ConnectionState::EncodeTlsData(mut data) => append(wire, &mut data)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    return seal(&mut traffic, wire).map_err(|_| Error::EncryptError);
                }
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    /// Gives what the handshake agreed on.
    pub(super) fn session(&self) -> TlsSession {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let suite = self.connection.negotiated_cipher_suite();
        TlsSession {
            version,
            cipher: suite.map_or("NONE", |suite| openssl_name(suite.suite())),
        }
    }
}

/// Grows `wire` by what `fill` puts into a room of `len_max` bytes.
fn put(
    wire: &mut Vec<u8>,
    len_max: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), EncryptError> {
    let start = wire.len();
    wire.resize(start + len_max, 0);
    let filled = fill(&mut wire[start..]);
    wire.truncate(start + *filled.as_ref().unwrap_or(&0));
    filled.map(drop)
}

/// Grows `wire` by a message of the handshake.
fn append(wire: &mut Vec<u8>, data: &mut EncodeTlsData<'_, ServerConnectionData>) -> Result<(), Error> {
    let start = wire.len();
    let written = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(needs)) => {
            wire.resize(start + needs.required_size, 0);
            data.encode(&mut wire[start..])
        }
        done => done,
    };
    written.map(drop).map_err(|_| Error::EncryptError)
}

/// Gives the name that administrators know from OpenSSL.
fn openssl_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_that_can_be_agreed_on_has_a_name() {
        for suite in rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES {
            assert_ne!(openssl_name(suite.suite()), "UNKNOWN", "{suite:?}");
        }
    }
}
