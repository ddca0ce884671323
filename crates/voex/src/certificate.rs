//! The certificate that TURN clients over TLS are shown: found, read, or made.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use voex_base::Protocol;
use voex_config::Settings;
use voex_net::{Identity, IdentityError};

use crate::addresses::Addresses;
use crate::media::host_name;

/// Where chain and key are when nothing is said: beside the settings file, as VoEx has them.
const DEFAULT_CHAIN: &str = "certs/coturn.crt";
const DEFAULT_KEY: &str = "certs/coturn.key";

/// A chain with its key, as it was read.
pub(crate) struct Files {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_path: PathBuf,
}

/// Names the files beside a settings file, when both are there and the settings name none.
pub(crate) fn find(settings_file: &Path, settings: &mut Settings) {
    let folder = settings_file.parent().unwrap_or(Path::new(""));
    let (chain, key) = (folder.join(DEFAULT_CHAIN), folder.join(DEFAULT_KEY));
    let tls = &mut settings.tls;
    if tls.certificate.is_none() && tls.key.is_none() && chain.is_file() && key.is_file() {
        (tls.certificate, tls.key) = (Some(chain), Some(key));
    }
}

/// Gives what clients over TLS are shown: what the settings name, else a certificate made now. Nothing when no client may
/// come over TLS.
///
/// # Errors
/// With one line that says which file is wrong, and what would be right.
pub(crate) fn identity(settings: &Settings, addresses: &Addresses) -> Result<Option<Identity>, String> {
    if !settings.turn.enabled || !settings.turn.transports.contains(&Protocol::Tls) {
        return Ok(None);
    }
    match Files::read(settings)? {
        Some(files) => files.identity().map(Some),
        None => self_signed(settings, addresses).map(Some),
    }
}

impl Files {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// See [`identity`].
    pub(crate) fn read(settings: &Settings) -> Result<Option<Self>, String> {
        let (Some(chain_path), Some(key_path)) = (&settings.tls.certificate, &settings.tls.key) else {
            return Ok(None);
        };
        Ok(Some(Self {
            chain: read_chain(chain_path)?,
            key: read_key(key_path)?,
            chain_path: chain_path.clone(),
        }))
    }

    /// Joins them.
    ///
    /// # Errors
    /// When they do not fit each other.
    pub(crate) fn identity(self) -> Result<Identity, String> {
        Identity::new(self.chain, self.key).map_err(|error| match error {
            IdentityError::Mismatch => wrong(
                "tls.key",
                "is not the key of the first certificate of tls.certificate; the host's own certificate must come first",
            ),
            IdentityError::Unusable(_) | IdentityError::Library(_) => wrong_file("tls.certificate", &self.chain_path, error),
        })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let key = "tls.certificate";
    let text = fs::read(path).map_err(|error| wrong_file(key, path, error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong_file(key, path, "holds no certificate in PEM")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong_file(key, path, format!("is no PEM: {error}"))),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let key = "tls.key";
    let text = fs::read(path).map_err(|error| wrong_file(key, path, error))?;
    if is_encrypted(&text) {
        let text = format!(
            "is encrypted, and nobody is there to type its password; write it without: openssl pkey -in {0} -out {0}.plain",
            path.display()
        );
        return Err(wrong_file(key, path, text));
    }
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| wrong_file(key, path, "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)"))
}

/// Tells the two ways of PEM to encrypt a key (RFC 7468 §11, RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Makes a certificate for the names and addresses that clients know this host by. It has no end: the process has one.
fn self_signed(settings: &Settings, addresses: &Addresses) -> Result<Identity, String> {
    let failed = |error: rcgen::Error| wrong("tls", format!("no certificate could be made: {error}"));
    let host = host_name();
    let names = settings.turn.realm.iter().chain([&host]);
    let public = addresses.relays.iter().map(|relay| relay.public);
    let addresses = addresses.turn.iter().copied().chain(public);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, host.as_str());
    // A realm need not be a name of the DNS.
    let names = names.filter_map(|name| Some(SanType::DnsName(name.as_str().try_into().ok()?)));
    params.subject_alt_names = names.chain(addresses.map(SanType::IpAddress)).collect();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Identity::new(vec![certificate.into()], key).map_err(|error| wrong("tls", error))
}

fn wrong(key: &str, text: impl Display) -> String {
    format!("{key}: {text}")
}

fn wrong_file(key: &str, path: &Path, text: impl Display) -> String {
    wrong(key, format!("{}: {text}", path.display()))
}
