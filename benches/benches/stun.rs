//! Reading and writing STUN and ChannelData.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use voex_stun::{ChannelData, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId};

const ID: TransactionId = TransactionId([5; 12]);

fn main_benches(criterion: &mut Criterion) {
    let key = IntegrityKey::new(b"VOkJxbRl1RmTxUk/WvJxBt");
    let mut room = [0; 512];
    let len = connectivity_check(&mut room, &key);
    let check = &room[..len];
    criterion.bench_function("stun_parse_connectivity_check", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(check)).expect("well formed");
            (message.username(), message.priority(), message.use_candidate())
        });
    });
    criterion.bench_function("stun_check_integrity", |bencher| {
        let message = Message::parse(check).expect("well formed");
        bencher.iter(|| black_box(&message).check_integrity(&key).expect("the key fits"));
    });
    criterion.bench_function("stun_check_fingerprint", |bencher| {
        let message = Message::parse(check).expect("well formed");
        bencher.iter(|| black_box(&message).fingerprint_fits());
    });
    criterion.bench_function("stun_write_binding_success", |bencher| {
        let (mut out, address) = ([0; 256], "192.0.2.1:7000".parse().expect("an address"));
        bencher.iter(|| {
            MessageWriter::new(black_box(&mut out), Class::Success, Method::BINDING, ID)
                .xor_mapped_address(address)
                .message_integrity(&key)
                .fingerprint()
                .finish()
        });
    });
    criterion.bench_function("stun_parse_channel_data_1200B", |bencher| {
        let channel = ChannelNumber::new(0x4001).expect("a channel number");
        let mut datagram = [0; 1_204];
        ChannelData {
            channel,
            payload: &[7; 1_200],
        }
        .write(&mut datagram)
        .expect("it fits");
        bencher.iter(|| ChannelData::parse(black_box(&datagram)).expect("well formed").channel);
    });
}

fn connectivity_check(room: &mut [u8], key: &IntegrityKey) -> usize {
    MessageWriter::new(room, Class::Request, Method::BINDING, ID)
        .username("evtj:h6vY")
        .priority(0x6e00_01ff)
        .ice_controlling(0x932f_f9b1_5126_3b36)
        .use_candidate()
        .message_integrity(key)
        .fingerprint()
        .finish()
        .expect("it fits")
}

criterion_group!(benches, main_benches);
criterion_main!(benches);
