//! The UDP sockets of SIP, and the names that it wants looked up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::time;
use voex_base::{Protocol, SocketId};
use voex_config::{SipListen, SipTransport};
use voex_sip::{Listen, QueryId, ResolveError};

use crate::addresses::{Addresses, toward};

/// Ids of SIP sockets; media sockets are counted from zero.
const SOCKET_ID_FIRST: u64 = 0xffff_0000;
/// Datagrams that may wait for the control task; more are dropped and counted.
pub(crate) const DATAGRAMS_MAX: usize = 4_096;
/// Names looked up at once.
const LOOKUPS_MAX: usize = 32;
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// What SIP hears from outside.
pub(crate) enum SipInput {
    /// A datagram arrived.
    Datagram {
        socket: SocketId,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A name was looked up.
    Resolved {
        query: QueryId,
        result: Result<Vec<SocketAddr>, ResolveError>,
    },
}

/// The sockets.
pub(crate) struct SipSockets {
    sockets: Vec<(Listen, Arc<UdpSocket>)>,
    lookups: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// What the sockets count.
#[derive(Default, Debug)]
pub(crate) struct Metrics {
    /// Datagrams dropped because the control task was behind.
    pub(crate) overrun: AtomicU64,
    /// Datagrams that the system would not send.
    pub(crate) unsent: AtomicU64,
}

impl SipSockets {
    /// Binds every UDP socket; every one that fails makes a line.
    pub(crate) async fn bind(listen: &[SipListen], addresses: &Addresses) -> Result<Self, Vec<String>> {
        let (mut sockets, mut failures) = (Vec::new(), Vec::new());
        for listen in listen.iter().filter(|listen| listen.transport == SipTransport::Udp) {
            match bind(listen.address).await {
                Ok((bound, socket)) => {
                    let id = SocketId(SOCKET_ID_FIRST + sockets.len() as u64);
                    let advertised = SocketAddr::new(advertised(bound, addresses), bound.port());
                    sockets.push((
                        Listen {
                            id,
                            protocol: Protocol::Udp,
                            advertised,
                        },
                        Arc::new(socket),
                    ));
                }
                Err(error) => failures.push(format!("SIP {} ({error})", listen.address)),
            }
        }
        match failures.is_empty() {
            true => Ok(Self {
                sockets,
                lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
                metrics: Arc::default(),
            }),
            false => Err(failures),
        }
    }

    /// Gives the sockets as the endpoint is told of them.
    pub(crate) fn listens(&self) -> Vec<Listen> {
        self.sockets.iter().map(|(listen, _)| *listen).collect()
    }

    /// Gives the counters.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Starts one task a socket that hands datagrams on until the other side of `inputs` is gone.
    pub(crate) fn receive(&self, inputs: &mpsc::Sender<SipInput>) {
        for (listen, socket) in &self.sockets {
            tokio::spawn(receive(listen.id, socket.clone(), inputs.clone(), self.metrics.clone()));
        }
    }

    /// Sends a datagram, or drops it when the system has no room: SIP repeats what matters.
    pub(crate) fn transmit(&self, id: SocketId, to: SocketAddr, bytes: &[u8]) {
        let socket = self.sockets.iter().find(|(listen, _)| listen.id == id);
        let sent = socket.map(|(_, socket)| socket.try_send_to(bytes, to));
        if !matches!(sent, Some(Ok(_))) {
            self.metrics.unsent.fetch_add(1, Relaxed);
            tracing::debug!("SIP: nothing sent to {to}: {sent:?}");
        }
    }

    /// Looks a name up and hands the answer on.
    pub(crate) fn resolve(&self, inputs: &mpsc::Sender<SipInput>, query: QueryId, host: String, port: Option<u16>) {
        let (lookups, inputs) = (self.lookups.clone(), inputs.clone());
        tokio::spawn(async move {
            let _place = lookups.acquire().await;
            let found = time::timeout(
                LOOKUP_MAX,
                tokio::net::lookup_host((host.as_str(), port.unwrap_or(5060))),
            )
            .await;
            let result = match found {
                Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(ResolveError::Unavailable),
                Ok(Err(_)) => Err(ResolveError::NotFound),
                Err(_) => Err(ResolveError::Unavailable),
            };
            // The control task is gone only when the process ends.
            let _ = inputs.send(SipInput::Resolved { query, result }).await;
        });
    }
}

/// Binds and waits until the runtime knows that the socket can be written to, which it can at once.
async fn bind(address: SocketAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = UdpSocket::bind(address).await?;
    socket.writable().await?;
    Ok((socket.local_addr()?, socket))
}

/// What goes into Via and Contact of a socket: its address; for the unspecified one, that of the default route.
fn advertised(bound: SocketAddr, addresses: &Addresses) -> std::net::IpAddr {
    if !bound.ip().is_unspecified() {
        return bound.ip();
    }
    let same_family = addresses.host.iter().find(|host| host.is_ipv4() == bound.is_ipv4());
    same_family
        .copied()
        .or_else(|| toward(addresses.primary()))
        .unwrap_or_else(|| addresses.primary())
}

async fn receive(id: SocketId, socket: Arc<UdpSocket>, inputs: mpsc::Sender<SipInput>, metrics: Arc<Metrics>) {
    let mut buffer = vec![0; voex_base::DATAGRAM_BYTES_MAX];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP answer to something we sent; the socket itself is well.
            Err(_) => {
                time::sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let input = SipInput::Datagram {
            socket: id,
            from,
            bytes: buffer[..len].to_vec(),
        };
        match inputs.try_send(input) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                metrics.overrun.fetch_add(1, Relaxed);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}
