//! The remote's SCTP and DCEP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppi, ReliabilityType, StreamEvent,
};

/// A client of SCTP, as a browser is one.
pub struct Sctp {
    endpoint: Endpoint,
    handle: AssociationHandle,
    pub association: Association,
    waiting: Vec<Bytes>,
    /// Whole messages, with stream and payload protocol.
    pub received: Vec<(u16, Ppi, Vec<u8>)>,
    pub is_connected: bool,
    pub is_lost: bool,
    pub finished: Vec<u16>,
    /// Common header of the last packet that was polled, checksum included.
    pub header: Vec<u8>,
    /// Number of the first DATA chunk in the last packet that begins with one.
    pub last_tsn: u32,
}

fn nowhere() -> SocketAddr {
    super::address("192.0.2.1:5000")
}

impl Default for Sctp {
    fn default() -> Self {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::new()), None);
        let (handle, association) = endpoint.connect(ClientConfig::new(), nowhere()).unwrap();
        Self {
            endpoint,
            handle,
            association,
            waiting: Vec::new(),
            received: Vec::new(),
            is_connected: false,
            is_lost: false,
            finished: Vec::new(),
            header: Vec::new(),
            last_tsn: 0,
        }
    }
}

impl Sctp {
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let packet = Bytes::copy_from_slice(packet);
        if let Some((handle, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, nowhere(), None, None, packet)
        {
            assert_eq!(handle, self.handle);
            self.association.handle_event(event);
        }
        self.follow();
    }

    fn follow(&mut self) {
        while let Some(event) = self.association.poll() {
            match event {
                Event::Connected => self.is_connected = true,
                Event::AssociationLost { .. } => self.is_lost = true,
                Event::Stream(StreamEvent::Finished { id }) => self.finished.push(id),
                Event::Stream(StreamEvent::Readable { id }) => self.read(id),
                _ => {}
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

    pub fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        if self.waiting.is_empty()
            && let Payload::RawEncode(packets) = self.association.poll_transmit(now)?.payload
        {
            self.waiting = packets;
        }
        let packet = (!self.waiting.is_empty()).then(|| self.waiting.remove(0))?;
        self.header = packet[..12].to_vec();
        if packet[12] == 0 {
            self.last_tsn = u32::from_be_bytes(packet[16..20].try_into().unwrap());
        }
        Some(packet)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.association.handle_timeout(now);
            self.follow();
        }
    }

    /// Opens a channel: `kind` and `parameter` are those of DATA_CHANNEL_OPEN.
    pub fn open(&mut self, id: u16, kind: u8, parameter: u32, label: &str) {
        let mut open = vec![3, kind, 0, 0];
        open.extend(parameter.to_be_bytes());
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

    pub fn set_unreliable(&mut self, id: u16, times: u32) {
        let mut stream = self.association.stream(id).unwrap();
        stream
            .set_reliability_params(true, ReliabilityType::Rexmit, times)
            .unwrap();
    }

    pub fn close(&mut self, id: u16) {
        self.association.stream(id).unwrap().close().unwrap();
    }

    /// Messages of a kind, DCEP left out.
    pub fn messages(&self, ppi: Ppi) -> Vec<&[u8]> {
        let of_kind = self.received.iter().filter(|(_, kind, _)| *kind == ppi);
        of_kind.map(|(.., message)| message.as_slice()).collect()
    }
}

/// A packet of these chunks, its checksum made good.
pub fn packet(header: &[u8], chunks: &[u8]) -> Vec<u8> {
    let mut packet = header[..8].to_vec();
    packet.extend([0; 4]);
    packet.extend(chunks);
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// A DATA chunk: a whole message of one byte, without order.
pub fn data_chunk(tsn: u32, stream: u16) -> Vec<u8> {
    let mut chunk = vec![0, 0b111, 0, 17];
    chunk.extend(tsn.to_be_bytes());
    chunk.extend(stream.to_be_bytes());
    chunk.extend([0, 0, 0, 0, 0, 53, b'x', 0, 0, 0]);
    chunk
}

/// CRC-32C bit by bit (RFC 9260 appendix A): so that packets reach what stands behind the check.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
    let add = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, add)
}
