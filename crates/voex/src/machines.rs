//! Settings turned into the two machines of the control task.

use std::time::Duration;

use voex_config::Settings;
use voex_transport::Certificate;

use crate::addresses::Addresses;
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
        api_secret: settings
            .mcu
            .api_secret
            .as_ref()
            .map(|secret| secret.reveal().to_owned()),
        rooms: settings.mcu.rooms.iter().map(room).collect(),
        rtp_ports: Box::new(pairs),
    }
}

fn room(room: &voex_config::StaticRoom) -> (u64, voex_janus::RoomConfig) {
    let reveal = |secret: &Option<voex_config::Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
    let default = voex_janus::RoomConfig::default();
    let config = voex_janus::RoomConfig {
        description: room.description.clone(),
        secret: reveal(&room.secret),
        pin: reveal(&room.pin),
        is_private: room.is_private,
        publishers_max: room.publishers.unwrap_or(default.publishers_max),
        bitrate_bps: room.bitrate_bps.unwrap_or(default.bitrate_bps),
        ..default
    };
    (room.id, config)
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
