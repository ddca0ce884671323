//! One association: a client's five-tuple, and its session.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::{FiveTuple, Protocol, SocketId};
use voex_turn::ClientPath;

use super::handshake::Handshake;
use super::session::Session;

/// How far an association is.
pub(super) enum Stage {
    /// Its hello waits for its turn: answering one takes a signature.
    Hello(Vec<u8>),
    /// The handshake runs.
    ShakingHands(Handshake),
    /// Messages pass.
    Open(Session),
}

pub(super) struct Association {
    pub(super) id: SocketId,
    /// The socket it came in by, and the client.
    pub(super) key: FiveTuple,
    pub(super) local: SocketAddr,
    pub(super) stage: Stage,
    /// Is in line for a step of its handshake.
    pub(super) is_waiting: bool,
    /// What the client said in its hello: a hello that says the same is that hello again.
    pub(super) random: [u8; 32],
    /// Counts among its source's, until it has an allocation.
    pub(super) is_stranger: bool,
    /// When a message came last; until there was one, when the hello did.
    pub(super) heard_at: Instant,
    pub(super) deadline: Instant,
}

impl Association {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Gives the session, once messages pass.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Open(session) => Some(session),
            Stage::Hello(_) | Stage::ShakingHands(_) => None,
        }
    }

    /// Says how the client of an open association talks.
    pub(super) fn path(&mut self) -> Option<ClientPath> {
        let tls = Some(self.session()?.agreed());
        Some(ClientPath {
            protocol: Protocol::Dtls,
            local: self.local,
            tls,
        })
    }
}

/// The associations of one five-tuple. A handshake beside an association that stands is what a client does that has lost its
/// own end of it; until the handshake is over, what stands goes on (RFC 6347 §4.2.8).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Pair {
    pub(super) standing: Option<usize>,
    pub(super) coming: Option<usize>,
}

impl Pair {
    /// Gives the one that a datagram is for, by its first record.
    pub(super) fn addressee(self, datagram: &[u8]) -> Option<usize> {
        const ALERT: u8 = 21;
        const APPLICATION_DATA: u8 = 23;
        let is_sealed = datagram.get(3..5).is_some_and(|epoch| epoch != [0, 0]);
        let of_standing = is_sealed && matches!(datagram[0], ALERT | APPLICATION_DATA);
        match of_standing {
            true => self.standing.or(self.coming),
            false => self.coming.or(self.standing),
        }
    }

    pub(super) fn all(self) -> impl Iterator<Item = usize> {
        self.standing.into_iter().chain(self.coming)
    }

    pub(super) fn without(self, slot: usize) -> Self {
        Self {
            standing: self.standing.filter(|standing| *standing != slot),
            coming: self.coming.filter(|coming| *coming != slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_handshake_sends_is_its_own_and_the_rest_is_of_what_stands() {
        let record = |kind: u8, epoch: u8| [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 0];
        let both = Pair {
            standing: Some(1),
            coming: Some(2),
        };
        for (kind, epoch, expected) in [(22, 0, 2), (20, 0, 2), (22, 1, 2), (21, 0, 2), (21, 1, 1), (23, 1, 1)] {
            assert_eq!(both.addressee(&record(kind, epoch)), Some(expected), "{kind} {epoch}");
        }
        assert_eq!(both.without(1).addressee(&record(23, 1)), Some(2));
        assert_eq!(both.without(2).addressee(&record(22, 0)), Some(1));
        assert_eq!(both.without(1).without(2), Pair::default());
    }
}
