//! What epoll reports of peers and of the listeners they come in by.

/// Marks tokens of peers; the rest is generation and slot, so that a report for one that ended in the same pass finds
/// nobody.
const PEER: u64 = 1 << 61;
/// Marks tokens of listeners; the rest is an index.
const PEER_LISTENER: u64 = 1 << 60;
const MARKS: u64 = 0xf << 60;
const SLOT_BITS: u32 = 20;
const GENERATION_MASK: u64 = (1 << (60 - SLOT_BITS)) - 1;

/// Tells whether a token is that of a peer.
#[inline]
pub(crate) fn is_peer(token: u64) -> bool {
    token & MARKS == PEER
}

/// Tells whether a token is that of a listener for peers.
#[inline]
pub(crate) fn is_peer_listener(token: u64) -> bool {
    token & MARKS == PEER_LISTENER
}

pub(super) fn peer_token(generation: u64, slot: usize) -> u64 {
    PEER | (generation & GENERATION_MASK) << SLOT_BITS | slot as u64
}

pub(super) fn listener_token(index: usize) -> u64 {
    PEER_LISTENER | index as u64
}

/// Gives the slot of a peer.
pub(super) fn slot_of(token: u64) -> usize {
    (token & ((1 << SLOT_BITS) - 1)) as usize
}

/// Gives the index of a listener.
pub(super) fn listener_of(token: u64) -> usize {
    (token & !MARKS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_made_of_and_is_of_one_kind() {
        let token = peer_token(u64::MAX, 77);
        assert!(is_peer(token) && !is_peer_listener(token));
        assert_eq!(slot_of(token), 77);
        let token = listener_token(12);
        assert!(is_peer_listener(token) && !is_peer(token));
        assert_eq!(listener_of(token), 12);
        assert!(!is_peer(12) && !is_peer(u64::MAX));
    }
}
