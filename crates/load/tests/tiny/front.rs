//! TCP and TLS in front of a server that speaks UDP: every connection becomes a socket of its own towards it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use voex_load::deframer::Deframer;
use voex_load::tls::{KeyKind, write_certificate};

/// What a front does with the streams of its clients.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Hands everything on at once.
    Prompt,
    /// Writes at most so many bytes at once.
    Dribbling(usize),
    /// Ends every connection after so many messages of its client.
    Ending(usize),
    /// Reads so many messages of a client, answers them, and reads no more.
    Deaf(usize),
    /// Answers as a TLS server does that is spoken to in plain.
    Alert,
}

/// A certificate for localhost, in files that go when this does.
pub struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    pub fn make(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("voex-load-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = Self { folder };
        write_certificate(KeyKind::Ecdsa, &made.certificate(), &made.key()).unwrap();
        made
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    fn server(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_file_iter(self.certificate()).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.key()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key);
        Arc::new(config.unwrap())
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs a front for the rest of this process and gives its address; with a certificate it speaks TLS.
pub fn start(server: SocketAddr, certificate: Option<&Certificate>, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = certificate.map(Certificate::server);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            let config = config.clone();
            std::thread::spawn(move || match config {
                None => serve(socket, server, manner),
                Some(config) => {
                    let mut connection = ServerConnection::new(config).unwrap();
                    let mut socket = socket;
                    // A client that turns away in the handshake, as one that trusts nobody does, ends here.
                    if connection.complete_io(&mut socket).is_ok() {
                        serve(rustls::StreamOwned::new(connection, socket), server, manner);
                    }
                }
            });
        }
    });
    address
}

/// A stream and the socket beneath it.
trait Connection: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Connection for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Connection for rustls::StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// Hands messages on both ways until either end is gone.
fn serve(mut stream: impl Connection, server: SocketAddr, manner: Manner) {
    let inner = UdpSocket::bind("127.0.0.1:0").unwrap();
    inner.connect(server).unwrap();
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; 70_000];
    let mut heard = 0;
    loop {
        let is_deaf = matches!(manner, Manner::Deaf(after) if heard >= after);
        if !is_deaf {
            match read_some(&mut stream, &mut buffer, &mut deframer, &inner, manner) {
                Some(count) => heard += count,
                None => return,
            }
        }
        if matches!(manner, Manner::Ending(after) if heard >= after) {
            return;
        }
        let interest = if is_deaf { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut fds = [
            PollFd::new(stream.socket().as_fd(), interest),
            PollFd::new(inner.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        if is_deaf && fds[0].any().unwrap() {
            return;
        }
        if fds[1].any().unwrap() {
            let len = inner.recv(&mut buffer).unwrap();
            buffer[len..len.next_multiple_of(4)].fill(0);
            if write_all(&mut stream, &buffer[..len.next_multiple_of(4)], manner).is_err() {
                return;
            }
        }
    }
}

/// Reads what is there; gives how many messages that were, and nothing once the client is gone.
fn read_some(
    stream: &mut impl Connection,
    buffer: &mut [u8],
    deframer: &mut Deframer,
    inner: &UdpSocket,
    manner: Manner,
) -> Option<usize> {
    stream.socket().set_nonblocking(true).unwrap();
    let read = stream.read(buffer);
    stream.socket().set_nonblocking(false).unwrap();
    let len = match read {
        Ok(0) => return None,
        Ok(len) => len,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(0),
        Err(_) => return None,
    };
    if matches!(manner, Manner::Alert) {
        stream.write_all(b"\x15\x03\x03\x00\x02\x02\x46").unwrap();
        return None;
    }
    let mut count = 0;
    let fed = deframer.feed(&buffer[..len], |message| {
        inner.send(message).unwrap();
        count += 1;
    });
    fed.unwrap();
    Some(count)
}

fn write_all(stream: &mut impl Connection, message: &[u8], manner: Manner) -> std::io::Result<()> {
    let at_once = match manner {
        Manner::Dribbling(bytes) => bytes,
        _ => message.len(),
    };
    for piece in message.chunks(at_once) {
        stream.write_all(piece)?;
        stream.flush()?;
    }
    Ok(())
}
