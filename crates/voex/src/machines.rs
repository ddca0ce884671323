//! Settings turned into the two machines of the control task.

use std::time::Duration;

use serde_json::{Map, Value, json};
use voex_config::{RoomField, Settings};
use voex_transport::Certificate;

use crate::addresses::Addresses;
use crate::events;
use crate::media::{self, Media, RtpPairs};
use crate::signalling::SipSockets;

/// What the Janus gateway is made with.
pub(crate) fn gateway(
    settings: &Settings,
    addresses: &Addresses,
    media: &Media,
    certificate: &Certificate,
    pairs: RtpPairs,
) -> voex_janus::Config {
    let workers = media.candidates(addresses);
    let first = workers.first().and_then(|worker| worker.candidates.first());
    voex_janus::Config {
        server_name: settings.turn.realm.clone().unwrap_or_else(media::host_name),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint_sha256: certificate.fingerprint_sha256(),
        public_ip: first.map_or_else(|| addresses.primary(), |candidate| candidate.address.ip()),
        workers,
        session_timeout: Duration::from_secs(settings.mcu.session_timeout_s.into()),
        reclaim_timeout: Duration::from_secs(settings.mcu.reclaim_timeout_s.into()),
        api_secret: revealed(&settings.mcu.api_secret),
        rooms: settings.mcu.rooms.iter().map(|one| room(settings, one)).collect(),
        options: options(settings),
        rtp_ports: Box::new(pairs),
    }
}

fn revealed(secret: &Option<voex_config::Secret>) -> Option<String> {
    secret.as_ref().map(|secret| secret.reveal().to_owned())
}

fn options(settings: &Settings) -> voex_janus::Options {
    voex_janus::Options {
        string_ids: settings.mcu.string_ids,
        token_auth: settings.mcu.token_auth,
        token_secret: revealed(&settings.mcu.token_secret),
        opaque_id_in_api: settings.mcu.opaque_id_in_api,
        admin_secret: revealed(&settings.mcu.admin_secret),
        admin_key: revealed(&settings.mcu.admin_key),
        lock_rtp_forward: settings.mcu.lock_rtp_forward,
        events: !events::packages(&settings.mcu.events).is_empty(),
        event_handlers: events::packages(&settings.mcu.events),
        recordings_dir: settings.mcu.recordings_dir.clone(),
        keep_descriptions: settings.mcu.admin_listen.is_some(),
    }
}

/// Writes a room of the settings as the `create` that would make it.
fn room(settings: &Settings, room: &voex_config::StaticRoom) -> (voex_janus::Id, Map<String, Value>) {
    let id = match room.id.parse() {
        Ok(number) if !settings.mcu.string_ids => voex_janus::Id::Number(number),
        _ => voex_janus::Id::from(room.id.as_str()),
    };
    let field = |field: &RoomField| match field {
        RoomField::Flag(flag) => json!(flag),
        RoomField::Number(number) => json!(number),
        RoomField::Text(text) => json!(text),
        RoomField::Secret(secret) => json!(secret.reveal()),
        RoomField::Secrets(secrets) => secrets.iter().map(|secret| json!(secret.reveal())).collect(),
    };
    let fields = room
        .fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), field(value)));
    (id, fields.collect())
}

/// What the SIP endpoint is made with.
pub(crate) fn endpoint(settings: &Settings, sockets: &SipSockets) -> voex_sip::Config {
    voex_sip::Config {
        listen: sockets.listens(),
        user_agent: concat!("voex/", env!("CARGO_PKG_VERSION")).to_owned(),
        timers: voex_sip::TimerConfig::default(),
        allow: settings
            .sip
            .trunks
            .iter()
            .flat_map(|trunk| trunk.allow.clone())
            .collect(),
        allow_account_hosts: true,
        strangers: voex_sip::Strangers::Refuse,
        limits: voex_sip::Limits::default(),
    }
}
