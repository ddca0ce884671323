//! A participant's place in a load: who it is, how far it has come.

use std::ops::Range;

use super::connection::Connection;
use super::plan::Plan;
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use voex_base::Rng;

/// One peer connection with its handle.
pub(crate) struct Peer {
    /// Index of its room.
    pub(crate) room: usize,
    pub(crate) role: Role,
    pub(crate) state: State,
    pub(crate) handle: u64,
    pub(crate) connection: Option<Connection>,
    /// When it asked to join, and when its keys were there.
    pub(crate) asked_ns: u64,
    pub(crate) up_ns: Option<u64>,
    /// The server has said `webrtcup`.
    pub(crate) is_announced: bool,
}

/// What it does with media.
pub(crate) enum Role {
    /// Sends.
    Publisher {
        /// What.
        media: Box<Publisher>,
        /// Its id in the room.
        feed: u64,
    },
    /// Receives.
    Subscriber {
        /// What.
        media: Box<Subscriber>,
        /// From whom: indices of peers.
        feeds: Vec<usize>,
        /// Which encoding of a simulcast it asks for, 0 is the least.
        substream: usize,
    },
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing was asked.
    Waiting,
    /// A handle was asked for.
    Attaching,
    /// A join was asked for.
    Joining,
    /// Descriptions are exchanged, then ICE and DTLS run.
    Connecting,
    /// Media may flow.
    Up,
    /// The server ended it.
    Gone,
}

impl Peer {
    fn new(room: usize, role: Role) -> Self {
        Self {
            room,
            role,
            state: State::Waiting,
            handle: 0,
            connection: None,
            asked_ns: 0,
            up_ns: None,
            is_announced: false,
        }
    }

    /// Everything it was brought in for has begun.
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Up
            && match &self.role {
                Role::Publisher { .. } => self.is_announced,
                Role::Subscriber { media, .. } => media.begun_ns().is_some(),
            }
    }

    /// What it receives.
    pub(crate) fn subscriber(&self) -> Option<&Subscriber> {
        match &self.role {
            Role::Subscriber { media, .. } => Some(media),
            Role::Publisher { .. } => None,
        }
    }
}

/// Makes all participants: publishers of every room first, room by room, then subscribers in the order they join.
pub(crate) fn peers(plan: &Plan, rng: &mut Rng) -> Vec<Peer> {
    let mut peers = Vec::with_capacity(plan.peers());
    let flows = Publisher::flows(plan);
    for index in 0..plan.rooms * plan.publishers {
        let media = Box::new(Publisher::new(plan, index as u32 * flows, rng));
        let feed = (index % plan.publishers) as u64 + 1;
        peers.push(Peer::new(index / plan.publishers, Role::Publisher { media, feed }));
    }
    let mut receive = |room: usize, feeds: Vec<usize>| {
        let media = Box::new(Subscriber::new(plan.loss, rng));
        let substream = 2 - peers.len() % 3;
        let role = Role::Subscriber {
            media,
            feeds,
            substream,
        };
        peers.push(Peer::new(room, role));
    };
    let of_room = |room: usize| room * plan.publishers..(room + 1) * plan.publishers;
    if plan.mesh && plan.publishers > 1 {
        for room in 0..plan.rooms {
            of_room(room).for_each(|own| receive(room, of_room(room).filter(|index| *index != own).collect()));
        }
    }
    for room in 0..plan.rooms {
        (0..plan.subscribers).for_each(|_| receive(room, of_room(room).collect()));
    }
    peers
}

/// Gives the flows of a publisher, by its index: those of its audio, or of its video.
pub(crate) fn flows(plan: &Plan, publisher: usize, is_audio: bool) -> Range<u32> {
    let flows = Publisher::flows(plan);
    let begin = publisher as u32 * flows;
    let audio = u32::from(plan.audio_bytes.is_some());
    if is_audio {
        begin..begin + audio
    } else {
        begin + audio..begin + flows
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Video;
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn members_of_a_mesh_receive_everybody_of_their_room_but_themselves() {
        let plan = Plan {
            rooms: 2,
            publishers: 3,
            subscribers: 1,
            mesh: true,
            ..plan()
        };
        let peers = peers(&plan, &mut Rng::from_number(1));
        assert_eq!(peers.len(), plan.peers());
        let feeds: Vec<_> = peers
            .iter()
            .filter_map(|peer| match &peer.role {
                Role::Subscriber { feeds, .. } => Some((peer.room, feeds.clone())),
                Role::Publisher { .. } => None,
            })
            .collect();
        assert_eq!(feeds[0], (0, vec![1, 2]));
        assert_eq!(feeds[4], (1, vec![3, 5]));
        assert_eq!(feeds[7], (1, vec![3, 4, 5]));
    }

    #[test]
    fn every_encoding_has_a_flow_of_its_own() {
        let video = Video {
            bitrate: 900_000,
            fps: 30,
            simulcast: true,
        };
        let plan = Plan {
            video: Some(video),
            ..plan()
        };
        assert_eq!((flows(&plan, 2, true), flows(&plan, 2, false)), (8..9, 9..12));
    }
}
