//! The one PeerConnection that a handle may have: its WebRTC transport, its place in offer and answer, its end.

use serde_json::json;
use voex_base::{TransportId, WorkerId};
use voex_sfu::command::{Command, MediaKind};

use crate::host::{HandleId, HangupReason, Host};
use crate::reply;

/// A WebRTC transport of a handle, as the control plane knows it.
pub(crate) struct PeerConnection {
    pub(crate) worker: WorkerId,
    pub(crate) transport: TransportId,
    /// Our ICE user name fragment.
    pub(crate) ufrag: String,
    /// Our ICE password.
    pub(crate) pwd: String,
    /// `webrtcup` has been sent.
    pub(crate) up: bool,
    /// An offer of ours waits for its answer.
    pub(crate) awaits_answer: bool,
}

impl Host {
    /// Closes the PeerConnection of a handle and tells the client why; nothing when there is none. The plugin is not
    /// called back.
    pub(crate) fn close_peer_connection(&mut self, handle: HandleId, reason: HangupReason) {
        if self.drop_peer_connection(handle, true) {
            self.push_core_event(handle, "hangup", json!({ "reason": reason.text() }));
        }
    }

    /// Gives the PeerConnection of a handle.
    pub(crate) fn peer_connection(&self, handle: HandleId) -> Option<&PeerConnection> {
        self.handles.get(&handle)?.peer_connection.as_ref()
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

    /// Sends an event of the core on a handle.
    pub(crate) fn push_core_event(&mut self, handle: HandleId, janus: &str, rest: serde_json::Value) {
        let Some(owner) = self.handles.get(&handle) else { return };
        let session = owner.session;
        self.send_to_session(session, reply::core_event(janus, session, handle, rest));
    }
}

/// Gives the name of a kind of medium in events and stream objects.
pub(crate) fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
