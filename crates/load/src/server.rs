//! A server under test that is started here.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use voex_stun::{Class, HEADER_BYTES, Message, MessageWriter, Method, TransactionId};

use crate::LoadError;
use crate::client::Credentials;
use crate::error::Doing as _;
use crate::process::Process;
use crate::rig::Target;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const REALM: &str = "load.test";
const USER: &str = "load";
const PASSWORD: &str = "heavy";
const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A program that can be put under test.
#[derive(Clone, Debug)]
pub enum Program {
    /// The `voex` binary.
    Voex(PathBuf),
    /// coturn's `turnserver`.
    Coturn(PathBuf),
}

/// A program that runs with one worker on one core, on ports of its own, in a session of its own: the scheduler
/// shares a core between sessions, and a shell's other work must not weigh on one server more than on the other.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: PathBuf,
    target: Target,
    process: Process,
}

impl Program {
    /// Gives its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Voex(_) => "voex",
            Self::Coturn(_) => "coturn",
        }
    }

    fn command(&self, port: u16, folder: &Path, core: usize) -> Result<Command, LoadError> {
        // Each of the three replaces itself by the next, so the child is the server; it dies with this process.
        let mut command = Command::new("setpriv");
        let core = core.to_string();
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &core, "setsid"]);
        match self {
            Self::Voex(path) => {
                let settings = folder.join("settings.yaml");
                fs::write(&settings, voex_settings(port, free_port()?)).doing(|| "writing settings".into())?;
                command.arg(path).args(["serve", "--settings"]).arg(&settings);
            }
            Self::Coturn(path) => {
                let host = HOST.to_string();
                command.arg(path);
                command.args(["-n", "-m", "1", "-a", "-r", REALM, "-u", &format!("{USER}:{PASSWORD}")]);
                command.args(["-L", &host, "-E", &host, "-p", &port.to_string()]);
                command.args([
                    "--allow-loopback-peers",
                    "--no-tls",
                    "--no-dtls",
                    "--no-cli",
                    "--log-file=/dev/null",
                ]);
                command.arg("--pidfile").arg(folder.join("pid"));
            }
        }
        Ok(command)
    }
}

impl Server {
    /// Starts a program on a core and waits until it answers a Binding request.
    ///
    /// # Errors
    /// [`LoadError::NotStarted`] with what it said.
    pub fn start(program: &Program, core: usize) -> Result<Self, LoadError> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("voex-load-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
        let log = File::create(folder.join("log")).doing(|| "making a log file".into())?;
        let child = program
            .command(port, &folder, core)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .doing(|| "starting setpriv of util-linux".into())?;
        let mut server = Self {
            process: Process::find(child.id())?,
            child,
            folder,
            target: Target {
                address: SocketAddr::new(HOST, port),
                credentials: Credentials {
                    user: USER.into(),
                    password: PASSWORD.into(),
                },
            },
        };
        server.await_ready(program)?;
        Ok(server)
    }

    /// Gives where it listens and who may allocate.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Gives its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn await_ready(&mut self, program: &Program) -> Result<(), LoadError> {
        let socket = UdpSocket::bind((HOST, 0)).doing(|| "making a socket".into())?;
        socket
            .set_read_timeout(Some(ASK_AGAIN))
            .and_then(|()| socket.connect(self.target.address))
            .doing(|| "connecting a socket".into())?;
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.not_started(program, &format!("it ended with {status}")));
            }
            if answers_binding(&socket).unwrap_or(false) {
                return Ok(());
            }
            std::thread::sleep(ASK_AGAIN);
        }
        Err(self.not_started(program, "it does not answer Binding requests"))
    }

    fn not_started(&self, program: &Program, what: &str) -> LoadError {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        LoadError::NotStarted {
            server: program.name().into(),
            why: format!("{what}; it said:\n{log}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let _ = kill(pid, Signal::SIGTERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < STOP_MAX {
            std::thread::sleep(ASK_AGAIN);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn voex_settings(port: u16, http_port: u16) -> String {
    format!(
        "workers: 1
turn:
  listen: [{HOST}]
  ports: {{plain: [{port}], tls: []}}
  realm: {REALM}
  users: {{static: {{{USER}: {PASSWORD}}}}}
  peers: {{allow_loopback: true}}
mcu: {{enabled: false}}
sip: {{enabled: false}}
media: {{listen: [{HOST}]}}
http: {{listen: \"{HOST}:{http_port}\"}}
log: {{level: warn}}
"
    )
}

fn answers_binding(socket: &UdpSocket) -> io::Result<bool> {
    let mut request = [0; HEADER_BYTES];
    let id = TransactionId(*b"are you here");
    if MessageWriter::new(&mut request, Class::Request, Method::BINDING, id)
        .finish()
        .is_err()
    {
        return Ok(false);
    }
    socket.send(&request)?;
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer)?;
    Ok(Message::parse(&answer[..len]).is_ok_and(|m| m.class() == Class::Success && m.transaction_id() == id))
}

/// A port that is free now for UDP and TCP, below those that relays and clients are given.
fn free_port() -> Result<u16, LoadError> {
    let mut random = [0; 2];
    for _ in 0..64 {
        getrandom::fill(&mut random)
            .map_err(io::Error::other)
            .doing(|| "drawing a port".into())?;
        let port = 10_000 + u16::from_ne_bytes(random) % 20_000;
        if UdpSocket::bind((HOST, port)).is_ok() && std::net::TcpListener::bind((HOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::from(io::ErrorKind::AddrInUse)).doing(|| "looking for a free port".into())
}
