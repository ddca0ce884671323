//! What is wrong with a description.

use std::fmt;

/// Why a description was refused, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Line it was found on, counted from 1.
    pub line: u16,
}

/// What is wrong with a description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Longer than [`BYTES_MAX`](crate::BYTES_MAX).
    TooLong,
    /// More lines than [`LINES_MAX`](crate::LINES_MAX).
    TooManyLines,
    /// More m-lines than [`MEDIA_MAX`](crate::MEDIA_MAX).
    TooManyMedia,
    /// A control character inside a line.
    Character,
    /// The first line is not `v=0`.
    Version,
    /// A line that is not `<letter>=<value>`.
    Syntax,
    /// An `o=` line with missing or non-numeric fields.
    Origin,
    /// A `c=` line that names no Internet address.
    Connection,
    /// An `m=` line with a missing field or a bad port.
    Media,
    /// An RTP payload type that is not a number of 0-127.
    PayloadType,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::TooLong => "description too long",
            ErrorKind::TooManyLines => "too many lines",
            ErrorKind::TooManyMedia => "too many m-lines",
            ErrorKind::Character => "control character",
            ErrorKind::Version => "doesn't start with v=0",
            ErrorKind::Syntax => "not a line of SDP",
            ErrorKind::Origin => "bad o= line",
            ErrorKind::Connection => "bad c= line",
            ErrorKind::Media => "bad m= line",
            ErrorKind::PayloadType => "bad payload type",
        };
        write!(f, "{what} (line {})", self.line)
    }
}

impl std::error::Error for Error {}
