//! A `redis-server` in a namespace, and what happens in it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::namespace::Namespace;

const PORT: u16 = 6379;
const SOON: Duration = Duration::from_secs(10);

/// A server on 127.0.0.1:6379 of its namespace, empty at first.
pub struct Redis<'a> {
    namespace: &'a Namespace,
    child: Child,
}

impl<'a> Redis<'a> {
    /// Starts a server.
    pub fn start(namespace: &'a Namespace) -> Self {
        Self {
            namespace,
            child: launch(namespace),
        }
    }

    /// Kills the server; what it held is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty.
    pub fn start_again(&mut self) {
        self.child = launch(self.namespace);
    }

    /// Runs a command in a database; gives what `redis-cli` says.
    pub fn run(&self, database: u8, words: &[&str]) -> String {
        let mut command = self.namespace.command("redis-cli");
        command.args(["-n", &database.to_string()]).args(words);
        let output = command.output().expect("redis-cli comes with redis-server");
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

impl Drop for Redis<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server and waits until it answers.
fn launch(namespace: &Namespace) -> Child {
    let mut command = namespace.command("redis-server");
    command.args(["--port", &PORT.to_string(), "--save", "", "--appendonly", "no"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command
        .spawn()
        .expect("redis-server is installed (scripts/test does it)");
    let asked = Instant::now();
    while namespace.inside(|| TcpStream::connect(("127.0.0.1", PORT)).is_err()) {
        assert!(asked.elapsed() < SOON, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Words of a command, or channel and payload of a message.
pub type Message = Vec<String>;

/// Everything of one kind that happens in a server from now on, in order.
pub struct Capture(Arc<Mutex<Vec<Message>>>);

impl Capture {
    /// Records the commands that the server runs (MONITOR).
    pub fn commands(redis: &Redis<'_>) -> Self {
        let mut reader = ask(redis.namespace, "MONITOR\r\n");
        assert_eq!(line(&mut reader).as_deref(), Some("+OK"));
        Self::record(move || line(&mut reader).map(|line| words(&line)))
    }

    /// Records the messages that subscribers of everything hear (PSUBSCRIBE).
    pub fn messages(redis: &Redis<'_>) -> Self {
        let mut reader = ask(redis.namespace, "PSUBSCRIBE *\r\n");
        assert_eq!(line(&mut reader).as_deref(), Some("*3"));
        for part in ["$10", "psubscribe", "$1", "*", ":1"] {
            assert_eq!(line(&mut reader).as_deref(), Some(part));
        }
        Self::record(move || {
            // `pmessage`, the pattern, channel and payload.
            line(&mut reader)?;
            let parts: Option<Message> = (0..4).map(|_| text(&mut reader)).collect();
            parts.map(|parts| parts[2..].to_vec())
        })
    }

    fn record(mut next: impl FnMut() -> Option<Message> + Send + 'static) -> Self {
        let messages = Arc::<Mutex<Vec<Message>>>::default();
        let seen = messages.clone();
        // Ends with the server.
        std::thread::spawn(move || {
            while let Some(message) = next() {
                seen.lock().expect("nobody panics with the lock").push(message);
            }
        });
        Self(messages)
    }

    /// Gives what was recorded so far.
    pub fn so_far(&self) -> Vec<Message> {
        self.0.lock().expect("nobody panics with the lock").clone()
    }

    /// Waits for a message, and gives what came before it.
    pub fn until(&self, is_last: impl Fn(&Message) -> bool) -> Vec<Message> {
        let asked = Instant::now();
        loop {
            let mut messages = self.so_far();
            if let Some(end) = messages.iter().position(&is_last) {
                messages.truncate(end);
                return messages;
            }
            assert!(asked.elapsed() < SOON, "the last message did not come: {messages:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Opens a connection and says something.
fn ask(namespace: &Namespace, request: &'static str) -> BufReader<TcpStream> {
    let stream = namespace.inside(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", PORT)).expect("redis-server listens");
        stream.write_all(request.as_bytes()).expect("redis-server reads");
        stream
    });
    BufReader::new(stream)
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(1..) => Some(line.trim_end().to_owned()),
        _ => None,
    }
}

/// Reads one bulk string.
fn text(reader: &mut impl BufRead) -> Option<String> {
    let length: usize = line(reader)?.strip_prefix('$')?.parse().ok()?;
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes).ok()?;
    bytes.truncate(length);
    String::from_utf8(bytes).ok()
}

/// Takes the words out of `+TIME [DATABASE SENDER] "WORD" "WORD"`.
fn words(line: &str) -> Message {
    let quoted = line.split_once("] ").map(|(_, quoted)| quoted).unwrap_or_default();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().split("\" \"").map(str::to_owned).collect()
}
