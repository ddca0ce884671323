//! What can be wrong with a certificate chain that could be read, each with what would be right.

use std::net::IpAddr;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use voex_config::{Settings, Severity};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

/// Bits of an RSA key below which no client of today accepts it, nor do we.
const RSA_BITS_MIN: usize = 2_048;

/// One thing that is wrong: how bad, of which file, and the text that names the fix.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) file: File,
    pub(super) text: String,
}

/// Which of the two files a finding is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum File {
    Chain,
    Key,
}

/// Under what clients reach this host, as far as the settings tell.
pub(super) struct Names {
    pub(super) realm: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
}

impl Names {
    pub(super) fn of(settings: &Settings) -> Self {
        // A realm without a dot is no name that a public authority would certify.
        let realm = settings.turn.realm.as_ref().filter(|realm| realm.contains('.'));
        Self {
            realm: realm.map(|realm| realm.trim_end_matches('.').to_ascii_lowercase()),
            addresses: settings.turn.external.iter().map(|external| external.public).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.realm.is_none() && self.addresses.is_empty()
    }
}

/// When the host's own certificate ends, in seconds of Unix time.
pub(super) fn end(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(own.validity().not_after.timestamp())
}

/// Looks a chain and its key over. `authorities` are those that clients are taken to know.
pub(super) fn inspect(
    chain: &[CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
    names: &Names,
    authorities: impl FnOnce() -> Vec<CertificateDer<'static>>,
    now: i64,
) -> Vec<Finding> {
    let parsed: Result<Vec<_>, _> = chain.iter().map(|der| X509Certificate::from_der(der)).collect();
    let Ok(parsed) = parsed else {
        return vec![wrong("holds a certificate that is none of X.509; write the file anew")];
    };
    let parsed: Vec<X509Certificate<'_>> = parsed.into_iter().map(|(_, certificate)| certificate).collect();
    let Some(first) = parsed.first() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let own = own(&parsed, key, &mut findings);
    let leaf = parsed.get(own).unwrap_or(first);
    strength(leaf, &mut findings);
    order(&parsed, own, authorities, &mut findings);
    findings.extend(
        parsed
            .iter()
            .filter_map(|certificate| Some(warning(&out_of_time(certificate, now)?))),
    );
    coverage(leaf, names, &mut findings);
    findings
}

/// Finds the certificate that the key belongs to.
fn own(chain: &[X509Certificate<'_>], key: &PrivateKeyDer<'_>, findings: &mut Vec<Finding>) -> usize {
    // A key that cannot be used is told by its own name when the two are joined.
    let Ok(key) = any_supported_type(key) else {
        return 0;
    };
    let Some(public) = key.public_key() else {
        return 0;
    };
    let of_key = |certificate: &X509Certificate<'_>| certificate.public_key().raw == public.as_ref();
    match chain.iter().position(of_key) {
        Some(own) => own,
        None => {
            let first = chain.first().map(|first| name(first.subject())).unwrap_or_default();
            findings.push(Finding {
                severity: Severity::Error,
                file: File::Key,
                text: format!(
                    "is not the key of the first certificate of tls.certificate, {first}, nor of another one there; \
                     take the key that this certificate was asked for with, or ask for a new certificate with this key"
                ),
            });
            0
        }
    }
}

/// RSA keys and signatures that clients refuse.
fn strength(leaf: &X509Certificate<'_>, findings: &mut Vec<Finding>) {
    if let Ok(PublicKey::RSA(rsa)) = leaf.public_key().parsed()
        && rsa.key_size() < RSA_BITS_MIN
    {
        findings.push(wrong(&format!(
            "the RSA key of {} has {} bits; 2048 are the least that clients accept: make a new key and have it certified",
            name(leaf.subject()),
            rsa.key_size()
        )));
    }
    if leaf.signature_algorithm.algorithm == OID_PKCS1_SHA1WITHRSA && !is_self_issued(leaf) {
        findings.push(warning(&format!(
            "{} is signed with SHA-1, which clients refuse; have it signed with SHA-256",
            name(leaf.subject())
        )));
    }
}

/// The host's own certificate comes first, and behind each the one that issued it.
fn order(
    chain: &[X509Certificate<'_>],
    own: usize,
    authorities: impl FnOnce() -> Vec<CertificateDer<'static>>,
    findings: &mut Vec<Finding>,
) {
    let mut path = vec![own];
    while let Some(issuer) = path.last().and_then(|last| issuer_of(chain, *last, &path)) {
        path.push(issuer);
    }
    let names = |path: &[usize]| {
        let names: Vec<String> = path
            .iter()
            .filter_map(|at| Some(name(chain.get(*at)?.subject())))
            .collect();
        names.join(", ")
    };
    if path.iter().enumerate().any(|(place, at)| place != *at) {
        let severity = if own == 0 { Severity::Warning } else { Severity::Error };
        let text = format!(
            "is in the wrong order; the host's own certificate must come first and each one's issuer behind it: {}",
            names(&path)
        );
        findings.push(Finding {
            severity,
            file: File::Chain,
            text,
        });
    }
    let idle: Vec<usize> = (0..chain.len()).filter(|at| !path.contains(at)).collect();
    if !idle.is_empty() {
        findings.push(warning(&format!(
            "{} did not issue what stands before it; remove it, or put the certificate between them in",
            names(&idle)
        )));
    }
    if let Some(last) = path.last().and_then(|last| chain.get(*last)) {
        end_of_path(last, path.len(), &authorities_of(last, authorities), findings);
    }
}

/// Authorities are only read when somebody has to know them.
fn authorities_of(
    last: &X509Certificate<'_>,
    authorities: impl FnOnce() -> Vec<CertificateDer<'static>>,
) -> Vec<CertificateDer<'static>> {
    if is_self_issued(last) {
        Vec::new()
    } else {
        authorities()
    }
}

/// Clients must know who issued the last certificate.
fn end_of_path(
    last: &X509Certificate<'_>,
    len: usize,
    authorities: &[CertificateDer<'_>],
    findings: &mut Vec<Finding>,
) {
    let known = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, authority)| has_issued(&authority, last))
    };
    // A host without a list of authorities cannot tell whether an intermediate one was issued by one of them.
    let unknowable = authorities.is_empty() && len > 1;
    if is_self_issued(last) || unknowable || authorities.iter().any(known) {
        return;
    }
    let from = fetched_from(last).map_or_else(String::new, |url| format!(" (it is at {url})"));
    findings.push(warning(&format!(
        "the certificate of {}, which issued {}, is missing, and clients cannot check the chain without it; append it \
         in PEM{from}",
        name(last.issuer()),
        name(last.subject())
    )));
}

fn issuer_of(chain: &[X509Certificate<'_>], child: usize, path: &[usize]) -> Option<usize> {
    let issued = chain.get(child)?;
    if is_self_issued(issued) {
        return None;
    }
    let mut others = chain.iter().enumerate().filter(|(at, _)| !path.contains(at));
    others
        .find(|(_, authority)| has_issued(authority, issued))
        .map(|(at, _)| at)
}

/// By name, and by key identifier where both tell one (RFC 5280 §4.2.1.1).
fn has_issued(authority: &X509Certificate<'_>, child: &X509Certificate<'_>) -> bool {
    let named = authority.subject().as_raw() == child.issuer().as_raw();
    let wanted = child
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
    let has = authority
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
            _ => None,
        });
    let is_of_key = match (wanted, has) {
        (Some(wanted), Some(has)) => wanted == has,
        _ => true,
    };
    named && is_of_key
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Where the issuer's certificate can be fetched (RFC 5280 §4.2.2.1).
fn fetched_from<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            return None;
        };
        access
            .accessdescs
            .iter()
            .find_map(|description| match description.access_location {
                GeneralName::URI(url) if description.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS => {
                    Some(url)
                }
                _ => None,
            })
    })
}

/// Says why a chain is not to replace another one today.
pub(super) fn is_out_of_time(chain: &[CertificateDer<'_>], now: i64) -> Option<String> {
    let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
    out_of_time(&own, now)
}

fn out_of_time(certificate: &X509Certificate<'_>, now: i64) -> Option<String> {
    let (begin, end) = (certificate.validity().not_before, certificate.validity().not_after);
    let name = name(certificate.subject());
    if end.timestamp() < now {
        Some(format!("{name} has expired on {end}; have it renewed"))
    } else if begin.timestamp() > now {
        Some(format!(
            "{name} is not valid before {begin}; put it in place then, or set this host's clock"
        ))
    } else {
        None
    }
}

/// Clients refuse a certificate that is not for the name by which they came.
fn coverage(leaf: &X509Certificate<'_>, names: &Names, findings: &mut Vec<Finding>) {
    let certified = leaf.subject_alternative_name().ok().flatten();
    let certified = certified
        .map(|extension| &extension.value.general_names[..])
        .unwrap_or_default();
    let covers_realm = |realm: &String| {
        certified.iter().any(|name| match name {
            GeneralName::DNSName(name) => covers(&name.to_ascii_lowercase(), realm),
            _ => false,
        })
    };
    let covers_address = |address: &IpAddr| {
        certified.iter().any(|name| match (name, address) {
            (GeneralName::IPAddress(octets), IpAddr::V4(v4)) => *octets == v4.octets(),
            (GeneralName::IPAddress(octets), IpAddr::V6(v6)) => *octets == v6.octets(),
            _ => false,
        })
    };
    if names.is_empty() || names.realm.iter().any(covers_realm) || names.addresses.iter().any(covers_address) {
        return;
    }
    let wanted = names.realm.iter().cloned();
    let wanted: Vec<String> = wanted.chain(names.addresses.iter().map(IpAddr::to_string)).collect();
    let shown: Vec<String> = certified.iter().filter_map(shown).collect();
    let shown = match shown.is_empty() {
        true => "no name at all (subjectAltName)".to_owned(),
        false => shown.join(", "),
    };
    findings.push(warning(&format!(
        "is for {shown}, but not for {} (turn.realm, turn.external); clients that come by such a name refuse it: have \
         the name certified too",
        wanted.join(", ")
    )));
}

/// A name covers itself; with a star, one label in its place (RFC 6125 §6.4.3). A realm is often the domain of which the
/// host's name is a part.
fn covers(certified: &str, realm: &str) -> bool {
    let below = |whole: &str, domain: &str| whole.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match certified.strip_prefix("*.") {
        Some(domain) => realm == domain || realm.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => certified == realm || below(certified, realm),
    }
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let v4 = || <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from);
            v4().or_else(v6).map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Common name in quotes, else all of it.
fn name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|common| common.as_str().ok());
    match common {
        Some(common) => format!("\"{common}\""),
        None => format!("\"{name}\""),
    }
}

fn wrong(text: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        file: File::Chain,
        text: text.to_owned(),
    }
}

fn warning(text: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        file: File::Chain,
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_star_stands_for_one_label_and_a_realm_may_be_the_domain_of_the_host() {
        assert!(covers("turn.example.org", "turn.example.org"));
        assert!(covers("*.example.org", "turn.example.org"));
        assert!(covers("*.example.org", "example.org"));
        assert!(covers("turn.example.org", "example.org"));
        assert!(!covers("*.example.org", "a.b.example.org"));
        assert!(!covers("turn.notexample.org", "example.org"));
        assert!(!covers("example.org", "turn.example.org"));
    }
}
