//! Commands, events and plain RTP through the whole media plane, on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use voex_base::{Rng, TransportId, WorkerId};
use voex_net::{Config, Events, MediaAddress, Workers};
use voex_sfu::command::{DownReason, TransportKind, TransportSpec};
use voex_sfu::{DropReason, Shard};
use voex_stun::{Class, IntegrityKey, MessageWriter, Method, TransactionId};
use voex_transport::Certificate;
use voex_worker::{Command, Worker};

struct Plane {
    workers: Workers,
    events: Events,
    /// Hears each call of the wake function.
    woken: mpsc::Receiver<()>,
    sfu_metrics: Vec<Arc<voex_sfu::Metrics>>,
    ip: IpAddr,
}

impl Plane {
    /// Two workers on an address of 127/8 of their own; a transport that nobody answers is given up after 20 ms.
    fn start(host: u8) -> Self {
        let ip = IpAddr::from([127, 91, 0, host]);
        let (wake, woken) = mpsc::channel();
        let config = Config {
            workers: 2,
            pin: false,
            media_addresses: vec![MediaAddress {
                local: ip,
                public: vec![],
            }],
            media_ports: 23_000..=23_099,
            event_wake: Arc::new(move || wake.send(()).unwrap_or_default()),
            ..Config::default()
        };
        let certificate = Arc::new(Certificate::generate().unwrap());
        let mut sfu_metrics = Vec::new();
        let (workers, events, _) = Workers::start(config, |id, topology| {
            let metrics = Arc::<voex_sfu::Metrics>::default();
            sfu_metrics.push(metrics.clone());
            let mut config = voex_sfu::Config::new(certificate.clone());
            config.timeouts.answer = Duration::from_millis(20);
            Worker::new(id, topology.clone(), Arc::default()).with_sfu(Shard::new(
                config,
                Rng::from_number(id.0.into()),
                metrics,
            ))
        })
        .unwrap();
        Self {
            workers,
            events,
            woken,
            sfu_metrics,
            ip,
        }
    }

    fn open(&self, worker: u16, id: u64, kind: TransportKind) {
        let spec = TransportSpec {
            id: TransportId(id),
            kind,
        };
        let command = Command::Sfu(voex_sfu::Command::OpenTransport(Box::new(spec)));
        self.workers.command_sender(WorkerId(worker)).send(command).unwrap();
    }

    fn next_event(&mut self) -> (WorkerId, voex_sfu::Event) {
        loop {
            if let Some(event) = self.events.try_next() {
                return event;
            }
            self.woken
                .recv_timeout(Duration::from_secs(10))
                .expect("an event within ten seconds");
        }
    }
}

#[test]
fn a_command_reaches_its_worker_a_timer_fires_there_and_the_event_comes_back() {
    let mut plane = Plane::start(1);
    for (worker, id) in [(1, 7), (0, 8)] {
        let kind = TransportKind::WebRtc {
            local_ufrag: format!("ufrag{id}"),
            local_pwd: "p".repeat(24),
        };
        plane.open(worker, id, kind);
        let (from, event) = plane.next_event();
        let down = voex_sfu::Event::TransportDown(TransportId(id), DownReason::IceFailed);
        assert_eq!((from, event), (WorkerId(worker), down));
    }
}

#[test]
fn a_check_that_follows_its_transports_command_is_answered_the_first_time() {
    let plane = Plane::start(3);
    let pwd = "p".repeat(24);
    let key = IntegrityKey::new(pwd.as_bytes());
    let client = UdpSocket::bind((plane.ip, 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let media = plane
        .workers
        .media_sockets()
        .iter()
        .find(|socket| socket.worker == WorkerId(0))
        .unwrap()
        .local;
    // Command and check reach a worker that sleeps; often it finds both when it wakes.
    for id in 0..500u64 {
        let kind = TransportKind::WebRtc {
            local_ufrag: format!("ufrag{id}"),
            local_pwd: pwd.clone(),
        };
        let mut check = [0; 200];
        let transaction = TransactionId(*b"first check!");
        let written = MessageWriter::new(&mut check, Class::Request, Method::BINDING, transaction)
            .username(&format!("ufrag{id}:client"))
            .ice_controlling(7)
            .priority(1)
            .message_integrity(&key)
            .fingerprint()
            .finish();
        plane.open(0, id, kind);
        client.send_to(&check[..written.unwrap()], media).unwrap();
        let mut answer = [0; 200];
        let answered = client.recv(&mut answer);
        assert!(
            answered.is_ok(),
            "check {id} was not answered: {:?}",
            plane.sfu_metrics[0].drops.values().collect::<Vec<_>>()
        );
    }
}

#[test]
fn datagrams_of_an_rtp_pair_reach_the_transport_that_was_opened_on_it() {
    let plane = Plane::start(2);
    let pair = plane.workers.rtp_ports().open_pair(WorkerId(1), plane.ip).unwrap();
    let kind = TransportKind::Plain {
        rtp: pair.rtp(),
        rtcp: Some(pair.rtcp()),
        cname: "c".to_owned(),
    };
    plane.open(1, 3, kind);
    let phone = UdpSocket::bind((plane.ip, 0)).unwrap();
    let metrics = &plane.sfu_metrics[1];
    let deadline = Instant::now() + Duration::from_secs(10);
    // The transport takes it for RTP but has no track for it; without the transport it were of an unknown source.
    while metrics.drops.of(DropReason::UnknownPayloadType).value() == 0 {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            metrics.drops.values().collect::<Vec<_>>()
        );
        phone
            .send_to(&[0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xff], pair.rtp_address())
            .unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}
