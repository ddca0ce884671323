//! Workers on real loopback sockets: what they bind, refuse, open, close and how they stop.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::WorkerId;
use voex_net::{Config, Events, MediaAddress, PortError, Purpose, StartError, Workers};
use voex_worker::Worker;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn config(workers: usize) -> Config {
    Config {
        workers,
        pin: false,
        ..Config::default()
    }
}

fn start(config: Config) -> (Workers, Events) {
    try_start(config).expect("loopback addresses can be bound")
}

fn try_start(config: Config) -> Result<(Workers, Events), StartError> {
    let (workers, events, _) =
        Workers::start(config, |id, topology| Worker::new(id, topology.clone(), Arc::default()))?;
    Ok((workers, events))
}

/// Media on an address of 127/8 of its own, so that tests running side by side do not meet.
fn media(host: u8) -> Vec<MediaAddress> {
    vec![MediaAddress {
        local: media_ip(host),
        public: vec!["203.0.113.9".parse().unwrap()],
    }]
}

fn media_ip(host: u8) -> IpAddr {
    [127, 88, 0, host].into()
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "{what} within ten seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_address_that_cannot_be_bound_is_listed() {
    let taken = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let taken_address = taken.local_addr().unwrap();
    let foreign: SocketAddr = "198.51.100.1:3478".parse().unwrap();
    let refused = try_start(Config {
        turn_listeners: vec![taken_address, foreign],
        media_addresses: vec![MediaAddress {
            local: "198.51.100.2".parse().unwrap(),
            public: vec![],
        }],
        ..config(2)
    });
    let Err(StartError::Bind(failures)) = refused else {
        panic!("taken and foreign addresses are refused")
    };
    let listed: Vec<_> = failures
        .iter()
        .map(|failure| (failure.purpose, failure.address))
        .collect();
    let media = "198.51.100.2:20000".parse().unwrap();
    assert_eq!(
        listed,
        [
            (Purpose::TurnListener, taken_address),
            (Purpose::TurnListener, foreign),
            (Purpose::Media, media)
        ]
    );
}

#[test]
fn a_second_process_cannot_share_a_listener_unnoticed() {
    let (first, _events) = start(Config {
        turn_listeners: vec![(LOOPBACK, 0).into()],
        ..config(2)
    });
    let again = try_start(Config {
        turn_listeners: first.turn_listeners().to_vec(),
        ..config(2)
    });
    assert!(matches!(again, Err(StartError::Bind(failures)) if failures.len() == 1));
}

#[test]
fn each_worker_has_a_media_port_of_its_own_from_the_low_end() {
    let (workers, _events) = start(Config {
        media_addresses: media(1),
        media_ports: 21_000..=21_099,
        ..config(3)
    });
    let ports: Vec<_> = workers.media_sockets().iter().map(|media| media.local.port()).collect();
    assert_eq!(ports, [21_000, 21_001, 21_002]);
    let owners: Vec<_> = workers.media_sockets().iter().map(|media| media.worker).collect();
    assert_eq!(owners, [WorkerId(0), WorkerId(1), WorkerId(2)]);
    assert_eq!(
        workers.media_sockets()[1].public,
        ["203.0.113.9:21001".parse().unwrap()]
    );
}

#[test]
fn a_media_port_that_somebody_has_is_passed_over() {
    let _taken = UdpSocket::bind((media_ip(2), 21_000)).unwrap();
    let (workers, _events) = start(Config {
        media_addresses: media(2),
        media_ports: 21_000..=21_001,
        ..config(1)
    });
    assert_eq!(workers.media_sockets()[0].local.port(), 21_001);
    let refused = try_start(Config {
        media_addresses: media(2),
        media_ports: 21_000..=21_001,
        ..config(1)
    });
    assert!(matches!(refused, Err(StartError::Bind(_))));
}

#[test]
fn an_rtp_pair_is_held_while_it_lives_and_free_afterwards() {
    let (workers, _events) = start(Config {
        media_addresses: media(3),
        media_ports: 22_000..=22_005,
        ..config(1)
    });
    assert_eq!(workers.media_sockets()[0].local.port(), 22_000);
    let ports = workers.rtp_ports();
    let first = ports.open_pair(WorkerId(0), media_ip(3)).unwrap();
    let second = ports.open_pair(WorkerId(0), media_ip(3)).unwrap();
    for pair in [&first, &second] {
        assert!(pair.rtp_address().port().is_multiple_of(2) && pair.rtp_address().port() != 22_000);
        assert_eq!(pair.rtcp_address().port(), pair.rtp_address().port() + 1);
        assert!(UdpSocket::bind(pair.rtp_address()).is_err() && UdpSocket::bind(pair.rtcp_address()).is_err());
    }
    let exhausted = ports.open_pair(WorkerId(0), media_ip(3));
    assert!(matches!(exhausted, Err(PortError::Exhausted(ip)) if ip == media_ip(3)));
    let address = first.rtp_address();
    drop(first);
    eventually("the port is free again", || UdpSocket::bind(address).is_ok());
    let third = ports.open_pair(WorkerId(0), media_ip(3)).unwrap();
    assert_eq!(third.rtp_address(), address);
}

#[test]
fn an_rtp_pair_needs_a_worker_and_an_address_of_this_host() {
    let (workers, _events) = start(config(1));
    let ports = workers.rtp_ports();
    let unknown = ports.open_pair(WorkerId(1), LOOPBACK);
    assert!(matches!(unknown, Err(PortError::UnknownWorker(WorkerId(1)))));
    let foreign = ports.open_pair(WorkerId(0), "198.51.100.1".parse().unwrap());
    assert!(matches!(foreign, Err(PortError::Bind(..))));
}

#[test]
fn workers_stop_when_told_even_while_they_sleep() {
    let (workers, _events) = start(Config {
        turn_listeners: vec![(LOOPBACK, 0).into()],
        ..config(4)
    });
    let listener = workers.turn_listeners()[0];
    eventually("all workers sleep", || {
        (0..4).all(|k| workers.metrics(WorkerId(k)).sleeps.value() > 0)
    });
    assert!(workers.all_running());
    let told = Instant::now();
    workers.stop().expect("no worker panicked");
    assert!(told.elapsed() < Duration::from_secs(2));
    UdpSocket::bind(listener).expect("the listener is closed");
}

#[test]
fn an_idle_worker_stays_asleep() {
    let (workers, _events) = start(Config {
        turn_listeners: vec![(LOOPBACK, 0).into()],
        ..config(1)
    });
    let metrics = workers.metrics(WorkerId(0)).clone();
    eventually("it sleeps", || metrics.sleeps.value() > 0);
    let before = metrics.sleeps.value();
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        metrics.sleeps.value() - before <= 2,
        "{} wake-ups",
        metrics.sleeps.value() - before
    );
}
