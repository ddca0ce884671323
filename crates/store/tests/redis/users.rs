//! Look-ups, deleted users, options of the realm.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use voex_store::LOOKUPS_MAX;
use voex_turn::{LookedUp, TokenAlgorithm, Wanted};

use crate::server::{KEY, Opened, Redis, SOON, session, until, users};

const BOB: &str = "turn/realm/voex.test/user/bob/key";
const SECRET: &str = "turn/realm/voex.test/secret";

#[tokio::test]
async fn a_user_and_the_secrets_are_looked_up_in_one_round_trip() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    redis.run::<()>(&["sadd", SECRET, "south", "north"]).await;
    let opened = Opened::new(Some(users(redis.target("dbname=0"))), None).await;
    let mut monitor = redis.monitor().await;
    let bob = opened.user("bob").await;
    assert_eq!(bob.md5_key.unwrap()[..2], [0x38, 0xea]);
    assert!(bob.sha256_key.is_none());
    assert_eq!(bob.secrets.len(), 2);
    let commands = monitor.until(r#""smembers" "turn/realm/voex.test/secret""#).await;
    assert!(commands.contains(&format!(r#""get" "{BOB}""#)), "{commands:#?}");
    assert_eq!(opened.metrics.lookups.found.load(Relaxed), 1);
    let nobody = opened.user("nobody").await;
    assert!(!nobody.exists());
    assert_eq!(nobody.secrets.len(), 2);
    assert_eq!(opened.metrics.lookups.unknown.load(Relaxed), 1);
}

#[tokio::test]
async fn a_change_holds_for_the_next_look_up() {
    let redis = Redis::start();
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(!opened.user("bob").await.exists());
    redis.run::<()>(&["set", BOB, KEY]).await;
    assert!(opened.user("bob").await.exists());
    let sha256 = "ab".repeat(32);
    redis.run::<()>(&["set", BOB, &sha256]).await;
    let rotated = opened.user("bob").await;
    assert_eq!((rotated.md5_key, rotated.sha256_key), (None, Some([0xab; 32])));
    redis.run::<()>(&["sadd", SECRET, "north"]).await;
    redis.run::<()>(&["del", BOB]).await;
    let deleted = opened.user("bob").await;
    assert!(!deleted.exists());
    assert_eq!(deleted.secrets.len(), 1);
    redis.run::<()>(&["srem", SECRET, "north"]).await;
    assert!(opened.user("bob").await.secrets.is_empty());
}

#[tokio::test]
async fn hostile_names_reach_their_own_key_and_no_other() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    for name in [
        "*",
        "b?b",
        "[b]ob",
        "bob/key",
        "%s%n%b",
        "two words",
        "a\r\nDEL turn/realm/voex.test/user/bob/key\r\n",
        "\"quoted\"",
        "../../bob",
        "жук",
        "nul\0l",
    ] {
        assert!(!opened.user(name).await.exists(), "{name:?} is somebody else");
        redis
            .run::<()>(&["set", &format!("turn/realm/voex.test/user/{name}/key"), KEY])
            .await;
        assert!(opened.user(name).await.exists(), "{name:?}");
    }
    assert!(opened.user("bob").await.exists());
}

#[tokio::test]
async fn values_of_a_wrong_form_or_type_are_no_users_and_are_counted() {
    let redis = Redis::start();
    let key = |user: &str| format!("turn/realm/voex.test/user/{user}/key");
    redis.run::<()>(&["set", &key("clear"), "password"]).await;
    redis.run::<()>(&["set", &key("short"), "1234"]).await;
    redis.run::<()>(&["sadd", &key("set"), KEY]).await;
    redis.run::<()>(&["hset", &key("hash"), "a", "b"]).await;
    redis.run::<()>(&["set", SECRET, "no set"]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    for user in ["clear", "short", "set", "hash"] {
        let found = opened.user(user).await;
        assert!(!found.exists() && found.secrets.is_empty(), "{user}");
    }
    // The secrets are wrong each time as well.
    assert_eq!(opened.metrics.wrong_values.load(Relaxed), 8);
    assert!(opened.is_up());
}

#[tokio::test]
async fn the_key_of_a_token_is_read() {
    let redis = Redis::start();
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    let look_up = || {
        let wanted = Wanted::Token("north".into());
        opened.store.users.as_ref().unwrap().look_up(wanted).unwrap()
    };
    assert!(matches!(look_up().await, LookedUp::Token(None)));
    let fields = ["ikm_key", "AQID", "as_rs_alg", "A128GCM", "lifetime", "3600"];
    let words = [&["hset", "turn/oauth/kid/north"][..], &fields].concat();
    redis.run::<()>(&words).await;
    let LookedUp::Token(Some(key)) = look_up().await else {
        panic!("the key is there");
    };
    assert_eq!((&*key.key, key.algorithm), (&[1, 2, 3][..], TokenAlgorithm::Aes128Gcm));
    assert_eq!((key.timestamp_s, key.lifetime_s), (0, 3600));
    redis.run::<()>(&["del", "turn/oauth/kid/north"]).await;
    redis.run::<()>(&["set", "turn/oauth/kid/north", "no hash"]).await;
    assert!(matches!(look_up().await, LookedUp::Token(None)));
}

#[tokio::test]
async fn password_user_and_database_are_used() {
    let redis = Redis::with(&["--requirepass", "s3=%c"]);
    let mut cts = redis.cts(":s3=%25c@").await;
    let acl = ["setuser", "turn", "on", ">pw", "~turn/*", "+@read", "+@connection"];
    redis::cmd("acl").arg(&acl).exec_async(&mut cts).await.unwrap();
    redis::cmd("select").arg(3).exec_async(&mut cts).await.unwrap();
    redis::cmd("set").arg(BOB).arg(KEY).exec_async(&mut cts).await.unwrap();
    for login in ["password=s3=%c db=3", "user=turn password=pw db=3"] {
        let opened = Opened::new(Some(users(redis.target(login))), None).await;
        assert!(opened.user("bob").await.exists(), "{login}");
    }
    let elsewhere = Opened::new(Some(users(redis.target("password=s3=%c db=2"))), None).await;
    assert!(!elsewhere.user("bob").await.exists());
    for wrong in ["password=guess", "", "password=s3=%c db=99"] {
        let opened = Opened::new(Some(users(redis.target(wrong))), None).await;
        assert!(!opened.is_up(), "{wrong}");
        assert!(matches!(opened.look_up("bob").await, LookedUp::Unavailable), "{wrong}");
    }
}

#[tokio::test]
async fn a_password_that_nobody_asks_for_does_no_harm() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let opened = Opened::new(Some(users(redis.target("password=unused"))), None).await;
    assert!(opened.user("bob").await.exists());
}

#[tokio::test]
async fn a_command_that_is_forbidden_makes_no_user_unknown() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(opened.user("bob").await.exists());
    redis.run::<()>(&["acl", "setuser", "default", "-get"]).await;
    assert!(opened.user("bob").await.exists(), "from memory");
    assert!(matches!(opened.look_up("nobody").await, LookedUp::Unavailable));
    assert!(opened.metrics.users.refused.load(Relaxed) >= 2);
}

#[tokio::test]
async fn users_live_on_while_redis_is_dead_and_it_comes_back_by_itself() {
    let mut redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    redis.run::<()>(&["sadd", SECRET, "north"]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(opened.user("bob").await.exists());
    redis.kill();
    until("the connection is known to be gone", || async { !opened.is_up() }).await;
    assert!(opened.user("bob").await.exists());
    assert_eq!(opened.user("1800000000:app").await.secrets.len(), 1);
    assert!(matches!(opened.look_up("alice").await, LookedUp::Unavailable));
    assert_eq!(opened.metrics.lookups.remembered.load(Relaxed), 2);
    assert_eq!(opened.metrics.lookups.unavailable.load(Relaxed), 1);
    redis.start_again();
    until("it is connected again", || async { opened.is_up() }).await;
    assert!(!opened.user("bob").await.exists(), "what Redis says now holds");
    redis.kill();
    until("the connection is known to be gone", || async { !opened.is_up() }).await;
    assert!(matches!(opened.look_up("bob").await, LookedUp::Unavailable));
}

#[tokio::test]
async fn a_redis_that_is_down_at_start_is_found_later() {
    let mut redis = Redis::start();
    redis.kill();
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(matches!(opened.look_up("bob").await, LookedUp::Unavailable));
    redis.start_again();
    until("it is connected", || async { opened.is_up() }).await;
    assert!(!opened.user("bob").await.exists());
}

#[tokio::test]
async fn a_redis_that_stands_still_costs_one_wait_and_then_memory_serves() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(opened.user("bob").await.exists());
    redis.freeze(true);
    let asked = Instant::now();
    assert!(opened.user("bob").await.exists());
    let first = asked.elapsed();
    assert!(first < Duration::from_secs(4), "{first:?}");
    until("the connection is given up", || async { !opened.is_up() }).await;
    let asked = Instant::now();
    assert!(opened.user("bob").await.exists());
    assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
    redis.freeze(false);
    until("it is connected again", || async { opened.is_up() }).await;
}

#[tokio::test]
async fn look_ups_under_way_are_bounded() {
    let redis = Redis::start();
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    let users = opened.store.users.as_ref().unwrap();
    let look_up = || users.look_up(Wanted::User("bob".into()));
    let waiting: Vec<_> = (0..LOOKUPS_MAX).map(|_| look_up().expect("there is room")).collect();
    assert!(look_up().is_none());
    assert_eq!(opened.metrics.lookups.overload.load(Relaxed), 1);
    drop(waiting);
    assert!(look_up().is_some());
}

#[tokio::test]
async fn a_user_that_is_deleted_while_its_session_lives_is_named() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let mut opened = Opened::new(Some(users(redis.target(""))), None).await;
    let deleted = opened.store.deleted.take();
    assert!(opened.user("bob").await.exists());
    let users = opened.store.users.clone().unwrap();
    users.began(&session(1, "bob"));
    users.began(&session(2, "static"));
    redis.run::<()>(&["del", BOB]).await;
    let named = timeout(SOON, deleted.unwrap().recv()).await.unwrap();
    assert_eq!(named.as_deref(), Some("bob"));
    assert_eq!(opened.metrics.deleted_users.load(Relaxed), 1);
}

#[tokio::test]
async fn a_user_whose_session_is_older_than_the_store_is_named_once_its_key_was_seen() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let mut opened = Opened::new(Some(users(redis.target(""))), None).await;
    let deleted = opened.store.deleted.take();
    opened.store.users.as_ref().unwrap().began(&session(1, "bob"));
    assert!(opened.user("bob").await.exists());
    redis.run::<()>(&["del", BOB]).await;
    let named = timeout(SOON, deleted.unwrap().recv()).await.unwrap();
    assert_eq!(named.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_flushed_database_has_deleted_its_users() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let mut opened = Opened::new(Some(users(redis.target(""))), None).await;
    let deleted = opened.store.deleted.take();
    assert!(opened.user("bob").await.exists());
    opened.store.users.as_ref().unwrap().began(&session(1, "bob"));
    redis.run::<()>(&["flushdb"]).await;
    let named = timeout(SOON, deleted.unwrap().recv()).await.unwrap();
    assert_eq!(named.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_has_deleted_nobody_until_it_knew_them_again() {
    let mut redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let mut opened = Opened::new(Some(users(redis.target(""))), None).await;
    let mut deleted = opened.store.deleted.take().unwrap();
    assert!(opened.user("bob").await.exists());
    opened.store.users.as_ref().unwrap().began(&session(1, "bob"));
    redis.kill();
    redis.start_again();
    until("it is connected again", || async {
        opened.metrics.users.connects.load(Relaxed) > 1
    })
    .await;
    let mut monitor = redis.monitor().await;
    let asked = format!(r#""get" "{BOB}""#);
    monitor.until(&asked).await;
    monitor.until(&asked).await;
    assert!(deleted.try_recv().is_err());
    redis.run::<()>(&["set", BOB, KEY]).await;
    monitor.until(&asked).await;
    monitor.until(&asked).await;
    redis.run::<()>(&["del", BOB]).await;
    assert_eq!(timeout(SOON, deleted.recv()).await.unwrap().as_deref(), Some("bob"));
}

#[tokio::test]
async fn whoever_has_sessions_is_remembered_when_redis_comes_back_empty() {
    let mut redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    redis
        .run::<()>(&["set", "turn/realm/voex.test/user/carol/key", KEY])
        .await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(opened.user("bob").await.exists() && opened.user("carol").await.exists());
    opened.store.users.as_ref().unwrap().began(&session(1, "bob"));
    redis.kill();
    redis.start_again();
    until("it is connected again", || async {
        opened.metrics.users.connects.load(Relaxed) > 1
    })
    .await;
    assert!(opened.user("bob").await.exists());
    assert!(!opened.user("carol").await.exists());
    opened.store.users.as_ref().unwrap().ended(session(1, "bob").id);
    assert!(!opened.user("bob").await.exists());
}

#[tokio::test]
async fn a_connection_that_broke_hides_no_deletion() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let mut opened = Opened::new(Some(users(redis.target(""))), None).await;
    let mut deleted = opened.store.deleted.take().unwrap();
    assert!(opened.user("bob").await.exists());
    opened.store.users.as_ref().unwrap().began(&session(1, "bob"));
    redis.run::<()>(&["client", "kill", "type", "normal"]).await;
    redis.run::<()>(&["del", BOB]).await;
    assert_eq!(timeout(SOON, deleted.recv()).await.unwrap().as_deref(), Some("bob"));
    assert!(!opened.user("bob").await.exists());
}

#[tokio::test]
async fn only_names_that_are_known_are_asked_for() {
    let redis = Redis::start();
    redis.run::<()>(&["set", BOB, KEY]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    assert!(opened.user("bob").await.exists());
    let users = opened.store.users.as_ref().unwrap();
    users.began(&session(1, "bob"));
    users.began(&session(2, "1800000000:app"));
    let mut monitor = redis.monitor().await;
    let commands = [monitor.until(r#""get" "turn/realm/voex.test/user"#).await, {
        monitor.until(r#""get" "turn/realm/voex.test/user"#).await
    }]
    .concat();
    let names = [
        r#""get" "turn/realm/voex.test/max-bps""#,
        r#""get" "turn/realm/voex.test/total-quota""#,
        r#""get" "turn/realm/voex.test/user-quota""#,
        r#""smembers" "turn/realm/voex.test/allowed-peer-ip""#,
        r#""get" "turn/realm/voex.test/allowed-peer-ip""#,
        r#""smembers" "turn/realm/voex.test/denied-peer-ip""#,
        r#""get" "turn/realm/voex.test/denied-peer-ip""#,
        r#""get" "turn/realm/voex.test/user/bob/key""#,
    ];
    let strange: Vec<_> = commands
        .iter()
        .filter(|command| !names.contains(&&command[..]))
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

#[tokio::test]
async fn options_and_lists_of_the_realm_are_followed() {
    let redis = Redis::start();
    let of_realm = |name: &str| format!("turn/realm/voex.test/{name}");
    redis.run::<()>(&["set", &of_realm("max-bps"), "125000"]).await;
    redis.run::<()>(&["set", &of_realm("total-quota"), "100"]).await;
    redis
        .run::<()>(&[
            "sadd",
            &of_realm("denied-peer-ip"),
            "10.0.0.0-10.255.255.255",
            "2001:db8::1",
        ])
        .await;
    redis
        .run::<()>(&["set", &of_realm("allowed-peer-ip"), "10.1.0.0-10.1.255.255"])
        .await;
    redis.run::<()>(&["set", "turn/realm/other/user-quota", "1"]).await;
    let opened = Opened::new(Some(users(redis.target(""))), None).await;
    let mut rules = opened.store.rules.clone();
    let shown = |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = timeout(SOON, rules.wait_for(|rules| rules.allocations.is_some()));
    let first = first.await.unwrap().unwrap().clone();
    assert_eq!((first.bandwidth_bytes_s, first.allocations), (Some(125_000), Some(100)));
    assert_eq!(first.allocations_per_user, None);
    assert_eq!(shown(&first.deny), ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(shown(&first.allow), ["10.1.0.0/16"]);
    assert_eq!(first.servers, [([127, 0, 0, 1], redis.port).into()]);
    redis.run::<()>(&["del", &of_realm("denied-peer-ip")]).await;
    redis.run::<()>(&["set", &of_realm("user-quota"), "0"]).await;
    let changed = timeout(
        SOON,
        rules.wait_for(|rules| rules.allocations_per_user == Some(0) && rules.deny.is_empty()),
    );
    assert_eq!(changed.await.unwrap().unwrap().allocations, Some(100));
}
