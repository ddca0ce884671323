//! The handshake that keys SRTP: `dimpl`, and the check of the server's certificate.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{DtlsCertificate, Output, SrtpProfile};
use sha2::{Digest as _, Sha256};
use voex_transport::srtp::{Inbound, MasterKey, Outbound, Profile};

use crate::LoadError;

/// What the handshake hands out at once: a datagram, or a certificate.
const OUTPUT_BYTES_MAX: usize = 8 << 10;
const DATAGRAM_BYTES_MAX: usize = 1_200;
/// First repetition of a flight: Chromium's. A server with full ICE may hear the first one too early.
const FLIGHT_AGAIN: Duration = Duration::from_millis(50);

/// The certificate of every client of a load, as one browser has one.
pub(crate) struct Identity {
    certificate: DtlsCertificate,
    settings: Arc<dimpl::Config>,
}

impl Identity {
    /// Makes a certificate.
    pub(crate) fn make() -> Result<Self, LoadError> {
        let failed = |error: &dyn std::fmt::Display| LoadError::Dtls(error.to_string());
        let certificate = dimpl::certificate::generate_self_signed_certificate().map_err(|error| failed(&error))?;
        let settings = dimpl::Config::builder()
            .mtu(DATAGRAM_BYTES_MAX)
            .flight_start_rto(FLIGHT_AGAIN)
            .use_server_cookie(false)
            .require_client_certificate(true)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            certificate,
            settings: Arc::new(settings),
        })
    }

    /// Gives its SHA-256 as SDP writes it.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = String::new();
        for byte in Sha256::digest(&self.certificate.certificate) {
            let colon = if text.is_empty() { "" } else { ":" };
            write!(text, "{colon}{byte:02X}").expect("a string takes everything");
        }
        text
    }
}

/// Keys of both directions.
pub(crate) struct Keys {
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
}

/// A handshake, from its start on.
pub(crate) struct Dtls {
    engine: Box<dimpl::Dtls>,
    is_client: bool,
    fingerprint: Vec<u8>,
    is_trusted: bool,
    keys: Option<Keys>,
    timeout: Option<Instant>,
    /// The server has said good-bye.
    pub(crate) is_closed: bool,
}

impl Dtls {
    /// Begins; the server's certificate must have this SHA-256.
    pub(crate) fn start(identity: &Identity, is_client: bool, fingerprint: &[u8], now: Instant) -> Self {
        let settings = Arc::clone(&identity.settings);
        let mut engine = Box::new(dimpl::Dtls::new_12(settings, identity.certificate.clone(), now));
        engine.set_active(is_client);
        Self {
            engine,
            is_client,
            fingerprint: fingerprint.to_vec(),
            is_trusted: false,
            keys: None,
            timeout: Some(now),
            is_closed: false,
        }
    }

    /// Takes a datagram.
    pub(crate) fn handle(&mut self, datagram: &[u8], now: Instant) -> Result<(), LoadError> {
        self.engine.handle_timeout(now).map_err(failed)?;
        self.engine.handle_packet(datagram).map_err(failed)
    }

    /// Lets timers fire.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), LoadError> {
        if self.timeout.is_some_and(|due| now >= due) {
            self.engine.handle_timeout(now).map_err(failed)?;
        }
        Ok(())
    }

    /// Gives what is to be sent to `send`, and the keys once there are some.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(&[u8])) -> Result<Option<Keys>, LoadError> {
        let mut buffer = [0; OUTPUT_BYTES_MAX];
        loop {
            match self.engine.poll_output(&mut buffer) {
                Output::Packet(packet) => send(packet),
                Output::PeerCert(der) => self.is_trusted = Sha256::digest(der).as_slice() == self.fingerprint,
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some(split(&material, profile, self.is_client)?);
                }
                Output::CloseNotify => self.is_closed = true,
                Output::Timeout(until) => {
                    self.timeout = Some(until);
                    break;
                }
                Output::BufferTooSmall { .. } => return Err(LoadError::Dtls("a certificate is too long".into())),
                _ => {}
            }
        }
        if self.keys.is_some() && !self.is_trusted {
            return Err(LoadError::Dtls("the certificate is not the one that SDP tells".into()));
        }
        Ok(self.keys.take())
    }
}

fn failed(error: dimpl::Error) -> LoadError {
    LoadError::Dtls(error.to_string())
}

fn split(material: &[u8], profile: SrtpProfile, is_client: bool) -> Result<Keys, LoadError> {
    let profile = match profile {
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
        other => return Err(LoadError::Dtls(format!("SRTP profile {other:?} is not known"))),
    };
    let pair = MasterKey::pair_from_dtls(profile, material);
    let (client, server) = pair.map_err(|_| LoadError::Dtls("short keying material".into()))?;
    let (local, remote) = if is_client { (client, server) } else { (server, client) };
    Ok(Keys {
        outbound: Outbound::new(&local),
        inbound: Inbound::new(&remote),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries datagrams between two sides until nobody has any; gives the keys of both.
    fn shake(a: &mut Dtls, b: &mut Dtls) -> Result<(Option<Keys>, Option<Keys>), LoadError> {
        let (now, mut keys) = (Instant::now(), (None, None));
        a.tick(now)?;
        b.tick(now)?;
        for _ in 0..20 {
            let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
            keys.0 = a.drain(|datagram| from_a.push(datagram.to_vec()))?.or(keys.0);
            from_a.iter().try_for_each(|datagram| b.handle(datagram, now))?;
            keys.1 = b.drain(|datagram| from_b.push(datagram.to_vec()))?.or(keys.1);
            from_b.iter().try_for_each(|datagram| a.handle(datagram, now))?;
        }
        Ok(keys)
    }

    fn digest(identity: &Identity) -> Vec<u8> {
        Sha256::digest(&identity.certificate.certificate).to_vec()
    }

    #[test]
    fn both_roles_end_with_keys_that_fit() {
        let (a, b) = (Identity::make().unwrap(), Identity::make().unwrap());
        let now = Instant::now();
        let mut a_side = Dtls::start(&a, true, &digest(&b), now);
        let mut b_side = Dtls::start(&b, false, &digest(&a), now);
        let (Some(mut a), Some(mut b)) = shake(&mut a_side, &mut b_side).unwrap() else {
            panic!("the handshake ends");
        };
        let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 42];
        packet.resize(13 + voex_transport::PROTECT_OVERHEAD_BYTES, 0);
        let len = a.outbound.protect_rtp(&mut packet, 13).unwrap();
        assert_eq!(b.inbound.unprotect_rtp(&mut packet[..len]), Ok(13));
        assert_eq!(packet[12], 42);
    }

    #[test]
    fn a_certificate_that_sdp_did_not_tell_ends_it() {
        let (a, b) = (Identity::make().unwrap(), Identity::make().unwrap());
        let now = Instant::now();
        let mut a_side = Dtls::start(&a, true, &[1; 32], now);
        let mut b_side = Dtls::start(&b, false, &digest(&a), now);
        let error = shake(&mut a_side, &mut b_side).err().unwrap();
        assert!(error.to_string().contains("SDP"), "{error}");
    }
}
