//! What a browser is to a shard: a controlling ICE agent with one candidate, a DTLS client, SRTP keys.
//! The network between them loses nothing and takes no time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dimpl::{DtlsCertificate, Output};
use voex_base::{SocketId, TransportId, VecOutbox, WallTime};
use voex_sfu::command::{DtlsRole, RemoteParameters, TransportKind, TransportSpec};
use voex_sfu::{Command, Event, Shard};
use voex_stun::{Class, IntegrityKey, MessageWriter, Method, TransactionId};
use voex_transport::PROTECT_OVERHEAD_BYTES;
use voex_transport::srtp::{Inbound, MasterKey, Outbound, Profile};

/// The media socket that all WebRTC transports share.
pub const MEDIA_SOCKET: SocketId = SocketId(1);

const LOCAL_PWD: &str = "localpasswordlocalpassw";

/// A browser: its number names its transport, credentials and address.
pub struct Browser {
    pub number: u64,
    pub address: SocketAddr,
    certificate: DtlsCertificate,
    dtls: dimpl::Dtls,
    srtp: Option<(Outbound, Inbound)>,
    checks: u64,
}

impl Browser {
    /// Opens a transport of the shard and goes through ICE and DTLS with it.
    pub fn connect(number: u64, shard: &mut Shard, now: Instant, wall: WallTime, out: &mut VecOutbox) -> Self {
        let mut browser = Self::new(number, now);
        browser.open(shard, now, out);
        browser.check(shard, now, wall, out).unwrap();
        browser.shake_hands(shard, now, wall, out);
        assert!(
            shard_is_up(shard, browser.transport()),
            "no handshake after six flights"
        );
        browser
    }

    /// Goes through DTLS.
    pub fn shake_hands(&mut self, shard: &mut Shard, now: Instant, wall: WallTime, out: &mut VecOutbox) {
        for _ in 0..6 {
            self.exchange(shard, now, wall, out);
        }
        assert!(self.srtp.is_some(), "DTLS did not finish on our side");
    }

    pub fn new(number: u64, now: Instant) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let config = dimpl::Config::builder()
            .dangerously_set_rng_seed(number)
            .build()
            .unwrap();
        let mut dtls = dimpl::Dtls::new_12(Arc::new(config), certificate.clone(), now);
        dtls.set_active(true);
        let [a, b] = (number as u16).to_be_bytes();
        Self {
            number,
            address: SocketAddr::from(([198, 51, a, b], 40_000)),
            certificate,
            dtls,
            srtp: None,
            checks: 0,
        }
    }

    pub fn transport(&self) -> TransportId {
        TransportId(self.number)
    }

    fn ufrag(&self) -> String {
        format!("U{}", self.number)
    }

    pub fn open(&self, shard: &mut Shard, now: Instant, out: &mut VecOutbox) {
        let spec = TransportSpec {
            id: self.transport(),
            kind: TransportKind::WebRtc {
                local_ufrag: self.ufrag(),
                local_pwd: LOCAL_PWD.to_owned(),
            },
        };
        shard.handle_command(now, Command::OpenTransport(Box::new(spec)), out);
        let remote = RemoteParameters {
            ufrag: "remote".to_owned(),
            pwd: "remotepasswordremotepas".to_owned(),
            fingerprint_hash: "sha-256".to_owned(),
            fingerprint: self.certificate.fingerprint(),
            dtls_role: DtlsRole::Server,
        };
        shard.handle_command(now, Command::SetRemote(self.transport(), Box::new(remote)), out);
    }

    /// Sends an ICE check that nominates, and starts the first flight of DTLS when the answer is there.
    pub fn check(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        wall: WallTime,
        out: &mut VecOutbox,
    ) -> Result<(), voex_sfu::DropReason> {
        self.check_with(true, shard, now, wall, out)
    }

    pub fn check_with(
        &mut self,
        nominates: bool,
        shard: &mut Shard,
        now: Instant,
        wall: WallTime,
        out: &mut VecOutbox,
    ) -> Result<(), voex_sfu::DropReason> {
        self.checks += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.checks.to_be_bytes());
        let mut check = [0; 512];
        let mut writer = MessageWriter::new(&mut check, Class::Request, Method::BINDING, TransactionId(id))
            .username(&format!("{}:remote", self.ufrag()))
            .priority(1_862_270_975)
            .ice_controlling(9);
        if nominates {
            writer = writer.use_candidate();
        }
        let length = writer
            .message_integrity(&IntegrityKey::new(LOCAL_PWD.as_bytes()))
            .fingerprint()
            .finish()
            .unwrap();
        let checked = shard.handle_datagram(now, wall, MEDIA_SOCKET, self.address, &mut check[..length], out);
        if self.srtp.is_none() {
            self.dtls.handle_timeout(now).unwrap();
        }
        checked
    }

    /// One flight each way.
    fn exchange(&mut self, shard: &mut Shard, now: Instant, wall: WallTime, out: &mut VecOutbox) {
        for mut packet in self.flight() {
            let _ = shard.handle_datagram(now, wall, MEDIA_SOCKET, self.address, &mut packet, out);
        }
        for data in self.take(out) {
            if (20..64).contains(&data[0]) {
                self.dtls.handle_packet(&data).unwrap();
            }
        }
    }

    /// Application data that was sent to this browser since the last call.
    pub fn application_data(&mut self, out: &mut VecOutbox) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        for data in self.take(out) {
            if (20..64).contains(&data[0]) {
                self.dtls.handle_packet(&data).unwrap();
                received.extend(self.poll_application_data());
            }
        }
        received
    }

    fn poll_application_data(&mut self) -> Vec<Vec<u8>> {
        let (mut buffer, mut received) = (vec![0; 4_096], Vec::new());
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::ApplicationData(data) => received.push(data.to_vec()),
                Output::Timeout(_) => return received,
                _ => {}
            }
        }
    }

    /// Encrypts application data.
    pub fn protect_data(&mut self, data: &[u8]) -> Vec<Vec<u8>> {
        self.dtls.send_application_data(data).unwrap();
        self.flight()
    }

    fn flight(&mut self) -> Vec<Vec<u8>> {
        let (mut buffer, mut packets) = (vec![0; 4_096], Vec::new());
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::Timeout(_) => return packets,
                Output::KeyingMaterial(material, profile) => {
                    // What both sides of this DTLS library prefer.
                    assert_eq!(profile, dimpl::SrtpProfile::AEAD_AES_256_GCM);
                    let (ours, theirs) = MasterKey::pair_from_dtls(Profile::AeadAes256Gcm, &material).unwrap();
                    self.srtp = Some((Outbound::new(&ours), Inbound::new(&theirs)));
                }
                _ => {}
            }
        }
    }

    /// The close_notify that `pc.close()` sends.
    pub fn close(&mut self) -> Vec<Vec<u8>> {
        self.dtls.close().unwrap();
        self.flight()
    }

    /// What was sent to this browser since the last call, as it was on the wire.
    pub fn take(&self, out: &mut VecOutbox) -> Vec<Vec<u8>> {
        let (mine, others) = std::mem::take(&mut out.sent)
            .into_iter()
            .partition(|(_, to, _): &(SocketId, SocketAddr, Vec<u8>)| *to == self.address);
        out.sent = others;
        mine.into_iter().map(|(_, _, data)| data).collect()
    }

    pub fn protect_rtp(&mut self, packet: &[u8]) -> Vec<u8> {
        let (outbound, _) = self.srtp.as_mut().unwrap();
        sealed(packet, |buf, length| outbound.protect_rtp(buf, length).unwrap())
    }

    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let (outbound, _) = self.srtp.as_mut().unwrap();
        sealed(packet, |buf, length| outbound.protect_rtcp(buf, length).unwrap())
    }

    /// Decrypts what was sent to this browser: RTP packets and RTCP compounds.
    pub fn heard(&mut self, out: &mut VecOutbox) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut rtp, mut rtcp) = (Vec::new(), Vec::new());
        for mut data in self.take(out) {
            let (_, inbound) = self.srtp.as_mut().unwrap();
            match data[0] {
                128..=191 if voex_rtp::is_rtcp(&data) => {
                    let length = inbound.unprotect_rtcp(&mut data).unwrap();
                    rtcp.push(data[..length].to_vec());
                }
                128..=191 => {
                    let length = inbound.unprotect_rtp(&mut data).unwrap();
                    rtp.push(data[..length].to_vec());
                }
                _ => {}
            }
        }
        (rtp, rtcp)
    }
}

/// Whether the shard has told that a transport is up. Events of others are lost here; connect one after the other.
fn shard_is_up(shard: &mut Shard, transport: TransportId) -> bool {
    std::iter::from_fn(|| shard.poll_event()).any(|event| event == Event::TransportUp(transport))
}

fn sealed(packet: &[u8], protect: impl FnOnce(&mut [u8], usize) -> usize) -> Vec<u8> {
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + PROTECT_OVERHEAD_BYTES, 0);
    let length = protect(&mut buf, packet.len());
    buf.truncate(length);
    buf
}
