//! Binding requests (RFC 8489 §12), and what they ask for to find out how a NAT behaves (RFC 5780).

use std::net::SocketAddr;

use voex_base::{FiveTuple, Outbox};
use voex_stun::{AttributeType, ChangeRequest, MessageWriter, UnknownAttributes};

use crate::answer::{Proof, ReplyTo};
use crate::listeners::Listener;
use crate::request::Request;
use crate::{ClientVerdict, DropReason, Refusal, Server};

/// Longest PADDING of an answer: enough to make a datagram two fragments on an Ethernet.
pub(crate) const PADDING_BYTES_MAX: usize = 1_500;

/// How a Binding request is answered.
struct BindingAnswer {
    /// From which socket and to where.
    way: FiveTuple,
    /// The source of the request, as the client is told it.
    client: SocketAddr,
    origin: Option<SocketAddr>,
    other: Option<SocketAddr>,
    /// PADDING; `None` is none.
    padding: Option<usize>,
    /// The request asks for something of RFC 5780.
    is_discovery: bool,
}

/// A request that is refused, and the attributes that cannot be done.
struct Refused(Refusal, UnknownAttributes);

impl Server {
    /// Tells anybody its server-reflexive address; RFC 8489 §12 asks for no credentials.
    pub(crate) fn handle_binding(
        &mut self,
        request: &Request<'_>,
        out: &mut impl Outbox,
    ) -> Result<ClientVerdict, DropReason> {
        self.metrics.binding_requests.inc();
        let answer = match self.plan_binding(request) {
            Ok(answer) => answer,
            Err(Refused(refusal, unknown)) => {
                self.metrics.bindings_refused.inc();
                return self.refuse_stranger(request, refusal, &unknown, out);
            }
        };
        // Who asks often still learns its address when the longer answer is not due.
        let sent = self.send_binding(request, &answer, out)
            || (answer.can_be_shorter() && self.send_binding(request, &answer.shortened(), out));
        if !sent {
            return Err(DropReason::AnswerRateLimited);
        }
        self.metrics.bindings_total.inc();
        Ok(ClientVerdict::Handled)
    }

    fn send_binding(&mut self, request: &Request<'_>, answer: &BindingAnswer, out: &mut impl Outbox) -> bool {
        let to = ReplyTo {
            five_tuple: answer.way,
            ..request.reply_to()
        };
        let proof = Proof::None(request.allowance(&mut self.binding_limiter));
        let sent = self.answers.grant(&to, proof, out, |writer| answer.write(writer));
        sent > 0
    }

    /// Prepares the response (RFC 5780 §6.1).
    fn plan_binding(&self, request: &Request<'_>) -> Result<BindingAnswer, Refused> {
        let message = &request.message;
        let listener = self
            .listeners
            .get(request.five_tuple.socket)
            .filter(|_| self.config.nat_discovery);
        let unknown = message.unknown_attributes(|kind| {
            is_known_in_binding(kind) || (listener.is_some() && is_known_in_discovery(kind))
        });
        if !unknown.is_empty() {
            return Err(Refused(Refusal::UnknownAttribute, unknown));
        }
        let mut client = request.five_tuple.client;
        client.set_ip(client.ip().to_canonical());
        let plain = BindingAnswer {
            way: request.five_tuple,
            client,
            origin: None,
            other: None,
            padding: None,
            is_discovery: false,
        };
        match listener {
            Some(listener) => plan_discovery(request, listener, plain),
            None => Ok(plain),
        }
    }
}

/// Prepares the response to a request that came to a UDP listener.
fn plan_discovery(request: &Request<'_>, listener: &Listener, plain: BindingAnswer) -> Result<BindingAnswer, Refused> {
    let bad = || Refused(Refusal::BadRequest, UnknownAttributes::default());
    let change = request.message.change_request().map_err(|_| bad())?;
    let port = request.message.response_port().map_err(|_| bad())?;
    let padding = request.message.get(AttributeType::PADDING);
    let both = ChangeRequest { ip: true, port: true };
    let other = listener.answering(both);
    let is_discovery = change.is_some() || port.is_some() || padding.is_some();
    if !is_discovery && other.is_none() {
        return Ok(plain);
    }
    // What a fragment is lost for goes where the request came from (RFC 5780 §6.1).
    if port.is_some() && padding.is_some() {
        return Err(bad());
    }
    let from = listener.answering(change.unwrap_or_default());
    let from = from.ok_or_else(|| {
        let mut impossible = UnknownAttributes::default();
        impossible.push(AttributeType::CHANGE_REQUEST);
        Refused(Refusal::UnknownAttribute, impossible)
    })?;
    let mut way = FiveTuple {
        socket: from.socket,
        ..request.five_tuple
    };
    // Never to another address: whoever forges a source gains nothing by it.
    way.client.set_port(port.unwrap_or(way.client.port()));
    Ok(BindingAnswer {
        way,
        origin: Some(from.shown),
        other: other.map(|other| other.shown),
        padding: padding.map(|padding| padding.len().next_multiple_of(4).min(PADDING_BYTES_MAX)),
        is_discovery,
        ..plain
    })
}

impl BindingAnswer {
    /// Tells whether something is in it that its client has not asked for.
    fn can_be_shorter(&self) -> bool {
        self.origin.is_some() && !self.is_discovery
    }

    /// Gives the same without what only NAT discovery needs.
    fn shortened(&self) -> Self {
        Self {
            origin: None,
            other: None,
            padding: None,
            ..*self
        }
    }

    fn write<'b>(&self, mut writer: MessageWriter<'b>) -> MessageWriter<'b> {
        writer = writer.xor_mapped_address(self.client);
        if let Some(origin) = self.origin {
            // Both ways: a gateway that rewrites addresses changes one of them (RFC 5780 §6.1).
            writer = writer.mapped_address(self.client).response_origin(origin);
        }
        if let Some(other) = self.other {
            writer = writer.other_address(other);
        }
        match self.padding {
            Some(padding) => writer.padding(padding),
            None => writer,
        }
    }
}

fn is_known_in_binding(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::USERNAME
            | AttributeType::REALM
            | AttributeType::NONCE
            | AttributeType::PRIORITY
            | AttributeType::USE_CANDIDATE
    )
}

fn is_known_in_discovery(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::CHANGE_REQUEST | AttributeType::RESPONSE_PORT | AttributeType::PADDING
    )
}
