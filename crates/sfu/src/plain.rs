//! A plain RTP leg: where it sends, and whose packets it takes.

use std::net::SocketAddr;

use voex_base::SocketId;

use crate::DropReason;
use crate::command::PlainRemote;

/// RTP and RTCP on sockets of their own, in the clear.
///
/// The remote is what its SDP says; with latching it is, once and for all, the source of the first valid RTP packet.
/// The same SDP again keeps the latch, another one takes it back.
pub(crate) struct Plain {
    pub(crate) rtp: SocketId,
    pub(crate) rtcp: Option<SocketId>,
    remote: Option<PlainRemote>,
    latched_rtp: Option<SocketAddr>,
    latched_rtcp: Option<SocketAddr>,
}

impl Plain {
    pub(crate) fn new(rtp: SocketId, rtcp: Option<SocketId>) -> Self {
        Self {
            rtp,
            rtcp,
            remote: None,
            latched_rtp: None,
            latched_rtcp: None,
        }
    }

    pub(crate) fn set_remote(&mut self, remote: PlainRemote) {
        let is_same = self.remote.is_some_and(|before| before.rtp == remote.rtp);
        if !is_same {
            (self.latched_rtp, self.latched_rtcp) = (None, None);
        }
        self.remote = Some(remote);
    }

    /// Where RTP goes; `None` before the remote is known and on hold.
    #[inline]
    pub(crate) fn rtp_destination(&self) -> Option<(SocketId, SocketAddr)> {
        let remote = self.remote.filter(|remote| !remote.rtp.ip().is_unspecified())?;
        Some((self.rtp, self.latched_rtp.unwrap_or(remote.rtp)))
    }

    /// Where RTCP goes: also on hold, which stops media only.
    pub(crate) fn rtcp_destination(&self) -> Option<(SocketId, SocketAddr)> {
        let remote = self.remote?;
        let is_muxed = remote.rtcp == remote.rtp;
        let socket = self.rtcp.filter(|_| !is_muxed).unwrap_or(self.rtp);
        let told = if is_muxed { self.latched_rtp } else { None };
        let to = self.latched_rtcp.or(told).unwrap_or(remote.rtcp);
        (!to.ip().is_unspecified() && to.port() != 0).then_some((socket, to))
    }

    /// Judges the source of an RTP packet that is valid in all else, and latches.
    pub(crate) fn accept_rtp(&mut self, from: SocketAddr) -> Result<(), DropReason> {
        let remote = self.remote.ok_or(DropReason::NoRemote)?;
        let is_accepted = match self.latched_rtp {
            Some(latched) => from == latched,
            None if remote.latch => {
                self.latched_rtp = Some(from);
                true
            }
            None => from.ip() == remote.rtp.ip(),
        };
        if is_accepted {
            Ok(())
        } else {
            Err(DropReason::UnexpectedSource)
        }
    }

    /// Judges the source of an RTCP packet: the host that RTP comes from. The first one is where RTCP then goes.
    pub(crate) fn accept_rtcp(&mut self, from: SocketAddr) -> Result<(), DropReason> {
        let remote = self.remote.ok_or(DropReason::NoRemote)?;
        let is_accepted = match (self.latched_rtcp, self.latched_rtp) {
            (Some(latched), _) => from == latched,
            (None, Some(rtp)) => from.ip() == rtp.ip(),
            (None, None) => from.ip() == remote.rtcp.ip(),
        };
        if !is_accepted {
            return Err(DropReason::UnexpectedSource);
        }
        if remote.latch && self.latched_rtp.is_some() {
            self.latched_rtcp = Some(from);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn remote(rtp: &str, latch: bool) -> PlainRemote {
        let rtp = address(rtp);
        PlainRemote {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1),
            latch,
        }
    }

    fn leg(rtp: &str, latch: bool) -> Plain {
        let mut leg = Plain::new(SocketId(1), Some(SocketId(2)));
        leg.set_remote(remote(rtp, latch));
        leg
    }

    #[test]
    fn nothing_is_taken_or_sent_before_the_remote_is_known() {
        let mut leg = Plain::new(SocketId(1), None);
        assert_eq!(leg.rtp_destination(), None);
        assert_eq!(leg.rtcp_destination(), None);
        assert_eq!(leg.accept_rtp(address("192.0.2.1:4000")), Err(DropReason::NoRemote));
    }

    #[test]
    fn the_first_source_is_latched_and_cannot_be_displaced() {
        let mut leg = leg("10.0.0.5:4000", true);
        assert_eq!(leg.accept_rtp(address("192.0.2.1:5000")), Ok(()));
        assert_eq!(leg.rtp_destination(), Some((SocketId(1), address("192.0.2.1:5000"))));
        assert_eq!(
            leg.accept_rtp(address("10.0.0.5:4000")),
            Err(DropReason::UnexpectedSource)
        );
        assert_eq!(
            leg.accept_rtp(address("192.0.2.1:5002")),
            Err(DropReason::UnexpectedSource)
        );
        assert_eq!(
            leg.accept_rtcp(address("192.0.2.9:5001")),
            Err(DropReason::UnexpectedSource)
        );
        assert_eq!(leg.accept_rtcp(address("192.0.2.1:5001")), Ok(()));
        assert_eq!(leg.rtcp_destination(), Some((SocketId(2), address("192.0.2.1:5001"))));
    }

    #[test]
    fn the_same_answer_again_keeps_the_latch_and_another_takes_it_back() {
        let mut leg = leg("10.0.0.5:4000", true);
        assert_eq!(leg.accept_rtp(address("192.0.2.1:5000")), Ok(()));
        leg.set_remote(remote("10.0.0.5:4000", true));
        assert_eq!(leg.rtp_destination(), Some((SocketId(1), address("192.0.2.1:5000"))));
        leg.set_remote(remote("10.0.0.6:4000", true));
        assert_eq!(leg.rtp_destination(), Some((SocketId(1), address("10.0.0.6:4000"))));
    }

    #[test]
    fn without_latching_only_the_told_host_is_taken() {
        let mut leg = leg("10.0.0.5:4000", false);
        assert_eq!(leg.accept_rtp(address("10.0.0.5:4002")), Ok(()), "asymmetric ports");
        assert_eq!(
            leg.accept_rtp(address("10.0.0.6:4000")),
            Err(DropReason::UnexpectedSource)
        );
        assert_eq!(leg.rtp_destination(), Some((SocketId(1), address("10.0.0.5:4000"))));
    }

    #[test]
    fn an_unspecified_address_holds_the_media() {
        let leg = leg("0.0.0.0:4000", true);
        assert_eq!(leg.rtp_destination(), None);
        assert_eq!(leg.rtcp_destination(), None);
    }
}
