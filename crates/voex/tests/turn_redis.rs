//! TURN with users and statistics in a real `redis-server`, one for each test.
#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod common;
#[path = "common/redis.rs"]
mod redis;
#[path = "common/turn.rs"]
mod turn;
#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Server, settings_file};
use redis::Redis;
use turn::{Client, error_code, receive};
use turn_client::{TurnClient, channel_data, read_channel_data, relayed_address, success};

/// MD5 of `bob:example.org:secret` and of `bob:example.org:other`.
const SECRET_KEY: &str = "3d43f24c71b71cdd4be54e0721962a79";
const OTHER_KEY: &str = "8a741192329bc65738f880ba77bb823f";
const BOB: &str = "turn/realm/example.org/user/bob/key";
const SECRETS: &str = "turn/realm/example.org/secret";
/// A user until the year 2100, with its passwords by two shared secrets.
const TIMED: &str = "4102444800:app";
const NORTH_WIND: &str = "/JAPRv83kTAJJeHZzyXr4Cc7Zfg=";
const SOUTH_WIND: &str = "1nVewOMUaDB6rVOEWILlMCX6s3Q=";
/// Longest wait for something that comes by itself: a round over the live users, or the longest wait before connecting
/// again, and some seconds.
const SOON: Duration = Duration::from_secs(12);

/// A server with users and statistics in a Redis.
struct Rig {
    redis: Redis,
    server: Server,
}

impl Rig {
    fn start(name: &str) -> Self {
        Self::with(name, Redis::start(), "")
    }

    /// Starts with more settings of `turn.users`.
    fn with(name: &str, redis: Redis, users: &str) -> Self {
        let file = settings_file(&format!("{name}.yaml"), &settings(redis.port, users));
        let server = Server::start(&["--settings", file.to_str().unwrap()]);
        Self { redis, server }
    }

    fn client(&self, user: &str, password: &str) -> Client {
        let turn = self.server.listener("STUN and TURN", "TURN: ");
        Client::of(turn, TurnClient::of(user, password))
    }

    /// Asks for an allocation with a client of its own; gives the error code, if any.
    fn allocate(&self, user: &str, password: &str) -> Option<u16> {
        error_code(&self.client(user, password).allocate())
    }

    /// Runs a command in the database of users, as the CTS does.
    fn users(&self, words: &[&str]) -> String {
        self.redis.run(1, words)
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.server.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }

    fn health(&self) -> u16 {
        self.server.get("/health").0
    }
}

fn settings(port: u16, users: &str) -> String {
    let target = format!("ip=127.0.0.1 port={port} dbname=");
    format!(
        "turn:\n  realm: example.org\n  peers: {{allow_loopback: true}}\n  users:\n    static: {{alice: secret}}\n    \
         redis: {target}1\n{users}  stats:\n    redis: {target}2\n"
    )
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < SOON, "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client with a channel to a peer.
struct Call {
    client: Client,
    peer: UdpSocket,
    relayed: SocketAddr,
    sent: u32,
}

impl Call {
    const CHANNEL: u16 = 0x4000;

    fn start(mut client: Client) -> Self {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let relayed = relayed_address(&client.allocate());
        let bind = client.turn.channel_bind(Self::CHANNEL, peer.local_addr().unwrap());
        success(&client.ask(&bind));
        Self {
            client,
            peer,
            relayed,
            sent: 0,
        }
    }

    /// Sends numbered packets both ways, one at a time: none may be lost.
    fn relay(&mut self, times: u32) {
        for _ in 0..times {
            self.sent += 1;
            let number = self.sent.to_be_bytes();
            self.client.socket.send(&channel_data(Self::CHANNEL, &number)).unwrap();
            assert_eq!(receive(&self.peer), (number.to_vec(), self.relayed));
            self.peer.send_to(&number, self.relayed).unwrap();
            let (packet, _) = receive(&self.client.socket);
            assert_eq!(read_channel_data(&packet), (Self::CHANNEL, &number[..]));
        }
    }
}

#[test]
fn a_key_in_redis_holds_from_the_next_request_and_so_does_another_or_none() {
    let rig = Rig::start("redis-keys");
    assert_eq!(rig.allocate("alice", "secret"), None, "the settings are asked first");
    assert_eq!(rig.allocate("bob", "secret"), Some(401));
    rig.users(&["set", BOB, SECRET_KEY]);
    assert_eq!(rig.allocate("bob", "secret"), None);
    assert_eq!(rig.allocate("bob", "other"), Some(401));
    rig.users(&["set", BOB, OTHER_KEY]);
    assert_eq!(rig.allocate("bob", "secret"), Some(401));
    assert_eq!(rig.allocate("bob", "other"), None);
    for wrong in ["secret", "38ea77", ""] {
        rig.users(&["set", BOB, wrong]);
        assert_eq!(rig.allocate("bob", "secret"), Some(401), "{wrong:?}");
    }
    assert!(rig.metric("turn_redis_wrong_values_total") >= 3.0);
    rig.users(&["del", BOB]);
    assert_eq!(rig.allocate("bob", "other"), Some(401));
}

#[test]
fn any_secret_of_the_set_lets_time_limited_users_in_until_it_is_removed() {
    let rig = Rig::start("redis-secrets");
    assert_eq!(rig.allocate(TIMED, NORTH_WIND), Some(401));
    rig.users(&["sadd", SECRETS, "north wind", "south wind", "unused"]);
    assert_eq!(rig.allocate(TIMED, NORTH_WIND), None);
    assert_eq!(rig.allocate(TIMED, SOUTH_WIND), None);
    assert_eq!(rig.allocate(TIMED, "secret"), Some(401));
    rig.users(&["srem", SECRETS, "south wind"]);
    assert_eq!(rig.allocate(TIMED, NORTH_WIND), None);
    assert_eq!(rig.allocate(TIMED, SOUTH_WIND), Some(401));
}

#[test]
fn a_name_of_any_bytes_finds_its_own_key_and_no_other() {
    let rig = Rig::start("redis-names");
    rig.users(&["set", BOB, SECRET_KEY]);
    for name in [
        "*",
        "b?b",
        "[a-z]ob",
        "%s%n",
        "two words",
        "a\r\nFLUSHALL\r\n",
        "\"",
        "../bob",
        "bob/key",
        "жук",
    ] {
        assert_eq!(rig.allocate(name, "secret"), Some(401), "{name:?}");
        let digits = voex_stun::long_term_key(name, "example.org", "secret").map(|byte| format!("{byte:02x}"));
        let key = format!("turn/realm/example.org/user/{name}/key");
        rig.users(&["set", &key, &digits.concat()]);
        assert_eq!(rig.allocate(name, "secret"), None, "{name:?}");
    }
    assert_eq!(rig.allocate("bob", "secret"), None);
}

#[test]
fn the_allocation_of_a_deleted_user_ends_and_others_go_on() {
    let rig = Rig::start("redis-deleted");
    rig.users(&["set", BOB, SECRET_KEY]);
    let mut alice = Call::start(rig.client("alice", "secret"));
    let mut bob = Call::start(rig.client("bob", "secret"));
    bob.relay(5);
    rig.users(&["del", BOB]);
    eventually("bob's allocation has ended", || rig.metric("turn_allocations") == 1.0);
    assert_eq!(rig.metric("turn_redis_deleted_users_total"), 1.0);
    alice.relay(5);
}

#[test]
fn status_keys_live_as_long_as_allocations_and_a_stop_leaves_none() {
    let mut rig = Rig::start("redis-status");
    let status = |rig: &Rig| {
        rig.redis
            .run(2, &["keys", "turn/realm/example.org/user/alice/allocation/*/status"])
    };
    let mut first = Call::start(rig.client("alice", "secret"));
    let _second = Call::start(rig.client("alice", "secret"));
    eventually("both are told", || status(&rig).lines().count() == 2);
    success(&{
        let release = first.client.turn.release();
        first.client.ask(&release)
    });
    eventually("the end of one is told", || status(&rig).lines().count() == 1);
    rig.server.signal("INT");
    assert!(rig.server.wait().success());
    assert_eq!(rig.redis.run(2, &["keys", "*"]), "");
}

#[test]
fn what_redis_says_of_the_realm_is_followed() {
    let rig = Rig::start("redis-realm");
    let mut alice = rig.client("alice", "secret");
    success(&alice.allocate());
    let (denied, allowed): (SocketAddr, SocketAddr) = ("127.7.0.1:9".parse().unwrap(), "127.7.1.1:9".parse().unwrap());
    assert_eq!(alice.permit(denied), None);
    let of_realm = |name: &str| format!("turn/realm/example.org/{name}");
    rig.users(&["sadd", &of_realm("denied-peer-ip"), "127.7.0.0-127.7.255.255"]);
    rig.users(&["sadd", &of_realm("allowed-peer-ip"), "127.7.1.1"]);
    rig.users(&["set", &of_realm("user-quota"), "2"]);
    eventually("the peer is denied", || alice.permit(denied) == Some(403));
    assert_eq!(alice.permit(allowed), None);
    let _second = Call::start(rig.client("alice", "secret"));
    assert_eq!(rig.allocate("alice", "secret"), Some(486));
    rig.users(&["flushdb"]);
    eventually("nothing is denied", || alice.permit(denied).is_none());
    assert_eq!(rig.allocate("alice", "secret"), None);
}

#[test]
fn no_relay_reaches_redis_itself() {
    let rig = Rig::start("redis-closed");
    let mut alice = rig.client("alice", "secret");
    success(&alice.allocate());
    let redis = SocketAddr::from(([127, 0, 0, 1], rig.redis.port));
    let bind = alice.turn.channel_bind(0x4000, redis);
    assert_eq!(error_code(&alice.ask(&bind)), Some(403));
    let other = SocketAddr::from(([127, 0, 0, 1], 9));
    let bind = alice.turn.channel_bind(0x4000, other);
    success(&alice.ask(&bind));
}

#[test]
fn redis_may_die_in_the_middle_of_a_call_and_comes_back_by_itself() {
    let mut rig = Rig::start("redis-dies");
    rig.users(&["set", BOB, SECRET_KEY]);
    rig.users(&["sadd", SECRETS, "north wind"]);
    assert_eq!(rig.allocate(TIMED, NORTH_WIND), None);
    let mut call = Call::start(rig.client("bob", "secret"));
    call.relay(20);
    assert_eq!((rig.metric("redis_up"), rig.health()), (1.0, 200));

    rig.redis.kill();
    call.relay(20);
    eventually("it is known", || rig.metric("redis_up") == 0.0);
    assert_eq!(rig.health(), 503);
    call.relay(20);
    assert_eq!(rig.allocate("bob", "secret"), None, "from memory");
    assert_eq!(rig.allocate("bob", "other"), Some(401));
    assert_eq!(rig.allocate(TIMED, NORTH_WIND), None, "the secrets are remembered too");
    assert_eq!(rig.allocate("alice", "secret"), None);
    assert!(rig.metric("turn_redis_look_ups_total{answer=\"remembered\"}") >= 3.0);
    let refresh = call.client.turn.refresh();
    success(&call.client.ask(&refresh));

    rig.redis.start_again();
    eventually("it is connected again", || rig.metric("redis_up") == 1.0);
    assert_eq!(rig.health(), 200);
    call.relay(20);
    let statuses = || rig.redis.run(2, &["keys", "turn/*/status"]);
    eventually("status keys are written again", || {
        statuses().lines().count() as f64 == rig.metric("turn_allocations")
    });
    assert_eq!(rig.allocate(TIMED, NORTH_WIND), Some(401), "it came back empty");
    let refresh = call.client.turn.refresh();
    success(&call.client.ask(&refresh));
    call.relay(20);
}

#[test]
fn a_redis_that_is_down_at_start_is_found_later() {
    let mut redis = Redis::start();
    redis.kill();
    let mut rig = Rig::with("redis-late", redis, "");
    assert_eq!((rig.metric("redis_up"), rig.health()), (0.0, 503));
    assert_eq!(rig.allocate("alice", "secret"), None);
    rig.redis.start_again();
    rig.users(&["set", BOB, SECRET_KEY]);
    eventually("it is connected", || rig.metric("redis_up") == 1.0);
    assert_eq!(rig.allocate("bob", "secret"), None);
}

#[test]
fn a_reload_moves_to_another_redis_and_calls_go_on() {
    let mut rig = Rig::start("redis-moved");
    rig.users(&["set", BOB, SECRET_KEY]);
    let mut call = Call::start(rig.client("bob", "secret"));
    let old = std::mem::replace(&mut rig.redis, Redis::start());
    rig.users(&["set", BOB, OTHER_KEY]);
    settings_file("redis-moved.yaml", &settings(rig.redis.port, ""));
    rig.server.signal("HUP");
    rig.server.wait_for("taken over: turn.users.redis, turn.stats.redis;");
    call.relay(20);
    eventually("the other key holds", || rig.allocate("bob", "other").is_none());
    assert_eq!(rig.allocate("bob", "secret"), Some(401));
    assert_eq!(old.run(2, &["keys", "*"]), "");
    let statuses = || rig.redis.run(2, &["keys", "turn/*/status"]);
    eventually("the call is known there", || {
        statuses().lines().count() as f64 == rig.metric("turn_allocations")
    });
    call.relay(20);
}
