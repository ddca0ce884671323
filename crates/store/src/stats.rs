//! Statistics: what happens to sessions, in order, into Redis.
//!
//! ```text
//!  hear ──► waiting (bounded, the oldest makes room) ──► one pipeline after the other ──► Redis
//!     └───► live (what the status keys have to say) ────► written anew over each new connection
//! ```
//!
//! Whoever tells never waits. An event is sent at most once: what was under way when the connection broke is lost and
//! counted, because counts that were published twice would be billed twice. The status keys are put right over the next
//! connection, from what lives then; so are those that an earlier run of this server has left.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::pipe;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use voex_turn::{Event, Flow, Session, SessionId};

use crate::keys;
use crate::link::{Connection, Link, Lost};
use crate::metrics::Metrics;
use crate::status::Names;
use crate::stored::Reply;
use crate::throttle::Throttle;

/// Events that may wait for Redis; then the oldest is lost.
pub const WAITING_MAX: usize = 32_768;
/// Events sent in one round trip.
const EVENTS_A_TRIP: usize = 64;
/// Status keys written or deleted in one round trip while they are put right.
const KEYS_A_TRIP: usize = 256;
/// How soon status keys are put right after Redis refused to write one.
const MEND_AFTER: Duration = Duration::from_secs(5);

/// The database of statistics.
#[derive(Clone, Debug)]
pub struct Stats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something waits.
    more: Notify,
    /// Nothing waits, and nothing is under way.
    idle: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default, Debug)]
struct State {
    waiting: VecDeque<Note>,
    under_way: usize,
    /// An event that would have changed a status key was lost.
    out_of_step: bool,
    live: HashMap<SessionId, Live>,
}

#[derive(Debug)]
struct Live {
    session: Arc<Session>,
    refreshed_s: Option<u32>,
}

/// What happened to a session.
#[derive(Debug)]
struct Note {
    session: Arc<Session>,
    what: What,
}

#[derive(Debug)]
enum What {
    Began,
    Refreshed(u32),
    Traffic(Flow, Flow),
    /// It lives, and is told of elsewhere from now on.
    Left,
    Ended {
        last: (Flow, Flow),
        total: (Flow, Flow),
    },
}

impl Stats {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            more: Notify::new(),
            idle: Notify::new(),
            metrics,
        }))
    }

    /// Hears what happened to a session; each session's events in order. Look-ups are none of them.
    pub fn hear(&self, session: &Arc<Session>, event: &Event) {
        let mut state = self.0.state();
        let what = match event {
            Event::LookUp { .. } => return,
            // Nobody is told; what is written of it from now on names the new address.
            Event::Moved { .. } => {
                if let Some(live) = state.live.get_mut(&session.id) {
                    live.session = session.clone();
                }
                return;
            }
            Event::Began(_) => {
                let live = Live {
                    session: session.clone(),
                    refreshed_s: None,
                };
                state.live.insert(session.id, live);
                What::Began
            }
            Event::Refreshed { lifetime_s, .. } => {
                let live = state.live.get_mut(&session.id).filter(|_| *lifetime_s > 0);
                live.into_iter().for_each(|live| live.refreshed_s = Some(*lifetime_s));
                What::Refreshed(*lifetime_s)
            }
            Event::Traffic { client, peer, .. } => What::Traffic(*client, *peer),
            Event::Ended { last, .. } => {
                state.live.remove(&session.id);
                let total = (session.traffic.client(), session.traffic.peer());
                What::Ended { last: *last, total }
            }
        };
        let session = session.clone();
        self.0.wait(&mut state, Note { session, what });
    }

    /// Takes over a session that began before this database was used: its status key is written, and nobody is told.
    /// `refreshed_s` is the lifetime it was granted last, if that was by a Refresh.
    pub fn adopt(&self, session: &Arc<Session>, refreshed_s: Option<u32>) {
        let mut state = self.0.state();
        state.live.entry(session.id).or_insert_with(|| Live {
            session: session.clone(),
            refreshed_s,
        });
        state.out_of_step = true;
        drop(state);
        self.0.more.notify_one();
    }

    /// Deletes the status keys of all sessions, which live on: another database is used from now on. Nobody is told.
    pub fn leave(&self) {
        let mut state = self.0.state();
        let left: Vec<_> = state.live.drain().map(|(_, live)| live.session).collect();
        for session in left {
            let what = What::Left;
            self.0.wait(&mut state, Note { session, what });
        }
    }

    /// Waits until everything is in Redis, at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let all = async {
            loop {
                let idle = self.0.idle.notified();
                if self.0.state().is_idle() {
                    return;
                }
                idle.await;
            }
        };
        // What is not in Redis by then never will be.
        let _ = timeout(limit, all).await;
    }

    /// Makes the task that writes.
    pub(crate) fn writer(&self, link: Link, server: &str) -> Writer {
        Writer {
            shared: self.0.clone(),
            link,
            server: server.into(),
            refused: Throttle::default(),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a note wait; the oldest makes room.
    fn wait(&self, state: &mut State, note: Note) {
        state.waiting.push_back(note);
        if state.waiting.len() > WAITING_MAX {
            state.waiting.pop_front();
            state.out_of_step = true;
            self.metrics.unpublished.fetch_add(1, Relaxed);
        }
        self.metrics.waiting.store(state.waiting.len() as i64, Relaxed);
        self.more.notify_one();
    }

    /// Takes what is to be sent next.
    fn take(&self) -> Vec<Note> {
        let mut state = self.state();
        let count = state.waiting.len().min(EVENTS_A_TRIP);
        let notes: Vec<Note> = state.waiting.drain(..count).collect();
        state.under_way = notes.len();
        self.metrics.waiting.store(state.waiting.len() as i64, Relaxed);
        notes
    }

    /// Notes that nothing is under way; tells whether every event was sent since the last time.
    fn done(&self) -> bool {
        let mut state = self.state();
        state.under_way = 0;
        if state.is_idle() {
            self.idle.notify_waiters();
        }
        !std::mem::take(&mut state.out_of_step)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }
}

/// Writes for as long as the database is used.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    link: Link,
    server: Box<str>,
    refused: Throttle,
}

impl Writer {
    pub(crate) async fn run(self) {
        let mut epoch = 0;
        loop {
            let Ok(mut connection) = self.link.next_connection(epoch).await else {
                return;
            };
            epoch = connection.epoch;
            // An error means that the connection is gone: everything starts anew over the next one.
            let _ = self.serve(&mut connection).await;
            self.shared.done();
        }
    }

    async fn serve(&self, connection: &mut Connection) -> Result<(), Lost> {
        loop {
            let right = self.put_right(connection).await?;
            let mend = sleep(MEND_AFTER);
            tokio::pin!(mend);
            let mut wrote_all = right;
            loop {
                tokio::select! {
                    () = self.shared.more.notified() => wrote_all &= self.send_waiting(connection).await?,
                    () = &mut mend, if !wrote_all => break,
                    () = self.link.lost(connection.epoch) => return Err(Lost),
                }
            }
        }
    }

    /// Sends everything that waits; tells whether Redis took it all.
    async fn send_waiting(&self, connection: &mut Connection) -> Result<bool, Lost> {
        let mut took_all = true;
        loop {
            let notes = self.shared.take();
            if notes.is_empty() {
                let in_step = self.shared.done();
                return Ok(took_all && in_step);
            }
            let mut commands = pipe();
            for note in &notes {
                note.tell(&self.server, &mut commands);
            }
            let metrics = &self.shared.metrics;
            match connection.run(&mut commands).await {
                Ok(replies) => {
                    metrics.published.fetch_add(notes.len() as u64, Relaxed);
                    took_all &= self.took_all(&replies);
                }
                Err(Lost) => {
                    metrics.unpublished.fetch_add(notes.len() as u64, Relaxed);
                    return Err(Lost);
                }
            }
        }
    }

    /// Deletes the status keys of ours that nobody lives behind, and writes those of all who live. What waits follows
    /// later and ends in the same state.
    async fn put_right(&self, connection: &mut Connection) -> Result<bool, Lost> {
        let live: Vec<(Names, Option<u32>, u32)> = {
            let state = self.shared.state();
            let of_live = |live: &Live| {
                let names = Names::new(&live.session, &self.server);
                (names, live.refreshed_s, live.session.lifetime_s)
            };
            state.live.values().map(of_live).collect()
        };
        let mut took_all = self.delete_left(connection, &live).await?;
        for some in live.chunks(KEYS_A_TRIP) {
            let mut commands = pipe();
            for (names, refreshed_s, lifetime_s) in some {
                names.write(*refreshed_s, *lifetime_s, &mut commands);
            }
            took_all &= self.took_all(&connection.run(&mut commands).await?);
        }
        // Whatever waited for the connection goes now.
        Ok(took_all & self.send_waiting(connection).await?)
    }

    async fn delete_left(&self, connection: &mut Connection, live: &[(Names, Option<u32>, u32)]) -> Result<bool, Lost> {
        let index = keys::index(&self.server);
        let mut commands = pipe();
        commands.cmd("smembers").arg(&index);
        let replies = connection.run(&mut commands).await?;
        let [Reply::List(left)] = &replies[..] else {
            return Ok(self.took_all(&replies));
        };
        let living: HashSet<&[u8]> = live.iter().map(|(names, ..)| &names.status[..]).collect();
        let left: Vec<&[u8]> = left
            .iter()
            .map(|key| &key[..])
            .filter(|key| !living.contains(key))
            .collect();
        let mut took_all = true;
        for some in left.chunks(KEYS_A_TRIP) {
            let mut commands = pipe();
            commands.cmd("del").arg(some);
            commands.cmd("srem").arg(&index).arg(some);
            took_all &= self.took_all(&connection.run(&mut commands).await?);
        }
        Ok(took_all)
    }

    fn took_all(&self, replies: &[Reply]) -> bool {
        let mut took_all = true;
        for reply in replies {
            let error = match reply {
                Reply::Refused(error) => error,
                Reply::WrongType => "WRONGTYPE",
                _ => continue,
            };
            took_all = false;
            self.link.refused();
            self.refused.once_a_minute(|more| {
                tracing::warn!("Redis for statistics refuses: {error} ({more} more since the last line)");
            });
        }
        took_all
    }
}

impl Note {
    fn tell(&self, server: &str, out: &mut redis::Pipeline) {
        let names = Names::new(&self.session, server);
        match &self.what {
            What::Began => names.began(self.session.lifetime_s, out),
            What::Refreshed(lifetime_s) => names.refreshed(*lifetime_s, out),
            What::Traffic(client, peer) => names.traffic(*client, *peer, out),
            What::Left => names.left(out),
            What::Ended { last, total } => names.ended(*last, *total, out),
        }
    }
}
