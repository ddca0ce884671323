//! Processes of peers, with a bound on their time.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespace::Namespace;

/// A peer's process that is still running.
pub struct Peer {
    what: String,
    child: Child,
    output: [JoinHandle<String>; 2],
}

/// What a peer left behind.
pub struct Finished {
    /// Its exit code was zero.
    pub success: bool,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Peer {
    /// Starts a process.
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error} (scripts/test installs the peers)"));
        let output = [drain(child.stdout.take()), drain(child.stderr.take())];
        Self { what, child, output }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it takes longer than `max`; the process is killed.
    pub fn finish(mut self, max: Duration) -> Finished {
        let start = Instant::now();
        let mut late = false;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if start.elapsed() > max => {
                    late = true;
                    let _ = self.child.kill();
                    break self.child.wait().expect("a killed child ends");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let [stdout, stderr] = self.output.map(|reader| reader.join().unwrap_or_default());
        assert!(
            !late,
            "{} was still running after {max:?}\n{stdout}\n{stderr}",
            self.what
        );
        Finished {
            success: status.success(),
            stdout,
            stderr,
        }
    }
}

/// Runs a script of `peers/` under Node inside the namespace and gives the JSON it prints last.
///
/// # Panics
/// When the script fails; its output is in the message.
pub fn node(namespace: &Namespace, script: &str, config: &Value, max: Duration) -> Value {
    run_script(namespace.command("node"), script, config, max)
}

/// Runs a script of `peers/` under Python inside the namespace, with the packages of `peers/requirements.txt`, and gives
/// the JSON it prints last.
///
/// # Panics
/// When the script fails; its output is in the message.
pub fn python(namespace: &Namespace, script: &str, config: &Value, max: Duration) -> Value {
    let python = peers().join(".venv/bin/python");
    let command = namespace.command(python.to_str().expect("the checkout has a readable name"));
    run_script(command, script, config, max)
}

fn peers() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn run_script(mut command: Command, script: &str, config: &Value, max: Duration) -> Value {
    let peers = peers();
    command
        .arg(peers.join(script))
        .arg(config.to_string())
        .current_dir(peers);
    let done = Peer::start(command).finish(max);
    let last = done.stdout.lines().last().unwrap_or_default();
    match serde_json::from_str(last) {
        Ok(value) if done.success => value,
        _ => panic!("{script} failed\n{}\n{}", done.stdout, done.stderr),
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
