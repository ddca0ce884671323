//! The `webrtc` block of `handle_info`: ICE, DTLS, extensions and media of a PeerConnection.

use serde_json::{Map, Value, json};
use voex_sdp::{Kind, Media};
use voex_sfu::command::DtlsRole;

use super::handle_info::media;
use crate::host::Host;
use crate::peer_connection::PeerConnection;

pub(super) fn describe(host: &Host, pc: &PeerConnection) -> Value {
    let mut webrtc = Map::new();
    webrtc.insert("ice".into(), ice(host, pc));
    webrtc.insert("dtls".into(), dtls(host, pc));
    webrtc.insert("extensions".into(), extensions(pc));
    webrtc.insert("bwe".into(), bwe(pc));
    webrtc.insert("media".into(), all_media(pc));
    Value::Object(webrtc)
}

fn ice(host: &Host, pc: &PeerConnection) -> Value {
    let mut ice = Map::new();
    let state = match (pc.up, pc.has_remote()) {
        (true, _) => "ready",
        (false, true) => "connecting",
        (false, false) => "gathering",
    };
    ice.insert("stream_id".into(), 1.into());
    ice.insert("component_id".into(), 1.into());
    ice.insert("state".into(), state.into());
    ice.insert("gathered".into(), host.monotonic_us(pc.created).into());
    if let Some(up_at) = pc.up_at {
        ice.insert("connected".into(), host.monotonic_us(up_at).into());
    }
    ice.insert("local-candidates".into(), candidates(media(pc).next()));
    let remote = pc.remote_description.as_ref();
    let remote = remote.and_then(|remote| remote.media.iter().find(|media| !media.is_rejected()));
    ice.insert("remote-candidates".into(), candidates(remote));
    ice.insert("ready".into(), u8::from(pc.up).into());
    Value::Object(ice)
}

fn candidates(media: Option<&Media>) -> Value {
    let candidates = media.into_iter().flat_map(|media| &media.candidates);
    candidates.map(|candidate| json!(candidate.to_string())).collect()
}

fn dtls(host: &Host, pc: &PeerConnection) -> Value {
    let mut dtls = Map::new();
    let digest = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":")
    };
    dtls.insert("fingerprint".into(), digest(&host.config.fingerprint_sha256).into());
    if let Some(remote) = &pc.remote {
        dtls.insert("remote-fingerprint".into(), digest(&remote.fingerprint).into());
        dtls.insert(
            "remote-fingerprint-hash".into(),
            remote.fingerprint_hash.as_str().into(),
        );
        let role = match remote.dtls_role {
            DtlsRole::Client => "active",
            DtlsRole::Server => "passive",
        };
        dtls.insert("dtls-role".into(), role.into());
    }
    let state = match (pc.up, pc.has_remote()) {
        (true, _) => "connected",
        (false, true) => "trying",
        (false, false) => "created",
    };
    dtls.insert("dtls-state".into(), state.into());
    dtls.insert("valid".into(), pc.up.into());
    dtls.insert("ready".into(), pc.up.into());
    if let Some(up_at) = pc.up_at {
        dtls.insert("connected".into(), host.monotonic_us(up_at).into());
    }
    Value::Object(dtls)
}

fn extensions(pc: &PeerConnection) -> Value {
    let extmaps = media(pc).flat_map(|media| &media.extmaps);
    Value::Object(extmaps.map(|extmap| (extmap.uri.clone(), extmap.id.into())).collect())
}

fn bwe(pc: &PeerConnection) -> Value {
    let id = media(pc).find_map(|media| media.extension(voex_bridge::media::uri::TRANSPORT_CC));
    match id {
        Some(id) => json!({"twcc": true, "twcc-ext-id": id}),
        None => json!({"twcc": false}),
    }
}

fn all_media(pc: &PeerConnection) -> Value {
    let Some(local) = &pc.local_description else {
        return json!({});
    };
    let remote = pc.remote_description.as_ref();
    let lines = local.media.iter().enumerate();
    let lines = lines.map(|(index, ours)| {
        let theirs = remote.and_then(|remote| remote.media.get(index));
        let mid = ours.mid.clone().unwrap_or_else(|| index.to_string());
        let medium = medium(index, &mid, ours, theirs);
        (mid, medium)
    });
    Value::Object(lines.collect())
}

fn medium(index: usize, mid: &str, ours: &Media, theirs: Option<&Media>) -> Value {
    let mut medium = Map::new();
    let kind = match ours.kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
        Kind::Application | Kind::Other(_) => "data",
    };
    medium.insert("type".into(), kind.into());
    medium.insert("mindex".into(), index.into());
    medium.insert("mid".into(), mid.into());
    if kind == "data" {
        return Value::Object(medium);
    }
    let has_nack = ours.payloads.iter().any(|payload| payload.has_feedback("nack"));
    medium.insert("do_nacks".into(), has_nack.into());
    medium.insert("ssrc".into(), ssrcs(ours, theirs));
    if let Some(rids) = theirs.map(Media::sent_rids).filter(|rids| !rids.is_empty()) {
        medium.insert("rid-simulcast".into(), json!({ "rid": rids }));
    }
    let is_used = !ours.is_rejected();
    let (sends, receives) = (ours.direction.sends(), ours.direction.receives());
    medium.insert(
        "direction".into(),
        json!({"send": is_used && sends, "recv": is_used && receives}),
    );
    if let Some(payload) = ours.payloads.first() {
        let rtx = ours.rtx_of(payload.payload_type).map(|rtx| rtx.payload_type);
        let mut codecs = Map::new();
        codecs.insert("pt".into(), payload.payload_type.into());
        if let Some(rtx) = rtx {
            codecs.insert("rtx-pt".into(), rtx.into());
        }
        codecs.insert("codec".into(), payload.name.to_ascii_lowercase().into());
        medium.insert("codecs".into(), Value::Object(codecs));
    }
    Value::Object(medium)
}

fn ssrcs(ours: &Media, theirs: Option<&Media>) -> Value {
    let mut ssrcs = Map::new();
    let mut put = |name: &str, ssrc: Option<u32>| {
        if let Some(ssrc) = ssrc {
            ssrcs.insert(name.to_owned(), ssrc.into());
        }
    };
    let own = ours.first_ssrc();
    put("ssrc", own.map(|(ssrc, _)| ssrc));
    put("ssrc-rtx", own.and_then(|(_, rtx)| rtx));
    let peer = theirs.and_then(Media::first_ssrc);
    put("ssrc-peer", peer.map(|(ssrc, _)| ssrc));
    put("ssrc-peer-rtx", peer.and_then(|(_, rtx)| rtx));
    Value::Object(ssrcs)
}
