//! Counters of the transports of one thread, and the reasons for which they drop.

use voex_base::{Counter, CounterSet, Gauge, Label};

use crate::srtp::{Profile, ProtectError};
use crate::{DataDrop, DownReason};

/// Live counters; one writer thread.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Datagrams dropped.
    pub drops: CounterSet<DropReason>,
    /// Packets that could not be protected.
    pub protect_errors: CounterSet<ProtectError>,
    /// Valid ICE checks answered.
    pub ice_checks: Counter,
    /// ICE checks refused with an error response.
    pub ice_errors: Counter,
    /// Times that another candidate pair was nominated on a transport that had one.
    pub ice_pair_changes: Counter,
    /// ICE restarts.
    pub ice_restarts: Counter,
    /// DTLS handshakes started.
    pub dtls_started: Counter,
    /// DTLS handshakes that led to SRTP keys.
    pub dtls_finished: Counter,
    /// Profiles of finished handshakes.
    pub srtp_profiles: CounterSet<Profile>,
    /// Transports that are up.
    pub up: Gauge,
    /// Transports that went down by themselves.
    pub downs: CounterSet<DownReason>,
    /// Messages of data channels received.
    pub data_messages_received: Counter,
    /// Bytes of them.
    pub data_bytes_received: Counter,
    /// Messages of data channels sent.
    pub data_messages_sent: Counter,
    /// Bytes of them.
    pub data_bytes_sent: Counter,
    /// Bytes of messages that wait to be read or to be acknowledged.
    pub data_bytes: Gauge,
    /// SCTP associations that ended before their transport.
    pub data_lost: Counter,
    /// Messages and packets of data channels dropped.
    pub data_drops: CounterSet<DataDrop>,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// The first byte is of no protocol spoken here (RFC 7983).
    UnknownProtocol,
    /// Not a whole STUN message, RTP packet or RTCP packet.
    Malformed,
    /// STUN, but neither a Binding request nor a Binding indication.
    UnexpectedStun,
    /// An ICE check without user name or integrity; answered 400.
    IceIncomplete,
    /// An ICE check with an attribute that must be understood and is not; answered 420.
    IceUnknownAttribute,
    /// An ICE check for another user name, or whose integrity is not that of our password; answered 401.
    IceUnauthorized,
    /// An ICE check of an agent that takes itself for controlled; answered 487.
    IceRoleConflict,
    /// DTLS or SRTP from an address that no valid ICE check came from.
    UnknownRemote,
    /// DTLS that cannot be used now: no handshake is due, or it comes before ours is due.
    DtlsUnexpected,
    /// SRTP or SRTCP before the keys.
    SrtpNoKeys,
    /// SRTP or SRTCP whose tag is wrong.
    SrtpNotAuthentic,
    /// SRTP or SRTCP that came before.
    SrtpReplayed,
    /// SRTP or SRTCP from before the replay window.
    SrtpTooOld,
    /// SRTP or SRTCP of one SSRC more than are kept.
    SsrcTableFull,
    /// The transport is closed or down.
    Closed,
}

impl Label for DropReason {
    const ALL: &'static [Self] = &[
        Self::UnknownProtocol,
        Self::Malformed,
        Self::UnexpectedStun,
        Self::IceIncomplete,
        Self::IceUnknownAttribute,
        Self::IceUnauthorized,
        Self::IceRoleConflict,
        Self::UnknownRemote,
        Self::DtlsUnexpected,
        Self::SrtpNoKeys,
        Self::SrtpNotAuthentic,
        Self::SrtpReplayed,
        Self::SrtpTooOld,
        Self::SsrcTableFull,
        Self::Closed,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::UnknownProtocol => "unknown_protocol",
            Self::Malformed => "malformed",
            Self::UnexpectedStun => "unexpected_stun",
            Self::IceIncomplete => "ice_incomplete",
            Self::IceUnknownAttribute => "ice_unknown_attribute",
            Self::IceUnauthorized => "ice_unauthorized",
            Self::IceRoleConflict => "ice_role_conflict",
            Self::UnknownRemote => "unknown_remote",
            Self::DtlsUnexpected => "dtls_unexpected",
            Self::SrtpNoKeys => "srtp_no_keys",
            Self::SrtpNotAuthentic => "srtp_not_authentic",
            Self::SrtpReplayed => "srtp_replayed",
            Self::SrtpTooOld => "srtp_too_old",
            Self::SsrcTableFull => "ssrc_table_full",
            Self::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_is_at_its_index<L: Label + PartialEq + std::fmt::Debug>() {
        for (index, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), index, "{label:?}");
        }
    }

    #[test]
    fn every_label_is_at_its_index() {
        each_is_at_its_index::<DropReason>();
        each_is_at_its_index::<DownReason>();
        each_is_at_its_index::<DataDrop>();
        each_is_at_its_index::<ProtectError>();
        each_is_at_its_index::<Profile>();
    }
}
