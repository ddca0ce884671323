//! Janus sessions: who owns them, and when they end for lack of a sign of life.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::gateway::ConnectionId;
use crate::host::HandleId;

/// A session's id on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SessionId(pub(crate) u64);

/// A session of the API.
pub(crate) struct JanusSession {
    /// The connection that created or last claimed it; `None` while it waits to be claimed.
    pub(crate) connection: Option<ConnectionId>,
    /// Its handles in the order of attaching.
    pub(crate) handles: Vec<HandleId>,
    pub(crate) active_at: Instant,
    /// Its own time without a request, where the admin API set one; zero is for ever.
    pub(crate) timeout: Option<Duration>,
    orphaned_at: Option<Instant>,
    /// Its place in the queue of checks.
    check_at: Option<Instant>,
}

/// All sessions, with a queue of the times at which each has to be looked at.
///
/// A request only notes its time on the session; the queue is corrected when an entry comes up, so that a keepalive
/// costs nothing but the note.
#[derive(Default)]
pub(crate) struct Sessions {
    sessions: HashMap<SessionId, JanusSession>,
    checks: BTreeSet<(Instant, SessionId)>,
}

/// How long sessions live without a request, and without a connection; zero means for ever for the first.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) session_timeout: Duration,
    pub(crate) reclaim_timeout: Duration,
}

impl Limits {
    /// Gives the time at which a session ends unless something happens.
    fn end_of(self, session: &JanusSession) -> Option<Instant> {
        let timeout = session.timeout.unwrap_or(self.session_timeout);
        let idle = (!timeout.is_zero()).then(|| session.active_at + timeout);
        let unclaimed = session.orphaned_at.map(|at| at + self.reclaim_timeout);
        idle.into_iter().chain(unclaimed).min()
    }
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&JanusSession> {
        self.sessions.get(&id)
    }

    /// Gives every session, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// Puts every session where its end belongs after the limits have changed.
    pub(crate) fn reschedule(&mut self, limits: Limits) {
        let ids: Vec<_> = self.ids().collect();
        ids.into_iter().for_each(|id| self.schedule(limits, id));
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut JanusSession> {
        self.sessions.get_mut(&id)
    }

    pub(crate) fn connection_of(&self, id: SessionId) -> Option<ConnectionId> {
        self.sessions.get(&id)?.connection
    }

    /// Adds a session that `connection` owns.
    pub(crate) fn insert(&mut self, now: Instant, limits: Limits, id: SessionId, connection: ConnectionId) {
        let session = JanusSession {
            connection: Some(connection),
            handles: Vec::new(),
            active_at: now,
            timeout: None,
            orphaned_at: None,
            check_at: None,
        };
        self.sessions.insert(id, session);
        self.schedule(limits, id);
    }

    /// Notes a sign of life; false when there is no such session.
    pub(crate) fn touch(&mut self, now: Instant, id: SessionId) -> bool {
        match self.sessions.get_mut(&id) {
            Some(session) => {
                session.active_at = now;
                true
            }
            None => false,
        }
    }

    /// Gives a session to another connection.
    pub(crate) fn claim(&mut self, id: SessionId, connection: ConnectionId) -> Option<ConnectionId> {
        let session = self.sessions.get_mut(&id)?;
        session.orphaned_at = None;
        session.connection.replace(connection)
    }

    /// Leaves a session without a connection until it is claimed or its time is over.
    pub(crate) fn orphan(&mut self, now: Instant, limits: Limits, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.connection = None;
            session.orphaned_at = Some(now);
            self.schedule(limits, id);
        }
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<JanusSession> {
        let session = self.sessions.remove(&id)?;
        if let Some(at) = session.check_at {
            self.checks.remove(&(at, id));
        }
        Some(session)
    }

    /// Takes one session off the queue whose time is over; call again until `None`.
    pub(crate) fn next_expired(&mut self, now: Instant, limits: Limits) -> Option<SessionId> {
        while let Some((at, id)) = self.checks.first().copied().filter(|(at, _)| *at <= now) {
            if let Some(session) = self.sessions.get(&id)
                && limits.end_of(session).is_some_and(|end| end <= now)
            {
                self.checks.remove(&(at, id));
                return Some(id);
            }
            self.schedule(limits, id);
        }
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Moves a session to where its end belongs in the queue.
    pub(crate) fn schedule(&mut self, limits: Limits, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let end = limits.end_of(session);
        if let Some(at) = std::mem::replace(&mut session.check_at, end) {
            self.checks.remove(&(at, id));
        }
        self.checks.extend(end.map(|at| (at, id)));
    }
}
