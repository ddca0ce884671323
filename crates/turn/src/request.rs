use std::sync::Arc;
use std::time::Instant;

use voex_base::{FiveTuple, Outbox, WallTime};
use voex_stun::{AttributeType, Message, Method, UnknownAttributes};

use crate::answer::{Proof, Refused, ReplyTo};
use crate::answer_limiter::{Allowance, AnswerLimiter};
use crate::authentication::Unproven;
use crate::client_key::{ClientKey, Integrity};
use crate::credentials::Origin;
use crate::mobility::Ticketed;
use crate::tcp_relay::asks_for_tcp;
use crate::timer::AllocationId;
use crate::{ClientVerdict, ConnectionId, DropReason, EndReason, LookedUp, Output, Refusal, Selection, Server};

/// A request and where and when it arrived.
pub(crate) struct Request<'a> {
    pub(crate) now: Instant,
    pub(crate) wall: WallTime,
    pub(crate) five_tuple: FiveTuple,
    /// The shard whose listener heard it, if that is another.
    pub(crate) via: Option<u16>,
    pub(crate) message: Message<'a>,
}

/// The name of a client that has proved who it is, and the key its requests fit.
pub(crate) struct Identity<'a> {
    pub(crate) user: &'a str,
    pub(crate) key: Arc<ClientKey>,
    pub(crate) origin: Origin,
}

/// What a request that is granted gets told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Granted {
    /// The allocation exists.
    Allocated(AllocationId),
    /// The answer follows when the relay is bound.
    Later,
    /// The allocation lives this many seconds more.
    Refreshed(u32),
    /// It does so over the five-tuple of the request, for which its client gets another ticket.
    Moved(AllocationId, u32),
    /// The allocation ends with this answer.
    Released(AllocationId),
    /// A permission or a channel binding stands.
    Done,
    /// The stream of the request carries bytes of a peer after this answer.
    Bound(ConnectionId),
}

impl Request<'_> {
    pub(crate) fn reply_to(&self) -> ReplyTo {
        ReplyTo {
            five_tuple: self.five_tuple,
            method: self.message.method(),
            id: self.message.transaction_id(),
            fingerprint: self.message.fingerprint_fits().is_some(),
            integrity: Integrity::of(&self.message).unwrap_or(Integrity::Sha1),
        }
    }

    /// Gives what the request is worth in answers as long as its sender has proved nothing.
    pub(crate) fn allowance<'a>(&self, limiter: &'a mut AnswerLimiter) -> Allowance<'a> {
        Allowance {
            limiter,
            now: self.now,
            source: self.five_tuple.client.ip(),
            request_bytes: self.message.as_bytes().len(),
        }
    }
}

impl Server {
    pub(crate) fn handle_request(
        &mut self,
        request: &Request<'_>,
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        match request.message.method() {
            Method::BINDING => self.handle_binding(request, out),
            Method::ALLOCATE
            | Method::REFRESH
            | Method::CREATE_PERMISSION
            | Method::CHANNEL_BIND
            | Method::CONNECT
            | Method::CONNECTION_BIND => {
                self.metrics.requests.inc();
                self.handle_timeout(request.now, out);
                self.handle_turn_request(request, None, out)
            }
            _ => Err(DropReason::UnknownMethod),
        }
    }

    /// Serves a request of an allocation; `found` is what the store knows of its sender, once it was asked.
    pub(crate) fn handle_turn_request(
        &mut self,
        request: &Request<'_>,
        found: Option<&LookedUp>,
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        let unhashed = self.unhashed_user(request);
        if let Some(shard) = self.other_shard_of(request) {
            return self.pass_on(request, unhashed.as_deref(), shard, out);
        }
        match self.authenticate(request, unhashed.as_deref(), found) {
            Ok(identity) => self.serve(request, &identity, out),
            Err(Unproven::AskStore(wanted, own)) => match (self.wait_for_store(request, wanted, own.is_some()), own) {
                (Ok(()), _) => {}
                (Err(_), Some(own)) => self.serve(request, &own, out),
                (Err(reason), None) => return Err(reason),
            },
            Err(Unproven::Refused(refusal)) => return self.refuse_unknown(request, refusal, out),
            Err(Unproven::UserDeleted(user)) => {
                self.end_selected(&Selection::DeletedUser(user.into()));
                return self.refuse_unknown(request, Refusal::Unauthenticated, out);
            }
            Err(Unproven::StoreUnavailable) => return Err(DropReason::StoreUnavailable),
        }
        Ok(ClientVerdict::Handled)
    }

    /// Has another shard serve a request: a datagram is given to it, a stream moves there. Who cannot show a nonce of this
    /// server is refused here; who it is finds out the shard that has the allocation.
    fn pass_on(
        &mut self,
        request: &Request<'_>,
        unhashed: Option<&str>,
        shard: u16,
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        let claim = self.read_claim(request, unhashed).map(drop);
        if let Err(refusal) = claim {
            return self.refuse_unknown(request, refusal, out);
        }
        if request.via.is_some() {
            return Err(DropReason::NoAllocation);
        }
        if !self.client_path(request.five_tuple.socket).is_stream() {
            self.expect_claim(request.now, request.five_tuple, shard);
            return Ok(ClientVerdict::Elsewhere { shard });
        }
        self.outputs.push_back(Output::MoveClient {
            client: request.five_tuple,
            shard,
        });
        Ok(ClientVerdict::Handled)
    }

    /// Gives the shard that has what a request is about, if it is another.
    fn other_shard_of(&self, request: &Request<'_>) -> Option<u16> {
        match request.message.method() {
            Method::CONNECTION_BIND => self.shard_of_connection(request),
            Method::REFRESH => self.shard_of_ticket(request),
            _ => None,
        }
    }

    fn serve(&mut self, request: &Request<'_>, identity: &Identity<'_>, out: &mut impl Outbox) {
        if let Some(id) = self.table.id_of_client(&request.five_tuple) {
            self.table.adopt_key(id, identity);
        }
        // One that asks for a TCP relay too is refused for asking both, not for what we cannot do.
        let dont_fragment = self.config.dont_fragment || asks_for_tcp(&request.message);
        // Of the allocation that the request finds; one that it makes counts it itself.
        let mut traffic = self.table.traffic_of_client(&request.five_tuple);
        let tokens = self.credentials.accepts_tokens();
        let unknown = request.message.unknown_attributes(|kind| {
            is_known_in_turn(kind, dont_fragment) || (kind == AttributeType::ACCESS_TOKEN && tokens)
        });
        let alternate = self.alternate_server(request);
        let outcome = if !unknown.is_empty() {
            Err(Refusal::UnknownAttribute)
        } else {
            match request.message.method() {
                Method::ALLOCATE if alternate.is_some() => Err(Refusal::TryAlternate),
                Method::ALLOCATE => self.allocate(request, identity),
                Method::REFRESH => self.refresh(request, identity),
                Method::CREATE_PERMISSION => self.create_permission(request, identity),
                Method::CONNECT => self.connect(request, identity),
                Method::CONNECTION_BIND => self.bind_connection(request, identity),
                _ => self.bind_channel(request, identity),
            }
        };
        // Who is elsewhere has to be let in first.
        if let Ok(Granted::Moved(id, _)) = outcome {
            self.table.adopt_key(id, identity);
        }
        let sent = match outcome {
            Ok(granted) => self.answer_granted(request, identity, granted, out),
            Err(refusal) => {
                self.metrics.refused.of(refusal).inc();
                let refused = Refused {
                    refusal,
                    unknown: &unknown,
                    nonce: None,
                    alternate: alternate.filter(|_| refusal == Refusal::TryAlternate),
                };
                self.answers
                    .refuse(&request.reply_to(), Proof::Key(&identity.key), out, &refused)
            }
        };
        if let Ok(Granted::Moved(id, _)) = outcome {
            traffic = Some(Arc::clone(&self.table.get(id).traffic));
        }
        if let Some(traffic) = traffic {
            traffic.from_client.count(request.message.as_bytes().len());
            if sent > 0 {
                traffic.to_client.count(sent);
            }
        }
        match outcome {
            // Last, so that its final report has this request and its answer.
            Ok(Granted::Released(id)) => self.end(id, EndReason::Released),
            // Last, so that the owner of the stream finds it right after this request.
            Ok(Granted::Bound(connection)) => self.outputs.push_back(Output::Bind {
                connection,
                client: request.five_tuple,
            }),
            // Who asks for more has got the answer that let it move.
            Ok(Granted::Refreshed(_) | Granted::Done | Granted::Later) if self.is_awaited(&request.five_tuple) => {
                self.arrive(&request.five_tuple);
            }
            _ => {}
        }
    }

    fn answer_granted(
        &self,
        request: &Request<'_>,
        identity: &Identity<'_>,
        granted: Granted,
        out: &mut impl Outbox,
    ) -> usize {
        let (to, proof) = (&request.reply_to(), Proof::Key(&identity.key));
        match granted {
            Granted::Allocated(id) => {
                self.answer_allocated(id, out);
                0
            }
            Granted::Later => 0,
            Granted::Released(_) => self.answers.grant(to, proof, out, |writer| writer.lifetime_s(0)),
            Granted::Refreshed(seconds) => self.answers.grant(to, proof, out, |writer| writer.lifetime_s(seconds)),
            Granted::Moved(id, seconds) => {
                let ticket = self.ticket_of(id, Ticketed::Newest);
                self.answers.grant(to, proof, out, |writer| {
                    let ticket = ticket.as_ref().map(|ticket| &ticket[..]);
                    writer
                        .lifetime_s(seconds)
                        .optional(AttributeType::MOBILITY_TICKET, ticket)
                })
            }
            Granted::Done | Granted::Bound(_) => self.answers.grant(to, proof, out, |writer| writer),
        }
    }

    pub(crate) fn refuse_unknown(
        &mut self,
        request: &Request<'_>,
        refusal: Refusal,
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        self.refuse_stranger(request, refusal, &UnknownAttributes::default(), out)
    }

    /// Refuses somebody who has not proved who it is: bounded by source, and without state.
    pub(crate) fn refuse_stranger(
        &mut self,
        request: &Request<'_>,
        refusal: Refusal,
        unknown: &UnknownAttributes,
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        let is_challenge = matches!(refusal, Refusal::Unauthenticated | Refusal::StaleNonce);
        let nonce = is_challenge.then(|| self.nonces.issue(request.wall, request.five_tuple.client));
        let refused = Refused {
            refusal,
            unknown,
            nonce,
            alternate: None,
        };
        let proof = Proof::None(request.allowance(&mut self.challenge_limiter));
        if self.answers.refuse(&request.reply_to(), proof, out, &refused) == 0 {
            if refusal == Refusal::Unauthenticated {
                self.metrics.unauthenticated_withheld.inc();
            }
            return Err(DropReason::AnswerRateLimited);
        }
        self.metrics.refused.of(refusal).inc();
        Ok(ClientVerdict::Handled)
    }

    /// Finds the allocation that a request is about (RFC 8656 §5): 437 when there is none, 441 when it is another
    /// user's.
    pub(crate) fn own_allocation(
        &self,
        request: &Request<'_>,
        identity: &Identity<'_>,
    ) -> Result<AllocationId, Refusal> {
        let id = self
            .table
            .id_of_client(&request.five_tuple)
            .ok_or(Refusal::AllocationMismatch)?;
        let allocation = self.table.get(id);
        if !allocation.has_begun() {
            return Err(Refusal::AllocationMismatch);
        }
        if !allocation.is_of(identity) {
            return Err(Refusal::WrongCredentials);
        }
        Ok(id)
    }
}

fn is_known_in_turn(kind: AttributeType, dont_fragment: bool) -> bool {
    matches!(
        kind,
        AttributeType::USERNAME
            | AttributeType::REALM
            | AttributeType::NONCE
            | AttributeType::USERHASH
            | AttributeType::PASSWORD_ALGORITHM
            | AttributeType::CHANNEL_NUMBER
            | AttributeType::LIFETIME
            | AttributeType::XOR_PEER_ADDRESS
            | AttributeType::DATA
            | AttributeType::REQUESTED_ADDRESS_FAMILY
            | AttributeType::EVEN_PORT
            | AttributeType::REQUESTED_TRANSPORT
            | AttributeType::RESERVATION_TOKEN
            | AttributeType::CONNECTION_ID
    ) || (kind == AttributeType::DONT_FRAGMENT && dont_fragment)
}
