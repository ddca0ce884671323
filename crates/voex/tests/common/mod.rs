//! The real binary on loopback ports that the system chooses.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const READY_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a start is tried again with another port.
const OTHER_PORTS: usize = 5;

/// A running `voex serve`.
pub(crate) struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts with every listener on 127.0.0.1, on ports that nobody has, and waits for the ready line.
    pub(crate) fn start(args: &[&str]) -> Self {
        for _ in 0..OTHER_PORTS {
            match Self::try_spawn(voex(&[&loopback()[..], &owned(args)].concat())) {
                Ok(server) => return server,
                // A connection of another test was given the port a moment ago.
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("no ready line; the log is:\n{log}"),
            }
        }
        panic!("every port that was free was taken at once");
    }

    /// Starts a command that becomes the server, and waits for the ready line.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::try_spawn(command).unwrap_or_else(|log| panic!("no ready line; the log is:\n{log}"))
    }

    /// As [`spawn`](Self::spawn); gives the log of one that does not become ready.
    fn try_spawn(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let (ready_tx, ready_rx) = mpsc::channel();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines
                    .lock()
                    .expect("nobody panics with the log")
                    .push_str(&format!("{line}\n"));
                if line.contains(" ready after ") {
                    let _ = ready_tx.send(());
                }
            }
        });
        let server = Self { child, log };
        match ready_rx.recv_timeout(READY_MAX) {
            Ok(()) => Ok(server),
            Err(_) => Err(server.log()),
        }
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics with the log").clone()
    }

    /// Waits until the log contains a text.
    pub(crate) fn wait_for(&self, text: &str) {
        let asked = Instant::now();
        while !self.log().contains(text) {
            assert!(
                asked.elapsed() < Duration::from_secs(5),
                "{text:?} was not said:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address behind `scheme` in the line that names a listener.
    pub(crate) fn listener(&self, name: &str, scheme: &str) -> SocketAddr {
        let log = self.log();
        let line = log
            .lines()
            .find(|line| line.contains(&format!("listening: {name}: ")))
            .unwrap_or_else(|| panic!("no listener {name} in\n{log}"));
        let (_, address) = line.split_once(scheme).expect("an address");
        let end = address.find([',', '/']).unwrap_or(address.len());
        address[..end].trim().parse().expect("an address with a port")
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.listener("Janus API", "ws://")
    }

    /// Fetches a page; gives status code and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.listener("metrics, health, console", "http://"), path)
    }

    /// Sends a request to the management API; gives status code and JSON.
    pub(crate) fn api_call(&self, request: &str) -> (u16, serde_json::Value) {
        self.api_call_with(request, "Host: 127.0.0.1", "")
    }

    /// Sends a request with header lines of its own and a body.
    pub(crate) fn api_call_with(&self, request: &str, headers: &str, body: &str) -> (u16, serde_json::Value) {
        let http = self.listener("metrics, health, console", "http://");
        let headers = format!("{headers}\r\nContent-Length: {}", body.len());
        let (status, answer) = exchange(http, &format!("{request} HTTP/1.1\r\n{headers}"), body);
        let json = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        (
            status,
            serde_json::from_str(json).unwrap_or_else(|_| panic!("no JSON: {answer}")),
        )
    }

    /// Descriptors that are open now.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        folder.expect("the server runs").count()
    }

    /// Soft and hard limit of descriptors, as the kernel tells them.
    pub(crate) fn descriptor_limits(&self) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).expect("it runs");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let mut limits = line.expect("Linux tells them").split_whitespace().map(str::to_owned);
        [(); 2].map(|()| limits.next().expect("two limits"))
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running; the log is:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `voex` with arguments.
pub(crate) fn voex(args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voex"));
    command.args(args);
    command
}

/// Runs `voex` to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    voex(&owned(args)).output().expect("the binary was built")
}

/// `serve` with every listener on loopback and on free ports.
pub(crate) fn loopback() -> Vec<String> {
    // One port for all: what a client talks is told by its first byte.
    let port = free_port();
    let [turn, turn_tls] = ["plain", "tls"].map(|kind| format!("turn.ports.{kind}={port}"));
    let sets = [
        "turn.listen=127.0.0.1",
        &turn,
        &turn_tls,
        "media.listen=127.0.0.1",
        "mcu.ws.listen=127.0.0.1:0",
        "sip.listen=udp:127.0.0.1:0",
        "http.listen=127.0.0.1:0",
        "workers=1",
    ];
    let mut args = vec!["serve".to_owned()];
    for set in sets {
        args.extend(["--set".to_owned(), set.to_owned()]);
    }
    args
}

/// A port that nobody has over UDP or TCP, below those that the system lends out.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| {
        let at = ("127.0.0.1", *port);
        UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
    };
    // Tests run side by side as processes of their own: each begins elsewhere.
    let first = std::process::id().wrapping_mul(37);
    let candidates = (0..10_000).map(|_| first.wrapping_add(TAKEN.fetch_add(1, Relaxed)) % 10_000);
    let mut ports = candidates.map(|offset| 10_000 + offset as u16);
    ports.find(is_free).expect("loopback has free ports")
}

/// A network namespace of its own, with the given `ip` commands obeyed; the shell becomes `voex`.
pub(crate) fn in_namespace(setup: &str, args: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!(
        "ip link set lo up && {setup} && exec {} {args}",
        env!("CARGO_BIN_EXE_voex")
    );
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", &script]);
    command
}

/// Writes a settings file of this test.
pub(crate) fn settings_file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the folder for test files is writable");
    path
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: voex"), "")
}

/// Sends a request whose head lacks its end; gives status code and the whole answer.
pub(crate) fn exchange(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the console accepts");
    let request = format!("{head}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("the console reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the console answers");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status line");
    (status, answer)
}
