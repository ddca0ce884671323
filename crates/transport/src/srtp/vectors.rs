//! Vectors of RFC 7714 §16 and §17 (session keys given), and round trips over every profile.

use voex_base::Rng;

use super::keys::SessionKeys;
use super::*;

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const RTP: &str =
    "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
const RTCP: &str =
    "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
const RTCP_INDEX: u32 = 0x5d4;

fn rfc_7714_keys(profile: Profile) -> SessionKeys {
    let mut keys = SessionKeys {
        profile,
        key: std::array::from_fn(|i| i as u8),
        auth: [0; 20],
        salt: [0; 14],
    };
    keys.salt[..12].copy_from_slice(b"Quid pro quo");
    keys
}

fn rfc_7714_pair(profile: Profile) -> (Outbound, Inbound) {
    let keys = rfc_7714_keys(profile);
    (
        Outbound::with_ciphers(profile, keys.rtp(), keys.rtcp()),
        Inbound::with_ciphers(profile, keys.rtp(), keys.rtcp()),
    )
}

fn with_room(packet: &[u8]) -> Vec<u8> {
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + PROTECT_OVERHEAD_BYTES, 0xcc);
    buf
}

fn protect_rtp(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut buf = with_room(packet);
    let len = outbound.protect_rtp(&mut buf, packet.len()).unwrap();
    buf.truncate(len);
    buf
}

fn protect_rtcp(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut buf = with_room(packet);
    let len = outbound.protect_rtcp(&mut buf, packet.len()).unwrap();
    buf.truncate(len);
    buf
}

fn unprotect_rtp(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, UnprotectError> {
    let mut packet = packet.to_vec();
    let len = inbound.unprotect_rtp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

fn unprotect_rtcp(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, UnprotectError> {
    let mut packet = packet.to_vec();
    let len = inbound.unprotect_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

#[test]
fn srtp_gcm_is_that_of_rfc_7714_section_16() {
    for (profile, sealed) in [
        (
            Profile::AeadAes128Gcm,
            concat!(
                "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
                "899d7f27beb16a9152cf765ee4390cce"
            ),
        ),
        (
            Profile::AeadAes256Gcm,
            concat!(
                "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b",
                "7aa3db36dfffd6b0f9bb7878d7a76c13"
            ),
        ),
    ] {
        let (mut outbound, mut inbound) = rfc_7714_pair(profile);
        assert_eq!(protect_rtp(&mut outbound, &hex(RTP)), hex(sealed), "{profile:?}");
        assert_eq!(unprotect_rtp(&mut inbound, &hex(sealed)), Ok(hex(RTP)), "{profile:?}");
    }
}

#[test]
fn srtcp_gcm_is_that_of_rfc_7714_section_17() {
    for (profile, sealed) in [
        (
            Profile::AeadAes128Gcm,
            concat!(
                "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9",
                "275bc84aa45896cf4d2fc5abf87245d9eade800005d4"
            ),
        ),
        (
            Profile::AeadAes256Gcm,
            concat!(
                "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b",
                "6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4"
            ),
        ),
    ] {
        let (mut outbound, mut inbound) = rfc_7714_pair(profile);
        outbound.set_rtcp_index(RTCP_INDEX - 1);
        assert_eq!(protect_rtcp(&mut outbound, &hex(RTCP)), hex(sealed), "{profile:?}");
        assert_eq!(unprotect_rtcp(&mut inbound, &hex(sealed)), Ok(hex(RTCP)), "{profile:?}");
    }
}

#[test]
fn srtcp_that_is_only_authenticated_is_accepted_as_in_rfc_7714_section_17_3() {
    let (_, mut inbound) = rfc_7714_pair(Profile::AeadAes128Gcm);
    let tagged = hex(&format!("{RTCP}841dd9683dd78ec92ae58790125f62b3000005d4"));
    let mut forged = tagged.clone();
    forged[20] ^= 1;
    assert_eq!(unprotect_rtcp(&mut inbound, &forged), Err(UnprotectError::NotAuthentic));
    assert_eq!(unprotect_rtcp(&mut inbound, &tagged), Ok(hex(RTCP)));
    assert_eq!(unprotect_rtcp(&mut inbound, &tagged), Err(UnprotectError::Replayed));
}

/// Reference packets that libsrtp's own driver checks, under the master key of RFC 3711 appendix B.3.
#[test]
fn counter_mode_packets_are_those_of_another_implementation() {
    let master = MasterKey::new(
        Profile::Aes128CmSha1_80,
        &hex("e1f97a0d3e018be0d64fa32c06de4139"),
        &hex("0ec675ad498afeebb6960b3aabe6"),
    )
    .unwrap();
    let rtp = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let srtp = hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    let rtcp = hex("81c8000bcafebabeabababababababababababababababab");
    let srtcp = hex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798");
    let (mut outbound, mut inbound) = (Outbound::new(&master), Inbound::new(&master));
    assert_eq!(protect_rtp(&mut outbound, &rtp), srtp);
    assert_eq!(protect_rtcp(&mut outbound, &rtcp), srtcp);
    assert_eq!(unprotect_rtp(&mut inbound, &srtp), Ok(rtp));
    assert_eq!(unprotect_rtcp(&mut inbound, &srtcp), Ok(rtcp));
}

/// As above for GCM: this one goes through the key derivation, which RFC 7714 has no vector for.
#[test]
fn gcm_keys_are_derived_as_another_implementation_does() {
    let master = MasterKey::new(
        Profile::AeadAes128Gcm,
        &hex("000102030405060708090a0b0c0d0e0f"),
        &hex("a0a1a2a3a4a5a6a7a8a9aaab"),
    )
    .unwrap();
    let rtp = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let srtp = hex("800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392");
    assert_eq!(protect_rtp(&mut Outbound::new(&master), &rtp), srtp);
}

fn pair(profile: Profile) -> (Outbound, Inbound) {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let salt: Vec<u8> = (0..profile.salt_len() as u8).map(|b| b ^ 0xa5).collect();
    let master = MasterKey::new(profile, &key, &salt).unwrap();
    (Outbound::new(&master), Inbound::new(&master))
}

fn rtp(ssrc: u32, sequence_number: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend([0, 0, 1, 2]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x81, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(body);
    packet
}

#[test]
fn every_profile_returns_what_it_was_given() {
    let mut rng = Rng::from_number(3);
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        for (sequence_number, len) in [0usize, 1, 15, 16, 17, 80, 1_200].into_iter().enumerate() {
            let mut payload = vec![0; len];
            rng.fill(&mut payload);
            let plain = rtp(7, sequence_number as u16, &payload);
            let sealed = protect_rtp(&mut outbound, &plain);
            assert_eq!(sealed.len(), plain.len() + profile.rtp_overhead());
            assert!(
                len < 8 || !sealed.windows(len).any(|w| w == payload),
                "{profile:?} sent plain text"
            );
            assert_eq!(unprotect_rtp(&mut inbound, &sealed), Ok(plain), "{profile:?} {len}");

            let plain = rtcp(7, &payload);
            let sealed = protect_rtcp(&mut outbound, &plain);
            assert_eq!(unprotect_rtcp(&mut inbound, &sealed), Ok(plain), "{profile:?} {len}");
        }
    }
}

#[test]
fn csrcs_and_header_extension_stay_readable_and_are_authenticated() {
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let mut plain = rtp(9, 5, &[]);
        plain[0] = 0x92;
        plain.extend([1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10, 7, 0, 0, 0xaa, 0xbb]);
        let sealed = protect_rtp(&mut outbound, &plain);
        assert_eq!(sealed[..28], plain[..28]);
        assert_ne!(sealed[28..30], plain[28..30]);
        let mut forged = sealed.clone();
        forged[25] ^= 1;
        assert_eq!(unprotect_rtp(&mut inbound, &forged), Err(UnprotectError::NotAuthentic));
        assert_eq!(unprotect_rtp(&mut inbound, &sealed), Ok(plain));
    }
}

#[test]
fn a_packet_is_accepted_once() {
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let sealed = protect_rtp(&mut outbound, &rtp(1, 10, b"voice"));
        let sealed_rtcp = protect_rtcp(&mut outbound, &rtcp(1, b"report"));
        assert!(unprotect_rtp(&mut inbound, &sealed).is_ok());
        assert!(unprotect_rtcp(&mut inbound, &sealed_rtcp).is_ok());
        assert_eq!(unprotect_rtp(&mut inbound, &sealed), Err(UnprotectError::Replayed));
        assert_eq!(
            unprotect_rtcp(&mut inbound, &sealed_rtcp),
            Err(UnprotectError::Replayed)
        );
    }
}

#[test]
fn a_packet_from_before_the_window_is_too_old() {
    let (mut outbound, mut inbound) = pair(Profile::AeadAes128Gcm);
    let early = protect_rtp(&mut outbound, &rtp(1, 10, b"early"));
    let edge = protect_rtp(&mut outbound, &rtp(1, 11, b"edge"));
    let newest = protect_rtp(&mut outbound, &rtp(1, 11 + 1_023, b"newest"));
    assert!(unprotect_rtp(&mut inbound, &newest).is_ok());
    assert!(unprotect_rtp(&mut inbound, &edge).is_ok());
    assert_eq!(unprotect_rtp(&mut inbound, &early), Err(UnprotectError::TooOld));
}

#[test]
fn rollover_is_counted_on_both_sides_over_three_wraps() {
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        for index in (0..3 * 65_536u32 + 10).step_by(4_000) {
            let plain = rtp(1, index as u16, b"voice");
            let sealed = protect_rtp(&mut outbound, &plain);
            assert_eq!(
                unprotect_rtp(&mut inbound, &sealed),
                Ok(plain),
                "{profile:?} at {index}"
            );
        }
    }
}

#[test]
fn a_packet_late_across_the_rollover_is_accepted() {
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let sent: Vec<_> = [65_533u16, 65_534, 65_535, 0, 1]
            .into_iter()
            .map(|sequence_number| rtp(1, sequence_number, b"voice"))
            .map(|plain| (protect_rtp(&mut outbound, &plain), plain))
            .collect();
        for at in [0, 3, 2, 4, 1] {
            let (sealed, plain) = &sent[at];
            assert_eq!(unprotect_rtp(&mut inbound, sealed).as_ref(), Ok(plain), "{profile:?}");
        }
    }
}

#[test]
fn forged_packets_leave_the_state_unchanged() {
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let first = protect_rtp(&mut outbound, &rtp(1, 100, b"first"));
        let second = protect_rtp(&mut outbound, &rtp(1, 101, b"second"));
        assert!(unprotect_rtp(&mut inbound, &first).is_ok());

        let mut far_ahead = second.clone();
        far_ahead[2..4].copy_from_slice(&30_000u16.to_be_bytes());
        let mut tampered = second.clone();
        *tampered.last_mut().unwrap() ^= 1;
        let mut other_ssrc = second.clone();
        other_ssrc[11] ^= 1;
        for forged in [far_ahead, tampered, other_ssrc] {
            assert_eq!(unprotect_rtp(&mut inbound, &forged), Err(UnprotectError::NotAuthentic));
        }
        assert_eq!(inbound.ssrcs(), 1, "a forged SSRC took a place");
        assert!(
            unprotect_rtp(&mut inbound, &second).is_ok(),
            "a forged sequence number moved the window"
        );
    }
}

#[test]
fn a_sequence_number_is_protected_once() {
    let (mut outbound, _) = pair(Profile::AeadAes128Gcm);
    protect_rtp(&mut outbound, &rtp(1, 10, b"one"));
    let mut again = with_room(&rtp(1, 10, b"two"));
    let untouched = again.clone();
    assert_eq!(outbound.protect_rtp(&mut again, 15), Err(ProtectError::IndexReused));
    assert_eq!(again, untouched);
}

#[test]
fn an_ssrc_too_many_is_refused_when_received() {
    let (mut outbound, mut inbound) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..SSRCS_MAX as u32 {
        let sealed = protect_rtp(&mut outbound, &rtp(ssrc, 1, b"voice"));
        assert!(unprotect_rtp(&mut inbound, &sealed).is_ok());
    }
    let sealed = protect_rtp(&mut outbound, &rtp(SSRCS_MAX as u32, 1, b"voice"));
    assert_eq!(unprotect_rtp(&mut inbound, &sealed), Err(UnprotectError::SsrcTableFull));
}

/// Whoever publishes anew again and again takes new SSRCs of everybody who listens.
#[test]
fn streams_that_come_and_go_leave_room_for_others_and_their_ssrcs_are_barred() {
    let (mut outbound, _) = pair(Profile::AeadAes128Gcm);
    let steady = 0;
    for come_and_gone in 1..=3 * SSRCS_MAX as u32 {
        protect_rtp(&mut outbound, &rtp(come_and_gone, 1, b"voice"));
        protect_rtp(&mut outbound, &rtp(steady, come_and_gone as u16, b"voice"));
    }
    let mut reuse = |ssrc, sequence_number| {
        let plain = rtp(ssrc, sequence_number, b"voice");
        outbound.protect_rtp(&mut with_room(&plain), plain.len())
    };
    assert_eq!(reuse(steady, 1), Err(ProtectError::IndexReused), "still known");
    assert_eq!(reuse(1, 1), Err(ProtectError::IndexReused), "the same packet again");
    assert_eq!(reuse(1, 2), Err(ProtectError::IndexReused), "the first one to go");
    assert!(reuse(3 * SSRCS_MAX as u32, 2).is_ok(), "the last one to come");
}

#[test]
fn rtcp_stops_before_its_index_would_repeat() {
    let (mut outbound, mut inbound) = pair(Profile::AeadAes128Gcm);
    outbound.set_rtcp_index((1 << 31) - 2);
    let last = protect_rtcp(&mut outbound, &rtcp(1, b"last"));
    assert!(unprotect_rtcp(&mut inbound, &last).is_ok());
    let packet = rtcp(1, b"over");
    assert_eq!(
        outbound.protect_rtcp(&mut with_room(&packet), packet.len()),
        Err(ProtectError::KeyExhausted)
    );
}

#[test]
fn lengths_that_do_not_hold_are_refused() {
    for &profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let plain = rtp(1, 1, b"voice");
        let mut tight = plain.clone();
        tight.resize(plain.len() + PROTECT_OVERHEAD_BYTES - 1, 0);
        assert_eq!(outbound.protect_rtp(&mut tight, plain.len()), Err(ProtectError::NoRoom));
        assert_eq!(outbound.protect_rtp(&mut tight, usize::MAX), Err(ProtectError::NoRoom));
        assert_eq!(
            outbound.protect_rtp(&mut with_room(&plain), 11),
            Err(ProtectError::Malformed)
        );
        assert_eq!(
            outbound.protect_rtcp(&mut with_room(&plain), 7),
            Err(ProtectError::Malformed)
        );
        let sealed = protect_rtp(&mut outbound, &plain);
        for len in 0..sealed.len() {
            assert!(unprotect_rtp(&mut inbound, &sealed[..len]).is_err());
            assert!(unprotect_rtcp(&mut inbound, &sealed[..len]).is_err());
        }
    }
}
