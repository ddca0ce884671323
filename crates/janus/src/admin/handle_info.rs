//! `handle_info`: all that the gateway knows of a handle.

use serde_json::{Map, Value, json};
use voex_sdp::{Kind, Media};

use crate::gateway::Gateway;
use crate::host::HandleId;
use crate::info;
use crate::peer_connection::PeerConnection;
use crate::session::SessionId;

use super::webrtc;

impl Gateway {
    pub(super) fn handle_info(&mut self, session: SessionId, handle: HandleId, plugin_only: bool) -> Value {
        let mut info = self.about_session(session);
        let Some(known) = self.host.handles.get(&handle) else {
            return Value::Object(info);
        };
        let plugin = known.plugin;
        let mut put = |name: &str, value: Value| {
            info.insert(name.to_owned(), value);
        };
        put("handle_id", handle.0.into());
        if let Some(opaque_id) = &known.about.opaque_id {
            put("opaque_id", opaque_id.as_str().into());
        }
        if let Some(token) = &known.about.token {
            put("token", token.as_str().into());
        }
        put("loop-running", true.into());
        put("created", self.host.monotonic_us(known.created).into());
        put("current_time", self.host.monotonic_us(self.host.now()).into());
        put("plugin", plugin.about().package.into());
        if let Some(specific) = self.plugins.of(plugin).describe(&self.host, handle) {
            put("plugin_specific", specific);
        }
        if plugin_only {
            return Value::Object(info);
        }
        let pc = self.host.peer_connection(handle);
        put("flags", flags(pc));
        if let Some(pc) = pc {
            put("agent-created", self.host.monotonic_us(pc.created).into());
            put("agent-started", self.host.monotonic_us(pc.created).into());
            put("ice-mode", "lite".into());
            put("ice-role", "controlled".into());
        }
        put("sdps", sdps(pc));
        put("queued-packets", 0.into());
        if let Some(pc) = pc {
            put("webrtc", webrtc::describe(&self.host, pc));
        }
        Value::Object(info)
    }

    fn about_session(&self, session: SessionId) -> Map<String, Value> {
        let mut info = Map::new();
        info.insert("session_id".into(), session.0.into());
        if let Some(known) = self.host.sessions.get(session) {
            let timeout = known.timeout.unwrap_or(self.host.config.session_timeout);
            info.insert(
                "session_last_activity".into(),
                self.host.monotonic_us(known.active_at).into(),
            );
            info.insert("session_timeout".into(), timeout.as_secs().into());
            if known.connection.is_some() {
                info.insert("session_transport".into(), info::WEBSOCKETS.into());
            }
        }
        info
    }
}

/// Gives the m-lines that both sides use.
pub(super) fn media(pc: &PeerConnection) -> impl Iterator<Item = &Media> {
    let local = pc.local_description.iter().flat_map(|local| &local.media);
    local.filter(|media| !media.is_rejected())
}

fn flags(pc: Option<&PeerConnection>) -> Value {
    let is = |test: fn(&PeerConnection) -> bool| pc.is_some_and(test);
    let has_remote = is(PeerConnection::has_remote);
    let has_kind = |kind: Kind| pc.is_some_and(|pc| media(pc).any(|media| media.kind == kind));
    let has_rtx = |pc: &PeerConnection| media(pc).any(|media| media.payloads.iter().any(|payload| payload.is("rtx")));
    json!({
        "got-offer": is(|pc| pc.has_remote() && !pc.offers()),
        "got-answer": is(|pc| pc.has_remote() && pc.offers()),
        "negotiated": has_remote,
        "processing-offer": is(|pc| pc.awaits_answer),
        "starting": has_remote && !is(|pc| pc.up),
        "ice-restart": false,
        "ready": is(|pc| pc.up),
        "stopped": false,
        "alert": false,
        "trickle": true,
        "all-trickles": has_remote,
        "resend-trickles": false,
        "trickle-synced": false,
        "data-channels": has_kind(Kind::Application),
        "has-audio": has_kind(Kind::Audio),
        "has-video": has_kind(Kind::Video),
        "new-datachan-sdp": has_kind(Kind::Application),
        "rfc4588-rtx": pc.is_some_and(has_rtx),
        "cleaning": false,
        "e2ee": is(|pc| pc.e2ee),
    })
}

fn sdps(pc: Option<&PeerConnection>) -> Value {
    let mut sdps = Map::new();
    if let Some(pc) = pc {
        sdps.insert("profile".into(), "UDP/TLS/RTP/SAVPF".into());
        let sides = [("local", &pc.local_description), ("remote", &pc.remote_description)];
        let texts = sides
            .into_iter()
            .filter_map(|(name, side)| Some((name.to_owned(), side.as_ref()?.to_string().into())));
        sdps.extend(texts);
    }
    Value::Object(sdps)
}
