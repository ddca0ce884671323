//! Entries for the fuzzer: bytes of any kind into an established transport and into SRTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use voex_base::{SocketId, VecOutbox};
use voex_stun::{Class, IntegrityKey, MessageWriter, Method, TransactionId};

use crate::srtp::{Inbound, MasterKey, Outbound, PROTECT_OVERHEAD_BYTES, Profile};
use crate::{Certificate, Config, DtlsRole, RemoteParameters, Timeouts, Transport, binding_request_ufrag};

const SOCKET: SocketId = SocketId(1);
const UFRAG: &str = "ufrg";
const PWD: &str = "passwordpasswordpasswo";

/// An established transport under attack over the very pair it trusts.
pub struct Target {
    now: Instant,
    transport: Transport,
}

impl Target {
    /// Sets a transport up; `None` when the cryptographic library fails.
    pub fn new(now: Instant) -> Option<Self> {
        let certificate = Arc::new(Certificate::generate().ok()?);
        let transport = established(now, &certificate);
        Some(Self { now, transport })
    }

    /// Feeds `data` as a run of datagrams, each behind two bytes of length, then lets every timer fire that is due.
    ///
    /// # Panics
    /// When what stands in `data`, which knows no key, ends the transport. Any other panic is a finding too.
    pub fn feed(&mut self, data: &[u8]) {
        let mut out = VecOutbox::default();
        let mut rest = data;
        while let [high, low, tail @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
            let mut datagram = tail[..len].to_vec();
            let _ = binding_request_ufrag(&datagram);
            let _ = self
                .transport
                .handle_datagram(self.now, SOCKET, remote(), &mut datagram, &mut out);
            rest = &tail[len..];
        }
        self.transport.handle_timeout(self.now, &mut out);
        while self.transport.poll_event().is_some() {}
        assert!(self.transport.is_up(), "bytes without a key ended the transport");
    }

    /// Whether the transport is up.
    pub fn is_up(&self) -> bool {
        self.transport.is_up()
    }
}

/// Protects `packet` under every profile as RTP and as RTCP; whatever is taken must come back as it was.
pub fn srtp_round_trip(packet: &[u8]) {
    for &profile in <Profile as voex_base::Label>::ALL {
        let (key, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
        let Ok(master) = MasterKey::new(profile, &key, &salt) else {
            return;
        };
        let (mut outbound, mut inbound) = (Outbound::new(&master), Inbound::new(&master));
        let mut buf = packet.to_vec();
        buf.resize(packet.len() + PROTECT_OVERHEAD_BYTES, 0);
        if let Ok(len) = outbound.protect_rtp(&mut buf, packet.len()) {
            assert_eq!(inbound.unprotect_rtp(&mut buf[..len]), Ok(packet.len()));
            assert_eq!(&buf[..packet.len()], packet);
        }
        if let Ok(len) = outbound.protect_rtcp(&mut buf, packet.len()) {
            assert_eq!(inbound.unprotect_rtcp(&mut buf[..len]), Ok(packet.len()));
            assert_eq!(&buf[..packet.len()], packet);
        }
        let _ = inbound.unprotect_rtp(&mut packet.to_vec());
        let _ = inbound.unprotect_rtcp(&mut packet.to_vec());
    }
}

fn remote() -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 1), 5_000).into()
}

/// Two transports play each other's remote: checks made by hand, the DTLS handshake their own.
fn established(now: Instant, certificate: &Arc<Certificate>) -> Transport {
    let mut out = VecOutbox::default();
    let mut client = half(now, certificate, DtlsRole::Client, &mut out);
    let mut server = half(now, certificate, DtlsRole::Server, &mut VecOutbox::default());
    while !out.sent.is_empty() {
        let mut answers = VecOutbox::default();
        for (.., mut datagram) in out.sent {
            let _ = server.handle_datagram(now, SOCKET, remote(), &mut datagram, &mut answers);
        }
        out = VecOutbox::default();
        for (.., mut datagram) in answers.sent {
            let _ = client.handle_datagram(now, SOCKET, remote(), &mut datagram, &mut out);
        }
    }
    client
}

fn half(now: Instant, certificate: &Arc<Certificate>, role: DtlsRole, out: &mut VecOutbox) -> Transport {
    let config = Config {
        local_ufrag: UFRAG.to_owned(),
        local_pwd: PWD.to_owned(),
        certificate: Arc::clone(certificate),
        timeouts: Timeouts::default(),
        metrics: Arc::default(),
    };
    let mut transport = Transport::new(config, now);
    let mut room = [0; 128];
    let check = MessageWriter::new(&mut room, Class::Request, Method::BINDING, TransactionId([0; 12]))
        .username("ufrg:ufrg")
        .use_candidate()
        .message_integrity(&IntegrityKey::new(PWD.as_bytes()))
        .fingerprint()
        .finish()
        .unwrap_or_default();
    let _ = transport.handle_datagram(now, SOCKET, remote(), &mut room[..check], &mut VecOutbox::default());
    let parameters = RemoteParameters {
        ufrag: UFRAG.to_owned(),
        pwd: PWD.to_owned(),
        fingerprint_hash: "sha-256".to_owned(),
        fingerprint: certificate.fingerprint_sha256().to_vec(),
        dtls_role: role,
    };
    transport.set_remote(now, parameters, out);
    transport
}
