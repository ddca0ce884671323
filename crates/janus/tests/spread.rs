//! A room that grows onto a second worker, as the workers are told of it.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voex_base::{Rng, TrackId, TransportId, WallTime, WorkerId};
use voex_janus::{
    Candidate, Config, ConnectionId, Gateway, Metrics, Output, PortsExhausted, RtpPair, RtpPorts, WorkerMedia,
};
use voex_sfu::command::{Channel, Command, DataKind, DataMessage, DataReach, Event};

const CTS: ConnectionId = ConnectionId(0);
const HOME: WorkerId = WorkerId(0);
const OTHER: WorkerId = WorkerId(1);
/// Audio, video and data of one publisher: enough subscribers for the load that a worker keeps, and as many again.
const SUBSCRIBERS: usize = 130;

struct NoPorts;

impl RtpPorts for NoPorts {
    fn open(&mut self, _: WorkerId, _: Option<IpAddr>) -> Result<RtpPair, PortsExhausted> {
        Err(PortsExhausted)
    }

    fn close(&mut self, _: WorkerId, _: RtpPair) {}
}

/// A room with one publisher and many subscribers, on two workers.
struct Host {
    gateway: Gateway,
    now: Instant,
    commands: Vec<(WorkerId, Command)>,
    replies: Vec<Value>,
    publisher: u64,
    /// Handles of the subscribers, in the order in which they came.
    subscribers: Vec<u64>,
}

impl Host {
    fn new() -> Self {
        let media = |worker: WorkerId| WorkerMedia {
            worker,
            candidates: vec![Candidate {
                address: format!("192.0.2.1:{}", 20_000 + worker.0).parse().unwrap(),
            }],
        };
        let config = Config {
            server_name: "test".to_owned(),
            version: "0.1.0".to_owned(),
            workers: [HOME, OTHER].map(media).to_vec(),
            fingerprint_sha256: [0; 32],
            public_ip: IpAddr::from([192, 0, 2, 1]),
            session_timeout: Duration::from_secs(60),
            reclaim_timeout: Duration::ZERO,
            api_secret: None,
            rooms: Vec::new(),
            options: voex_janus::Options::default(),
            rtp_ports: Box::new(NoPorts),
        };
        let mut gateway = Gateway::new(config, Rng::from_number(1), Arc::new(Metrics::default()));
        let now = Instant::now();
        gateway.handle_open(now, CTS, IpAddr::from([127, 0, 0, 1]));
        let mut host = Self {
            gateway,
            now,
            commands: Vec::new(),
            replies: Vec::new(),
            publisher: 0,
            subscribers: Vec::new(),
        };
        host.says(json!({"janus": "create", "transaction": "c", "id": 1}));
        host.publisher = host.attaches();
        host.asks(host.publisher, json!({"request": "create", "room": 5}), None);
        host.asks(
            host.publisher,
            json!({"request": "joinandconfigure", "ptype": "publisher", "room": 5, "id": 77}),
            Some(("offer", include_str!("sdp/chromium-publisher-data.sdp"))),
        );
        host.last_transport_is_up();
        host
    }

    fn full() -> Self {
        let mut host = Self::new();
        for _ in 0..SUBSCRIBERS {
            host.subscribes();
        }
        host
    }

    fn last_transport_is_up(&mut self) {
        let opened = self.commands.iter().rev().find_map(|(worker, command)| match command {
            Command::OpenTransport(spec) => Some((*worker, spec.id)),
            _ => None,
        });
        let (worker, transport) = opened.unwrap();
        self.gateway
            .handle_media_event(self.now, worker, Event::TransportUp(transport));
        self.take();
    }

    fn subscribes(&mut self) -> u64 {
        let handle = self.attaches();
        let body = json!({"request": "join", "ptype": "subscriber", "room": 5, "streams": [{"feed": 77}]});
        self.asks(handle, body, None);
        self.subscribers.push(handle);
        handle
    }

    fn attaches(&mut self) -> u64 {
        self.says(json!({
            "janus": "attach", "transaction": "a", "session_id": 1, "plugin": "janus.plugin.videoroom",
        }));
        self.replies.last().unwrap()["data"]["id"].as_u64().unwrap()
    }

    fn asks(&mut self, handle: u64, body: Value, jsep: Option<(&str, &str)>) {
        let mut message = json!({
            "janus": "message", "transaction": "m", "session_id": 1, "handle_id": handle, "body": body,
        });
        if let Some((kind, sdp)) = jsep {
            message["jsep"] = json!({"type": kind, "sdp": sdp});
        }
        self.says(message);
        let refused = self.replies.last().unwrap()["plugindata"]["data"].get("error");
        assert_eq!(refused, None);
    }

    fn says(&mut self, message: Value) {
        let wall = WallTime::from_unix(Duration::from_secs(1_700_000_000));
        self.gateway.handle_message(self.now, wall, CTS, &message.to_string());
        self.take();
    }

    fn take(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Send { text, .. } => self.replies.push(serde_json::from_str(&text).unwrap()),
                Output::Media { worker, command } => self.commands.push((worker, command)),
                _ => {}
            }
        }
    }

    /// Which worker has each transport.
    fn transports(&self) -> HashMap<TransportId, WorkerId> {
        let opened = self.commands.iter().filter_map(|(worker, command)| match command {
            Command::OpenTransport(spec) => Some((spec.id, *worker)),
            _ => None,
        });
        opened.collect()
    }

    /// How often each worker was told something.
    fn told(&self, which: impl Fn(&Command) -> bool) -> [usize; 2] {
        [HOME, OTHER].map(|worker| {
            let told = self
                .commands
                .iter()
                .filter(|(to, command)| *to == worker && which(command));
            told.count()
        })
    }

    /// The publisher's tracks with packets, and that with messages.
    fn tracks(&self) -> (Vec<TrackId>, TrackId) {
        let packets = self.commands.iter().filter_map(|(_, command)| match command {
            Command::AddTrack(spec) => Some(spec.id),
            _ => None,
        });
        let mut messages = self.commands.iter().filter_map(|(_, command)| match command {
            Command::AddDataTrack(spec) => Some(spec.id),
            _ => None,
        });
        (packets.collect(), messages.next().unwrap())
    }

    fn publisher_transport(&self) -> TransportId {
        let mut of_data = self.commands.iter().filter_map(|(_, command)| match command {
            Command::AddDataTrack(spec) => Some(spec.transport),
            _ => None,
        });
        of_data.next().unwrap()
    }

    fn message_of(&mut self, transport: TransportId, text: &str) {
        let message = DataMessage {
            channel: Arc::new(Channel::reliable("chat")),
            kind: DataKind::Text,
            payload: text.to_owned().into(),
        };
        self.gateway
            .handle_media_event(self.now, HOME, Event::DataReceived(transport, message));
        self.take();
    }
}

#[test]
fn a_room_stays_at_home_until_that_is_busy_and_then_its_tracks_are_piped_once_each() {
    let mut host = Host::new();
    for _ in 0..60 {
        host.subscribes();
    }
    assert!(host.transports().values().all(|worker| *worker == HOME));
    while host.subscribers.len() < SUBSCRIBERS {
        host.subscribes();
    }
    let there = host.transports().values().filter(|worker| **worker == OTHER).count();
    assert!((45..=60).contains(&there), "{there} of {SUBSCRIBERS}");
    assert_eq!(
        host.told(|command| matches!(command, Command::AddPipedTrack(HOME, _))),
        [0, 2]
    );
    let subscribed = host.told(|command| matches!(command, Command::AddSubscription(_)));
    assert_eq!(subscribed, [2 * (SUBSCRIBERS - there), 2 * there]);
    for (worker, command) in &host.commands {
        if let Command::AddSubscription(spec) = command {
            assert_eq!(host.transports()[&spec.transport], *worker);
        }
    }
}

#[test]
fn who_leaves_makes_room_at_home_again() {
    let mut host = Host::full();
    let home: Vec<_> = host.subscribers[..60].to_vec();
    for handle in home {
        host.says(json!({"janus": "detach", "transaction": "d", "session_id": 1, "handle_id": handle}));
    }
    host.commands.clear();
    host.subscribes();
    assert_eq!(host.transports().into_values().collect::<Vec<_>>(), [HOME]);
}

#[test]
fn what_is_muted_is_muted_on_both_workers() {
    let mut host = Host::full();
    host.commands.clear();
    host.asks(host.publisher, json!({"request": "configure", "audio": false}), None);
    let muted = |command: &Command| matches!(command, Command::SetTrackRelayed(_, false));
    assert_eq!(host.told(muted), [1, 1]);
}

#[test]
fn a_track_that_is_muted_before_it_is_piped_is_piped_muted() {
    let mut host = Host::new();
    host.asks(host.publisher, json!({"request": "configure", "audio": false}), None);
    while host.subscribers.len() < SUBSCRIBERS {
        host.subscribes();
    }
    let muted = |command: &Command| matches!(command, Command::SetTrackRelayed(_, false));
    assert_eq!(host.told(muted)[1], 1);
}

#[test]
fn a_publisher_that_leaves_is_gone_from_both_workers() {
    let mut host = Host::full();
    let (tracks, _) = host.tracks();
    host.commands.clear();
    host.asks(host.publisher, json!({"request": "unpublish"}), None);
    let removed = |command: &Command| matches!(command, Command::RemoveTrack(track) if tracks.contains(track));
    assert_eq!(host.told(removed)[1], 2);
    assert_eq!(
        host.told(|command| matches!(command, Command::CloseTransport(_))),
        [1, 0]
    );
}

#[test]
fn a_message_of_a_data_channel_reaches_the_other_worker_once_and_its_sender_is_charged_for_all() {
    let mut host = Host::full();
    let (_, data) = host.tracks();
    let publisher = host.publisher_transport();
    let there = host.transports().values().filter(|worker| **worker == OTHER).count();
    let reaches = host.commands.iter().filter_map(|(to, command)| match command {
        Command::SetDataReach(track, reach) if *track == data && *to == HOME => Some(*reach),
        _ => None,
    });
    let all = DataReach {
        is_reported: true,
        far_subscriptions: there,
    };
    assert_eq!(reaches.last(), Some(all));
    let subscribed = host.told(|command| matches!(command, Command::AddDataSubscription(_)));
    assert_eq!(subscribed, [SUBSCRIBERS - there, there]);
    host.commands.clear();
    host.message_of(publisher, "hello");
    let sent = |command: &Command| matches!(command, Command::SendPipedData(track, message) if *track == data && *message.payload == *b"hello");
    assert_eq!(host.told(sent), [0, 1], "those at home got it on their worker");
}

#[test]
fn with_the_last_subscription_on_a_worker_the_pipes_to_it_end() {
    let mut host = Host::full();
    let (packets, data) = host.tracks();
    let publisher = host.publisher_transport();
    let mut far: Vec<u64> = Vec::new();
    for handle in host.subscribers.clone() {
        host.commands.clear();
        host.says(json!({"janus": "detach", "transaction": "d", "session_id": 1, "handle_id": handle}));
        if host.told(|command| matches!(command, Command::CloseTransport(_))) == [0, 1] {
            far.push(handle);
        }
        let ended: Vec<_> = host
            .commands
            .iter()
            .filter_map(|(to, command)| match command {
                Command::RemoveTrack(track) => Some((*to, *track)),
                _ => None,
            })
            .collect();
        let all: Vec<_> = packets.iter().chain([&data]).map(|track| (OTHER, *track)).collect();
        if !ended.is_empty() {
            assert_eq!(ended.len(), 3, "all at once");
            assert!(ended.iter().all(|gone| all.contains(gone)));
            let reach = |command: &Command| matches!(command, Command::SetDataReach(_, reach) if !reach.is_reported && reach.far_subscriptions == 0);
            assert_eq!(host.told(reach), [1, 0]);
        }
    }
    assert!(far.len() > 40, "{}", far.len());
    host.commands.clear();
    host.message_of(publisher, "again");
    assert!(host.commands.is_empty(), "{:?}", host.commands);
}

#[test]
fn rooms_that_are_made_ahead_of_time_are_spread_and_small_meetings_stay_whole() {
    let mut host = Host::new();
    let rooms = 40;
    for room in 0..rooms {
        host.asks(
            host.publisher,
            json!({"request": "create", "room": 100 + room, "publishers": 8}),
            None,
        );
    }
    let mut homes = [0, 0];
    for room in 0..rooms {
        host.commands.clear();
        for member in 0..8 {
            let handle = host.attaches();
            let body =
                json!({"request": "joinandconfigure", "ptype": "publisher", "room": 100 + room, "id": 10 + member});
            host.asks(
                handle,
                body,
                Some(("offer", include_str!("sdp/chromium-publisher.sdp"))),
            );
            host.last_transport_is_up();
            let handle = host.attaches();
            let feeds: Vec<_> = (0..member).map(|other| json!({"feed": 10 + other})).collect();
            if !feeds.is_empty() {
                let body = json!({"request": "join", "ptype": "subscriber", "room": 100 + room, "streams": feeds});
                host.asks(handle, body, None);
            }
        }
        let used = host.told(|command| matches!(command, Command::OpenTransport(_)));
        assert!(
            used.contains(&0),
            "the meeting in room {room} is on both workers: {used:?}"
        );
        homes[usize::from(used[0] == 0)] += 1;
    }
    assert!(homes.iter().all(|homes| (15..=25).contains(homes)), "{homes:?}");
}
