//! Protecting and unprotecting one packet, for each profile, at the size of a voice packet and of a video packet.
#![allow(missing_docs)] // criterion's macros make public items

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voex_base::Label;
use voex_transport::PROTECT_OVERHEAD_BYTES;
use voex_transport::srtp::{Inbound, MasterKey, Outbound, Profile};

/// Sizes of the plain packet in bytes.
const SIZES: [usize; 2] = [80, 1_200];

/// Packets unprotected in one measured run; replay protection takes each once.
const RUN: usize = 1_000;

fn master(profile: Profile) -> MasterKey {
    let key = vec![7; profile.key_len()];
    MasterKey::new(profile, &key, &vec![9; profile.salt_len()]).expect("lengths are the profile's")
}

fn packet(sequence_number: u16, size: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; size + PROTECT_OVERHEAD_BYTES];
    packet[..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    packet
}

fn protect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("srtp_protect");
    for &profile in Profile::ALL {
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let mut outbound = Outbound::new(&master(profile));
            let mut buf = packet(0, size);
            let mut sequence_number = 0u16;
            group.bench_function(BenchmarkId::new(profile.name(), size), |bencher| {
                bencher.iter(|| {
                    sequence_number = sequence_number.wrapping_add(1);
                    buf[..2].copy_from_slice(&[0x80, 96]);
                    buf[2..4].copy_from_slice(&sequence_number.to_be_bytes());
                    outbound.protect_rtp(&mut buf, size)
                });
            });
        }
    }
    group.finish();
}

fn unprotect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("srtp_unprotect_run_of_1000");
    for &profile in Profile::ALL {
        for size in SIZES {
            group.throughput(Throughput::Elements(RUN as u64));
            let mut outbound = Outbound::new(&master(profile));
            let sealed: Vec<Vec<u8>> = (0..RUN)
                .map(|number| {
                    let mut buf = packet(number as u16, size);
                    let len = outbound.protect_rtp(&mut buf, size).expect("a new sequence number");
                    buf.truncate(len);
                    buf
                })
                .collect();
            group.bench_function(BenchmarkId::new(profile.name(), size), |bencher| {
                bencher.iter_batched_ref(
                    || (Inbound::new(&master(profile)), sealed.clone()),
                    |(inbound, packets)| {
                        let taken = |packet: &mut Vec<u8>| usize::from(inbound.unprotect_rtp(packet).is_ok());
                        packets.iter_mut().map(taken).sum::<usize>()
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, protect, unprotect);
criterion_main!(benches);
