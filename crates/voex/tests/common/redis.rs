//! A `redis-server` on a port of its own.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::free_port;

/// A server that holds nothing at first; it dies with this value.
pub(crate) struct Redis {
    pub(crate) port: u16,
    child: Child,
}

impl Redis {
    /// Starts a server.
    pub(crate) fn start() -> Self {
        let port = free_port();
        let redis = Self {
            port,
            child: launch(port),
        };
        redis.wait_until_open();
        redis
    }

    /// Kills the server; what it held is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn start_again(&mut self) {
        self.child = launch(self.port);
        self.wait_until_open();
    }

    /// Runs a command in a database with `redis-cli`; gives what it says.
    pub(crate) fn run(&self, database: u8, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "-n", &database.to_string()]);
        let output = command.args(words).output().expect("redis-cli comes with redis-server");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    fn wait_until_open(&self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "redis-server does not listen"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(port: u16) -> Child {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
        .arg(port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .expect("redis-server is installed (scripts/test does it)")
}
