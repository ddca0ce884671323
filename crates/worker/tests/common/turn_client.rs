//! A TURN client as bytes: writes requests, reads answers. It sends nothing by itself.

#![allow(dead_code, reason = "each test file sends its own requests")]

use std::net::SocketAddr;

use voex_stun::{
    AttributeType, ChannelData, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId,
};

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "secret";
pub(crate) const REALM: &str = "example.org";

/// One client with long-term credentials.
pub(crate) struct TurnClient {
    user: String,
    nonce: Vec<u8>,
    key: IntegrityKey,
    requests: u32,
}

impl TurnClient {
    /// Makes a client of [`USER`].
    pub(crate) fn new() -> Self {
        Self::of(USER, PASSWORD)
    }

    /// Makes a client of another user of [`REALM`].
    pub(crate) fn of(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            nonce: Vec::new(),
            key: IntegrityKey::long_term(user, REALM, password),
            requests: 0,
        }
    }

    /// Writes an Allocate request: without credentials until [`TurnClient::challenged`] was called.
    pub(crate) fn allocate(&mut self) -> Vec<u8> {
        self.request(Method::ALLOCATE, |message| message.requested_transport_udp())
    }

    /// Writes an Allocate request for an allocation that may move (RFC 8016).
    pub(crate) fn allocate_mobile(&mut self) -> Vec<u8> {
        self.request(Method::ALLOCATE, |message| {
            message
                .requested_transport_udp()
                .attribute(AttributeType::MOBILITY_TICKET, b"")
        })
    }

    /// Writes the Refresh request that takes an allocation to where it is sent from.
    pub(crate) fn resume(&mut self, ticket: &[u8]) -> Vec<u8> {
        self.request(Method::REFRESH, |message| {
            message.attribute(AttributeType::MOBILITY_TICKET, ticket)
        })
    }

    pub(crate) fn allocate_tcp(&mut self) -> Vec<u8> {
        self.request(Method::ALLOCATE, |message| message.requested_transport_tcp())
    }

    pub(crate) fn connect(&mut self, peer: SocketAddr) -> Vec<u8> {
        self.request(Method::CONNECT, |message| message.xor_peer_address(peer))
    }

    pub(crate) fn connection_bind(&mut self, id: u32) -> Vec<u8> {
        self.request(Method::CONNECTION_BIND, |message| message.connection_id(id))
    }

    /// Takes the nonce out of a 401, or of a 438.
    pub(crate) fn challenged(&mut self, answer: &[u8]) {
        let answer = Message::parse(answer).expect("the answer is a STUN message");
        let code = answer.error_code().unwrap().map(|code| code.number());
        assert!(matches!(code, Some(401 | 438)), "{code:?}");
        self.nonce = answer.nonce().unwrap().expect("a 401 has a nonce").to_vec();
    }

    pub(crate) fn create_permission(&mut self, peer: SocketAddr) -> Vec<u8> {
        self.request(Method::CREATE_PERMISSION, |message| message.xor_peer_address(peer))
    }

    pub(crate) fn channel_bind(&mut self, channel: u16, peer: SocketAddr) -> Vec<u8> {
        let channel = ChannelNumber::new(channel).expect("a channel number");
        self.request(Method::CHANNEL_BIND, |message| {
            message.channel_number(channel).xor_peer_address(peer)
        })
    }

    pub(crate) fn refresh(&mut self) -> Vec<u8> {
        self.request(Method::REFRESH, |message| message.lifetime_s(600))
    }

    pub(crate) fn release(&mut self) -> Vec<u8> {
        self.request(Method::REFRESH, |message| message.lifetime_s(0))
    }

    fn request(&mut self, method: Method, fill: impl FnOnce(MessageWriter<'_>) -> MessageWriter<'_>) -> Vec<u8> {
        self.requests += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.requests.to_be_bytes());
        let mut room = [0; 512];
        let mut message = fill(MessageWriter::new(&mut room, Class::Request, method, TransactionId(id)));
        if !self.nonce.is_empty() {
            message = message
                .username(&self.user)
                .realm(REALM)
                .nonce(&self.nonce)
                .message_integrity(&self.key);
        }
        let len = message.finish().expect("a request fits");
        room[..len].to_vec()
    }
}

/// Reads the relayed transport address out of an Allocate success.
pub(crate) fn relayed_address(answer: &[u8]) -> SocketAddr {
    success(answer)
        .xor_relayed_address()
        .unwrap()
        .expect("an Allocate success names the relay")
}

/// Reads the ticket out of a success.
pub(crate) fn ticket(answer: &[u8]) -> Vec<u8> {
    success(answer).mobility_ticket().expect("a ticket").to_vec()
}

/// Insists on a success response.
pub(crate) fn success(answer: &[u8]) -> Message<'_> {
    let message = Message::parse(answer).expect("the answer is a STUN message");
    assert_eq!(message.class(), Class::Success, "{:?}", message.error_code());
    message
}

pub(crate) fn channel_data(channel: u16, payload: &[u8]) -> Vec<u8> {
    let channel = ChannelNumber::new(channel).expect("a channel number");
    [&ChannelData::header(channel, payload.len()).unwrap()[..], payload].concat()
}

pub(crate) fn send_indication(peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut room = vec![0; payload.len() + 64];
    let message = MessageWriter::new(&mut room, Class::Indication, Method::SEND, TransactionId([9; 12]));
    let len = message
        .xor_peer_address(peer)
        .data(payload)
        .finish()
        .expect("an indication fits");
    room.truncate(len);
    room
}

/// Splits ChannelData into channel and payload.
pub(crate) fn read_channel_data(packet: &[u8]) -> (u16, &[u8]) {
    let data = ChannelData::parse(packet).expect("ChannelData");
    (data.channel.number(), data.payload)
}

/// Splits a Data indication into peer and payload.
pub(crate) fn read_data_indication(packet: &[u8]) -> (SocketAddr, Vec<u8>) {
    let message = Message::parse(packet).expect("a STUN message");
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    let peer = message
        .xor_peer_address()
        .unwrap()
        .expect("a Data indication names the peer");
    (peer, message.data().expect("a Data indication has data").to_vec())
}
