//! Programs that can be put under test, and how each is told the same things.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LoadError;
use crate::error::Doing as _;
use crate::tls::KeyKind;
use crate::transport::Transport;

/// Where programs listen, relay and are spoken to from.
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const USER: &str = "load";
pub(crate) const PASSWORD: &str = "heavy";
const REALM: &str = "load.test";

/// A program that can be put under test.
#[derive(Clone, Debug)]
pub enum Program {
    /// A `voex` binary.
    Voex {
        /// What tables call it.
        name: &'static str,
        /// Where it is.
        path: PathBuf,
        /// KEY=VALUE of more settings, as `--set` takes them.
        settings: Vec<String>,
    },
    /// coturn's `turnserver`.
    Coturn {
        /// Where it is.
        path: PathBuf,
        /// More arguments.
        args: Vec<String>,
    },
    /// `janus`.
    Janus {
        /// Where it is.
        path: PathBuf,
    },
}

/// What a program is started for.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// TURN, spoken to over a transport, with a certificate of a kind.
    Turn {
        /// The transport.
        transport: Transport,
        /// The certificate's key.
        key: KeyKind,
    },
    /// Conferences, with media on an address of this host: Janus has none on the loopback interface.
    Mcu {
        /// The address.
        media: IpAddr,
    },
}

/// Ports that were free a moment ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// TURN over UDP and TCP, or the Janus API.
    pub(crate) plain: u16,
    /// TLS.
    pub(crate) tls: u16,
    /// Metrics and console.
    pub(crate) http: u16,
}

/// A folder of a run, with the certificate inside.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Program {
    /// Ours.
    pub fn voex(path: PathBuf, settings: Vec<String>) -> Self {
        let name = "voex";
        Self::Voex { name, path, settings }
    }

    /// Another build of ours, or the same with other settings.
    pub fn other_voex(path: PathBuf, settings: Vec<String>) -> Self {
        let name = "other voex";
        Self::Voex { name, path, settings }
    }

    /// Gives its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Voex { name, .. } => name,
            Self::Coturn { .. } => "coturn",
            Self::Janus { .. } => "Janus",
        }
    }

    /// Asks it for its version; `None` when it does not tell.
    pub fn version(&self) -> Option<String> {
        let (Self::Voex { path, .. } | Self::Coturn { path, .. } | Self::Janus { path }) = self;
        let output = Command::new(path).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next()?.trim();
        // Janus says `Janus version: 1102 (1.1.2)`.
        let in_brackets = line.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        Some(in_brackets.unwrap_or(line).to_owned())
    }

    /// Gives what starts it with one worker on a core.
    pub(crate) fn command(&self, role: Role, ports: Ports, folder: &Folder, core: usize) -> Result<Command, LoadError> {
        // Each of the three replaces itself by the next, so the child is the server; it dies with this process.
        let mut command = Command::new("setpriv");
        let core = core.to_string();
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &core, "setsid"]);
        match self {
            Self::Voex { path, settings, .. } => {
                let file = folder.path("settings.yaml");
                let private = fs::Permissions::from_mode(0o600);
                fs::write(&file, voex_settings(role, ports, folder))
                    .and_then(|()| fs::set_permissions(&file, private))
                    .doing(|| "writing settings".into())?;
                command.arg(path).args(["serve", "--settings"]).arg(&file);
                for setting in settings {
                    command.args(["--set", setting]);
                }
            }
            Self::Coturn { path, args } => {
                command.arg(path);
                coturn_arguments(&mut command, ports, folder);
                command.args(args);
            }
            Self::Janus { path } => {
                let Role::Mcu { media } = role else {
                    return Err(LoadError::NotStarted {
                        server: self.name().into(),
                        why: "it is no TURN server".into(),
                    });
                };
                for (name, text) in janus_settings(media, ports) {
                    fs::write(folder.path(name), text).doing(|| format!("writing {name}"))?;
                }
                command.arg(path).arg("--configs-folder").arg(folder.path(""));
            }
        }
        Ok(command)
    }
}

impl Folder {
    /// Makes an empty folder that nobody else uses.
    pub(crate) fn make(port: u16) -> Result<Self, LoadError> {
        let path = std::env::temp_dir().join(format!("voex-load-{}-{port}", std::process::id()));
        fs::create_dir_all(&path).doing(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("key.pem")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One relay thread, no logs, no services beside TURN; what makes an allocation cheap or dear is left as it comes.
fn coturn_arguments(command: &mut Command, ports: Ports, folder: &Folder) {
    let host = HOST.to_string();
    command.args(["-n", "-m", "1", "-a", "-r", REALM, "-u", &format!("{USER}:{PASSWORD}")]);
    command.args(["-L", &host, "-E", &host]);
    command.args(["-p", &ports.plain.to_string()]);
    command.args(["--tls-listening-port", &ports.tls.to_string()]);
    command.arg("--cert").arg(folder.certificate());
    command.arg("--pkey").arg(folder.key());
    command.args(["--allow-loopback-peers", "--no-dtls", "--no-cli"]);
    command.args(["--no-stdout-log", "--simple-log", "--log-file=/dev/null"]);
    command.arg("--pidfile").arg(folder.path("pid"));
}

fn voex_settings(role: Role, ports: Ports, folder: &Folder) -> String {
    let Ports { plain, tls, http } = ports;
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let (certificate, key) = (quoted(&folder.certificate()), quoted(&folder.key()));
    let of_role = match role {
        Role::Turn { .. } => format!(
            "turn:
  listen: [{HOST}]
  ports: {{plain: [{plain}], tls: [{tls}]}}
  realm: {REALM}
  users: {{static: {{{USER}: {PASSWORD}}}}}
  peers: {{allow_loopback: true}}
tls: {{certificate: {certificate}, key: {key}}}
mcu: {{enabled: false}}
media: {{listen: [{HOST}]}}"
        ),
        Role::Mcu { media } => format!(
            "turn: {{enabled: false}}
mcu: {{enabled: true, ws: {{listen: \"{HOST}:{plain}\"}}}}
media: {{listen: [{media}]}}"
        ),
    };
    format!(
        "workers: 1
{of_role}
sip: {{enabled: false}}
http: {{listen: \"{HOST}:{http}\"}}
log: {{level: warn}}
"
    )
}

/// One event loop, the video room and the WebSocket transport only, errors logged; the rest is left as it comes.
fn janus_settings(media: IpAddr, ports: Ports) -> [(&'static str, String); 3] {
    let others = |kind: &str, names: &[&str]| -> String {
        let names: Vec<String> = names.iter().map(|name| format!("libjanus_{name}.so")).collect();
        format!("{kind}: {{ disable = \"{}\" }}\n", names.join(","))
    };
    let plugins = [
        "audiobridge",
        "duktape",
        "echotest",
        "lua",
        "nosip",
        "recordplay",
        "sip",
        "streaming",
        "textroom",
        "videocall",
        "voicemail",
    ];
    let transports = ["http", "mqtt", "nanomsg", "pfunix", "rabbitmq"];
    let general = "general: { debug_level = 2, debug_colors = false, session_timeout = 600, event_loops = 1 }";
    let core = format!(
        "{general}\nmedia: {{ rtp_port_range = \"20000-40000\" }}\nnat: {{ ice_enforce_list = \"{media}\" }}\n{}{}",
        others("plugins", &plugins),
        others("transports", &transports)
    );
    let socket = format!(
        "general: {{ ws = true, ws_port = {}, ws_ip = \"{HOST}\", wss = false }}\nadmin: {{ admin_ws = false }}\n",
        ports.plain
    );
    [
        ("janus.jcfg", core),
        ("janus.transport.websockets.jcfg", socket),
        ("janus.plugin.videoroom.jcfg", "general: { }\n".into()),
    ]
}
