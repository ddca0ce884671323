//! DTLS over one association, by OpenSSL.

use std::io::{self, Read, Write};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, Error, ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslStream, SslVersion, select_next_proto,
};
use openssl::x509::X509;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use voex_turn::TlsSession;

use super::client_hello::{COOKIE_BYTES, ClientHello, renumber};
use crate::identity::ALPN;
use crate::metrics::HandshakeFailure;

/// Longest datagram of a handshake, with UDP's headers off: certificates are longer and go in fragments.
const HANDSHAKE_DATAGRAM_BYTES_MAX: u32 = 1_200;
/// Longest message that one record carries (RFC 6347 §4.1).
pub(crate) const RECORD_MESSAGE_BYTES_MAX: usize = 1 << 14;
/// What TLS is served with, in OpenSSL's names: an ephemeral key, and ciphers that authenticate.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20";
/// The groups of those keys: what every client has, without P-521, which takes milliseconds.
const GROUPS: &str = "X25519:P-256:P-384";
/// Reason codes of alerts that were received begin here (`SSL_AD_REASON_OFFSET`).
const ALERT_REASONS: i32 = 1_000;
/// Codes of OpenSSL for a client that has nothing in common with us: signature algorithm, cipher suite, application protocol,
/// version (two), group (two), signature algorithm again, version again.
const INCOMPATIBLE_REASONS: [i32; 9] = [118, 193, 235, 258, 266, 295, 410, 376, 396];

/// Security level of OpenSSL: 112 bits, which is RSA of 2048 bits and no SHA-1 (SSL_CTX_set_security_level(3)).
const SECURITY_LEVEL: u32 = 2;

/// Makes what sessions begin with.
///
/// Sessions are not resumed, so nothing of them is kept anywhere once they are over.
pub(crate) fn context(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls_server())?;
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_security_level(SECURITY_LEVEL);
    builder.set_cipher_list(CIPHERS)?;
    builder.set_groups_list(GROUPS)?;
    builder.set_options(
        SslOptions::COOKIE_EXCHANGE
            | SslOptions::NO_QUERY_MTU
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET
            | SslOptions::NO_COMPRESSION,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    // Sessions begin with a cookie that was found good before.
    builder.set_cookie_generate_cb(|_, room| {
        room[..COOKIE_BYTES].fill(0);
        Ok(COOKIE_BYTES)
    });
    builder.set_cookie_verify_cb(|_, _| true);
    builder.set_alpn_select_callback(|_, offered| select_next_proto(ALPN, offered).ok_or(AlpnError::ALERT_FATAL));
    let mut chain = chain.iter().map(|certificate| X509::from_der(certificate));
    if let Some(host) = chain.next() {
        builder.set_certificate(&*host?)?;
    }
    for authority in chain {
        let authority = authority?;
        check_strength(&authority)?;
        builder.add_extra_chain_cert(authority)?;
    }
    builder.set_private_key(&*PKey::private_key_from_der(key.secret_der())?)?;
    builder.check_private_key()?;
    Ok(builder.build())
}

/// Finds out now what OpenSSL would find out of an authority when a client comes: that its key or signature is too weak.
fn check_strength(authority: &X509) -> Result<(), ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls_server())?;
    builder.set_security_level(SECURITY_LEVEL);
    builder.set_certificate(authority)
}

/// What sessions read from and write to, shared by all of one worker.
#[derive(Default)]
pub(super) struct Scratch {
    incoming: Vec<u8>,
    /// What a session has to send.
    pub(super) flight: Datagrams,
}

/// Datagrams, one behind the other.
#[derive(Default)]
pub(super) struct Datagrams {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Datagrams {
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Adds a datagram that is made of parts, unless they are empty; gives its length.
    pub(super) fn push_all<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> usize {
        let start = self.bytes.len();
        parts.for_each(|part| self.bytes.extend_from_slice(part));
        if self.bytes.len() > start {
            self.ends.push(self.bytes.len());
        }
        self.bytes.len() - start
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What OpenSSL takes for a socket. The scratch is lent for the time of a call.
#[derive(Default)]
struct Wire {
    scratch: Scratch,
    /// Added to the numbers of records in the clear.
    offset: u64,
}

impl Read for Wire {
    /// Gives the datagram; what has no room is cut off, as a socket would.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let incoming = &mut self.scratch.incoming;
        if incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = incoming.len().min(room.len());
        room[..len].copy_from_slice(&incoming[..len]);
        incoming.clear();
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        let Datagrams { bytes, ends } = &mut self.scratch.flight;
        let start = bytes.len();
        bytes.extend_from_slice(datagram);
        ends.push(bytes.len());
        renumber(&mut bytes[start..], self.offset);
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One DTLS session. Between calls it holds no buffers of ours; what it has to send is left in the scratch of each.
pub(super) struct Session {
    stream: SslStream<Wire>,
}

/// Why a session gives no more messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// The client has said that it sends no more.
    ClosedByClient,
    /// It gave the session up with an alert, or what it sent is no session.
    Broken,
}

impl Session {
    pub(super) fn new(context: &SslContext) -> Result<Self, ErrorStack> {
        let mut ssl = Ssl::new(context)?;
        ssl.set_accept_state();
        ssl.set_mtu(HANDSHAKE_DATAGRAM_BYTES_MAX)?;
        let stream = SslStream::new(ssl, Wire::default())?;
        Ok(Self { stream })
    }

    /// Begins with a hello whose cookie is good. OpenSSL must have seen what the client said before, for both to count
    /// messages from the same start; what it answers to that was answered long ago.
    pub(super) fn begin(&mut self, hello: &ClientHello<'_>, scratch: &mut Scratch) -> Result<(), HandshakeFailure> {
        for earlier in (1..=hello.message_sequence).rev() {
            self.shake(&hello.predecessor(earlier), scratch)?;
            scratch.flight.clear();
        }
        // The first records take up the numbers of the hello (RFC 6347 §4.2.1): those below may have been used.
        self.stream.get_mut().offset = hello.record_sequence - u64::from(hello.message_sequence);
        self.shake(hello.datagram(), scratch).map(drop)
    }

    /// Goes on with the handshake; tells whether it is over. An empty datagram sends again what the client has not answered
    /// for too long.
    pub(super) fn shake(&mut self, datagram: &[u8], scratch: &mut Scratch) -> Result<bool, HandshakeFailure> {
        match self.with(datagram, scratch, SslStream::do_handshake) {
            Ok(()) => Ok(true),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(false),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Reads the first message of a datagram into `room`, or with an empty one the next; `None` when there is no more. Forged
    /// and repeated records are passed over.
    pub(super) fn read(
        &mut self,
        datagram: &[u8],
        room: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Option<usize>, Over> {
        match self.with(datagram, scratch, |stream| stream.ssl_read(room)) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(None),
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Err(Over::ClosedByClient),
            Err(_) => Err(Over::Broken),
        }
    }

    /// Seals a message as one record; false when the session is over.
    pub(super) fn seal(&mut self, message: &[u8], scratch: &mut Scratch) -> bool {
        self.with(&[], scratch, |stream| stream.ssl_write(message)).is_ok()
    }

    /// Says that nothing follows.
    pub(super) fn close(&mut self, scratch: &mut Scratch) {
        // Whether the client takes it is nobody's concern any more.
        let _ = self.with(&[], scratch, SslStream::shutdown);
    }

    /// Gives what the handshake agreed on.
    pub(super) fn agreed(&self) -> TlsSession {
        let ssl = self.stream.ssl();
        TlsSession {
            version: ssl.version_str(),
            cipher: ssl.current_cipher().map_or("NONE", |cipher| cipher.name()),
        }
    }

    fn with<T>(
        &mut self,
        datagram: &[u8],
        scratch: &mut Scratch,
        call: impl FnOnce(&mut SslStream<Wire>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // What a record that was passed over left behind would be taken for an error of this call.
        drop(ErrorStack::get());
        scratch.incoming.clear();
        scratch.incoming.extend_from_slice(datagram);
        std::mem::swap(&mut self.stream.get_mut().scratch, scratch);
        let called = call(&mut self.stream);
        std::mem::swap(&mut self.stream.get_mut().scratch, scratch);
        called
    }
}

fn failure(error: &Error) -> HandshakeFailure {
    let Some(first) = error.ssl_error().and_then(|stack| stack.errors().first()) else {
        return HandshakeFailure::Internal;
    };
    match first.reason_code() {
        reason if reason >= ALERT_REASONS => HandshakeFailure::RefusedByClient,
        reason if INCOMPATIBLE_REASONS.contains(&reason) => HandshakeFailure::Incompatible,
        _ => HandshakeFailure::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::Private;
    use openssl::rsa::Rsa;
    use openssl::x509::X509Name;

    use super::*;

    fn ec_key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    }

    fn name(text: &str) -> X509Name {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", text).unwrap();
        name.build()
    }

    /// A certificate of `key` that another has issued.
    fn certificate(key: &PKey<Private>, digest: MessageDigest) -> CertificateDer<'static> {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name("subject")).unwrap();
        builder.set_issuer_name(&name("issuer")).unwrap();
        builder.set_pubkey(key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(&ec_key(), digest).unwrap();
        builder.build().to_der().unwrap().into()
    }

    #[test]
    fn a_chain_with_a_weak_signature_or_key_anywhere_is_refused_when_it_is_loaded() {
        let key = ec_key();
        let private = PrivateKeyDer::Pkcs8(key.private_key_to_pkcs8().unwrap().into());
        let small = PKey::from_rsa(Rsa::generate(1_024).unwrap()).unwrap();
        let (sha1, sha256) = (MessageDigest::sha1(), MessageDigest::sha256());
        let is_taken = |own, authority| context(&[own, authority], &private).is_ok();
        assert!(is_taken(certificate(&key, sha256), certificate(&ec_key(), sha256)));
        assert!(!is_taken(certificate(&key, sha1), certificate(&ec_key(), sha256)));
        assert!(!is_taken(certificate(&key, sha256), certificate(&ec_key(), sha1)));
        assert!(!is_taken(certificate(&key, sha256), certificate(&small, sha256)));
    }
}
