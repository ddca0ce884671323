//! The way to one Redis: connected, connected again after growing waits, shown to whoever asks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use voex_config::RedisTarget;

use crate::dial::{Dialled, dial, told};
use crate::metrics::{LinkMetrics, Metrics, count};
use crate::realm::Rules;
use crate::stored::Reply;
use crate::throttle::Throttle;

/// First wait before connecting again; each further one is twice as long.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait before connecting again.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Reports of a broken connection that may wait; one is enough.
const REPORTS_MAX: usize = 16;

/// Longest wait for an answer; a connection that keeps one longer is given up.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A way to one Redis. Its task ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    purpose: Purpose,
    state: watch::Receiver<State>,
    metrics: Arc<Metrics>,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Users,
    Stats,
}

/// How a link stands.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// The first attempt is under way.
    Trying,
    /// Commands are taken.
    Up(Connection),
    /// They are not; the link tries again by itself.
    Down,
}

/// A connection, as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    /// Counts the connections of this link.
    pub(crate) epoch: u64,
    /// Counts the lives of the server, as far as this link knows: another one may have forgotten what it held.
    pub(crate) life: u64,
    broken: mpsc::Sender<u64>,
    metrics: Arc<Metrics>,
}

/// The connection is gone, or gave no answer in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lost;

impl Link {
    /// Starts connecting; the task does it.
    pub(crate) fn open(
        target: RedisTarget,
        purpose: Purpose,
        rules: Rules,
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (state_tx, state) = watch::channel(State::Trying);
        let (broken, reports) = mpsc::channel(REPORTS_MAX);
        purpose.metrics(&metrics).wanted.store(true, Relaxed);
        let supervisor = Supervisor {
            target,
            purpose,
            state: state_tx,
            broken,
            rules,
            metrics: metrics.clone(),
            epoch: 0,
            life: 0,
            run_id: None,
            failing: Throttle::default(),
        };
        let task = tokio::spawn(supervisor.run(reports));
        let link = Self {
            purpose,
            state,
            metrics,
        };
        (link, task)
    }

    /// Gives the connection if there is one; waits only while the first attempt is under way.
    pub(crate) async fn connection(&self) -> Result<Connection, Lost> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Trying)).await;
        match settled.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            _ => Err(Lost),
        }
    }

    /// Waits until there is a connection other than the one of `epoch`.
    pub(crate) async fn next_connection(&self, epoch: u64) -> Result<Connection, Lost> {
        let mut state = self.state.clone();
        let is_new = |state: &State| matches!(state, State::Up(connection) if connection.epoch != epoch);
        match state.wait_for(is_new).await.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            _ => Err(Lost),
        }
    }

    /// Waits until the connection of `epoch` is gone.
    pub(crate) async fn lost(&self, epoch: u64) {
        let mut state = self.state.clone();
        let is_gone = |state: &State| !matches!(state, State::Up(connection) if connection.epoch == epoch);
        // An error means that the link itself is gone, and its connections with it.
        let _ = state.wait_for(is_gone).await;
    }

    /// Waits until the first attempt has succeeded or failed.
    pub(crate) async fn settled(&self) {
        let _ = self.connection().await;
    }

    /// Counts a command that the server refused.
    pub(crate) fn refused(&self) {
        count(&self.purpose.metrics(&self.metrics).refused);
    }
}

impl Connection {
    /// Runs commands in one round trip and gives the reply to each.
    ///
    /// # Errors
    /// When the connection broke or was silent for too long; it is then given up by everybody.
    pub(crate) async fn run(&mut self, commands: &mut Pipeline) -> Result<Vec<Reply>, Lost> {
        // Replies of the server that are errors arrive as values.
        commands.ignore_errors();
        let asked = Instant::now();
        match timeout(ANSWER_MAX, commands.query_async::<Vec<Value>>(&mut self.inner)).await {
            Ok(Ok(values)) if values.len() == commands.len() => {
                self.metrics.record_round_trip(asked.elapsed());
                return Ok(values.into_iter().map(Reply::from).collect());
            }
            Ok(Ok(_)) => tracing::debug!("Redis: answers are missing"),
            Ok(Err(error)) => tracing::debug!("Redis: {}", told(&error)),
            Err(_) => tracing::debug!("Redis: no answer within {ANSWER_MAX:?}"),
        }
        // A full queue has a report of this connection already.
        let _ = self.broken.try_send(self.epoch);
        Err(Lost)
    }
}

impl Purpose {
    fn metrics(self, metrics: &Metrics) -> &LinkMetrics {
        match self {
            Self::Users => &metrics.users,
            Self::Stats => &metrics.stats,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Stats => "statistics",
        }
    }
}

/// Keeps a link connected.
struct Supervisor {
    target: RedisTarget,
    purpose: Purpose,
    state: watch::Sender<State>,
    broken: mpsc::Sender<u64>,
    /// Told of every address that the target has had.
    rules: Rules,
    metrics: Arc<Metrics>,
    epoch: u64,
    life: u64,
    /// What the server called its life when it last was connected to.
    run_id: Option<String>,
    failing: Throttle,
}

impl Supervisor {
    /// Connects for as long as anybody holds the link.
    async fn run(mut self, mut reports: mpsc::Receiver<u64>) {
        let state = self.state.clone();
        tokio::select! {
            () = self.keep_connected(&mut reports) => {}
            () = state.closed() => {}
        }
    }

    async fn keep_connected(&mut self, reports: &mut mpsc::Receiver<u64>) {
        let mut wait = WAIT_MIN;
        loop {
            match dial(&self.target, &self.rules).await {
                Ok(dialled) => {
                    let since = Instant::now();
                    let (connection, driver) = self.connected(dialled);
                    hold(connection, driver, reports).await;
                    if since.elapsed() > WAIT_MAX {
                        wait = WAIT_MIN;
                    }
                    self.down("the connection broke");
                }
                Err(error) => self.down(&error),
            }
            sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn connected(&mut self, dialled: Dialled) -> (Connection, JoinHandle<()>) {
        self.epoch += 1;
        if dialled.run_id.is_none() || dialled.run_id != self.run_id {
            self.life += 1;
        }
        self.run_id = dialled.run_id;
        let of_link = self.purpose.metrics(&self.metrics);
        of_link.up.store(true, Relaxed);
        count(&of_link.connects);
        let (noun, target) = (self.purpose.noun(), &self.target);
        tracing::info!("Redis for {noun}: connected to {} ({target})", dialled.peer);
        if dialled.password_is_unused {
            tracing::warn!("Redis for {noun}: a password is set here, and the server asks for none");
        }
        let connection = Connection {
            inner: dialled.connection,
            epoch: self.epoch,
            life: self.life,
            broken: self.broken.clone(),
            metrics: self.metrics.clone(),
        };
        self.state.send_replace(State::Up(connection.clone()));
        (connection, dialled.driver)
    }

    fn down(&self, error: &str) {
        let of_link = self.purpose.metrics(&self.metrics);
        of_link.up.store(false, Relaxed);
        count(&of_link.failures);
        self.state.send_replace(State::Down);
        let (noun, target) = (self.purpose.noun(), &self.target);
        self.failing.once_a_minute(|more| match more {
            0 => tracing::warn!("Redis for {noun}: {error} ({target}); trying again"),
            _ => tracing::warn!("Redis for {noun}: {error} ({target}); {more} failures before this one"),
        });
    }
}

/// Waits until a connection breaks.
async fn hold(mut connection: Connection, mut driver: JoinHandle<()>, reports: &mut mpsc::Receiver<u64>) {
    let epoch = connection.epoch;
    loop {
        tokio::select! {
            // Reports of an earlier connection may still wait.
            Some(broken) = reports.recv() => if broken == epoch {
                return;
            },
            _ = &mut driver => return,
            () = sleep(PING_EVERY) => if connection.run(redis::pipe().cmd("ping")).await.is_err() {
                return;
            },
        }
    }
}
