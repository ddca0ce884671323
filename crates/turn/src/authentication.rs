//! The long-term credential mechanism (RFC 8489 §9.2.4), with credentials of the settings or of a store that is asked.
//!
//! ```text
//!  request ─► claim: name, nonce, algorithm ── missing 401, unusable 400, old 438
//!                │
//!                ├─ fits the key of its own allocation ────────────────► proven   (Refresh of a stored user: still there?)
//!                ├─ fits a static user or a static secret ─────────────► proven
//!                ├─ no store ──────────────────────────────────────────► 401
//!                └─ waits ── LookUp ─► store ─ LookedUp ─► fits a stored key or secret ► proven, else 401
//! ```
//!
//! The nonce is checked before the key, as RFC 5389 §10.2.2 had it: who cannot show a nonce has not proved where it is,
//! and is not worth the hashing.

use std::sync::Arc;
use std::time::Instant;

use voex_base::{FiveTuple, Outbox, WallTime};
use voex_stun::{AttributeType, Message, Method, PasswordAlgorithm, user_hash};

use crate::client_key::Integrity;
use crate::credentials::{Claim, Origin};
use crate::report::EVENTS_WAITING_MAX;
use crate::request::{Identity, Request};
use crate::waiting::{CannotWait, WAITING_BYTES_MAX};
use crate::{DropReason, Event, LookUpId, LookedUp, Refusal, Server, Wanted};

/// The name of nobody: stands for the hash of a name that no user has.
const NOBODY: &str = "";

/// What is not known of a client, or not yet.
pub(crate) enum Unproven<'a> {
    /// It is refused.
    Refused(Refusal),
    /// The store has to be asked. Without an answer, the identity that its allocation gives it is what it has.
    AskStore(Wanted, Option<Identity<'a>>),
    /// The store has its user no more.
    UserDeleted(&'a str),
    /// The store said nothing.
    StoreUnavailable,
}

impl Server {
    /// Gives the name for which a request has a hash (RFC 8489 §14.4), if it is a user's of the settings or of the
    /// client's own allocation.
    pub(crate) fn unhashed_user(&self, request: &Request<'_>) -> Option<Arc<str>> {
        let hash = request.message.user_hash().ok().flatten()?;
        let own = self.allocation_of(request).map(|id| &self.table.get(id).user);
        self.credentials
            .user_of_hash(&hash)
            .or_else(|| own.filter(|own| user_hash(own, &self.realm) == hash).cloned())
    }

    /// Finds out who sends a request. `unhashed` is its name, if it sent a hash of one; `found` is what the store knows,
    /// once it was asked.
    pub(crate) fn authenticate<'a>(
        &self,
        request: &Request<'a>,
        unhashed: Option<&'a str>,
        found: Option<&LookedUp>,
    ) -> Result<Identity<'a>, Unproven<'a>> {
        let claim = self.read_claim(request, unhashed).map_err(Unproven::Refused)?;
        let own = self.own_identity(request, &claim);
        if let Some(token) = claim.token {
            return self.judge_token(request, &claim, token, own, found);
        }
        if let Some(found) = found {
            return self.judge_found(&claim, own, found, request.wall);
        }
        match own {
            Some(own) if self.may_be_deleted(request, &own) => {
                Err(Unproven::AskStore(Wanted::User(claim.user.into()), Some(own)))
            }
            Some(own) => Ok(own),
            None => match self.credentials.authenticate(&claim, request.wall) {
                Some(identity) => Ok(identity),
                None if self.config.credential_store && claim.user != NOBODY => {
                    Err(Unproven::AskStore(Wanted::User(claim.user.into()), None))
                }
                None => Err(self.wrong_credentials()),
            },
        }
    }

    /// Finds out who sends a request with what the store knows. While it says nothing, an allocation lives on.
    fn judge_found<'a>(
        &self,
        claim: &Claim<'a>,
        own: Option<Identity<'a>>,
        found: &LookedUp,
        wall: WallTime,
    ) -> Result<Identity<'a>, Unproven<'a>> {
        match (found, own) {
            (LookedUp::User(stored), Some(own)) if own.origin == Origin::Stored && !stored.exists() => {
                Err(Unproven::UserDeleted(claim.user))
            }
            (_, Some(own)) => Ok(own),
            (LookedUp::User(stored), None) => {
                let identity = self.credentials.authenticate_stored(claim, stored, wall);
                identity.ok_or_else(|| self.wrong_credentials())
            }
            (_, None) => Err(Unproven::StoreUnavailable),
        }
    }

    /// Finds out who comes with an access token. What it grants counts for new allocations and at each Refresh; other
    /// requests may as well do with the key of their allocation.
    fn judge_token<'a>(
        &self,
        request: &Request<'a>,
        claim: &Claim<'a>,
        token: &[u8],
        own: Option<Identity<'a>>,
        found: Option<&LookedUp>,
    ) -> Result<Identity<'a>, Unproven<'a>> {
        let extends = matches!(request.message.method(), Method::ALLOCATE | Method::REFRESH);
        let own = match own {
            Some(own) if !extends => return Ok(own),
            own => own,
        };
        let key = match (self.credentials.token_key(claim.user), found) {
            (Some(key), _) | (None, Some(LookedUp::Token(Some(key)))) => key,
            (None, None) if self.config.credential_store => {
                return Err(Unproven::AskStore(Wanted::Token(claim.user.into()), own));
            }
            (None, Some(LookedUp::Unavailable)) => return own.ok_or(Unproven::StoreUnavailable),
            (None, _) => return Err(self.wrong_credentials()),
        };
        let identity = self.credentials.authenticate_token(claim, token, key, request.wall);
        identity.ok_or_else(|| self.wrong_credentials())
    }

    /// Reads what a request says of its sender, and checks all of it that needs no key.
    pub(crate) fn read_claim<'a>(
        &self,
        request: &Request<'a>,
        unhashed: Option<&'a str>,
    ) -> Result<Claim<'a>, Refusal> {
        let message = request.message;
        let Some(integrity) = Integrity::of(&message) else {
            return Err(Refusal::Unauthenticated);
        };
        let user = match (message.username()?, message.user_hash()?) {
            (None, Some(_)) => Some(unhashed.unwrap_or(NOBODY)),
            (user, _) => user,
        };
        let (Some(user), Some(_realm), Some(nonce)) = (user, message.realm()?, message.nonce()?) else {
            return Err(Refusal::BadRequest);
        };
        if !self.shows_nonce(request, nonce) {
            return Err(Refusal::StaleNonce);
        }
        Ok(Claim {
            message,
            user,
            algorithm: self.read_algorithm(&message)?,
            integrity,
            token: message
                .get(AttributeType::ACCESS_TOKEN)
                .filter(|_| self.credentials.accepts_tokens()),
        })
    }

    /// Tells whether a request has a nonce that its sender was given. A data connection may bring the one of its control
    /// connection, as some clients do that ask only once: nobody forges the address of a stream.
    fn shows_nonce(&self, request: &Request<'_>, nonce: &[u8]) -> bool {
        let client = request.five_tuple;
        let is_data =
            request.message.method() == Method::CONNECTION_BIND && self.client_path(client.socket).is_stream();
        if is_data {
            return self.nonces.holds_at_host(request.wall, client.client, nonce);
        }
        self.nonces.holds(request.wall, client.client, nonce)
    }

    /// Gives the password algorithm of a request. One that names an algorithm has to repeat what it was offered, so that
    /// an offer which was altered on the way comes to light (RFC 8489 §9.2.4).
    fn read_algorithm(&self, message: &Message<'_>) -> Result<PasswordAlgorithm, Refusal> {
        let offered = &self.config.password_algorithms;
        match (
            message.get(AttributeType::PASSWORD_ALGORITHMS),
            message.password_algorithm()?,
        ) {
            (None, None) => Ok(PasswordAlgorithm::Md5),
            (Some(repeated), Some(algorithm))
                if repeated.iter().copied().eq(PasswordAlgorithm::encode_list(offered))
                    && offered.contains(&algorithm) =>
            {
                Ok(algorithm)
            }
            _ => Err(Refusal::BadRequest),
        }
    }

    /// Gives who a client is by the key of its allocation. Whoever made an allocation keeps it under that key, even when
    /// a time-limited name runs out or the password has changed. Who came with a token may have changed its `kid`.
    fn own_identity<'a>(&self, request: &Request<'_>, claim: &Claim<'a>) -> Option<Identity<'a>> {
        let own = self.table.get(self.allocation_of(request)?);
        let may_be = *own.user == *claim.user || own.origin.is_token();
        let is_own = may_be && own.key.fits(&claim.message);
        is_own.then(|| Identity {
            user: claim.user,
            key: Arc::clone(&own.key),
            origin: own.origin,
        })
    }

    /// Tells whether the store has to say if a user still exists before its allocation lives on.
    fn may_be_deleted(&self, request: &Request<'_>, own: &Identity<'_>) -> bool {
        let goes_on = request.message.method() == Method::REFRESH && request.message.lifetime_s() != Ok(Some(0));
        goes_on
            && own.origin == Origin::Stored
            && self.config.credential_store
            && self.config.end_deleted_users
            && !self.credentials.has_static(own.user)
    }

    fn wrong_credentials<'a>(&self) -> Unproven<'a> {
        self.metrics.authentication_failures.inc();
        Unproven::Refused(Refusal::Unauthenticated)
    }

    /// Lets a request wait for the store; `is_known` if without its answer the client would be believed.
    pub(crate) fn wait_for_store(
        &mut self,
        request: &Request<'_>,
        wanted: Wanted,
        is_known: bool,
    ) -> Result<(), DropReason> {
        let (five_tuple, id) = (request.five_tuple, request.message.transaction_id());
        match self.waiting.check(&five_tuple, id) {
            Ok(()) if self.events.len() < EVENTS_WAITING_MAX => {}
            Err(CannotWait::Waits) => return Ok(()),
            Ok(()) | Err(CannotWait::Full) => return Err(DropReason::LookUpsFull),
        }
        if request.message.as_bytes().len() > WAITING_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        // A client that its own allocation vouches for is no stranger.
        if !is_known && !self.look_up_limiter.allows(request.now, five_tuple.client.ip()) {
            return Err(DropReason::LookUpRateLimited);
        }
        let question = self.waiting.insert(request);
        self.metrics.look_ups_total.inc();
        self.metrics.look_ups_waiting.set(self.waiting.len() as i64);
        self.events.push_back(Event::LookUp { id: question, wanted });
        Ok(())
    }

    /// Goes on with a request for which the store was asked.
    pub(crate) fn handle_looked_up(
        &mut self,
        now: Instant,
        wall: WallTime,
        question: LookUpId,
        found: &LookedUp,
        out: &mut impl Outbox,
    ) {
        self.handle_timeout(now, out);
        let Some(waiting) = self.waiting.take(question) else {
            return;
        };
        self.metrics.look_ups_waiting.set(self.waiting.len() as i64);
        let Ok(message) = Message::parse(&waiting.bytes) else {
            return;
        };
        let five_tuple = waiting.five_tuple;
        let request = Request {
            now,
            wall,
            five_tuple,
            via: waiting.via,
            message,
        };
        if let Err(reason) = self.handle_turn_request(&request, Some(found), out) {
            self.metrics.dropped.of(reason).inc();
        }
    }

    /// Forgets what a client that is gone has asked.
    pub(crate) fn forget_waiting(&mut self, five_tuple: &FiveTuple) {
        self.waiting.forget_client(five_tuple);
        self.metrics.look_ups_waiting.set(self.waiting.len() as i64);
    }

    /// Forgets requests that waited too long.
    pub(crate) fn expire_waiting(&mut self, now: Instant) {
        while self.waiting.pop_overdue(now).is_some() {
            self.metrics.dropped.of(DropReason::LookUpTimedOut).inc();
            self.metrics.look_ups_waiting.set(self.waiting.len() as i64);
        }
    }
}
