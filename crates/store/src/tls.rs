//! TLS towards Redis.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use voex_config::RedisTls;

/// Does the handshake. Files are read each time, so that a renewed certificate is used from the next connection on.
pub(crate) async fn wrap(host: &str, settings: &RedisTls, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| "TLS: the server's name is no host name".to_owned())?;
    let settings = settings.clone();
    let config = tokio::task::spawn_blocking(move || client_config(&settings)).await;
    let config = config.map_err(|error| error.to_string())??;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| format!("TLS: {error}"))
}

fn client_config(settings: &RedisTls) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match settings.verify {
        true => WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(settings)?), provider.clone())
            .build()
            .map_err(|error| format!("TLS: {error}"))?,
        false => Arc::new(AnyCertificate(provider.clone())),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            let config = config.with_client_auth_cert(certificates(certificate)?, key);
            config.map_err(|error| format!("TLS: certificate and key do not fit: {error}"))
        }
        _ => Ok(config.with_no_client_auth()),
    }
}

fn authorities(settings: &RedisTls) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let mut given = Vec::new();
    if let Some(file) = &settings.ca {
        given.extend(certificates(file)?);
    }
    if let Some(folder) = &settings.ca_folder {
        let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        // What is no certificate may lie beside one.
        given.extend(
            entries
                .flatten()
                .filter_map(|entry| certificates(&entry.path()).ok())
                .flatten(),
        );
    }
    if settings.ca.is_none() && settings.ca_folder.is_none() {
        given.extend(rustls_native_certs::load_native_certs().certs);
    }
    store.add_parsable_certificates(given);
    match store.is_empty() {
        true => Err("TLS: no certificate of an authority was found".to_owned()),
        false => Ok(store),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| unreadable(file, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("TLS: {}: {error}", path.display())
}

/// `verify=none`: any certificate will do. The handshake's signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
