/// The number of an ERROR-CODE attribute: 300-699 (RFC 8489 §14.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ErrorCode(u16);

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $reason:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Gives the reason phrase that goes with a registered code; empty for others.
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($value => $reason,)*
                    _ => "",
                }
            }
        }
    };
}

error_codes! {
    /// RFC 8489 §14.8.
    TRY_ALTERNATE = 300, "Try Alternate";
    /// RFC 8489 §14.8.
    BAD_REQUEST = 400, "Bad Request";
    /// RFC 8489 §14.8.
    UNAUTHENTICATED = 401, "Unauthorized";
    /// RFC 8656 §19.
    FORBIDDEN = 403, "Forbidden";
    /// RFC 8016 §3.5.
    MOBILITY_FORBIDDEN = 405, "Mobility Forbidden";
    /// RFC 8489 §14.8.
    UNKNOWN_ATTRIBUTE = 420, "Unknown Attribute";
    /// RFC 8656 §19.
    ALLOCATION_MISMATCH = 437, "Allocation Mismatch";
    /// RFC 8489 §14.8.
    STALE_NONCE = 438, "Stale Nonce";
    /// RFC 8656 §19.
    ADDRESS_FAMILY_NOT_SUPPORTED = 440, "Address Family not Supported";
    /// RFC 8656 §19.
    WRONG_CREDENTIALS = 441, "Wrong Credentials";
    /// RFC 8656 §19.
    UNSUPPORTED_TRANSPORT_PROTOCOL = 442, "Unsupported Transport Protocol";
    /// RFC 8656 §19.
    PEER_ADDRESS_FAMILY_MISMATCH = 443, "Peer Address Family Mismatch";
    /// RFC 6062 §6.3.
    CONNECTION_ALREADY_EXISTS = 446, "Connection Already Exists";
    /// RFC 6062 §6.3.
    CONNECTION_TIMEOUT_OR_FAILURE = 447, "Connection Timeout or Failure";
    /// RFC 8656 §19.
    ALLOCATION_QUOTA_REACHED = 486, "Allocation Quota Reached";
    /// RFC 8445 §16.2.
    ROLE_CONFLICT = 487, "Role Conflict";
    /// RFC 8489 §14.8.
    SERVER_ERROR = 500, "Server Error";
    /// RFC 8656 §19.
    INSUFFICIENT_CAPACITY = 508, "Insufficient Capacity";
}

impl ErrorCode {
    /// Makes a code from its number.
    ///
    /// Returns `None` outside 300-699.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 300 && number <= 699 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Gives the number.
    pub const fn number(self) -> u16 {
        self.0
    }
}
