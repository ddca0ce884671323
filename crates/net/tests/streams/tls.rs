//! TLS over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType, SignatureAlgorithm};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};
use voex_base::Protocol;
use voex_net::{DropReason, HandshakeFailure, Identity, STREAM_QUEUE_BYTES_MAX, StreamEnd};
use voex_turn::TlsSession;

use crate::plane::{Client, PATIENCE, Plane, ask, connect, peer, read_message, receive};
use crate::turn_client::success;

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A self-signed certificate for an address of the tests, and what trusts it.
pub(crate) struct Host {
    identity: Identity,
    certificate: CertificateDer<'static>,
}

impl Host {
    pub(crate) fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = (1..=40)
            .map(|host| SanType::IpAddress(IpAddr::from([127, 91, 1, host])))
            .collect();
        let certificate = CertificateDer::from(params.self_signed(&key).unwrap());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self {
            identity: Identity::new(vec![certificate.clone()], key, &Protocol::ALL).unwrap(),
            certificate,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn plane(&self, host: u8, workers: usize) -> Plane {
        Plane::start_at([127, 91, 1, host].into(), workers, Some(self.identity.clone()))
    }

    pub(crate) fn trusting(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"stun.turn".to_vec()];
        Arc::new(config)
    }
}

pub(crate) fn connect_tls(plane: &Plane, config: &Arc<ClientConfig>) -> TlsStream {
    let connection = ClientConnection::new(config.clone(), ServerName::from(plane.ip)).unwrap();
    let mut stream = StreamOwned::new(connection, connect(plane));
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("the handshake succeeds");
    }
    stream
}

fn relays_over(host: u8, algorithm: &'static SignatureAlgorithm, version: &'static SupportedProtocolVersion) {
    let us = Host::new(algorithm);
    let mut plane = us.plane(host, 1);
    let mut client = Client::allocate_over(connect_tls(&plane, &us.trusting(version)));
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"stun.turn"[..]));
    let path = plane.next_path();
    assert_eq!((path.protocol, path.local), (Protocol::Tls, plane.listener()));
    let rsa = algorithm == &PKCS_RSA_SHA256;
    let expected = match (version == &TLS13, rsa) {
        (true, _) => ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (false, true) => ("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384"),
        (false, false) => ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    };
    let TlsSession { version, cipher } = path.tls.unwrap();
    assert_eq!((version, cipher), expected);
    let peer = peer(&plane);
    client.bind(0x4000, peer.local_addr().unwrap());
    for burst in 0..10u8 {
        for n in 0..32u8 {
            client.send(0x4000, &vec![n; 601 + usize::from(burst)]);
        }
        for n in 0..32u8 {
            let (payload, from) = receive(&peer);
            assert_eq!((payload[0], payload.len()), (n, 601 + usize::from(burst)));
            peer.send_to(&payload, from).unwrap();
        }
        for n in 0..32u8 {
            assert_eq!(client.receive(0x4000), vec![n; 601 + usize::from(burst)]);
        }
    }
}

#[test]
fn a_client_relays_over_tls_1_3_with_an_ecdsa_certificate() {
    relays_over(1, &PKCS_ECDSA_P256_SHA256, &TLS13);
}

#[test]
fn a_client_relays_over_tls_1_3_with_an_rsa_certificate() {
    relays_over(2, &PKCS_RSA_SHA256, &TLS13);
}

#[test]
fn a_client_relays_over_tls_1_2_with_an_ecdsa_certificate() {
    relays_over(3, &PKCS_ECDSA_P256_SHA256, &TLS12);
}

#[test]
fn a_client_relays_over_tls_1_2_with_an_rsa_certificate() {
    relays_over(4, &PKCS_RSA_SHA256, &TLS12);
}

#[test]
fn plain_and_tls_clients_share_a_port() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let mut plane = us.plane(5, 1);
    let _plain = Client::allocate(&plane);
    assert_eq!(plane.next_path().protocol, Protocol::Tcp);
    let _sealed = Client::allocate_over(connect_tls(&plane, &us.trusting(&TLS13)));
    assert_eq!(plane.next_path().protocol, Protocol::Tls);
    let open = |m: &voex_net::Metrics| (m.tcp_streams.value(), m.tls_streams.value());
    assert_eq!(open(plane.workers.metrics(voex_base::WorkerId(0))), (1, 1));
}

#[test]
fn what_is_switched_off_is_closed_and_the_other_served() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let start =
        |host, protocol| Plane::start_with([127, 91, 1, host].into(), 1, Some(us.identity.clone()), &[protocol]);
    let ended = |m: &voex_net::Metrics| m.streams_ended.of(StreamEnd::ProtocolOff).value();
    let mut nothing = Vec::new();

    let tls_only = start(16, Protocol::Tls);
    let mut plain = connect(&tls_only);
    plain
        .write_all(&crate::turn_client::TurnClient::new().allocate())
        .unwrap();
    assert!(plain.read_to_end(&mut nothing).is_err() || nothing.is_empty());
    Client::allocate_over(connect_tls(&tls_only, &us.trusting(&TLS13)));
    assert_eq!(tls_only.sum(ended), 1);

    let plain_only = start(17, Protocol::Tcp);
    let connection = ClientConnection::new(us.trusting(&TLS13), ServerName::from(plain_only.ip)).unwrap();
    let mut sealed = StreamOwned::new(connection, connect(&plain_only));
    assert!(sealed.conn.complete_io(&mut sealed.sock).is_err());
    Client::allocate(&plain_only);
    assert_eq!(plain_only.sum(ended), 1);
}

#[test]
fn a_second_session_is_resumed_in_both_versions() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(6, 2);
    for version in [&TLS13, &TLS12] {
        let config = us.trusting(version);
        let first = Client::allocate_over(connect_tls(&plane, &config));
        assert_eq!(first.stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        let second = connect_tls(&plane, &config);
        assert_eq!(
            second.conn.handshake_kind(),
            Some(HandshakeKind::Resumed),
            "{version:?}"
        );
    }
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_drops_no_session() {
    let (old, new) = (Host::new(&PKCS_ECDSA_P256_SHA256), Host::new(&PKCS_RSA_SHA256));
    let plane = old.plane(7, 2);
    let peer = peer(&plane);
    let mut clients: Vec<_> = (0..10)
        .map(|_| Client::allocate_over(connect_tls(&plane, &old.trusting(&TLS13))))
        .collect();
    for client in &mut clients {
        client.bind(0x4000, peer.local_addr().unwrap());
    }
    plane.workers.set_identity(&new.identity).unwrap();
    for round in 0..20u8 {
        for client in &mut clients {
            client.send(0x4000, &[round; 100]);
            let (payload, from) = receive(&peer);
            peer.send_to(&payload, from).unwrap();
            assert_eq!(client.receive(0x4000), [round; 100]);
        }
        // Each of these trusts the new certificate alone.
        let mut fresh = connect_tls(&plane, &new.trusting(&TLS13));
        drop(fresh.flush());
    }
    assert_eq!(plane.allocations(), 10);
    let ended = plane.sum(|m| m.streams_ended.of(StreamEnd::TlsBroken).value());
    assert_eq!(ended, 0);
}

#[test]
fn a_client_that_does_not_trust_us_is_counted_as_such() {
    let (us, other) = (Host::new(&PKCS_ECDSA_P256_SHA256), Host::new(&PKCS_ECDSA_P256_SHA256));
    let plane = us.plane(8, 1);
    let connection = ClientConnection::new(other.trusting(&TLS13), ServerName::from(plane.ip)).unwrap();
    let mut stream = StreamOwned::new(connection, connect(&plane));
    assert!(stream.conn.complete_io(&mut stream.sock).is_err());
    let _ = stream.conn.complete_io(&mut stream.sock);
    plane.wait_for(
        "the failure is counted",
        |m| m.handshakes_failed.of(HandshakeFailure::RefusedByClient),
        1,
    );
    plane.wait_for(
        "the end is counted",
        |m| m.streams_ended.of(StreamEnd::HandshakeFailed),
        1,
    );
}

#[test]
fn a_handshake_that_is_none_gets_an_alert_and_an_end() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(9, 1);
    let mut stream = connect(&plane);
    stream.write_all(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).unwrap();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    plane.wait_for(
        "the failure is counted",
        |m| m.handshakes_failed.of(HandshakeFailure::Malformed),
        1,
    );
}

#[test]
fn a_handshake_may_come_byte_by_byte_and_an_endless_one_is_closed() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(10, 1);
    let mut connection = ClientConnection::new(us.trusting(&TLS13), ServerName::from(plane.ip)).unwrap();
    let mut socket = connect(&plane);
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    for byte in hello {
        socket.write_all(&[byte]).unwrap();
    }
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    // A ClientHello that says it is 8 MB long, in full records.
    let mut endless = connect(&plane);
    let mut record = vec![22, 3, 1, 0x40, 0x00, 1, 0x7f, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    while endless.write_all(&record).is_ok() {}
    plane.wait_for(
        "the end is counted",
        |m| m.streams_ended.of(StreamEnd::HandshakeFailed),
        1,
    );
}

#[test]
fn a_forged_record_ends_the_stream_and_its_allocation() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(11, 1);
    let mut client = Client::allocate_over(connect_tls(&plane, &us.trusting(&TLS13)));
    client
        .stream
        .sock
        .write_all(&[23, 3, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .unwrap();
    plane.wait_for("the end is counted", |m| m.streams_ended.of(StreamEnd::TlsBroken), 1);
    plane.wait("its allocation has ended", || plane.allocations() == 0);
}

#[test]
fn a_client_that_closes_its_session_is_answered_and_ended() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(12, 1);
    let mut client = Client::allocate_over(connect_tls(&plane, &us.trusting(&TLS13)));
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    let mut rest = Vec::new();
    // Without a close_notify from the server this would be an error.
    client.stream.read_to_end(&mut rest).unwrap();
    plane.wait("its allocation has ended", || plane.allocations() == 0);
}

#[test]
fn a_slow_reader_over_tls_loses_media_in_whole_messages() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(13, 1);
    let mut slow = Client::allocate_over(connect_tls(&plane, &us.trusting(&TLS13)));
    let peer = peer(&plane);
    let address = peer.local_addr().unwrap();
    slow.bind(0x4000, address);
    let lost = || plane.sum(|metrics| metrics.dropped.of(DropReason::StreamQueueFull).value());
    let received = || plane.sum(|metrics| metrics.received_packets.value());
    let mut sent = 0u32;
    while lost() < 1_000 {
        for _ in 0..16 {
            peer.send_to(&sent.to_be_bytes().repeat(300), slow.relayed).unwrap();
            sent += 1;
        }
        plane.wait("the train has arrived", || received() == u64::from(sent));
    }
    let request = slow.turn.channel_bind(0x4000, address);
    slow.stream.write_all(&request).unwrap();
    let mut heard = 0u32;
    loop {
        let message = read_message(&mut slow.stream);
        if message[0] == 0x01 {
            success(&message);
            break;
        }
        assert_eq!(message[4..], message[4..8].repeat(300));
        heard += 1;
    }
    assert!(
        heard as usize * 1_204 >= STREAM_QUEUE_BYTES_MAX,
        "{heard} messages heard"
    );
    assert_eq!(u64::from(heard) + lost(), u64::from(sent));
}

#[test]
fn what_a_pass_leaves_for_a_session_is_written_in_one_call() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(14, 1);
    let mut client = Client::allocate_over(connect_tls(&plane, &us.trusting(&TLS12)));
    let mut requests = Vec::new();
    for n in 0..20 {
        requests.extend(client.turn.channel_bind(0x4000 + n, (plane.ip, 4_000 + n).into()));
    }
    // One record of the client is one read, and so one pass: its answers are written together.
    let (mut before, mut after) = (0, 0);
    for _ in 0..5 {
        before = plane.sum(|m| m.stream_writes.value());
        client.stream.write_all(&requests).unwrap();
        for _ in 0..20 {
            success(&read_message(&mut client.stream));
        }
        after = plane.sum(|m| m.stream_writes.value());
    }
    assert_eq!(after - before, 1);
}

#[test]
fn handshakes_of_a_crowd_leave_media_its_turn() {
    let us = Host::new(&PKCS_RSA_SHA256);
    let plane = us.plane(15, 1);
    let mut client = Client::allocate(&plane);
    let peer = peer(&plane);
    client.bind(0x4000, peer.local_addr().unwrap());
    let config = us.trusting(&TLS12);
    let mut hellos = Vec::new();
    for _ in 0..200 {
        let mut connection = ClientConnection::new(config.clone(), ServerName::from(plane.ip)).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        hellos.push((connect(&plane), hello));
    }
    for (stream, hello) in &mut hellos {
        stream.write_all(hello).unwrap();
    }
    // All of them at once would take the worker 100 ms and more; each answer below waits for one pass at a time.
    let mut slowest = std::time::Duration::ZERO;
    for n in 0..20u8 {
        let asked = std::time::Instant::now();
        client.send(0x4000, &[n; 100]);
        assert_eq!(receive(&peer).0, [n; 100]);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < PATIENCE / 50, "a packet took {slowest:?}");
    for (stream, _) in &mut hellos {
        let mut first = [0];
        stream.read_exact(&mut first).expect("every client is answered");
        assert_eq!(first, [22]);
    }
    success(&ask(&mut client.stream, &client.turn.release()));
}
