//! What this host shows to clients that want to know whom they talk to.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::SslContext;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{Error, InconsistentKeys, ServerConfig, SupportedProtocolVersion};
use voex_base::Protocol;

use crate::dtls;

/// TLS versions served: the two that have no known break.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// Application protocols (RFC 7443 §4), the preferred one first. A client that offers none is served too.
const PROTOCOLS: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];
/// The same, as they stand in a handshake.
pub(crate) const ALPN: &[u8] = b"\x09stun.turn\x12stun.nat-discovery";

/// A certificate chain with its private key, ready for handshakes. Clones share it.
///
/// Sessions over TLS can be resumed by tickets for as long as the identity is in use; the key that seals tickets changes
/// every six hours and never leaves the process. Those over DTLS are not resumed.
#[derive(Clone)]
pub struct Identity {
    pub(crate) tls: Arc<ServerConfig>,
    /// Only where DTLS is served.
    pub(crate) dtls: Option<SslContext>,
}

/// Why a chain and a key make no identity.
#[derive(thiserror::Error, Debug)]
pub enum IdentityError {
    /// The key is not that of the first certificate.
    #[error("the key is not that of the first certificate")]
    Mismatch,
    /// The chain is empty, a certificate cannot be read, or the key is of a kind that we cannot sign with.
    #[error("{0}")]
    Unusable(Error),
    /// The same, for DTLS: its library is stricter than the one for TLS, and refuses weak keys and signatures anywhere in
    /// the chain.
    #[error(
        "cannot be used for DTLS ({0}); have it issued anew, with SHA-256 and RSA keys of 2048 bits or more, or leave dtls out of what is served"
    )]
    UnusableForDtls(ErrorStack),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed: {0}")]
    Library(Error),
}

impl Identity {
    /// Makes an identity of a chain, the host's own certificate first, and the key of that certificate. It can be shown over
    /// DTLS when that is among the `protocols`.
    ///
    /// # Errors
    /// When the two do not fit each other, or cannot be used.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        protocols: &[Protocol],
    ) -> Result<Self, IdentityError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(VERSIONS)
            .map_err(IdentityError::Library)?;
        let dtls = protocols
            .contains(&Protocol::Dtls)
            .then(|| dtls::context(&chain, &key))
            .transpose();
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => IdentityError::Mismatch,
                error => IdentityError::Unusable(error),
            })?;
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        config.ticketer = Ticketer::new().map_err(IdentityError::Library)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        // Clients without AES in hardware say so by their order.
        config.ignore_client_order = false;
        Ok(Self {
            tls: Arc::new(config),
            dtls: dtls.map_err(IdentityError::UnusableForDtls)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_libraries_offer_the_same_application_protocols() {
        let on_the_wire: Vec<u8> = PROTOCOLS
            .iter()
            .flat_map(|name| [&[name.len() as u8], *name].concat())
            .collect();
        assert_eq!(on_the_wire, ALPN);
    }
}
