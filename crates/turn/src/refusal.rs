use voex_stun::ErrorCode;

use crate::label::label_enum;

label_enum! {
    /// Why a request is refused.
    Refusal {
        /// Another server is to be asked.
        TryAlternate = "300",
        /// The request lacks an attribute, has one that cannot be used, or contradicts an earlier one.
        BadRequest = "400",
        /// No, unknown or wrong credentials.
        Unauthenticated = "401",
        /// The peer's address is closed to relays.
        Forbidden = "403",
        /// Allocations stay with the five-tuple they were made over (RFC 8016 §3.4).
        MobilityForbidden = "405",
        /// A comprehension-required attribute is unknown here.
        UnknownAttribute = "420",
        /// No allocation where one is needed, or one where none may be.
        AllocationMismatch = "437",
        /// The nonce is not ours, not this client's, or too old.
        StaleNonce = "438",
        /// No relay address of the family asked for.
        AddressFamilyNotSupported = "440",
        /// Another user's allocation.
        WrongCredentials = "441",
        /// Relays do not speak that protocol.
        UnsupportedTransportProtocol = "442",
        /// The peer's family is not the relay's.
        PeerAddressFamilyMismatch = "443",
        /// The relay has a connection with this peer already, or is making one.
        ConnectionAlreadyExists = "446",
        /// The peer does not take the connection.
        ConnectionTimeoutOrFailure = "447",
        /// The user has as many allocations as it may.
        AllocationQuotaReached = "486",
        /// No port, no room in a table, or the server is draining.
        InsufficientCapacity = "508",
    }
}

impl Refusal {
    /// Gives the code on the wire.
    pub fn stun_code(self) -> ErrorCode {
        match self {
            Self::TryAlternate => ErrorCode::TRY_ALTERNATE,
            Self::BadRequest => ErrorCode::BAD_REQUEST,
            Self::Unauthenticated => ErrorCode::UNAUTHENTICATED,
            Self::Forbidden => ErrorCode::FORBIDDEN,
            Self::MobilityForbidden => ErrorCode::MOBILITY_FORBIDDEN,
            Self::UnknownAttribute => ErrorCode::UNKNOWN_ATTRIBUTE,
            Self::AllocationMismatch => ErrorCode::ALLOCATION_MISMATCH,
            Self::StaleNonce => ErrorCode::STALE_NONCE,
            Self::AddressFamilyNotSupported => ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
            Self::WrongCredentials => ErrorCode::WRONG_CREDENTIALS,
            Self::UnsupportedTransportProtocol => ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL,
            Self::PeerAddressFamilyMismatch => ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH,
            Self::ConnectionAlreadyExists => ErrorCode::CONNECTION_ALREADY_EXISTS,
            Self::ConnectionTimeoutOrFailure => ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE,
            Self::AllocationQuotaReached => ErrorCode::ALLOCATION_QUOTA_REACHED,
            Self::InsufficientCapacity => ErrorCode::INSUFFICIENT_CAPACITY,
        }
    }
}

impl From<voex_stun::AttributeError> for Refusal {
    /// An attribute whose value cannot be used makes a bad request (RFC 8489 §14).
    fn from(_: voex_stun::AttributeError) -> Self {
        Self::BadRequest
    }
}

#[cfg(test)]
mod tests {
    use voex_base::Label;

    use super::*;

    #[test]
    fn the_metric_label_of_a_refusal_is_its_code() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.name(), refusal.stun_code().number().to_string());
        }
    }
}
