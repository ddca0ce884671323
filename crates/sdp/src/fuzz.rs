//! What the fuzz target and the property tests hold every input to.

use crate::{Description, ErrorKind};

/// Parses; when that goes well, what is written must parse to the same value.
///
/// # Panics
/// When it does not.
pub fn parse_write_parse(bytes: &[u8]) {
    let Ok(first) = Description::parse(bytes) else {
        return;
    };
    let text = first.to_string();
    match Description::parse(text.as_bytes()) {
        Ok(second) => assert_eq!(first, second, "what was written reads differently:\n{text}"),
        // Lines that were implied or inherited are written out, so the text can grow over a bound.
        Err(error) if matches!(error.kind, ErrorKind::TooLong | ErrorKind::TooManyLines) => {}
        Err(error) => panic!("what was written does not parse: {error}\n{text}"),
    }
}
