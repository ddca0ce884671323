//! The command line of `mcu`.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use voex_load::mcu::cells::{Cell, cell_names, cells};
use voex_load::mcu::{AUDIO_BYTES, Plan, SECONDS_MAX, Target, Video};
use voex_load::program::Program;
use voex_load::versus::Versus;

use super::{Comparison, Output, is_program, last_core};

/// Seconds that are measured when nothing is said: of one load, and of each run of a comparison.
const SECONDS: u64 = 5;
const SECONDS_VERSUS: u64 = 3;

const EXAMPLES: &str = "\
Examples:
  voex-load mcu ws://127.0.0.1:8188 --subscribers 100 --audio --video
  voex-load mcu ws://mcu.example:8188 --rooms 8 --publishers 8 --subscribers 0 --mesh --audio --video 300
  voex-load mcu ws://127.0.0.1:8188 --video 1800 --simulcast --subscribers 30 --loss 2 --pid $(pidof voex)
  setsid -w voex-load mcu --versus --voex target/release/voex --json=run.json --markdown=run.md --plot run.svg

Exit code: 0 all that arrived was right, 1 the load could not be run or nothing arrived, 2 wrong arguments, 3 packets
arrived corrupted, twice, in the wrong place or in no order that can be decoded, 130 interrupted.";

/// One load on a running server (URL), or a comparison of two that are started here (--versus).
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Mcu {
    /// Janus API of a running server, ws://HOST:PORT.
    #[arg(required_unless_present = "versus", conflicts_with = "versus")]
    url: Option<String>,
    /// Secret of the API.
    #[arg(long)]
    secret: Option<String>,
    /// Number of the first room; rooms are made for the load and removed after it.
    #[arg(long, value_name = "ROOM", default_value_t = 7_000_001)]
    first_room: u64,
    /// Address of this host for media [default: the one from which the API is reached; of --versus the first one that
    /// is not loopback, which Janus leaves out].
    #[arg(long)]
    address: Option<IpAddr>,
    /// Rooms, all alike.
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// Participants of a room that send.
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Participants of a room that only receive, each from every publisher.
    #[arg(long, default_value_t = 10)]
    subscribers: usize,
    /// Publishers receive each other too.
    #[arg(long)]
    mesh: bool,
    /// Audio like Opus, payloads of so many bytes, 50 a second; what is sent when nothing is said.
    #[arg(long, value_name = "BYTES", num_args = 0..=1, default_missing_value = AUDIO)]
    audio: Option<usize>,
    /// Video like VP8, in kbit/s.
    #[arg(long, value_name = "KBIT/S", num_args = 0..=1, default_missing_value = "1080")]
    video: Option<u32>,
    /// Frames of video a second.
    #[arg(long, default_value_t = 30)]
    fps: u32,
    /// Video in three encodings; subscribers ask for the best, the middle and the least in turn.
    #[arg(long, requires = "video")]
    simulcast: bool,
    /// Participants that join in a second.
    #[arg(long, default_value_t = 150.0)]
    joins: f64,
    /// Share of video packets, in percent, that publishers do not send and subscribers do not look at: what
    /// retransmission is worth.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,
    /// Process of the server on this machine: tells its processor time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Seconds that are measured [default: 5, or 3 for each run of --versus].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..SECONDS_MAX))]
    seconds: Option<u64>,
    /// Core this process runs on [default: the last one].
    #[arg(long)]
    core: Option<usize>,
    #[command(flatten)]
    versus: Comparison,
    /// Janus.
    #[arg(long, value_name = "FILE", default_value = "janus", conflicts_with = "against")]
    janus: PathBuf,
    /// Compares these cells only; those that are run only when named: audio-most, video-most, mesh-most.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(cell_names()))]
    cells: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// [`AUDIO_BYTES`] as text.
const AUDIO: &str = "80";
const _: () = assert!(AUDIO_BYTES == 80);

/// What the command line asks for.
pub(crate) enum Job {
    /// One load on a running server.
    Load {
        target: Target,
        plan: Plan,
        pid: Option<u32>,
    },
    /// A comparison of these cells, each measured for so long.
    Versus(Versus, Vec<Cell>, Duration),
}

impl Mcu {
    /// Finds out what is asked for, or one sentence on what would be right.
    pub(crate) fn job(&self) -> Result<Job, String> {
        let Some(url) = &self.url else {
            return self.versus();
        };
        let plan = self.plan();
        plan.check()?;
        Ok(Job::Load {
            target: Target {
                url: url.clone(),
                secret: self.secret.clone(),
                first_room: self.first_room,
                media: self.address,
            },
            plan,
            pid: self.pid,
        })
    }

    /// Gives the core this process runs on.
    pub(crate) fn core(&self) -> usize {
        self.core.unwrap_or_else(last_core)
    }

    fn plan(&self) -> Plan {
        Plan {
            rooms: self.rooms,
            publishers: self.publishers,
            subscribers: self.subscribers,
            mesh: self.mesh,
            audio_bytes: self.audio.or(self.video.is_none().then_some(AUDIO_BYTES)),
            video: self.video.map(|kbit| Video {
                bitrate: kbit.saturating_mul(1000),
                fps: self.fps,
                simulcast: self.simulcast,
            }),
            joins_per_s: self.joins,
            loss: self.loss / 100.0,
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs(self.seconds.unwrap_or(SECONDS)),
        }
    }

    fn versus(&self) -> Result<Job, String> {
        let versus = self
            .versus
            .prepare(self.core(), self.output.quiet, || self.janus_to_run())?;
        let measured = Duration::from_secs(self.seconds.unwrap_or(SECONDS_VERSUS));
        let media = self.address.or_else(address_of_this_host).ok_or(
            "this host has no address but loopback, on which Janus does not speak: give it one (ip link add load type \
             dummy; ip addr add 10.99.0.1/24 dev load; ip link set load up) and name it with --address",
        )?;
        Ok(Job::Versus(versus, cells(&self.cells, measured, media), measured))
    }

    fn janus_to_run(&self) -> Result<Program, String> {
        if !is_program(&self.janus) {
            return Err(format!(
                "{}: there is no Janus; install it (Debian: apt install janus) or name it with --janus",
                self.janus.display()
            ));
        }
        let path = self.janus.clone();
        Ok(Program::Janus { path })
    }
}

/// Gives the address from which this host would speak to others. Nothing is sent.
fn address_of_this_host() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // An address for documentation (RFC 5737): only the route to it is looked up.
    socket.connect(("192.0.2.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn job(args: &[&str]) -> Result<Job, String> {
        let cli = Cli::try_parse_from(["voex-load", "mcu"].iter().chain(args)).map_err(|error| error.to_string())?;
        let Command::Mcu(mcu) = cli.command else {
            panic!("mcu was asked for");
        };
        mcu.job()
    }

    fn plan(args: &[&str]) -> Plan {
        match job(&[&["ws://127.0.0.1:8188"], args].concat()) {
            Ok(Job::Load { plan, .. }) => plan,
            Ok(Job::Versus(..)) => panic!("a load is asked for"),
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    fn audio_is_what_is_sent_when_nothing_is_said() {
        assert_eq!(plan(&[]).audio_bytes, Some(80));
        let video = plan(&["--video"]);
        assert_eq!((video.audio_bytes, video.video.unwrap().bitrate), (None, 1_080_000));
        let both = plan(&["--audio", "100", "--video", "300", "--simulcast"]);
        assert_eq!((both.audio_bytes, both.video.unwrap().simulcast), (Some(100), true));
    }

    #[test]
    fn a_wrong_argument_says_what_would_be_right() {
        let why = |args: &[&str]| job(args).err().unwrap();
        assert!(why(&[]).contains("[URL]") || why(&[]).contains("<URL>"));
        assert!(why(&["ws://a", "--simulcast"]).contains("--video"));
        assert!(why(&["ws://a", "--subscribers", "0"]).contains("2 to 8000"));
        assert!(why(&["ws://a", "--loss", "80"]).contains("0 to 50"));
        let no_janus = [
            "--versus",
            "--core",
            "1",
            "--voex",
            "/bin/sh",
            "--janus",
            "/nonexistent",
        ];
        assert!(why(&no_janus).contains("apt install janus"));
        assert!(why(&["--versus", "--cells", "no-such-cell"]).contains("audio-500"));
    }
}
