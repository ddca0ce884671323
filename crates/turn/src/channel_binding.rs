use std::net::SocketAddr;
use std::time::Instant;

use voex_stun::ChannelNumber;

/// Most channel bindings of one allocation; a request for more is refused with 508.
pub(crate) const CHANNEL_BINDINGS_MAX: usize = 256;

/// The channel bindings of one allocation (RFC 8656 §12): number and peer, one to one.
#[derive(Default, Debug)]
pub(crate) struct ChannelBindings {
    /// Sorted by number.
    bindings: Vec<ChannelBinding>,
    /// Peers in their order, each with its number.
    by_peer: Vec<(SocketAddr, ChannelNumber)>,
}

#[derive(Clone, Copy, Debug)]
struct ChannelBinding {
    number: ChannelNumber,
    peer: SocketAddr,
    expires: Instant,
}

/// Why a binding cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BindingError {
    /// The number has another peer, or the peer another number.
    Conflict,
    /// The table is full.
    Full,
}

impl ChannelBindings {
    #[inline]
    pub(crate) fn peer_of(&self, number: ChannelNumber, now: Instant) -> Option<SocketAddr> {
        let binding = &self.bindings[self.position(number).ok()?];
        (now < binding.expires).then_some(binding.peer)
    }

    #[inline]
    pub(crate) fn number_of(&self, peer: SocketAddr, now: Instant) -> Option<ChannelNumber> {
        let number = self.by_peer[self.peer_position(peer).ok()?].1;
        self.peer_of(number, now).is_some().then_some(number)
    }

    /// Tells whether [`bind`](Self::bind) would succeed.
    pub(crate) fn check(&self, number: ChannelNumber, peer: SocketAddr) -> Result<(), BindingError> {
        match (self.position(number), self.peer_position(peer)) {
            (Ok(at), Ok(_)) if self.bindings[at].peer == peer => Ok(()),
            (Err(_), Err(_)) if self.bindings.len() >= CHANNEL_BINDINGS_MAX => Err(BindingError::Full),
            (Err(_), Err(_)) => Ok(()),
            _ => Err(BindingError::Conflict),
        }
    }

    /// Binds, or puts off the end of the same binding.
    pub(crate) fn bind(
        &mut self,
        number: ChannelNumber,
        peer: SocketAddr,
        expires: Instant,
    ) -> Result<(), BindingError> {
        self.check(number, peer)?;
        match self.position(number) {
            Ok(at) => self.bindings[at].expires = expires,
            Err(at) => {
                self.bindings.insert(at, ChannelBinding { number, peer, expires });
                let at = self.peer_position(peer).unwrap_or_else(|at| at);
                self.by_peer.insert(at, (peer, number));
            }
        }
        Ok(())
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.retain(|_, expires| now < expires);
    }

    /// Takes back every binding that `keeps` does not keep, by its peer and its end.
    pub(crate) fn retain(&mut self, keeps: impl Fn(SocketAddr, Instant) -> bool) {
        self.bindings.retain(|binding| keeps(binding.peer, binding.expires));
        let bindings = &self.bindings;
        let lives = |number: ChannelNumber| bindings.binary_search_by(|known| known.number.cmp(&number)).is_ok();
        self.by_peer.retain(|(_, number)| lives(*number));
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.bindings.iter().map(|binding| binding.expires).min()
    }

    #[inline]
    fn position(&self, number: ChannelNumber) -> Result<usize, usize> {
        self.bindings.binary_search_by(|known| known.number.cmp(&number))
    }

    #[inline]
    fn peer_position(&self, peer: SocketAddr) -> Result<usize, usize> {
        self.by_peer.binary_search_by(|(known, _)| known.cmp(&peer))
    }
}
