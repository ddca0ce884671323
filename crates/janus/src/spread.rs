//! Rooms on several workers: where a transport goes, and what a subscription needs whose track arrives elsewhere.
//!
//! Audio and video are piped from worker to worker by the media plane, once for all subscriptions there; messages of data
//! channels, which are few, come by way of this plane.

use indexmap::IndexMap;
use voex_base::{SubscriptionId, TrackId, TransportId, WorkerId};
use voex_sfu::command::{
    Command, DataKind, DataMessage, DataSubscriptionSpec, DataTrackSpec, MediaKind, SubscriptionSpec, TrackSpec,
};

use crate::host::{Host, TransportOwner};

/// Load up to which a worker keeps everything of the rooms that are at home there: what crosses to another worker costs
/// both. Counted in transports and subscriptions; a meeting of eight is about 130.
const SPREAD_FROM: usize = 256;
/// How much lower the load of another worker must be.
const SPREAD_STEP: usize = 32;

/// Whose a track is, and where it goes.
pub(crate) struct TrackOwner {
    pub(crate) transport: TransportId,
    pub(crate) mid: String,
    /// `None` for data.
    pub(crate) kind: Option<MediaKind>,
    is_relayed: bool,
    reach: Reach,
}

/// How a track gets to other workers.
enum Reach {
    /// It is piped to these; they are told of it as the home was.
    Piped(Box<TrackSpec>, Vec<WorkerId>),
    /// Messages of data channels are sent to these transports from here.
    Sent {
        to: IndexMap<SubscriptionId, FarData>,
        /// The plugin wants them too.
        is_reported: bool,
    },
}

/// Data channels on another worker than the track that they get.
struct FarData {
    transport: TransportId,
    text_prefix: String,
    is_active: bool,
}

impl Host {
    /// Gives the worker for a transport of a room that is at home on `home`: the home as long as that is not much busier
    /// than another.
    pub(crate) fn worker_near(&self, home: WorkerId) -> WorkerId {
        let least = self.least_loaded_worker();
        let load = self.load_of(home);
        if load >= SPREAD_FROM && self.load_of(least) + SPREAD_STEP <= load {
            least
        } else {
            home
        }
    }

    /// Gives the worker with the lowest load.
    pub(crate) fn least_loaded_worker(&self) -> WorkerId {
        let workers = self.config.workers.iter().map(|media| media.worker);
        workers
            .min_by_key(|worker| self.load_of(*worker))
            .unwrap_or(WorkerId(0))
    }

    /// Counts transports and subscriptions of a worker.
    pub(crate) fn load_of(&self, worker: WorkerId) -> usize {
        self.load.get(&worker).copied().unwrap_or_default()
    }

    /// Makes an incoming medium known to the worker of its transport; ignored when that is gone.
    pub(crate) fn add_track(&mut self, track: TrackSpec) {
        let owner = TrackOwner {
            transport: track.transport,
            mid: track.mid.clone(),
            kind: Some(track.kind),
            is_relayed: true,
            reach: Reach::Piped(Box::new(track.clone()), Vec::new()),
        };
        if let Some(worker) = self.own_track(track.id, owner) {
            self.media(worker, Command::AddTrack(Box::new(track)));
        }
    }

    /// Makes the messages of a transport's data channels known as a track; ignored when the transport is gone. There is one
    /// of a transport. With `is_reported` they come to [`Plugin::handle_data`](crate::plugin::Plugin::handle_data) too.
    pub(crate) fn add_data_track(&mut self, track: DataTrackSpec, mid: String) {
        let owner = TrackOwner {
            transport: track.transport,
            mid,
            kind: None,
            is_relayed: true,
            reach: Reach::Sent {
                to: IndexMap::new(),
                is_reported: track.is_reported,
            },
        };
        if let Some(worker) = self.own_track(track.id, owner) {
            self.media(worker, Command::AddDataTrack(track));
        }
    }

    /// Starts forwarding a track, on whatever worker it arrives; ignored when the transport is gone, or where no worker has
    /// the track. With an id that is known it takes its place.
    pub(crate) fn add_subscription(&mut self, subscription: SubscriptionSpec) {
        let (transport, track) = (subscription.transport, subscription.track);
        let is_there = self.has_track(track);
        let Some((worker, _)) = self
            .own_subscription(transport, track, subscription.id)
            .filter(|_| is_there)
        else {
            return;
        };
        self.pipe(track, worker);
        self.media(worker, Command::AddSubscription(Box::new(subscription)));
    }

    /// Starts forwarding messages of data channels; ignored when the transport or the track is gone. With an id that is
    /// known it takes its place.
    pub(crate) fn add_data_subscription(&mut self, subscription: DataSubscriptionSpec) {
        let (id, transport, track) = (subscription.id, subscription.transport, subscription.track);
        let Some((worker, before)) = self.own_subscription(transport, track, id) else {
            return;
        };
        let was_far = before.is_some_and(|before| self.end_far_data(before, id));
        let Some(home) = self.worker_of_track(track).filter(|home| *home != worker) else {
            return self.media(worker, Command::AddDataSubscription(Box::new(subscription)));
        };
        if before.is_some_and(|before| self.has_track(before)) && !was_far {
            self.media(worker, Command::RemoveSubscription(id));
        }
        if let Some(Reach::Sent { to, .. }) = self.tracks.get_mut(&track).map(|owner| &mut owner.reach) {
            let far = FarData {
                transport,
                text_prefix: subscription.text_prefix,
                is_active: subscription.active,
            };
            to.insert(id, far);
            self.media(home, Command::ReportData(track, true));
        }
    }

    /// Pauses or resumes a subscription; ignored when its transport is gone.
    pub(crate) fn set_subscription_active(
        &mut self,
        (transport, track): (TransportId, TrackId),
        id: SubscriptionId,
        is_active: bool,
    ) {
        let far = self.tracks.get_mut(&track).and_then(|owner| owner.far_data(id));
        if let Some(far) = far {
            far.is_active = is_active;
        } else if let Some(worker) = self.worker_of(transport) {
            self.media(worker, Command::SetSubscriptionActive(id, is_active));
        }
    }

    /// Ends a subscription. The worker has ended it already when its track is gone.
    pub(crate) fn end_subscription(&mut self, (transport, track): (TransportId, TrackId), id: SubscriptionId) {
        let Some(owner) = self.transports.get_mut(&transport) else {
            return;
        };
        let worker = owner.worker;
        if owner.subscriptions.remove(&id).is_some()
            && let Some(load) = self.load.get_mut(&worker)
        {
            *load -= 1;
        }
        if !self.end_far_data(track, id) && self.has_track(track) {
            self.media(worker, Command::RemoveSubscription(id));
        }
    }

    /// Stops or resumes relaying a track to anybody; ignored when it is gone.
    pub(crate) fn set_track_relayed(&mut self, track: TrackId, is_relayed: bool) {
        let home = self.worker_of_track(track);
        let Some(owner) = self.tracks.get_mut(&track) else {
            return;
        };
        owner.is_relayed = is_relayed;
        let others = owner.reach.piped_to().to_vec();
        for worker in home.into_iter().chain(others) {
            self.media(worker, Command::SetTrackRelayed(track, is_relayed));
        }
    }

    /// Sends a message that came on a data channel to the subscriptions on other workers; true when the plugin wants it too.
    pub(crate) fn send_far_data(&mut self, transport: TransportId, message: &DataMessage) -> bool {
        let tracks = self.transports.get(&transport).map(|owner| owner.tracks.as_slice());
        let data = tracks
            .unwrap_or_default()
            .iter()
            .copied()
            .find(|track| self.is_data(*track));
        let transports = &self.transports;
        let Some(owner) = data.and_then(|track| self.tracks.get_mut(&track)) else {
            return true;
        };
        let Reach::Sent { to, is_reported } = &mut owner.reach else {
            return true;
        };
        to.retain(|_, far| transports.contains_key(&far.transport));
        let is_wanted = *is_reported;
        let active = to.values().filter(|far| far.is_active && owner.is_relayed);
        let sent: Vec<_> = active.map(|far| (far.transport, far.message(message))).collect();
        for (transport, message) in sent {
            if let Some(worker) = self.worker_of(transport) {
                self.media(worker, Command::SendData(transport, data, message));
            }
        }
        is_wanted
    }

    /// Tells workers that a track was piped to, or that sent its messages, that it is gone. Its home knows.
    pub(crate) fn end_pipes(&mut self, track: TrackId, owner: &TrackOwner) {
        if let Reach::Sent { to, .. } = &owner.reach {
            for far in to.values() {
                self.end_far_sent(far.transport, track);
            }
        }
        for worker in owner.reach.piped_to() {
            self.media(*worker, Command::RemoveTrack(track));
        }
    }

    /// Forgets what a transport adds to the load of its worker.
    pub(crate) fn unload(&mut self, owner: &TransportOwner) {
        if let Some(load) = self.load.get_mut(&owner.worker) {
            *load -= 1 + owner.subscriptions.len();
        }
    }

    /// Tells a worker of a track that arrives on another, once.
    fn pipe(&mut self, track: TrackId, worker: WorkerId) {
        let Some(home) = self.worker_of_track(track).filter(|home| *home != worker) else {
            return;
        };
        let Some(owner) = self.tracks.get_mut(&track) else {
            return;
        };
        let is_relayed = owner.is_relayed;
        let Reach::Piped(spec, workers) = &mut owner.reach else {
            return;
        };
        if workers.contains(&worker) {
            return;
        }
        workers.push(worker);
        let spec = spec.clone();
        self.media(worker, Command::AddPipedTrack(home, spec));
        if !is_relayed {
            self.media(worker, Command::SetTrackRelayed(track, false));
        }
    }

    /// Enters a track; gives its worker.
    fn own_track(&mut self, id: TrackId, track: TrackOwner) -> Option<WorkerId> {
        let owner = self.transports.get_mut(&track.transport)?;
        owner.tracks.push(id);
        self.tracks.insert(id, track);
        Some(owner.worker)
    }

    /// Enters a subscription; gives its worker, and the track that it had before.
    fn own_subscription(
        &mut self,
        transport: TransportId,
        track: TrackId,
        id: SubscriptionId,
    ) -> Option<(WorkerId, Option<TrackId>)> {
        let owner = self.transports.get_mut(&transport)?;
        let before = owner.subscriptions.insert(id, track);
        if before.is_none() {
            *self.load.entry(owner.worker).or_default() += 1;
        }
        Some((owner.worker, before))
    }

    /// Ends a subscription to data of another worker; false when it is none.
    fn end_far_data(&mut self, track: TrackId, id: SubscriptionId) -> bool {
        let home = self.worker_of_track(track);
        let Some(Reach::Sent { to, is_reported }) = self.tracks.get_mut(&track).map(|owner| &mut owner.reach) else {
            return false;
        };
        let far = to.shift_remove(&id);
        let is_wanted = *is_reported || !to.is_empty();
        if let Some(home) = home.filter(|_| far.is_some() && !is_wanted) {
            self.media(home, Command::ReportData(track, false));
        }
        if let Some(far) = &far {
            self.end_far_sent(far.transport, track);
        }
        far.is_some()
    }

    /// Tells the worker of a transport that no more messages of a track of another worker come.
    fn end_far_sent(&mut self, transport: TransportId, track: TrackId) {
        if let Some(worker) = self.worker_of(transport) {
            self.media(worker, Command::EndData(transport, track));
        }
    }

    fn is_data(&self, track: TrackId) -> bool {
        self.tracks.get(&track).is_some_and(|owner| owner.kind.is_none())
    }
}

impl TrackOwner {
    fn far_data(&mut self, id: SubscriptionId) -> Option<&mut FarData> {
        match &mut self.reach {
            Reach::Sent { to, .. } => to.get_mut(&id),
            Reach::Piped(..) => None,
        }
    }
}

impl Reach {
    fn piped_to(&self) -> &[WorkerId] {
        match self {
            Self::Piped(_, workers) => workers,
            Self::Sent { .. } => &[],
        }
    }
}

impl FarData {
    /// Makes the message that leaves out of the one that came.
    fn message(&self, message: &DataMessage) -> DataMessage {
        if self.text_prefix.is_empty() || message.kind == DataKind::Binary {
            return message.clone();
        }
        DataMessage {
            payload: [self.text_prefix.as_bytes(), &message.payload].concat().into(),
            ..message.clone()
        }
    }
}
