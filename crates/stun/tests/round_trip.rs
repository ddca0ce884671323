//! Written and read again; refused where it must be; never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use voex_stun::{
    AddressFamily, AttributeError, AttributeType, ChangeRequest, ChannelData, ChannelNumber, Class, ErrorCode,
    EvenPort, Icmp, IntegrityError, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, Method, ParseError,
    PasswordAlgorithm, RequestedTransport, ReservationToken, TransactionId, UNKNOWN_ATTRIBUTES_MAX, UnknownAttributes,
    WriteError, fuzz, user_hash,
};

proptest! {
    #[test]
    fn random_bytes_never_panic(data in vec(any::<u8>(), 0..200)) {
        fuzz::message(&data);
    }

    #[test]
    fn random_attributes_never_panic_and_come_back(
        attributes in vec((any::<u16>(), vec(any::<u8>(), 0..60)), 0..8),
        cut in 0_usize..400,
    ) {
        let mut out = [0; 1024];
        let mut writer = MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, TransactionId([1; 12]));
        for (kind, value) in &attributes {
            writer = writer.attribute(AttributeType(*kind), value);
        }
        let len = writer.finish().unwrap();
        fuzz::message(&out[..len]);
        fuzz::message(&out[..cut.min(len)]);
    }

    #[test]
    fn addresses_of_both_families_survive(ip in any_ip(), port in any::<u16>(), id in any::<[u8; 12]>()) {
        let address = SocketAddr::new(ip, port);
        let mut out = [0xee; 100];
        let len = MessageWriter::new(&mut out, Class::Success, Method::ALLOCATE, TransactionId(id))
            .xor_mapped_address(address)
            .xor_relayed_address(address)
            .xor_peer_address(address)
            .finish()
            .unwrap();
        let message = Message::parse(&out[..len]).unwrap();
        prop_assert_eq!(message.transaction_id(), TransactionId(id));
        prop_assert_eq!(message.xor_mapped_address(), Ok(Some(address)));
        prop_assert_eq!(message.xor_relayed_address(), Ok(Some(address)));
        prop_assert_eq!(message.xor_peer_address(), Ok(Some(address)));
    }

    #[test]
    fn channel_data_survives_with_and_without_padding(
        number in 0x4000_u16..=0x7fff,
        payload in vec(any::<u8>(), 0..1500),
        padding in 0_usize..4,
    ) {
        let sent = ChannelData { channel: ChannelNumber::new(number).unwrap(), payload: &payload };
        let mut out = vec![0; payload.len() + 8];
        let len = sent.write(&mut out).unwrap();
        prop_assert_eq!(len, payload.len() + 4);
        prop_assert_eq!(ChannelData::parse(&out[..len + padding]), Ok(sent));
        prop_assert_eq!(ChannelData::parse(&out[..len - 1]).is_err(), true);
    }
}

/// Fragmentation needed, MTU 1280.
const ICMP: Icmp = Icmp {
    kind: 3,
    code: 4,
    data: 1_280,
};

#[test]
fn an_icmp_attribute_has_seven_bits_of_type_and_nine_of_code() {
    let mut out = [0xee; 40];
    let writer = MessageWriter::new(&mut out, Class::Indication, Method::DATA, TransactionId([1; 12]));
    let len = writer.icmp(ICMP).finish().unwrap();
    assert_eq!(out[20..len], [0x80, 0x04, 0, 8, 0, 0, 3 << 1, 4, 0, 0, 5, 0]);
}

#[test]
fn what_belongs_to_tcp_relays_comes_back() {
    let mut out = [0xee; 100];
    let len = MessageWriter::new(
        &mut out,
        Class::Indication,
        Method::CONNECTION_ATTEMPT,
        TransactionId([9; 12]),
    )
    .requested_transport_tcp()
    .connection_id(0x8000_0001)
    .error_code(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE)
    .finish()
    .unwrap();
    assert_eq!(out[..2], [0x00, 0x1c]);
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(message.method(), Method::CONNECTION_ATTEMPT);
    assert_eq!(message.requested_transport(), Ok(Some(RequestedTransport::Tcp)));
    assert_eq!(message.connection_id(), Ok(Some(0x8000_0001)));
    assert_eq!(message.error_code(), Ok(Some(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE)));
}

#[test]
fn attributes_of_nat_discovery_and_redirection_come_back() {
    let (v4, v6): (SocketAddr, SocketAddr) = ("192.0.2.1:3479".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap());
    let mut out = [0xee; 400];
    let len = MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([9; 12]))
        .mapped_address(v4)
        .alternate_server(v6)
        .response_origin(v6)
        .other_address(v4)
        .response_port(4_711)
        .padding(5)
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(
        message.get(AttributeType::MAPPED_ADDRESS),
        Some(&[0, 1, 0x0d, 0x97, 192, 0, 2, 1][..])
    );
    assert_eq!(message.mapped_address(), Ok(Some(v4)));
    assert_eq!(message.alternate_server(), Ok(Some(v6)));
    assert_eq!(
        (message.response_origin(), message.other_address()),
        (Ok(Some(v6)), Ok(Some(v4)))
    );
    assert_eq!(message.response_port(), Ok(Some(4_711)));
    assert_eq!(message.get(AttributeType::PADDING), Some(&[0; 5][..]));
    assert_eq!(message.change_request(), Ok(None));
    for (ip, port) in [(false, false), (true, false), (false, true), (true, true)] {
        let change = ChangeRequest { ip, port };
        let writer = MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([9; 12]));
        let len = writer.change_request(change).finish().unwrap();
        assert_eq!(Message::parse(&out[..len]).unwrap().change_request(), Ok(Some(change)));
    }
}

#[test]
fn a_response_port_has_two_bytes_or_four_and_is_not_zero() {
    let read = |value: &[u8]| {
        let mut out = [0; 100];
        let writer = MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([9; 12]));
        let len = writer.attribute(AttributeType::RESPONSE_PORT, value).finish().unwrap();
        Message::parse(&out[..len]).unwrap().response_port()
    };
    assert_eq!(read(&[0x12, 0x67]), Ok(Some(4_711)));
    assert_eq!(read(&[0x12, 0x67, 0, 0]), Ok(Some(4_711)));
    assert_eq!(read(&[0, 0]), Err(AttributeError::Value));
    for wrong in [&[][..], &[1], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
        assert_eq!(read(wrong), Err(AttributeError::Length));
    }
}

#[test]
fn password_algorithms_and_hashed_names_come_back() {
    let hash = user_hash("user", "realm");
    let mut out = [0xee; 200];
    let len = MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, TransactionId([9; 12]))
        .user_hash(&hash)
        .password_algorithm(PasswordAlgorithm::Sha256)
        .password_algorithms(&PasswordAlgorithm::ALL)
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(message.user_hash(), Ok(Some(hash)));
    assert_eq!(message.password_algorithm(), Ok(Some(PasswordAlgorithm::Sha256)));
    let listed = message.get(AttributeType::PASSWORD_ALGORITHMS);
    assert_eq!(listed, Some(&[0, 1, 0, 0, 0, 2, 0, 0][..]));
}

#[test]
fn every_typed_attribute_comes_back() {
    let mut unknown = UnknownAttributes::default();
    unknown.push(AttributeType(0x7f01));
    unknown.push(AttributeType(0x0003));
    let channel = ChannelNumber::new(0x4abc).unwrap();
    let mut out = [0xee; 600];
    let len = MessageWriter::new(&mut out, Class::Error, Method::CHANNEL_BIND, TransactionId([9; 12]))
        .username("user")
        .realm("realm")
        .nonce(b"nonce")
        .software("voex")
        .lifetime_s(600)
        .channel_number(channel)
        .requested_transport_udp()
        .requested_address_family(AddressFamily::V6)
        .additional_address_family(AddressFamily::V4)
        .address_error_code(AddressFamily::V6, ErrorCode::INSUFFICIENT_CAPACITY)
        .icmp(ICMP)
        .attribute(AttributeType::MOBILITY_TICKET, b"ticket")
        .attribute(AttributeType::EVEN_PORT, &[0x80])
        .reservation_token(ReservationToken(*b"12345678"))
        .error_code(ErrorCode::STALE_NONCE)
        .unknown_attributes(&unknown)
        .priority(77)
        .use_candidate()
        .ice_controlling(u64::MAX)
        .ice_controlled(1)
        .data(b"abc")
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Error, Method::CHANNEL_BIND)
    );
    assert_eq!(message.username(), Ok(Some("user")));
    assert_eq!(message.realm(), Ok(Some("realm")));
    assert_eq!(message.nonce(), Ok(Some(&b"nonce"[..])));
    assert_eq!(message.software(), Ok(Some("voex")));
    assert_eq!(message.lifetime_s(), Ok(Some(600)));
    assert_eq!(message.channel_number(), Ok(Some(channel)));
    assert_eq!(message.requested_transport(), Ok(Some(RequestedTransport::Udp)));
    assert_eq!(message.requested_address_family(), Ok(Some(AddressFamily::V6)));
    assert_eq!(message.additional_address_family(), Ok(Some(AddressFamily::V4)));
    let missing = (AddressFamily::V6, ErrorCode::INSUFFICIENT_CAPACITY);
    assert_eq!(message.address_error_code(), Ok(Some(missing)));
    assert_eq!(message.icmp(), Ok(Some(ICMP)));
    assert_eq!(message.mobility_ticket(), Some(&b"ticket"[..]));
    assert_eq!(message.even_port(), Ok(Some(EvenPort { reserve_next: true })));
    assert_eq!(message.reservation_token(), Ok(Some(ReservationToken(*b"12345678"))));
    assert_eq!(message.error_code(), Ok(Some(ErrorCode::STALE_NONCE)));
    assert!(message.listed_unknown_attributes().types().eq(unknown.types()));
    assert_eq!(message.priority(), Ok(Some(77)));
    assert!(message.use_candidate());
    assert_eq!(message.ice_controlling(), Ok(Some(u64::MAX)));
    assert_eq!(message.ice_controlled(), Ok(Some(1)));
    let data = message.data().unwrap();
    assert_eq!(
        (data, &out[message.range_of(data).unwrap()]),
        (&b"abc"[..], &b"abc"[..])
    );
    assert_eq!(message.range_of(b"elsewhere"), None);
    assert_eq!(message.xor_peer_address(), Ok(None));
}

#[test]
fn several_peer_addresses_are_all_read() {
    let peers: Vec<SocketAddr> = vec!["192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:2".parse().unwrap()];
    let mut out = [0; 100];
    let len = MessageWriter::new(
        &mut out,
        Class::Request,
        Method::CREATE_PERMISSION,
        TransactionId([3; 12]),
    )
    .xor_peer_address(peers[0])
    .lifetime_s(1)
    .xor_peer_address(peers[1])
    .finish()
    .unwrap();
    let read: Result<Vec<_>, _> = Message::parse(&out[..len]).unwrap().xor_peer_addresses().collect();
    assert_eq!(read, Ok(peers));
}

#[test]
fn a_list_of_unknown_attributes_is_bounded_and_without_doubles() {
    let mut out = [0; 1000];
    let mut writer = MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, TransactionId([3; 12]))
        .attribute(AttributeType(0x8777), &[])
        .lifetime_s(1);
    for kind in 0..40 {
        writer = writer.attribute(AttributeType(0x7000 + kind / 2), &[]);
    }
    let len = writer.finish().unwrap();
    let unknown = Message::parse(&out[..len])
        .unwrap()
        .unknown_attributes(|kind| kind == AttributeType::LIFETIME);
    let expected = (0..UNKNOWN_ATTRIBUTES_MAX as u16).map(|n| AttributeType(0x7000 + n));
    assert!(unknown.types().eq(expected));
}

#[test]
fn both_integrity_codes_and_a_fingerprint_stand_together() {
    let (sha1, sha256) = (IntegrityKey::new(b"k"), IntegrityKeySha256::new(b"k"));
    let mut out = [0; 200];
    let len = MessageWriter::new(&mut out, Class::Request, Method::REFRESH, TransactionId([7; 12]))
        .username("a")
        .message_integrity(&sha1)
        .message_integrity_sha256(&sha256)
        .fingerprint()
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(message.check_integrity(&sha1), Ok(()));
    assert_eq!(message.check_integrity_sha256(&sha256), Ok(()));
    assert_eq!(
        message.check_integrity(&IntegrityKey::new(b"x")),
        Err(IntegrityError::Mismatch)
    );
    assert_eq!(
        message.check_integrity_sha256(&IntegrityKeySha256::new(b"x")),
        Err(IntegrityError::Mismatch)
    );
    assert_eq!(message.fingerprint_fits(), Some(true));
}

#[test]
fn a_buffer_too_short_by_one_byte_is_told_at_the_end() {
    let write = |room: usize| {
        let mut out = vec![0; room];
        MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([0; 12]))
            .software("abcde")
            .message_integrity(&IntegrityKey::new(b"k"))
            .fingerprint()
            .finish()
    };
    assert_eq!(write(64), Ok(64));
    (0..64).for_each(|room| assert_eq!(write(room), Err(WriteError), "{room}"));
}

#[test]
fn padding_is_zero_whatever_stood_in_the_buffer() {
    let mut out = [0xee; 40];
    let len = MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([0; 12]))
        .software("a")
        .finish()
        .unwrap();
    assert_eq!(out[20..len], *b"\x80\x22\x00\x01a\0\0\0");
}

#[test]
fn malformed_messages_are_refused_by_kind() {
    let good = {
        let mut out = [0; 64];
        let len = MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([0; 12]))
            .lifetime_s(1)
            .fingerprint()
            .finish()
            .unwrap();
        out[..len].to_vec()
    };
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Message::parse(&bytes).err()
    };
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(refusal(&|b| b.truncate(19)), Some(ParseError::Truncated));
    assert_eq!(refusal(&|b| b[0] = 0x40), Some(ParseError::NotThisKind));
    assert_eq!(refusal(&|b| b[4] = 0), Some(ParseError::BadCookie));
    assert_eq!(refusal(&|b| b[3] += 4), Some(ParseError::LengthMismatch));
    assert_eq!(refusal(&|b| b[3] -= 1), Some(ParseError::LengthMismatch));
    assert_eq!(refusal(&|b| b.extend([0; 4])), Some(ParseError::LengthMismatch));
    assert_eq!(refusal(&|b| b[31] = 5), Some(ParseError::AttributeOverrun));
    assert_eq!(refusal(&|b| b[31] = 3), Some(ParseError::BadIntegrityLength));
    let behind = |b: &mut Vec<u8>| {
        b.extend([0x80, 0x22, 0, 0]);
        b[3] += 4;
    };
    assert_eq!(refusal(&behind), Some(ParseError::FingerprintNotLast));
}

#[test]
fn channel_numbers_outside_their_range_are_refused() {
    assert_eq!(ChannelData::parse(&[0x80, 0, 0, 0]), Err(ParseError::BadChannelNumber));
    assert_eq!(
        ChannelData::parse(&[0x3f, 0xff, 0, 0]),
        Err(ParseError::BadChannelNumber)
    );
    assert!(ChannelData::parse(&[0x7f, 0xff, 0, 0]).is_ok());
    assert_eq!(ChannelData::parse(&[0x40, 0, 0]), Err(ParseError::Truncated));
    assert_eq!(ChannelData::parse(&[0x40, 0, 0, 1]), Err(ParseError::LengthMismatch));
}

#[test]
fn an_attribute_with_an_impossible_value_is_an_error_and_not_absent() {
    let read = |kind: AttributeType, value: &[u8]| {
        let mut out = [0; 100];
        let len = MessageWriter::new(&mut out, Class::Request, Method::BINDING, TransactionId([0; 12]))
            .attribute(kind, value)
            .finish()
            .unwrap();
        out[..len].to_vec()
    };
    let bytes = read(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 0, 0, 1, 2, 3]);
    assert_eq!(
        Message::parse(&bytes).unwrap().xor_peer_address(),
        Err(AttributeError::Length)
    );
    let bytes = read(AttributeType::XOR_PEER_ADDRESS, &[0, 3, 0, 0, 1, 2, 3, 4]);
    assert_eq!(
        Message::parse(&bytes).unwrap().xor_peer_address(),
        Err(AttributeError::Family)
    );
    let bytes = read(AttributeType::USERNAME, &[0xff, 0xfe]);
    assert_eq!(Message::parse(&bytes).unwrap().username(), Err(AttributeError::Utf8));
    let bytes = read(AttributeType::CHANNEL_NUMBER, &[0x3f, 0xff, 0, 0]);
    assert_eq!(
        Message::parse(&bytes).unwrap().channel_number(),
        Err(AttributeError::Value)
    );
    let bytes = read(AttributeType::LIFETIME, &[0; 3]);
    assert_eq!(
        Message::parse(&bytes).unwrap().lifetime_s(),
        Err(AttributeError::Length)
    );
    let bytes = read(AttributeType::ERROR_CODE, &[0, 0, 4, 100]);
    assert_eq!(Message::parse(&bytes).unwrap().error_code(), Err(AttributeError::Value));
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}
