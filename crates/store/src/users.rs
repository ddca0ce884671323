//! Look-ups of credentials.

use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::pipe;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use voex_turn::{LookedUp, Session, SessionId, TokenKey, Wanted};

use crate::UsersConfig;
use crate::keys::{self, Keys};
use crate::link::{Connection, Link, Lost};
use crate::live_users::LiveUsers;
use crate::metrics::{Metrics, count};
use crate::stored::{self, Reply, UserKey, WrongForm};
use crate::throttle::Throttle;
use crate::user_cache::{Seen, UserCache, stored_user};

/// Look-ups that may wait for Redis at once.
pub const LOOKUPS_MAX: usize = 4_096;

/// The database of users.
#[derive(Clone, Debug)]
pub struct Users(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) link: Link,
    pub(crate) keys: Keys,
    pub(crate) metrics: Arc<Metrics>,
    realm: Box<str>,
    in_flight: Arc<Semaphore>,
    state: Mutex<State>,
    wrong: Throttle,
    refused: Throttle,
}

/// What is known of users.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) cache: UserCache,
    pub(crate) live: LiveUsers,
}

impl Users {
    pub(crate) fn new(config: &UsersConfig, realm: &str, link: Link, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            link,
            keys: Keys::new(realm),
            metrics,
            realm: realm.into(),
            in_flight: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            state: Mutex::new(State {
                cache: UserCache::new(config.remember, config.remembered_max),
                live: LiveUsers::default(),
            }),
            wrong: Throttle::default(),
            refused: Throttle::default(),
        }))
    }

    /// Looks something up; the future gives the answer within about two seconds, from memory when Redis is away. `None`
    /// when [`LOOKUPS_MAX`] are under way.
    pub fn look_up(&self, wanted: Wanted) -> Option<impl Future<Output = LookedUp> + Send + 'static> {
        let Ok(permit) = self.0.in_flight.clone().try_acquire_owned() else {
            count(&self.0.metrics.lookups.overload);
            return None;
        };
        let shared = self.0.clone();
        Some(async move {
            let found = match &wanted {
                Wanted::User(name) => shared.look_up_user(name).await,
                Wanted::Token(kid) => shared.look_up_token(kid).await,
            };
            drop(permit);
            found
        })
    }

    /// Hears that a session began.
    pub fn began(&self, session: &Session) {
        let mut state = self.0.state();
        let seen_in = state.cache.life_of(&session.user);
        state.live.began(session, seen_in);
    }

    /// Hears that a session ended.
    pub fn ended(&self, session: SessionId) {
        self.0.state().live.ended(session);
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.0.clone()
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up_user(&self, name: &str) -> LookedUp {
        match self.ask_user(name).await {
            Ok(found) => found,
            Err(Lost) => {
                let remembered = self.state().cache.recall_user(Instant::now(), name);
                self.recalled(remembered.map(LookedUp::User))
            }
        }
    }

    async fn look_up_token(&self, kid: &str) -> LookedUp {
        match self.ask_token(kid).await {
            Ok(found) => found,
            Err(Lost) => {
                let remembered = self.state().cache.recall_token(Instant::now(), kid);
                self.recalled(remembered.map(|key| LookedUp::Token(Some(key))))
            }
        }
    }

    fn recalled(&self, remembered: Option<LookedUp>) -> LookedUp {
        let lookups = &self.metrics.lookups;
        match remembered {
            Some(found) => {
                count(&lookups.remembered);
                found
            }
            None => {
                count(&lookups.unavailable);
                LookedUp::Unavailable
            }
        }
    }

    /// Asks Redis for a user's key and the realm's secrets, in one round trip.
    async fn ask_user(&self, name: &str) -> Result<LookedUp, Lost> {
        let mut connection = self.link.connection().await?;
        let mut commands = pipe();
        commands.cmd("get").arg(self.keys.user(name));
        commands.cmd("smembers").arg(self.keys.secret());
        let replies = self.run(&mut connection, &mut commands).await?;
        let (key, secrets) = match replies {
            [Reply::Refused(error), _] | [_, Reply::Refused(error)] => return Err(self.refused(&error)),
            // Whoever is in a call is not thrown out because Redis came back empty.
            [Reply::Absent, _] if self.state().live.may_be_forgotten(name, connection.life) => return Err(Lost),
            [key, secrets] => (self.read_user_key(name, key), self.read_secrets(secrets)),
        };
        let seen = |value| Seen {
            value,
            at: Instant::now(),
            life: connection.life,
        };
        let mut state = self.state();
        state.cache.see_user(name, key.map(seen));
        if key.is_some() {
            state.live.seen(name, connection.life);
        }
        let secrets = state.cache.see_secrets(Seen {
            value: secrets,
            at: Instant::now(),
            life: connection.life,
        });
        self.metrics.cached_users.store(state.cache.len() as i64, Relaxed);
        drop(state);
        let found = stored_user(key, secrets);
        count(
            match found.exists() || !found.secrets.is_empty() && voex_turn::has_expiry(name) {
                true => &self.metrics.lookups.found,
                false => &self.metrics.lookups.unknown,
            },
        );
        Ok(LookedUp::User(found))
    }

    async fn ask_token(&self, kid: &str) -> Result<LookedUp, Lost> {
        let mut connection = self.link.connection().await?;
        let mut commands = pipe();
        commands.cmd("hgetall").arg(keys::token(kid));
        let [reply] = self.run(&mut connection, &mut commands).await?;
        let key = match reply {
            Reply::Refused(error) => return Err(self.refused(&error)),
            reply => self.read_token_key(kid, reply),
        };
        let seen = |value| Seen {
            value,
            at: Instant::now(),
            life: connection.life,
        };
        self.state().cache.see_token(kid, key.clone().map(seen));
        count(match key.is_some() {
            true => &self.metrics.lookups.found,
            false => &self.metrics.lookups.unknown,
        });
        Ok(LookedUp::Token(key))
    }

    /// Runs as many commands as replies are expected.
    async fn run<const N: usize>(
        &self,
        connection: &mut Connection,
        commands: &mut redis::Pipeline,
    ) -> Result<[Reply; N], Lost> {
        let replies = connection.run(commands).await?;
        replies.try_into().map_err(|_| Lost)
    }

    fn read_user_key(&self, name: &str, reply: Reply) -> Option<UserKey> {
        let read = match reply {
            Reply::Absent => return None,
            Reply::Text(text) => stored::user_key(&text),
            _ => Err(WrongForm("the key of a user has another type than string")),
        };
        read.inspect_err(|wrong| self.wrong(*wrong, name)).ok()
    }

    fn read_secrets(&self, reply: Reply) -> Arc<[voex_turn::Secret]> {
        let (secrets, wrong) = match reply {
            Reply::List(members) => stored::secrets(members),
            Reply::Absent => (Arc::default(), None),
            _ => (Arc::default(), Some(WrongForm("the secrets of the realm are no set"))),
        };
        if let Some(wrong) = wrong {
            self.wrong(wrong, "");
        }
        secrets
    }

    fn read_token_key(&self, kid: &str, reply: Reply) -> Option<TokenKey> {
        let read = match reply {
            Reply::Absent => return None,
            Reply::List(fields) => stored::token_key(&fields, &self.realm),
            _ => Err(WrongForm("the key of a token is no hash")),
        };
        read.inspect_err(|wrong| self.wrong(*wrong, kid)).ok().flatten()
    }

    /// Notes a value that counts as absent. Names come from clients and may hold anything: only debug shows them, quoted.
    pub(crate) fn wrong(&self, wrong: WrongForm, name: &str) {
        count(&self.metrics.wrong_values);
        tracing::debug!("Redis: {}: {name:?}", wrong.0);
        self.wrong.once_a_minute(|more| {
            tracing::warn!(
                "Redis: {}; it counts as absent ({more} more like it since the last line)",
                wrong.0
            );
        });
    }

    /// Notes that Redis would not do something. What was asked is then unknown, as if Redis were away.
    pub(crate) fn refused(&self, error: &str) -> Lost {
        self.link.refused();
        self.refused.once_a_minute(|more| {
            tracing::warn!("Redis for users refuses: {error} ({more} more since the last line)");
        });
        Lost
    }
}
