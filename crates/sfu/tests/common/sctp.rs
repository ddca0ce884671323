//! What a browser's data channels are to a shard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppi, StreamEvent,
};

pub struct Sctp {
    endpoint: Endpoint,
    association: Association,
    /// Whole messages with their stream.
    pub received: Vec<(u16, Ppi, Vec<u8>)>,
}

fn nowhere() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

impl Sctp {
    pub fn new() -> Self {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::new()), None);
        let (_, association) = endpoint.connect(ClientConfig::new(), nowhere()).unwrap();
        Self {
            endpoint,
            association,
            received: Vec::new(),
        }
    }

    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let packet = Bytes::copy_from_slice(packet);
        if let Some((_, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, nowhere(), None, None, packet)
        {
            self.association.handle_event(event);
        }
        while let Some(event) = self.association.poll() {
            if let Event::Stream(StreamEvent::Readable { id }) = event {
                self.read(id);
            }
        }
    }

    fn read(&mut self, id: u16) {
        while let Ok(Some(chunks)) = self.association.stream(id).and_then(|mut stream| stream.read_sctp()) {
            let mut message = vec![0; chunks.len()];
            chunks.read(&mut message).unwrap();
            self.received.push((id, chunks.ppi, message));
        }
    }

    pub fn packets(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.association.poll_transmit(now) {
            if let Payload::RawEncode(encoded) = transmit.payload {
                packets.extend(encoded.iter().map(|packet| packet.to_vec()));
            }
        }
        packets
    }

    pub fn open(&mut self, id: u16, label: &str) {
        let mut open = vec![3, 0, 0, 0, 0, 0, 0, 0];
        open.extend((label.len() as u16).to_be_bytes());
        open.extend([0, 0]);
        open.extend(label.as_bytes());
        let mut stream = self.association.open_stream(id, Ppi::Binary).unwrap();
        stream.write_with_ppi(&open, Ppi::Dcep).unwrap();
    }

    pub fn send(&mut self, id: u16, ppi: Ppi, message: &[u8]) {
        let mut stream = self.association.stream(id).unwrap();
        stream.write_with_ppi(message, ppi).unwrap();
    }

    /// What came but for DCEP, since the last call.
    pub fn heard(&mut self) -> Vec<(Ppi, Vec<u8>)> {
        let received = std::mem::take(&mut self.received).into_iter();
        received
            .filter(|(_, ppi, _)| *ppi != Ppi::Dcep)
            .map(|(_, ppi, message)| (ppi, message))
            .collect()
    }
}
