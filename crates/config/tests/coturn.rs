//! A coturn configuration becomes ours: what is taken over, what is not, and that it can be started with.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

use std::fmt::Write as _;

use proptest::prelude::*;
use voex_config::coturn::{Conversion, Outcome, convert};
use voex_config::{Loaded, Source, load};

fn loaded(conversion: &Conversion) -> Loaded {
    let source = Source {
        name: "settings.yaml",
        text: &conversion.settings,
    };
    load(Some(source), &[], true).unwrap_or_else(|report| panic!("{report}\n{}", conversion.settings))
}

/// The settings and what became of each line.
fn shown(conversion: &Conversion) -> String {
    let mut text = conversion.settings.clone();
    text.push_str("---\n");
    for finding in &conversion.findings {
        let line = finding.line.map_or("-".to_owned(), |line| line.to_string());
        writeln!(text, "{line} {}: {}: {}", finding.option, finding.outcome, finding.text).unwrap();
    }
    text
}

fn matches_golden(version: &str, conf: &str, golden: &str) -> Loaded {
    let conversion = convert(&format!("turnserver-{version}.conf"), conf.as_bytes());
    let shown = shown(&conversion);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = format!("{}/tests/golden/turnserver-{version}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &shown).unwrap();
    }
    assert_eq!(shown, golden);
    let (_, findings) = shown.split_once("---\n").unwrap();
    for secret in [
        "TopSecret",
        "correct horse",
        "38ea77b3",
        "north wind",
        "hunter2",
        "qwerty",
    ] {
        assert!(!findings.contains(secret), "a secret is told: {findings}");
    }
    loaded(&conversion)
}

#[test]
fn a_configuration_of_4_6_becomes_the_golden_settings() {
    let conf = include_str!("golden/turnserver-4.6.conf");
    let loaded = matches_golden("4.6", conf, include_str!("golden/turnserver-4.6.txt"));
    let turn = &loaded.settings.turn;
    // The relay address leads its family.
    assert_eq!(
        turn.listen,
        ["10.0.0.6", "10.0.0.5", "fd00::5"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
    );
    assert_eq!(turn.external.len(), 2);
    assert_eq!(turn.realm.as_deref(), Some("turn.example.org"));
    let users: Vec<_> = turn
        .users_static
        .iter()
        .map(|(name, password)| (name.as_str(), password.reveal()))
        .collect();
    assert_eq!(users, [("carol", "pa\"ss\\w:rd #1"), ("alice", "second thoughts")]);
    assert_eq!(turn.users_keys[0].0, "bob");
    let stats = turn.stats_redis.as_ref().unwrap();
    assert_eq!((stats.host.as_str(), stats.database), ("127.0.0.1", 0));
    assert_eq!(turn.users_redis.as_ref().unwrap().database, 1);
    assert_eq!((turn.lifetimes.allocation_max_s, turn.lifetimes.nonce_s), (7_200, 600));
    assert_eq!(loaded.settings.workers, 1);
    assert!(loaded.settings.tls.certificate.is_some() && !turn.software_attribute);
}

#[test]
fn a_configuration_of_4_17_becomes_the_golden_settings() {
    let conf = include_str!("golden/turnserver-4.17.conf");
    let loaded = matches_golden("4.17", conf, include_str!("golden/turnserver-4.17.txt"));
    let turn = &loaded.settings.turn;
    // Beside shared secrets coturn asks no static user.
    assert!(turn.users_static.is_empty() && turn.users_keys.is_empty());
    assert_eq!(
        turn.users_secrets
            .iter()
            .map(|secret| secret.reveal())
            .collect::<Vec<_>>(),
        ["north wind", "trade wind"]
    );
    assert_eq!(turn.relay_ports.to_string(), "20000-29999");
    assert!(!loaded.settings.media.ports.overlaps(turn.relay_ports));
    assert_eq!(loaded.settings.http.listen.to_string(), "127.0.0.1:9641");
    assert_eq!(turn.lifetimes.nonce_s, 86_400);
}

fn outcome(conf: &str) -> (Outcome, String) {
    let conversion = convert("turnserver.conf", conf.as_bytes());
    loaded(&conversion);
    let finding = conversion
        .findings
        .iter()
        .find(|finding| finding.line == Some(1))
        .unwrap();
    (finding.outcome, finding.text.clone())
}

#[test]
fn a_switch_counts_by_its_position_and_not_by_its_name() {
    for (conf, expected) in [
        ("no-udp-relay", Outcome::Gap),
        ("no-udp-relay=false", Outcome::Needless),
        ("no-auth", Outcome::Gap),
        ("no-auth=0", Outcome::Needless),
        ("no-cli", Outcome::Needless),
        ("cli", Outcome::Gap),
        ("cli=off", Outcome::Needless),
        ("cli-password=x", Outcome::Gap),
        ("cli-password=x\nno-cli", Outcome::Needless),
        ("web-admin-port=1", Outcome::Needless),
        ("web-admin-port=1\nweb-admin", Outcome::Gap),
        ("no-tlsv1_2", Outcome::Gap),
        ("no-tlsv1_2=no", Outcome::Needless),
        ("no-multicast-peers", Outcome::Needless),
        ("no-multicast-peers=no", Outcome::Gap),
        ("secure-stun=maybe", Outcome::Gap),
        ("rest-api-separator=:", Outcome::Needless),
        ("rest-api-separator=|", Outcome::Gap),
        ("userdb=/var/lib/turn/turndb", Outcome::Gap),
        ("use-auth-secret", Outcome::Gap),
        ("use-auth-secret\nstatic-auth-secret=x", Outcome::Needless),
        ("use-auth-secret\nredis-userdb=\"ip=127.0.0.1\"", Outcome::Needless),
        ("no-dynamic-ip-list", Outcome::Needless),
        ("no-dynamic-ip-list\nredis-userdb=\"ip=127.0.0.1\"", Outcome::Gap),
        ("no-sslv3", Outcome::Obsolete),
    ] {
        assert_eq!(outcome(conf).0, expected, "{conf}: {}", outcome(conf).1);
    }
}

#[test]
fn a_value_that_cannot_be_used_is_a_gap_that_says_what_is_expected() {
    for (conf, text) in [
        ("listening-port=0", "a port from 1 to 65535 is expected"),
        ("listening-ip=eth0", "an IP address is expected"),
        ("external-ip=203.0.113.5/nat", "an IP address is expected"),
        (
            "min-port=60000\nmax-port=50000",
            "min-port 60000 is above max-port 50000",
        ),
        ("user=alice", "NAME:PASSWORD or NAME:0xKEY is expected"),
        ("user=alice:0x38ea", "the key is not 32 hexadecimal digits"),
        ("denied-peer-ip=10.0.0.0/8", "an IP address is expected"),
        ("redis-userdb=\"port=x ip=a\"", "port=x is not a number that fits"),
        (
            "cert=/a.pem",
            "pkey is not given: name both tls.certificate and tls.key",
        ),
        ("user-quota=many", "a whole number is expected"),
    ] {
        let (outcome, said) = outcome(conf);
        assert_eq!((outcome, said.as_str()), (Outcome::Gap, text), "{conf}");
    }
}

#[test]
fn relay_ports_leave_conference_media_room_wherever_they_are() {
    for (min, max) in [
        (20_000, 29_999),
        (1_025, 40_000),
        (10_000, 65_535),
        (30_000, 65_535),
        (40_000, 40_009),
    ] {
        let conversion = convert("c", format!("min-port={min}\nmax-port={max}\n").as_bytes());
        assert_eq!(
            loaded(&conversion).settings.turn.relay_ports.to_string(),
            format!("{min}-{max}")
        );
    }
}

#[test]
fn what_clients_may_come_over_is_what_nothing_switches_off() {
    let transports = |conf: &str| loaded(&convert("c", conf.as_bytes())).settings.turn.transports;
    for (conf, left) in [
        ("no-tcp", "udp tls dtls"),
        ("no-tls=yes\nno-dtls=yes", "udp tcp"),
        ("dtls=off\nno-udp", "tcp tls"),
        ("no-udp\nno-tcp=off\nno-tls\nno-dtls", "tcp"),
        ("dtls\nno-tcp=false", "udp tcp tls dtls"),
    ] {
        let names: Vec<_> = transports(conf).iter().map(|protocol| protocol.name()).collect();
        assert_eq!(names.join(" "), left, "{conf}");
    }
    assert_eq!(outcome("no-udp\nno-tcp\nno-tls\nno-dtls").0, Outcome::Gap);
}

#[test]
fn a_file_without_users_is_said_to_have_been_open() {
    let conversion = convert("c", b"listening-port=3478\n");
    let finding = conversion
        .findings
        .iter()
        .find(|finding| finding.option == "users")
        .unwrap();
    assert_eq!((finding.line, finding.outcome), (None, Outcome::Gap));
    assert!(convert("c", b"user=a:b\nno-tcp-relay").is_complete());
}

proptest! {
    #[test]
    fn whatever_stands_in_a_file_the_settings_can_be_loaded(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        loaded(&convert("c", &text));
    }

    #[test]
    fn any_password_and_secret_comes_through(password in "[^\\r\\n\"]{1,30}", secret in "\\PC{1,30}") {
        prop_assume!(!password.starts_with("0x") && password.trim() == password && secret.trim() == secret);
        prop_assume!(!password.starts_with('=') && !secret.starts_with(['=', '"']));
        let first = loaded(&convert("c", format!("user=a:{password}").as_bytes()));
        prop_assert_eq!(first.settings.turn.users_static[0].1.reveal(), password);
        let second = loaded(&convert("c", format!("static-auth-secret={secret}").as_bytes()));
        prop_assert_eq!(second.settings.turn.users_secrets[0].reveal(), secret);
    }
}
