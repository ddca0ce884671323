//! Why a message was not understood, and which status code says so.

use std::fmt;

use crate::Header;

/// Why a message or a part of it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Nothing but line breaks: a keep-alive (RFC 5626 §3.5.1). Not to be answered.
    KeepAlive,
    /// More than [`MESSAGE_BYTES_MAX`](crate::MESSAGE_BYTES_MAX) octets.
    MessageTooLarge,
    /// More than [`HEADER_FIELDS_MAX`](crate::HEADER_FIELDS_MAX) header fields.
    TooManyHeaderFields,
    /// The first line is neither a request line nor a status line, or has spaces where none belong.
    BadStartLine,
    /// A protocol version other than SIP/2.0.
    BadVersion,
    /// A line that is no header field: no colon, a name that is no token, a folded line with nothing before it.
    BadHeaderField,
    /// No empty line ends the header fields.
    HeadUnfinished,
    /// Octets in the head that are not UTF-8.
    NotUtf8,
    /// A mandatory header field is not there.
    Missing(Header),
    /// A header field that may stand once stands twice.
    Repeated(Header),
    /// A header field's value breaks its grammar or range.
    Bad(Header),
    /// The method in CSeq is not that of the request line.
    MethodMismatch,
    /// Content-Length promises more than the datagram holds.
    BodyShort,
    /// A URI breaks the grammar.
    BadUri,
    /// The Request-URI carries header fields, which RFC 3261 §19.1.1 forbids.
    HeadersInRequestUri,
    /// A quoted string does not end, or stands where none may.
    BadQuotedString,
    /// A parameter breaks the grammar.
    BadParameter,
    /// A comma-separated list has an empty element.
    EmptyListElement,
}

impl Error {
    /// Gives the status code that tells the sender of a request.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadVersion => 505,
            Self::MessageTooLarge | Self::TooManyHeaderFields => 513,
            _ => 400,
        }
    }
}

/// The text is fit for a reason phrase.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAlive => f.write_str("Keep-alive"),
            Self::MessageTooLarge => f.write_str("Message Too Large"),
            Self::TooManyHeaderFields => f.write_str("Too Many Header Fields"),
            Self::BadStartLine => f.write_str("Bad Start Line"),
            Self::BadVersion => f.write_str("Version Not Supported"),
            Self::BadHeaderField => f.write_str("Bad Header Field"),
            Self::HeadUnfinished => f.write_str("Header Fields Without End"),
            Self::NotUtf8 => f.write_str("Not UTF-8"),
            Self::Missing(header) => write!(f, "Missing {header} Header Field"),
            Self::Repeated(header) => write!(f, "Repeated {header} Header Field"),
            Self::Bad(header) => write!(f, "Bad {header} Header Field"),
            Self::MethodMismatch => f.write_str("CSeq Method Does Not Match Request Method"),
            Self::BodyShort => f.write_str("Content-Length Larger Than Message"),
            Self::BadUri => f.write_str("Bad URI"),
            Self::HeadersInRequestUri => f.write_str("Header Fields In Request-URI"),
            Self::BadQuotedString => f.write_str("Bad Quoted String"),
            Self::BadParameter => f.write_str("Bad Parameter"),
            Self::EmptyListElement => f.write_str("Empty List Element"),
        }
    }
}

impl std::error::Error for Error {}
