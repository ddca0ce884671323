use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use voex_base::{FiveTuple, Rng};
use voex_stun::TransactionId;

use crate::LookUpId;
use crate::keyed::{KeyedMap, keyed_map};
use crate::request::Request;

/// Requests that may wait for the credential store at a time. More are dropped and counted, and their clients try again.
pub(crate) const WAITING_MAX: usize = 1_024;
/// Of them, those of one client.
pub(crate) const WAITING_OF_CLIENT_MAX: usize = 4;
/// Longest request that may wait: with name, realm, nonce and token a few hundred bytes are usual.
pub(crate) const WAITING_BYTES_MAX: usize = 2_048;
/// How long one waits. Then it is forgotten, and an answer that comes later means nothing; clients send again for 39 s.
pub(crate) const WAITING_TIME: Duration = Duration::from_secs(5);

/// Requests whose credentials are being looked up.
pub(crate) struct WaitingRequests {
    /// By the number of their question, which grows: the first is the oldest.
    by_question: BTreeMap<u64, WaitingRequest>,
    of_client: KeyedMap<FiveTuple, Vec<u64>>,
    last_question: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct WaitingRequest {
    pub(crate) five_tuple: FiveTuple,
    /// The shard that handed it over.
    pub(crate) via: Option<u16>,
    pub(crate) bytes: Box<[u8]>,
    id: TransactionId,
    until: Instant,
}

/// Why a request may not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CannotWait {
    /// It is there already: this is a retransmission.
    Waits,
    /// Too many do.
    Full,
}

impl WaitingRequests {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            by_question: BTreeMap::new(),
            of_client: keyed_map(rng),
            last_question: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_question.len()
    }

    /// Gives when the oldest has waited long enough.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.by_question.first_key_value().map(|(_, waiting)| waiting.until)
    }

    /// Tells whether a request of a client waits.
    pub(crate) fn has_client(&self, five_tuple: &FiveTuple) -> bool {
        self.of_client.contains_key(five_tuple)
    }

    /// Tells whether a request may wait.
    pub(crate) fn check(&self, five_tuple: &FiveTuple, id: TransactionId) -> Result<(), CannotWait> {
        let questions = self.of_client.get(five_tuple).map_or(&[][..], Vec::as_slice);
        if questions.iter().any(|question| self.by_question[question].id == id) {
            return Err(CannotWait::Waits);
        }
        if self.len() >= WAITING_MAX || questions.len() >= WAITING_OF_CLIENT_MAX {
            return Err(CannotWait::Full);
        }
        Ok(())
    }

    /// Lets a request wait, after [`check`](Self::check), and gives the name of its question.
    pub(crate) fn insert(&mut self, request: &Request<'_>) -> LookUpId {
        self.last_question += 1;
        let five_tuple = request.five_tuple;
        let waiting = WaitingRequest {
            five_tuple,
            via: request.via,
            bytes: request.message.as_bytes().into(),
            id: request.message.transaction_id(),
            until: request.now + WAITING_TIME,
        };
        self.by_question.insert(self.last_question, waiting);
        self.of_client.entry(five_tuple).or_default().push(self.last_question);
        LookUpId(self.last_question)
    }

    /// Takes the request of a question; `None` when it waits no more.
    pub(crate) fn take(&mut self, question: LookUpId) -> Option<WaitingRequest> {
        let waiting = self.by_question.remove(&question.0)?;
        if let Some(questions) = self.of_client.get_mut(&waiting.five_tuple) {
            questions.retain(|other| *other != question.0);
            if questions.is_empty() {
                self.of_client.remove(&waiting.five_tuple);
            }
        }
        Some(waiting)
    }

    /// Takes the oldest if it has waited long enough.
    pub(crate) fn pop_overdue(&mut self, now: Instant) -> Option<WaitingRequest> {
        let (question, _) = self
            .by_question
            .first_key_value()
            .filter(|(_, waiting)| waiting.until <= now)?;
        self.take(LookUpId(*question))
    }

    /// Forgets what a client that is gone has asked.
    pub(crate) fn forget_client(&mut self, five_tuple: &FiveTuple) {
        for question in self.of_client.remove(five_tuple).unwrap_or_default() {
            self.by_question.remove(&question);
        }
    }
}
