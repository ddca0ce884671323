//! Redis: credentials in, statistics out, by coturn's keys.
//!
//! ```text
//!                 ┌ Users ── look-ups ───────────┐          ┌── dial: TCP, TLS, AUTH, SELECT
//!  control plane ─┤        └ rounds, every 5 s ──┼─ Link ───┤
//!                 └ Stats ── waiting ─► writer ──┘          └── again after 0.1 s to 5 s
//! ```
//!
//! Nothing here makes its caller wait for Redis: a look-up is a future with a limit, statistics go into a bounded queue.
//! While Redis is away, users it knew are answered from memory for a settable time, and nobody's session ends.
//!
//! | what | key | how it is read or written |
//! |---|---|---|
//! | a user's key | `turn/realm/R/user/U/key` | `GET` with each look-up: 32 hexadecimal digits are MD5, 64 SHA-256 |
//! | shared secrets | `turn/realm/R/secret` | `SMEMBERS` in the same round trip |
//! | key of a token | `turn/oauth/kid/K` | `HGETALL` with each look-up |
//! | options of the realm | `turn/realm/R/max-bps`, `total-quota`, `user-quota` | `GET` every 5 s |
//! | lists of peers | `turn/realm/R/allowed-peer-ip`, `denied-peer-ip` | `SMEMBERS` or `GET` every 5 s |
//! | which life of the server it is | | `INFO server` with each connection: after a restart absence means nothing yet |
//! | a live session | `turn/realm/R/user/U/allocation/ID/status` | `SET`, `PUBLISH`, `DEL` |
//! | its traffic | the same with `traffic`, `traffic/peer`, `total_traffic`, `total_traffic/peer` | `PUBLISH` |
//! | status keys of ours | `voex/turn/SERVER/status` | a set; what an earlier run has left is deleted by it |
//!
//! `KEYS` and `SCAN` are never used: every key is known by name. Deliberately absent: `turn/origin/*` (one realm), web
//! administrators (`turn/admin_user/*`), and the keep-alive messages of older servers.
#![forbid(unsafe_code)]

mod dial;
mod keys;
mod link;
mod live_users;
mod metrics;
mod realm;
mod rounds;
mod stats;
mod status;
mod stored;
mod throttle;
mod tls;
mod user_cache;
mod users;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use voex_config::RedisTarget;

use crate::link::{Link, Purpose};
use crate::realm::Rules;
use crate::rounds::Rounds;

pub use metrics::{LinkMetrics, Lookups, Metrics};
pub use realm::RealmRules;
pub use stats::{Stats, WAITING_MAX};
pub use users::{LOOKUPS_MAX, Users};

/// Names of deleted users that may wait to be heard of.
const DELETED_MAX: usize = 256;

/// What the store needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Realm of the users.
    pub realm: String,
    /// The database of users, if there is one.
    pub users: Option<UsersConfig>,
    /// The database of statistics, if there is one.
    pub stats: Option<StatsConfig>,
}

impl Config {
    /// Says that there is no database.
    pub fn none() -> Self {
        Self {
            realm: String::new(),
            users: None,
            stats: None,
        }
    }
}

/// The database of users.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsersConfig {
    /// Where it is.
    pub target: RedisTarget,
    /// How long a user that was seen is answered from memory while Redis is away.
    pub remember: Duration,
    /// How many users are remembered, and as many keys of tokens.
    pub remembered_max: usize,
    /// Whether [`Store::deleted`] hears of users with sessions whose key is gone.
    pub find_deleted: bool,
    /// How often options, lists and live users are looked at: 5 s.
    pub every: Duration,
}

/// The database of statistics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatsConfig {
    /// Where it is.
    pub target: RedisTarget,
    /// Names this server among those that share the database; the same after a restart.
    pub server: String,
}

/// The databases, as long as this value lives.
#[derive(Debug)]
pub struct Store {
    /// Look-ups, if there is a database of users.
    pub users: Option<Users>,
    /// Statistics, if there is a database of them.
    pub stats: Option<Stats>,
    /// Options of the realm as they change.
    pub rules: watch::Receiver<Arc<RealmRules>>,
    /// Names of users whose sessions are to end.
    pub deleted: Option<mpsc::Receiver<Box<str>>>,
    links: Vec<Link>,
    tasks: Tasks,
    metrics: Arc<Metrics>,
}

/// Tasks that end with this value.
#[derive(Default, Debug)]
struct Tasks(Vec<JoinHandle<()>>);

impl Store {
    /// Starts connecting; returns at once, whether Redis is there or not. Needs a tokio runtime.
    pub fn open(config: Config, metrics: &Arc<Metrics>) -> Self {
        let (rules, watched) = Rules::new();
        let mut store = Self {
            users: None,
            stats: None,
            rules: watched,
            deleted: None,
            links: Vec::new(),
            tasks: Tasks::default(),
            metrics: metrics.clone(),
        };
        if let Some(users) = config.users {
            store.open_users(users, &config.realm, rules.clone(), metrics);
        }
        if let Some(stats) = config.stats {
            let (link, supervisor) = Link::open(stats.target, Purpose::Stats, rules, metrics.clone());
            store.tasks.0.push(supervisor);
            let opened = Stats::new(metrics.clone());
            store.tasks.start(opened.writer(link.clone(), &stats.server).run());
            store.links.push(link);
            store.stats = Some(opened);
        }
        store
    }

    fn open_users(&mut self, config: UsersConfig, realm: &str, rules: Rules, metrics: &Arc<Metrics>) {
        let (link, supervisor) = Link::open(config.target.clone(), Purpose::Users, rules.clone(), metrics.clone());
        self.tasks.0.push(supervisor);
        let users = Users::new(&config, realm, link.clone(), metrics.clone());
        let (deleted_tx, deleted) = mpsc::channel(DELETED_MAX);
        let rounds = Rounds {
            shared: users.shared(),
            every: config.every,
            rules,
            deleted: config.find_deleted.then_some(deleted_tx),
        };
        self.tasks.start(rounds.run());
        self.links.push(link);
        self.users = Some(users);
        self.deleted = Some(deleted);
    }

    /// Waits until every database has been connected to, or could not be, at most `limit`.
    pub async fn settled(&self, limit: Duration) {
        let all = async {
            for link in &self.links {
                link.settled().await;
            }
        };
        // Whoever is late is connected to later.
        let _ = timeout(limit, all).await;
    }

    /// Writes what waits, if there is a connection, at most for `limit`; then closes every connection. Look-ups that are
    /// under way are answered from memory.
    pub async fn close(mut self, limit: Duration) {
        if let Some(stats) = self.stats.take()
            && self.metrics.stats.up.load(Relaxed)
        {
            stats.flush(limit).await;
        }
        for task in self.tasks.0.drain(..) {
            task.abort();
            // It ended because it was told to.
            let _ = task.await;
        }
        self.metrics.users.unwanted();
        self.metrics.stats.unwanted();
    }
}

impl Tasks {
    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Makes a session for tests.
#[cfg(test)]
fn test_session(count: u64, user: &str) -> voex_turn::Session {
    voex_turn::Session {
        id: voex_turn::SessionId::new(0, count),
        user: user.into(),
        realm: "voex.test".into(),
        path: voex_turn::ClientPath::udp(([127, 0, 0, 1], 3478).into()),
        client: ([127, 0, 0, 1], 5000).into(),
        transport: voex_turn::RelayTransport::Udp,
        relayed: Vec::new(),
        lifetime_s: 777,
        began: voex_base::WallTime::from_unix(Duration::ZERO),
        traffic: Arc::default(),
    }
}
