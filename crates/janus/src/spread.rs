//! Rooms on several workers: where a transport goes, and what a subscription needs whose track arrives elsewhere.
//!
//! Audio and video are piped from worker to worker by the media plane, once for all subscriptions there; messages of data
//! channels, which are few, come by way of this plane, likewise once.

use voex_base::{SubscriptionId, TrackId, TransportId, WorkerId};
use voex_sfu::command::{
    Command, DataMessage, DataReach, DataSubscriptionSpec, DataTrackSpec, MediaKind, SubscriptionSpec, TrackSpec,
};

use crate::host::{Host, TransportOwner};

/// Load up to which a worker keeps everything of the rooms that are at home there: what crosses to another worker costs
/// both. Counted in transports and subscriptions.
const SPREAD_FROM: usize = 256;
/// How much lower the load of another worker must be: by about a meeting of eight, so that small rooms stay whole, and by
/// this part of the load.
const SPREAD_STEP: usize = 130;
/// See [`SPREAD_STEP`].
const SPREAD_PART: usize = 8;

/// Whose a track is, and where it goes.
pub(crate) struct TrackOwner {
    pub(crate) transport: TransportId,
    pub(crate) mid: String,
    /// `None` for data.
    pub(crate) kind: Option<MediaKind>,
    is_relayed: bool,
    spec: Spec,
    pipes: Vec<Pipe>,
}

/// What its worker was told of a track.
#[derive(Clone)]
enum Spec {
    Packets(Box<TrackSpec>),
    Messages(DataTrackSpec),
}

/// Another worker that knows of a track.
struct Pipe {
    worker: WorkerId,
    /// Subscriptions there; with the last of them the pipe ends.
    subscriptions: usize,
}

impl Host {
    /// Gives the worker for a transport of a room that is at home on `home`: the home as long as that is not much busier
    /// than another.
    pub(crate) fn worker_near(&self, home: WorkerId) -> WorkerId {
        let least = self.least_loaded_worker();
        let load = self.load_of(home);
        let step = SPREAD_STEP.max(load / SPREAD_PART);
        if load >= SPREAD_FROM && self.load_of(least) + step <= load {
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
        let (id, transport, mid) = (track.id, track.transport, track.mid.clone());
        let (kind, spec) = (Some(track.kind), Spec::Packets(Box::new(track.clone())));
        let owner = TrackOwner::new(transport, mid, kind, spec);
        if let Some(worker) = self.own_track(id, owner) {
            self.media(worker, Command::AddTrack(Box::new(track)));
        }
    }

    /// Makes the messages of a transport's data channels known as a track; ignored when the transport is gone. There is one
    /// of a transport. With `is_reported` they come to [`Plugin::handle_data`](crate::plugin::Plugin::handle_data) too.
    pub(crate) fn add_data_track(&mut self, track: DataTrackSpec, mid: String) {
        let owner = TrackOwner::new(track.transport, mid, None, Spec::Messages(track));
        if let Some(worker) = self.own_track(track.id, owner) {
            self.media(worker, Command::AddDataTrack(track));
        }
    }

    /// Starts forwarding a track, on whatever worker it arrives; ignored when the transport is gone. With an id that is known
    /// it takes its place. Where no worker has the track, nothing is forwarded.
    pub(crate) fn add_subscription(&mut self, subscription: SubscriptionSpec) {
        let (id, transport, track) = (subscription.id, subscription.transport, subscription.track);
        self.subscribe((transport, track), id, Command::AddSubscription(Box::new(subscription)));
    }

    /// Starts forwarding messages of data channels, likewise.
    pub(crate) fn add_data_subscription(&mut self, subscription: DataSubscriptionSpec) {
        let (id, transport, track) = (subscription.id, subscription.transport, subscription.track);
        let command = Command::AddDataSubscription(Box::new(subscription));
        self.subscribe((transport, track), id, command);
    }

    /// Pauses or resumes a subscription; ignored when its transport is gone.
    pub(crate) fn set_subscription_active(&mut self, transport: TransportId, id: SubscriptionId, is_active: bool) {
        if let Some(worker) = self.worker_of(transport) {
            self.media(worker, Command::SetSubscriptionActive(id, is_active));
        }
    }

    /// Ends a subscription. The worker has ended it already when its track is gone.
    pub(crate) fn end_subscription(&mut self, transport: TransportId, id: SubscriptionId) {
        let Some(owner) = self.transports.get_mut(&transport) else {
            return;
        };
        let worker = owner.worker;
        let Some(track) = owner.subscriptions.remove(&id) else {
            return;
        };
        if let Some(load) = self.load.get_mut(&worker) {
            *load -= 1;
        }
        if self.has_track(track) {
            self.media(worker, Command::RemoveSubscription(id));
            self.unpipe(track, worker);
        }
    }

    /// Stops or resumes relaying a track to anybody; ignored when it is gone.
    pub(crate) fn set_track_relayed(&mut self, track: TrackId, is_relayed: bool) {
        let home = self.worker_of_track(track);
        let Some(owner) = self.tracks.get_mut(&track) else {
            return;
        };
        owner.is_relayed = is_relayed;
        let others: Vec<_> = owner.piped_to().collect();
        for worker in home.into_iter().chain(others) {
            self.media(worker, Command::SetTrackRelayed(track, is_relayed));
        }
    }

    /// Sends a message that came on a data channel to the other workers with subscriptions to it; true when the plugin wants
    /// it too.
    pub(crate) fn send_far_data(&mut self, transport: TransportId, message: &DataMessage) -> bool {
        let tracks = self.transports.get(&transport).map(|owner| owner.tracks.as_slice());
        let data = |track: &&TrackId| self.tracks.get(track).is_some_and(|owner| owner.kind.is_none());
        let Some(track) = tracks.unwrap_or_default().iter().find(data).copied() else {
            return true;
        };
        let owner = &self.tracks[&track];
        let is_reported = match &owner.spec {
            Spec::Messages(spec) => spec.is_reported,
            Spec::Packets(_) => false,
        };
        let others: Vec<_> = owner.piped_to().filter(|_| owner.is_relayed).collect();
        for worker in others {
            self.media(worker, Command::SendPipedData(track, message.clone()));
        }
        is_reported
    }

    /// Tells the workers that a track was piped to that it is gone. Its home knows.
    pub(crate) fn end_pipes(&mut self, track: TrackId, owner: &TrackOwner) {
        for worker in owner.piped_to() {
            self.media(worker, Command::RemoveTrack(track));
        }
    }

    /// Forgets what a transport that is gone adds to the load of its worker, and its part in pipes.
    pub(crate) fn unload(&mut self, owner: &TransportOwner) {
        if let Some(load) = self.load.get_mut(&owner.worker) {
            *load -= 1 + owner.subscriptions.len();
        }
        for track in owner.subscriptions.values() {
            self.unpipe(*track, owner.worker);
        }
    }

    /// Enters a subscription, sees to it that its worker knows the track, and tells it.
    fn subscribe(&mut self, (transport, track): (TransportId, TrackId), id: SubscriptionId, command: Command) {
        let is_there = self.has_track(track);
        let Some(owner) = self.transports.get_mut(&transport) else {
            return;
        };
        let worker = owner.worker;
        let before = owner.subscriptions.insert(id, track);
        if before.is_none() {
            *self.load.entry(worker).or_default() += 1;
        }
        let before = before.filter(|before| self.has_track(*before));
        if is_there {
            self.pipe(track, worker);
            self.media(worker, command);
        } else if before.is_some() {
            self.media(worker, Command::RemoveSubscription(id));
        }
        // Last, so that what goes on is not taken down in between.
        if let Some(before) = before {
            self.unpipe(before, worker);
        }
    }

    /// Counts a subscription on a worker that the track does not arrive on; the first makes it known there.
    fn pipe(&mut self, track: TrackId, worker: WorkerId) {
        let Some(home) = self.worker_of_track(track).filter(|home| *home != worker) else {
            return;
        };
        let Some(owner) = self.tracks.get_mut(&track) else {
            return;
        };
        if let Some(pipe) = owner.pipes.iter_mut().find(|pipe| pipe.worker == worker) {
            pipe.subscriptions += 1;
        } else {
            let pipe = Pipe {
                worker,
                subscriptions: 1,
            };
            owner.pipes.push(pipe);
            let (spec, is_relayed) = (owner.spec.clone(), owner.is_relayed);
            let command = match spec {
                Spec::Packets(spec) => Command::AddPipedTrack(home, spec),
                Spec::Messages(spec) => Command::AddPipedDataTrack(home, spec),
            };
            self.media(worker, command);
            if !is_relayed {
                self.media(worker, Command::SetTrackRelayed(track, false));
            }
        }
        self.tell_reach(track, home);
    }

    /// The opposite of [`pipe`](Self::pipe).
    fn unpipe(&mut self, track: TrackId, worker: WorkerId) {
        let Some(home) = self.worker_of_track(track).filter(|home| *home != worker) else {
            return;
        };
        let pipes = self.tracks.get_mut(&track).map(|owner| &mut owner.pipes);
        let Some((pipes, at)) = pipes.and_then(|pipes| {
            let at = pipes.iter().position(|pipe| pipe.worker == worker)?;
            Some((pipes, at))
        }) else {
            return;
        };
        pipes[at].subscriptions -= 1;
        if pipes[at].subscriptions == 0 {
            pipes.remove(at);
            self.media(worker, Command::RemoveTrack(track));
        }
        self.tell_reach(track, home);
    }

    /// Tells the home of a data track who else gets its messages.
    fn tell_reach(&mut self, track: TrackId, home: WorkerId) {
        let Some(owner) = self.tracks.get(&track) else { return };
        if let Spec::Messages(spec) = &owner.spec {
            let reach = DataReach {
                is_reported: spec.is_reported || !owner.pipes.is_empty(),
                far_subscriptions: owner.pipes.iter().map(|pipe| pipe.subscriptions).sum(),
            };
            self.media(home, Command::SetDataReach(track, reach));
        }
    }

    /// Enters a track; gives its worker.
    fn own_track(&mut self, id: TrackId, track: TrackOwner) -> Option<WorkerId> {
        let owner = self.transports.get_mut(&track.transport)?;
        owner.tracks.push(id);
        self.tracks.insert(id, track);
        Some(owner.worker)
    }
}

impl TrackOwner {
    fn new(transport: TransportId, mid: String, kind: Option<MediaKind>, spec: Spec) -> Self {
        Self {
            transport,
            mid,
            kind,
            is_relayed: true,
            spec,
            pipes: Vec::new(),
        }
    }

    fn piped_to(&self) -> impl Iterator<Item = WorkerId> {
        self.pipes.iter().map(|pipe| pipe.worker)
    }
}
