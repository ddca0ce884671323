//! A server under test that is started here.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use voex_stun::{Class, HEADER_BYTES, Message, MessageWriter, Method, TransactionId};

use crate::client::Credentials;
use crate::error::{Doing as _, LoadError};
use crate::interrupt;
use crate::process::Process;
use crate::program::{Folder, HOST, PASSWORD, Ports, Program, Role, USER};
use crate::rig::Target;
use crate::tls::{Tls, Trust, write_certificate};
use crate::transport::Transport;

const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A program that runs with one worker on one core, on ports of its own, in a session of its own: the scheduler
/// shares a core between sessions, and a shell's other work must not weigh on one server more than on the other.
///
/// It ends when this is dropped, and with this process however that ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: Folder,
    ports: Ports,
    tls: Tls,
    process: Process,
}

impl Server {
    /// Starts a program in a role on a core, and waits until it can be spoken to.
    ///
    /// # Errors
    /// [`LoadError::NotStarted`] with what it said.
    pub fn start(program: &Program, core: usize, role: Role) -> Result<Self, LoadError> {
        let ports = Ports {
            plain: free_port()?,
            tls: free_port()?,
            http: free_port()?,
        };
        let folder = Folder::make(ports.plain)?;
        if let Role::Turn { key, .. } = role {
            write_certificate(key, &folder.certificate(), &folder.key())?;
        }
        let log = File::create(folder.path("log")).doing(|| "making a log file".into())?;
        let also_log = log.try_clone().doing(|| "making a log file".into())?;
        let child = program
            .command(role, ports, &folder, core)?
            .stdin(Stdio::null())
            .stdout(also_log)
            .stderr(log)
            .spawn()
            .doing(|| "starting setpriv of util-linux".into())?;
        let mut server = Self {
            process: Process::find(child.id())?,
            child,
            folder,
            ports,
            tls: Tls::new("localhost", Trust::Anyone)?,
        };
        server.await_ready(program, role)?;
        Ok(server)
    }

    /// Gives where it listens and who may allocate.
    pub fn target(&self, transport: Transport) -> Target {
        Target {
            address: self.address(transport),
            transport,
            credentials: Credentials {
                user: USER.into(),
                password: PASSWORD.into(),
            },
            tls: Some(self.tls.clone()),
            peer: None,
            cut: None,
        }
    }

    /// Gives where its Janus API is.
    pub fn url(&self) -> String {
        format!("ws://{}", SocketAddr::new(HOST, self.ports.plain))
    }

    /// Gives its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        let port = match transport {
            Transport::Udp | Transport::Tcp => self.ports.plain,
            Transport::Tls => self.ports.tls,
        };
        SocketAddr::new(HOST, port)
    }

    fn await_ready(&mut self, program: &Program, role: Role) -> Result<(), LoadError> {
        let begun = Instant::now();
        let transport = match role {
            Role::Turn { transport, .. } => transport,
            Role::Mcu { .. } => Transport::Tcp,
        };
        while begun.elapsed() < START_MAX {
            interrupt::check()?;
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.not_started(program, &format!("it ended with {status}")));
            }
            if is_ready(self.address(transport), transport) {
                return Ok(());
            }
            std::thread::sleep(ASK_AGAIN);
        }
        let what = match transport {
            Transport::Udp => "it does not answer Binding requests over UDP",
            Transport::Tcp => "it accepts no TCP connection",
            Transport::Tls => "it accepts no connection on its TLS port",
        };
        Err(self.not_started(program, what))
    }

    fn not_started(&self, program: &Program, what: &str) -> LoadError {
        let log = fs::read_to_string(self.folder.path("log")).unwrap_or_default();
        let said = if log.is_empty() { "nothing" } else { log.trim_end() };
        LoadError::NotStarted {
            server: program.name().into(),
            why: format!("{what}; it said: {said}"),
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
    }
}

fn is_ready(address: SocketAddr, transport: Transport) -> bool {
    if transport.is_stream() {
        return TcpStream::connect_timeout(&address, ASK_AGAIN).is_ok();
    }
    answers_binding(address).unwrap_or(false)
}

fn answers_binding(address: SocketAddr) -> io::Result<bool> {
    let mut request = [0; HEADER_BYTES];
    let id = TransactionId(*b"are you here");
    let written = MessageWriter::new(&mut request, Class::Request, Method::BINDING, id).finish();
    written.map_err(io::Error::other)?;
    let socket = UdpSocket::bind((HOST, 0))?;
    socket.set_read_timeout(Some(ASK_AGAIN))?;
    socket.connect(address)?;
    socket.send(&request)?;
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer)?;
    Ok(Message::parse(&answer[..len]).is_ok_and(|m| m.class() == Class::Success && m.transaction_id() == id))
}

/// A port that is free now for UDP and TCP, below those that relays, media and clients are given.
fn free_port() -> Result<u16, LoadError> {
    let mut random = [0; 2];
    for _ in 0..64 {
        getrandom::fill(&mut random)
            .map_err(io::Error::other)
            .doing(|| "drawing a port".into())?;
        let port = 10_000 + u16::from_ne_bytes(random) % 10_000;
        if UdpSocket::bind((HOST, port)).is_ok() && TcpListener::bind((HOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::from(io::ErrorKind::AddrInUse)).doing(|| "looking for a free port".into())
}
