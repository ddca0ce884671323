//! What holds for every input.

use proptest::prelude::*;
use voex_rtp::extension::{Elements, Form, Writer};
use voex_rtp::rtcp::{self, Compound, TwccHeader};
use voex_rtp::{FixedHeader, Packet, Unwrapper};

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        voex_rtp::fuzz::run(&data);
    }

    #[test]
    fn no_rtcp_bodies_make_a_reader_panic(
        kind in 200_u8..208,
        count in 0_u8..32,
        words in prop::collection::vec(any::<u32>(), 0..40),
    ) {
        let mut data = vec![0x80 | count, kind];
        data.extend((words.len() as u16).to_be_bytes());
        words.iter().for_each(|word| data.extend(word.to_be_bytes()));
        voex_rtp::fuzz::run(&data);
    }

    #[test]
    fn a_packet_reads_back_what_was_written(
        marker: bool, payload_type in 0_u8..128, sequence_number: u16, timestamp: u32, ssrc: u32,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let header = FixedHeader { has_extension: false, marker, payload_type, sequence_number, timestamp, ssrc };
        let data = [&header.to_bytes()[..], &payload].concat();
        let packet = Packet::parse(&data).unwrap();
        let read = FixedHeader {
            has_extension: packet.extension().is_some(),
            marker: packet.marker(),
            payload_type: packet.payload_type(),
            sequence_number: packet.sequence_number(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
        };
        prop_assert_eq!(read, header);
        prop_assert_eq!(packet.payload(), &payload[..]);
    }

    #[test]
    fn one_byte_elements_read_back(
        elements in prop::collection::vec((1_u8..15, prop::collection::vec(any::<u8>(), 1..17)), 0..8),
    ) {
        let mut buf = [0xee; 256];
        let mut writer = Writer::new(&mut buf, Form::OneByte);
        for (id, content) in &elements {
            writer.push(*id, content).unwrap();
        }
        let length = writer.finish().unwrap();
        prop_assert_eq!(length % 4, 0);
        let content = if length == 0 { &[][..] } else { &buf[4..length] };
        let read: Vec<_> = Elements::new(Some(Form::OneByte), content).map(|(id, c)| (id, c.to_vec())).collect();
        prop_assert_eq!(read, elements);
    }

    #[test]
    fn transport_feedback_reads_back(
        deltas in prop::collection::vec(prop::option::of(any::<i16>()), 1..200),
        base_sequence: u16,
    ) {
        let header = TwccHeader { sender_ssrc: 1, media_ssrc: 2, base_sequence, reference_time: 3, feedback_count: 4 };
        let mut buf = [0xee; 1024];
        let mut writer = rtcp::Writer::new(&mut buf);
        writer.transport_feedback(header, deltas.iter().copied()).unwrap();
        let length = writer.len();
        let compound = Compound::parse(&buf[..length]).unwrap();
        let Some(Ok(rtcp::Packet::TransportFeedback(feedback))) = compound.packets().next() else {
            return Err(TestCaseError::fail("no feedback"));
        };
        let read: Vec<_> = feedback.arrivals().unwrap().map(|(_, delta)| delta).collect();
        prop_assert_eq!(read, deltas);
    }

    #[test]
    fn unwrapped_numbers_follow_the_truth(start: u16, steps in prop::collection::vec(-500_i64..1500, 1..200)) {
        let mut unwrapper = Unwrapper::default();
        let base = unwrapper.unwrap(start);
        let mut newest = base;
        for step in steps {
            let truth = newest.saturating_add_signed(step).max(base);
            prop_assert_eq!(unwrapper.unwrap(truth as u16), truth);
            newest = newest.max(truth);
        }
    }
}
