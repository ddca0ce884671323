//! What participants and the server say to each other before media flows.

use serde_json::{Value, json};

use super::api::{PLUGIN, failure_of, id_of};
use super::conference::{Load, Timer};
use super::connection::Connection;
use super::peer::{Role, State, flows};
use super::sdp;
use crate::LoadError;

impl Load<'_> {
    /// Makes the rooms.
    pub(super) fn make_rooms(&mut self) -> Result<(), LoadError> {
        for &room in &self.rooms {
            let request = json!({
                "request": "create",
                "room": room,
                "publishers": self.plan.publishers.max(1),
                "description": "voex-load",
                "audiocodec": "opus",
                "videocodec": "vp8",
                // No cap: publishers send what they were told to.
                "bitrate": 0,
            });
            self.api.ask_plugin("creating a room", self.admin, request)?;
        }
        Ok(())
    }

    /// Removes the rooms, and all that is left with them.
    pub(super) fn remove_rooms(&mut self) -> Result<(), LoadError> {
        for &room in &self.rooms {
            let request = json!({ "request": "destroy", "room": room });
            self.api.ask_plugin("removing a room", self.admin, request)?;
        }
        self.api
            .ask("ending the session", json!({ "janus": "destroy" }))
            .map(drop)
    }

    /// Lets a participant come.
    pub(super) fn begin(&mut self, index: usize) -> Result<(), LoadError> {
        self.peers[index].state = State::Attaching;
        let request = json!({ "janus": "attach", "plugin": PLUGIN });
        self.api.send(&format!("p{index}"), request)
    }

    /// Takes what the server has said.
    pub(super) fn hear(&mut self) -> Result<(), LoadError> {
        while let Some(message) = self.api.poll()? {
            let by_transaction = message["transaction"]
                .as_str()
                .and_then(|text| text.strip_prefix('p')?.parse().ok());
            let by_sender = || self.by_handle.get(&message["sender"].as_u64()?).copied();
            let Some(index) = by_transaction
                .or_else(by_sender)
                .filter(|index| *index < self.peers.len())
            else {
                if message["janus"] == "timeout" {
                    return Err(self.refused(0, "the server ended the session: it was silent for too long".into()));
                }
                continue;
            };
            if let Some(why) = failure_of(&message) {
                return Err(self.refused(index, why));
            }
            self.hear_of(index, &message)?;
        }
        Ok(())
    }

    fn hear_of(&mut self, index: usize, message: &Value) -> Result<(), LoadError> {
        let peer = &mut self.peers[index];
        match message["janus"].as_str() {
            Some("success") if peer.state == State::Attaching => {
                let id = id_of(message);
                let handle = id.ok_or_else(|| self.refused(index, "no handle was given".into()))?;
                self.peers[index].handle = handle;
                self.by_handle.insert(handle, index);
                self.join(index)
            }
            Some("webrtcup") => {
                peer.is_announced = true;
                Ok(())
            }
            Some("hangup") if peer.state != State::Gone && !self.is_ending => {
                let reason = message["reason"].to_string();
                if peer.state != State::Up {
                    return Err(self.refused(index, format!("the server hung up: {reason}")));
                }
                peer.state = State::Gone;
                self.tally.faults.closed += 1;
                Ok(())
            }
            Some("event") => self.hear_event(index, &message["plugindata"]["data"], &message["jsep"]),
            _ => Ok(()),
        }
    }

    fn hear_event(&mut self, index: usize, data: &Value, jsep: &Value) -> Result<(), LoadError> {
        let peer = &self.peers[index];
        let is_publisher = matches!(peer.role, Role::Publisher { .. });
        match (data["videoroom"].as_str(), jsep["sdp"].as_str()) {
            (Some("joined"), _) if is_publisher && peer.state == State::Joining => self.publish(index),
            (Some("event"), Some(answer)) if is_publisher => self.take_answer(index, answer),
            (Some("attached"), Some(offer)) if !is_publisher && peer.state == State::Joining => {
                self.take_offer(index, offer)
            }
            _ => Ok(()),
        }
    }

    fn join(&mut self, index: usize) -> Result<(), LoadError> {
        let now_ns = self.now_ns();
        let peer = &mut self.peers[index];
        peer.state = State::Joining;
        peer.asked_ns = now_ns;
        let room = self.rooms[peer.room];
        let request = match &peer.role {
            Role::Publisher { feed, .. } => {
                json!({ "request": "join", "ptype": "publisher", "room": room, "id": feed, "display": "load" })
            }
            Role::Subscriber { feeds, substream, .. } => {
                let is_simulcast = self.plan.video.is_some_and(|video| video.simulcast);
                let mids = 0..self.plan.kinds();
                let audio = usize::from(self.plan.audio_bytes.is_some());
                let stream = |feed: u64, mid: usize| {
                    let mut stream = json!({ "feed": feed, "mid": mid.to_string() });
                    if is_simulcast && mid == audio {
                        stream["substream"] = (*substream).into();
                    }
                    stream
                };
                let per_room = self.plan.publishers;
                let feeds = feeds.iter().map(|index| (index % per_room) as u64 + 1);
                let streams: Vec<Value> = feeds
                    .flat_map(|feed| mids.clone().map(move |mid| stream(feed, mid)))
                    .collect();
                json!({ "request": "join", "ptype": "subscriber", "room": room, "streams": streams })
            }
        };
        let handle = peer.handle;
        self.api.message(&format!("p{index}"), handle, request, None)
    }

    fn publish(&mut self, index: usize) -> Result<(), LoadError> {
        let connection = self.open(index)?;
        let peer = &mut self.peers[index];
        let Role::Publisher { media, .. } = &peer.role else {
            return Ok(());
        };
        let offer = sdp::offer(connection.local(), &media.media());
        peer.connection = Some(connection);
        peer.state = State::Connecting;
        let handle = peer.handle;
        let request = json!({ "request": "publish" });
        self.api
            .message(&format!("p{index}"), handle, request, Some(("offer", offer)))
    }

    fn take_answer(&mut self, index: usize, answer: &str) -> Result<(), LoadError> {
        let now = std::time::Instant::now();
        let answer = sdp::parse(answer)?;
        let remote = sdp::remote(&answer, self.local)?;
        let peer = &mut self.peers[index];
        let (Role::Publisher { media, .. }, Some(connection)) = (&mut peer.role, &mut peer.connection) else {
            return Ok(());
        };
        media.agree(&answer)?;
        connection.connect(remote, true, &self.identity, now)?;
        self.wake(index, Timer::Connect);
        Ok(())
    }

    fn take_offer(&mut self, index: usize, offer: &str) -> Result<(), LoadError> {
        let now = std::time::Instant::now();
        let offer = sdp::parse(offer)?;
        let remote = sdp::remote(&offer, self.local)?;
        let mut connection = self.open(index)?;
        let answer = sdp::answer(connection.local(), &offer);
        let (plan, kinds) = (self.plan, self.plan.kinds());
        let peer = &mut self.peers[index];
        if let Role::Subscriber { media, feeds, .. } = &mut peer.role {
            // Lines come in the order they were asked for.
            let flows_of = |line: usize, is_audio| Some(flows(plan, *feeds.get(line / kinds)?, is_audio));
            media.expect(&offer, plan.audio_bytes, flows_of);
        }
        connection.connect(remote, false, &self.identity, now)?;
        peer.connection = Some(connection);
        peer.state = State::Connecting;
        let handle = peer.handle;
        self.wake(index, Timer::Connect);
        let request = json!({ "request": "start" });
        self.api
            .message(&format!("p{index}"), handle, request, Some(("answer", answer)))
    }

    /// Opens a connection's socket and watches it.
    fn open(&mut self, index: usize) -> Result<Connection, LoadError> {
        let connection = Connection::open(self.local, &self.identity, &mut self.rng)?;
        self.watch(&connection, index)?;
        Ok(connection)
    }

    fn refused(&self, index: usize, why: String) -> LoadError {
        let peer = &self.peers[index];
        let who = match peer.role {
            Role::Publisher { .. } => "publisher",
            Role::Subscriber { .. } => "subscriber",
        };
        LoadError::Api {
            request: format!("{who} {index} of room {}, {:?}", self.rooms[peer.room], peer.state).to_lowercase(),
            why,
        }
    }

    /// NTP time.
    pub(super) fn ntp(&self) -> u64 {
        let fraction = (u128::from(self.now_ns()) << 32) / 1_000_000_000;
        self.ntp_begin.wrapping_add(fraction as u64)
    }
}
