//! The real binary, started in a namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::{ADDRESS, Namespace};

/// TURN user of every scenario.
pub const TURN_USER: &str = "alice";
/// Its password.
pub const TURN_PASSWORD: &str = "correct horse battery staple";

const HTTP: &str = "127.0.0.1:9189";
const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(15);

/// A running `voex serve`.
pub struct Server<'a> {
    namespace: &'a Namespace,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl<'a> Server<'a> {
    /// Starts the server on the namespace's address with every role on, and waits until it says that it is ready.
    /// `more` is added to the settings.
    pub fn start(namespace: &'a Namespace, more: &str) -> Self {
        Self::start_on(namespace, ADDRESS, more)
    }

    /// As [`start`](Self::start), with TURN on these addresses, separated by commas.
    pub fn start_on(namespace: &'a Namespace, turn: &str, more: &str) -> Self {
        let settings = std::env::temp_dir().join(format!("voex-{}-{}.yaml", std::process::id(), unique()));
        let text = SETTINGS.replace("TURN_ADDRESSES", turn).replace("ADDRESS", ADDRESS) + more;
        std::fs::write(&settings, text).expect("the temporary folder is writable");
        let mut command = namespace.command(binary().to_str().expect("the build folder has a readable name"));
        command
            .args(["serve", "--settings"])
            .arg(&settings)
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("voex is built before the scenarios run");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let ready = follow(stderr, log.clone());
        let server = Self { namespace, child, log };
        if ready.recv_timeout(START_MAX).is_err() {
            panic!("voex was not ready after {START_MAX:?}; it said:\n{}", server.log());
        }
        server
    }

    /// Gives what the server has written to stderr.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log reader does not panic").clone()
    }

    /// Fetches a page of the HTTP listener; gives status code and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path)
    }

    /// Sends a request without a body to the HTTP listener; gives status code and body.
    pub fn request(&self, method: &str, path: &str) -> (u16, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {HTTP}\r\nConnection: close\r\n\r\n");
        self.namespace.inside(move || {
            let mut stream = TcpStream::connect(HTTP).expect("the HTTP listener accepts");
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("a positive time-out is legal");
            stream.write_all(request.as_bytes()).expect("the HTTP listener reads");
            let mut answer = String::new();
            stream
                .read_to_string(&mut answer)
                .expect("the HTTP listener answers in time");
            let status = answer
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .expect("the answer has a status line");
            let body = answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default();
            (status, body)
        })
    }

    /// Sums the samples of a metric over its labels; `name` may include a label part, as in `x_total{reason="y"`.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .filter(|line| matches(line, name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Resident memory in kilobytes.
    pub fn memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("Linux reports memory");
        line.split_whitespace()
            .nth(1)
            .and_then(|kb| kb.parse().ok())
            .expect("VmRSS is a number")
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM and gives how long the end took.
    ///
    /// # Panics
    /// When the exit code is not zero, or the end takes too long.
    pub fn stop(mut self) -> Duration {
        let asked = Instant::now();
        kill(self.pid(), Signal::SIGTERM).expect("the server runs");
        while asked.elapsed() < STOP_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                assert!(status.success(), "voex ended with {status}; it said:\n{}", self.log());
                return asked.elapsed();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!(
            "voex was still there {STOP_MAX:?} after SIGTERM; it said:\n{}",
            self.log()
        );
    }

    /// `ip netns exec` replaces itself by the program, so the child is the server.
    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"))
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("voex said:\n{}", self.log());
        }
    }
}

const SETTINGS: &str = r#"
turn:
  listen: [TURN_ADDRESSES]
  realm: voex.test
  users:
    static: {alice: "correct horse battery staple"}
    secrets: ["north wind"]
mcu:
  enabled: true
  ws: {listen: "ADDRESS:8188"}
  rooms: [{room: 1234, description: Scenario, publishers: 6}]
media: {listen: [ADDRESS]}
sip:
  enabled: true
  listen: ["udp:ADDRESS:5060"]
acl: {cts: [10.77.0.0/24]}
http: {listen: "127.0.0.1:9189"}
drain_max_s: 5
"#;

fn matches(line: &str, name: &str) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with(['{', ' ', ',', '}']))
}

fn follow(stderr: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> mpsc::Receiver<()> {
    let (ready_tx, ready_rx) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains("ready after ") {
                let _ = ready_tx.send(());
            }
            if let Ok(mut log) = log.lock() {
                log.push_str(&line);
                log.push('\n');
            }
        }
    });
    ready_rx
}

/// Gives the binary; `VOEX_BIN` names another one.
pub fn binary() -> PathBuf {
    std::env::var_os("VOEX_BIN").map_or_else(|| sibling("voex"), PathBuf::from)
}

/// Gives a binary of this workspace: they stand beside the folder of the test executables.
///
/// # Panics
/// When it was not built (scripts/test does it).
pub fn sibling(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests are built into target/PROFILE/deps");
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{}: build it with `cargo build -p {name}`",
        path.display()
    );
    path
}

fn unique() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_nanos())
        .unwrap_or_default()
}
