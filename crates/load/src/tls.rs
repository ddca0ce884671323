//! TLS of clients, and certificates for servers that are started here.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::LoadError;
use crate::error::Doing as _;

/// Where Debian keeps the certificates of public authorities.
pub const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Which certificates a client accepts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those that lead to a certificate of this PEM file.
    Authorities(&'a Path),
    /// Any, for servers under test. Signatures of the handshake are checked all the same: they are work that a real
    /// client does.
    Anyone,
}

/// TLS settings shared by all clients of a load.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Makes settings for a server of this name or address.
    ///
    /// Sessions are never resumed, so that every client costs a server what a new one does.
    ///
    /// # Errors
    /// [`LoadError::Tls`] when the name or the authorities cannot be used.
    pub fn new(name: &str, trust: Trust<'_>) -> Result<Self, LoadError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            LoadError::Tls(format!(
                "{name}: a host name or an address is expected as --server-name"
            ))
        })?;
        let provider = Arc::new(classic_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| LoadError::Tls(error.to_string()))?;
        let mut config = match trust {
            Trust::Authorities(path) => builder.with_root_certificates(authorities(path)?),
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnyone(provider))),
        }
        .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Begins a connection.
    pub(crate) fn connection(&self) -> Result<ClientConnection, LoadError> {
        let made = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = made.map_err(|error| LoadError::Tls(error.to_string()))?;
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

/// Key exchanges that every server of the last ten years knows: a hybrid one would cost those more that know it.
fn classic_provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, LoadError> {
    let unusable = |why: String| {
        LoadError::Tls(format!(
            "{}: {why}; name a PEM file with --authorities, or accept any certificate of a test server with --insecure",
            path.display()
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        // A bundle may hold a certificate of a kind nobody verifies any more; the others serve.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(unusable("no certificate that could be used".into()));
    }
    Ok(roots)
}

/// Accepts every certificate, but only with a handshake that its key has signed.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The key of a server's certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA with 2048 bits.
    Rsa,
}

/// Writes a new self-signed certificate for localhost and its key as PEM files.
///
/// # Errors
/// [`LoadError::Tls`] when none can be made, [`LoadError::Io`] when it cannot be written.
pub fn write_certificate(kind: KeyKind, certificate: &Path, key: &Path) -> Result<(), LoadError> {
    let make = || {
        let key = match kind {
            KeyKind::Ecdsa => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
            KeyKind::Rsa => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?,
        };
        let params = rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        Ok::<_, rcgen::Error>((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    let (certificate_pem, key_pem) = make().map_err(|error| LoadError::Tls(error.to_string()))?;
    for (path, pem) in [(certificate, certificate_pem), (key, key_pem)] {
        fs::write(path, pem).doing(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
