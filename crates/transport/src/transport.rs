//! The transport itself: demultiplexes, and lets ICE, DTLS and SRTP know of each other.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use voex_base::{Outbox, SocketId, TrackId};
use voex_stun::PacketKind;

use crate::certificate::fingerprint_fits;
use crate::data::{Data, DataDrop, DataEvent, DataMessage, SENT_PACKET_BYTES_MAX};
use crate::dtls::{DTLS_DATAGRAM_BYTES_MAX, Dtls};
use crate::ice::{Change, Ice, Outcome, Pair};
use crate::srtp::{Inbound, Outbound, Profile, ProtectError, UnprotectError};
use crate::{Config, DownReason, DropReason, DtlsRole, Event, Metrics, RemoteParameters, Timeouts};

/// One WebRTC transport: every m-line of a bundle, RTP and RTCP on one pair of addresses.
///
/// After each call that takes an outbox, drain [`poll_event`](Self::poll_event), then read
/// [`poll_timeout`](Self::poll_timeout).
pub struct Transport {
    ice: Ice,
    dtls: Dtls,
    remote: Option<RemoteParameters>,
    srtp: Option<Box<Srtp>>,
    data: DataState,
    state: State,
    events: VecDeque<Event>,
    timeouts: Timeouts,
    metrics: Arc<Metrics>,
    opened_at: Instant,
    /// When the remote became known.
    remote_at: Option<Instant>,
    /// Since when the handshake could run: there are remote parameters and an address that passed a check.
    dtls_due_since: Option<Instant>,
}

struct Srtp {
    outbound: Outbound,
    inbound: Inbound,
}

/// Data channels: nothing is kept for them before they were negotiated, and little before DTLS is up.
enum DataState {
    No,
    Negotiated(usize),
    Open(Box<Data>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Closed,
}

/// What a datagram was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Received {
    /// Something for the transport itself; dealt with.
    Nothing,
    /// An RTP packet: the first bytes of the datagram, this many.
    Rtp(usize),
    /// An RTCP compound packet: the first bytes of the datagram, this many.
    Rtcp(usize),
    /// Dropped, and counted. ICE checks that were refused with an answer count as dropped.
    Drop(DropReason),
}

/// First byte of a DTLS handshake record.
const DTLS_HANDSHAKE: u8 = 22;

impl Transport {
    /// Makes a transport that answers ICE checks at once and waits for the remote parameters with the rest.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            ice: Ice::new(config.local_ufrag, &config.local_pwd),
            dtls: Dtls::new(config.certificate),
            remote: None,
            srtp: None,
            data: DataState::No,
            state: State::Connecting,
            events: VecDeque::new(),
            timeouts: config.timeouts,
            metrics: config.metrics,
            opened_at: now,
            remote_at: None,
            dtls_due_since: None,
        }
    }

    /// Tells who the remote is. A call with another user name fragment or password is an ICE restart: media goes on
    /// over the old pair until the remote nominates under its new credentials (RFC 8445 §9). DTLS stays as it is; a
    /// changed fingerprint must fit the certificate already seen, else the transport goes down.
    pub fn set_remote(&mut self, now: Instant, remote: RemoteParameters, out: &mut impl Outbox) {
        if self.state == State::Closed {
            return;
        }
        let is_restart = self
            .remote
            .as_ref()
            .is_some_and(|before| (&before.ufrag, &before.pwd) != (&remote.ufrag, &remote.pwd));
        if is_restart {
            self.metrics.ice_restarts.inc();
        }
        self.ice.set_remote_ufrag(remote.ufrag.clone());
        let role = remote.dtls_role;
        self.remote = Some(remote);
        self.remote_at.get_or_insert(now);
        let seen = self.dtls.remote_certificate();
        if seen.is_some_and(|certificate| !is_trusted(self.remote.as_ref(), certificate)) {
            return self.go_down(DownReason::DtlsError);
        }
        if self.dtls.is_started() && !self.dtls.is_connected() && !self.start_dtls(now, role) {
            return;
        }
        self.advance(now, out);
    }

    /// Takes new local ICE credentials, for an ICE restart that changes both sides'. Checks with those before are still
    /// answered.
    pub fn set_local_credentials(&mut self, ufrag: String, pwd: &str) {
        self.ice.set_local(ufrag, pwd);
    }

    /// Takes one datagram from `from` to `socket`. SRTP and SRTCP are decrypted in place.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        data: &mut [u8],
        out: &mut impl Outbox,
    ) -> Received {
        let pair = (socket, from);
        let received = match PacketKind::of(data) {
            _ if self.state == State::Closed => Received::Drop(DropReason::Closed),
            PacketKind::Rtp => self.handle_srtp(pair, data),
            PacketKind::Stun => self.handle_stun(now, pair, data, out),
            PacketKind::Dtls => self.handle_dtls(now, pair, data, out),
            PacketKind::ChannelData | PacketKind::Unknown => Received::Drop(DropReason::UnknownProtocol),
        };
        if let Received::Drop(reason) = received {
            self.metrics.drops.of(reason).inc();
        }
        received
    }

    /// Protects the RTP packet in `buf[..len]` in place; gives its new length. `buf` must reach
    /// [`PROTECT_OVERHEAD_BYTES`](crate::srtp::PROTECT_OVERHEAD_BYTES) behind the packet.
    ///
    /// # Errors
    /// See [`ProtectError`]; the packet is untouched.
    pub fn protect_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let protected = match &mut self.srtp {
            Some(srtp) => srtp.outbound.protect_rtp(buf, len),
            None => Err(ProtectError::NoKeys),
        };
        protected.inspect_err(|error| self.metrics.protect_errors.of(*error).inc())
    }

    /// Protects the RTCP compound packet in `buf[..len]`, as [`protect_rtp`](Self::protect_rtp) does.
    ///
    /// # Errors
    /// See [`ProtectError`]; the packet is untouched.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let protected = match &mut self.srtp {
            Some(srtp) => srtp.outbound.protect_rtcp(buf, len),
            None => Err(ProtectError::NoKeys),
        };
        protected.inspect_err(|error| self.metrics.protect_errors.of(*error).inc())
    }

    /// Makes data channels possible: an `m=application` of SCTP was negotiated, by which the remote takes messages of up to
    /// `message_bytes_max` (`a=max-message-size`). Again with another size, as renegotiated. A transport with data comes up
    /// without keys for SRTP too.
    pub fn open_data(&mut self, message_bytes_max: usize) {
        self.dtls.keep_data();
        match &mut self.data {
            DataState::Open(data) => data.set_remote_message_bytes_max(message_bytes_max),
            state => *state = DataState::Negotiated(message_bytes_max),
        }
        if self.state == State::Up {
            self.start_data();
        }
    }

    /// Sends a message, as far as it can leave now. What cannot waits; what may not wait is dropped and counted. `speaker` is
    /// the track that it came in on; where there would be more than [`CHANNELS_MAX`](crate::data::CHANNELS_MAX) channels,
    /// one of the speaker that has most of them is closed.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn send_data(
        &mut self,
        now: Instant,
        message: &DataMessage,
        speaker: Option<TrackId>,
        out: &mut impl Outbox,
    ) -> Result<(), DataDrop> {
        let DataState::Open(data) = &mut self.data else {
            self.metrics.data_drops.of(DataDrop::NotReady).inc();
            return Err(DataDrop::NotReady);
        };
        data.send(message, speaker)?;
        if data.has_room() {
            self.flush_data(now, out);
        }
        Ok(())
    }

    /// Closes the channels that were opened for messages of this speaker alone.
    pub fn forget_speaker(&mut self, now: Instant, speaker: TrackId, out: &mut impl Outbox) {
        if let DataState::Open(data) = &mut self.data {
            data.forget_speaker(speaker);
            self.flush_data(now, out);
        }
    }

    /// Takes the next event of data channels. Who does not, lets messages wait, and their sender with them.
    pub fn poll_data(&mut self, now: Instant, out: &mut impl Outbox) -> Option<DataEvent> {
        let DataState::Open(data) = &mut self.data else {
            return None;
        };
        let event = data.poll();
        if !matches!(event, Some(DataEvent::Message(_))) {
            // A channel that was opened is acknowledged.
            self.flush_data(now, out);
        }
        event
    }

    /// Where media goes: the nominated pair; before there is one, the pair that the remote's media or handshake came
    /// over, or was checked last (RFC 8445 §12.1 allows any valid pair, and browsers send media before they nominate).
    #[inline]
    pub fn destination(&self) -> Option<(SocketId, SocketAddr)> {
        self.ice.best()
    }

    /// Every pair over which a valid check came; at most [`REMOTES_MAX`](crate::REMOTES_MAX).
    pub fn remotes(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> + '_ {
        self.ice.remotes()
    }

    /// Whether [`Event::Up`] was and [`Event::Down`] was not.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// The SRTP profile, once keys are set.
    pub fn srtp_profile(&self) -> Option<Profile> {
        self.srtp.as_ref().map(|srtp| srtp.outbound.profile())
    }

    /// Lets timers fire that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outbox) {
        if self.state == State::Closed {
            return;
        }
        if now >= self.ice_deadline() {
            return self.go_down(DownReason::IceFailed);
        }
        if self.dtls_deadline().is_some_and(|deadline| now >= deadline) {
            return self.go_down(DownReason::DtlsTimeout);
        }
        if self.dtls.poll_timeout().is_some_and(|due| now >= due) {
            match self.dtls.handle_timeout(now) {
                Ok(()) => self.advance(now, out),
                Err(reason) => return self.go_down(reason),
            }
        }
        if let DataState::Open(data) = &mut self.data
            && data.poll_timeout().is_some_and(|due| now >= due)
        {
            data.handle_timeout(now);
            self.flush_data(now, out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next; `None` once closed or down.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.state == State::Closed {
            return None;
        }
        [
            Some(self.ice_deadline()),
            self.dtls_deadline(),
            self.dtls.poll_timeout(),
            match &self.data {
                DataState::Open(data) => data.poll_timeout(),
                DataState::No | DataState::Negotiated(_) => None,
            },
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the transport, with close_notify to the remote when DTLS is established. There is no event.
    pub fn close(&mut self, out: &mut impl Outbox) {
        if self.state == State::Closed {
            return;
        }
        self.dtls.close(self.ice.best(), out);
        self.leave();
    }

    fn handle_srtp(&mut self, pair: Pair, data: &mut [u8]) -> Received {
        if !self.ice.knows(pair) {
            return Received::Drop(DropReason::UnknownRemote);
        }
        let Some(srtp) = &mut self.srtp else {
            return Received::Drop(DropReason::SrtpNoKeys);
        };
        let received = if is_rtcp(data) {
            srtp.inbound.unprotect_rtcp(data).map(Received::Rtcp)
        } else {
            srtp.inbound.unprotect_rtp(data).map(Received::Rtp)
        };
        match received {
            Ok(received) => {
                self.ice.note_use(pair);
                received
            }
            Err(error) => Received::Drop(drop_reason(error)),
        }
    }

    fn handle_stun(&mut self, now: Instant, pair: Pair, data: &[u8], out: &mut impl Outbox) -> Received {
        match self.ice.handle_stun(now, pair, data, out) {
            Outcome::Checked(change) => {
                self.metrics.ice_checks.inc();
                self.tell(change);
                if self.state == State::Connecting {
                    self.advance(now, out);
                }
                Received::Nothing
            }
            Outcome::Indication => Received::Nothing,
            Outcome::Refused(reason) => {
                self.metrics.ice_errors.inc();
                Received::Drop(reason)
            }
            Outcome::Dropped(reason) => Received::Drop(reason),
        }
    }

    fn tell(&mut self, change: Change) {
        if let Some((socket, address)) = change.removed {
            self.events.push_back(Event::RemoteRemoved(socket, address));
        }
        if let Some((socket, address)) = change.added {
            self.events.push_back(Event::RemoteAdded(socket, address));
        }
        if change.moved {
            self.metrics.ice_pair_changes.inc();
        }
    }

    fn handle_dtls(&mut self, now: Instant, pair: Pair, data: &[u8], out: &mut impl Outbox) -> Received {
        if !self.ice.knows(pair) {
            return Received::Drop(DropReason::UnknownRemote);
        }
        if data.len() > DTLS_DATAGRAM_BYTES_MAX {
            return Received::Drop(DropReason::Malformed);
        }
        if !self.dtls.is_started() {
            // A remote that answers our offer can be faster than its answer. It has proved that it knows our password,
            // so the handshake may begin; what it is worth is decided when the fingerprint is known.
            if data[0] != DTLS_HANDSHAKE || self.is_client() {
                return Received::Drop(DropReason::DtlsUnexpected);
            }
            if !self.start_dtls(now, DtlsRole::Server) {
                return Received::Nothing;
            }
        }
        if !self.dtls.is_connected() {
            self.ice.note_use(pair);
        }
        match self.dtls.handle_datagram(now, data) {
            Ok(()) => self.advance(now, out),
            Err(reason) => self.go_down(reason),
        }
        Received::Nothing
    }

    fn is_client(&self) -> bool {
        self.remote
            .as_ref()
            .is_some_and(|remote| remote.dtls_role == DtlsRole::Client)
    }

    /// Starts the handshake unless it runs in this role already; gives whether the transport lives on.
    fn start_dtls(&mut self, now: Instant, role: DtlsRole) -> bool {
        match self.dtls.start(now, role) {
            Ok(true) => self.metrics.dtls_started.inc(),
            Ok(false) => {}
            Err(reason) => {
                self.go_down(reason);
                return false;
            }
        }
        true
    }

    /// Does whatever has become possible: start DTLS, send its flights, take its keys, go up.
    fn advance(&mut self, now: Instant, out: &mut impl Outbox) {
        let Some(best) = self.ice.best() else { return };
        if self.remote.is_some() {
            self.dtls_due_since.get_or_insert(now);
        }
        if self.is_client() && !self.dtls.is_started() && !self.start_dtls(now, DtlsRole::Client) {
            return;
        }
        let remote = self.remote.as_ref();
        let trusts = |certificate: &[u8]| remote.is_none() || is_trusted(remote, certificate);
        if let Err(reason) = self.dtls.drain(Some(best), trusts, out) {
            return self.go_down(reason);
        }
        if self.remote.is_some() {
            self.take_keys();
        }
        if self.state == State::Connecting && self.is_secured() {
            self.state = State::Up;
            self.metrics.up.add(1);
            self.events.push_back(Event::Up);
            self.start_data();
        }
        self.receive_data(now, out);
    }

    /// Whether what leaves is encrypted for a remote that is who it should be.
    fn is_secured(&self) -> bool {
        let is_data_enough = !matches!(self.data, DataState::No) && self.remote.is_some();
        self.srtp.is_some() || (is_data_enough && self.dtls.is_connected() && self.dtls.remote_certificate().is_some())
    }

    fn start_data(&mut self) {
        if let DataState::Negotiated(message_bytes_max) = self.data {
            let role = self.dtls.role().unwrap_or(DtlsRole::Server);
            let data = Data::new(role, message_bytes_max, Arc::clone(&self.metrics));
            self.data = DataState::Open(Box::new(data));
        }
    }

    /// Takes the application data that came. What came before the remote was known to be who it should be is lost on it.
    fn receive_data(&mut self, now: Instant, out: &mut impl Outbox) {
        let packets = self.dtls.take_inbox();
        let DataState::Open(data) = &mut self.data else { return };
        if packets.is_empty() {
            return;
        }
        for packet in packets {
            data.handle_packet(now, &packet);
        }
        self.flush_data(now, out);
    }

    fn flush_data(&mut self, now: Instant, out: &mut impl Outbox) {
        if let DataState::Open(data) = &mut self.data {
            let (dtls, best) = (&mut self.dtls, self.ice.best());
            data.flush(now, |packet| {
                if let Some(pair) = best.filter(|_| packet.len() <= SENT_PACKET_BYTES_MAX) {
                    dtls.send_data(packet, pair, out);
                }
            });
        }
    }

    /// Sets SRTP keys. The certificate behind them has been judged: by [`Dtls::drain`] when the fingerprint was known
    /// then, else by [`set_remote`](Self::set_remote).
    fn take_keys(&mut self) {
        if self.dtls.remote_certificate().is_none() {
            // Keys that no certificate stands behind are nobody's.
            if self.dtls.is_connected() {
                self.go_down(DownReason::DtlsError);
            }
        } else if let Some(keys) = self.dtls.take_keys() {
            self.metrics.dtls_finished.inc();
            self.metrics.srtp_profiles.of(keys.local.profile()).inc();
            self.srtp = Some(Box::new(Srtp {
                outbound: Outbound::new(&keys.local),
                inbound: Inbound::new(&keys.remote),
            }));
        } else if self.dtls.is_connected() && self.srtp.is_none() && matches!(self.data, DataState::No) {
            // Without a common profile there is an association but nothing to protect media with (RFC 5764 §4.1).
            self.go_down(DownReason::DtlsError);
        }
    }

    fn ice_deadline(&self) -> Instant {
        let last_check = self.ice.last_check();
        match (self.state, last_check.max(self.remote_at)) {
            (State::Up, _) => last_check.unwrap_or(self.opened_at) + self.timeouts.ice_consent,
            (State::Connecting | State::Closed, Some(since)) => since + self.timeouts.ice_start,
            (State::Connecting | State::Closed, None) => self.opened_at + self.timeouts.answer,
        }
    }

    fn dtls_deadline(&self) -> Option<Instant> {
        let since = self.dtls_due_since.filter(|_| self.state == State::Connecting)?;
        Some(since + self.timeouts.dtls_handshake)
    }

    fn go_down(&mut self, reason: DownReason) {
        if self.state == State::Closed {
            return;
        }
        self.metrics.downs.of(reason).inc();
        self.events.push_back(Event::Down(reason));
        self.dtls.end();
        self.leave();
    }

    fn leave(&mut self) {
        if self.state == State::Up {
            self.metrics.up.add(-1);
        }
        self.state = State::Closed;
        self.srtp = None;
        self.data = DataState::No;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.leave();
    }
}

fn is_trusted(remote: Option<&RemoteParameters>, certificate: &[u8]) -> bool {
    remote.is_some_and(|remote| fingerprint_fits(certificate, &remote.fingerprint_hash, &remote.fingerprint))
}

/// Tells RTCP from RTP on one port: payload types 64-95 are RTCP's (RFC 5761 §4).
fn is_rtcp(data: &[u8]) -> bool {
    data.get(1).is_some_and(|second| (192..=223).contains(second))
}

fn drop_reason(error: UnprotectError) -> DropReason {
    match error {
        UnprotectError::Malformed => DropReason::Malformed,
        UnprotectError::NotAuthentic => DropReason::SrtpNotAuthentic,
        UnprotectError::Replayed => DropReason::SrtpReplayed,
        UnprotectError::TooOld => DropReason::SrtpTooOld,
        UnprotectError::SsrcTableFull => DropReason::SsrcTableFull,
    }
}
