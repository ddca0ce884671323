//! A TURN client over TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::turn_client::{TurnClient, channel_data, read_channel_data, relayed_address, success};

const CHANNEL: u16 = 0x4000;
const PATIENCE: Duration = Duration::from_secs(5);

/// A TURN client of the user `alice` with its TLS session.
pub(crate) struct TlsClient {
    turn: TurnClient,
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    /// Connects, and believes whom an authority certifies.
    pub(crate) fn connect(server: SocketAddr, authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), ServerName::from(server.ip())).unwrap();
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            turn: TurnClient::new(),
            stream: StreamOwned::new(connection, socket),
        }
    }

    /// Makes an allocation with a channel to a peer of this host.
    pub(crate) fn relay_to_a_peer(&mut self) -> (UdpSocket, SocketAddr) {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = self.turn.allocate();
        let challenge = self.ask(&request);
        self.turn.challenged(&challenge);
        let request = self.turn.allocate();
        let relayed = relayed_address(&self.ask(&request));
        let request = self.turn.channel_bind(CHANNEL, peer.local_addr().unwrap());
        success(&self.ask(&request));
        (peer, relayed)
    }

    /// Sends to the peer and back.
    pub(crate) fn exchange(&mut self, peer: &UdpSocket, relayed: SocketAddr, payload: &[u8]) {
        let mut message = channel_data(CHANNEL, payload);
        // Over streams messages end at a multiple of four (RFC 8656 §12.5).
        message.resize(message.len().next_multiple_of(4), 0);
        self.stream.write_all(&message).unwrap();
        let mut buffer = [0; 2_048];
        let (len, from) = peer.recv_from(&mut buffer).expect("what the client sent");
        assert_eq!((&buffer[..len], from), (payload, relayed));
        peer.send_to(payload, relayed).unwrap();
        assert_eq!(read_channel_data(&self.next()), (CHANNEL, payload));
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).unwrap();
        self.next()
    }

    /// The next message, without its padding.
    fn next(&mut self) -> Vec<u8> {
        let mut message = vec![0; 4];
        self.stream
            .read_exact(&mut message)
            .expect("a message within five seconds");
        let len = usize::from(u16::from_be_bytes([message[2], message[3]]));
        let (header, padded) = match message[0] {
            0x40..=0x4f => (4, len.next_multiple_of(4)),
            _ => (20, len),
        };
        message.resize(header + padded, 0);
        self.stream
            .read_exact(&mut message[4..])
            .expect("the rest of a message");
        message.truncate(header + len);
        message
    }
}
