//! An authority that browsers under test trust, and the certificate that it gave the server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::namespace::ADDRESS;

/// Files of an authority, of a server's certificate, and a home whose NSS database trusts the authority.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes everything anew.
    ///
    /// # Panics
    /// When `openssl` or `certutil` is missing.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("voex-authority-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("home/.pki/nssdb")).expect("the temporary folder is writable");
        let extensions = format!("subjectAltName=IP:{ADDRESS}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(folder.join("extensions"), extensions).expect("the temporary folder is writable");
        let this = Self { folder };
        this.run(
            "openssl",
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=authority -keyout ca.key -out ca.crt",
        );
        this.run(
            "openssl",
            "req -new -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
        );
        this.run(
            "openssl",
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile extensions -out server.crt",
        );
        this.run("certutil", "-d sql:home/.pki/nssdb -N --empty-password");
        this.run("certutil", "-d sql:home/.pki/nssdb -A -n authority -t C,, -i ca.crt");
        this
    }

    /// Settings of the server that shows the certificate.
    pub fn settings(&self) -> String {
        let file = |name| self.folder.join(name).display().to_string();
        format!(
            "tls: {{certificate: {}, key: {}}}\n",
            file("server.crt"),
            file("server.key")
        )
    }

    /// The home of a browser that trusts the authority.
    pub fn home(&self) -> String {
        self.folder.join("home").display().to_string()
    }

    fn run(&self, program: &str, args: &str) {
        let done = Command::new(program)
            .args(args.split(' '))
            .current_dir(&self.folder)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error} (scripts/test installs it)"));
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {args}: {said}");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}
