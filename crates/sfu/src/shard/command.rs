//! Obeying commands. Each function gives `None` when the command is to be ignored.

use std::time::{Duration, Instant};

use voex_base::Outbox;
use voex_transport::Transport;

use super::{Position, Shard};
use crate::arrivals::Arrivals;
use crate::command::{
    Command, DtlsRole, MediaKind, RemoteParameters, SubscriptionSpec, TrackSpec, TransportKind, TransportSpec,
};
use crate::connection::{Connection, Link, Source, Stream, Timer};
use crate::limits::{
    AUDIO_RANGES_REMEMBERED, ENCODINGS_PER_TRACK_MAX, PAYLOADS_PER_TRACK_MAX, RANGES_REMEMBERED,
    SUBSCRIPTIONS_PER_TRACK_MAX, SUBSCRIPTIONS_PER_TRANSPORT_MAX, TRACKS_PER_TRANSPORT_MAX, TRANSPORTS_MAX,
};
use crate::plain::Plain;
use crate::rewriter::Rewriter;
use crate::speech::SpeechDetector;
use crate::subscription::Subscription;
use crate::track::Track;

/// Length of the canonical name of a transport that has none of its own.
const CNAME_CHARACTERS: usize = 16;

impl Shard {
    pub(super) fn obey(&mut self, now: Instant, command: Command, out: &mut impl Outbox) -> Option<()> {
        match command {
            Command::OpenTransport(spec) => self.open_transport(now, *spec),
            Command::SetRemote(id, remote) => {
                let key = *self.index.transports.get(&id)?;
                self.set_remote(now, key, *remote, out)
            }
            Command::SetPlainRemote(id, remote) => {
                let key = *self.index.transports.get(&id)?;
                let Link::Plain(plain) = &mut self.connections[key].link else {
                    return None;
                };
                plain.set_remote(remote);
                self.refresh_streams(now, key, out);
                Some(())
            }
            Command::CloseTransport(id) => {
                let key = *self.index.transports.get(&id)?;
                self.close(now, key, out);
                Some(())
            }
            Command::AddTrack(spec) => self.add_track(now, *spec),
            Command::AddPipedTrack(home, spec) => self.add_piped_track(now, home, *spec),
            Command::RemoveTrack(id) => {
                let packets = self.index.tracks.get(&id).copied();
                let connection = match packets {
                    Some(key) => self.tracks[key].connection,
                    None => self.data.tracks.get(&id)?.connection,
                };
                match packets {
                    _ if self.is_piped(connection) => self.close(now, connection, out),
                    Some(key) => self.remove_track(key),
                    None => self.remove_data_track(now, id, out)?,
                }
                Some(())
            }
            Command::SetTrackRelayed(id, is_relayed) => {
                let Some(track) = self.index.tracks.get(&id).copied() else {
                    return self.set_data_relayed(id, is_relayed);
                };
                self.tracks[track].is_relayed = is_relayed;
                for at in 0..self.tracks[track].subscriptions.len() {
                    self.refresh(now, Position { track, at }, out);
                }
                Some(())
            }
            Command::SetTrackSpeech(id, rule) => {
                let key = *self.index.tracks.get(&id)?;
                match &mut self.tracks[key].speech {
                    Some(speech) => speech.set_rule(rule),
                    none => *none = Some(SpeechDetector::new(rule)),
                }
                Some(())
            }
            Command::SetTrackBitrate(id, cap) => {
                let key = *self.index.tracks.get(&id)?;
                self.tracks[key].bitrate_cap = cap;
                self.send_bitrate_cap(self.tracks[key].connection, out);
                Some(())
            }
            Command::RequestKeyFrame(id) => {
                let key = *self.index.tracks.get(&id)?;
                self.want_key_frames(now, key, out);
                Some(())
            }
            Command::AddSubscription(spec) => self.add_subscription(now, &spec, out),
            Command::SetSubscriptionActive(id, is_active) => {
                let Some(position) = self.index.subscriptions.get(&id).copied() else {
                    return self.set_data_active(id, is_active);
                };
                self.tracks[position.track].subscriptions[position.at].cold.is_active = is_active;
                self.refresh(now, position, out);
                Some(())
            }
            Command::SetSubscriptionLayers(id, layers) => {
                let position = *self.index.subscriptions.get(&id)?;
                let track = &mut self.tracks[position.track];
                let flow = track.flow();
                if let Some(encoding) = track.subscriptions[position.at].want(now, &layers, &flow) {
                    self.want_key_frame(now, position.track, encoding, out);
                }
                Some(())
            }
            Command::RemoveSubscription(id) => self
                .remove_subscription(id)
                .or_else(|| self.remove_data_subscription(now, id, out)),
            Command::OpenData(id, message_bytes_max) => self.open_data(id, message_bytes_max),
            Command::AddDataTrack(spec) => self.add_data_track(spec),
            Command::AddPipedDataTrack(home, spec) => self.add_piped_data_track(home, spec),
            Command::SetDataReach(id, reach) => self.set_data_reach(id, reach),
            Command::AddDataSubscription(spec) => self.add_data_subscription(now, *spec, out),
            Command::SendPipedData(id, message) => self.take_piped_data(now, id, message, out),
            Command::SendData(id, message) => {
                let key = *self.index.transports.get(&id)?;
                self.send_data(now, key, None, &message, out);
                Some(())
            }
        }
    }

    fn open_transport(&mut self, now: Instant, spec: TransportSpec) -> Option<()> {
        let is_full = self.connections.len() - self.piped >= TRANSPORTS_MAX;
        if is_full || self.index.transports.contains_key(&spec.id) {
            return None;
        }
        let key = self.connections.vacant_key();
        let (link, ufrag, cname) = match spec.kind {
            TransportKind::WebRtc { local_ufrag, local_pwd } => {
                if self.index.ufrags.contains_key(local_ufrag.as_str()) {
                    return None;
                }
                let ufrag: Box<str> = local_ufrag.as_str().into();
                self.index.ufrags.insert(ufrag.clone(), key);
                let transport = Transport::new(self.transport_config(local_ufrag, local_pwd), now);
                let cname = self.rng.token(CNAME_CHARACTERS);
                (Link::WebRtc(transport), Some(ufrag), cname)
            }
            TransportKind::Plain { rtp, rtcp, cname } => {
                let is_taken = |socket| self.index.plain_sockets.contains_key(&socket);
                if is_taken(rtp) || rtcp.is_some_and(is_taken) {
                    return None;
                }
                self.index.plain_sockets.insert(rtp, key);
                rtcp.map(|rtcp| self.index.plain_sockets.insert(rtcp, key));
                (Link::Plain(Plain::new(rtp, rtcp)), None, cname)
            }
        };
        let mut connection = Connection::new(spec.id, link, self.rng.u32(), cname.into());
        connection.local_ufrag = ufrag;
        if let Link::WebRtc(transport) = &connection.link {
            connection.timers.set(Timer::Transport, transport.poll_timeout());
        }
        // Reports of many transports opened at once do not fall together.
        let first_report = Duration::from_millis(500 + self.rng.below(500));
        connection.timers.arm(Timer::Report, now + first_report);
        self.connections.insert(connection);
        self.index.transports.insert(spec.id, key);
        self.timers.add_key(key);
        self.reschedule(key);
        self.metrics.transports.add(1);
        Some(())
    }

    fn transport_config(&self, local_ufrag: String, local_pwd: String) -> voex_transport::Config {
        voex_transport::Config {
            local_ufrag,
            local_pwd,
            certificate: self.config.certificate.clone(),
            timeouts: self.config.timeouts,
            metrics: self.metrics.transport.clone(),
        }
    }

    fn set_remote(&mut self, now: Instant, key: usize, remote: RemoteParameters, out: &mut impl Outbox) -> Option<()> {
        let Link::WebRtc(transport) = &mut self.connections[key].link else {
            return None;
        };
        let remote = voex_transport::RemoteParameters {
            ufrag: remote.ufrag,
            pwd: remote.pwd,
            fingerprint_hash: remote.fingerprint_hash,
            fingerprint: remote.fingerprint,
            dtls_role: match remote.dtls_role {
                DtlsRole::Client => voex_transport::DtlsRole::Client,
                DtlsRole::Server => voex_transport::DtlsRole::Server,
            },
        };
        transport.set_remote(now, remote, out);
        self.after_transport(now, key, out);
        Some(())
    }

    fn add_track(&mut self, now: Instant, spec: TrackSpec) -> Option<()> {
        let key = *self.index.transports.get(&spec.transport)?;
        let connection = &mut self.connections[key];
        let is_full = connection.tracks.len() >= TRACKS_PER_TRANSPORT_MAX;
        let is_known = self.index.tracks.contains_key(&spec.id) || self.data.tracks.contains_key(&spec.id);
        if is_full || !fits(&spec) || is_known {
            return None;
        }
        let id = spec.id;
        let ssrcs: Vec<_> = spec.encodings.iter().map(|encoding| encoding.ssrc).collect();
        connection.mid_extension = connection.mid_extension.or(spec.extensions.mid);
        if let Some(extension) = spec.extensions.transport_cc.filter(|_| spec.feedback.transport_cc) {
            connection.transport_cc_extension = Some(extension);
            connection.arrivals.get_or_insert_with(|| Arrivals::new(now));
        }
        let track = self.tracks.insert(Track::new(now, spec, key));
        connection.tracks.push(track);
        for (encoding, ssrcs) in ssrcs.into_iter().enumerate() {
            let Some((ssrc, rtx)) = ssrcs else { continue };
            let declared = |ssrc, is_rtx| Source {
                ssrc,
                track,
                encoding: encoding as u8,
                is_rtx,
                is_declared: true,
            };
            connection.sources.push(declared(ssrc, false));
            connection.sources.extend(rtx.map(|rtx| declared(rtx, true)));
        }
        self.index.tracks.insert(id, track);
        self.metrics.tracks.add(1);
        Some(())
    }

    /// Adds a subscription. With an id or an SSRC that the transport had before, it goes on behind those numbers.
    fn add_subscription(&mut self, now: Instant, spec: &SubscriptionSpec, out: &mut impl Outbox) -> Option<()> {
        let track = *self.index.tracks.get(&spec.track)?;
        let key = *self.index.transports.get(&spec.transport)?;
        if self.index.subscriptions.contains_key(&spec.id) {
            self.remove_subscription(spec.id);
        }
        let connection = &mut self.connections[key];
        let at = self.tracks[track].subscriptions.len();
        let is_taken = connection.streams.iter().any(|stream| stream.ssrc == spec.ssrc);
        if is_taken || at >= SUBSCRIPTIONS_PER_TRACK_MAX || connection.streams.len() >= SUBSCRIPTIONS_PER_TRANSPORT_MAX
        {
            return None;
        }
        let (mut rewriter, rtx_sequence) = match connection.take_retired(spec.ssrc) {
            Some(retired) => (retired.rewriter, retired.rtx_sequence),
            // In the lower half, so that the receiver's rollover count cannot miss the first wrap (RFC 3711 §3.3.1).
            None => (
                Rewriter::new(self.rng.below(1 << 15) as u16, self.rng.u32()),
                self.rng.below(1 << 15) as u16,
            ),
        };
        connection.streams.push(Stream {
            ssrc: spec.ssrc,
            id: spec.id,
        });
        let track_state = &mut self.tracks[track];
        rewriter.remember(match track_state.kind {
            MediaKind::Video => RANGES_REMEMBERED,
            MediaKind::Audio => AUDIO_RANGES_REMEMBERED,
        });
        let payload_types = track_state.payloads.iter().map(|payload| payload.payload_type);
        let encodings = track_state.encodings.len();
        let subscription = Subscription::new(spec, payload_types, encodings, key, rewriter, rtx_sequence);
        track_state.subscriptions.push(subscription);
        let position = Position { track, at };
        self.index.subscriptions.insert(spec.id, position);
        self.metrics.subscriptions.add(1);
        self.refresh(now, position, out);
        Some(())
    }
}

/// Whether a track stays within the bounds of one.
pub(super) fn fits(spec: &TrackSpec) -> bool {
    !spec.payloads.is_empty()
        && spec.payloads.len() <= PAYLOADS_PER_TRACK_MAX
        && spec.encodings.len() <= ENCODINGS_PER_TRACK_MAX
}
