use std::net::SocketAddr;

use voex_base::{FiveTuple, Outbox};
use voex_stun::{AttributeType, Class, MessageWriter, Method, PasswordAlgorithm, TransactionId, UnknownAttributes};

use crate::answer_limiter::Allowance;
use crate::binding::PADDING_BYTES_MAX;
use crate::client_key::{ClientKey, Integrity};
use crate::nonce::NONCE_BYTES;
use crate::{Config, Refusal};

/// What an answer needs to know of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) five_tuple: FiveTuple,
    pub(crate) method: Method,
    pub(crate) id: TransactionId,
    /// The request had FINGERPRINT, so the answer gets one: its client tells protocols apart by it.
    pub(crate) fingerprint: bool,
    /// What protects the answer once its client has proved who it is.
    pub(crate) integrity: Integrity,
}

/// Writes answers.
pub(crate) struct Answers {
    pub(crate) realm: String,
    pub(crate) software: String,
    /// What challenges offer, in order of preference.
    pub(crate) password_algorithms: Vec<PasswordAlgorithm>,
    /// Name of the server for which access tokens are made, where they are accepted.
    pub(crate) third_party_authorization: Option<String>,
    pub(crate) alternate_domain: Option<String>,
}

/// A refusal with what it has to say beside its code.
pub(crate) struct Refused<'a> {
    pub(crate) refusal: Refusal,
    pub(crate) unknown: &'a UnknownAttributes,
    /// The nonce under which the client may try again.
    pub(crate) nonce: Option<[u8; NONCE_BYTES]>,
    /// The server that the client shall try.
    pub(crate) alternate: Option<SocketAddr>,
}

/// Room for the longest answer: an Allocate success with IPv6 addresses, or a challenge, with a realm of 127
/// characters of four bytes and as much SOFTWARE; or one to a Binding request with all its PADDING.
const ANSWER_BYTES_MAX: usize = 1_700;
const _: () = assert!(PADDING_BYTES_MAX + 150 <= ANSWER_BYTES_MAX);

/// What speaks for an answer to a client.
pub(crate) enum Proof<'a> {
    /// The client has proved who it is: the answer is signed with the key its request fits.
    Key(&'a ClientKey),
    /// It has not, and may not even be where its request claims to come from.
    None(Allowance<'a>),
}

impl Answers {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            realm: config.realm.clone(),
            software: config.software.clone(),
            password_algorithms: config.password_algorithms.clone(),
            third_party_authorization: config.third_party_authorization.clone(),
            alternate_domain: config.alternate_servers.domain.clone(),
        }
    }

    /// Sends a success response; gives its length, or zero if it did not.
    pub(crate) fn grant(
        &self,
        to: &ReplyTo,
        proof: Proof<'_>,
        out: &mut impl Outbox,
        body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> usize {
        self.send(to, Class::Success, proof, out, body)
    }

    /// Sends an error response; gives its length, or zero if it did not.
    pub(crate) fn refuse(&self, to: &ReplyTo, proof: Proof<'_>, out: &mut impl Outbox, refused: &Refused<'_>) -> usize {
        self.send(to, Class::Error, proof, out, |mut writer| {
            writer = writer.error_code(refused.refusal.stun_code());
            if refused.refusal == Refusal::UnknownAttribute {
                writer = writer.unknown_attributes(refused.unknown);
            }
            if let Some(alternate) = refused.alternate {
                let domain = self.alternate_domain.as_ref().map(String::as_bytes);
                writer = writer
                    .alternate_server(alternate)
                    .optional(AttributeType::ALTERNATE_DOMAIN, domain);
            }
            match &refused.nonce {
                Some(nonce) => self.challenge(writer, nonce),
                None => writer,
            }
        })
    }

    fn challenge<'b>(&self, writer: MessageWriter<'b>, nonce: &[u8]) -> MessageWriter<'b> {
        let server_name = self.third_party_authorization.as_ref().map(String::as_bytes);
        let writer = writer
            .realm(&self.realm)
            .nonce(nonce)
            .optional(AttributeType::THIRD_PARTY_AUTHORIZATION, server_name);
        match &self.password_algorithms[..] {
            [] => writer,
            offered => writer.password_algorithms(offered),
        }
    }

    fn send(
        &self,
        to: &ReplyTo,
        class: Class,
        proof: Proof<'_>,
        out: &mut impl Outbox,
        body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> usize {
        let room = out.reserve(ANSWER_BYTES_MAX);
        let mut writer = body(MessageWriter::new(room, class, to.method, to.id));
        if let Proof::Key(key) = &proof {
            writer = key.sign(writer.software(&self.software), to.integrity);
        }
        if to.fingerprint {
            writer = writer.fingerprint();
        }
        // Only a realm longer than `Config::realm` allows does not fit; then there is nothing right to send.
        let Ok(len) = writer.finish() else { return 0 };
        let is_due = match proof {
            Proof::Key(_) => true,
            Proof::None(mut allowance) => allowance.admits(len),
        };
        if !is_due {
            return 0;
        }
        out.commit(to.five_tuple.socket, to.five_tuple.client, len);
        len
    }
}
