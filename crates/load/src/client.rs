//! A TURN client: what RFC 8656 asks of one before data can flow.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_stun::{
    AddressFamily, ChannelNumber, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method, PacketKind,
    TransactionId,
};

use crate::error::{Doing as _, LoadError};
use crate::link::Link;

/// How long to wait for an answer over UDP before each repetition (RFC 8489 §6.2.1, shortened at the end).
const WAITS_UDP_MS: &[u64] = &[100, 200, 400, 800, 1600, 1600];
/// How long to wait over a stream, where nothing is repeated; a handshake is part of it.
const WAITS_STREAM_MS: &[u64] = &[5000];
/// Long enough that the answer to a first request, a 401 with realm and nonce, is not much longer than the request:
/// servers are wary of answering strangers with more than they sent.
const SOFTWARE: &str = "voex-load, a load generator for TURN servers under test";
/// Challenges to one request that are followed: one for the nonce, one for a nonce gone stale.
const CHALLENGES_MAX: usize = 2;
const MESSAGE_BYTES_MAX: usize = 1500;

/// Name and password of the long-term mechanism.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// USERNAME.
    pub user: String,
    /// The password, prepared.
    pub password: String,
}

/// One client with its allocation.
#[derive(Debug)]
pub struct Client {
    link: Link,
    credentials: Credentials,
    challenge: Option<Challenge>,
    relayed: SocketAddr,
}

/// What the server asked requests to be signed with.
#[derive(Debug)]
struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    key: IntegrityKey,
}

impl Client {
    /// Makes an allocation of this family.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn allocate(link: Link, credentials: &Credentials, family: AddressFamily) -> Result<Self, LoadError> {
        let mut client = Self {
            link,
            credentials: credentials.clone(),
            challenge: None,
            relayed: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let answer = client.transact(Method::ALLOCATE, |writer| {
            let writer = writer.requested_transport_udp();
            match family {
                // What an allocation has when nothing is asked (RFC 8656 §7.1).
                AddressFamily::V4 => writer,
                AddressFamily::V6 => writer.requested_address_family(family),
            }
        })?;
        let relayed = Message::parse(&answer).ok().and_then(|m| m.xor_relayed_address().ok()?);
        client.relayed = relayed.ok_or(LoadError::BadAnswer {
            method: Method::ALLOCATE,
            what: "XOR-RELAYED-ADDRESS",
        })?;
        Ok(client)
    }

    /// Gives the relayed transport address.
    pub fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Installs a permission for `peer` (RFC 8656 §10).
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn permit(&mut self, peer: SocketAddr) -> Result<(), LoadError> {
        self.transact(Method::CREATE_PERMISSION, |writer| writer.xor_peer_address(peer))?;
        Ok(())
    }

    /// Binds a channel to `peer` (RFC 8656 §12); that installs the permission too.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn bind(&mut self, channel: ChannelNumber, peer: SocketAddr) -> Result<(), LoadError> {
        self.transact(Method::CHANNEL_BIND, |writer| {
            writer.channel_number(channel).xor_peer_address(peer)
        })?;
        Ok(())
    }

    /// Gives the allocation back: a Refresh with lifetime 0 (RFC 8656 §8).
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn release(&mut self) -> Result<(), LoadError> {
        self.transact(Method::REFRESH, |writer| writer.lifetime_s(0))?;
        Ok(())
    }

    /// Sends a request until it is granted, and gives the answer.
    fn transact(
        &mut self,
        method: Method,
        attributes: impl for<'b> Fn(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> Result<Vec<u8>, LoadError> {
        for _ in 0..=CHALLENGES_MAX {
            let answer = self.request(method, &attributes)?;
            let refused = match Message::parse(&answer) {
                Ok(message) if message.class() == Class::Error => message.error_code().ok().flatten(),
                _ => return Ok(answer),
            };
            match refused {
                Some(ErrorCode::UNAUTHENTICATED) if self.challenge.is_none() => self.challenge(method, &answer)?,
                Some(ErrorCode::STALE_NONCE) => self.challenge(method, &answer)?,
                Some(code) => return Err(LoadError::Refused { method, code }),
                None => return Err(bad_answer(method, "ERROR-CODE")),
            }
        }
        Err(LoadError::Refused {
            method,
            code: ErrorCode::STALE_NONCE,
        })
    }

    /// Takes realm and nonce from a 401 or 438.
    fn challenge(&mut self, method: Method, answer: &[u8]) -> Result<(), LoadError> {
        let message = Message::parse(answer).map_err(|_| bad_answer(method, "a valid message"))?;
        let realm = message.realm().ok().flatten().ok_or(bad_answer(method, "REALM"))?;
        let nonce = message.nonce().ok().flatten().ok_or(bad_answer(method, "NONCE"))?;
        self.challenge = Some(Challenge {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            key: IntegrityKey::long_term(&self.credentials.user, realm, &self.credentials.password),
        });
        Ok(())
    }

    /// Sends one request, repeated until something answers it.
    fn request(
        &mut self,
        method: Method,
        attributes: &impl for<'b> Fn(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> Result<Vec<u8>, LoadError> {
        let mut id = TransactionId([0; 12]);
        getrandom::fill(&mut id.0)
            .map_err(std::io::Error::other)
            .doing(|| "drawing a transaction id".into())?;
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let mut writer = attributes(MessageWriter::new(&mut buffer, Class::Request, method, id)).software(SOFTWARE);
        if let Some(challenge) = &self.challenge {
            writer = writer
                .username(&self.credentials.user)
                .realm(&challenge.realm)
                .nonce(&challenge.nonce)
                .message_integrity(&challenge.key);
        }
        let len = writer
            .finish()
            .map_err(|_| bad_answer(method, "a nonce of sane length"))?;
        let waits = if self.link.is_reliable() {
            WAITS_STREAM_MS
        } else {
            WAITS_UDP_MS
        };
        let lost = |source| LoadError::ConnectionLost { method, source };
        for wait_ms in waits {
            self.link.send(&buffer[..len]).map_err(lost)?;
            let until = Instant::now() + Duration::from_millis(*wait_ms);
            let answer = self.link.await_message(until, |message| answers(message, id));
            if let Some(answer) = answer.map_err(lost)? {
                return Ok(answer);
            }
        }
        Err(LoadError::NoAnswer { method })
    }
}

fn answers(datagram: &[u8], id: TransactionId) -> bool {
    PacketKind::of(datagram) == PacketKind::Stun
        && Message::parse(datagram)
            .is_ok_and(|m| m.transaction_id() == id && matches!(m.class(), Class::Success | Class::Error))
}

fn bad_answer(method: Method, what: &'static str) -> LoadError {
    LoadError::BadAnswer { method, what }
}
