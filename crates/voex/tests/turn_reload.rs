//! What a reload does to TURN while allocations relay.
#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod common;
#[path = "common/turn.rs"]
mod turn;
#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Server, settings_file};
use turn::{Client, error_code, receive};
use turn_client::{channel_data, read_channel_data, read_data_indication, relayed_address, send_indication, success};

const CHANNEL: u16 = 0x4000;

/// A server with a settings file that can be written again.
struct Rig {
    server: Server,
    file: PathBuf,
    reloads: usize,
}

impl Rig {
    fn start(name: &str, turn: &str) -> Self {
        let file = settings_file(name, &settings(turn));
        let server = Server::start(&["--settings", file.to_str().unwrap()]);
        Self {
            server,
            file,
            reloads: 0,
        }
    }

    /// Writes other settings and has them read; gives the line that says what became of them.
    fn reload(&mut self, turn: &str) -> String {
        std::fs::write(&self.file, settings(turn)).unwrap();
        self.server.signal("HUP");
        self.reloads += 1;
        let asked = Instant::now();
        loop {
            let log = self.server.log();
            let said: Vec<_> = log.lines().filter(|line| line.contains("reload: ")).collect();
            if let Some(line) = said.get(self.reloads - 1) {
                return (*line).to_owned();
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "no reload in\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn turn(&self) -> SocketAddr {
        self.server.listener("STUN and TURN", "TURN: ")
    }
}

fn settings(turn: &str) -> String {
    let peers = match turn.contains("peers:") {
        true => "",
        false => "  peers: {allow_loopback: true}\n",
    };
    format!("turn:\n  realm: example.org\n{peers}{turn}\n")
}

/// Asks until the answer is as wanted: a reload reaches the media threads a moment after it was said.
fn eventually(mut ask: impl FnMut() -> Option<u16>, wanted: Option<u16>) {
    let asked = Instant::now();
    while ask() != wanted {
        assert!(asked.elapsed() < Duration::from_secs(5), "never {wanted:?}");
    }
}

/// Sends numbered packets through the relay and back, one at a time: none may be lost.
fn relay(times: u32, client: &Client, relayed: SocketAddr, peer: &UdpSocket) {
    for number in (0..times).map(u32::to_be_bytes) {
        client.socket.send(&channel_data(CHANNEL, &number)).unwrap();
        assert_eq!(receive(peer), (number.to_vec(), relayed));
        peer.send_to(&number, relayed).unwrap();
        assert_eq!(read_channel_data(&receive(&client.socket).0), (CHANNEL, &number[..]));
    }
}

#[test]
fn live_allocations_relay_across_reloads_and_new_requests_meet_the_new_rules() {
    const ALICE: &str = "  users: {static: {alice: secret}}";
    const BEFORE: &str = "  external: [203.0.113.8/127.0.0.1]";
    let mut rig = Rig::start("turn-live.yaml", &format!("{ALICE}\n{BEFORE}"));
    let (mut alice, peer) = (Client::connect(rig.turn()), UdpSocket::bind("127.0.0.1:0").unwrap());
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let relayed = relayed_address(&alice.allocate());
    let local = SocketAddr::from(([127, 0, 0, 1], relayed.port()));
    let bind = alice.turn.channel_bind(CHANNEL, peer.local_addr().unwrap());
    success(&alice.ask(&bind));
    let denied: SocketAddr = "127.0.0.2:9".parse().unwrap();
    assert_eq!(alice.permit(denied), None);
    relay(50, &alice, local, &peer);

    let said = rig.reload(&format!(
        "{BEFORE}\n  users: {{static: {{bob: other}}}}\n  quota: {{allocations_per_user: 7}}"
    ));
    let taken = "taken over: turn.users.static, turn.quota.allocations_per_user; only after a restart: nothing";
    assert!(said.contains(taken), "{said}");
    relay(50, &alice, local, &peer);
    // Nobody is called alice any more, but who was let in under that name goes on.
    eventually(|| error_code(&Client::connect(rig.turn()).allocate()), Some(401));
    let bind = alice.turn.channel_bind(CHANNEL, peer.local_addr().unwrap());
    success(&alice.ask(&bind));

    let said = rig.reload(&format!(
        "{ALICE}\n  peers: {{allow_loopback: true, deny: [127.0.0.2]}}\n  external: [203.0.113.9/127.0.0.1]"
    ));
    assert!(
        said.contains("turn.external, turn.users.static, turn.peers.deny"),
        "{said}"
    );
    eventually(|| alice.permit(denied), Some(403));
    relay(50, &alice, local, &peer);
    let mut late = Client::connect(rig.turn());
    let public = relayed_address(&late.allocate());
    assert_eq!(public.ip(), SocketAddr::from(([203, 0, 113, 9], 0)).ip());
    // The name that the one was given before and that of the other lead to each other inside the process.
    assert_eq!((late.permit(relayed), alice.permit(public)), (None, None));
    late.socket.send(&send_indication(relayed, b"hello")).unwrap();
    let heard = read_data_indication(&receive(&alice.socket).0);
    assert_eq!(heard, (public, b"hello".to_vec()));
}

#[test]
fn a_wrong_file_and_what_needs_a_restart_leave_everything_as_it_was() {
    let mut rig = Rig::start("turn-wrong.yaml", "  users: {static: {alice: secret}}");
    let said = rig.reload("  users: {static: {bob: other}}\n  relay_ports: lots");
    assert!(said.contains("the settings are wrong; those in force stay"), "{said}");
    success(&Client::connect(rig.turn()).allocate());
    let said = rig.reload("  users: {static: {alice: secret}}\n  ports: {plain: [1]}\n  relay_ports: 50000-50100");
    assert!(
        said.contains("taken over: nothing; only after a restart: turn.relay_ports"),
        "{said}"
    );
    success(&Client::connect(rig.turn()).allocate());
}
