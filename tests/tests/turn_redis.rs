//! A Redis that serves coturn and voex alike, and one that dies in the middle of calls.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use voex_tests::redis::{Capture, Message, Redis};
use voex_tests::{ADDRESS, Finished, Namespace, Peer, Server};

const USER: &str = "gorst";
const PASSWORD: &str = "hero";
/// MD5 of `gorst:voex.test:hero`.
const KEY: &str = "a3ad5d4c806f28d0335d57bf1f7af628";
const KEY_NAME: &str = "turn/realm/voex.test/user/gorst/key";
/// Below it, with the id, stand the status key and the channels of a session.
const SESSIONS: &str = "turn/realm/voex.test/user/gorst/allocation/";
/// A session reports its traffic each time the four packet counts have grown by this together.
const REPORT_PACKETS: u64 = 4_096;
const SOON: Duration = Duration::from_secs(20);

const SETTINGS: &str = "turn.users.redis: ip=127.0.0.1 dbname=1
turn.stats.redis: ip=127.0.0.1 dbname=2
";

/// A process that ends with this value.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("coturn is installed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn echo(namespace: &Namespace) -> Running {
    let mut echo = namespace.command("turnutils_peer");
    echo.args(["-L", ADDRESS, "-p", "3480"]);
    Running::start(echo)
}

fn uclient(namespace: &Namespace, more: &[&str]) -> Peer {
    let mut client = namespace.command("turnutils_uclient");
    client.args(["-u", USER, "-w", PASSWORD, "-e", ADDRESS, "-r", "3480", "-c", "-X"]);
    client.args(more).arg(ADDRESS);
    Peer::start(client)
}

fn coturn(namespace: &Namespace) -> Running {
    let mut server = namespace.command("turnserver");
    server.args(["-n", "-L", ADDRESS, "-E", ADDRESS, "-m", "1", "-a", "-r", "voex.test"]);
    server.args(["--no-tls", "--no-dtls", "--no-cli", "--log-file", "/dev/null"]);
    server.args(["--pidfile", "/dev/null"]);
    server.args(["--redis-userdb", "ip=127.0.0.1 dbname=1"]);
    server.args(["--redis-statsdb", "ip=127.0.0.1 dbname=2"]);
    server.stdout(std::process::Stdio::null());
    Running::start(server)
}

/// Waits until somebody listens for clients; asking it would be a session.
fn wait_for_listener(namespace: &Namespace) {
    let asked = Instant::now();
    loop {
        let listing = namespace.command("ss").args(["-tuln"]).output();
        let listing = listing.expect("iproute2 is installed").stdout;
        let text = String::from_utf8_lossy(&listing);
        if ["udp", "tcp"].iter().all(|kind| {
            let mut lines = text.lines();
            lines.any(|line| line.starts_with(kind) && line.contains(&format!("{ADDRESS}:3478 ")))
        }) {
            return;
        }
        assert!(asked.elapsed() < SOON, "nobody listens:\n{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn nothing_is_lost(done: &Finished) {
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    assert!(report.contains("Total lost packets 0 (0.000000%)"), "{report}");
}

/// Whose transcript it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Coturn,
    Voex,
}

/// What one server did in Redis while one client ran.
struct Transcript {
    who: Who,
    commands: Vec<Message>,
    messages: Vec<Message>,
}

/// Runs a client against one of the servers with a Redis of its own.
fn record(who: Who, more: &[&str]) -> Transcript {
    let namespace = Namespace::new();
    let redis = Redis::start(&namespace);
    redis.run(1, &["set", KEY_NAME, KEY]);
    let messages = Capture::messages(&redis);
    let commands = Capture::commands(&redis);
    let _echo = echo(&namespace);
    let (_coturn, voex) = match who {
        Who::Coturn => (Some(coturn(&namespace)), None),
        Who::Voex => (None, Some(Server::start(&namespace, SETTINGS))),
    };
    wait_for_listener(&namespace);
    nothing_is_lost(&uclient(&namespace, more).finish(Duration::from_secs(60)));
    // Every session that relayed has ended when its sums are told.
    let relayed = |message: &Message| message[0].ends_with("/total_traffic/peer") && !message[1].starts_with("rcvp=0,");
    let asked = Instant::now();
    while messages.so_far().iter().filter(|message| relayed(message)).count() < sessions_of(more) {
        assert!(
            asked.elapsed() < SOON,
            "{who:?}: not every sum: {:#?}",
            messages.so_far()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    redis.run(0, &["publish", "over", ""]);
    let is_over = |message: &Message| message.contains(&"over".to_owned());
    let transcript = Transcript {
        who,
        commands: commands.until(is_over),
        messages: messages.until(is_over),
    };
    drop(voex);
    transcript
}

/// Counts the clients that relay.
fn sessions_of(more: &[&str]) -> usize {
    let clients = more
        .iter()
        .position(|word| *word == "-m")
        .and_then(|at| more.get(at + 1));
    clients.and_then(|count| count.parse().ok()).unwrap_or(1)
}

impl Transcript {
    /// Tells whether a command has no counterpart on the other side, and why that is no difference.
    fn is_apart(&self, words: &[String]) -> bool {
        let [name, rest @ ..] = words else {
            return true;
        };
        let key = rest.first().map(String::as_str).unwrap_or_default();
        let polled = [
            "max-bps",
            "total-quota",
            "user-quota",
            "allowed-peer-ip",
            "denied-peer-ip",
        ];
        match (self.who, &name.to_lowercase()[..]) {
            // How a connection begins, and how it shows that it lives: `__XXX__` is coturn's way, `ping` ours.
            (_, "auth" | "select" | "ping" | "info") => true,
            (Who::Coturn, "publish") if key == "__XXX__" => true,
            // Options of realms, each server at its own pace; coturn searches for realms and lists, we know the name.
            (_, "get" | "smembers") if polled.iter().any(|end| key.ends_with(end)) => true,
            (Who::Coturn, "keys") => {
                ["turn/origin/*", "turn/realm/*/allowed-peer-ip", "turn/realm/*/denied-peer-ip"]
                .contains(&key)
                // At start it deletes every status key there is; we note our own in a set instead.
                || key == "turn/*/allocation/*/status"
            }
            (Who::Voex, "sadd" | "srem" | "smembers") if key.starts_with("voex/turn/") => true,
            // Secrets are asked for in the same round trip as the key; coturn tries either the one or the other.
            (Who::Voex, "smembers") => key == "turn/realm/voex.test/secret",
            _ => false,
        }
    }

    /// Gives what was read: each question once, since coturn asks once a session and we at each Refresh too, and every 5 s
    /// for users with sessions.
    fn reads(&self) -> BTreeSet<String> {
        let shared = self.commands.iter().filter(|command| !self.is_apart(command));
        shared
            .filter(|command| is_read(command))
            .map(|command| command.join(" "))
            .collect()
    }

    /// Gives what was written and published, session by session in the order in which they began.
    fn sessions(&self) -> Vec<Session> {
        let mut sessions: Vec<(String, Session)> = Vec::new();
        for command in &self.commands {
            let words = &command[..];
            if self.is_apart(words) || is_read(command) {
                continue;
            }
            let own = words[1].strip_prefix(SESSIONS).and_then(|rest| rest.split_once('/'));
            let (id, end) = own.unwrap_or_else(|| panic!("{:?} does something else: {words:?}", self.who));
            let session = match sessions.iter().position(|(known, _)| known == id) {
                Some(at) => at,
                None => {
                    sessions.push((id.to_owned(), Session::default()));
                    sessions.len() - 1
                }
            };
            sessions[session].1.take(self.who, end, words);
        }
        sessions.into_iter().map(|(_, session)| session).collect()
    }

    /// Insists that subscribers heard what was published, in that order, and nothing else.
    fn assert_heard(&self) {
        let published = self.commands.iter().filter(|command| command[0] == "publish");
        let published: Vec<&[String]> = published.map(|command| &command[1..]).collect();
        let heard: Vec<&[String]> = self.messages.iter().map(|message| &message[..]).collect();
        assert_eq!(published, heard, "{:?}", self.who);
    }
}

fn is_read(command: &Message) -> bool {
    ["get", "smembers", "hgetall"].contains(&&command[0][..])
}

/// What was told of one session, with what belongs to one run alone left out.
#[derive(Default, PartialEq, Eq, Debug)]
struct Session {
    told: Vec<String>,
    client: Vec<Counts>,
    peer: Vec<Counts>,
    total: Option<[Counts; 2]>,
}

/// `rcvp`, `rcvb`, `sentp`, `sentb`.
type Counts = [u64; 4];

impl Session {
    fn take(&mut self, who: Who, end: &str, words: &[String]) {
        let text = words.get(2).map(String::as_str).unwrap_or_default();
        let shown = match end {
            "status" => without_port(text),
            "traffic" => {
                self.client.push(counts(text));
                String::new()
            }
            "traffic/peer" => {
                self.peer.push(counts(text));
                String::new()
            }
            "total_traffic" => {
                self.total = Some([counts(text), [0; 4]]);
                // coturn counts the first request and its 401 too, since it keeps state for clients that it does not know
                // yet. Bytes are those of each server's own answers and nonces.
                let [rcvp, _, sentp, _] = counts(text).map(|count| count - u64::from(who == Who::Coturn));
                format!("rcvp={rcvp}, sentp={sentp}")
            }
            "total_traffic/peer" => {
                self.total.as_mut().expect("the client's sums come first")[1] = counts(text);
                text.to_owned()
            }
            _ => panic!("{who:?} tells {end}"),
        };
        // coturn 4.6 deletes a key without a name as well.
        self.told
            .push(format!("{} {end} {shown}", words[0]).trim_end().to_owned());
    }

    /// Insists that the reports add up to the sums, and that they came when they were due. How far each count was when the
    /// four together were due depends on what was under way.
    fn assert_adds_up(&self) {
        let added = |reports: &[Counts]| {
            let add = |sum: Counts, report: &Counts| std::array::from_fn(|at| sum[at] + report[at]);
            reports.iter().fold([0; 4], add)
        };
        if let Some([client, peer]) = self.total {
            assert_eq!((added(&self.client), added(&self.peer)), (client, peer));
        }
        let packets = |counts: &Counts| counts[0] + counts[2];
        let mut reports: Vec<u64> = self
            .client
            .iter()
            .zip(&self.peer)
            .map(|(c, p)| packets(c) + packets(p))
            .collect();
        // The last one says what was left at the end.
        let last = self.total.and_then(|_| reports.pop());
        assert!(reports.iter().all(|packets| *packets == REPORT_PACKETS), "{reports:?}");
        assert!(last < Some(REPORT_PACKETS), "{last:?}");
    }
}

fn counts(text: &str) -> Counts {
    let names = ["rcvp", "rcvb", "sentp", "sentb"];
    let pairs: Vec<_> = text
        .split(", ")
        .map(|pair| pair.split_once('=').expect("name=count"))
        .collect();
    assert_eq!(pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names, "{text}");
    std::array::from_fn(|at| pairs[at].1.parse().expect("a count"))
}

/// Leaves out the client's port.
fn without_port(text: &str) -> String {
    let Some((before, after)) = text.split_once(&format!("remote={ADDRESS}:")) else {
        return text.to_owned();
    };
    let digits = after.find(',').expect("more follows");
    assert!(after[..digits].parse::<u16>().is_ok(), "{text}");
    format!("{before}remote={ADDRESS}:PORT{}", &after[digits..])
}

/// Runs the same client against both, and compares what they did in Redis.
fn assert_alike(more: &[&str]) -> Vec<Session> {
    let [coturn, voex] = [Who::Coturn, Who::Voex].map(|who| record(who, more));
    for transcript in [&coturn, &voex] {
        transcript.assert_heard();
    }
    assert_eq!(voex.reads(), coturn.reads());
    let (ours, theirs) = (voex.sessions(), coturn.sessions());
    for session in ours.iter().chain(&theirs) {
        session.assert_adds_up();
    }
    let told = |sessions: &[Session]| sessions.iter().map(|session| session.told.clone()).collect::<Vec<_>>();
    assert_eq!(told(&ours), told(&theirs));
    ours
}

/// Seconds that Redis stays dead; a longer time shows the same more thoroughly.
fn dead_s() -> u64 {
    let set = std::env::var("VOEX_TEST_REDIS_DEAD_S").ok();
    set.map_or(5, |seconds| {
        seconds.parse().expect("VOEX_TEST_REDIS_DEAD_S is a number")
    })
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < SOON, "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn calls_lose_nothing_while_redis_is_dead_and_users_it_knew_begin_new_ones() {
    let namespace = Namespace::new();
    let mut redis = Redis::start(&namespace);
    redis.run(1, &["set", KEY_NAME, KEY]);
    let server = Server::start(&namespace, SETTINGS);
    let _echo = echo(&namespace);
    let messages = (50 * (dead_s() + 10)).to_string();
    let calls = uclient(&namespace, &["-m", "20", "-n", &messages, "-z", "20", "-l", "100"]);
    eventually("the calls run", || {
        server.metric("turn_relayed_packets_total") > 1_000.0
    });
    assert_eq!((server.metric("redis_up"), server.get("/health").0), (1.0, 200));

    redis.kill();
    let died = Instant::now();
    eventually("it is known", || server.metric("redis_up") == 0.0);
    assert_eq!(server.get("/health").0, 503);
    let short = uclient(&namespace, &["-m", "2", "-n", "50", "-z", "20", "-l", "100"]);
    nothing_is_lost(&short.finish(Duration::from_secs(60)));
    std::thread::sleep(Duration::from_secs(dead_s()).saturating_sub(died.elapsed()));

    redis.start_again();
    eventually("it is connected again", || server.metric("redis_up") == 1.0);
    assert_eq!(server.get("/health").0, 200);
    nothing_is_lost(&calls.finish(Duration::from_secs(dead_s() + 60)));
    assert!(server.metric("turn_redis_look_ups_total{answer=\"remembered\"") >= 1.0);
    assert_eq!(server.metric("turn_redis_events_total{outcome=\"lost\""), 0.0);
    server.stop();
    assert_eq!(redis.run(2, &["keys", "*"]), "");
}

#[test]
fn redis_cannot_tell_voex_from_coturn_by_a_client_over_udp_with_channels() {
    let sessions = assert_alike(&["-m", "1", "-n", "3000", "-z", "2", "-l", "170"]);
    let reports = sessions.iter().map(|session| session.client.len()).max();
    assert_eq!(
        reports,
        Some(3),
        "3000 messages there and back are two reports and a rest"
    );
}

#[test]
fn redis_cannot_tell_voex_from_coturn_by_a_client_over_tcp_with_send_indications() {
    let sessions = assert_alike(&["-m", "1", "-n", "100", "-z", "5", "-l", "171", "-t", "-s"]);
    assert!(
        sessions.iter().all(|session| session.total.is_some()),
        "closed streams end their sessions"
    );
}

#[test]
fn redis_cannot_tell_voex_from_coturn_by_clients_that_reach_each_other() {
    assert_alike(&["-m", "2", "-n", "100", "-z", "10", "-l", "100", "-y"]);
}
