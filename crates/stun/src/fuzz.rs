//! What the fuzz target runs, so that a plain test can replay its corpus.

use crate::{AttributeType, ChannelData, Class, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, frame_len};

/// Reads `data` as everything it could be, reads every attribute, and writes it back.
///
/// # Panics
/// When reading, writing and reading again does not end where it began.
pub fn message(data: &[u8]) {
    let _ = frame_len(data);
    if let Ok(channel_data) = ChannelData::parse(data) {
        let mut again = vec![0; data.len()];
        let len = channel_data
            .write(&mut again)
            .expect("what was read fits where it was read from");
        assert_eq!(ChannelData::parse(&again[..len]), Ok(channel_data));
    }
    if let Ok(message) = Message::parse(data) {
        read_all(&message);
        write_again(&message);
    }
}

fn read_all(message: &Message<'_>) {
    let _ = (message.username(), message.realm(), message.nonce(), message.software());
    let _ = (
        message.xor_mapped_address(),
        message.xor_relayed_address(),
        message.xor_peer_address(),
    );
    let _ = (
        message.data(),
        message.channel_number(),
        message.lifetime_s(),
        message.requested_transport(),
    );
    let _ = (
        message.requested_address_family(),
        message.even_port(),
        message.reservation_token(),
        message.connection_id(),
    );
    let _ = (
        message.additional_address_family(),
        message.address_error_code(),
        message.icmp(),
        message.mobility_ticket(),
    );
    let _ = (
        message.error_code(),
        message.listed_unknown_attributes(),
        message.priority(),
    );
    let _ = (
        message.use_candidate(),
        message.ice_controlled(),
        message.ice_controlling(),
    );
    let _ = message.check_integrity(&IntegrityKey::new(b"key"));
    let _ = message.check_integrity_sha256(&IntegrityKeySha256::new(b"key"));
    let _ = message.fingerprint_fits();
    let _ = (
        message.mapped_address(),
        message.alternate_server(),
        message.response_origin(),
        message.other_address(),
    );
    let _ = (
        message.change_request(),
        message.response_port(),
        message.user_hash(),
        message.password_algorithm(),
    );
    message.xor_peer_addresses().for_each(drop);
    message
        .unknown_attributes(|kind| kind == AttributeType::USERNAME)
        .types()
        .for_each(drop);
}

fn write_again(message: &Message<'_>) {
    let key = IntegrityKey::new(b"key");
    let mut out = vec![0xee; message.as_bytes().len() + 32];
    let mut writer = MessageWriter::new(&mut out, message.class(), message.method(), message.transaction_id());
    for attribute in message.attributes() {
        writer = writer.attribute(attribute.kind, attribute.value);
    }
    // Near the 16-bit limit the two added attributes do not fit any more: then the writer has to say so.
    let Ok(len) = writer.message_integrity(&key).fingerprint().finish() else {
        return assert!(message.as_bytes().len() > 65_000);
    };
    let again = Message::parse(&out[..len]).expect("what we write we can read");
    assert_eq!((again.class(), again.method()), (message.class(), message.method()));
    assert!(again.attributes().eq(message.attributes()));
    assert_eq!(again.check_integrity(&key), Ok(()));
    assert_eq!(again.fingerprint_fits(), Some(true));
    assert!(matches!(
        again.class(),
        Class::Request | Class::Indication | Class::Success | Class::Error
    ));
}
