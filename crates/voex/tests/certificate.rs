//! The certificate of TURN over TLS, as the tools of OpenSSL write it and see it.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Server, run};

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
        for version in ["-tls1_2", "-tls1_3"] {
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
        said.contains("tls.key: is not the key of the first certificate"),
        "{said}"
    );
    let said = folder.refused("one.key", "one.key");
    assert!(said.contains("one.key: holds no certificate in PEM"), "{said}");
    let said = folder.refused("one.crt", "one.crt");
    assert!(said.contains("one.crt: holds no private key in PEM"), "{said}");
    let said = folder.refused("none.crt", "one.key");
    assert!(said.contains("none.crt: No such file"), "{said}");
}

#[test]
fn files_beside_the_settings_are_found_and_new_ones_taken_over() {
    let folder = Folder::new("beside", "mcu: {enabled: false}\n");
    let (chain, key) = ("certs/coturn.crt", "certs/coturn.key");
    folder.make(chain, key, &EC);
    let server = folder.start();
    assert!(shown(turn(&server), "-tls1_3").contains(folder.text(chain).trim()));
    folder.make(chain, key, &RSA);
    server.signal("HUP");
    server.wait_for("reload: taken over");
    assert!(shown(turn(&server), "-tls1_3").contains(folder.text(chain).trim()));
    let good = folder.text(chain);
    fs::write(folder.0.join(chain), "no certificate\n").unwrap();
    server.signal("HUP");
    server.wait_for("the certificate in force stays");
    assert!(shown(turn(&server), "-tls1_3").contains(good.trim()));
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
