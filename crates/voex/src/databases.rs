//! The databases behind the TURN desk: credentials from Redis, statistics into it.
//!
//! ```text
//!  Desk ── Question, what happened ──► DeskStores ──► voex_store ──► Redis
//!    ▲── Answer ────────────────────────────┘             │
//!    ▲── Order::End(deleted user) ────────────────────────┤
//!  Host ◄── rules of the realm ───────────────────────────┘
//! ```

use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use voex_config::{Settings, Turn};
use voex_store::{Config, Metrics, RealmRules, Stats, StatsConfig, Store, Users, UsersConfig};
use voex_turn::{Event, Selection, Session};

use crate::media::host_name;
use crate::turn_desk::{Answer, Order, Question, Stores};
use crate::turn_sessions::{Filter, Sessions};

/// How often options of the realm and live users are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the start waits for Redis; whoever is later is connected to later.
const START_MAX: Duration = Duration::from_secs(1);
/// How long the end waits for what is still to be written.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The databases in use, and the ways between them and the desk.
pub(crate) struct Databases {
    metrics: Arc<Metrics>,
    sessions: Arc<Sessions>,
    orders: mpsc::Sender<Order>,
    handles: Arc<Mutex<Handles>>,
    config: Config,
    store: Store,
    rules: watch::Receiver<Arc<RealmRules>>,
}

/// What the desk uses; replaced when the settings name other databases.
#[derive(Default)]
struct Handles {
    users: Option<Users>,
    stats: Option<Stats>,
}

impl Databases {
    /// Starts connecting to what the settings name, and waits a moment for it.
    pub(crate) async fn open(
        settings: &Settings,
        metrics: Arc<Metrics>,
        sessions: Arc<Sessions>,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let config = config(settings);
        let store = Store::open(config.clone(), &metrics);
        store.settled(START_MAX).await;
        let mut databases = Self {
            metrics,
            sessions,
            orders,
            handles: Arc::default(),
            config,
            rules: store.rules.clone(),
            store,
        };
        databases.put_to_use();
        databases
    }

    /// Makes the desk's end.
    pub(crate) fn stores(&self, answers: mpsc::Sender<Answer>) -> Box<dyn Stores> {
        Box::new(DeskStores {
            handles: self.handles.clone(),
            answers,
        })
    }

    /// Takes over settings: when they name other databases, or use them otherwise, everything is opened anew.
    pub(crate) async fn reload(&mut self, settings: &Settings) {
        let config = config(settings);
        if config == self.config {
            return;
        }
        // From here on look-ups are answered "unavailable", and clients ask again.
        let before = std::mem::take(&mut *lock(&self.handles));
        if let Some(stats) = before.stats {
            stats.leave();
        }
        let closed = Store::open(Config::none(), &self.metrics);
        std::mem::replace(&mut self.store, closed).close(CLOSE_MAX).await;
        self.store = Store::open(config.clone(), &self.metrics);
        self.config = config;
        self.rules = self.store.rules.clone();
        self.put_to_use();
    }

    /// Gives what Redis says of the realm.
    pub(crate) fn rules(&self) -> Arc<RealmRules> {
        self.rules.borrow().clone()
    }

    /// Waits until Redis says something else of the realm.
    pub(crate) async fn rules_changed(&mut self) {
        if self.rules.changed().await.is_err() {
            // Nobody says anything any more.
            future::pending().await
        }
    }

    /// Writes what is still to be written, and closes the connections.
    pub(crate) async fn close(self) {
        self.store.close(CLOSE_MAX).await;
    }

    /// Lets the desk use the store, which takes over the sessions that live.
    fn put_to_use(&mut self) {
        if let Some(deleted) = self.store.deleted.take() {
            tokio::spawn(end_deleted(deleted, self.orders.clone()));
        }
        // The desk strikes a session out of the directory before it tells of the end: what is listed here while it cannot
        // tell will be told to have ended.
        let mut handles = lock(&self.handles);
        handles.users.clone_from(&self.store.users);
        handles.stats.clone_from(&self.store.stats);
        for entry in self.sessions.list(&Filter::default(), None, usize::MAX) {
            if let Some(users) = &handles.users {
                users.began(&entry.session);
            }
            if let Some(stats) = &handles.stats {
                let refreshed_s = (entry.refreshed > entry.began).then_some(entry.lifetime_s);
                stats.adopt(&entry.session, refreshed_s);
            }
        }
    }
}

fn lock(handles: &Mutex<Handles>) -> MutexGuard<'_, Handles> {
    handles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the sessions of users as they are found deleted.
async fn end_deleted(mut deleted: mpsc::Receiver<Box<str>>, orders: mpsc::Sender<Order>) {
    while let Some(user) = deleted.recv().await {
        let end = Order::End(Selection::DeletedUser(user));
        if orders.send(end).await.is_err() {
            return;
        }
    }
}

/// The desk's way to the databases.
struct DeskStores {
    handles: Arc<Mutex<Handles>>,
    answers: mpsc::Sender<Answer>,
}

impl Stores for DeskStores {
    fn look_up(&mut self, question: Question) -> Result<(), Question> {
        let look_up = match &lock(&self.handles).users {
            Some(users) => users.look_up(question.wanted.clone()),
            None => None,
        };
        let Some(look_up) = look_up else {
            return Err(question);
        };
        let answers = self.answers.clone();
        let Question { worker, id, .. } = question;
        tokio::spawn(async move {
            let found = look_up.await;
            // The desk is gone only when the process ends.
            let _ = answers.send(Answer { worker, id, found }).await;
        });
        Ok(())
    }

    fn hear(&mut self, session: &Arc<Session>, event: &Event) {
        let handles = lock(&self.handles);
        if let Some(users) = &handles.users {
            match event {
                Event::Began(_) => users.began(session),
                Event::Ended { .. } => users.ended(session.id),
                _ => {}
            }
        }
        if let Some(stats) = &handles.stats {
            stats.hear(session, event);
        }
    }
}

/// Gives what the settings say of databases.
fn config(settings: &Settings) -> Config {
    let turn = &settings.turn;
    if !turn.enabled {
        return Config::none();
    }
    let users = turn.users_redis.clone().map(|target| UsersConfig {
        target,
        remember: Duration::from_secs(turn.users_cache_s.into()),
        remembered_max: turn.users_cache_max as usize,
        find_deleted: turn.users_end_deleted,
        every: LOOK_EVERY,
    });
    let server = server_name(turn);
    let stats = turn.stats_redis.clone().map(|target| StatsConfig { target, server });
    let realm = turn.realm.clone().unwrap_or_else(host_name);
    Config { realm, users, stats }
}

/// Names this process among those that share a database, the same after each restart: by the host and where it listens.
fn server_name(turn: &Turn) -> String {
    let listen = turn.listen.iter().map(ToString::to_string);
    let ports = turn.plain_ports.iter().map(ToString::to_string);
    let at: Vec<String> = listen.chain(ports).collect();
    format!("{}/{}", host_name(), at.join(","))
}
