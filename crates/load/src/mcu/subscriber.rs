//! Who receives: judges streams, and tells the server of them as a browser does.

use voex_base::Rng;
use voex_rtp::rtcp::{self, Compound, TwccHeader, nack_pairs};
use voex_rtp::{Packet, Unwrapper};
use voex_sdp::{Description, Media};

use super::connection::{Connection, PACKET_BYTES_MAX};
use super::inflow::Inflow;
use super::publisher::Loss;
use super::sdp::{self, uri};
use super::tally::Tally;

/// Packets of one message of transport feedback.
const FEEDBACK_PACKETS_MAX: usize = 1_000;
/// Unit of arrival times in transport feedback, and of its reference time.
const DELTA_NS: u64 = 250_000;
const REFERENCE_NS: u64 = 64_000_000;
/// A receiver that sees packets but no key frame asks for one, not more often than this.
const KEY_FRAME_PATIENCE_NS: u64 = 1_000_000_000;

/// Media that one participant receives.
pub(crate) struct Subscriber {
    pub(crate) inflows: Vec<Inflow>,
    ssrc: u32,
    transport: Option<Transport>,
    pub(crate) loss: Loss,
}

/// Arrivals that the server has not been told of.
struct Transport {
    extension: u8,
    numbers: Unwrapper,
    arrivals: Vec<(u64, u64)>,
    count: u8,
}

impl Subscriber {
    /// Receives nothing yet.
    pub(crate) fn new(loss: f64, rng: &mut Rng) -> Self {
        Self {
            inflows: Vec::new(),
            ssrc: rng.u32(),
            transport: None,
            loss: Loss::new(loss, rng.split()),
        }
    }

    /// Takes the server's offer. `flows` gives the flows that may come in a medium: by its index and whether it is audio.
    pub(crate) fn expect(
        &mut self,
        offer: &Description,
        audio_bytes: Option<usize>,
        flows: impl Fn(usize, bool) -> Option<std::ops::Range<u32>>,
    ) {
        for (index, media) in offer.media.iter().enumerate().filter(|(_, media)| !media.is_rejected()) {
            let Some(is_audio) = sdp::is_audio(media) else { continue };
            let (Some((ssrc, rtx)), Some(flows)) = (media.first_ssrc(), flows(index, is_audio)) else {
                continue;
            };
            self.inflows
                .push(Inflow::new(ssrc, rtx, flows, audio_bytes.filter(|_| is_audio)));
            if let Some(extension) = transport_extension(media) {
                self.transport.get_or_insert_with(|| Transport::new(extension));
            }
        }
    }

    /// Tells whether the server wants transport feedback.
    pub(crate) fn gives_transport_feedback(&self) -> bool {
        self.transport.is_some()
    }

    /// When every stream had brought something, and every video a key frame; `None` before that.
    pub(crate) fn begun_ns(&self) -> Option<(u64, u64)> {
        let first = |inflow: &Inflow| inflow.first_ns;
        let frame = |inflow: &Inflow| {
            if inflow.is_audio() {
                inflow.first_ns
            } else {
                inflow.key_frame_ns
            }
        };
        let latest = |of: &dyn Fn(&Inflow) -> Option<u64>| {
            let times: Option<Vec<u64>> = self.inflows.iter().map(of).collect();
            times?.into_iter().max()
        };
        Some((latest(&first)?, latest(&frame)?))
    }

    /// Judges an RTP packet.
    pub(crate) fn handle_rtp(&mut self, packet: &[u8], now_ns: u64, sent: &[u64], tally: &mut Tally) {
        let Ok(packet) = Packet::parse(packet) else {
            tally.faults.foreign += 1;
            return;
        };
        let ssrc = packet.ssrc();
        let mut inflows = self.inflows.iter_mut();
        let Some(inflow) = inflows.find(|inflow| inflow.ssrc == ssrc || inflow.rtx_ssrc == Some(ssrc)) else {
            tally.faults.foreign += 1;
            return;
        };
        let may_be_lost = !inflow.is_audio() && inflow.key_frame_ns.is_some();
        if may_be_lost && self.loss.strikes() {
            tally.thrown_away += 1;
            return;
        }
        if let Some(transport) = &mut self.transport {
            transport.note(&packet, now_ns);
        }
        if inflow.ssrc == ssrc {
            inflow.take(&packet, now_ns, sent, tally);
        } else {
            inflow.take_repair(packet.payload(), now_ns, sent, tally);
        }
    }

    /// Hears what the server reports.
    pub(crate) fn handle_rtcp(&mut self, packet: &[u8], now_ns: u64, tally: &mut Tally) {
        let Ok(compound) = Compound::parse(packet) else {
            tally.faults.foreign += 1;
            return;
        };
        for packet in compound.packets().flatten() {
            if let rtcp::Packet::SenderReport(info, _) = packet {
                tally.sender_reports += 1;
                let inflow = self.inflows.iter_mut().find(|inflow| inflow.ssrc == info.ssrc);
                if let Some(inflow) = inflow {
                    inflow.note_report(&info, now_ns);
                }
            }
        }
    }

    /// Asks for what is missing, and tells of arrivals.
    pub(crate) fn feed_back(&mut self, connection: &mut Connection, now_ns: u64, tally: &mut Tally) {
        let mut buf = [0; PACKET_BYTES_MAX];
        let mut writer = rtcp::Writer::new(&mut buf[..1_200]);
        for inflow in &mut self.inflows {
            let due = inflow.ask_again(now_ns);
            if !due.is_empty() {
                tally.asked_again += due.len() as u64;
                let _ = writer.nack(self.ssrc, inflow.ssrc, nack_pairs(due.into_iter()));
            }
        }
        if let (Some(transport), Some(inflow)) = (&mut self.transport, self.inflows.first()) {
            let told = transport.write(&mut writer, self.ssrc, inflow.ssrc);
            tally.feedback_sent += u64::from(told);
        }
        let len = writer.len();
        if len > 0 {
            connection.send_rtcp(&mut buf, len);
        }
    }

    /// Reports on every stream, and asks for key frames that do not come.
    pub(crate) fn report(&mut self, connection: &mut Connection, now_ns: u64, tally: &mut Tally) {
        for inflows in self.inflows.chunks_mut(31) {
            let mut buf = [0; PACKET_BYTES_MAX];
            let mut writer = rtcp::Writer::new(&mut buf[..1_200]);
            let blocks: Vec<_> = inflows.iter_mut().filter_map(|inflow| inflow.block(now_ns)).collect();
            let _ = writer.receiver_report(self.ssrc, &blocks);
            let _ = writer.source_descriptions(std::iter::once((self.ssrc, "load")));
            for inflow in inflows.iter().filter(|inflow| is_waiting(inflow, now_ns)) {
                tally.asked_key_frames += 1;
                let _ = writer.picture_loss(self.ssrc, inflow.ssrc);
            }
            let len = writer.len();
            connection.send_rtcp(&mut buf, len);
        }
    }
}

fn is_waiting(inflow: &Inflow, now_ns: u64) -> bool {
    let waits = inflow
        .first_ns
        .is_some_and(|first| now_ns - first > KEY_FRAME_PATIENCE_NS);
    !inflow.is_audio() && inflow.key_frame_ns.is_none() && waits
}

/// Gives the extension that numbers packets, where feedback on it was offered.
fn transport_extension(media: &Media) -> Option<u8> {
    let mut feedback = media.payloads.iter().flat_map(|payload| &payload.rtcp_fb);
    feedback.find(|feedback| *feedback == "transport-cc")?;
    sdp::extension(media, uri::TRANSPORT_CC)
}

impl Transport {
    fn new(extension: u8) -> Self {
        Self {
            extension,
            numbers: Unwrapper::default(),
            arrivals: Vec::with_capacity(64),
            count: 0,
        }
    }

    fn note(&mut self, packet: &Packet<'_>, now_ns: u64) {
        let mut elements = packet.elements();
        let Some((_, &[high, low])) = elements.find(|(id, content)| *id == self.extension && content.len() == 2) else {
            return;
        };
        let number = self.numbers.unwrap(u16::from_be_bytes([high, low]));
        if self.arrivals.len() < FEEDBACK_PACKETS_MAX {
            self.arrivals.push((number, now_ns));
        }
    }

    /// Writes what arrived since the last message; gives whether there was something.
    fn write(&mut self, writer: &mut rtcp::Writer<'_>, sender_ssrc: u32, media_ssrc: u32) -> bool {
        self.arrivals.sort_unstable();
        let (Some(&(base, first_ns)), Some(&(last, _))) = (self.arrivals.first(), self.arrivals.last()) else {
            return false;
        };
        let reference = first_ns / REFERENCE_NS;
        let header = TwccHeader {
            sender_ssrc,
            media_ssrc,
            base_sequence: base as u16,
            reference_time: reference as u32 & 0x00ff_ffff,
            feedback_count: self.count,
        };
        let span = ((last - base) as usize + 1).min(FEEDBACK_PACKETS_MAX);
        let mut deltas = vec![None; span];
        let mut before = (reference * REFERENCE_NS / DELTA_NS) as i64;
        for &(number, at_ns) in &self.arrivals {
            let at = (at_ns / DELTA_NS) as i64;
            if let Some(delta) = deltas.get_mut((number - base) as usize) {
                *delta = i16::try_from(at - before).ok();
                before = at;
            }
        }
        self.arrivals.clear();
        self.count = self.count.wrapping_add(1);
        writer.transport_feedback(header, deltas.into_iter()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_feedback_tells_what_arrived_when() {
        let mut transport = Transport::new(3);
        // 5 arrived after 6, 7 not at all.
        transport.arrivals = vec![(6, 64_000_000), (5, 64_500_000), (8, 65_000_000)];
        let mut buf = [0; 200];
        let mut writer = rtcp::Writer::new(&mut buf);
        assert!(transport.write(&mut writer, 1, 2));
        let len = writer.len();
        let compound = Compound::parse(&buf[..len]).unwrap();
        let Some(Ok(rtcp::Packet::TransportFeedback(feedback))) = compound.packets().next() else {
            panic!("feedback was written");
        };
        assert_eq!((feedback.header.base_sequence, feedback.header.reference_time), (5, 1));
        let arrivals: Vec<_> = feedback.arrivals().unwrap().collect();
        assert_eq!(arrivals, [(5, Some(2)), (6, Some(-2)), (7, None), (8, Some(4))]);
        let mut writer = rtcp::Writer::new(&mut buf);
        assert!(!transport.write(&mut writer, 1, 2), "all was told");
    }
}
