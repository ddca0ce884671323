//! Our certificate, and checking the remote's against its SDP fingerprint (RFC 8122).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use dimpl::DtlsCertificate;
use subtle::ConstantTimeEq;

use crate::dtls;

/// An ECDSA certificate with its private key; one serves every transport of the process.
pub struct Certificate {
    dtls: DtlsCertificate,
    settings: Arc<dimpl::Config>,
    fingerprint: [u8; 32],
}

/// Why a [`Certificate`] could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateError {
    /// The private key is neither PKCS #8 nor SEC 1, or not on P-256 or P-384.
    PrivateKey,
    /// Making a new one failed.
    Generation,
    /// The cryptographic library failed its self-test.
    Library,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrivateKey => "the private key is not an ECDSA key on P-256 or P-384 in DER",
            Self::Generation => "the certificate could not be made",
            Self::Library => "the cryptographic library failed its self-test",
        })
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Takes an X.509 certificate and its private key, both DER; the key as PKCS #8 or SEC 1, on P-256 or P-384.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn from_der(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<Self, CertificateError> {
        dimpl::crypto::aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(&private_key)
            .map_err(|_| CertificateError::PrivateKey)?;
        Self::new(DtlsCertificate {
            certificate,
            private_key,
        })
    }

    /// Makes a self-signed P-256 certificate for a year. Draws on the operating system's entropy and clock, so this is
    /// for the shell, at start.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate() -> Result<Self, CertificateError> {
        dimpl::certificate::generate_self_signed_certificate()
            .map_err(|_| CertificateError::Generation)
            .and_then(Self::new)
    }

    fn new(dtls: DtlsCertificate) -> Result<Self, CertificateError> {
        let settings = dtls::settings().map_err(|_| CertificateError::Library)?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&SHA256, &dtls.certificate).as_ref());
        Ok(Self {
            dtls,
            settings,
            fingerprint,
        })
    }

    /// SHA-256 over the DER certificate: what follows `a=fingerprint:sha-256` as hexadecimal pairs.
    pub fn fingerprint_sha256(&self) -> [u8; 32] {
        self.fingerprint
    }

    pub(crate) fn settings(&self) -> &Arc<dimpl::Config> {
        &self.settings
    }

    pub(crate) fn dtls(&self) -> DtlsCertificate {
        self.dtls.clone()
    }
}

/// Tells whether `fingerprint` is that of the DER certificate under the hash function named as in SDP, without regard
/// to case. An unknown function never fits; MD5 and MD2 are not known (RFC 8122 §5).
pub(crate) fn fingerprint_fits(certificate: &[u8], hash: &str, fingerprint: &[u8]) -> bool {
    let algorithm = match hash {
        _ if hash.eq_ignore_ascii_case("sha-256") => &SHA256,
        _ if hash.eq_ignore_ascii_case("sha-1") => &SHA1_FOR_LEGACY_USE_ONLY,
        _ if hash.eq_ignore_ascii_case("sha-384") => &SHA384,
        _ if hash.eq_ignore_ascii_case("sha-512") => &SHA512,
        _ => return false,
    };
    digest::digest(algorithm, certificate)
        .as_ref()
        .ct_eq(fingerprint)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_fits_under_its_own_function_only() {
        for (name, algorithm) in [
            ("SHA-256", &SHA256),
            ("sha-1", &SHA1_FOR_LEGACY_USE_ONLY),
            ("sha-384", &SHA384),
            ("Sha-512", &SHA512),
        ] {
            let fingerprint = digest::digest(algorithm, b"certificate");
            assert!(fingerprint_fits(b"certificate", name, fingerprint.as_ref()), "{name}");
            assert!(!fingerprint_fits(b"another", name, fingerprint.as_ref()), "{name}");
            assert!(
                !fingerprint_fits(b"certificate", name, &fingerprint.as_ref()[1..]),
                "{name}"
            );
            assert!(!fingerprint_fits(b"certificate", "md5", fingerprint.as_ref()), "{name}");
        }
    }

    #[test]
    fn a_generated_certificate_can_be_taken_from_its_parts_and_a_broken_key_cannot() {
        let made = Certificate::generate().unwrap();
        let DtlsCertificate {
            certificate,
            private_key,
        } = made.dtls();
        let taken = Certificate::from_der(certificate.clone(), private_key).unwrap();
        assert_eq!(taken.fingerprint_sha256(), made.fingerprint_sha256());
        assert_eq!(
            Certificate::from_der(certificate, b"no key".to_vec()).err(),
            Some(CertificateError::PrivateKey)
        );
    }
}
