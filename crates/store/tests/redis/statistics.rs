//! Status keys and messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use voex_store::{Stats, WAITING_MAX};
use voex_turn::{EndReason, Event, Flow, Session};

use crate::server::{Opened, Redis, SOON, session, stats, until};

const PATH: &str = "type=UDP, local=127.0.0.1:3478, remote=127.0.0.1:5000, ssl=NONE, cipher=NONE";

fn began(stats: &Stats, session: &Arc<Session>) {
    stats.hear(session, &Event::Began(Box::new((**session).clone())));
}

fn refreshed(stats: &Stats, session: &Arc<Session>, lifetime_s: u32) {
    let session_id = session.id;
    stats.hear(
        session,
        &Event::Refreshed {
            session: session_id,
            lifetime_s,
        },
    );
}

fn ended(stats: &Stats, session: &Arc<Session>, last: Flow) {
    let event = Event::Ended {
        session: session.id,
        reason: EndReason::Released,
        last: (last, last),
    };
    stats.hear(session, &event);
}

fn status_key(session: &Session) -> String {
    format!(
        "turn/realm/voex.test/user/{}/allocation/{}/status",
        session.user, session.id
    )
}

async fn keys(redis: &Redis) -> BTreeSet<String> {
    redis.run(&["keys", "turn/*"]).await
}

fn names<'a>(sessions: impl IntoIterator<Item = &'a Arc<Session>>) -> BTreeSet<String> {
    sessions.into_iter().map(|session| status_key(session)).collect()
}

async fn open(redis: &Redis, server: &str) -> (Opened, Stats) {
    let opened = Opened::new(None, Some(stats(redis.target(""), server))).await;
    let stats = opened.store.stats.clone().unwrap();
    (opened, stats)
}

#[tokio::test]
async fn a_session_is_told_in_order_and_leaves_nothing_behind() {
    let redis = Redis::start();
    let (_opened, stats) = open(&redis, "a").await;
    let mut monitor = redis.monitor().await;
    let gorst = session(1, "gorst");
    began(&stats, &gorst);
    refreshed(&stats, &gorst, 600);
    let flow = Flow {
        received_packets: 2,
        received_bytes: 3,
        sent_packets: 4,
        sent_bytes: 5,
    };
    stats.hear(
        &gorst,
        &Event::Traffic {
            session: gorst.id,
            client: flow,
            peer: flow,
        },
    );
    stats.flush(SOON).await;
    let live: Vec<String> = redis.run(&["mget", &status_key(&gorst)]).await;
    assert_eq!(live, [format!("refreshed lifetime=600, {PATH}")]);
    refreshed(&stats, &gorst, 0);
    ended(&stats, &gorst, flow);
    let commands = monitor.until(r#""srem""#).await;
    let prefix = "turn/realm/voex.test/user/gorst/allocation/000000000000000001/";
    let told: Vec<String> = commands
        .iter()
        .filter(|command| {
            command.starts_with(r#""set""#) || command.starts_with(r#""publish""#) || command.starts_with(r#""del""#)
        })
        .map(|command| command.replace(prefix, "~"))
        .collect();
    let counts = "rcvp=2, rcvb=3, sentp=4, sentb=5";
    let nothing = "rcvp=0, rcvb=0, sentp=0, sentb=0";
    let expected = [
        format!(r#""set" "~status" "new lifetime=777, {PATH}""#),
        format!(r#""publish" "~status" "new lifetime=777, {PATH}""#),
        format!(r#""set" "~status" "refreshed lifetime=600, {PATH}""#),
        format!(r#""publish" "~status" "refreshed lifetime=600, {PATH}""#),
        format!(r#""publish" "~traffic" "{counts}""#),
        format!(r#""publish" "~traffic/peer" "{counts}""#),
        format!(r#""set" "~status" "refreshed lifetime=0, {PATH}""#),
        format!(r#""publish" "~status" "refreshed lifetime=0, {PATH}""#),
        format!(r#""publish" "~traffic" "{counts}""#),
        format!(r#""publish" "~traffic/peer" "{counts}""#),
        r#""del" "~status""#.to_owned(),
        r#""publish" "~status" "deleted""#.to_owned(),
        format!(r#""publish" "~total_traffic" "{nothing}""#),
        format!(r#""publish" "~total_traffic/peer" "{nothing}""#),
    ];
    assert_eq!(told, expected);
    stats.flush(SOON).await;
    assert_eq!(redis.run::<Vec<String>>(&["keys", "*"]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_deletes_what_the_same_server_left_and_nothing_of_another() {
    let redis = Redis::start();
    let (own, other) = (session(1, "gorst"), session(2, "gorst"));
    let coturn = "turn/realm/voex.test/user/x/allocation/000000000000000009/status";
    redis.run::<()>(&["set", coturn, "new lifetime=600"]).await;
    let (first, first_stats) = open(&redis, "a").await;
    let (_second, second_stats) = open(&redis, "b").await;
    began(&first_stats, &own);
    began(&second_stats, &other);
    first_stats.flush(SOON).await;
    second_stats.flush(SOON).await;
    let with_coturn = |mut names: BTreeSet<String>| {
        names.insert(coturn.to_owned());
        names
    };
    assert_eq!(keys(&redis).await, with_coturn(names([&own, &other])));
    // Killed: it tells nobody.
    drop((first, first_stats));
    let mut monitor = redis.monitor().await;
    let (_again, _stats) = open(&redis, "a").await;
    let commands = monitor.until(r#""srem""#).await;
    assert_eq!(keys(&redis).await, with_coturn(names([&other])));
    let searches = commands
        .iter()
        .filter(|command| command.contains("\"keys\"") || command.contains("scan"));
    assert_eq!(searches.count(), 0, "{commands:#?}");
}

#[tokio::test]
async fn status_keys_are_right_again_after_redis_was_dead() {
    let mut redis = Redis::start();
    let (opened, stats) = open(&redis, "a").await;
    let [long, refreshed_meanwhile, ended_meanwhile, new] = [1, 2, 3, 4].map(|count| session(count, "gorst"));
    for session in [&long, &refreshed_meanwhile, &ended_meanwhile] {
        began(&stats, session);
    }
    stats.flush(SOON).await;
    redis.kill();
    until("the connection is known to be gone", || async { !opened.is_up() }).await;
    refreshed(&stats, &refreshed_meanwhile, 888);
    ended(&stats, &ended_meanwhile, Flow::default());
    began(&stats, &new);
    redis.start_again();
    until("it is connected again", || async { opened.is_up() }).await;
    stats.flush(SOON).await;
    assert_eq!(keys(&redis).await, names([&long, &refreshed_meanwhile, &new]));
    let status: String = redis.run(&["get", &status_key(&refreshed_meanwhile)]).await;
    assert_eq!(status, format!("refreshed lifetime=888, {PATH}"));
    for session in [&long, &refreshed_meanwhile, &new] {
        ended(&stats, session, Flow::default());
    }
    stats.flush(SOON).await;
    assert_eq!(redis.run::<Vec<String>>(&["keys", "*"]).await, Vec::<String>::new());
    assert_eq!(
        opened.metrics.unpublished.load(Relaxed),
        0,
        "few events wait without loss"
    );
}

#[tokio::test]
async fn events_that_wait_are_bounded_and_the_state_is_right_all_the_same() {
    let mut redis = Redis::start();
    redis.kill();
    let (opened, stats) = open(&redis, "a").await;
    let lives = session(1, "gorst");
    began(&stats, &lives);
    for count in 2..WAITING_MAX as u64 {
        let passing = session(count, "gorst");
        began(&stats, &passing);
        ended(&stats, &passing, Flow::default());
    }
    let told = 2 * (WAITING_MAX as u64 - 2) + 1;
    assert_eq!(opened.metrics.waiting.load(Relaxed), WAITING_MAX as i64);
    assert_eq!(opened.metrics.unpublished.load(Relaxed), told - WAITING_MAX as u64);
    redis.start_again();
    until("it is connected", || async { opened.is_up() }).await;
    stats.flush(Duration::from_secs(60)).await;
    assert_eq!(keys(&redis).await, names([&lives]));
    assert_eq!(opened.metrics.published.load(Relaxed), WAITING_MAX as u64);
}

#[tokio::test]
async fn status_keys_that_redis_refused_are_written_later() {
    let redis = Redis::start();
    let (opened, stats) = open(&redis, "a").await;
    redis.run::<()>(&["config", "set", "maxmemory", "1"]).await;
    let gorst = session(1, "gorst");
    began(&stats, &gorst);
    stats.flush(SOON).await;
    assert!(keys(&redis).await.is_empty());
    assert!(opened.metrics.stats.refused.load(Relaxed) >= 1);
    redis.run::<()>(&["config", "set", "maxmemory", "0"]).await;
    until("the key is written", || async { keys(&redis).await == names([&gorst]) }).await;
    assert!(opened.is_up());
}

#[tokio::test]
async fn sessions_move_to_another_database_and_nobody_is_told() {
    let (old, new) = (Redis::start(), Redis::start());
    let (opened, stats) = open(&old, "a").await;
    let (began_new, then_refreshed) = (session(1, "gorst"), session(2, "gorst"));
    began(&stats, &began_new);
    began(&stats, &then_refreshed);
    stats.flush(SOON).await;
    let mut monitors = [old.monitor().await, new.monitor().await];
    stats.leave();
    opened.store.close(SOON).await;
    assert!(keys(&old).await.is_empty());
    assert_eq!(opened.metrics.is_up(), None);
    let (_opened, stats) = open(&new, "a").await;
    stats.adopt(&began_new, None);
    stats.adopt(&then_refreshed, Some(888));
    until("the keys are written", || async {
        keys(&new).await == names([&began_new, &then_refreshed])
    })
    .await;
    let status: String = new.run(&["get", &status_key(&then_refreshed)]).await;
    assert_eq!(status, format!("refreshed lifetime=888, {PATH}"));
    for (redis, monitor) in [&old, &new].into_iter().zip(&mut monitors) {
        redis.run::<()>(&["set", "over", "1"]).await;
        let commands = monitor.until(r#""set" "over""#).await;
        assert!(
            !commands.iter().any(|command| command.contains("publish")),
            "{commands:#?}"
        );
    }
}

#[tokio::test]
async fn hostile_names_are_told_as_they_are() {
    let redis = Redis::start();
    let (_opened, stats) = open(&redis, "a").await;
    let sessions: Vec<_> = (1..)
        .zip(["%s%n", "*", "a b", "x\r\nDEL y\r\n", "a/b", "ж"])
        .map(|(count, user)| session(count, user))
        .collect();
    sessions.iter().for_each(|session| began(&stats, session));
    stats.flush(SOON).await;
    assert_eq!(keys(&redis).await, names(&sessions));
    sessions
        .iter()
        .for_each(|session| ended(&stats, session, Flow::default()));
    stats.flush(SOON).await;
    assert!(keys(&redis).await.is_empty());
}
