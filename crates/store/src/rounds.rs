//! What is asked of the users' database again and again: options of the realm, and whether live users still exist.

use std::sync::Arc;
use std::time::Duration;

use redis::pipe;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::link::{Connection, Lost};
use crate::metrics::count;
use crate::realm::{self, RealmRules, Rules};
use crate::stored::Reply;
use crate::users::Shared;

/// Users looked at in one round.
const USERS_A_ROUND: usize = 16_384;
/// Keys asked for in one round trip, so that others get their turn in between.
const KEYS_A_TRIP: usize = 256;

/// Asks for as long as the database is used.
pub(crate) struct Rounds {
    pub(crate) shared: Arc<Shared>,
    pub(crate) every: Duration,
    /// Where changed rules go.
    pub(crate) rules: Rules,
    /// Where names of deleted users go; `None` lets them be.
    pub(crate) deleted: Option<mpsc::Sender<Box<str>>>,
}

impl Rounds {
    pub(crate) async fn run(self) {
        let mut epoch = 0;
        loop {
            // The first round over a connection follows at once.
            let Ok(mut connection) = self.shared.link.next_connection(epoch).await else {
                return;
            };
            epoch = connection.epoch;
            while self.round(&mut connection).await.is_ok() {
                tokio::select! {
                    () = sleep(self.every) => {}
                    () = self.shared.link.lost(epoch) => break,
                }
            }
        }
    }

    async fn round(&self, connection: &mut Connection) -> Result<(), Lost> {
        self.read_rules(connection).await?;
        match &self.deleted {
            Some(deleted) => self.find_deleted(connection, deleted).await,
            None => Ok(()),
        }
    }

    async fn read_rules(&self, connection: &mut Connection) -> Result<(), Lost> {
        let mut commands = pipe();
        realm::ask(&self.shared.keys, &mut commands);
        let replies = connection.run(&mut commands).await?;
        let replies: [Reply; realm::REPLIES] = replies.try_into().map_err(|_| Lost)?;
        let mut wrong = Vec::new();
        match realm::read(&replies, &mut wrong) {
            Ok(rules) => self.rules.set(|known| RealmRules {
                servers: known.servers.clone(),
                ..rules
            }),
            Err(error) => {
                self.shared.refused(&error);
            }
        }
        wrong.into_iter().for_each(|wrong| self.shared.wrong(wrong, ""));
        Ok(())
    }

    async fn find_deleted(&self, connection: &mut Connection, deleted: &mpsc::Sender<Box<str>>) -> Result<(), Lost> {
        let names = self.shared.state().live.next(USERS_A_ROUND);
        for names in names.chunks(KEYS_A_TRIP) {
            let mut commands = pipe();
            for name in names {
                commands.cmd("get").arg(self.shared.keys.user(name));
            }
            let replies = connection.run(&mut commands).await?;
            let gone: Vec<_> = {
                let mut state = self.shared.state();
                let mut is_gone = |name: &str, reply: &Reply| match reply {
                    Reply::Absent => state.live.missed(name, connection.life),
                    Reply::Refused(_) => false,
                    _ => {
                        state.live.seen(name, connection.life);
                        false
                    }
                };
                let pairs = names.iter().zip(&replies);
                let gone = pairs.filter(|(name, reply)| is_gone(name, reply));
                let gone: Vec<Box<str>> = gone.map(|(name, _)| Box::from(&**name)).collect();
                gone.iter().for_each(|name| state.cache.see_user(name, None));
                gone
            };
            for name in gone {
                tracing::debug!("Redis has user {name:?} no more");
                count(&self.shared.metrics.deleted_users);
                // Whoever hears of it may be gone when the process ends.
                let _ = deleted.send(name).await;
            }
        }
        Ok(())
    }
}
