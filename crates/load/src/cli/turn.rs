//! The command line of `turn`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use voex_load::cells::{Cell, cell_names, cells};
use voex_load::client::Credentials;
use voex_load::pattern::{Direction, Pacing, Pattern, SECONDS_MAX, Wrap};
use voex_load::program::Program;
use voex_load::rig::Target;
use voex_load::tls::{SYSTEM_AUTHORITIES, Tls, Trust};
use voex_load::transport::Transport;
use voex_load::versus::Versus;

use super::{Comparison, Output, is_program, last_core};

/// Seconds that are measured when nothing is said: of one load, and of each run of a comparison.
const SECONDS: u64 = 5;
const SECONDS_VERSUS: u64 = 2;

const EXAMPLES: &str = "\
Examples:
  voex-load turn --server turn.example:3478 --user alice --password secret
  voex-load turn --server turn.example --transport tls --user alice --password secret --direction pair --plot latency.svg
  voex-load turn --server 127.0.0.1 --transport tls --insecure --clients 2000 --idle --pid $(pidof turnserver)
  setsid -w voex-load turn --versus --voex target/release/voex --json=run.json --markdown=run.md --plot run.svg

Exit code: 0 all that arrived was right, 1 the load could not be run or nothing arrived, 2 wrong arguments, 3 packets
arrived corrupted, twice or in the wrong place, 130 interrupted.";

/// One load on a running server (--server), or a comparison of two that are started here (--versus).
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Turn {
    /// Host or address of a running server, with its port when that is not 3478 (5349 for TLS).
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        required_unless_present = "versus",
        conflicts_with = "versus"
    )]
    server: Option<String>,
    /// What clients speak over; relays speak UDP.
    #[arg(long, value_enum, default_value_t = Transport::Udp, conflicts_with = "versus")]
    transport: Transport,
    /// User of the long-term mechanism.
    #[arg(long, default_value = "load")]
    user: String,
    /// Password.
    #[arg(long, default_value = "heavy")]
    password: String,
    /// Accepts any certificate, for servers under test.
    #[arg(long, conflicts_with = "authorities")]
    insecure: bool,
    /// Certificates that a server's must lead to, PEM.
    #[arg(long, value_name = "FILE", default_value = SYSTEM_AUTHORITIES)]
    authorities: PathBuf,
    /// Name that a server's certificate must have, when not that of --server.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Process of the server on this machine: tells its processor time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Clients, each with an allocation.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Clients beside them that read nothing of what their peers send.
    #[arg(long, value_name = "CLIENTS", default_value_t = 0)]
    stalled: usize,
    /// Which way packets go.
    #[arg(long, value_enum, default_value_t = Direction::Both)]
    direction: Direction,
    /// How clients wrap packets.
    #[arg(long, value_enum, default_value_t = Wrap::Channel)]
    wrap: Wrap,
    /// Bytes of a payload.
    #[arg(long, value_name = "BYTES", default_value_t = 170)]
    size: usize,
    /// Packets sent back to back to one destination: a shot.
    #[arg(long, value_name = "PACKETS", default_value_t = 1)]
    burst: usize,
    /// Sends each shot as one GSO message.
    #[arg(long)]
    gso: bool,
    /// Shots a second a client, spread evenly over its flows.
    #[arg(long, default_value_t = 50.0, conflicts_with = "flood")]
    rate: f64,
    /// As fast as packets come back, with so many shots under way in each flow.
    #[arg(long, value_name = "SHOTS", num_args = 0..=1, default_missing_value = "2")]
    flood: Option<usize>,
    /// Writes at most so many bytes at once to a stream, so that the server gets messages in pieces.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..))]
    cut: Option<u16>,
    /// Address of this host that peers are at, when not the one that clients speak from.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Only allocates, and measures memory and processor time an allocation; needs --pid.
    #[arg(long, requires = "pid", conflicts_with_all = ["versus", "plot"])]
    idle: bool,
    /// Seconds that are measured [default: 5, or 2 for each run of --versus].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..SECONDS_MAX))]
    seconds: Option<u64>,
    /// Core this process runs on [default: the last one].
    #[arg(long)]
    core: Option<usize>,
    #[command(flatten)]
    versus: Comparison,
    /// coturn's server.
    #[arg(long, value_name = "FILE", default_value = "turnserver", conflicts_with = "against")]
    coturn: PathBuf,
    /// An argument more for coturn, such as --coturn-arg=--no-software-attribute; may be repeated.
    #[arg(
        long,
        value_name = "ARGUMENT",
        requires = "versus",
        conflicts_with = "against",
        allow_hyphen_values = true
    )]
    coturn_arg: Vec<String>,
    /// Compares these cells only; those that are run only when named: flood-tcp, flood-tls, idle-tls-rsa.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(cell_names()))]
    cells: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What the command line asks for.
pub(crate) enum Job {
    /// One load on a running server.
    Load {
        target: Target,
        pattern: Pattern,
        pid: Option<u32>,
    },
    /// Idle allocations on a running server.
    Idle {
        target: Target,
        allocations: usize,
        hold: Duration,
        pid: u32,
    },
    /// A comparison of these cells, each measured for so long.
    Versus(Versus, Vec<Cell>, Duration),
}

impl Turn {
    /// Finds out what is asked for, or one sentence on what would be right.
    pub(crate) fn job(&self) -> Result<Job, String> {
        let Some(server) = &self.server else {
            return self.versus();
        };
        let pattern = self.pattern();
        pattern.check(self.transport)?;
        let target = self.target(server)?;
        Ok(match self.pid {
            Some(pid) if self.idle => Job::Idle {
                target,
                allocations: self.clients,
                hold: pattern.measured,
                pid,
            },
            pid => Job::Load { target, pattern, pid },
        })
    }

    /// Gives the core this process runs on.
    pub(crate) fn core(&self) -> usize {
        self.core.unwrap_or_else(last_core)
    }

    fn target(&self, server: &str) -> Result<Target, String> {
        if self.cut.is_some() && !self.transport.is_stream() {
            return Err("--cut is for streams: a datagram arrives whole; choose --transport tcp or tls".into());
        }
        let (host, port) = split_port(server);
        let address = resolve(host, port.unwrap_or(self.transport.default_port()))?;
        let tls = if self.transport == Transport::Tls {
            let trust = if self.insecure {
                Trust::Anyone
            } else {
                Trust::Authorities(&self.authorities)
            };
            let name = self.server_name.as_deref().unwrap_or(host);
            Some(Tls::new(name, trust).map_err(|error| error.to_string())?)
        } else {
            None
        };
        Ok(Target {
            address,
            transport: self.transport,
            credentials: Credentials {
                user: self.user.clone(),
                password: self.password.clone(),
            },
            tls,
            peer: self.peer,
            cut: self.cut.map(usize::from),
        })
    }

    fn pattern(&self) -> Pattern {
        Pattern {
            clients: self.clients,
            stalled: self.stalled,
            direction: self.direction,
            wrap: self.wrap,
            payload_bytes: self.size,
            burst: self.burst,
            gso: self.gso,
            pacing: self.flood.map_or(Pacing::Rate(self.rate), Pacing::InFlight),
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs(self.seconds.unwrap_or(SECONDS)),
        }
    }

    fn versus(&self) -> Result<Job, String> {
        let versus = self
            .versus
            .prepare(self.core(), self.output.quiet, || self.coturn_to_run())?;
        let measured = Duration::from_secs(self.seconds.unwrap_or(SECONDS_VERSUS));
        Ok(Job::Versus(versus, cells(&self.cells, measured), measured))
    }

    fn coturn_to_run(&self) -> Result<Program, String> {
        if !is_program(&self.coturn) {
            return Err(format!(
                "{}: there is no coturn; install it (Debian: apt install coturn) or name it with --coturn",
                self.coturn.display()
            ));
        }
        Ok(Program::Coturn {
            path: self.coturn.clone(),
            args: self.coturn_arg.clone(),
        })
    }
}

/// Parts HOST:PORT, [V6]:PORT or either without a port.
fn split_port(server: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (server, None),
        },
        _ => (server, None),
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| error.to_string());
    let first = found.and_then(|mut addresses| addresses.next().ok_or("it has no address".into()));
    first.map_err(|error| format!("--server {host}: {error}; HOST, HOST:PORT or [V6]:PORT is expected"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn job(args: &[&str]) -> Result<Job, String> {
        let cli = Cli::try_parse_from(["voex-load", "turn"].iter().chain(args)).map_err(|error| error.to_string())?;
        let Command::Turn(turn) = cli.command else {
            panic!("turn was asked for");
        };
        turn.job()
    }

    fn why(args: &[&str]) -> String {
        job(args).err().unwrap()
    }

    #[test]
    fn a_server_is_named_with_or_without_a_port() {
        assert_eq!(split_port("a.example:99"), ("a.example", Some(99)));
        assert_eq!(split_port("a.example"), ("a.example", None));
        assert_eq!(split_port("[::1]:99"), ("::1", Some(99)));
        assert_eq!(split_port("[::1]"), ("::1", None));
        assert_eq!(split_port("::1"), ("::1", None));
        assert_eq!(split_port("192.0.2.1:99"), ("192.0.2.1", Some(99)));
    }

    #[test]
    fn the_port_follows_the_transport() {
        for (transport, port) in [("udp", 3478), ("tcp", 3478), ("tls", 5349)] {
            let args = ["--server", "127.0.0.1", "--transport", transport, "--insecure"];
            let Ok(Job::Load { target, .. }) = job(&args) else {
                panic!("a load is asked for");
            };
            assert_eq!(target.address.port(), port);
            assert_eq!(target.tls.is_some(), transport == "tls");
        }
    }

    #[test]
    fn a_wrong_argument_says_what_would_be_right() {
        let server = ["--server", "127.0.0.1"];
        let with = |more: &[&'static str]| why(&server.iter().chain(more).copied().collect::<Vec<_>>());
        assert!(with(&["--clients", "0"]).contains("1 to 8000 are expected"));
        assert!(with(&["--size", "23"]).contains("24 to 1400 are expected"));
        assert!(with(&["--direction", "pair", "--clients", "3"]).contains("even number"));
        assert!(with(&["--transport", "tcp", "--gso"]).contains("leave --gso out"));
        assert!(with(&["--cut", "5"]).contains("--transport tcp or tls"));
        assert!(with(&["--rate", "0"]).contains("above 0"));
        assert!(with(&["--idle"]).contains("--pid"));
        assert!(with(&["--seconds", "240"]).contains("240"));
        let none = [
            "--server",
            "127.0.0.1",
            "--transport",
            "tls",
            "--authorities",
            "/nonexistent",
        ];
        assert!(why(&none).contains("--insecure"));
        assert!(why(&["--server", "127.0.0.1:no"]).contains("HOST:PORT"));
        assert!(why(&[]).contains("--server"));
    }

    #[test]
    fn a_comparison_needs_two_cores_and_two_programs() {
        let same = ["--versus", "--core", "0", "--server-core", "0"];
        assert!(why(&same).contains("--server-core must differ"));
        let no_voex = ["--versus", "--core", "1", "--voex", "/nonexistent"];
        assert!(why(&no_voex).contains("cargo build --release -p voex"));
        let no_coturn = [
            "--versus",
            "--core",
            "1",
            "--voex",
            "/bin/sh",
            "--coturn",
            "/nonexistent",
        ];
        assert!(why(&no_coturn).contains("apt install coturn"));
        let no_other = [
            "--versus",
            "--core",
            "1",
            "--voex",
            "/bin/sh",
            "--against",
            "/nonexistent",
        ];
        assert!(why(&no_other).contains("--against"));
        assert!(why(&["--versus", "--cells", "no-such-cell"]).contains("flood-170"));
    }
}
