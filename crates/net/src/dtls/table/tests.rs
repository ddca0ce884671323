use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use openssl::ssl::{ErrorCode, Ssl, SslMethod, SslStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use voex_base::VecOutbox;

use super::super::client_hello::tests::hello;
use super::super::session::context;
use super::*;

const LISTENER: SocketId = SocketId(3);

/// A table with one listener, in a world where every datagram is carried by hand.
struct Bench {
    associations: Associations,
    metrics: Arc<Metrics>,
    out: VecOutbox,
    now: Instant,
}

/// A client that sends into nowhere.
struct Client {
    stream: SslStream<Pipe>,
    address: SocketAddr,
}

#[derive(Default)]
struct Pipe {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Read for Pipe {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        room[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self::with_groups(address, "X25519:P-256:P-384:P-521")
    }

    fn with_groups(address: SocketAddr, groups: &str) -> Self {
        let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
        builder.set_groups_list(groups).unwrap();
        let mut ssl = Ssl::new(&builder.build()).unwrap();
        ssl.set_connect_state();
        ssl.set_mtu(1_200).unwrap();
        Self {
            stream: SslStream::new(ssl, Pipe::default()).unwrap(),
            address,
        }
    }

    /// Takes what came, and gives what it sends then.
    fn shake(&mut self) -> Vec<Vec<u8>> {
        if let Err(error) = self.stream.do_handshake() {
            assert_eq!(error.code(), ErrorCode::WANT_READ, "{error}");
        }
        self.sent()
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.stream.get_mut().outgoing)
    }

    fn is_done(&self) -> bool {
        self.stream.ssl().is_init_finished()
    }

    fn say(&mut self, message: &[u8]) -> Vec<u8> {
        self.stream.ssl_write(message).unwrap();
        self.sent().remove(0)
    }

    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut room = [0; 2_000];
        let len = self.stream.ssl_read(&mut room).ok()?;
        Some(room[..len].to_vec())
    }
}

impl Bench {
    fn new() -> Self {
        let metrics = Arc::<Metrics>::default();
        let secrets = Secrets {
            table_seed: 1,
            cookie: [1; 32],
        };
        let mut associations = Associations::new(WorkerId(3), secrets, metrics.clone());
        associations.listen(LISTENER, (Ipv4Addr::LOCALHOST, 5349).into());
        let key = KeyPair::generate().unwrap();
        // Longer than a datagram.
        let names: Vec<_> = (0..200).map(|n| format!("host-{n}.example.org")).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        associations.set_context(context(&[certificate.into()], &key).unwrap());
        Self {
            associations,
            metrics,
            out: VecOutbox::default(),
            now: Instant::now(),
        }
    }

    /// Takes datagrams as one pass would; gives what is sent then, and what the messages say.
    fn take(&mut self, client: SocketAddr, datagrams: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut messages = Vec::new();
        for datagram in datagrams {
            let heard = self
                .associations
                .receive(LISTENER, client, datagram, self.now, &mut self.out);
            let Some(id) = heard else { continue };
            let mut room = [0; ROOM_BYTES];
            let mut unread = &datagram[..];
            while let Some(len) = self.associations.read(id, unread, &mut room, self.now, &mut self.out) {
                messages.push(room[..len].to_vec());
                unread = &[];
            }
        }
        while self.associations.has_waiting() {
            self.associations.shake_hands(self.now, &mut self.out);
        }
        (self.sent(), messages)
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.out.sent.drain(..).map(|(_, _, datagram)| datagram).collect()
    }

    /// Carries datagrams between both until the handshake is over; `disturb` does to each flight what a network may.
    fn shake(&mut self, client: &mut Client, disturb: impl Fn(&mut Vec<Vec<u8>>)) {
        for _ in 0..10 {
            let mut flight = client.shake();
            disturb(&mut flight);
            let (mut answer, _) = self.take(client.address, &flight);
            disturb(&mut answer);
            client.stream.get_mut().incoming.extend(answer);
        }
        client.shake();
        assert!(client.is_done(), "the handshake is over");
    }

    fn connect(&mut self, port: u16) -> Client {
        let mut client = Client::new((Ipv4Addr::LOCALHOST, port).into());
        self.shake(&mut client, |_| {});
        let opened = self.associations.poll_opened().unwrap();
        assert_eq!((opened.id, opened.client), (self.id_of(&client), client.address));
        client
    }

    /// Has a client say its hello with a good cookie, and hear what that is answered with.
    fn greet(&mut self, port: u16) -> Client {
        let mut client = Client::new((Ipv4Addr::LOCALHOST, port).into());
        for _ in 0..2 {
            let flight = client.shake();
            let (answer, _) = self.take(client.address, &flight);
            client.stream.get_mut().incoming.extend(answer);
        }
        client
    }

    fn id_of(&self, client: &Client) -> SocketId {
        let key = FiveTuple {
            socket: LISTENER,
            client: client.address,
        };
        let slot = self.associations.by_client[&key].standing.expect("it stands");
        self.associations.slots[slot].id
    }

    /// Passes a message each way.
    fn talk(&mut self, client: &mut Client) {
        let datagram = client.say(b"from the client");
        let (_, messages) = self.take(client.address, &[datagram]);
        assert_eq!(messages, [b"from the client"]);
        let id = self.id_of(client);
        let (socket, to, record) = self.associations.seal(id, b"to the client").unwrap();
        assert_eq!((socket, to), (LISTENER, client.address));
        client.stream.get_mut().incoming.push_back(record.to_vec());
        assert_eq!(client.hear().unwrap(), b"to the client");
    }

    /// Takes a hello that has a good cookie and says `random`, without answering it.
    fn hear_hello(&mut self, port: u16, random: u8) {
        self.hear_hello_of((Ipv4Addr::LOCALHOST, port).into(), random);
    }

    fn hear_hello_of(&mut self, client: SocketAddr, random: u8) {
        let local = (Ipv4Addr::LOCALHOST, 5349).into();
        let said = |number, cookie: &[u8]| {
            let mut said = hello(number, number as u16, cookie);
            said[27] = random;
            said
        };
        let bare = said(0, &[]);
        let bare = ClientHello::parse(&bare).unwrap();
        let cookie = self.associations.cookies.issue(self.now, local, client, &bare);
        self.associations
            .receive(LISTENER, client, &said(1, &cookie), self.now, &mut self.out);
    }

    fn expire(&mut self, after: Duration, serves: bool) {
        self.now += after;
        self.associations.expire(self.now, |_| serves, &mut self.out);
    }

    fn refused(&self, refusal: HelloRefusal) -> u64 {
        self.metrics.dtls_refused.of(refusal).value()
    }

    fn failed(&self, failure: HandshakeFailure) -> u64 {
        self.metrics.handshakes_failed.of(failure).value()
    }

    fn ended(&self, end: AssociationEnd) -> u64 {
        self.metrics.associations_ended.of(end).value()
    }
}

#[test]
fn hellos_from_anywhere_without_cookies_leave_nothing() {
    let mut bench = Bench::new();
    let hello = hello(0, 0, &[]);
    for client in 0..100_000_u32 {
        let client = (Ipv4Addr::from(0x0a00_0000 | client), 4_000).into();
        let heard = bench
            .associations
            .receive(LISTENER, client, &hello, bench.now, &mut bench.out);
        assert_eq!(heard, None);
        let (socket, to, answer) = bench.out.sent.pop().unwrap();
        assert_eq!((socket, to), (LISTENER, client));
        assert!(answer.len() < hello.len());
    }
    assert_eq!(bench.metrics.dtls_cookies.value(), 100_000);
    assert_eq!(bench.associations.slots.capacity(), 0);
    assert_eq!(bench.associations.by_client.capacity(), 0);
    assert_eq!(bench.associations.next_deadline(), None);
}

#[test]
fn a_hello_with_a_cookie_of_another_client_gets_one_of_its_own_and_no_association() {
    let mut bench = Bench::new();
    let mut client = Client::new((Ipv4Addr::LOCALHOST, 4_000).into());
    let first = client.shake();
    let (answer, _) = bench.take(client.address, &first);
    client.stream.get_mut().incoming.extend(answer);
    let second = client.shake();
    let (answer, _) = bench.take((Ipv4Addr::LOCALHOST, 4_001).into(), &second);
    assert_eq!((answer.len(), answer[0][13]), (1, 3), "a HelloVerifyRequest");
    assert!(bench.associations.slots.is_empty());
    let (answer, _) = bench.take(client.address, &second);
    assert_eq!(answer[0][13], 2, "a ServerHello");
}

#[test]
fn messages_pass_both_ways() {
    let mut bench = Bench::new();
    let mut client = bench.connect(4_000);
    bench.talk(&mut client);
    assert_eq!(bench.metrics.associations.value(), 1);
}

#[test]
fn a_cookie_that_is_too_old_costs_a_round_trip_more() {
    let mut bench = Bench::new();
    let mut client = Client::new((Ipv4Addr::LOCALHOST, 4_000).into());
    let first = client.shake();
    let (answer, _) = bench.take(client.address, &first);
    client.stream.get_mut().incoming.extend(answer);
    bench.now += Duration::from_secs(120);
    bench.shake(&mut client, |_| {});
    assert_eq!(bench.metrics.dtls_cookies.value(), 2);
    bench.talk(&mut client);
}

#[test]
fn a_handshake_goes_well_with_datagrams_twice_and_in_any_order() {
    let twice: fn(&mut Vec<Vec<u8>>) = |flight| flight.extend(flight.clone());
    let backwards: fn(&mut Vec<Vec<u8>>) = |flight| flight.reverse();
    let both: fn(&mut Vec<Vec<u8>>) = |flight| {
        flight.extend(flight.clone());
        flight.reverse();
    };
    for disturb in [twice, backwards, both] {
        let mut bench = Bench::new();
        let mut client = Client::new((Ipv4Addr::LOCALHOST, 4_000).into());
        bench.shake(&mut client, disturb);
        bench.talk(&mut client);
        assert_eq!(bench.associations.slots.len(), 1);
    }
}

#[test]
fn what_is_lost_of_a_handshake_is_sent_again() {
    let mut bench = Bench::new();
    let mut client = Client::new((Ipv4Addr::LOCALHOST, 4_000).into());
    let first = client.shake();
    let (answer, _) = bench.take(client.address, &first);
    client.stream.get_mut().incoming.extend(answer);
    let second = client.shake();
    let (lost, _) = bench.take(client.address, &second);
    bench.expire(LOOK_EVERY, false);
    assert!(bench.sent().is_empty(), "it is too early");
    std::thread::sleep(Duration::from_millis(1_050));
    bench.expire(LOOK_EVERY, false);
    let again = bench.sent();
    assert!(again.len() >= lost.len(), "all of it");
    client.stream.get_mut().incoming.extend(again);
    bench.shake(&mut client, |_| {});
    bench.talk(&mut client);
}

#[test]
fn records_that_are_forged_or_come_twice_are_passed_over() {
    let mut bench = Bench::new();
    let mut client = bench.connect(4_000);
    let datagram = client.say(b"once");
    let (_, messages) = bench.take(client.address, &[datagram.clone(), datagram.clone()]);
    assert_eq!(messages, [b"once"]);
    for at in 0..datagram.len() {
        let mut forged = client.say(b"unheard");
        forged[at % datagram.len()] ^= 1;
        let (_, messages) = bench.take(client.address, &[forged]);
        assert_eq!(messages.len(), 0, "byte {at}");
    }
    bench.talk(&mut client);
}

#[test]
fn late_messages_and_several_in_a_datagram_are_heard() {
    let mut bench = Bench::new();
    let mut client = bench.connect(4_000);
    let said: Vec<_> = (0..4u8).map(|n| client.say(&[n; 100])).collect();
    let (_, messages) = bench.take(
        client.address,
        &[said[2].clone(), said[0].clone(), [&said[1][..], &said[3]].concat()],
    );
    assert_eq!(messages, [[2; 100], [0; 100], [1; 100], [3; 100]]);
}

#[test]
fn a_client_that_closes_is_answered_and_forgotten() {
    let mut bench = Bench::new();
    let mut client = bench.connect(4_000);
    let id = bench.id_of(&client);
    client.stream.shutdown().unwrap();
    let goodbye = client.sent();
    let (answer, _) = bench.take(client.address, &goodbye);
    assert_eq!((answer.len(), answer[0][0]), (1, 21), "an alert");
    assert_eq!(bench.associations.poll_ended(), Some(id));
    assert_eq!(bench.ended(AssociationEnd::ClosedByClient), 1);
    assert!(bench.associations.slots.is_empty() && bench.associations.by_client.is_empty());
    assert!(bench.associations.seal(id, b"late").is_none());
}

#[test]
fn a_new_handshake_from_the_same_port_replaces_an_association_when_it_is_over_and_not_before() {
    let mut bench = Bench::new();
    let mut old = bench.connect(4_000);
    let id = bench.id_of(&old);
    let mut new = Client::new(old.address);
    for _ in 0..2 {
        let flight = new.shake();
        let (answer, _) = bench.take(new.address, &flight);
        new.stream.get_mut().incoming.extend(answer);
        bench.talk(&mut old);
    }
    assert_eq!(bench.associations.slots.len(), 2);
    bench.shake(&mut new, |_| {});
    assert_eq!(bench.associations.poll_ended(), Some(id));
    assert_eq!(bench.ended(AssociationEnd::Replaced), 1);
    assert_eq!(bench.associations.slots.len(), 1);
    bench.talk(&mut new);
}

#[test]
fn the_hello_of_an_association_said_again_disturbs_nothing() {
    let mut bench = Bench::new();
    let mut client = Client::new((Ipv4Addr::LOCALHOST, 4_000).into());
    let first = client.shake();
    let (answer, _) = bench.take(client.address, &first);
    client.stream.get_mut().incoming.extend(answer);
    let second = client.shake();
    let (answer, _) = bench.take(client.address, &second);
    client.stream.get_mut().incoming.extend(answer);
    bench.shake(&mut client, |_| {});
    let (answer, messages) = bench.take(client.address, &[second, first].concat());
    assert_eq!((answer.len(), messages.len()), (0, 0));
    assert_eq!(bench.associations.slots.len(), 1);
    bench.talk(&mut client);
}

#[test]
fn a_silent_association_without_an_allocation_is_told_goodbye_after_the_idle_limit() {
    let mut bench = Bench::new();
    let mut client = bench.connect(4_000);
    bench.sent();
    bench.expire(STREAM_IDLE_MAX * 3, true);
    bench.talk(&mut client);
    bench.expire(STREAM_IDLE_MAX - Duration::from_secs(1), false);
    assert_eq!((bench.ended(AssociationEnd::Idle), bench.sent().len()), (0, 0));
    bench.expire(Duration::from_secs(2), false);
    assert_eq!(bench.ended(AssociationEnd::Idle), 1);
    client.stream.get_mut().incoming.extend(bench.sent());
    assert_eq!(
        client.stream.ssl_read(&mut [0; 10]).unwrap_err().code(),
        ErrorCode::ZERO_RETURN
    );
    assert_eq!(bench.associations.next_deadline(), None);
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let mut bench = Bench::new();
    bench.greet(4_000);
    bench.expire(TLS_HANDSHAKE_MAX - Duration::from_secs(1), false);
    assert_eq!(bench.associations.slots.len(), 1);
    bench.expire(Duration::from_secs(1), false);
    assert_eq!(bench.failed(HandshakeFailure::TimedOut), 1);
    assert!(bench.associations.slots.is_empty() && bench.associations.by_client.is_empty());
    assert_eq!(bench.associations.poll_ended(), None, "the worker never heard of it");
}

#[test]
fn what_was_sealed_for_one_client_goes_to_no_other() {
    let mut bench = Bench::new();
    let (one, mut other) = (bench.connect(4_000), bench.connect(4_001));
    let id = bench.id_of(&one);
    let sealed = bench.associations.seal(id, b"for one").unwrap().2.to_vec();
    let said = other.say(b"from the other");
    let (sent, messages) = bench.take(other.address, &[said]);
    assert_eq!((sent.len(), messages.len()), (0, 1));
    let new = bench.greet(4_002);
    assert_eq!(new.stream.get_ref().outgoing.len(), 0);
    bench.expire(STREAM_IDLE_MAX * 2, false);
    assert!(!bench.sent().contains(&sealed));
}

#[test]
fn a_source_has_so_many_associations_until_they_have_allocations() {
    let mut bench = Bench::new();
    let first = bench.connect(999);
    bench.now += Duration::from_secs(1);
    for port in 1_000..1_000 + ASSOCIATIONS_PER_SOURCE_MAX as u16 {
        bench.hear_hello(port, 1);
    }
    assert_eq!(bench.associations.slots.len(), ASSOCIATIONS_PER_SOURCE_MAX as usize);
    assert_eq!(bench.refused(HelloRefusal::TooManyFromSource), 1);
    let id = bench.id_of(&first);
    bench.associations.is_known(id);
    bench.now += Duration::from_secs(1);
    bench.hear_hello(9_000, 1);
    assert_eq!(bench.associations.slots.len(), ASSOCIATIONS_PER_SOURCE_MAX as usize + 1);
    bench.hear_hello(9_001, 1);
    assert_eq!(bench.refused(HelloRefusal::TooManyFromSource), 2);
}

#[test]
fn an_association_that_has_lost_its_allocation_counts_for_its_source_again() {
    for others in [ASSOCIATIONS_PER_SOURCE_MAX - 1, ASSOCIATIONS_PER_SOURCE_MAX] {
        let mut bench = Bench::new();
        let mut client = bench.connect(999);
        let id = bench.id_of(&client);
        bench.associations.is_known(id);
        bench.now += STREAM_IDLE_MAX - Duration::from_secs(5);
        bench.talk(&mut client);
        for port in 1_000..1_000 + others as u16 {
            bench.hear_hello(port, 1);
        }
        bench.expire(Duration::from_secs(7), false);
        bench.expire(Duration::ZERO, false);
        let is_full = others == ASSOCIATIONS_PER_SOURCE_MAX;
        assert_eq!(bench.associations.is_stranger(id), !is_full);
        assert_eq!(bench.ended(AssociationEnd::Idle), is_full.into());
        bench.hear_hello(9_000, 1);
        assert_eq!(bench.refused(HelloRefusal::TooManyFromSource), 1);
    }
}

#[test]
fn so_many_deadlines_are_looked_at_in_a_pass_and_the_rest_in_the_next() {
    let mut bench = Bench::new();
    for client in 0..EXPIRIES_PER_PASS as u32 + 50 {
        bench.hear_hello_of((Ipv4Addr::from(0x0a00_0000 | client), 4_000).into(), 1);
    }
    bench.expire(TLS_HANDSHAKE_MAX, false);
    assert_eq!(bench.failed(HandshakeFailure::TimedOut), EXPIRIES_PER_PASS as u64);
    assert!(bench.associations.next_deadline().is_some_and(|at| at <= bench.now));
    bench.expire(Duration::ZERO, false);
    assert_eq!(bench.failed(HandshakeFailure::TimedOut), EXPIRIES_PER_PASS as u64 + 50);
    assert_eq!(bench.associations.next_deadline(), None);
}

#[test]
fn a_worker_that_stops_says_goodbye_to_each_open_association() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (bench.connect(4_000), bench.connect(4_001));
    bench.greet(4_002);
    bench.associations.close_all(&mut bench.out);
    for (client, goodbye) in [&mut one, &mut other].into_iter().zip(bench.sent()) {
        client.stream.get_mut().incoming.push_back(goodbye);
        let error = client.stream.ssl_read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ZERO_RETURN);
    }
}

#[test]
fn a_last_flight_that_was_lost_is_sent_again_when_the_client_asks() {
    let mut bench = Bench::new();
    let mut client = bench.greet(4_000);
    let flight = client.shake();
    let (lost, _) = bench.take(client.address, &flight);
    assert!(!lost.is_empty() && bench.metrics.dtls_handshakes.value() == 1);
    std::thread::sleep(Duration::from_millis(1_050));
    let again = client.shake();
    assert!(!again.is_empty(), "the client has waited long enough");
    let (answer, _) = bench.take(client.address, &again);
    client.stream.get_mut().incoming.extend(answer);
    client.shake();
    assert!(client.is_done());
    bench.talk(&mut client);
}

#[test]
fn a_worker_has_so_many_associations() {
    let mut bench = Bench::new();
    for client in 0..ASSOCIATIONS_MAX as u32 + 1 {
        bench.hear_hello_of((Ipv4Addr::from(0x0a00_0000 | client), 4_000).into(), 1);
        // As if they had had their turn.
        bench.associations.waiting.clear();
    }
    assert_eq!(bench.associations.slots.len(), ASSOCIATIONS_MAX);
    assert_eq!(bench.refused(HelloRefusal::TooMany), 1);
}

#[test]
fn handshakes_with_a_wrong_byte_anywhere_leave_others_alone_and_nothing_behind() {
    let mut bench = Bench::new();
    let mut witness = bench.connect(3_000);
    for (flights, step) in [(2, 3), (3, 7)] {
        let mut at = 0;
        loop {
            let mut client = Client::new((Ipv4Addr::LOCALHOST, 4_000).into());
            let mut flight = client.shake();
            for _ in 1..flights {
                let (answer, _) = bench.take(client.address, &flight);
                client.stream.get_mut().incoming.extend(answer);
                flight = client.shake();
            }
            let mut datagrams = flight.iter_mut();
            let mut rest = at;
            let hit = datagrams.find_map(|datagram| match rest < datagram.len() {
                true => Some(&mut datagram[rest]),
                false => {
                    rest -= datagram.len();
                    None
                }
            });
            let Some(byte) = hit else { break };
            *byte ^= 0x15;
            bench.take(client.address, &flight);
            assert!(bench.associations.slots.len() <= 3, "byte {at} of flight {flights}");
            bench.now += Duration::from_millis(20);
            at += step;
        }
        assert!(at > 100);
    }
    bench.talk(&mut witness);
    bench.expire(TLS_HANDSHAKE_MAX, true);
    assert!(
        bench.associations.slots.len() <= 2,
        "the witness, and who was well enough"
    );
}

#[test]
fn a_source_that_gives_up_handshakes_and_begins_new_ones_is_slowed_down() {
    let mut bench = Bench::new();
    for random in 0..=255 {
        bench.hear_hello(1_000, random);
        bench.associations.shake_hands(bench.now, &mut bench.out);
    }
    assert_eq!(bench.refused(HelloRefusal::TooFastFromSource), 0);
    bench.hear_hello(1_000, 0);
    assert_eq!(bench.refused(HelloRefusal::TooFastFromSource), 1);
    bench.hear_hello_of("192.0.2.1:4000".parse().unwrap(), 0);
    assert_eq!(bench.associations.slots.len(), 1, "another is served");
    bench.now += Duration::from_secs(1);
    bench.hear_hello(1_000, 0);
    assert_eq!(bench.associations.slots.len(), 2);
}

#[test]
fn hellos_of_one_client_that_wait_are_one_and_those_of_many_wait_their_turn() {
    let mut bench = Bench::new();
    for random in 0..100 {
        bench.hear_hello(1_000, random);
    }
    assert_eq!(
        (bench.associations.slots.len(), bench.associations.waiting.len()),
        (1, 1)
    );
    for port in 1_001..1_010 {
        bench.hear_hello(port, 1);
    }
    for left in [8, 6, 4, 2, 0] {
        assert_eq!(bench.associations.shake_hands(bench.now, &mut bench.out), 2);
        assert_eq!(bench.associations.waiting.len(), left);
    }
    assert_eq!(bench.associations.shake_hands(bench.now, &mut bench.out), 0);
}

#[test]
fn the_other_half_of_handshakes_waits_its_turn_with_the_hellos() {
    let mut bench = Bench::new();
    let mut clients: Vec<_> = (1_000..1_004).map(|port| bench.greet(port)).collect();
    for client in &mut clients {
        for datagram in client.shake() {
            let heard = bench
                .associations
                .receive(LISTENER, client.address, &datagram, bench.now, &mut bench.out);
            assert_eq!(heard, None);
        }
    }
    bench.hear_hello(2_000, 1);
    let opened = |bench: &Bench| bench.metrics.dtls_handshakes.value();
    for done in [2, 4, 4] {
        assert!(bench.associations.has_waiting());
        bench.associations.shake_hands(bench.now, &mut bench.out);
        assert_eq!(opened(&bench), done);
    }
    assert!(!bench.associations.has_waiting());
}

#[test]
fn no_more_hellos_wait_than_may() {
    let mut bench = Bench::new();
    for client in 0..DTLS_HANDSHAKES_WAITING_MAX as u32 + 1 {
        bench.hear_hello_of((Ipv4Addr::from(0x0a00_0000 | client), 4_000).into(), 1);
    }
    assert_eq!(bench.associations.waiting.len(), DTLS_HANDSHAKES_WAITING_MAX);
    assert_eq!(bench.associations.slots.len(), DTLS_HANDSHAKES_WAITING_MAX);
    assert_eq!(bench.refused(HelloRefusal::TooManyWaiting), 1);
}

#[test]
fn a_flood_of_sealed_records_costs_a_handshake_little_and_ends_none() {
    let mut bench = Bench::new();
    let client = bench.greet(4_000);
    let mut sealed = vec![22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 40];
    sealed.resize(13 + 40, 7);
    let (sent, messages) = bench.take(client.address, &vec![sealed; 1_000]);
    assert_eq!((sent.len(), messages.len()), (0, 0));
    assert_eq!(bench.refused(HelloRefusal::NotHandshake), 996, "four were kept");
    assert_eq!(bench.associations.slots.len(), 1);
}

#[test]
fn a_handshake_of_more_datagrams_than_any_has_is_given_up() {
    let mut bench = Bench::new();
    let client = bench.greet(4_000);
    // Part of a message whose rest never comes.
    let mut part = vec![
        22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 22, 16, 0, 0, 99, 0, 5, 0, 0, 0, 0, 0, 10,
    ];
    part.resize(35, 7);
    let flood = vec![part; super::super::DTLS_HANDSHAKE_DATAGRAMS_MAX];
    bench.take(client.address, &flood);
    assert_eq!(bench.associations.slots.len(), 1);
    bench.take(client.address, &flood[..1]);
    assert_eq!(bench.failed(HandshakeFailure::TooLong), 1);
    assert!(bench.associations.slots.is_empty() && bench.associations.by_client.is_empty());
}

#[test]
fn messages_in_the_clear_that_somebody_forges_disturb_no_handshake() {
    let mut bench = Bench::new();
    let mut client = bench.greet(4_000);
    for kind in [0, 19, 23, 24, 255] {
        let forged = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 7];
        bench.take(client.address, &[forged]);
    }
    bench.shake(&mut client, |_| {});
    bench.talk(&mut client);
}

#[test]
fn a_client_that_likes_a_costly_group_best_is_served_with_another() {
    for (groups, bits) in [
        ("P-521:P-384:P-256", 384),
        ("P-521:P-256", 256),
        ("P-521:X25519:P-256", 253),
    ] {
        let mut bench = Bench::new();
        let mut client = Client::with_groups((Ipv4Addr::LOCALHOST, 4_000).into(), groups);
        bench.shake(&mut client, |_| {});
        assert_eq!(client.stream.ssl().peer_tmp_key().unwrap().bits(), bits, "{groups}");
    }
}

#[test]
fn what_belongs_to_nobody_is_counted_by_what_it_is() {
    let mut bench = Bench::new();
    let whole = hello(0, 0, &[]);
    let mut part = whole.clone();
    part[24] -= 1;
    let sealed = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let client = (Ipv4Addr::LOCALHOST, 4_000).into();
    let long = [&whole[..], &[0; DTLS_HELLO_BYTES_MAX]].concat();
    let (sent, _) = bench.take(client, &[whole[..60].to_vec(), part, long, sealed]);
    assert_eq!(sent.len(), 0);
    for refusal in [
        HelloRefusal::Malformed,
        HelloRefusal::Fragmented,
        HelloRefusal::TooLong,
        HelloRefusal::NoAssociation,
    ] {
        assert_eq!(bench.refused(refusal), 1, "{refusal:?}");
    }
}

#[test]
fn a_message_longer_than_a_record_is_dropped_and_counted() {
    let mut bench = Bench::new();
    let client = bench.connect(4_000);
    let id = bench.id_of(&client);
    let room = vec![0; RECORD_MESSAGE_BYTES_MAX + 1];
    assert!(bench.associations.seal(id, &room[1..]).is_some());
    assert!(bench.associations.seal(id, &room).is_none());
    assert_eq!(bench.metrics.dropped.of(DropReason::RecordTooLong).value(), 1);
}
