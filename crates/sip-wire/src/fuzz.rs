//! What the fuzz target and the property tests hold the parser to.

use crate::{Challenge, Header, Message, NameAddr};

/// Parses `data` and everything in it that the endpoint would parse. A message that is accepted must be written and
/// parsed back to the same value.
///
/// # Panics
/// When it is not: that is the finding.
pub fn parse_and_write(data: &[u8]) {
    let message = match Message::parse(data) {
        Ok(message) => message,
        Err(malformed) => {
            assert!((400..=513).contains(&malformed.error.status()), "{malformed:?}");
            return;
        }
    };
    let (bytes, headers) = match &message {
        Message::Request(request, _) => (request.to_bytes(), &request.headers),
        Message::Response(response, _) => (response.to_bytes(), &response.headers),
    };
    assert_eq!(Message::parse(&bytes).as_ref(), Ok(&message), "not written as parsed");
    for header in [Header::Contact, Header::Route, Header::RecordRoute] {
        for element in headers.list(header).unwrap_or_default() {
            if let Ok(address) = NameAddr::parse(element) {
                let again = NameAddr::parse(&address.to_string());
                assert_eq!(again, Ok(address), "not written as parsed");
            }
        }
    }
    headers
        .all(Header::WwwAuthenticate)
        .for_each(|value| drop(Challenge::parse(value)));
}
