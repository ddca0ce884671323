//! What the fuzz target does with its bytes; kept here so that `cargo test` replays the corpus.

use crate::extension::{self, Form};
use crate::payload::{av1, event, h264, h265, vp8, vp9};
use crate::rtcp::{Compound, Packet as Rtcp, Writer};
use crate::{Packet, is_rtcp, rtx};

/// Reads `data` in every way this crate can and writes what it read; panics when a reader and a writer disagree.
pub fn run(data: &[u8]) {
    if is_rtcp(data) {
        read_rtcp(data)
    } else {
        read_rtp(data)
    }
    payloads(data);
}

fn read_rtp(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    assert_eq!(
        packet.header_len() + packet.payload().len() + packet.padding_len(),
        data.len()
    );
    packet.csrcs().for_each(drop);
    let mut buf = [0; 512];
    let mut writer = extension::Writer::new(&mut buf, Form::TwoByte);
    let kept: Vec<_> = packet
        .elements()
        .take_while(|(id, content)| writer.push(*id, content).is_ok())
        .collect();
    let Ok(length) = writer.finish() else { return };
    if length > 0 {
        let again = extension::Elements::new(Some(Form::TwoByte), &buf[4..length]);
        assert!(again.eq(kept));
    }
    payloads(packet.payload());
}

fn payloads(payload: &[u8]) {
    let _ = (vp8::starts_key_frame(payload), vp9::starts_key_frame(payload));
    descriptors(payload);
    let _ = (h264::starts_key_frame(payload), h265::starts_key_frame(payload));
    let _ = (av1::starts_key_frame(payload), rtx::unwrap(payload));
    if let Ok(event) = event::TelephoneEvent::parse(payload) {
        assert_eq!(event::TelephoneEvent::parse(&event.to_bytes()), Ok(event));
    }
}

/// What is told by offset stands where it is said to stand.
fn descriptors(payload: &[u8]) {
    let vp8 = vp8::Descriptor::parse(payload);
    let vp8 = vp8.map(|descriptor| (descriptor.length, descriptor.picture_id, descriptor.tl0_picture_index));
    let vp9 = vp9::Descriptor::parse(payload);
    let vp9 = vp9.map(|descriptor| (descriptor.length, descriptor.picture_id, descriptor.tl0_picture_index));
    for (length, picture_id, index) in [vp8, vp9].into_iter().flatten() {
        assert!(length <= payload.len());
        if let Some(id) = picture_id {
            let mut again = payload.to_vec();
            id.write(&mut again, id.value);
            assert_eq!(again, payload);
        }
        assert!(index.is_none_or(|(at, value)| payload[at] == value && at < length));
    }
}

fn read_rtcp(data: &[u8]) {
    let Ok(compound) = Compound::parse(data) else { return };
    let mut buf = [0; 2048];
    let mut writer = Writer::new(&mut buf);
    for packet in compound.packets().flatten() {
        match packet {
            Rtcp::SenderReport(info, reports) => {
                let blocks: Vec<_> = reports.collect();
                let _ = writer.sender_report(info, &blocks);
            }
            Rtcp::ReceiverReport(ssrc, reports) => {
                let blocks: Vec<_> = reports.collect();
                let _ = writer.receiver_report(ssrc, &blocks);
            }
            Rtcp::Nack(nacks) => {
                let pairs = crate::rtcp::nack_pairs(nacks.sequence_numbers());
                let _ = writer.nack(nacks.sender_ssrc, nacks.media_ssrc, pairs);
            }
            Rtcp::Remb(remb) => {
                let ssrcs: Vec<_> = remb.ssrcs().collect();
                let _ = writer.remb(1, remb.bitrate, &ssrcs);
            }
            Rtcp::TransportFeedback(feedback) => {
                let Ok(arrivals) = feedback.arrivals() else { continue };
                let _ = writer.transport_feedback(feedback.header, arrivals.map(|(_, delta)| delta));
            }
            Rtcp::Bye(sources) => sources.for_each(|ssrc| writer.bye(ssrc).unwrap_or(())),
            Rtcp::FullIntra(requests) => requests.for_each(drop),
            Rtcp::PictureLoss { .. } | Rtcp::SourceDescription | Rtcp::Other { .. } => {}
        }
    }
    let length = writer.len();
    if length > 0 {
        assert!(Compound::parse(&buf[..length]).is_ok(), "what we write we can read");
    }
}
