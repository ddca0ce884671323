//! The certificate of TURN over TLS and DTLS, as the tools of OpenSSL write it and see it.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod common;
#[path = "common/tls.rs"]
mod tls;
#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Server, run};
use rcgen::{CertificateParams, DnType, KeyPair};
use tls::TlsClient;

const RSA: [&str; 3] = ["-newkey", "rsa:2048", "-nodes"];
const EC: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// A folder with a settings file, as an administrator has it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, settings: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("certs")).unwrap();
        let this = Self(folder);
        fs::write(this.0.join("settings.yaml"), settings).unwrap();
        this
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Runs `openssl` in this folder.
    fn openssl(&self, args: &[&str]) {
        let done = Command::new("openssl")
            .args(args)
            .current_dir(&self.0)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// Makes a self-signed certificate with a new key.
    fn make(&self, chain: &str, key: &str, kind: &[&str]) {
        let rest = [
            "-x509",
            "-days",
            "9",
            "-subj",
            "/CN=voex.test",
            "-keyout",
            key,
            "-out",
            chain,
        ];
        self.openssl(&[&["req"], kind, &rest].concat());
    }

    /// Makes an authority of its own, or one below another.
    fn authority(&self, name: &str, issuer: Option<&str>) {
        self.issue(name, issuer, "30", "basicConstraints=critical,CA:TRUE", &EC);
    }

    /// Makes `NAME.crt` with `NAME.key`, issued by an authority or by itself.
    fn issue(&self, name: &str, issuer: Option<&str>, days: &str, extension: &str, kind: &[&str]) {
        let file = |end: &str| format!("{name}.{end}");
        let (key, request, certificate, extensions) = (file("key"), file("csr"), file("crt"), file("ext"));
        let subject = format!("/CN={name}");
        let asked = ["-new", "-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(&[&["req"], kind, &asked].concat());
        fs::write(self.0.join(&extensions), extension).unwrap();
        let by = issuer.unwrap_or(name);
        let (ca, ca_key) = (format!("{by}.crt"), format!("{by}.key"));
        let signer = match issuer {
            Some(_) => vec!["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"],
            None => vec!["-signkey", &key],
        };
        let rest = ["-days", days, "-extfile", &extensions, "-out", &certificate];
        self.openssl(&[&["x509", "-req", "-in", &request], &signer[..], &rest].concat());
    }

    /// Writes one file of several.
    fn join(&self, to: &str, parts: &[&str]) {
        let parts: Vec<String> = parts.iter().map(|part| self.text(part)).collect();
        fs::write(self.0.join(to), parts.concat()).unwrap();
    }

    /// Has chain and key looked over; gives exit code and what is said of them.
    fn checked(&self, chain: &str, key: &str) -> (Option<i32>, String) {
        let sets = [
            format!("tls.certificate={}", self.path(chain)),
            format!("tls.key={}", self.path(key)),
        ];
        let Output { status, stderr, .. } = run(&[
            "check-config",
            &self.path("settings.yaml"),
            "--set",
            &sets[0],
            "--set",
            &sets[1],
        ]);
        let said = String::from_utf8_lossy(&stderr);
        let said = said.lines().filter(|line| line.contains("tls.")).collect::<Vec<_>>();
        (status.code(), said.join("\n"))
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn start(&self) -> Server {
        Server::start(&["--settings", &self.path("settings.yaml")])
    }

    /// Tries to start with chain and key; gives what is said.
    fn refused(&self, chain: &str, key: &str) -> String {
        let certificate = format!("tls.certificate={}", self.path(chain));
        let key = format!("tls.key={}", self.path(key));
        let settings = self.path("settings.yaml");
        let args = ["serve", "--settings", &settings, "--set", &certificate, "--set", &key];
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// What a client of OpenSSL is shown, with the version that it offers.
fn shown(at: SocketAddr, version: &str) -> String {
    let done = Command::new("openssl")
        .args(["s_client", "-connect", &at.to_string(), version, "-alpn", "stun.turn"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The value of a metric.
fn metric(server: &Server, name: &str) -> Option<f64> {
    let (_, metrics) = server.get("/metrics");
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    metrics.lines().find_map(value)
}

fn turn(server: &Server) -> SocketAddr {
    server.listener("STUN and TURN", "TURN: ")
}

#[test]
fn keys_of_every_form_are_read() {
    let folder = Folder::new("forms", "mcu: {enabled: false}\n");
    folder.make("rsa.crt", "rsa.pkcs8", &RSA);
    folder.openssl(&["rsa", "-in", "rsa.pkcs8", "-traditional", "-out", "rsa.pkcs1"]);
    folder.make("ec.crt", "ec.pkcs8", &EC);
    folder.openssl(&["ec", "-in", "ec.pkcs8", "-out", "ec.sec1"]);
    // As `openssl ecparam -genkey` writes it: the curve stands in a block of its own in front.
    folder.openssl(&["ecparam", "-name", "prime256v1", "-out", "curve"]);
    fs::write(
        folder.0.join("ec.with-curve"),
        folder.text("curve") + &folder.text("ec.sec1"),
    )
    .unwrap();
    assert!(folder.text("rsa.pkcs1").contains("BEGIN RSA PRIVATE KEY"));
    assert!(folder.text("ec.sec1").contains("BEGIN EC PRIVATE KEY"));
    for (chain, key) in [
        ("rsa.crt", "rsa.pkcs8"),
        ("rsa.crt", "rsa.pkcs1"),
        ("ec.crt", "ec.pkcs8"),
        ("ec.crt", "ec.sec1"),
        ("ec.crt", "ec.with-curve"),
    ] {
        let certificate = format!("tls.certificate={}", folder.path(chain));
        let key = format!("tls.key={}", folder.path(key));
        let server = Server::start(&["--set", &certificate, "--set", &key]);
        for version in ["-tls1_2", "-tls1_3", "-dtls1_2"] {
            let seen = shown(turn(&server), version);
            assert!(seen.contains(folder.text(chain).trim()), "{key} {version}: {seen}");
            assert!(seen.contains("ALPN protocol: stun.turn"), "{key} {version}: {seen}");
        }
        assert!(shown(turn(&server), "-tls1_1").contains("no peer certificate available"));
    }
}

#[test]
fn an_encrypted_key_is_refused_by_name() {
    let folder = Folder::new("encrypted", "mcu: {enabled: false}\n");
    folder.make("chain.crt", "plain", &RSA);
    folder.openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        "plain",
        "-passout",
        "pass:guess",
        "-out",
        "pkcs8.key",
    ]);
    folder.openssl(&[
        "rsa",
        "-in",
        "plain",
        "-traditional",
        "-aes256",
        "-passout",
        "pass:guess",
        "-out",
        "old.key",
    ]);
    for key in ["pkcs8.key", "old.key"] {
        let said = folder.refused("chain.crt", key);
        let expected = format!("tls.key: {}: is encrypted", folder.path(key));
        assert!(said.contains(&expected) && said.contains("openssl pkey"), "{said}");
    }
}

#[test]
fn files_that_do_not_fit_are_refused_with_what_would_be_right() {
    let folder = Folder::new("unfit", "mcu: {enabled: false}\n");
    folder.make("one.crt", "one.key", &EC);
    folder.make("other.crt", "other.key", &EC);
    let said = folder.refused("one.crt", "other.key");
    assert!(
        said.contains("other.key: is not the key of the first certificate of tls.certificate"),
        "{said}"
    );
    let said = folder.refused("one.key", "one.key");
    assert!(said.contains("one.key: holds no certificate in PEM"), "{said}");
    let said = folder.refused("one.crt", "one.crt");
    assert!(said.contains("one.crt: holds no private key in PEM"), "{said}");
    let said = folder.refused("none.crt", "one.key");
    assert!(said.contains("none.crt: No such file"), "{said}");
}

fn assert_shown(server: &Server, certificate: &str) {
    for version in ["-tls1_3", "-dtls1_2"] {
        let seen = shown(turn(server), version);
        assert!(seen.contains(certificate.trim()), "{version}: {seen}");
    }
}

#[test]
fn files_beside_the_settings_are_found_and_new_ones_taken_over() {
    let folder = Folder::new("beside", "mcu: {enabled: false}\n");
    let (chain, key) = ("certs/coturn.crt", "certs/coturn.key");
    folder.make(chain, key, &EC);
    let server = folder.start();
    assert_shown(&server, &folder.text(chain));
    folder.make(chain, key, &RSA);
    server.signal("HUP");
    server.wait_for("reload: taken over");
    assert_shown(&server, &folder.text(chain));
    let good = folder.text(chain);
    fs::write(folder.0.join(chain), "no certificate\n").unwrap();
    server.signal("HUP");
    server.wait_for("the certificate in force stays");
    assert_shown(&server, &good);
}

#[test]
fn a_certificate_is_made_where_none_is_given() {
    let server = Server::start(&["--set", "turn.realm=turn.example.org"]);
    let seen = shown(turn(&server), "-tls1_3");
    assert!(
        seen.contains("BEGIN CERTIFICATE") && seen.contains("TLS_AES_256_GCM_SHA384"),
        "{seen}"
    );
}

/// Makes a certificate that is not valid yet, which the tools of OpenSSL do not.
fn future(folder: &Folder, name: &str) {
    let mut params = CertificateParams::new(["turn.example.org".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2999, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.0.join(format!("{name}.crt")), certificate.pem()).unwrap();
    fs::write(folder.0.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

const SETTINGS: &str = "mcu: {enabled: false}
turn:
  realm: example.org
  users: {static: {alice: secret}}
  peers: {allow_loopback: true}
";

#[test]
fn new_files_are_taken_over_by_watching_while_a_session_relays_on() {
    let folder = Folder::new("watched", SETTINGS);
    let (chain, key) = ("certs/coturn.crt", "certs/coturn.key");
    let name = "subjectAltName=IP:127.0.0.1";
    folder.authority("root", None);
    folder.issue("first", Some("root"), "9", name, &EC);
    folder.issue("second", Some("root"), "9", name, &RSA);
    fs::copy(folder.0.join("first.crt"), folder.0.join(chain)).unwrap();
    fs::copy(folder.0.join("first.key"), folder.0.join(key)).unwrap();
    let server = folder.start();
    let root = folder.text("root.crt");
    let mut client = TlsClient::connect(turn(&server), &root);
    let (peer, relayed) = client.relay_to_a_peer();
    client.exchange(&peer, relayed, b"before it");

    // As a tool for renewals does it: one file, a moment later the other.
    fs::copy(folder.0.join("second.crt"), folder.0.join(chain)).unwrap();
    fs::copy(folder.0.join("second.key"), folder.0.join(key)).unwrap();
    server.wait_for("coturn.crt: new clients are shown it");
    assert!(shown(turn(&server), "-tls1_3").contains(folder.text("second.crt").trim()));
    assert!(shown(turn(&server), "-tls1_2").contains(folder.text("second.crt").trim()));
    client.exchange(&peer, relayed, b"after it");
    let mut late = TlsClient::connect(turn(&server), &root);
    let (peer, relayed) = late.relay_to_a_peer();
    late.exchange(&peer, relayed, b"with the new one");
    assert_eq!(
        metric(&server, "tls_certificate_changes_total{outcome=\"taken\"}"),
        Some(1.0)
    );
    assert_eq!(metric(&server, "turn_allocations "), Some(2.0));
}

#[test]
fn a_wrong_new_file_leaves_the_certificate_in_force_and_is_told_and_counted() {
    let folder = Folder::new("wrong", SETTINGS);
    let (chain, key) = ("certs/coturn.crt", "certs/coturn.key");
    folder.make(chain, key, &EC);
    folder.make("other.crt", "other.key", &EC);
    let good = folder.text(chain);
    let server = folder.start();
    let refused = |count: f64| {
        let metric = metric(&server, "tls_certificate_changes_total{outcome=\"refused\"}");
        assert_eq!(metric, Some(count), "{}", server.log());
        assert!(shown(turn(&server), "-tls1_3").contains(good.trim()));
    };
    fs::copy(folder.0.join("other.crt"), folder.0.join(chain)).unwrap();
    server.wait_for("certs/coturn.key: is not the key of the first certificate");
    refused(1.0);
    fs::remove_file(folder.0.join(chain)).unwrap();
    server.wait_for("certs/coturn.crt: No such file");
    refused(2.0);
    let past = [
        "x509", "-req", "-days", "-1", "-in", "past.csr", "-signkey", key, "-out", chain,
    ];
    folder.openssl(&["req", "-new", "-subj", "/CN=late", "-key", key, "-out", "past.csr"]);
    folder.openssl(&past);
    server.wait_for("\"late\" has expired on");
    refused(3.0);
    assert_eq!(
        metric(&server, "tls_certificate_changes_total{outcome=\"taken\"}"),
        Some(0.0)
    );
}

#[test]
fn the_time_until_a_certificate_expires_is_told() {
    let folder = Folder::new("expiry", SETTINGS);
    folder.make("certs/coturn.crt", "certs/coturn.key", &EC);
    let server = folder.start();
    server.wait_for("certs/coturn.crt: expires in 9 days; renew it");
    let left = metric(&server, "tls_certificate_expiry_seconds ").unwrap();
    assert!((left - 9.0 * 86_400.0).abs() < 60.0, "{left}");
    let without = Server::start(&[]);
    assert_eq!(metric(&without, "tls_certificate_expiry_seconds "), None);
    assert!(!without.log().contains("expires in"));
}

#[test]
fn check_config_says_what_is_wrong_with_a_chain_and_what_would_be_right() {
    let folder = Folder::new("checked", SETTINGS);
    let name = "subjectAltName=DNS:turn.example.org\nauthorityInfoAccess=caIssuers;URI:http://ca.test/middle.der";
    folder.authority("root", None);
    folder.authority("middle", Some("root"));
    folder.issue("host", Some("middle"), "90", name, &EC);
    folder.issue("stranger", None, "90", name, &EC);
    let says = |parts: &[&str], code: i32, expected: &[&str]| {
        folder.join("chain.pem", parts);
        let (status, said) = folder.checked("chain.pem", "host.key");
        assert_eq!(status, Some(code), "{parts:?}: {said}");
        assert_eq!(said.lines().count(), expected.len(), "{parts:?}: {said}");
        for text in expected {
            assert!(said.contains(text), "{parts:?}: {text} is not in {said}");
        }
    };
    says(&["host.crt", "middle.crt", "root.crt"], 0, &[]);
    let order = "chain.pem: is in the wrong order; the host's own certificate must come first and each one's issuer \
                 behind it: \"host\", \"middle\", \"root\"";
    says(&["host.crt", "root.crt", "middle.crt"], 0, &[order]);
    says(&["root.crt", "middle.crt", "host.crt"], 1, &[order]);
    let missing = "the certificate of \"middle\", which issued \"host\", is missing";
    says(&["host.crt"], 0, &[missing]);
    folder.join("chain.pem", &["host.crt"]);
    let (_, said) = folder.checked("chain.pem", "host.key");
    assert!(
        said.contains("append it in PEM (it is at http://ca.test/middle.der)"),
        "{said}"
    );
    let idle = "\"root\" did not issue what stands before it; remove it, or put the certificate between them in";
    says(&["host.crt", "root.crt"], 0, &[idle, missing]);
    let (status, said) = folder.checked("stranger.crt", "host.key");
    assert_eq!(status, Some(1));
    assert!(
        said.contains("host.key: is not the key of the first certificate of tls.certificate, \"stranger\""),
        "{said}"
    );
}

#[test]
fn check_config_says_what_is_wrong_with_a_certificate_and_what_would_be_right() {
    let folder = Folder::new("one", SETTINGS);
    let host = "subjectAltName=DNS:turn.example.org";
    let says = |name: &str, days: &str, extension: &str, kind: &[&str], code: i32, expected: &str| {
        folder.issue(name, None, days, extension, kind);
        let (status, said) = folder.checked(&format!("{name}.crt"), &format!("{name}.key"));
        assert_eq!(status, Some(code), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {expected} is not in {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{name}: {said}");
    };
    says("good", "90", host, &EC, 0, "");
    says("star", "90", "subjectAltName=DNS:*.example.org", &RSA, 0, "");
    says("past", "-1", host, &EC, 0, "\"past\" has expired on");
    future(&folder, "future");
    let (status, said) = folder.checked("future.crt", "future.key");
    assert_eq!(status, Some(0));
    assert!(
        said.contains("\"future\" is not valid before Jan  1 00:00:00 2999"),
        "{said}"
    );
    let small = ["-newkey", "rsa:1024", "-nodes"];
    says(
        "small",
        "90",
        host,
        &small,
        1,
        "the RSA key of \"small\" has 1024 bits; 2048 are the least",
    );
    let other = "is for turn.example.com, 192.0.2.7, but not for example.org (turn.realm, turn.external)";
    says(
        "other",
        "90",
        "subjectAltName=DNS:turn.example.com,IP:192.0.2.7",
        &EC,
        0,
        other,
    );
    says(
        "nameless",
        "90",
        "basicConstraints=CA:FALSE",
        &EC,
        0,
        "is for no name at all (subjectAltName)",
    );
    fs::write(
        folder.0.join("settings.yaml"),
        SETTINGS.replace("realm: example.org", "external: [192.0.2.7/127.0.0.1]"),
    )
    .unwrap();
    says("address", "90", "subjectAltName=IP:192.0.2.7", &EC, 0, "");
    says(
        "far",
        "90",
        "subjectAltName=IP:192.0.2.8",
        &EC,
        0,
        "is for 192.0.2.8, but not for 192.0.2.7",
    );
    folder.openssl(&[
        "pkey",
        "-in",
        "good.key",
        "-aes256",
        "-passout",
        "pass:guess",
        "-out",
        "locked.key",
    ]);
    let (status, said) = folder.checked("good.crt", "locked.key");
    assert_eq!(status, Some(1));
    assert!(
        said.contains("locked.key: is encrypted") && said.contains("openssl pkey"),
        "{said}"
    );
}
