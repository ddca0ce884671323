//! The directory of TURN sessions: every allocation that lives, with its live counters, and the sums of those that ended.
//!
//! The desk writes, as the shards report; the console, the metrics and the store of statistics read. It holds what the
//! shards hold and is bounded by their bounds.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time;
use voex_base::Protocol;
use voex_turn::{ClientPath, Flow, Session, SessionId};

/// Realms whose ended sessions are summed up apart. A realm comes from the settings or from the key of a token; what is
/// above counts in the totals only.
const REALMS_MAX: usize = 256;

/// The directory.
#[derive(Default)]
pub(crate) struct Sessions {
    directory: Mutex<Directory>,
    ended: Notify,
}

/// A session as the directory knows it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What the shard told when it began.
    pub(crate) session: Arc<Session>,
    /// Lifetime that was granted last, in seconds.
    pub(crate) lifetime_s: u32,
    /// When it was granted.
    pub(crate) refreshed: Instant,
    /// When the session began.
    pub(crate) began: Instant,
}

/// Which sessions are asked for; all that is given must fit.
#[derive(Clone, Default, Debug)]
pub(crate) struct Filter {
    /// Of this user, by the whole name or by the name without the expiry in it.
    pub(crate) user: Option<String>,
    /// Of this realm.
    pub(crate) realm: Option<String>,
}

/// What sessions relayed, on the client's and on the peers' side.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sums {
    pub(crate) client: Flow,
    pub(crate) peer: Flow,
}

/// Everything that the metrics want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Totals {
    /// What all sessions relayed that live or have ended.
    pub(crate) all: Sums,
    /// Likewise, by realm.
    pub(crate) by_realm: BTreeMap<Arc<str>, Sums>,
    live: HashMap<Protocol, i64>,
}

#[derive(Default)]
struct Directory {
    live: BTreeMap<SessionId, Entry>,
    ended: Sums,
    ended_of_realm: BTreeMap<Arc<str>, Sums>,
}

impl Sessions {
    /// Enters a session that began.
    pub(crate) fn began(&self, now: Instant, session: Arc<Session>) {
        let entry = Entry {
            lifetime_s: session.lifetime_s,
            refreshed: now,
            began: now,
            session,
        };
        self.directory().live.insert(entry.session.id, entry);
    }

    /// Notes a refresh; gives the session if it is known.
    pub(crate) fn refreshed(&self, now: Instant, id: SessionId, lifetime_s: u32) -> Option<Arc<Session>> {
        let mut directory = self.directory();
        let entry = directory.live.get_mut(&id)?;
        (entry.lifetime_s, entry.refreshed) = (lifetime_s, now);
        Some(entry.session.clone())
    }

    /// Notes where a session's client is now; gives the session as it is from now on, if it is known.
    pub(crate) fn moved(&self, id: SessionId, path: ClientPath, client: SocketAddr) -> Option<Arc<Session>> {
        let mut directory = self.directory();
        let entry = directory.live.get_mut(&id)?;
        let session = Session {
            path,
            client,
            ..Session::clone(&entry.session)
        };
        entry.session = Arc::new(session);
        Some(entry.session.clone())
    }

    /// Strikes out a session that ended, and keeps what it relayed in the sums.
    pub(crate) fn ended(&self, id: SessionId) -> Option<Arc<Session>> {
        let mut directory = self.directory();
        let session = directory.live.remove(&id)?.session;
        let sums = Sums::of(&session);
        directory.ended.add(sums);
        add(&mut directory.ended_of_realm, &session.realm, sums);
        drop(directory);
        self.ended.notify_waiters();
        Some(session)
    }

    /// Gives one session.
    pub(crate) fn get(&self, id: SessionId) -> Option<Entry> {
        self.directory().live.get(&id).cloned()
    }

    /// Counts those that live.
    pub(crate) fn len(&self) -> usize {
        self.directory().live.len()
    }

    /// Gives sessions in the order of their ids: those behind `after` that the filter lets through, at most `max`.
    pub(crate) fn list(&self, filter: &Filter, after: Option<SessionId>, max: usize) -> Vec<Entry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let directory = self.directory();
        let behind = directory.live.range((from, Bound::Unbounded)).map(|(_, entry)| entry);
        behind.filter(|entry| filter.admits(entry)).take(max).cloned().collect()
    }

    /// Sums up what live and ended sessions relayed, and counts those that live.
    pub(crate) fn totals(&self) -> Totals {
        let directory = self.directory();
        let mut totals = Totals {
            all: directory.ended,
            by_realm: directory.ended_of_realm.clone(),
            live: HashMap::new(),
        };
        for Entry { session, .. } in directory.live.values() {
            let sums = Sums::of(session);
            totals.all.add(sums);
            add(&mut totals.by_realm, &session.realm, sums);
            *totals.live.entry(session.path.protocol).or_default() += 1;
        }
        totals
    }

    /// Waits until none of these sessions lives, at most `limit`; counts those that still do.
    pub(crate) async fn gone(&self, ids: &[SessionId], limit: Duration) -> usize {
        let left = || {
            let directory = self.directory();
            ids.iter().filter(|id| directory.live.contains_key(id)).count()
        };
        let all = async {
            loop {
                let next = self.ended.notified();
                if left() == 0 {
                    return;
                }
                next.await;
            }
        };
        match time::timeout(limit, all).await {
            Ok(()) => 0,
            Err(_) => left(),
        }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(by_realm: &mut BTreeMap<Arc<str>, Sums>, realm: &Arc<str>, sums: Sums) {
    if by_realm.len() < REALMS_MAX || by_realm.contains_key(realm) {
        by_realm.entry(realm.clone()).or_default().add(sums);
    }
}

impl Totals {
    /// Counts the sessions that live and are carried by a protocol.
    pub(crate) fn live_of(&self, protocol: Protocol) -> i64 {
        self.live.get(&protocol).copied().unwrap_or_default()
    }
}

impl Filter {
    fn admits(&self, entry: &Entry) -> bool {
        let session = &entry.session;
        self.user.as_ref().is_none_or(|user| session.is_of(user))
            && self.realm.as_ref().is_none_or(|realm| *session.realm == **realm)
    }
}

impl Sums {
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            client: session.traffic.client(),
            peer: session.traffic.peer(),
        }
    }

    fn add(&mut self, other: Self) {
        for (sum, flow) in [(&mut self.client, other.client), (&mut self.peer, other.peer)] {
            sum.received_packets += flow.received_packets;
            sum.received_bytes += flow.received_bytes;
            sum.sent_packets += flow.sent_packets;
            sum.sent_bytes += flow.sent_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use voex_base::WallTime;
    use voex_turn::ClientPath;

    use super::*;

    fn session(count: u64, user: &str, realm: &str) -> Arc<Session> {
        Arc::new(Session {
            id: SessionId::new(0, count),
            user: user.into(),
            realm: realm.into(),
            path: ClientPath::udp(([127, 0, 0, 1], 3478).into()),
            client: ([127, 0, 0, 1], 5000).into(),
            transport: voex_turn::RelayTransport::Udp,
            relayed: Vec::new(),
            lifetime_s: 600,
            began: WallTime::from_unix(Duration::ZERO),
            traffic: Arc::default(),
        })
    }

    fn directory(of: &[(&str, &str)]) -> (Sessions, Vec<Arc<Session>>) {
        let sessions = Sessions::default();
        let made: Vec<_> = (1..)
            .zip(of)
            .map(|(count, (user, realm))| session(count, user, realm))
            .collect();
        let now = Instant::now();
        made.iter().for_each(|session| sessions.began(now, session.clone()));
        (sessions, made)
    }

    fn users(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| &*entry.session.user).collect()
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_overlap() {
        let (sessions, made) = directory(&[("a", "r"), ("b", "r"), ("c", "r"), ("d", "r"), ("e", "r")]);
        let first = sessions.list(&Filter::default(), None, 2);
        assert_eq!(users(&first), ["a", "b"]);
        sessions.ended(made[1].id);
        let second = sessions.list(&Filter::default(), Some(made[1].id), 2);
        assert_eq!(users(&second), ["c", "d"]);
        assert_eq!(users(&sessions.list(&Filter::default(), Some(made[3].id), 2)), ["e"]);
    }

    #[test]
    fn a_user_is_found_whatever_the_expiry_in_its_name_and_only_in_the_realm_asked_for() {
        let (sessions, _) = directory(&[
            ("1800000000:alice", "r"),
            ("alice", "s"),
            ("alice:9", "r"),
            ("bob", "r"),
        ]);
        let filter = |user: Option<&str>, realm: Option<&str>| Filter {
            user: user.map(str::to_owned),
            realm: realm.map(str::to_owned),
        };
        let found = |filter| sessions.list(&filter, None, 9).len();
        assert_eq!(found(filter(Some("alice"), None)), 3);
        assert_eq!(found(filter(Some("alice"), Some("r"))), 2);
        assert_eq!(found(filter(Some("1800000000:alice"), None)), 1);
        assert_eq!(found(filter(None, Some("s"))), 1);
        assert_eq!(found(filter(Some("carol"), None)), 0);
    }

    #[test]
    fn what_a_session_relayed_counts_while_it_lives_and_after_its_end() {
        let (sessions, made) = directory(&[("a", "r"), ("b", "s")]);
        made[0].traffic.from_client.packets.add(3);
        made[0].traffic.from_client.bytes.add(300);
        made[1].traffic.to_peer.packets.add(1);
        let before = sessions.totals();
        assert_eq!(before.all.client.received_packets, 3);
        assert_eq!(before.all.peer.sent_packets, 1);
        assert_eq!(before.by_realm["r"].client.received_bytes, 300);
        assert_eq!(before.live_of(Protocol::Udp), 2);
        sessions.ended(made[0].id);
        let after = sessions.totals();
        assert_eq!((after.all, &after.by_realm), (before.all, &before.by_realm));
        assert_eq!(after.live_of(Protocol::Udp), 1);
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn a_session_that_moves_is_listed_at_its_new_address_with_what_it_relayed() {
        let (sessions, made) = directory(&[("a", "r")]);
        made[0].traffic.to_peer.packets.add(7);
        let path = ClientPath::udp(([127, 0, 0, 1], 3479).into());
        let client = ([127, 0, 0, 1], 6000).into();
        let moved = sessions.moved(made[0].id, path, client).unwrap();
        assert_eq!((moved.client, moved.path), (client, path));
        assert_eq!(sessions.list(&Filter::default(), None, 9)[0].session.client, client);
        assert_eq!(sessions.totals().all.peer.sent_packets, 7);
        sessions.ended(made[0].id);
        assert!(sessions.moved(made[0].id, path, client).is_none());
    }

    #[test]
    fn more_realms_than_are_kept_apart_still_count_in_the_totals() {
        let sessions = Sessions::default();
        for count in 0..REALMS_MAX as u64 + 5 {
            let one = session(count, "a", &format!("realm{count}"));
            one.traffic.to_client.packets.inc();
            sessions.began(Instant::now(), one.clone());
            sessions.ended(one.id);
        }
        let totals = sessions.totals();
        assert_eq!(totals.by_realm.len(), REALMS_MAX);
        assert_eq!(totals.all.client.sent_packets, REALMS_MAX as u64 + 5);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_an_end_hears_of_it_or_of_what_is_left() {
        let (sessions, made) = directory(&[("a", "r"), ("b", "r")]);
        let ids = [made[0].id, made[1].id];
        assert_eq!(sessions.gone(&ids, Duration::from_secs(1)).await, 2);
        let waiting = sessions.gone(&ids, Duration::from_secs(1));
        let ending = async { ids.map(|id| sessions.ended(id)) };
        assert_eq!(tokio::join!(waiting, ending).0, 0);
    }
}
