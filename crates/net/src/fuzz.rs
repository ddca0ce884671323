//! What the fuzz target runs, so that a plain test can replay its corpus.

use crate::dtls::{ClientHello, VERIFY_REQUEST_BYTES, renumber};

/// Reads `data` as the ClientHello of a DTLS client, and writes what can become of it.
///
/// # Panics
/// When a hello without its cookie is not the hello that it was, or an answer is longer than what it answers.
pub fn client_hello(data: &[u8]) {
    renumber(&mut data.to_vec(), u64::MAX);
    let Ok(hello) = ClientHello::parse(data) else { return };
    assert!(
        VERIFY_REQUEST_BYTES < data.len(),
        "an answer to anybody amplifies nothing"
    );
    for earlier in 0..=hello.message_sequence {
        let bare = hello.predecessor(earlier);
        let again = ClientHello::parse(&bare).expect("what was read can be read without its cookie");
        assert_eq!(again.cookie(), b"");
        assert_eq!(again.random, hello.random);
        assert_eq!(again.message_sequence, hello.message_sequence - earlier);
    }
}
