//! A TURN client with a socket of its own.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use voex_stun::{Class, Message};

use crate::turn_client::TurnClient;

/// A TURN client with its socket.
pub(crate) struct Client {
    pub(crate) turn: TurnClient,
    pub(crate) socket: UdpSocket,
}

impl Client {
    /// Connects a client of the user `alice`.
    pub(crate) fn connect(server: SocketAddr) -> Self {
        Self::of(server, TurnClient::new())
    }

    /// Connects a client of any user.
    pub(crate) fn of(server: SocketAddr, turn: TurnClient) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { turn, socket }
    }

    /// Sends a request and gives the answer.
    pub(crate) fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.socket.send(request).unwrap();
        receive(&self.socket).0
    }

    /// Asks for an allocation; gives the answer to the request with credentials.
    pub(crate) fn allocate(&mut self) -> Vec<u8> {
        let request = self.turn.allocate();
        let challenge = self.ask(&request);
        self.turn.challenged(&challenge);
        let request = self.turn.allocate();
        self.ask(&request)
    }

    /// Asks for a permission; gives the error code, if any.
    pub(crate) fn permit(&mut self, peer: SocketAddr) -> Option<u16> {
        let request = self.turn.create_permission(peer);
        error_code(&self.ask(&request))
    }
}

/// Gives the next datagram and where it came from.
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    let (len, from) = socket.recv_from(&mut buffer).expect("an answer within five seconds");
    (buffer[..len].to_vec(), from)
}

/// Gives the error code of an answer that refuses.
pub(crate) fn error_code(answer: &[u8]) -> Option<u16> {
    let answer = Message::parse(answer).unwrap();
    (answer.class() == Class::Error).then(|| answer.error_code().unwrap().unwrap().number())
}
