//! Mobility (RFC 8016): an allocation follows its client to another five-tuple.
//!
//! ```text
//!  Allocate (empty ticket) ───────────► success with a ticket
//!  Refresh (ticket) over another path ► success with the next ticket; both paths are heard, the old one serves
//!  data or a request over that ───────► it serves; the old path is heard no more, and its ticket is worth nothing
//! ```
//!
//! The kernel hands a datagram to whichever shard it likes. One that hears a ticket of another shard's gives it the
//! request, and the shard with the allocation claims whatever else comes from there:
//!
//! ```text
//!  shard that hears                                 shard that has the allocation
//!   Refresh (ticket) ── Elsewhere ────────────────► handle_far_datagram ─► answer, from its own listener
//!      handle_claim ◄── pass_claims (holds) ───────  the client has moved
//!   ChannelData ────── Elsewhere ─────────────────► handle_far_datagram ─► to the peer
//!      handle_claim ◄── pass_claims (no longer) ───  it has not, it has moved on, or the allocation is over
//! ```
//!
//! Data may overtake the claim. So a shard that gave a move on gives what follows on too until it hears what became of it,
//! but only so much and for so long: whether its sender has an allocation is known to the other shard alone.
//!
//! Between streams nothing has to be handed over: the stream itself moves ([`Output::MoveClient`]). A stream that closes
//! leaves its allocation behind for as long as that is granted, for its client to come back to.

use std::time::{Duration, Instant};

use voex_base::{FiveTuple, Outbox, Protocol, WallTime};
use voex_stun::{AttributeType, Class, Message, Method, PacketKind, TransactionId};

use crate::allocation::Allocation;
use crate::mobility_ticket::{TICKET_BYTES, Ticket, mark_of};
use crate::report::EVENTS_WAITING_MAX;
use crate::request::{Granted, Identity, Request};
use crate::timer::AllocationId;
use crate::waiting::WAITING_TIME;
use crate::{ClientVerdict, DropReason, Event, Refusal, RelayTransport, Server};

/// What lets the client of an allocation go on over another path.
#[derive(Default, Debug)]
pub(crate) struct Mobility {
    /// Number of the newest ticket.
    newest: u16,
    /// Number of the ticket that the client surely has: it came with the path that serves.
    serving: u16,
    /// The shard whose listener hears the client on that path, if it is another.
    via: Option<u16>,
    /// Where the client says it is, and has not been heard but for that.
    pub(crate) next: Option<NextPath>,
    /// The request that the newest ticket was given for: its retransmission gets the same.
    given_for: Option<(FiveTuple, TransactionId)>,
    /// The path that served is gone, and no other is known.
    pub(crate) is_away: bool,
}

/// A path that does not serve yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NextPath {
    pub(crate) five_tuple: FiveTuple,
    via: Option<u16>,
}

/// A client of a listener here whose allocation another shard has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FarClient {
    shard: u16,
    /// What it may send until the other shard has said so; `None` from then on.
    expected: Option<Expected>,
}

/// What is left of the trust in a move that was only given on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Expected {
    until: Instant,
    packets_left: u8,
}

/// Moves given on that are remembered until the other shard says what became of them; the oldest is forgotten.
const CLAIMS_EXPECTED_MAX: usize = 1_024;
/// How long they are: there the request may wait for the credential store.
const CLAIM_EXPECTED_TIME: Duration = WAITING_TIME.saturating_add(Duration::from_secs(1));
/// What is given on meanwhile of what follows a move: requests that are sent again, and data that overtakes the claim.
const UNCLAIMED_PACKETS_MAX: u8 = 32;

/// Which ticket of an allocation is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ticketed {
    /// The newest.
    Newest,
    /// The one of the path that serves.
    Serving,
}

impl Server {
    /// Takes a datagram that the shard `via` gave here: [`ClientVerdict::Elsewhere`]. `five_tuple` names our own listener
    /// on the address that the client sent it to.
    pub fn handle_far_datagram(
        &mut self,
        now: Instant,
        wall: WallTime,
        via: u16,
        five_tuple: FiveTuple,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> ClientVerdict {
        // Everything but a move is meant for that shard, and is sent again.
        let is_own = self.table.id_of_client(&five_tuple).is_some();
        let is_meant = is_own || (self.shard_of_far_client(now, &five_tuple).is_none() && resumes(data));
        let verdict = match is_meant {
            true => self.handle_own_datagram(now, wall, five_tuple, Some(via), data, out),
            false => ClientVerdict::Drop(self.dropped(DropReason::NoAllocation)),
        };
        if !is_own && !self.serves(&five_tuple) && !self.waiting.has_client(&five_tuple) {
            self.disown(via, five_tuple);
        }
        verdict
    }

    /// Hears from the shard `by` that a client of one of the listeners here belongs to it from now on, or no longer does.
    pub fn handle_claim(&mut self, client: FiveTuple, by: u16, holds: bool) {
        let far = FarClient {
            shard: by,
            expected: None,
        };
        if holds {
            self.far_clients.insert(client, far);
        } else if self.far_clients.get(&client).is_some_and(|far| far.shard == by) {
            self.far_clients.remove(&client);
        }
        self.metrics.far_clients.set(self.far_clients.len() as i64);
    }

    /// Passes on what other shards are to be told for their [`handle_claim`](Self::handle_claim): the shard, the client with
    /// our listener on the address that it sends to, and whether it belongs here from now on. `pass` says false when the
    /// way to that shard is full. Gives whether nothing is left; what is has to be passed on before long.
    pub fn pass_claims(&mut self, pass: impl FnMut(u16, FiveTuple, bool) -> bool) -> bool {
        self.claims.pass(pass)
    }

    /// Takes note that a move was given on, which the other shard may claim.
    pub(crate) fn expect_claim(&mut self, now: Instant, client: FiveTuple, shard: u16) {
        self.forget_unclaimed(now);
        let until = now + CLAIM_EXPECTED_TIME;
        let expected = Some(Expected {
            until,
            packets_left: UNCLAIMED_PACKETS_MAX,
        });
        if self.far_clients.get(&client).is_none_or(|far| far.expected.is_some()) {
            self.far_clients.insert(client, FarClient { shard, expected });
            self.claims_expected.push_back((client, until));
        }
        self.metrics.far_clients.set(self.far_clients.len() as i64);
    }

    /// Makes room for one more move that was given on.
    fn forget_unclaimed(&mut self, now: Instant) {
        while let Some((oldest, until)) = self.claims_expected.front().copied()
            && (until <= now || self.claims_expected.len() >= CLAIMS_EXPECTED_MAX)
        {
            self.claims_expected.pop_front();
            let expected = self.far_clients.get(&oldest).and_then(|far| far.expected);
            if expected.is_some_and(|expected| expected.until == until) {
                self.far_clients.remove(&oldest);
            }
        }
    }

    /// Says what becomes of what a client sends whose allocation another shard has, or may have.
    #[inline]
    pub(crate) fn give_on(&mut self, now: Instant, client: &FiveTuple) -> Option<ClientVerdict> {
        if self.far_clients.is_empty() {
            return None;
        }
        let shard = self.shard_of_far_client(now, client)?;
        let far = self.far_clients.get_mut(client)?;
        if let Some(expected) = &mut far.expected {
            let Some(packets_left) = expected.packets_left.checked_sub(1) else {
                return Some(ClientVerdict::Drop(self.dropped(DropReason::Unclaimed)));
            };
            expected.packets_left = packets_left;
        }
        Some(ClientVerdict::Elsewhere { shard })
    }

    /// Gives the shard that has the allocation of a client of a listener here, or may have it.
    fn shard_of_far_client(&self, now: Instant, client: &FiveTuple) -> Option<u16> {
        let far = self.far_clients.get(client)?;
        let holds = far.expected.is_none_or(|expected| now < expected.until);
        (holds && !self.serves(client)).then_some(far.shard)
    }

    /// Gives the shard to which a Refresh with a ticket belongs, if it is another.
    pub(crate) fn shard_of_ticket(&self, request: &Request<'_>) -> Option<u16> {
        let ticket = request.message.mobility_ticket().filter(|_| self.config.mobility)?;
        let ticket = self.tickets.read(ticket)?;
        // A DTLS association cannot be given to another shard.
        let can_go = self.client_path(request.five_tuple.socket).protocol != Protocol::Dtls;
        let goes = can_go && !self.serves(&request.five_tuple) && ticket.shard != self.config.ports.index();
        (goes && ticket.shard < self.config.ports.count()).then_some(ticket.shard)
    }

    /// Finds the allocation that a Refresh with a ticket is about.
    pub(crate) fn resumed(&self, request: &Request<'_>) -> Option<AllocationId> {
        let is_refresh = request.message.method() == Method::REFRESH && self.config.mobility;
        let ticket = request.message.mobility_ticket().filter(|_| is_refresh)?;
        self.allocation_of_ticket(request, ticket).ok().map(|(id, _)| id)
    }

    /// Serves a Refresh with a ticket (RFC 8016 §3.2.2).
    pub(crate) fn resume(
        &mut self,
        request: &Request<'_>,
        identity: &Identity<'_>,
        ticket: &[u8],
    ) -> Result<Granted, Refusal> {
        if !self.config.mobility {
            return Err(Refusal::MobilityForbidden);
        }
        let (id, which) = self.allocation_of_ticket(request, ticket)?;
        let allocation = self.table.get(id);
        if !allocation.is_of(identity) || !allocation.knows(identity, request) {
            return Err(Refusal::WrongCredentials);
        }
        // Who lost the answer may ask anew with what it has.
        let asks_anew = which == Ticketed::Serving && allocation.is_awaited_on(&request.five_tuple);
        let is_again = asks_anew || allocation.is_given_for(request);
        match self.table.id_of_client(&request.five_tuple) {
            Some(own) if own == id && !is_again => return Err(Refusal::BadRequest),
            Some(own) if own != id => return Err(Refusal::AllocationMismatch),
            _ => {}
        }
        // A TCP allocation stays with a stream (RFC 6062 §4.1).
        if allocation.transport == RelayTransport::Tcp && !self.client_path(request.five_tuple.socket).is_stream() {
            return Err(Refusal::BadRequest);
        }
        if !is_again && request.via.is_some_and(|shard| !self.claims.has_room(shard)) {
            return Err(Refusal::InsufficientCapacity);
        }
        match self.prolong(id, request, identity)? {
            Granted::Refreshed(lifetime_s) => {
                match is_again {
                    true => self.remember_move(id, request),
                    false => self.expect(id, request),
                }
                Ok(Granted::Moved(id, lifetime_s))
            }
            granted => Ok(granted),
        }
    }

    /// Gives a ticket of an allocation that may move.
    pub(crate) fn ticket_of(&self, id: AllocationId, which: Ticketed) -> Option<[u8; TICKET_BYTES]> {
        let allocation = self.table.get(id);
        let mobility = allocation.mobility.as_ref()?;
        Some(self.tickets.issue(&Ticket {
            shard: self.config.ports.index(),
            allocation: id,
            mark: mark_of(allocation.session),
            number: match which {
                Ticketed::Newest => mobility.newest,
                Ticketed::Serving => mobility.serving,
            },
        }))
    }

    /// Tells whether a client was not heard yet on the path to which it has moved.
    pub(crate) fn is_awaited(&self, five_tuple: &FiveTuple) -> bool {
        let id = self.table.id_of_client(five_tuple);
        id.is_some_and(|id| self.table.get(id).is_awaited_on(five_tuple))
    }

    /// Takes note that a client was heard on the path to which it has moved: from now on that serves it.
    #[cold]
    pub(crate) fn arrive(&mut self, five_tuple: &FiveTuple) {
        if let Some(id) = self.table.id_of_client(five_tuple) {
            self.switch_path(id);
        }
    }

    /// Takes note that one of the paths of an allocation is gone.
    pub(crate) fn lose_path(&mut self, id: AllocationId, five_tuple: &FiveTuple) {
        let allocation = self.table.get_mut(id);
        let is_serving = allocation.five_tuple == *five_tuple;
        let Some(mobility) = &mut allocation.mobility else {
            return;
        };
        match mobility.next {
            // The client has closed what it left.
            Some(_) if is_serving => self.switch_path(id),
            None if is_serving => {
                mobility.is_away = true;
                self.table.remove_path(five_tuple);
            }
            _ => self.give_up_next(id),
        }
    }

    /// Gives up the claims on what the client of an allocation sends to listeners of other shards.
    pub(crate) fn release_claims(&mut self, id: AllocationId) {
        let allocation = self.table.get(id);
        let Some(mobility) = &allocation.mobility else {
            return;
        };
        let serving = mobility.via.map(|shard| (shard, allocation.five_tuple));
        let next = mobility.next.and_then(|next| Some((next.via?, next.five_tuple)));
        for (shard, client) in [serving, next].into_iter().flatten() {
            self.claim(shard, client, false);
        }
    }

    /// Reads whose ticket it is, and whether it still holds: the newest and that of the path which serves do.
    fn allocation_of_ticket(&self, request: &Request<'_>, ticket: &[u8]) -> Result<(AllocationId, Ticketed), Refusal> {
        let ticket = self.tickets.read(ticket).ok_or(Refusal::BadRequest)?;
        let is_here = ticket.shard == self.config.ports.index();
        let allocation = self.table.at(ticket.allocation);
        let allocation = allocation.filter(|own| is_here && own.has_begun() && mark_of(own.session) == ticket.mark);
        let allocation = allocation.ok_or(Refusal::AllocationMismatch)?;
        let mobility = allocation.mobility.as_ref().ok_or(Refusal::BadRequest)?;
        let which = match ticket.number {
            number if number == mobility.newest => Ticketed::Newest,
            number if number == mobility.serving || allocation.is_given_for(request) => Ticketed::Serving,
            _ => return Err(Refusal::BadRequest),
        };
        Ok((ticket.allocation, which))
    }

    /// Has a client heard on the path of its request too.
    fn expect(&mut self, id: AllocationId, request: &Request<'_>) {
        self.give_up_next(id);
        let Request { five_tuple, via, .. } = *request;
        let Some(mobility) = &mut self.table.get_mut(id).mobility else {
            return;
        };
        mobility.newest = mobility.newest.wrapping_add(1);
        mobility.next = Some(NextPath { five_tuple, via });
        let is_away = mobility.is_away;
        self.remember_move(id, request);
        self.table.add_path(five_tuple, id);
        if let Some(shard) = via {
            self.claim(shard, five_tuple, true);
        }
        if is_away {
            self.switch_path(id);
        }
    }

    /// Takes note that the newest ticket answers this request.
    fn remember_move(&mut self, id: AllocationId, request: &Request<'_>) {
        if let Some(mobility) = &mut self.table.get_mut(id).mobility {
            mobility.given_for = Some((request.five_tuple, request.message.transaction_id()));
        }
    }

    /// Hears a client no more on the path that does not serve it yet.
    fn give_up_next(&mut self, id: AllocationId) {
        let mobility = self.table.get_mut(id).mobility.as_mut();
        if let Some(NextPath { five_tuple, via }) = mobility.and_then(|mobility| mobility.next.take()) {
            self.leave_path(five_tuple, via);
        }
    }

    /// Lets the next path serve, and hears the client no more on the one that did.
    fn switch_path(&mut self, id: AllocationId) {
        let allocation = self.table.get_mut(id);
        let Some(mobility) = &mut allocation.mobility else {
            return;
        };
        let Some(next) = mobility.next.take() else { return };
        let left = std::mem::replace(&mut allocation.five_tuple, next.five_tuple);
        let via = std::mem::replace(&mut mobility.via, next.via);
        (mobility.serving, mobility.is_away) = (mobility.newest, false);
        let session = allocation.session;
        self.leave_path(left, via);
        self.metrics.moves_total.inc();
        if self.events.len() < EVENTS_WAITING_MAX {
            let FiveTuple { socket, client } = next.five_tuple;
            let path = self.client_path(socket);
            self.events.push_back(Event::Moved { session, path, client });
        }
    }

    fn leave_path(&mut self, five_tuple: FiveTuple, via: Option<u16>) {
        self.table.remove_path(&five_tuple);
        self.forget_waiting(&five_tuple);
        if let Some(shard) = via {
            self.claim(shard, five_tuple, false);
        }
    }

    fn claim(&mut self, shard: u16, client: FiveTuple, holds: bool) {
        self.claims.set(shard, client, holds);
    }

    /// Has another shard told that a client which it hears is not ours. It finds that out by itself too, only later.
    fn disown(&mut self, shard: u16, client: FiveTuple) {
        match self.claims.has_room(shard) {
            true => self.claim(shard, client, false),
            false => self.metrics.claims_withheld.inc(),
        }
    }
}

impl Allocation {
    /// Tells whether who moves it has its key, where that alone tells clients apart: the name of a token is that of the key
    /// which sealed it, and many have tokens of one.
    fn knows(&self, identity: &Identity<'_>, request: &Request<'_>) -> bool {
        let by_token = self.origin.is_token() || identity.origin.is_token();
        !by_token || self.key.fits(&request.message)
    }

    /// Tells whether the newest ticket was given for this very request.
    fn is_given_for(&self, request: &Request<'_>) -> bool {
        let asked = (request.five_tuple, request.message.transaction_id());
        self.mobility
            .as_ref()
            .is_some_and(|mobility| mobility.given_for == Some(asked))
    }
}

/// Tells whether a datagram is a Refresh request with a ticket.
fn resumes(data: &[u8]) -> bool {
    let message = (PacketKind::of(data) == PacketKind::Stun)
        .then(|| Message::parse(data).ok())
        .flatten();
    message.is_some_and(|message| {
        (message.class(), message.method()) == (Class::Request, Method::REFRESH)
            && message.has(AttributeType::MOBILITY_TICKET)
    })
}
