//! The test vectors of RFC 5769 §2 and RFC 8489 appendix B.1 (as its verified erratum 6268 has it).

use std::net::SocketAddr;

use voex_stun::{
    AttributeType, Class, IntegrityError, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, Method,
    TransactionId, long_term_key_sha256,
};

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

const SAMPLE_REQUEST: &str = "
    00010058 2112a442 b7e7a701 bc34d686 fa87dfae
    80220010 5354554e 20746573 7420636c 69656e74
    00240004 6e0001ff
    80290008 932ff9b1 51263b36
    00060009 6576746a 3a683676 59202020
    00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    80280004 e57a3bcf";

const SAMPLE_IPV4_RESPONSE: &str = "
    0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200008 0001a147 e112a643
    00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
    80280004 c07d4c96";

const SAMPLE_IPV6_RESPONSE: &str = "
    01010048 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
    00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
    80280004 c8fb0b4c";

const SAMPLE_LONG_TERM_REQUEST: &str = "
    00010060 2112a442 78ad3433 c6ad72c0 29da412e
    00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
    0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
    0014000b 6578616d 706c652e 6f726700
    00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666";

const SAMPLE_SHA256_REQUEST: &str = "
    00010090 2112a442 78ad3433 c6ad72c0 29da412e
    001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
    00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476 79363473 41000000
    0014000b 6578616d 706c652e 6f726700
    001d0004 00020000
    001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 9309278c c6518e65";

#[test]
fn the_sample_request_is_read_and_its_integrity_and_fingerprint_fit() {
    let bytes = hex(SAMPLE_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.software(), Ok(Some("STUN test client")));
    assert_eq!(message.priority(), Ok(Some(0x6e00_01ff)));
    assert_eq!(message.ice_controlled(), Ok(Some(0x932f_f9b1_5126_3b36)));
    assert_eq!(message.username(), Ok(Some("evtj:h6vY")));
    assert_eq!(message.check_integrity(&IntegrityKey::new(PASSWORD)), Ok(()));
    assert_eq!(message.fingerprint_fits(), Some(true));
}

#[test]
fn the_ipv4_response_maps_to_192_0_2_1() {
    let bytes = hex(SAMPLE_IPV4_RESPONSE);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
    assert_eq!(
        message.xor_mapped_address(),
        Ok(Some("192.0.2.1:32853".parse().unwrap()))
    );
    assert_eq!(message.check_integrity(&IntegrityKey::new(PASSWORD)), Ok(()));
    assert_eq!(message.fingerprint_fits(), Some(true));
}

#[test]
fn the_ipv6_response_maps_through_the_transaction_id() {
    let bytes = hex(SAMPLE_IPV6_RESPONSE);
    let message = Message::parse(&bytes).unwrap();
    let mapped = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
    assert_eq!(message.xor_mapped_address(), Ok(Some(mapped)));
    assert_eq!(message.check_integrity(&IntegrityKey::new(PASSWORD)), Ok(()));
    assert_eq!(message.fingerprint_fits(), Some(true));
}

#[test]
fn the_long_term_request_fits_the_key_of_user_realm_and_password() {
    let bytes = hex(SAMPLE_LONG_TERM_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    let (user, realm) = (message.username().unwrap().unwrap(), message.realm().unwrap().unwrap());
    assert_eq!((user, realm), ("マトリックス", "example.org"));
    assert_eq!(message.nonce(), Ok(Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..])));
    assert_eq!(
        message.check_integrity(&IntegrityKey::long_term(user, realm, "TheMatrIX")),
        Ok(())
    );
    assert_eq!(message.fingerprint_fits(), None);
}

#[test]
fn the_sha256_request_fits_the_key_of_user_realm_and_password() {
    let bytes = hex(SAMPLE_SHA256_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    let key = IntegrityKeySha256::new(&long_term_key_sha256("マトリックス", "example.org", "TheMatrIX"));
    assert_eq!(message.check_integrity_sha256(&key), Ok(()));
    assert_eq!(
        message.check_integrity(&IntegrityKey::new(b"x")),
        Err(IntegrityError::Missing)
    );
}

#[test]
fn the_writer_produces_the_long_term_request_byte_for_byte() {
    let bytes = hex(SAMPLE_LONG_TERM_REQUEST);
    let id = TransactionId(bytes[8..20].try_into().unwrap());
    let mut out = [0xee; 200];
    let len = MessageWriter::new(&mut out, Class::Request, Method::BINDING, id)
        .username("マトリックス")
        .nonce(b"f//499k954d6OL34oL9FSTvy64sA")
        .realm("example.org")
        .message_integrity(&IntegrityKey::long_term("マトリックス", "example.org", "TheMatrIX"))
        .finish()
        .unwrap();
    assert_eq!(out[..len], bytes[..]);
}

#[test]
fn the_writer_produces_the_values_of_the_ipv6_response() {
    // The sample pads with spaces and we pad with zeros, so attributes are compared by value.
    let bytes = hex(SAMPLE_IPV6_RESPONSE);
    let sample = Message::parse(&bytes).unwrap();
    let mapped: SocketAddr = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
    let mut out = [0xee; 200];
    let len = MessageWriter::new(&mut out, Class::Success, Method::BINDING, sample.transaction_id())
        .software("test vector")
        .xor_mapped_address(mapped)
        .message_integrity(&IntegrityKey::new(PASSWORD))
        .fingerprint()
        .finish()
        .unwrap();
    let ours = Message::parse(&out[..len]).unwrap();
    assert!(ours.attributes().eq(sample.attributes()));
    assert_eq!(ours.check_integrity(&IntegrityKey::new(PASSWORD)), Ok(()));
    assert_eq!(ours.fingerprint_fits(), Some(true));
}

#[test]
fn any_flipped_bit_breaks_the_integrity_or_the_fingerprint() {
    let bytes = hex(SAMPLE_REQUEST);
    let key = IntegrityKey::new(PASSWORD);
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        if let Ok(message) = Message::parse(&broken) {
            let intact = message.check_integrity(&key).is_ok() && message.fingerprint_fits() == Some(true);
            assert!(!intact, "bit {bit}");
        }
    }
}

#[test]
fn an_attribute_behind_message_integrity_is_invisible() {
    let key = IntegrityKey::new(PASSWORD);
    let mut out = [0; 200];
    let len = MessageWriter::new(&mut out, Class::Request, Method::REFRESH, TransactionId([7; 12]))
        .username("a")
        .message_integrity(&key)
        .lifetime_s(0)
        .fingerprint()
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(message.lifetime_s(), Ok(None));
    assert!(!message.has(AttributeType::LIFETIME));
    assert_eq!(message.check_integrity(&key), Ok(()));
    assert_eq!(message.fingerprint_fits(), Some(true));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
