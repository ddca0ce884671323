//! The TURN desk: the one task that hears the TURN shards and tells them what to do.
//!
//! ```text
//!  workers ── Event ──────► ┌──────┐ ── Question ──────────► Stores ── Answer ──► back
//!                           │ Desk │ ── what happened ─────► Stores
//!  host, console ─ Order ─► └──────┘ ── Command ───────────► workers
//!                               └─────► Sessions (directory) ◄── read by console and metrics
//! ```
//!
//! While a worker takes no commands, nothing is taken from the workers: their shards keep their events, and refuse new
//! allocations when too many wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time;
use voex_base::WorkerId;
use voex_net::TurnEvents;
use voex_turn::{Command, Config, Event, LookUpId, LookedUp, Selection, Session, Wanted};
use voex_worker::Topology;

use crate::media::Commands;
use crate::turn_sessions::{Filter, Sessions};

/// Orders that may wait for the desk; whoever gives one waits meanwhile.
pub(crate) const ORDERS_MAX: usize = 64;
/// Answers of the store that may wait for the desk.
pub(crate) const ANSWERS_MAX: usize = 4_096;
/// How soon commands are offered again to a worker whose queue was full.
const RETRY_AFTER: Duration = Duration::from_millis(2);
/// How long events gather after some were taken. Workers that report much then wake the desk this often and no more:
/// waking it costs a worker as much as relaying a packet, and the desk more.
const GATHER: Duration = Duration::from_millis(5);
/// Events taken in one pass before orders and answers get their turn.
const EVENTS_PER_PASS: usize = 1_024;

/// What the desk works with.
pub(crate) struct Desk {
    pub(crate) events: TurnEvents,
    pub(crate) wake: Arc<Notify>,
    pub(crate) commands: Commands,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) stores: Box<dyn Stores>,
}

/// What host and console tell the desk.
#[derive(Debug)]
pub(crate) enum Order {
    /// New allocations are refused from now on.
    RefuseNewAllocations,
    /// Sessions end.
    End(Selection),
    /// All sessions of a realm end.
    EndRealm(String),
    /// Every shard takes over settings, and every worker the names of relays.
    Reconfigure {
        config: Box<Config>,
        topology: Arc<Topology>,
    },
    /// Whoever waits is told that all that was reported so far was passed on.
    Report(oneshot::Sender<()>),
}

/// A look-up of a shard.
#[derive(Debug)]
pub(crate) struct Question {
    /// Whose shard asks.
    pub(crate) worker: WorkerId,
    /// Names the question in the answer.
    pub(crate) id: LookUpId,
    /// What is wanted.
    pub(crate) wanted: Wanted,
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whose shard asked.
    pub(crate) worker: WorkerId,
    /// The question.
    pub(crate) id: LookUpId,
    /// What the store knows.
    pub(crate) found: LookedUp,
}

/// Where credentials come from and statistics go. Neither may wait: the desk serves everybody.
pub(crate) trait Stores: Send {
    /// Takes a look-up; exactly one [`Answer`] follows on the desk's channel.
    ///
    /// # Errors
    /// Gives it back when there is no store or too much waits for it; the desk answers "unavailable".
    fn look_up(&mut self, question: Question) -> Result<(), Question>;

    /// Hears `Began`, `Refreshed`, `Moved`, `Traffic` or `Ended` of a session, each session's in order.
    fn hear(&mut self, session: &Arc<Session>, event: &Event);
}

/// Where the desk's inputs come from besides the workers.
pub(crate) struct Inputs {
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) answers: mpsc::Receiver<Answer>,
}

impl Desk {
    /// Works until whoever gives orders is gone.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let mut answers = Vec::new();
        // More may be in the queues than one pass takes.
        let (mut backlog, mut events_left) = (false, true);
        let mut gathers_until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            gathers_until = gathers_until.filter(|until| now < *until);
            let pause = match (backlog, events_left, gathers_until) {
                (true, _, _) => RETRY_AFTER,
                (false, true, _) => Duration::ZERO,
                (false, false, Some(until)) => until - now,
                (false, false, None) => Duration::from_secs(3600),
            };
            tokio::select! {
                order = inputs.orders.recv() => match order {
                    Some(order) => {
                        // What was reported before the order was given comes before it.
                        while !backlog && self.take_events(Instant::now()) {}
                        self.obey(order);
                    }
                    None => return,
                },
                _ = inputs.answers.recv_many(&mut answers, ANSWERS_MAX), if !backlog => {
                    answers.drain(..).for_each(|answer| self.answer(answer));
                }
                () = self.wake.notified(), if !events_left && gathers_until.is_none() => events_left = true,
                () = time::sleep(pause) => {}
            }
            if !backlog && events_left {
                let now = Instant::now();
                events_left = self.take_events(now);
                gathers_until = Some(now + GATHER);
            }
            backlog = self.commands.retry();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::RefuseNewAllocations => self.tell_all(&Command::RefuseNewAllocations),
            Order::End(Selection::Session(session)) => {
                self.tell(WorkerId(session.shard()), Command::End(Selection::Session(session)));
            }
            Order::End(selection) => self.tell_all(&Command::End(selection)),
            Order::EndRealm(realm) => {
                let filter = Filter {
                    realm: Some(realm),
                    ..Filter::default()
                };
                for entry in self.sessions.list(&filter, None, usize::MAX) {
                    self.obey(Order::End(Selection::Session(entry.session.id)));
                }
            }
            Order::Reconfigure { config, topology } => {
                self.commands
                    .send_to_all(|| voex_worker::Command::Topology(topology.clone()));
                self.tell_all(&Command::Reconfigure(config));
            }
            // Whoever asked may wait no more.
            Order::Report(reported) => drop(reported.send(())),
        }
    }

    /// Takes what the shards report, up to a bound; says whether more may be there.
    fn take_events(&mut self, now: Instant) -> bool {
        for _ in 0..EVENTS_PER_PASS {
            match self.events.try_next() {
                Some((worker, event)) => self.handle_event(now, worker, event),
                None => return false,
            }
        }
        true
    }

    fn handle_event(&mut self, now: Instant, worker: WorkerId, event: Event) {
        let session = match &event {
            Event::LookUp { id, wanted } => {
                let (id, wanted) = (*id, wanted.clone());
                return self.look_up(Question { worker, id, wanted });
            }
            Event::Began(session) => {
                let session = Arc::<Session>::new((**session).clone());
                self.sessions.began(now, session.clone());
                Some(session)
            }
            Event::Refreshed { session, lifetime_s } => self.sessions.refreshed(now, *session, *lifetime_s),
            Event::Moved { session, path, client } => self.sessions.moved(*session, *path, *client),
            Event::Traffic { session, .. } => self.sessions.get(*session).map(|entry| entry.session),
            Event::Ended { session, .. } => self.sessions.ended(*session),
        };
        if let Some(session) = session {
            self.stores.hear(&session, &event);
        }
    }

    fn look_up(&mut self, question: Question) {
        if let Err(Question { worker, id, .. }) = self.stores.look_up(question) {
            let found = LookedUp::Unavailable;
            self.answer(Answer { worker, id, found });
        }
    }

    fn answer(&mut self, Answer { worker, id, found }: Answer) {
        self.tell(worker, Command::LookedUp { id, found });
    }

    fn tell(&mut self, worker: WorkerId, command: Command) {
        self.commands.send(worker, voex_worker::Command::Turn(command));
    }

    fn tell_all(&mut self, command: &Command) {
        self.commands
            .send_to_all(|| voex_worker::Command::Turn(command.clone()));
    }
}
