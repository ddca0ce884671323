//! DTLS over UDP, with OpenSSL on the client's side.

use std::io::{self, ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use voex_base::Protocol;
use voex_net::{AssociationEnd, DropReason, HandshakeFailure, HelloRefusal, Metrics};
use voex_turn::TlsSession;

use crate::plane::{Client, PATIENCE, Plane, ask, peer, receive};
use crate::tls::Host;
use crate::turn_client::{TurnClient, read_channel_data, success};

/// `SSL_OP_NO_EXTENDED_MASTER_SECRET`, which the bindings do not name.
const NO_EXTENDED_MASTER_SECRET: SslOptions = SslOptions::from_bits_retain(1);

type DtlsStream = SslStream<Datagrams>;

/// A connected UDP socket: each read and each write is a datagram.
#[derive(Debug)]
struct Datagrams(UdpSocket);

impl Read for Datagrams {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.recv(room)
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.0.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes what trusts `host` alone.
fn trusting(host: &Host, options: SslOptions) -> SslContext {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(host.certificate()).unwrap()).unwrap();
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER);
    builder.set_options(options);
    builder.set_alpn_protos(b"\x08http/1.1\x09stun.turn").unwrap();
    builder.build()
}

fn socket(plane: &Plane) -> UdpSocket {
    let socket = UdpSocket::bind((plane.ip, 0)).unwrap();
    socket.connect(plane.listener()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn connect_dtls(plane: &Plane, context: &SslContext) -> DtlsStream {
    connect_from(socket(plane), context).expect("the handshake succeeds")
}

fn connect_from(socket: UdpSocket, context: &SslContext) -> Option<DtlsStream> {
    let mut ssl = Ssl::new(context).unwrap();
    ssl.set_mtu(1_200).unwrap();
    ssl.connect(Datagrams(socket)).ok()
}

/// Reads a record, which is a ChannelData message without padding; gives its payload.
fn heard(client: &mut Client<DtlsStream>) -> Vec<u8> {
    let mut room = [0; 2_000];
    let len = client.stream.read(&mut room).expect("a message arrives");
    let (channel, payload) = read_channel_data(&room[..len]);
    assert_eq!((channel, payload.len()), (0x4000, len - 4));
    payload.to_vec()
}

fn relays_over(host: u8, algorithm: &'static SignatureAlgorithm, options: SslOptions) {
    let us = Host::new(algorithm);
    let mut plane = us.plane(host, 2);
    let mut client = Client::allocate_over(connect_dtls(&plane, &trusting(&us, options)));
    assert_eq!(client.stream.ssl().selected_alpn_protocol(), Some(&b"stun.turn"[..]));
    let path = plane.next_path();
    assert_eq!((path.protocol, path.local), (Protocol::Dtls, plane.listener()));
    let cipher = match algorithm == &PKCS_RSA_SHA256 {
        true => "ECDHE-RSA-AES256-GCM-SHA384",
        false => "ECDHE-ECDSA-AES256-GCM-SHA384",
    };
    let TlsSession {
        version,
        cipher: agreed,
    } = path.tls.unwrap();
    assert_eq!((version, agreed), ("DTLSv1.2", cipher));
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
            assert_eq!(heard(&mut client), vec![n; 601 + usize::from(burst)]);
        }
    }
    success(&ask(&mut client.stream, &client.turn.release()));
}

#[test]
fn a_client_relays_over_dtls_with_an_ecdsa_certificate() {
    relays_over(21, &PKCS_ECDSA_P256_SHA256, SslOptions::empty());
}

#[test]
fn a_client_relays_over_dtls_with_an_rsa_certificate() {
    relays_over(22, &PKCS_RSA_SHA256, SslOptions::empty());
}

#[test]
fn a_client_without_extended_master_secret_relays_over_dtls() {
    relays_over(23, &PKCS_RSA_SHA256, NO_EXTENDED_MASTER_SECRET);
}

#[test]
fn plain_and_dtls_clients_share_a_socket() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let mut plane = us.plane(24, 1);
    let plain = socket(&plane);
    let mut turn = TurnClient::new();
    let ask = |request: &[u8]| {
        plain.send(request).unwrap();
        receive(&plain).0
    };
    let challenge = ask(&turn.allocate());
    turn.challenged(&challenge);
    success(&ask(&turn.allocate()));
    assert_eq!(plane.next_path().protocol, Protocol::Udp);
    let _sealed = Client::allocate_over(connect_dtls(&plane, &trusting(&us, SslOptions::empty())));
    assert_eq!(plane.next_path().protocol, Protocol::Dtls);
    assert_eq!(plane.gauge(|m| m.associations.value()), 1);
}

#[test]
fn what_is_switched_off_is_not_answered_and_the_other_served() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let context = trusting(&us, SslOptions::empty());
    let start = |host, protocol| Plane::start_with([127, 91, 1, host].into(), 1, Some(us.identity()), &[protocol]);

    let dtls_only = start(25, Protocol::Dtls);
    socket(&dtls_only).send(&TurnClient::new().allocate()).unwrap();
    dtls_only.wait_for("plain UDP is dropped", |m| m.dropped.of(DropReason::ProtocolOff), 1);
    Client::allocate_over(connect_dtls(&dtls_only, &context));

    let udp_only = start(26, Protocol::Udp);
    let silent = socket(&udp_only);
    silent.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(connect_from(silent, &context).is_none());
    assert_eq!(udp_only.sum(|m| m.dtls_cookies.value()), 0);
    let plain = socket(&udp_only);
    plain.send(&TurnClient::new().allocate()).unwrap();
    assert!(!receive(&plain).0.is_empty());
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_drops_no_association() {
    let (old, new) = (Host::new(&PKCS_ECDSA_P256_SHA256), Host::new(&PKCS_RSA_SHA256));
    let plane = old.plane(27, 2);
    let peer = peer(&plane);
    let (of_old, of_new) = (trusting(&old, SslOptions::empty()), trusting(&new, SslOptions::empty()));
    let mut clients: Vec<_> = (0..10)
        .map(|_| Client::allocate_over(connect_dtls(&plane, &of_old)))
        .collect();
    for client in &mut clients {
        client.bind(0x4000, peer.local_addr().unwrap());
    }
    plane.workers.set_identity(&new.identity()).unwrap();
    for round in 0..5u8 {
        for client in &mut clients {
            client.send(0x4000, &[round; 100]);
            let (payload, from) = receive(&peer);
            peer.send_to(&payload, from).unwrap();
            assert_eq!(heard(client), [round; 100]);
        }
        // Each of these trusts the new certificate alone.
        connect_dtls(&plane, &of_new);
    }
    assert_eq!(plane.allocations(), 10);
    let ended = |end| plane.sum(|m: &Metrics| m.associations_ended.of(end).value());
    assert_eq!((ended(AssociationEnd::Broken), ended(AssociationEnd::Idle)), (0, 0));
}

#[test]
fn a_client_that_does_not_trust_us_is_counted_as_such() {
    let (us, other) = (Host::new(&PKCS_ECDSA_P256_SHA256), Host::new(&PKCS_ECDSA_P256_SHA256));
    let plane = us.plane(28, 1);
    assert!(connect_from(socket(&plane), &trusting(&other, SslOptions::empty())).is_none());
    plane.wait_for(
        "the failure is counted",
        |m| m.handshakes_failed.of(HandshakeFailure::RefusedByClient),
        1,
    );
}

#[test]
fn a_client_with_no_cipher_of_ours_is_told_and_counted() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(29, 1);
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder.set_cipher_list("AES128-SHA").unwrap();
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2)).unwrap();
    let asked = Instant::now();
    assert!(connect_from(socket(&plane), &builder.build()).is_none());
    assert!(asked.elapsed() < PATIENCE, "an alert came");
    plane.wait_for(
        "the failure is counted",
        |m| m.handshakes_failed.of(HandshakeFailure::Incompatible),
        1,
    );
}

#[test]
fn a_client_that_closes_ends_its_allocation() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(30, 1);
    let mut client = Client::allocate_over(connect_dtls(&plane, &trusting(&us, SslOptions::empty())));
    client.stream.shutdown().unwrap();
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "the server closes too");
    plane.wait("its allocation has ended", || plane.allocations() == 0);
    plane.wait_for(
        "the end is counted",
        |m| m.associations_ended.of(AssociationEnd::ClosedByClient),
        1,
    );
}

#[test]
fn a_client_that_starts_anew_from_the_same_port_is_served_and_its_former_allocation_ends() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(31, 2);
    let context = trusting(&us, SslOptions::empty());
    let socket = socket(&plane);
    let again = socket.try_clone().unwrap();
    let former = Client::allocate_over(connect_from(socket, &context).unwrap());
    // It crashes, and says nothing.
    let fresh = connect_from(again, &context).expect("the handshake succeeds");
    plane.wait("the former allocation has ended", || plane.allocations() == 0);
    let fresh = Client::allocate_over(fresh);
    assert_ne!(fresh.relayed, former.relayed);
    assert_eq!(
        plane.sum(|m| m.associations_ended.of(AssociationEnd::Replaced).value()),
        1
    );
    assert_eq!(plane.allocations(), 1);
}

#[test]
fn a_crowd_is_served_while_media_goes_on() {
    let us = Host::new(&PKCS_RSA_SHA256);
    let plane = us.plane(32, 1);
    let mut client = Client::allocate(&plane);
    let peer = peer(&plane);
    client.bind(0x4000, peer.local_addr().unwrap());
    let context = trusting(&us, SslOptions::empty());
    let crowd: Vec<_> = (0..100)
        .map(|_| (socket(&plane), context.clone()))
        .map(|(socket, context)| std::thread::spawn(move || connect_from(socket, &context)))
        .collect();
    while !crowd.iter().all(std::thread::JoinHandle::is_finished) {
        client.send(0x4000, &[7; 100]);
        assert_eq!(receive(&peer).0, [7; 100]);
    }
    assert!(
        crowd.into_iter().all(|one| one.join().unwrap().is_some()),
        "each is served"
    );
    assert_eq!(plane.sum(|m| m.dtls_handshakes.value()), 100);
}

#[test]
fn each_of_four_ports_serves_dtls_over_ipv4_and_ipv6() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let context = trusting(&us, SslOptions::empty());
    for ip in ["127.91.1.34", "::1"] {
        let plane = Plane::start_on(ip.parse().unwrap(), 4, 2, Some(us.identity()), &Protocol::ALL);
        let listeners = plane.workers.turn_listeners();
        assert_eq!(listeners.len(), 4);
        for listener in listeners {
            let socket = UdpSocket::bind((plane.ip, 0)).unwrap();
            socket.connect(listener).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut stream = connect_from(socket, &context).expect("the handshake succeeds");
            assert!(
                !ask(&mut stream, &TurnClient::new().allocate()).is_empty(),
                "{listener}"
            );
        }
        assert_eq!(plane.gauge(|m| m.associations.value()), 4);
    }
}

#[test]
fn a_process_that_stops_tells_its_clients() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(35, 1);
    let mut client = Client::allocate_over(connect_dtls(&plane, &trusting(&us, SslOptions::empty())));
    plane.workers.stop().unwrap();
    assert_eq!(client.stream.read(&mut [0; 10]).unwrap(), 0, "the server has closed");
}

#[test]
fn without_a_certificate_there_is_no_dtls() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = Plane::start(33, 1);
    let silent = socket(&plane);
    silent.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut ssl = Ssl::new(&trusting(&us, SslOptions::empty())).unwrap();
    ssl.set_connect_state();
    let mut stream = SslStream::new(ssl, Datagrams(silent)).unwrap();
    let error = stream.do_handshake().unwrap_err();
    assert_eq!(error.io_error().map(io::Error::kind), Some(ErrorKind::WouldBlock));
    assert_eq!(plane.sum(|m| m.dtls_refused.of(HelloRefusal::NoIdentity).value()), 1);
}
