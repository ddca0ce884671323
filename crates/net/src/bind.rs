//! Binding every listener and media socket before anything runs.

use std::io;
use std::net::SocketAddr;

use socket2::Socket;
use voex_base::{Protocol, SocketId, WorkerId};
use voex_turn::ClientPath;
use voex_worker::{MediaSocket, Role};

use crate::config::{BindFailure, Config, Purpose, StartError};
use crate::rtp::SocketIds;
use crate::socket::{Sharing, bind_udp, local_address};
use crate::streams::bind_tcp;

/// Ports that the system may choose before one is free for datagrams and for streams.
const ANY_PORT_TRIES: u32 = 32;

/// Sockets of all workers, bound before anything runs.
pub(crate) struct Bound {
    /// By worker.
    pub(crate) sockets: Vec<Vec<(SocketId, Role, Socket)>>,
    /// Listeners of TURN streams, by worker.
    pub(crate) stream_listeners: Vec<Vec<(SocketAddr, Socket)>>,
    pub(crate) media: Vec<MediaSocket>,
    pub(crate) turn_listeners: Vec<SocketAddr>,
    failures: Vec<BindFailure>,
}

impl Bound {
    pub(crate) fn bind(config: &Config, workers: usize, gro: bool, ids: &SocketIds) -> Result<Self, StartError> {
        let mut this = Self {
            sockets: (0..workers).map(|_| Vec::new()).collect(),
            stream_listeners: (0..workers).map(|_| Vec::new()).collect(),
            media: Vec::new(),
            turn_listeners: Vec::new(),
            failures: Vec::new(),
        };
        for address in &config.turn_listeners {
            if let Err(error) = this.bind_turn_listener(*address, &config.turn_protocols, gro, ids) {
                this.failures.push(BindFailure {
                    purpose: Purpose::TurnListener,
                    address: *address,
                    error,
                });
            }
        }
        this.bind_media(config, gro, ids);
        if this.failures.is_empty() {
            Ok(this)
        } else {
            Err(StartError::Bind(this.failures))
        }
    }

    /// Gives each worker a socket and a listener of its own on one address, as far as clients may use either.
    fn bind_turn_listener(
        &mut self,
        address: SocketAddr,
        protocols: &[Protocol],
        gro: bool,
        ids: &SocketIds,
    ) -> io::Result<()> {
        let workers = self.sockets.len();
        let datagrams = protocols.contains(&Protocol::Udp) || protocols.contains(&Protocol::Dtls);
        let streams = protocols.contains(&Protocol::Tcp) || protocols.contains(&Protocol::Tls);
        let mut tries = if address.port() == 0 { ANY_PORT_TRIES } else { 1 };
        let (address, sockets, listeners) = loop {
            let (mut bound, mut sockets) = (address, Vec::new());
            if datagrams {
                (bound, sockets) = bind_shared(address, workers, |address, sharing| bind_udp(address, sharing, gro))?;
            }
            if !streams {
                break (bound, sockets, Vec::new());
            }
            tries -= 1;
            match bind_shared(bound, workers, bind_tcp) {
                Ok((bound, listeners)) => break (bound, sockets, listeners),
                // Somebody else has the port for streams that the system chose for datagrams.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                Err(error) => return Err(error),
            }
        };
        if sockets.is_empty() && listeners.is_empty() {
            return Ok(());
        }
        for (mine, socket) in self.sockets.iter_mut().zip(sockets) {
            mine.push((ids.next(), Role::TurnListener(ClientPath::udp(address)), socket));
        }
        for (mine, listener) in self.stream_listeners.iter_mut().zip(listeners) {
            mine.push((address, listener));
        }
        self.turn_listeners.push(address);
        Ok(())
    }

    /// Gives each worker one port, the lowest that is free on every media address.
    fn bind_media(&mut self, config: &Config, gro: bool, ids: &SocketIds) {
        if config.media_addresses.is_empty() {
            return;
        }
        let mut ports = config.media_ports.clone();
        for worker in 0..self.sockets.len() {
            match bind_media_port(config, &mut ports, gro) {
                Ok(sockets) => self.add_media(worker, config, sockets, ids),
                Err(failures) => return self.failures.extend(failures),
            }
        }
    }

    fn add_media(&mut self, worker: usize, config: &Config, sockets: Vec<(SocketAddr, Socket)>, ids: &SocketIds) {
        for (address, (local, socket)) in config.media_addresses.iter().zip(sockets) {
            let id = ids.next();
            self.sockets[worker].push((id, Role::Media, socket));
            let public = address
                .public
                .iter()
                .map(|ip| SocketAddr::new(*ip, local.port()))
                .collect();
            self.media.push(MediaSocket {
                worker: WorkerId(worker as u16),
                socket: id,
                local,
                public,
            });
        }
    }
}

/// Binds one address for every worker; gives it with the port that the system chose where 0 was asked for.
fn bind_shared(
    address: SocketAddr,
    workers: usize,
    bind: impl Fn(SocketAddr, Sharing) -> io::Result<Socket>,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    // Sharing would also let another process of this user in; the first bind finds out that nobody is there.
    let probe = bind(address, Sharing::Exclusive)?;
    let address = local_address(&probe)?;
    if workers == 1 {
        return Ok((address, vec![probe]));
    }
    drop(probe);
    let sockets: io::Result<Vec<_>> = (0..workers).map(|_| bind(address, Sharing::AmongWorkers)).collect();
    Ok((address, sockets?))
}

/// Binds the next port of `ports` on every media address; passes over ports that somebody else has on any of them.
fn bind_media_port(
    config: &Config,
    ports: &mut impl Iterator<Item = u16>,
    gro: bool,
) -> Result<Vec<(SocketAddr, Socket)>, Vec<BindFailure>> {
    let mut in_use = Vec::new();
    for port in ports {
        let mut bound = Vec::new();
        let mut failures = Vec::new();
        for address in &config.media_addresses {
            let address = SocketAddr::new(address.local, port);
            match bind_udp(address, Sharing::Exclusive, gro) {
                Ok(socket) => bound.push((address, socket)),
                Err(error) => failures.push(BindFailure {
                    purpose: Purpose::Media,
                    address,
                    error,
                }),
            }
        }
        if failures.is_empty() {
            return Ok(bound);
        }
        if failures
            .iter()
            .any(|failure| failure.error.kind() != io::ErrorKind::AddrInUse)
        {
            failures.retain(|failure| failure.error.kind() != io::ErrorKind::AddrInUse);
            return Err(failures);
        }
        in_use = failures;
    }
    if in_use.is_empty() {
        let local = config
            .media_addresses
            .iter()
            .map(|address| SocketAddr::new(address.local, 0));
        in_use.extend(local.map(|address| BindFailure {
            purpose: Purpose::Media,
            address,
            error: io::Error::new(
                io::ErrorKind::AddrInUse,
                "media.ports has fewer ports than there are workers",
            ),
        }));
    }
    Err(in_use)
}
