//! `janus.plugin.sip`: calls between a browser and SIP.
//!
//! ```text
//!   message ──► ack ──► account.rs   register, unregister          ──► voex_sip::Command
//!                       outgoing.rs  call                          ──► voex_sip::Command, media commands
//!                       incoming.rs  accept, progress, decline ..
//!                       in_call.rs   hangup, hold, unhold, info, dtmf_info
//!   voex_sip::Event ──► the same files ──► events with JSEP
//! ```
//!
//! One handle is one account with at most one call. What SDP says is [`voex_bridge::Call`]'s business, SIP is
//! `voex_sip`'s; the plugin carries ids, JSON and transports between them. A call owns a PeerConnection and a pair of
//! RTP ports; both go when its leg ends, whoever ended it. Every request is acked; then comes an event.
//!
//! | request | state |
//! |---|---|
//! | `register` (digest, `guest`, `send_register: false`), `unregister` | built; `type: helper` is refused with 453 |
//! | `call`, `accept`, `progress`, `send_ringing`, `decline`, `hangup` | built |
//! | `hold`, `unhold`, `info`, `dtmf_info` | built |
//! | `autoaccept_reinvites: false`, `update` | re-INVITEs are always answered here |
//! | `srtp` | `sdes_optional` calls in plain RTP, `sdes_mandatory` is refused with 452 |
//! | `message`, `transfer`, `recording`, `keyframe`, `subscribe`, `unsubscribe`, `rtp_forward`, `reset` | 442 |

mod account;
mod error;
mod event;
mod in_call;
mod incoming;
mod outgoing;
mod record;
mod transfer;

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};
use voex_base::{SubscriptionId, TrackId, TransportId, WorkerId};
use voex_bridge::{Call, Ids, Leg, State, Transports};
use voex_sdp::{Description, plain};
use voex_sfu::Command as Media;
use voex_sfu::command::LegReport;
use voex_sip::{AccountId, Command, EndCause, Ended, Event, Headers, LegId, Uri};

use account::Account;
pub use error::Code;
use error::Error;
use event::Push;
use record::{Finished, Record};

use crate::host::{HandleId, HangupReason, Host, PlainTransport};
use crate::plugin::fields::{self, Fields, Type, required};
use crate::plugin::{Answer, MediaEvent, Message, Plugin};

/// `s=` of descriptions to browsers and to SIP.
const SESSION_NAME: &str = "call";
/// Calls whose ports are being closed; the records of others leave without what arrived.
const CLOSING_MAX: usize = 4_096;
/// Canonical name in descriptions to browsers.
const CNAME: &str = "janus";

/// The plugin's state.
#[derive(Default)]
pub(crate) struct Sip {
    clients: HashMap<HandleId, Client>,
    accounts: HashMap<AccountId, HandleId>,
    /// Handles that take part in the calls of an account beside its own, in the order of their coming.
    helpers: HashMap<AccountId, Vec<HandleId>>,
    legs: HashMap<LegId, HandleId>,
    /// Records of calls whose RTP ports are being closed: what arrived there is still to come.
    closing: HashMap<TransportId, Finished>,
    last_account: u64,
    last_leg: u64,
}

/// What a handle has.
#[derive(Default)]
struct Client {
    account: Option<Account>,
    call: Option<ActiveCall>,
}

/// The call of a handle.
struct ActiveCall {
    leg: LegId,
    /// Call-ID.
    id: String,
    call: Call,
    worker: WorkerId,
    /// Whom we called.
    uri: String,
    /// Transaction that later events of the call repeat.
    transaction: Option<String>,
    /// Offer of the browser that has not been answered yet.
    jsep_offer: Option<Description>,
    plain: Option<PlainTransport>,
    /// Was answered at some time.
    answered: bool,
    record: Record,
}

impl Client {
    /// Gives the state of the call as texts name it.
    fn call_state(&self) -> String {
        self.call
            .as_ref()
            .map_or("idle".to_owned(), |active| active.call.state().to_string())
    }

    /// Gives the answered call that goes on.
    fn in_call(&mut self) -> Result<&mut ActiveCall, Error> {
        let active = self.call.as_mut().filter(|active| active.call.state().is_in_call());
        active.ok_or(Error::new(Code::WrongState, "Wrong state (not in a call?)"))
    }

    /// Gives the incoming call that rings.
    fn invited(&mut self) -> Result<&mut ActiveCall, Error> {
        let state = self.call_state();
        let active = self
            .call
            .as_mut()
            .filter(|active| active.call.state() == State::Invited);
        active.ok_or_else(|| Error::new(Code::WrongState, format!("Wrong state (not invited? status={state})")))
    }

    fn prefixes(&self) -> &[String] {
        self.account.as_ref().map_or(&[], |account| &account.header_prefixes)
    }
}

impl Plugin for Sip {
    fn handle_attach(&mut self, _host: &mut Host, handle: HandleId) {
        self.clients.insert(handle, Client::default());
    }

    fn handle_message(&mut self, _host: &mut Host, _handle: HandleId, message: Message) -> Answer {
        Answer::Ack(message)
    }

    fn handle_acked(&mut self, host: &mut Host, handle: HandleId, message: Message) {
        if let Err(error) = self.request(host, handle, &message) {
            host.metrics.sip_errors.of(error.code).inc();
            let call = self.clients.get(&handle).and_then(|client| client.call.as_ref());
            let body = error.to_json(call.map(|active| active.id.as_str()));
            host.push_event(handle, Some(&message.transaction), body, None);
        }
    }

    fn handle_media(&mut self, host: &mut Host, handle: HandleId, event: MediaEvent) {
        match event {
            // The browser is gone: so is the call. The leg's end is reported when SIP is through with it.
            MediaEvent::Hangup(_) | MediaEvent::PlainDown(_) => self.hang_up(host, handle, Headers::new()),
            // Telephone events are relayed as they are; the API has no event for them.
            MediaEvent::Up
            | MediaEvent::Receiving(_)
            | MediaEvent::Silent(..)
            | MediaEvent::Digit(..)
            | MediaEvent::Speech(..)
            | MediaEvent::LayerChanged(..) => {}
        }
    }

    fn handle_detach(&mut self, host: &mut Host, handle: HandleId) {
        self.hang_up(host, handle, Headers::new());
        let Some(client) = self.clients.remove(&handle) else {
            return;
        };
        if let Some(active) = client.call {
            self.legs.remove(&active.leg);
            host.metrics.calls.ended(active.answered, 487);
            let cause = if active.answered {
                EndCause::ByeByUs
            } else {
                EndCause::CancelledByUs
            };
            let ended = Ended {
                leg: active.leg,
                cause,
                code: if active.answered { 200 } else { 487 },
                reason: "Client has gone".to_owned(),
                reason_header: None,
                headers: Headers::new(),
            };
            self.finish_record(host, active, &ended);
        }
        match client.account {
            Some(account) if account.is_helper => {
                if let Some(helpers) = self.helpers.get_mut(&account.id) {
                    helpers.retain(|other| *other != handle);
                }
            }
            Some(account) => {
                self.accounts.remove(&account.id);
                self.end_helpers(host, account.id);
                host.sip(Command::Unregister { account: account.id });
            }
            None => {}
        }
    }
}

impl Sip {
    fn request(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        fields::check(&message.body, &[required("request", Type::String)])?;
        let request = message.body.text("request").unwrap_or_default();
        match request {
            "register" => self.register(host, handle, message),
            "unregister" => self.unregister(host, handle, message),
            "call" => self.call(host, handle, message),
            "accept" => self.accept(host, handle, message),
            "progress" => self.progress(host, handle, message),
            "send_ringing" => self.send_ringing(host, handle, message),
            "decline" => self.decline(host, handle, message),
            "hangup" => self.hangup(host, handle, message),
            "hold" | "unhold" => self.hold(host, handle, message),
            "info" => self.info(host, handle, message),
            "transfer" => self.transfer(host, handle, message),
            "dtmf_info" => self.dtmf_info(host, handle, message),
            _ => Err(Error::new(Code::InvalidRequest, format!("Unknown request ({request})"))),
        }
    }

    /// The SIP endpoint reports; false when no handle is there for it.
    pub(crate) fn handle_event(&mut self, host: &mut Host, event: Event) -> bool {
        match event {
            Event::Registered { account, headers, .. } => self.registered(host, account, &headers),
            Event::RegistrationFailed {
                account,
                code,
                reason,
                headers,
            } => self.registration_failed(host, account, code, &reason, &headers),
            Event::Unregistered { account, headers } => self.unregistered(host, account, &headers),
            Event::IncomingCall(call) => self.incoming_call(host, *call),
            Event::Provisional {
                leg,
                code,
                sdp,
                headers,
                ..
            } => self.provisional(host, leg, code, sdp.as_deref(), &headers),
            Event::Answered {
                leg,
                sdp,
                remote,
                headers,
            } => self.answered(host, leg, sdp.as_deref(), &remote, &headers),
            Event::Confirmed { leg, sdp } => self.confirmed(host, leg, sdp.as_deref()),
            Event::Reinvite { leg, sdp, answered, .. } => answered || self.reinvited(host, leg, sdp.as_deref()),
            Event::ReinviteAnswered { leg, sdp, .. } => self.reinvite_answered(host, leg, sdp.as_deref()),
            Event::ReinviteFailed { leg, .. } => self.reinvite_failed(leg),
            Event::Info {
                leg,
                from,
                display_name,
                content_type,
                body,
                headers,
            } => {
                let sender = in_call::Sender { from, display_name };
                self.info_received(host, leg, &sender, &content_type, &body, &headers)
            }
            Event::InfoDone { leg, .. } => self.legs.contains_key(&leg),
            Event::Refer(referral) => self.referred(host, &referral),
            Event::ReferAnswered { leg, code, reason } => self.refer_answered(host, leg, code, &reason),
            Event::Notify {
                leg,
                event,
                state,
                content_type,
                body,
                headers,
            } => {
                let notice = transfer::Notice {
                    event: &event,
                    state: &state,
                    content_type: &content_type,
                    body: &body,
                };
                self.notified(host, leg, &notice, &headers)
            }
            Event::Ended(ended) => self.ended(host, &ended),
        }
    }

    /// Completes the record of a call; what arrived comes when its ports have been closed.
    fn finish_record(&mut self, host: &mut Host, active: ActiveCall, ended: &Ended) {
        let mut record = active.record;
        record.codec = active.call.codec().map(str::to_owned);
        let finished = record.finish(host.now(), ended);
        match active.plain {
            Some(plain) if self.closing.len() < CLOSING_MAX => {
                self.closing.insert(plain.id, finished);
            }
            _ => host.tell_call(finished.to_json(None)),
        }
    }

    /// The ports of a call are closed.
    pub(crate) fn plain_closed(&mut self, host: &mut Host, transport: TransportId, report: &LegReport) {
        if let Some(finished) = self.closing.remove(&transport) {
            host.tell_call(finished.to_json(Some(report)));
        }
    }

    fn client(&mut self, handle: HandleId) -> &mut Client {
        self.clients.entry(handle).or_default()
    }

    /// Gives the handle of a leg and its call.
    fn by_leg(&mut self, leg: LegId) -> Option<(HandleId, &mut Client)> {
        let handle = *self.legs.get(&leg)?;
        let client = self.clients.get_mut(&handle)?;
        client.call.as_ref().filter(|active| active.leg == leg)?;
        Some((handle, client))
    }

    /// Ends the call of a handle, in whatever state; nothing when there is none or it is ending already.
    fn hang_up(&mut self, host: &mut Host, handle: HandleId, headers: Headers) {
        let call = self.clients.get_mut(&handle).and_then(|client| client.call.as_mut());
        if let Some(active) = call.filter(|active| active.call.state() != State::Closing) {
            active.call.close();
            host.sip(Command::Hangup {
                leg: active.leg,
                headers,
            });
        }
    }
}

impl ActiveCall {
    /// Opens the RTP ports of the call once; gives what we say of them in SDP.
    fn local(&mut self, host: &mut Host, handle: HandleId, toward: Option<IpAddr>) -> Result<plain::Local, Error> {
        let plain = match self.plain {
            Some(plain) => plain,
            None => open_ports(host, handle, self.worker, toward)?,
        };
        self.plain = Some(plain);
        Ok(local_of(host, plain))
    }

    /// Answers the browser's offer with what SIP agreed to, once; `None` when it has been answered before.
    fn jsep_answer(&mut self, host: &mut Host, handle: HandleId) -> Option<crate::jsep::LocalJsep> {
        let offer = self.jsep_offer.take()?;
        let call = &self.call;
        let choose = |_, media: &voex_sdp::Media| call.jsep_section(Some(media));
        host.answer(handle, self.worker, SESSION_NAME, &offer, choose).ok()
    }

    /// Brings the media worker up to what both sides agreed.
    fn update_media(&mut self, host: &mut Host, handle: HandleId) {
        let webrtc = host.peer_connection(handle).map(|pc| pc.transport);
        let (Some(webrtc), Some(plain)) = (webrtc, self.plain) else {
            return;
        };
        let transports = Transports {
            webrtc,
            plain: plain.id,
        };
        for command in self.call.update(transports, &mut HostIds(host)) {
            match command {
                Media::AddTrack(track) => host.add_track(*track),
                Media::RemoveTrack(track) => host.remove_track(track),
                Media::AddSubscription(subscription) => host.add_subscription(*subscription),
                other => host.media(self.worker, other),
            }
        }
    }

    /// Pushes an event of the call with its transaction.
    fn push(&self, host: &mut Host, handle: HandleId, result: Value, jsep: Option<&crate::jsep::LocalJsep>) {
        Push {
            transaction: self.transaction.as_deref(),
            call_id: Some(&self.id),
            jsep,
        }
        .send(host, handle, result);
    }

    /// Pushes the event that answers a request.
    fn reply(&self, host: &mut Host, handle: HandleId, message: &Message, name: &str) {
        let transaction = Some(message.transaction.as_str());
        Push {
            transaction,
            call_id: Some(&self.id),
            jsep: None,
        }
        .send(host, handle, json!({ "event": name }));
    }

    /// Gives ports and PeerConnection back.
    fn release(&self, host: &mut Host, handle: HandleId) {
        if let Some(plain) = self.plain {
            host.close_plain(plain.id);
        }
        if self.jsep_offer.is_some() {
            // The browser has opened a PeerConnection that we never answered; it closes it on this event.
            host.push_core_event(handle, "hangup", json!({"reason": HangupReason::ClosePc.text()}));
        }
        host.close_peer_connection(handle, HangupReason::ClosePc);
    }
}

/// Opens a pair of RTP ports at the address that reaches `toward`.
fn open_ports(
    host: &mut Host,
    handle: HandleId,
    worker: WorkerId,
    toward: Option<IpAddr>,
) -> Result<PlainTransport, Error> {
    let opened = host.open_plain(handle, worker, toward);
    opened.map_err(|_| Error::default_text(Code::Io))
}

/// Gives what we say of a pair of ports in SDP.
fn local_of(host: &mut Host, plain: PlainTransport) -> plain::Local {
    let rtp_port = plain.pair.address.port();
    plain::Local {
        username: "-".to_owned(),
        session_id: host.new_api_id(),
        version: 1,
        session_name: SESSION_NAME.to_owned(),
        address: plain.pair.address.ip(),
        rtp_port,
        rtcp_port: plain.pair.rtcp.map_or(rtp_port, |_| rtp_port.saturating_add(1)),
    }
}

/// Makes what a call sends on its two legs.
fn legs(host: &mut Host) -> (Leg, Leg) {
    let webrtc = Leg {
        ssrc: host.new_ssrc(),
        cname: CNAME.to_owned(),
    };
    let plain = Leg {
        ssrc: host.new_ssrc(),
        cname: host.rng.token(16),
    };
    (webrtc, plain)
}

struct HostIds<'a>(&'a mut Host);

impl Ids for HostIds<'_> {
    fn track(&mut self) -> TrackId {
        self.0.new_track_id()
    }

    fn subscription(&mut self) -> SubscriptionId {
        self.0.new_subscription_id()
    }

    fn ssrc(&mut self) -> u32 {
        self.0.new_ssrc()
    }
}

/// Reads a SIP URI that stands alone; `None` for anything else.
fn sip_uri(text: &str) -> Option<Uri> {
    Uri::parse(text).ok().filter(|uri| uri.as_sip().is_some())
}

/// Gives the address in a SIP URI; `None` when a name stands there.
fn host_ip(uri: &str) -> Option<IpAddr> {
    match sip_uri(uri)?.as_sip()?.host {
        voex_sip::Host::Address(ip) => Some(ip),
        voex_sip::Host::Name(_) => None,
    }
}
