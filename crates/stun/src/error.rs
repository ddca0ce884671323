use std::fmt;

/// Why bytes are not a STUN or ChannelData message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// Shorter than a header.
    Truncated,
    /// The two highest bits are not those of the message kind asked for.
    NotThisKind,
    /// The magic cookie of RFC 8489 §5 is missing.
    BadCookie,
    /// The length field disagrees with the bytes at hand, or is no multiple of four.
    LengthMismatch,
    /// An attribute reaches over the end of the message.
    AttributeOverrun,
    /// MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 or FINGERPRINT has an impossible length.
    BadIntegrityLength,
    /// FINGERPRINT is not the last attribute.
    FingerprintNotLast,
    /// A channel number outside 0x4000-0x7FFF.
    BadChannelNumber,
}

/// Why the value of one attribute cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttributeError {
    /// The value has a length its type does not allow.
    Length,
    /// An address family other than IPv4 and IPv6.
    Family,
    /// Text that is not UTF-8.
    Utf8,
    /// A number outside its range.
    Value,
}

/// Why an integrity check failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntegrityError {
    /// The message carries no such attribute.
    Missing,
    /// The code does not fit the message and the key.
    Mismatch,
}

/// The caller's buffer has no room for the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteError;

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "shorter than a header",
            Self::NotThisKind => "the first bits name another kind of message",
            Self::BadCookie => "no magic cookie",
            Self::LengthMismatch => "the length field disagrees with the datagram",
            Self::AttributeOverrun => "an attribute reaches over the end of the message",
            Self::BadIntegrityLength => "an integrity attribute has an impossible length",
            Self::FingerprintNotLast => "an attribute follows FINGERPRINT",
            Self::BadChannelNumber => "a channel number outside 0x4000-0x7FFF",
        })
    }
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "attribute of impossible length",
            Self::Family => "address family other than IPv4 and IPv6",
            Self::Utf8 => "text that is not UTF-8",
            Self::Value => "attribute value outside its range",
        })
    }
}

impl fmt::Display for IntegrityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no integrity attribute",
            Self::Mismatch => "integrity does not fit the key",
        })
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for the message")
    }
}

impl std::error::Error for ParseError {}
impl std::error::Error for AttributeError {}
impl std::error::Error for IntegrityError {}
impl std::error::Error for WriteError {}
