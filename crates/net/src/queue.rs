//! The queues between the control plane and a worker, all bounded: commands in, and events of either shard out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use socket2::Socket;
use voex_base::{SocketId, WorkerId};
use voex_worker::Command;

use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::wake::Wake;

/// Commands that may wait for one worker; a full queue refuses.
pub const COMMANDS_MAX: usize = 4_096;
/// Events that may wait in each of the two queues of one worker.
pub const EVENTS_MAX: usize = 4_096;
/// Events of the conference server that a worker keeps back while their queue is full; after that they are lost and
/// counted. Those of the TURN server wait in its shard.
pub const EVENT_BACKLOG_MAX: usize = 4_096;

/// A worker's command queue was full; the command comes back.
#[derive(thiserror::Error, Debug)]
#[error("the command queue of worker {worker} is full")]
pub struct QueueFull {
    /// The worker.
    pub worker: WorkerId,
    /// The command that was not queued.
    pub command: Command,
}

/// Sends commands to one worker, in order; clones share the queue.
#[derive(Clone)]
pub struct CommandSender {
    worker: WorkerId,
    queue: Arc<Mutex<Producer<Order>>>,
    wake: Arc<Wake>,
}

impl CommandSender {
    /// Gives the worker that the commands go to.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Queues a command and wakes the worker if it sleeps. Never waits for the worker.
    pub fn send(&self, command: Command) -> Result<(), QueueFull> {
        self.order(Order::Command(command)).map_err(|order| match order {
            Order::Command(command) => QueueFull {
                worker: self.worker,
                command,
            },
            _ => unreachable!("what comes back is what was put in"),
        })
    }

    pub(crate) fn order(&self, order: Order) -> Result<(), Order> {
        // A panic between lock and unlock cannot leave half an order behind: the queue stays usable.
        let pushed = self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        pushed.map_err(|PushError::Full(order)| order)?;
        self.wake.notify();
        Ok(())
    }
}

/// What travels to a worker.
pub(crate) enum Order {
    /// For its state machines.
    Command(Command),
    /// Begin TLS sessions with this from now on.
    SetIdentity(Identity),
    /// Take these sockets and receive plain RTP on them.
    AdoptRtp(Box<[(SocketId, Socket); 2]>),
    /// Close these sockets.
    CloseRtp([SocketId; 2]),
}

pub(crate) fn commands(worker: WorkerId, wake: Arc<Wake>) -> (CommandSender, Consumer<Order>) {
    let (producer, consumer) = RingBuffer::new(COMMANDS_MAX);
    (
        CommandSender {
            worker,
            queue: Arc::new(Mutex::new(producer)),
            wake,
        },
        consumer,
    )
}

/// Events of one kind of all workers. Take until `None` after each call of
/// [`Config::event_wake`](crate::Config::event_wake) or, for TURN,
/// [`Config::turn_event_wake`](crate::Config::turn_event_wake).
pub struct Events<E = voex_sfu::Event> {
    queues: Vec<Consumer<E>>,
    next: usize,
}

/// Events of the TURN shards. They have queues of their own, so that a reader that is behind holds up nobody else; what
/// does not fit stays in the shards.
pub type TurnEvents = Events<voex_turn::Event>;

impl<E> Events<E> {
    pub(crate) fn new(queues: Vec<Consumer<E>>) -> Self {
        Self { queues, next: 0 }
    }

    /// Takes the next event, going round the workers. Events of one worker keep their order.
    pub fn try_next(&mut self) -> Option<(WorkerId, E)> {
        for _ in 0..self.queues.len() {
            let worker = self.next;
            self.next = (self.next + 1) % self.queues.len();
            if let Ok(event) = self.queues[worker].pop() {
                return Some((WorkerId(worker as u16), event));
            }
        }
        None
    }
}

/// A worker's end of its event queue, with the backlog for when it is full.
pub(crate) struct EventSender<E> {
    queue: Producer<E>,
    backlog: VecDeque<E>,
    wake: Arc<dyn Fn() + Send + Sync>,
    unannounced: bool,
    metrics: Arc<Metrics>,
}

impl<E> EventSender<E> {
    pub(crate) fn new(wake: Arc<dyn Fn() + Send + Sync>, metrics: Arc<Metrics>) -> (Self, Consumer<E>) {
        let (queue, consumer) = RingBuffer::new(EVENTS_MAX);
        (
            Self {
                queue,
                backlog: VecDeque::new(),
                wake,
                unannounced: false,
                metrics,
            },
            consumer,
        )
    }

    /// Says whether an event would go straight into the queue.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog.is_empty() && self.queue.slots() > 0
    }

    pub(crate) fn push(&mut self, event: E) {
        if !self.backlog.is_empty() {
            return self.keep_back(event);
        }
        match self.queue.push(event) {
            Ok(()) => {
                self.metrics.events.inc();
                self.unannounced = true;
            }
            Err(PushError::Full(event)) => self.keep_back(event),
        }
    }

    fn keep_back(&mut self, event: E) {
        if self.backlog.len() == EVENT_BACKLOG_MAX {
            return self.metrics.events_lost.inc();
        }
        self.metrics.events_delayed.inc();
        self.backlog.push_back(event);
    }

    /// Moves what was kept back into the queue as far as there is room, and wakes the control plane when there is
    /// something new.
    pub(crate) fn announce(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(PushError::Full(event)) = self.queue.push(event) {
                self.backlog.push_front(event);
                break;
            }
            self.metrics.events.inc();
            self.unannounced = true;
        }
        if std::mem::take(&mut self.unannounced) {
            (self.wake)();
        }
    }

    /// Says whether events wait for room.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use voex_base::TransportId;

    use super::*;

    fn event(n: u64) -> voex_sfu::Event {
        voex_sfu::Event::TransportUp(TransportId(n))
    }

    #[test]
    fn a_full_event_queue_delays_and_then_loses_but_never_reorders() {
        let metrics = Arc::new(Metrics::default());
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = wakes.clone();
        let wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (mut sender, consumer) = EventSender::new(wake, metrics.clone());
        let total = EVENTS_MAX + EVENT_BACKLOG_MAX + 3;
        for n in 0..total {
            sender.push(event(n as u64));
        }
        assert_eq!(metrics.events_lost.value(), 3);
        sender.announce();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut events = Events::new(vec![consumer]);
        let mut heard = 0;
        while let Some((_, next)) = events.try_next() {
            assert_eq!(next, event(heard));
            heard += 1;
            sender.announce();
        }
        assert_eq!(heard as usize, EVENTS_MAX + EVENT_BACKLOG_MAX);
        assert!(!sender.has_backlog());
    }

    #[test]
    fn a_full_command_queue_gives_the_command_back() {
        let (sender, mut orders) = commands(WorkerId(3), Arc::new(Wake::new().unwrap()));
        let close = |n| Command::Sfu(voex_sfu::Command::CloseTransport(TransportId(n)));
        for n in 0..COMMANDS_MAX as u64 {
            sender.send(close(n)).unwrap();
        }
        let refused = sender.send(close(9_999)).unwrap_err();
        assert_eq!(refused.worker, WorkerId(3));
        assert!(matches!(
            refused.command,
            Command::Sfu(voex_sfu::Command::CloseTransport(TransportId(9_999)))
        ));
        assert!(matches!(orders.pop(), Ok(Order::Command(_))));
        sender.send(close(1)).unwrap();
    }
}
