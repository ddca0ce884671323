//! A `redis-server` of one test.

use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use voex_base::WallTime;
use voex_config::RedisTarget;
use voex_store::{Config, Metrics, StatsConfig, Store, UsersConfig};
use voex_turn::{ClientPath, LookedUp, Session, SessionId, StoredUser, Wanted};

/// Longest wait for something that comes by itself.
pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const REALM: &str = "voex.test";
/// MD5 of `bob:voex.test:pw1`, as turnadmin writes it.
pub(crate) const KEY: &str = "38ea77b3222a6572d2bb78cfa6468419";

/// A server on a free port; it dies with this value.
pub(crate) struct Redis {
    pub(crate) port: u16,
    folder: PathBuf,
    more: Vec<String>,
    child: Child,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with further options.
    pub(crate) fn with(more: &[&str]) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("voex-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let child = launch(port, &folder, &more);
        let redis = Self {
            port,
            folder,
            more,
            child,
        };
        redis.wait_until_open();
        redis
    }

    /// Kills the server; what it held is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn start_again(&mut self) {
        self.child = launch(self.port, &self.folder, &self.more);
        self.wait_until_open();
    }

    /// Lets the server stand still: connections stay open and nothing answers.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn target(&self, more: &str) -> RedisTarget {
        RedisTarget::parse(&format!("ip=127.0.0.1 port={} {more}", self.port)).unwrap()
    }

    /// Connects as the CTS would.
    pub(crate) async fn cts(&self, login: &str) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{login}127.0.0.1:{}/", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Runs one command as the CTS would.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.cts("").await).await.unwrap()
    }

    /// Watches the commands that arrive from now on.
    pub(crate) async fn monitor(&self) -> Monitor {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(b"MONITOR\r\n").await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("+OK"));
        Monitor(lines)
    }

    fn wait_until_open(&self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < SOON, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn launch(port: u16, folder: &PathBuf, more: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
        .arg(port.to_string())
        .args(more)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .expect("redis-server is installed (scripts/test does it)")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Commands as a server shows them.
pub(crate) struct Monitor(Lines<BufReader<tokio::net::TcpStream>>);

impl Monitor {
    /// Reads commands, quotes and all but without time and sender, until one begins with `last`.
    pub(crate) async fn until(&mut self, last: &str) -> Vec<String> {
        let mut commands = Vec::new();
        let reading = async {
            loop {
                let line = self.0.next_line().await.unwrap().expect("the server lives");
                let command = line
                    .split_once("] ")
                    .expect("a command follows its sender")
                    .1
                    .to_owned();
                let is_last = command.starts_with(last);
                commands.push(command);
                if is_last {
                    return;
                }
            }
        };
        if tokio::time::timeout(SOON, reading).await.is_err() {
            panic!("no {last} after {commands:#?}");
        }
        commands
    }
}

/// A store under test.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
}

impl Opened {
    /// Opens a store and waits until it has connected or failed to.
    pub(crate) async fn new(users: Option<UsersConfig>, stats: Option<StatsConfig>) -> Self {
        let metrics = Arc::<Metrics>::default();
        let config = Config {
            realm: REALM.to_owned(),
            users,
            stats,
        };
        let store = Store::open(config, &metrics);
        store.settled(SOON).await;
        Self { store, metrics }
    }

    pub(crate) async fn look_up(&self, name: &str) -> LookedUp {
        let users = self.store.users.as_ref().unwrap();
        users.look_up(Wanted::User(name.into())).unwrap().await
    }

    /// Looks up a user that somebody must know of.
    pub(crate) async fn user(&self, name: &str) -> StoredUser {
        match self.look_up(name).await {
            LookedUp::User(user) => user,
            other => panic!("{name}: {other:?}"),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.metrics.is_up().unwrap()
    }
}

pub(crate) fn users(target: RedisTarget) -> UsersConfig {
    UsersConfig {
        target,
        remember: Duration::from_secs(3600),
        remembered_max: 1000,
        find_deleted: true,
        every: Duration::from_millis(50),
    }
}

pub(crate) fn stats(target: RedisTarget, server: &str) -> StatsConfig {
    StatsConfig {
        target,
        server: server.to_owned(),
    }
}

pub(crate) fn session(count: u64, user: &str) -> Arc<Session> {
    Arc::new(Session {
        id: SessionId::new(0, count),
        user: user.into(),
        realm: REALM.into(),
        path: ClientPath::udp(([127, 0, 0, 1], 3478).into()),
        client: ([127, 0, 0, 1], 5000).into(),
        transport: voex_turn::RelayTransport::Udp,
        relayed: Vec::new(),
        lifetime_s: 777,
        began: WallTime::from_unix(Duration::ZERO),
        traffic: Arc::default(),
    })
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < SOON, "not so after {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
