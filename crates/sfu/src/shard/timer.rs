//! What happens when a timer fires.

use std::time::Instant;

use voex_base::{Outbox, WallTime};

use super::Shard;
use crate::command::Event;
use crate::connection::{Connection, Link, Timer};
use crate::limits::{REPORT_INTERVAL, TWCC_INTERVAL};
use crate::missing::Outlook;

impl Shard {
    /// Fires every timer of a connection that is due. Each is cleared before, and set again only to later than `now`.
    pub(super) fn fire(&mut self, key: usize, now: Instant, wall: WallTime, out: &mut impl Outbox) {
        while let Some(timer) = self.connections.get_mut(key).and_then(|c| c.timers.take_due(now)) {
            match timer {
                Timer::Transport => self.fire_transport(key, now, out),
                Timer::Report if self.is_piped(key) => {
                    self.watch(key);
                    let interval = self.watch_interval(now, key);
                    self.connections[key].timers.arm(Timer::Report, now + interval);
                }
                Timer::Report => {
                    self.send_reports(key, now, wall, out);
                    self.send_bitrate_cap(key, out);
                    self.connections[key].timers.arm(Timer::Report, now + REPORT_INTERVAL);
                }
                Timer::Feedback => self.send_transport_feedback(key, now, out),
                Timer::Nack => self.fire_nacks(key, now, out),
                Timer::KeyFrame => {
                    for at in 0..self.connections[key].tracks.len() {
                        let track = self.connections[key].tracks[at];
                        for encoding in 0..self.tracks[track].encodings.len() {
                            self.ask_for_key_frame(now, track, encoding as u8, out);
                        }
                    }
                }
                Timer::Silence => self.fire_silence(key, now),
                Timer::Data => self.pass_data(now, key, out),
            }
        }
        self.reschedule(key);
    }

    fn fire_transport(&mut self, key: usize, now: Instant, out: &mut impl Outbox) {
        if let Link::WebRtc(transport) = &mut self.connections[key].link {
            transport.handle_timeout(now, out);
            self.after_transport(now, key, out);
        }
        // A transport that names a moment already gone would keep the shard in this call for ever.
        if let Some(connection) = self.connections.get_mut(key) {
            connection.timers.postpone(Timer::Transport, now);
        }
    }

    fn fire_nacks(&mut self, key: usize, now: Instant, out: &mut impl Outbox) {
        for at in 0..self.connections[key].tracks.len() {
            let track = self.connections[key].tracks[at];
            for encoding in 0..self.tracks[track].encodings.len() {
                self.ask_for_missing(key, (track, encoding as u8), now, out);
            }
        }
    }

    fn ask_for_missing(&mut self, key: usize, (track, encoding): (usize, u8), now: Instant, out: &mut impl Outbox) {
        let state = &mut self.tracks[track].encodings[usize::from(encoding)];
        let connection = &mut self.connections[key];
        let (Some(missing), Some(ssrc), Some(newest)) = (&mut state.missing, state.ssrc, state.reception.newest())
        else {
            return;
        };
        let outlook = missing.give_up(now, newest);
        let (own, cname, round_trip) = (connection.own_ssrc(), connection.cname.clone(), connection.round_trip);
        if missing.next_at().is_some_and(|at| at <= now) {
            let metrics = &self.metrics;
            let due = missing.take_due(now, round_trip).inspect(|_| metrics.nacks_sent.inc());
            connection.send_rtcp(out, metrics, |writer| {
                Connection::begin_compound(own, &cname, writer)?;
                writer.nack(own, ssrc, voex_rtp::rtcp::nack_pairs(due))
            });
        }
        if let Some(next) = missing.next_at() {
            connection.timers.arm(Timer::Nack, next);
        }
        if outlook == Outlook::Lost {
            self.want_lost_key_frame(now, track, encoding, out);
        }
    }

    fn send_transport_feedback(&mut self, key: usize, now: Instant, out: &mut impl Outbox) {
        let connection = &mut self.connections[key];
        let (own, cname) = (connection.own_ssrc(), connection.cname.clone());
        let media = connection.sources.first().map_or(0, |source| source.ssrc);
        let Some(mut arrivals) = connection.arrivals.take() else {
            return;
        };
        let (mut has_written, mut has_sent) = (true, false);
        // More than one message when more came than fits; the record is bounded, and so is the loop.
        while has_written {
            has_written = false;
            connection.send_rtcp(out, &self.metrics, |writer| {
                Connection::begin_compound(own, &cname, writer)?;
                has_written = arrivals.write(writer, own, media)?;
                // Without feedback the compound is not worth sending.
                if has_written {
                    Ok(())
                } else {
                    Err(voex_rtp::Error::Format)
                }
            });
            has_sent |= has_written;
        }
        connection.arrivals = Some(arrivals);
        if has_sent {
            connection.timers.arm(Timer::Feedback, now + TWCC_INTERVAL);
        }
    }

    fn fire_silence(&mut self, key: usize, now: Instant) {
        for at in 0..self.connections[key].tracks.len() {
            let track = &mut self.tracks[self.connections[key].tracks[at]];
            let Some(newest) = track.newest().filter(|_| track.is_receiving) else {
                continue;
            };
            let silent_at = newest.at + self.config.no_media_timer;
            if silent_at > now {
                self.connections[key].timers.arm(Timer::Silence, silent_at);
                continue;
            }
            track.is_receiving = false;
            let id = track.id;
            self.tell(Event::TrackSilent(id, now - newest.at));
        }
    }
}
