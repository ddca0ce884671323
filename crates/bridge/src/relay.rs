//! What the media worker is told of a call: a track from each side, a subscription of the other to it.

use voex_base::{SubscriptionId, TrackId, TransportId};
use voex_sfu::command::{
    Command, EncodingSpec, Extensions, Feedback, Layers, MediaKind, PlainRemote, SubscriptionSpec, TrackSpec,
};

use crate::call::{Call, Leg};
use crate::format::{self, Format};
use crate::media::plain_remote;

/// Where ids of tracks and subscriptions, and SSRCs, come from.
pub trait Ids {
    /// Gives a track id that was never used.
    fn track(&mut self) -> TrackId;
    /// Gives a subscription id that was never used.
    fn subscription(&mut self) -> SubscriptionId;
    /// Gives a random SSRC.
    fn ssrc(&mut self) -> u32;
}

/// The two transports of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transports {
    /// Towards the browser.
    pub webrtc: TransportId,
    /// Towards the PBX.
    pub plain: TransportId,
}

/// What the media worker has been told.
#[derive(Debug)]
pub(crate) struct Joined {
    transports: Transports,
    /// From the browser, to the plain leg.
    up: (TrackId, SubscriptionId),
    /// From the plain leg, to the browser.
    down: (TrackId, SubscriptionId),
    formats: Vec<Format>,
    remote: PlainRemote,
    up_active: bool,
    down_active: bool,
}

impl Call {
    /// Gives the commands that bring the media worker up to what both sides agreed; none when nothing changed or
    /// nothing is agreed yet.
    pub fn update(&mut self, transports: Transports, ids: &mut impl Ids) -> Vec<Command> {
        let Some(remote) = self.remote.as_ref().and_then(|media| plain_remote(media, true)) else {
            return Vec::new();
        };
        if self.formats.is_empty() || self.browser.is_none() {
            return Vec::new();
        }
        match self.joined.take() {
            Some(joined) => self.rejoin(joined, remote, ids),
            None => self.join(transports, remote, ids),
        }
    }

    fn join(&mut self, transports: Transports, remote: PlainRemote, ids: &mut impl Ids) -> Vec<Command> {
        let (up_active, down_active) = self.active(&remote);
        let joined = Joined {
            transports,
            up: (ids.track(), ids.subscription()),
            down: (ids.track(), ids.subscription()),
            formats: self.formats.clone(),
            remote,
            up_active,
            down_active,
        };
        let commands = vec![
            Command::SetPlainRemote(transports.plain, remote),
            self.add_up_track(&joined),
            self.add_down_track(&joined),
            self.add_up(&joined),
            self.add_down(&joined),
        ];
        self.joined = Some(joined);
        commands
    }

    fn rejoin(&mut self, mut joined: Joined, remote: PlainRemote, ids: &mut impl Ids) -> Vec<Command> {
        let mut commands = Vec::new();
        if (remote.rtp, remote.rtcp) != (joined.remote.rtp, joined.remote.rtcp) {
            joined.remote = remote;
            commands.push(Command::SetPlainRemote(joined.transports.plain, remote));
        }
        let (up_active, down_active) = self.active(&remote);
        if !format::covers(&joined.formats, &self.formats) {
            // A sequence of packets ends with its subscription, and SRTP allows no second one under its SSRC.
            (self.webrtc.ssrc, self.plain.ssrc) = (ids.ssrc(), ids.ssrc());
            commands.push(Command::RemoveSubscription(joined.up.1));
            commands.push(Command::RemoveTrack(joined.down.0));
            joined.formats.clone_from(&self.formats);
            joined.up.1 = ids.subscription();
            joined.down = (ids.track(), ids.subscription());
            (joined.up_active, joined.down_active) = (up_active, down_active);
            commands.push(self.add_down_track(&joined));
            commands.push(self.add_up(&joined));
            commands.push(self.add_down(&joined));
        }
        if up_active != joined.up_active {
            commands.push(Command::SetSubscriptionActive(joined.up.1, up_active));
        }
        if down_active != joined.down_active {
            commands.push(Command::SetSubscriptionActive(joined.down.1, down_active));
        }
        (joined.up_active, joined.down_active) = (up_active, down_active);
        self.joined = Some(joined);
        commands
    }

    /// Tells which way media is to flow: to the plain leg, to the browser.
    fn active(&self, remote: &PlainRemote) -> (bool, bool) {
        (
            self.flow.sends() && !remote.rtp.ip().is_unspecified(),
            self.flow.receives(),
        )
    }

    fn add_up_track(&self, joined: &Joined) -> Command {
        let browser = self.browser.as_ref();
        Command::AddTrack(Box::new(TrackSpec {
            id: joined.up.0,
            transport: joined.transports.webrtc,
            mid: browser.map(|browser| browser.mid.clone()).unwrap_or_default(),
            kind: MediaKind::Audio,
            payloads: format::arriving(&self.formats, |format| format.webrtc),
            encodings: vec![EncodingSpec {
                rid: String::new(),
                ssrc: browser.and_then(|browser| browser.ssrc).map(|ssrc| (ssrc, None)),
            }],
            extensions: Extensions::default(),
            feedback: Feedback::default(),
        }))
    }

    fn add_down_track(&self, joined: &Joined) -> Command {
        Command::AddTrack(Box::new(TrackSpec {
            id: joined.down.0,
            transport: joined.transports.plain,
            mid: String::new(),
            kind: MediaKind::Audio,
            payloads: format::arriving(&self.formats, |format| format.plain),
            encodings: Vec::new(),
            extensions: Extensions::default(),
            feedback: Feedback::default(),
        }))
    }

    fn add_up(&self, joined: &Joined) -> Command {
        let payloads = format::relayed(&self.formats, |format| format.webrtc, |format| format.plain);
        let (track, id) = joined.up;
        let to = joined.transports.plain;
        subscribe(id, track, to, String::new(), &self.plain, payloads, joined.up_active)
    }

    fn add_down(&self, joined: &Joined) -> Command {
        let payloads = format::relayed(&self.formats, |format| format.plain, |format| format.webrtc);
        let mid = self
            .browser
            .as_ref()
            .map(|browser| browser.mid.clone())
            .unwrap_or_default();
        let (track, id) = joined.down;
        let to = joined.transports.webrtc;
        subscribe(id, track, to, mid, &self.webrtc, payloads, joined.down_active)
    }
}

fn subscribe(
    id: SubscriptionId,
    track: TrackId,
    transport: TransportId,
    mid: String,
    leg: &Leg,
    payloads: Vec<(u8, u8, Option<u8>)>,
    active: bool,
) -> Command {
    Command::AddSubscription(Box::new(SubscriptionSpec {
        id,
        track,
        transport,
        mid,
        ssrc: leg.ssrc,
        rtx_ssrc: None,
        payloads,
        extensions: Extensions::default(),
        feedback: Feedback::default(),
        cname: leg.cname.clone(),
        active,
        layers: Layers::default(),
    }))
}
