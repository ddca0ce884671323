//! A network namespace with one real address.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

/// Address of the namespace's interface; server and peers use it.
pub const ADDRESS: &str = "10.77.0.1";
/// Its IPv6 address, where [`Namespace::add_address`] was asked for it.
pub const ADDRESS_V6: &str = "fd77::1";

/// A network namespace that lives as long as this value.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with loopback and a veth pair whose one end has [`ADDRESS`].
    ///
    /// # Panics
    /// When the process may not make namespaces: scenarios with browsers need root and `iproute2`.
    pub fn new() -> Self {
        let namespace = Self::alone();
        for command in [
            "link add near type veth peer name far",
            &format!("addr add {ADDRESS}/24 dev near"),
            "link set near up",
            "link set far up",
        ] {
            namespace.ip(command);
        }
        namespace
    }

    /// Makes a namespace with loopback and nothing else, for [`crate::Link`] to join to another.
    pub(crate) fn alone() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("voex-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name };
        ip(&["netns", "add", &namespace.name]);
        namespace.ip("link set lo up");
        namespace
    }

    /// Gives the interface one more address, with the length of its prefix.
    pub fn add_address(&self, address: &str) {
        let mut words = vec!["-n", &self.name, "addr", "add", address, "dev", "near"];
        if address.contains(':') {
            // Nobody else is there; looking for duplicates takes a second.
            words.push("nodad");
        }
        ip(&words);
    }

    /// Obeys an `ip` command inside the namespace.
    pub fn ip(&self, command: &str) {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(command.split(' ')).collect();
        ip(&words);
    }

    /// Makes a command that runs inside the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a closure on a thread of its own inside the namespace: sockets it opens belong there.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let handle = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("the namespace has a handle");
        let thread = std::thread::spawn(move || {
            setns(handle, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            work()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).status();
    let done = done.expect("iproute2 is installed (scripts/test does it)").success();
    assert!(
        done,
        "`ip {}` failed: scenarios with network namespaces need root",
        arguments.join(" ")
    );
}
