//! Redis over TLS.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::server::{Opened, Redis, free_port, users};

/// An authority, a server's certificate for `redis.test` and a client's, as files.
struct Files(PathBuf);

impl Files {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("voex-redis-tls-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(folder.join("ca")).unwrap();
        let files = Self(folder);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        files.write("ca.pem", &authority.pem());
        files.write("ca/ca.pem", &authority.pem());
        files.write("ca/README", "not a certificate");
        for (name, host) in [("server", "redis.test"), ("client", "client.test")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, host);
            let certificate = params.signed_by(&key, &authority).unwrap();
            files.write(&format!("{name}.pem"), &certificate.pem());
            files.write(&format!("{name}.key"), &key.serialize_pem());
        }
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let folder: &Path = &self.0;
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[tokio::test]
async fn certificates_are_checked_both_ways_unless_told_not_to() {
    let files = Files::make();
    let tls_port = free_port();
    let [port, certificate, key, ca] = [
        tls_port.to_string(),
        files.path("server.pem"),
        files.path("server.key"),
        files.path("ca.pem"),
    ];
    let options = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
    ];
    let options = [&options[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "yes"]].concat();
    let _redis = Redis::with(&options);
    let own = format!(
        "cert={} clientkey={}",
        files.path("client.pem"),
        files.path("client.key")
    );
    let folder = files.path("ca");
    for (words, connects) in [
        (format!("tls=1 ca={ca} sni=redis.test {own}"), true),
        (format!("ssl=yes capath={folder} tls-sni=redis.test {own}"), true),
        (format!("tls=1 verify=none {own}"), true),
        (format!("tls=1 ca={ca} {own}"), false),
        (format!("tls=1 ca={ca} sni=other.test {own}"), false),
        (format!("tls=1 sni=redis.test {own}"), false),
        (format!("tls=1 ca={ca} sni=redis.test"), false),
        (format!("tls=1 ca=/nowhere.pem {own}"), false),
        (own.clone(), false),
    ] {
        let text = format!("ip=127.0.0.1 port={tls_port} timeout=3 {words}");
        let target = voex_config::RedisTarget::parse(&text).unwrap();
        let opened = Opened::new(Some(users(target)), None).await;
        assert_eq!(opened.is_up(), connects, "{words}");
    }
}
