//! The certificate that TURN clients over TLS and DTLS are shown: found, read, looked over, or made.

mod inspect;
mod watch;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use voex_base::Protocol;
use voex_config::{Place, Problem, Settings, Severity};
use voex_net::Identity;

use crate::addresses::Addresses;
use crate::media::host_name;
use inspect::{File, Finding, Names, inspect};
pub(crate) use watch::{CertificateFigures, Figures, Watch};

/// Where chain and key are when nothing is said: beside the settings file, as VoEx has them.
const DEFAULT_CHAIN: &str = "certs/coturn.crt";
const DEFAULT_KEY: &str = "certs/coturn.key";

/// What clients are shown from now on.
pub(crate) struct Shown {
    pub(crate) identity: Identity,
    /// Where it comes from; nothing where it was made here.
    origin: Option<Origin>,
}

/// A chain that was read, and when its first certificate ends, in seconds of Unix time.
struct Origin {
    chain: Vec<CertificateDer<'static>>,
    path: PathBuf,
    end: i64,
}

/// A chain with its key, as it was read.
struct Files {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_path: PathBuf,
    key_path: PathBuf,
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

/// Gives what clients over TLS and DTLS are shown: what the settings name, else a certificate made now. Nothing when no
/// client may come over either. What is doubtful about it is logged.
///
/// # Errors
/// With one line that says which file is wrong, and what would be right.
pub(crate) fn shown(settings: &Settings, addresses: &Addresses) -> Result<Option<Shown>, String> {
    if !is_wanted(settings) {
        return Ok(None);
    }
    match Files::read(settings)? {
        Some(files) => files.shown(settings).map(Some),
        None => self_signed(settings, addresses).map(Some),
    }
}

/// Looks over what the settings name, for `check-config`.
pub(crate) fn problems(settings: &Settings) -> Vec<Problem> {
    let problem = |severity, key: &str, text: String| Problem {
        severity,
        place: Place::Nowhere,
        key: key.to_owned(),
        value: String::new(),
        text,
    };
    if !is_wanted(settings) {
        return Vec::new();
    }
    let files = match Files::read(settings) {
        Ok(Some(files)) => files,
        Ok(None) => return Vec::new(),
        Err(line) => return vec![problem(Severity::Error, "", line)],
    };
    let findings = files.findings(settings);
    let (mut problems, mut is_usable) = (Vec::new(), true);
    for Finding { severity, file, text } in findings {
        is_usable &= severity != Severity::Error;
        let (key, path) = files.place(file);
        problems.push(problem(severity, key, format!("{}: {text}", path.display())));
    }
    if is_usable && let Err(line) = files.identity(settings) {
        problems.push(problem(Severity::Error, "", line));
    }
    problems
}

fn is_wanted(settings: &Settings) -> bool {
    let shows = |protocol| settings.turn.transports.contains(&protocol);
    settings.turn.enabled && (shows(Protocol::Tls) || shows(Protocol::Dtls))
}

/// Seconds of Unix time, by this host's clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}

impl Files {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// See [`shown`].
    fn read(settings: &Settings) -> Result<Option<Self>, String> {
        let (Some(chain_path), Some(key_path)) = (&settings.tls.certificate, &settings.tls.key) else {
            return Ok(None);
        };
        Ok(Some(Self {
            chain: read_chain(chain_path)?,
            key: read_key(key_path)?,
            chain_path: chain_path.clone(),
            key_path: key_path.clone(),
        }))
    }

    fn findings(&self, settings: &Settings) -> Vec<Finding> {
        // Authorities that cannot be read are as good as none: then only what is certain is told.
        let authorities = || rustls_native_certs::load_native_certs().certs;
        inspect(&self.chain, &self.key, &Names::of(settings), authorities, now())
    }

    fn place(&self, file: File) -> (&'static str, &Path) {
        match file {
            File::Chain => ("tls.certificate", &self.chain_path),
            File::Key => ("tls.key", &self.key_path),
        }
    }

    /// Joins them, and logs what is doubtful.
    ///
    /// # Errors
    /// When they do not fit each other.
    fn shown(self, settings: &Settings) -> Result<Shown, String> {
        for Finding { severity, file, text } in self.findings(settings) {
            let (key, path) = self.place(file);
            let line = wrong_file(key, path, text);
            match severity {
                Severity::Error => return Err(line),
                _ => tracing::warn!("{line}"),
            }
        }
        let origin = Origin {
            chain: self.chain.clone(),
            path: self.chain_path.clone(),
            end: inspect::end(&self.chain).unwrap_or_default(),
        };
        Ok(Shown {
            identity: self.identity(settings)?,
            origin: Some(origin),
        })
    }

    fn identity(self, settings: &Settings) -> Result<Identity, String> {
        Identity::new(self.chain, self.key, &settings.turn.transports)
            .map_err(|error| wrong_file("tls.certificate", &self.chain_path, error))
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
fn self_signed(settings: &Settings, addresses: &Addresses) -> Result<Shown, String> {
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
    let identity =
        Identity::new(vec![certificate.into()], key, &settings.turn.transports).map_err(|error| wrong("tls", error))?;
    Ok(Shown { identity, origin: None })
}

fn wrong(key: &str, text: impl Display) -> String {
    format!("{key}: {text}")
}

fn wrong_file(key: &str, path: &Path, text: impl Display) -> String {
    wrong(key, format!("{}: {text}", path.display()))
}
