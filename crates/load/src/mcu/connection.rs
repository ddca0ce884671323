//! One peer connection: a socket of its own, ICE, DTLS, SRTP.

use std::net::{IpAddr, UdpSocket};
use std::time::Instant;

use voex_base::Rng;
use voex_stun::PacketKind;
use voex_transport::PROTECT_OVERHEAD_BYTES;
use voex_transport::srtp::Profile;

use super::dtls::{Dtls, Identity, Keys};
use super::ice::{CHECK_BYTES_MAX, Ice, Outcome};
use super::sdp::{Local, Remote};
use crate::LoadError;
use crate::error::Doing as _;
use crate::link::udp_socket;

/// First repetition of a check (RFC 8445 §14.3); it doubles from there.
const CHECK_AGAIN_NS: u64 = 50_000_000;
const CHECK_AGAIN_MAX_NS: u64 = 1_600_000_000;
/// Between checks of a path that is valid: what Chromium does.
const CONSENT_NS: u64 = 2_500_000_000;

/// Longest packet that is sent, SRTP's part included.
pub(crate) const PACKET_BYTES_MAX: usize = 1_400;

/// A peer connection.
pub(crate) struct Connection {
    pub(crate) socket: UdpSocket,
    local: Local,
    ice: Ice,
    remote: Option<Remote>,
    dtls: Option<Dtls>,
    keys: Option<Keys>,
    check_due_ns: u64,
    check_again_ns: u64,
}

/// What a datagram was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    /// Something for the connection itself.
    Nothing,
    /// The last step: media may flow.
    Up,
    /// RTP, in the first bytes of the datagram.
    Rtp(usize),
    /// RTCP, likewise.
    Rtcp(usize),
    /// The server ended the connection.
    Closed,
    /// SRTP that is not authentic or came twice, or nothing that belongs here.
    Bad,
}

impl Connection {
    /// Opens a socket and draws credentials.
    pub(crate) fn open(ip: IpAddr, identity: &Identity, rng: &mut Rng) -> Result<Self, LoadError> {
        let socket = udp_socket(ip)?;
        let address = socket.local_addr().doing(|| "reading a local address".into())?;
        let (ufrag, pwd) = (
            format!("{:08x}", rng.u32()),
            format!("{:016x}{:016x}", rng.u64(), rng.u64()),
        );
        let tie_breaker = rng.u64();
        Ok(Self {
            socket,
            ice: Ice::new(&pwd, tie_breaker),
            local: Local {
                address,
                ufrag,
                pwd,
                fingerprint: identity.fingerprint(),
            },
            remote: None,
            dtls: None,
            keys: None,
            check_due_ns: 0,
            check_again_ns: CHECK_AGAIN_NS,
        })
    }

    /// What SDP tells of it.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// Keys are there.
    pub(crate) fn is_up(&self) -> bool {
        self.keys.is_some()
    }

    /// The SRTP profile that was agreed on.
    pub(crate) fn profile(&self) -> Option<Profile> {
        self.keys.as_ref().map(|keys| keys.outbound.profile())
    }

    /// Takes what the server tells of itself, and begins.
    pub(crate) fn connect(
        &mut self,
        remote: Remote,
        we_offered: bool,
        identity: &Identity,
        now: Instant,
    ) -> Result<(), LoadError> {
        let address = remote.address;
        let connected = self.socket.connect(address);
        connected.map_err(|source| LoadError::Unreachable { address, source })?;
        let is_ours = we_offered || remote.is_lite;
        self.ice
            .set_remote(&self.local.ufrag, &remote.ufrag, &remote.pwd, is_ours);
        if remote.is_dtls_client {
            self.dtls = Some(Dtls::start(identity, false, &remote.fingerprint.1, now));
        }
        self.remote = Some(remote);
        self.check();
        Ok(())
    }

    /// Lets timers fire; gives whether the connection came up.
    pub(crate) fn tick(&mut self, now_ns: u64, now: Instant) -> Result<bool, LoadError> {
        if self.remote.is_none() {
            return Ok(false);
        }
        if self.check_due_ns == 0 {
            self.check_due_ns = now_ns + self.check_again_ns;
        } else if now_ns >= self.check_due_ns {
            self.check();
            self.check_again_ns = if self.ice.is_valid() && self.ice.unanswered() <= 1 {
                CONSENT_NS
            } else {
                (2 * self.check_again_ns).min(CHECK_AGAIN_MAX_NS)
            };
            self.check_due_ns = now_ns + self.check_again_ns;
        }
        if self.is_up() {
            return Ok(false);
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.tick(now)?;
        }
        self.drain()
    }

    /// Takes a datagram. SRTP is decrypted in place.
    pub(crate) fn handle(&mut self, datagram: &mut [u8], identity: &Identity, now: Instant) -> Result<Got, LoadError> {
        Ok(match PacketKind::of(datagram) {
            PacketKind::Rtp => self.unprotect(datagram),
            PacketKind::Stun => self.handle_stun(datagram, identity, now)?,
            PacketKind::Dtls => self.handle_dtls(datagram, now)?,
            PacketKind::ChannelData | PacketKind::Unknown => Got::Bad,
        })
    }

    /// Protects the RTP packet in `buf[..len]` and sends it; gives whether it left.
    pub(crate) fn send_rtp(&mut self, buf: &mut [u8], len: usize) -> bool {
        let Some(keys) = &mut self.keys else { return false };
        let protected = keys.outbound.protect_rtp(buf, len);
        protected.is_ok_and(|len| self.socket.send(&buf[..len]).is_ok())
    }

    /// Protects the RTCP packet in `buf[..len]` and sends it.
    pub(crate) fn send_rtcp(&mut self, buf: &mut [u8], len: usize) {
        debug_assert!(buf.len() >= len + PROTECT_OVERHEAD_BYTES);
        let Some(keys) = &mut self.keys else { return };
        if let Ok(len) = keys.outbound.protect_rtcp(buf, len) {
            send(&self.socket, &buf[..len]);
        }
    }

    fn unprotect(&mut self, datagram: &mut [u8]) -> Got {
        // What comes before the keys is early, not wrong.
        let Some(keys) = &mut self.keys else {
            return Got::Nothing;
        };
        let opened = if voex_rtp::is_rtcp(datagram) {
            keys.inbound.unprotect_rtcp(datagram).map(Got::Rtcp)
        } else {
            keys.inbound.unprotect_rtp(datagram).map(Got::Rtp)
        };
        opened.unwrap_or(Got::Bad)
    }

    fn handle_stun(&mut self, datagram: &[u8], identity: &Identity, now: Instant) -> Result<Got, LoadError> {
        let mut answer = [0; CHECK_BYTES_MAX];
        let from = self.remote.as_ref().map_or(self.local.address, |remote| remote.address);
        match self.ice.handle(datagram, from, &mut answer) {
            // Before we know where the server is there is nowhere to answer to; it asks again.
            Outcome::Answer(len) if self.remote.is_some() => send(&self.socket, &answer[..len]),
            Outcome::Valid => {
                self.check_again_ns = CONSENT_NS;
                if let (None, Some(remote)) = (&self.dtls, &self.remote) {
                    self.dtls = Some(Dtls::start(identity, true, &remote.fingerprint.1, now));
                    return self.step(now);
                }
            }
            Outcome::Answer(_) | Outcome::Nothing => {}
        }
        Ok(Got::Nothing)
    }

    fn handle_dtls(&mut self, datagram: &[u8], now: Instant) -> Result<Got, LoadError> {
        let Some(dtls) = &mut self.dtls else {
            return Ok(Got::Nothing);
        };
        dtls.handle(datagram, now)?;
        self.step(now)
    }

    fn step(&mut self, now: Instant) -> Result<Got, LoadError> {
        if let Some(dtls) = &mut self.dtls {
            dtls.tick(now)?;
        }
        let came_up = self.drain()?;
        Ok(match &self.dtls {
            Some(dtls) if dtls.is_closed => Got::Closed,
            _ if came_up => Got::Up,
            _ => Got::Nothing,
        })
    }

    fn drain(&mut self) -> Result<bool, LoadError> {
        let (Some(dtls), socket) = (&mut self.dtls, &self.socket) else {
            return Ok(false);
        };
        let keys = dtls.drain(|datagram| send(socket, datagram))?;
        let came_up = keys.is_some() && self.keys.is_none();
        if came_up {
            self.keys = keys;
        }
        Ok(came_up)
    }

    fn check(&mut self) {
        let mut check = [0; CHECK_BYTES_MAX];
        if let Some(len) = self.ice.write_check(&mut check) {
            send(&self.socket, &check[..len]);
        }
    }
}

/// Sends what is repeated if it does not arrive.
fn send(socket: &UdpSocket, datagram: &[u8]) {
    let _ = socket.send(datagram);
}
