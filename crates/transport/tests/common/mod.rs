//! A remote for the transport under test, and a network between them on a virtual clock.
//!
//! The remote is what a browser is to us: a full, controlling ICE agent with one candidate, and a DTLS peer.
#![allow(dead_code, unreachable_pub)] // every test file uses its own part
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a failed unwrap is a failed test; the clock is read once

pub mod sctp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{DtlsCertificate, Output};
use voex_base::{Rng, SocketId, VecOutbox};
use voex_stun::{Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method, TransactionId};
use voex_transport::srtp::{Inbound, MasterKey, Outbound, Profile};
use voex_transport::{
    Certificate, Config, DataEvent, DtlsRole, Event, Metrics, PROTECT_OVERHEAD_BYTES, Received, RemoteParameters,
    Timeouts, Transport,
};

pub const SOCKET: SocketId = SocketId(7);
pub const LOCAL_UFRAG: &str = "LFRG";
pub const LOCAL_PWD: &str = "localpasswordlocalpassw";
pub const REMOTE_UFRAG: &str = "RFRG";
pub const REMOTE_PWD: &str = "remotepasswordremotepas";

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// How long checks wait for each other before and after a pair is nominated.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);

pub struct Remote {
    pub address: SocketAddr,
    pub ufrag: String,
    pub certificate: DtlsCertificate,
    pub is_checking: bool,
    /// Whether its checks carry USE-CANDIDATE.
    pub nominates: bool,
    pub is_connected: bool,
    pub is_closed: bool,
    pub profile: Option<Profile>,
    pub srtp: Option<(Outbound, Inbound)>,
    /// Its side of data channels, once it has begun with them.
    pub sctp: Option<sctp::Sctp>,
    dtls: dimpl::Dtls,
    dtls_role: DtlsRole,
    dtls_timeout: Option<Instant>,
    next_check: Instant,
    is_nominated: bool,
    transactions: u64,
}

impl Remote {
    /// `role` is the remote's own.
    pub fn new(now: Instant, role: DtlsRole, seed: u64) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
        // Flights of several datagrams, so that loss and reordering reach into them.
        Self::with_certificate(now, role, seed, certificate, 400)
    }

    pub fn with_certificate(
        now: Instant,
        role: DtlsRole,
        seed: u64,
        certificate: DtlsCertificate,
        mtu_bytes: usize,
    ) -> Self {
        let config = dimpl::Config::builder()
            .dangerously_set_rng_seed(seed)
            .mtu(mtu_bytes)
            .max_queue_tx(100)
            .flight_start_rto(Duration::from_millis(200))
            .flight_retries(8)
            .build()
            .unwrap();
        let mut dtls = dimpl::Dtls::new_12(Arc::new(config), certificate.clone(), now);
        dtls.set_active(role == DtlsRole::Client);
        Self {
            address: address("198.51.100.9:40000"),
            ufrag: REMOTE_UFRAG.to_owned(),
            certificate,
            is_checking: true,
            nominates: true,
            is_connected: false,
            is_closed: false,
            profile: None,
            srtp: None,
            sctp: None,
            dtls,
            dtls_role: role,
            dtls_timeout: None,
            next_check: now,
            is_nominated: false,
            transactions: 0,
        }
    }

    /// What its SDP would say.
    pub fn parameters(&self) -> RemoteParameters {
        RemoteParameters {
            ufrag: self.ufrag.clone(),
            pwd: REMOTE_PWD.to_owned(),
            fingerprint_hash: "sha-256".to_owned(),
            fingerprint: self.certificate.fingerprint(),
            dtls_role: match self.dtls_role {
                DtlsRole::Client => DtlsRole::Server,
                DtlsRole::Server => DtlsRole::Client,
            },
        }
    }

    pub fn check(&mut self, nominates: bool) -> Vec<u8> {
        self.transactions += 1;
        Check {
            transaction: self.transactions,
            nominates,
            username: Some(format!("{LOCAL_UFRAG}:{}", self.ufrag)),
            ..Check::default()
        }
        .bytes()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let check = self.is_checking.then_some(self.next_check);
        let sctp = self.sctp.as_ref().and_then(sctp::Sctp::poll_timeout);
        [check, self.dtls_timeout, sctp].into_iter().flatten().min()
    }

    /// Sends application data as it is.
    pub fn send_data(&mut self, now: Instant, data: &[u8], sent: &mut Vec<Vec<u8>>) {
        self.dtls.send_application_data(data).unwrap();
        self.drain(now, sent);
    }

    /// Sends what its SCTP wants sent.
    pub fn flush_sctp(&mut self, now: Instant, sent: &mut Vec<Vec<u8>>) {
        while let Some(packet) = self.sctp.as_mut().and_then(|sctp| sctp.poll_packet(now)) {
            self.send_data(now, &packet, sent);
        }
    }

    fn handle_timeout(&mut self, now: Instant, sent: &mut Vec<Vec<u8>>) {
        if self.is_checking && now >= self.next_check {
            let interval = if self.is_nominated {
                CONSENT_INTERVAL
            } else {
                CHECK_INTERVAL
            };
            self.next_check = now + interval;
            sent.push(self.check(self.nominates));
        }
        if self.dtls_timeout.is_some_and(|due| now >= due) {
            self.dtls.handle_timeout(now).unwrap();
            self.drain(now, sent);
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        self.flush_sctp(now, sent);
    }

    fn handle_datagram(&mut self, now: Instant, data: &[u8], sent: &mut Vec<Vec<u8>>) {
        match data[0] {
            0..=3 => {
                let answer = Message::parse(data).unwrap();
                assert_eq!(answer.class(), Class::Success, "{:?}", answer.error_code());
                assert!(answer.check_integrity(&IntegrityKey::new(LOCAL_PWD.as_bytes())).is_ok());
                assert_eq!(answer.fingerprint_fits(), Some(true));
                assert_eq!(answer.xor_mapped_address(), Ok(Some(self.address)));
                if !self.is_nominated {
                    self.is_nominated = true;
                    self.start_dtls(now, sent);
                }
            }
            20..=63 if self.is_nominated => {
                let _ = self.dtls.handle_timeout(now);
                let _ = self.dtls.handle_packet(data);
                self.drain(now, sent);
                self.flush_sctp(now, sent);
            }
            _ => {}
        }
    }

    fn start_dtls(&mut self, now: Instant, sent: &mut Vec<Vec<u8>>) {
        if self.dtls_role == DtlsRole::Client {
            self.dtls.handle_timeout(now).unwrap();
            self.drain(now, sent);
        }
    }

    pub fn close(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        self.dtls.close().unwrap();
        self.drain(now, &mut sent);
        sent
    }

    fn drain(&mut self, now: Instant, sent: &mut Vec<Vec<u8>>) {
        let mut buffer = vec![0; 4_096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => sent.push(packet.to_vec()),
                Output::Timeout(due) => {
                    self.dtls_timeout = Some(due);
                    return;
                }
                Output::Connected => self.is_connected = true,
                Output::CloseNotify => self.is_closed = true,
                Output::KeyingMaterial(material, profile) => self.set_keys(&material, profile),
                Output::ApplicationData(data) => {
                    if let Some(sctp) = &mut self.sctp {
                        sctp.handle_packet(now, data);
                    }
                }
                _ => {}
            }
        }
    }

    fn set_keys(&mut self, material: &[u8], profile: dimpl::SrtpProfile) {
        let profile = match profile {
            dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            _ => Profile::Aes128CmSha1_80,
        };
        let (client, server) = MasterKey::pair_from_dtls(profile, material).unwrap();
        let (local, remote) = match self.dtls_role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        self.profile = Some(profile);
        self.srtp = Some((Outbound::new(&local), Inbound::new(&remote)));
    }
}

/// One ICE check, right unless told otherwise.
pub struct Check {
    pub transaction: u64,
    pub username: Option<String>,
    pub pwd: Option<&'static str>,
    pub nominates: bool,
    pub controlled: bool,
    pub unknown: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            transaction: 1,
            username: Some(format!("{LOCAL_UFRAG}:{REMOTE_UFRAG}")),
            pwd: Some(LOCAL_PWD),
            nominates: false,
            controlled: false,
            unknown: false,
        }
    }
}

impl Check {
    pub fn bytes(self) -> Vec<u8> {
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.transaction.to_be_bytes());
        let mut room = [0; 512];
        let mut writer = MessageWriter::new(&mut room, Class::Request, Method::BINDING, TransactionId(id));
        if let Some(username) = &self.username {
            writer = writer.username(username);
        }
        writer = writer.priority(1_862_270_975);
        writer = if self.controlled {
            writer.ice_controlled(9)
        } else {
            writer.ice_controlling(9)
        };
        if self.nominates {
            writer = writer.use_candidate();
        }
        if self.unknown {
            writer = writer.attribute(voex_stun::AttributeType(0x7777), &[1, 2, 3]);
        }
        if let Some(pwd) = self.pwd {
            writer = writer.message_integrity(&IntegrityKey::new(pwd.as_bytes()));
        }
        let len = writer.fingerprint().finish().unwrap();
        room[..len].to_vec()
    }
}

/// The transport under test, its remote, and the datagrams between them.
pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub transport: Transport,
    pub remote: Remote,
    pub metrics: Arc<Metrics>,
    pub events: Vec<Event>,
    pub received: Vec<Received>,
    /// Events of data channels; taken at once unless `reads_data` is off.
    pub data: Vec<DataEvent>,
    pub reads_data: bool,
    /// Of a hundred datagrams, how many are lost.
    pub loss: u64,
    /// Delay of one way; each datagram gets up to the same again, so that they overtake each other.
    pub delay: Duration,
    flight: Vec<(Instant, Heading, Vec<u8>)>,
    rng: Rng,
}

#[derive(Clone, Copy)]
enum Heading {
    ToTransport,
    ToRemote,
}

impl World {
    /// `role` is ours.
    pub fn new(role: DtlsRole, seed: u64) -> Self {
        let now = Instant::now();
        let metrics = Arc::new(Metrics::default());
        let remote = match role {
            DtlsRole::Client => Remote::new(now, DtlsRole::Server, seed),
            DtlsRole::Server => Remote::new(now, DtlsRole::Client, seed),
        };
        Self {
            start: now,
            now,
            transport: transport(now, &metrics),
            remote,
            metrics,
            events: Vec::new(),
            received: Vec::new(),
            data: Vec::new(),
            reads_data: true,
            loss: 0,
            delay: Duration::from_millis(10),
            flight: Vec::new(),
            rng: Rng::from_number(seed),
        }
    }

    pub fn set_remote(&mut self) {
        let parameters = self.remote.parameters();
        self.with_transport(|transport, now, out| transport.set_remote(now, parameters, out));
    }

    /// A pair of both in which everything is up.
    pub fn up(role: DtlsRole) -> Self {
        let mut world = Self::new(role, 1);
        world.set_remote();
        world.run(Duration::from_secs(5));
        assert!(world.is_up(), "{:?}", world.events);
        world
    }

    pub fn is_up(&self) -> bool {
        self.transport.is_up() && self.remote.is_connected
    }

    pub fn at(&self) -> Duration {
        self.now - self.start
    }

    /// Lets everything happen that happens within `duration`.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = [
                self.flight.iter().map(|(at, ..)| *at).min(),
                self.transport.poll_timeout(),
                self.remote.poll_timeout(),
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(due) = self.flight.iter().position(|(at, ..)| *at <= now) {
            let (_, heading, data) = self.flight.remove(due);
            match heading {
                Heading::ToTransport => self.deliver(self.remote.address, data),
                Heading::ToRemote => self.with_remote(|remote, sent| remote.handle_datagram(now, &data, sent)),
            }
        }
        if self.transport.poll_timeout().is_some_and(|due| due <= now) {
            self.with_transport(|transport, now, out| transport.handle_timeout(now, out));
        }
        if self.remote.poll_timeout().is_some_and(|due| due <= now) {
            self.with_remote(|remote, sent| remote.handle_timeout(now, sent));
        }
    }

    /// Hands a datagram to the transport at once.
    pub fn deliver(&mut self, from: SocketAddr, mut data: Vec<u8>) {
        let received =
            self.with_transport(|transport, now, out| transport.handle_datagram(now, SOCKET, from, &mut data, out));
        self.received.push(received);
    }

    /// As [`deliver`](Self::deliver); gives what became of it and what was sent because of it.
    pub fn exchange(&mut self, from: SocketAddr, mut data: Vec<u8>) -> (Received, Vec<Vec<u8>>) {
        let mut out = VecOutbox::default();
        let received = self
            .transport
            .handle_datagram(self.now, SOCKET, from, &mut data, &mut out);
        self.take_events();
        (received, out.sent.into_iter().map(|(_, _, data)| data).collect())
    }

    pub fn send_to_transport(&mut self, data: Vec<u8>) {
        self.send(Heading::ToTransport, data);
    }

    pub fn with_transport<T>(&mut self, act: impl FnOnce(&mut Transport, Instant, &mut VecOutbox) -> T) -> T {
        let mut out = VecOutbox::default();
        let given = act(&mut self.transport, self.now, &mut out);
        while self.reads_data
            && let Some(event) = self.transport.poll_data(self.now, &mut out)
        {
            self.data.push(event);
        }
        for (socket, to, data) in out.sent {
            assert_eq!(socket, SOCKET);
            if to == self.remote.address {
                self.send(Heading::ToRemote, data);
            }
        }
        self.take_events();
        given
    }

    pub fn with_remote(&mut self, act: impl FnOnce(&mut Remote, &mut Vec<Vec<u8>>)) {
        let mut sent = Vec::new();
        act(&mut self.remote, &mut sent);
        for data in sent {
            self.send(Heading::ToTransport, data);
        }
    }

    fn send(&mut self, heading: Heading, data: Vec<u8>) {
        if self.rng.below(100) < self.loss {
            return;
        }
        let jitter = self.delay.mul_f64(self.rng.below(1_000) as f64 / 1_000.0);
        self.flight.push((self.now + self.delay + jitter, heading, data));
    }

    fn take_events(&mut self) {
        while let Some(event) = self.transport.poll_event() {
            self.events.push(event);
        }
    }

    /// Events without those about addresses.
    pub fn outcome(&self) -> Vec<Event> {
        let is_outcome = |event: &&Event| matches!(event, Event::Up | Event::Down(_));
        self.events.iter().filter(is_outcome).copied().collect()
    }
}

pub fn transport(now: Instant, metrics: &Arc<Metrics>) -> Transport {
    let config = Config {
        local_ufrag: LOCAL_UFRAG.to_owned(),
        local_pwd: LOCAL_PWD.to_owned(),
        certificate: Arc::new(Certificate::generate().unwrap()),
        timeouts: Timeouts::default(),
        metrics: Arc::clone(metrics),
    };
    Transport::new(config, now)
}

pub fn rtp(sequence_number: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 42]);
    packet.extend(payload);
    packet
}

pub fn rtcp() -> Vec<u8> {
    vec![0x81, 206, 0, 2, 0, 0, 0, 42, 0, 0, 0, 43]
}

pub fn with_room(packet: &[u8]) -> Vec<u8> {
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + PROTECT_OVERHEAD_BYTES, 0);
    buf
}

/// Protects with `protect` and cuts to length.
pub fn sealed<E: std::fmt::Debug>(
    packet: &[u8],
    protect: impl FnOnce(&mut [u8], usize) -> Result<usize, E>,
) -> Vec<u8> {
    let mut buf = with_room(packet);
    let len = protect(&mut buf, packet.len()).unwrap();
    buf.truncate(len);
    buf
}

pub fn error_code(answer: &[u8]) -> Option<ErrorCode> {
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.class(), Class::Error);
    answer.error_code().unwrap()
}
