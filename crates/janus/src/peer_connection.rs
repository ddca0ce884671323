//! The one PeerConnection that a handle may have: its WebRTC transport, its place in offer and answer, its end.
//!
//! ```text
//!  client offers:  answer() ──► OpenTransport, SetRemote ──► answer text ... webrtcup     answer() again renegotiates
//!  server offers:  offer()  ──► OpenTransport ──► offer text ... accept_answer() ──► SetRemote ... webrtcup
//! ```
//!
//! ICE credentials, fingerprint and candidates are fixed when the transport opens, so a description can leave at once.
//! A renegotiation keeps the transport; changed credentials of the remote reach the worker as an ICE restart, and our
//! own stay what they are (as a lite agent gathers nothing anew; RFC 8445 §9 wants them changed, browsers do not mind).

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};
use voex_base::{TransportId, WorkerId};
use voex_bridge::media::remote_parameters;
use voex_sdp::webrtc::{self, Local, Offered, Section};
use voex_sdp::{Candidate, Description, Fingerprint, Ice, Kind, Media};
use voex_sfu::command::{
    Command, DownReason, MESSAGE_BYTES_MAX, MediaKind, RemoteParameters, TransportKind, TransportSpec,
};

use crate::event::{self, Topic};
use crate::host::{HandleId, HangupReason, Host};
use crate::jsep::{JsepKind, LocalJsep};
use crate::reply;

/// A WebRTC transport of a handle, as the control plane knows it.
pub(crate) struct PeerConnection {
    pub(crate) worker: WorkerId,
    pub(crate) transport: TransportId,
    ice: Ice,
    /// `webrtcup` has been sent.
    pub(crate) up: bool,
    /// An offer of ours waits for its answer.
    pub(crate) awaits_answer: bool,
    /// Session id of our offers.
    origin_id: u64,
    /// Version of our last offer.
    origin_version: u64,
    pub(crate) remote: Option<RemoteParameters>,
    /// The longest message of data channels that the remote takes, once data was negotiated.
    data_message_bytes_max: Option<usize>,
    pub(crate) e2ee: bool,
    pub(crate) created: Instant,
    /// When `webrtcup` was sent.
    pub(crate) up_at: Option<Instant>,
    /// The last descriptions of both sides, where the admin API may ask for them.
    pub(crate) local_description: Option<Box<Description>>,
    pub(crate) remote_description: Option<Box<Description>>,
}

impl PeerConnection {
    pub(crate) fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Tells whether the offers are ours.
    pub(crate) fn offers(&self) -> bool {
        self.origin_version > 0
    }
}

/// A description that cannot make or change a PeerConnection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NegotiationError {
    /// No m-line that is in use has ICE credentials and a certificate fingerprint.
    NoTransport,
    /// There is no PeerConnection to answer for.
    NotOffered,
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTransport => "no ICE credentials or no fingerprint",
            Self::NotOffered => "no offer was made",
        })
    }
}

/// Length of our ICE user name fragment: more than the four characters of RFC 8839 §5.4, since the shared sockets
/// find the transport by it.
const UFRAG_LENGTH: usize = 8;
/// Length of our ICE password; RFC 8839 §5.4 wants 22 at least.
const PWD_LENGTH: usize = 22;

impl Host {
    /// Answers an offer, opening the PeerConnection of the handle on `worker` when there is none. `choose` says for
    /// each m-line what we do with it; `None` refuses it.
    pub(crate) fn answer(
        &mut self,
        handle: HandleId,
        worker: WorkerId,
        session_name: &str,
        offer: &Description,
        choose: impl FnMut(usize, &Media) -> Option<Section>,
    ) -> Result<LocalJsep, NegotiationError> {
        let remote = remote_parameters(offer).ok_or(NegotiationError::NoTransport)?;
        if self.is_another_remote(handle, &remote) {
            self.drop_peer_connection(handle, true);
        }
        let local = self.local(handle, worker, session_name);
        let answer = webrtc::answer(offer, &local, choose);
        let data = offer.media.iter().zip(&answer.media).find(|(_, ours)| is_data(ours));
        self.open_data(handle, data.map(|(theirs, _)| theirs));
        self.set_remote(handle, remote);
        let sdp = answer.to_string();
        self.keep_local(handle, answer);
        self.keep_remote(handle, offer);
        Ok(LocalJsep {
            kind: JsepKind::Answer,
            sdp,
            e2ee: false,
        })
    }

    /// Offers, opening the PeerConnection of the handle on `worker` when there is none.
    pub(crate) fn offer(
        &mut self,
        handle: HandleId,
        worker: WorkerId,
        session_name: &str,
        media: Vec<Offered>,
    ) -> LocalJsep {
        let local = self.local(handle, worker, session_name);
        let (id, version) = match self.peer_connection_mut(handle) {
            Some(pc) => {
                pc.awaits_answer = true;
                pc.origin_version += 1;
                (pc.origin_id, pc.origin_version)
            }
            None => (0, 0),
        };
        let offer = webrtc::offer(&local, id, version, media);
        let sdp = offer.to_string();
        self.keep_local(handle, offer);
        LocalJsep {
            kind: JsepKind::Offer,
            sdp,
            e2ee: false,
        }
    }

    /// Takes the answer to our offer.
    pub(crate) fn accept_answer(&mut self, handle: HandleId, answer: &Description) -> Result<(), NegotiationError> {
        let pc = self.peer_connection_mut(handle).filter(|pc| pc.awaits_answer);
        let pc = pc.ok_or(NegotiationError::NotOffered)?;
        let remote = remote_parameters(answer).ok_or(NegotiationError::NoTransport)?;
        pc.awaits_answer = false;
        self.open_data(handle, answer.media.iter().find(|media| is_data(media)));
        self.set_remote(handle, remote);
        self.keep_remote(handle, answer);
        Ok(())
    }

    fn keep_local(&mut self, handle: HandleId, local: Description) {
        let keeps = self.config.options.keep_descriptions;
        if let Some(pc) = self.peer_connection_mut(handle).filter(|_| keeps) {
            pc.local_description = Some(Box::new(local));
        }
    }

    fn keep_remote(&mut self, handle: HandleId, remote: &Description) {
        let keeps = self.config.options.keep_descriptions;
        if let Some(pc) = self.peer_connection_mut(handle).filter(|_| keeps) {
            pc.remote_description = Some(Box::new(remote.clone()));
        }
    }

    /// Closes the PeerConnection of a handle and tells the client why; nothing when there is none. The plugin is not
    /// called back.
    pub(crate) fn close_peer_connection(&mut self, handle: HandleId, reason: HangupReason) {
        if self.drop_peer_connection(handle, true) {
            self.push_hangup(handle, reason);
        }
    }

    /// Gives the PeerConnection of a handle.
    pub(crate) fn peer_connection(&self, handle: HandleId) -> Option<&PeerConnection> {
        self.handles.get(&handle)?.peer_connection.as_ref()
    }

    /// Tells whether the client has described itself on a handle.
    pub(crate) fn has_remote(&self, handle: HandleId) -> bool {
        self.peer_connection(handle).is_some_and(PeerConnection::has_remote)
    }

    /// Takes the PeerConnection of a handle away without a word to the client; true when there was one.
    /// `close` is false when the worker has closed the transport already.
    pub(crate) fn drop_peer_connection(&mut self, handle: HandleId, close: bool) -> bool {
        let Some(owner) = self.handles.get_mut(&handle) else {
            return false;
        };
        let Some(gone) = owner.peer_connection.take() else {
            return false;
        };
        self.forget_transport(gone.transport);
        self.metrics.peer_connections.add(-1);
        if close {
            self.media(gone.worker, Command::CloseTransport(gone.transport));
        }
        true
    }

    /// Tells the client, and who watches, that a PeerConnection is gone.
    pub(crate) fn push_hangup(&mut self, handle: HandleId, reason: HangupReason) {
        let reason = reason.text();
        if reason == HangupReason::Down(DownReason::IceFailed).text() {
            self.tell_ice(handle, "failed");
        }
        self.tell_of_handle(
            Topic::WebRtc,
            event::PEER_CONNECTION,
            handle,
            || json!({"connection": "hangup", "reason": reason}),
        );
        self.push_core_event(handle, "hangup", json!({ "reason": reason }));
    }

    /// Tells who watches that a PeerConnection is up.
    pub(crate) fn tell_up(&mut self, handle: HandleId) {
        self.tell_ice(handle, "connected");
        self.tell_ice(handle, "ready");
        self.tell_dtls(handle, "connected");
        self.tell_of_handle(
            Topic::WebRtc,
            event::PEER_CONNECTION,
            handle,
            || json!({"connection": "webrtcup"}),
        );
    }

    /// Tells who watches that media came or went, out of what the client is told.
    pub(crate) fn tell_media(&mut self, handle: HandleId, report: &Value) {
        self.tell_of_handle(Topic::Media, event::MEDIA_STATE, handle, || {
            let mut event = json!({"media": report["type"], "mid": report["mid"], "receiving": report["receiving"]});
            if let Some(seconds) = report.get("seconds") {
                event["seconds"] = seconds.clone();
            }
            event
        });
    }

    fn tell_ice(&mut self, handle: HandleId, state: &str) {
        self.tell_of_handle(
            Topic::WebRtc,
            event::ICE,
            handle,
            || json!({"ice": state, "stream_id": 1, "component_id": 1}),
        );
    }

    fn tell_dtls(&mut self, handle: HandleId, state: &str) {
        self.tell_of_handle(
            Topic::WebRtc,
            event::DTLS,
            handle,
            || json!({"dtls": state, "stream_id": 1, "component_id": 1, "retransmissions": 0}),
        );
    }

    /// Sends an event of the core on a handle.
    pub(crate) fn push_core_event(&mut self, handle: HandleId, janus: &str, rest: Value) {
        let Some(owner) = self.handles.get(&handle) else { return };
        let session = owner.session;
        let event = reply::core_event(janus, session, self.sender(handle), rest);
        self.send_to_session(session, event);
    }

    pub(crate) fn peer_connection_mut(&mut self, handle: HandleId) -> Option<&mut PeerConnection> {
        self.handles.get_mut(&handle)?.peer_connection.as_mut()
    }

    /// Gives what we say of ourselves in a description of the handle, opening its transport when there is none.
    fn local(&mut self, handle: HandleId, worker: WorkerId, session_name: &str) -> Local {
        let (worker, ice) = match self.peer_connection(handle) {
            Some(pc) => (pc.worker, pc.ice.clone()),
            None => (worker, self.open_peer_connection(handle, worker)),
        };
        let addresses = self.candidates(worker).into_iter();
        Local {
            session_name: session_name.to_owned(),
            address: self.config.public_ip,
            ice,
            fingerprint: Fingerprint {
                hash: "sha-256".to_owned(),
                bytes: self.config.fingerprint_sha256.to_vec(),
            },
            candidates: addresses
                .enumerate()
                .map(|(index, address)| host_candidate(index, address))
                .collect(),
            ice_lite: true,
        }
    }

    fn open_peer_connection(&mut self, handle: HandleId, worker: WorkerId) -> Ice {
        let transport = self.new_transport_id();
        let ice = Ice {
            ufrag: self.rng.token(UFRAG_LENGTH),
            pwd: self.rng.token(PWD_LENGTH),
        };
        let (origin_id, created) = (self.new_api_id(), self.now());
        let Some(owner) = self.handles.get_mut(&handle) else {
            return ice;
        };
        owner.peer_connection = Some(PeerConnection {
            worker,
            transport,
            ice: ice.clone(),
            up: false,
            awaits_answer: false,
            origin_id,
            origin_version: 0,
            remote: None,
            data_message_bytes_max: None,
            e2ee: false,
            created,
            up_at: None,
            local_description: None,
            remote_description: None,
        });
        self.own_transport(transport, handle, worker, None);
        self.metrics.peer_connections.add(1);
        let kind = TransportKind::WebRtc {
            local_ufrag: ice.ufrag.clone(),
            local_pwd: ice.pwd.clone(),
        };
        let spec = TransportSpec { id: transport, kind };
        self.media(worker, Command::OpenTransport(Box::new(spec)));
        self.tell_gathered(handle, worker);
        ice
    }

    /// Tells who watches of the candidates, which are all there from the start.
    fn tell_gathered(&mut self, handle: HandleId, worker: WorkerId) {
        if !self.config.options.events {
            return;
        }
        self.tell_ice(handle, "gathering");
        for (index, address) in self.candidates(worker).into_iter().enumerate() {
            self.tell_candidate(handle, &host_candidate(index, address).to_string());
        }
    }

    /// Gives the addresses at which a worker is reached.
    fn candidates(&self, worker: WorkerId) -> Vec<SocketAddr> {
        let media = self.config.workers.iter().find(|media| media.worker == worker);
        let candidates = media.into_iter().flat_map(|media| &media.candidates);
        candidates.map(|candidate| candidate.address).collect()
    }

    /// Tells whether an offer comes from another PeerConnection than the one we have: a certificate is for life.
    fn is_another_remote(&self, handle: HandleId, remote: &RemoteParameters) -> bool {
        let known = self.peer_connection(handle).and_then(|pc| pc.remote.as_ref());
        known.is_some_and(|known| known.fingerprint != remote.fingerprint)
    }

    /// Tells the worker that data channels were negotiated by this m-line of the remote, when that is news.
    fn open_data(&mut self, handle: HandleId, remote: Option<&Media>) {
        let (Some(remote), Some(pc)) = (remote, self.peer_connection_mut(handle)) else {
            return;
        };
        // Zero is no limit, and none said is 64 KiB (RFC 8841 §6).
        let message_bytes_max = match remote.max_message_size {
            None | Some(0) => MESSAGE_BYTES_MAX,
            Some(bytes) => usize::try_from(bytes)
                .unwrap_or(MESSAGE_BYTES_MAX)
                .min(MESSAGE_BYTES_MAX),
        };
        if pc.data_message_bytes_max != Some(message_bytes_max) {
            pc.data_message_bytes_max = Some(message_bytes_max);
            let (worker, transport) = (pc.worker, pc.transport);
            self.media(worker, Command::OpenData(transport, message_bytes_max));
        }
    }

    /// Tells the worker who the remote is, when that is news.
    fn set_remote(&mut self, handle: HandleId, remote: RemoteParameters) {
        let Some(pc) = self.peer_connection_mut(handle) else {
            return;
        };
        let known = pc
            .remote
            .as_ref()
            .is_some_and(|known| known.ufrag == remote.ufrag && known.pwd == remote.pwd);
        if known {
            return;
        }
        // The DTLS association outlives an ICE restart, and so does the role in it.
        let dtls_role = pc.remote.as_ref().map_or(remote.dtls_role, |first| first.dtls_role);
        let remote = RemoteParameters { dtls_role, ..remote };
        let (worker, transport) = (pc.worker, pc.transport);
        pc.remote = Some(remote.clone());
        self.media(worker, Command::SetRemote(transport, Box::new(remote)));
        self.tell_ice(handle, "connecting");
        self.tell_dtls(handle, "trying");
    }
}

/// Tells whether an m-line carries data channels.
pub(crate) fn is_data(media: &Media) -> bool {
    let is_channel = |format: &String| format == "webrtc-datachannel";
    media.kind == Kind::Application && !media.is_rejected() && media.formats.iter().any(is_channel)
}

/// Gives the name of a kind of medium in events and stream objects.
pub(crate) fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// Makes a host candidate (RFC 8445 §5.1.2.1): type preference 120, then 8192 counted down, then component 1.
fn host_candidate(index: usize, address: SocketAddr) -> Candidate {
    let foundation = index as u32 + 1;
    let local_preference = 8192_u32.saturating_sub(index as u32);
    let priority = (120 << 24) | (local_preference << 8) | 255;
    Candidate::host_udp(foundation, priority, address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_candidate_has_the_priority_that_clients_know() {
        let address = "203.0.113.10:26412".parse().expect("an address");
        assert_eq!(
            host_candidate(0, address).to_string(),
            "1 1 udp 2015363327 203.0.113.10 26412 typ host"
        );
    }
}
