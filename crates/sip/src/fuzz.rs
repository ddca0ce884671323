//! What the fuzz target and the tests hold the endpoint to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Rng, SocketId};

use crate::{AccountId, AccountSpec, CallSpec, Command, Config, Endpoint, Event, LegId, Metrics, Output};

/// Feeds datagrams to an endpoint that is in the middle of things: a guest, a call of its own, and whatever calls the
/// datagrams begin, each accepted. Datagrams are `data` split at `0xff`; two seconds pass after each.
///
/// # Panics
/// When the endpoint does, or when it does not come to rest: those are the findings.
pub fn feed(start: Instant, data: &[u8]) {
    let (socket, local) = (SocketId(1), SocketAddr::from(([127, 0, 0, 1], 5060)));
    let from = SocketAddr::from(([127, 0, 0, 1], 5066));
    let mut endpoint = Endpoint::new(
        Config::new(socket, local),
        Rng::from_number(1),
        Arc::new(Metrics::default()),
    );
    let mut now = start;
    let guest = AccountSpec::guest(AccountId(1), "sip:bob@127.0.0.1");
    endpoint.handle_command(now, Command::Register(Box::new(guest)));
    let call = CallSpec::new(LegId(1), AccountId(1), "sip:alice@127.0.0.1:5066", b"v=0\r\n".to_vec());
    endpoint.handle_command(now, Command::Call(Box::new(call)));
    for datagram in data.split(|byte| *byte == 0xff).take(64) {
        endpoint.handle_datagram(now, socket, from, datagram);
        drain(&mut endpoint, now);
        now += Duration::from_secs(2);
        endpoint.handle_timeout(now);
    }
    for _ in 0..10_000 {
        drain(&mut endpoint, now);
        let Some(next) = endpoint.poll_timeout() else { return };
        assert!(next > now, "a timer that is due did not fire");
        now = next;
        endpoint.handle_timeout(now);
        if now > start + Duration::from_secs(3_600) {
            return;
        }
    }
    panic!("the endpoint does not come to rest");
}

fn drain(endpoint: &mut Endpoint, now: Instant) {
    for _ in 0..10_000 {
        match endpoint.poll_output() {
            Some(Output::Event(Event::IncomingCall(call))) => {
                let (leg, sdp, headers) = (call.leg, b"v=0\r\n".to_vec(), Vec::new());
                endpoint.handle_command(now, Command::Accept { leg, sdp, headers });
            }
            Some(_) => {}
            None => return,
        }
    }
    panic!("outputs without end");
}
