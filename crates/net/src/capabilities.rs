//! What the kernel offers, found out by trying on loopback.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::config::Toggle;
use crate::socket::{Sharing, bind_udp, local_address};
use crate::sys::{self, Epoll, Ready, ReceiveBatch};

/// Which of the two paths sending and receiving take on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Trains to one destination leave as one message (UDP_SEGMENT); otherwise packets are sent singly.
    pub gso: bool,
    /// Trains from one source arrive as one message (UDP_GRO); otherwise packets arrive singly.
    pub gro: bool,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(f, "gso={} gro={}", word(self.gso), word(self.gro))
    }
}

impl Capabilities {
    /// Sends a train to ourselves and looks at what arrives, then applies the settings; a forced toggle is believed.
    pub(crate) fn probe(gso: Toggle, gro: Toggle) -> Self {
        let found = probe_loopback().unwrap_or(Self { gso: false, gro: false });
        Self {
            gso: gso.decide(found.gso),
            gro: gro.decide(found.gro),
        }
    }
}

/// Length of the probe's packets; they go three at a time.
const PROBE_BYTES: usize = 100;
/// How long the probe waits for its own packets.
const PROBE_WAIT: Duration = Duration::from_millis(200);

fn probe_loopback() -> io::Result<Capabilities> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sender = bind_udp(loopback, Sharing::Exclusive, false)?;
    let receiver = bind_udp(loopback, Sharing::Exclusive, false)?;
    let gro = sys::set_gro(receiver.as_fd()).is_ok();
    let packet = [0x5a; PROBE_BYTES];
    let train = [IoSlice::new(&packet), IoSlice::new(&packet), IoSlice::new(&packet)];
    let to = local_address(&receiver)?.into();
    let gso = sys::send_train(sender.as_fd(), &to, &train, PROBE_BYTES as u16).is_ok();
    if !gso {
        return Ok(Capabilities { gso, gro });
    }
    let epoll = Epoll::new()?;
    epoll.add(receiver.as_fd(), 0)?;
    epoll.wait(&mut Ready::new(1), Some(PROBE_WAIT))?;
    let mut batch = ReceiveBatch::new();
    let messages = batch.receive(receiver.as_fd())?;
    let first = batch.message(0);
    let one_train = first.segment == PROBE_BYTES && first.bytes.len() == 3 * PROBE_BYTES;
    // A kernel that ignores the control message would have sent one datagram of 300 bytes.
    let singles = messages == 3 && first.bytes.len() == PROBE_BYTES;
    Ok(Capabilities {
        gso: one_train || singles,
        gro: gro && one_train,
    })
}
