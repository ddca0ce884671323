//! `call` and what the remote says to it.

use serde_json::{Map, Value, json};
use voex_bridge::{Call, CallError, State};
use voex_sdp::Description;
use voex_sip::{CallSpec, Command, Headers, LegId, ReferId};

use super::account::{RegistrationState, credentials};
use super::event::{Push, headers_of, with_headers, with_text};
use super::record::Record;
use super::{ActiveCall, Client, Code, Error, Sip, host_ip, legs, local_of, open_ports, sip_uri};
use crate::host::{HandleId, Host};
use crate::jsep::{JsepKind, LocalJsep};
use crate::plugin::Message;
use crate::plugin::fields::{self, Field, Fields, Type, optional, required};

/// Length of a Call-ID of ours.
const CALL_ID_LENGTH: usize = 24;

const FIELDS: [Field; 10] = [
    required("uri", Type::String),
    optional("call_id", Type::String),
    optional("headers", Type::Object),
    optional("srtp", Type::String),
    optional("srtp_profile", Type::String),
    optional("autoaccept_reinvites", Type::Boolean),
    optional("refer_id", Type::Unsigned),
    optional("secret", Type::String),
    optional("ha1_secret", Type::String),
    optional("authuser", Type::String),
];

impl Sip {
    pub(super) fn call(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let client = self.client(handle);
        may_call(client)?;
        fields::check(&message.body, &FIELDS)?;
        let uri = message.body.text("uri").unwrap_or_default();
        if sip_uri(uri).is_none() {
            return Err(Error::new(
                Code::InvalidAddress,
                format!("Invalid user address {uri}\n"),
            ));
        }
        refuse_srtp(&message.body)?;
        let jsep = message.jsep.as_ref().filter(|jsep| jsep.kind == JsepKind::Offer);
        let jsep = jsep.ok_or(Error::default_text(Code::MissingSdp))?;
        let offer = jsep.description.clone();
        let leg = LegId(self.last_leg + 1);
        let active = self.invite(host, handle, leg, offer, message)?;
        host.metrics.calls.began(true);
        let result = json!({"event": "calling", "call_id": active.id});
        active.push(host, handle, result, None);
        self.last_leg = leg.0;
        self.legs.insert(leg, handle);
        self.client(handle).call = Some(active);
        Ok(())
    }

    /// Opens ports and sends the INVITE.
    fn invite(
        &mut self,
        host: &mut Host,
        handle: HandleId,
        leg: LegId,
        offer: Description,
        message: &Message,
    ) -> Result<ActiveCall, Error> {
        let body = &message.body;
        let account = self.client(handle).account.as_ref().ok_or(register_first())?;
        let (account_id, outbound, proxy) = (account.id, account.outbound_proxy_ip, account.proxy_ip);
        let user = account.user.clone();
        let credentials = credentials(body, &account.user)?;
        let uri = body.text("uri").unwrap_or_default().to_owned();
        let call_id = body.text("call_id").map(str::to_owned);
        let worker = host.least_loaded_worker();
        let ports = open_ports(host, handle, worker, outbound.or(host_ip(&uri)).or(proxy))?;
        let (webrtc, plain) = legs(host);
        let local = local_of(host, ports);
        let (call, sdp) = Call::outgoing(webrtc, plain, &offer, local).map_err(|error| {
            host.close_plain(ports.id);
            unusable(error)
        })?;
        let id = call_id.unwrap_or_else(|| host.rng.token(CALL_ID_LENGTH));
        let record = Record {
            is_outgoing: true,
            call_id: id.clone(),
            from: user.clone(),
            account: user,
            to: uri.clone(),
            began: (host.now(), host.wall()),
            ringing: None,
            answered: None,
            codec: None,
        };
        let active = ActiveCall {
            leg,
            id,
            call,
            worker,
            uri,
            transaction: Some(message.transaction.clone()),
            jsep_offer: Some(offer),
            plain: Some(ports),
            answered: false,
            record,
        };
        host.sip(Command::Call(Box::new(CallSpec {
            call_id: Some(active.id.clone()),
            headers: headers_of(body),
            credentials,
            refer: body.number("refer_id").map(ReferId),
            ..CallSpec::new(leg, account_id, active.uri.clone(), sdp.into_bytes())
        })));
        Ok(active)
    }

    pub(super) fn provisional(
        &mut self,
        host: &mut Host,
        leg: LegId,
        code: u16,
        sdp: Option<&[u8]>,
        headers: &Headers,
    ) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let prefixes = client.prefixes().to_vec();
        let Some(active) = client
            .call
            .as_mut()
            .filter(|active| active.call.state() == State::Inviting)
        else {
            return true;
        };
        active.record.ringing.get_or_insert(host.now());
        if code == 180 {
            let result = with_headers(json!({"event": "ringing"}), headers, &prefixes);
            active.push(host, handle, result, None);
        }
        if sdp.is_some_and(|sdp| active.agree(sdp).is_ok()) {
            let jsep = active.jsep_answer(host, handle);
            let result = json!({"event": "progress", "username": active.uri});
            active.push(host, handle, with_headers(result, headers, &prefixes), jsep.as_ref());
            active.update_media(host, handle);
        }
        active.push(host, handle, json!({"event": "proceeding", "code": code}), None);
        true
    }

    pub(super) fn answered(
        &mut self,
        host: &mut Host,
        leg: LegId,
        sdp: Option<&[u8]>,
        remote: &str,
        headers: &Headers,
    ) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let prefixes = client.prefixes().to_vec();
        let Some(active) = client
            .call
            .as_mut()
            .filter(|active| active.call.state() == State::Inviting)
        else {
            return true;
        };
        let agreed = sdp.map_or(Ok(()), |sdp| active.agree(sdp));
        if agreed.is_err() || !active.call.is_negotiated() {
            let reason = (
                "Reason".to_owned(),
                "SIP ;cause=488 ;text=\"No common codec\"".to_owned(),
            );
            self.hang_up(host, handle, vec![reason]);
            return true;
        }
        active.call.answered();
        active.answered = true;
        active.record.answered = Some(host.now());
        host.metrics.calls.answered.inc();
        let jsep = active.jsep_answer(host, handle);
        let result = with_headers(json!({"event": "accepted", "username": remote}), headers, &prefixes);
        active.push(host, handle, result, jsep.as_ref());
        active.update_media(host, handle);
        true
    }

    /// The ACK came: with the answer of a call that the remote made without an offer.
    pub(super) fn confirmed(&mut self, host: &mut Host, leg: LegId, sdp: Option<&[u8]>) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let Some(active) = &mut client.call else { return false };
        let state = active.call.state();
        let agreed = match sdp {
            Some(sdp) if state == State::InCallReinvited || !active.call.is_negotiated() => active.agree(sdp),
            _ => Ok(()),
        };
        if state == State::InCallReinvited {
            active.call.handle_refused_reinvite();
        }
        if agreed.is_err() || !active.call.is_negotiated() {
            self.hang_up(host, handle, Headers::new());
            return true;
        }
        let jsep: Option<LocalJsep> = active.jsep_answer(host, handle);
        if jsep.is_some() {
            active.push(host, handle, json!({"event": "accepted"}), jsep.as_ref());
        }
        active.update_media(host, handle);
        true
    }
}

impl Sip {
    /// Reports the end of a leg and gives everything back that its call had.
    pub(super) fn ended(&mut self, host: &mut Host, ended: &voex_sip::Ended) -> bool {
        let known = self
            .by_leg(ended.leg)
            .map(|(handle, client)| (handle, client.prefixes().to_vec()));
        self.legs.remove(&ended.leg);
        let Some((handle, prefixes)) = known else {
            return false;
        };
        let Some(active) = self.client(handle).call.take() else {
            return false;
        };
        host.metrics.calls.ended(active.answered, ended.code);
        let mut result = json!({"event": "hangup", "code": ended.code, "reason": ended.reason});
        if let Some(reason) = &ended.reason_header {
            let texts = [
                ("reason_header", reason.text.as_deref()),
                ("reason_header_protocol", Some(reason.protocol.as_str())),
                ("reason_header_cause", reason.cause.as_deref()),
            ];
            for (name, text) in texts {
                result = with_text(result, name, text);
            }
        }
        let result = with_headers(result, &ended.headers, &prefixes);
        let push = Push {
            transaction: active.transaction.as_deref(),
            call_id: Some(&active.id),
            jsep: None,
        };
        push.send(host, handle, result);
        active.release(host, handle);
        self.finish_record(host, active, ended);
        true
    }
}

impl ActiveCall {
    /// Takes an answer of the remote.
    pub(super) fn agree(&mut self, sdp: &[u8]) -> Result<(), CallError> {
        let answer = Description::parse(sdp).map_err(|_| CallError::NoAudio)?;
        self.call.handle_plain_answer(&answer)
    }
}

fn may_call(client: &Client) -> Result<(), Error> {
    let registered = |account: &super::Account| account.state == RegistrationState::Registered;
    if !client.account.as_ref().is_some_and(registered) {
        return Err(register_first());
    }
    match client.call {
        None => Ok(()),
        Some(_) => {
            let text = format!("Wrong state (already in a call? status={})", client.call_state());
            Err(Error::new(Code::WrongState, text))
        }
    }
}

fn register_first() -> Error {
    Error::new(Code::WrongState, "Wrong state (register first)")
}

/// Refuses what needs SRTP towards SIP.
pub(super) fn refuse_srtp(body: &Map<String, Value>) -> Result<(), Error> {
    match body.text("srtp") {
        None | Some("sdes_optional") => Ok(()),
        Some("sdes_mandatory") => Err(Error::default_text(Code::TooStrict)),
        Some(_) => {
            let text = "Invalid element (srtp can only be sdes_optional or sdes_mandatory)";
            Err(Error::new(Code::InvalidElement, text))
        }
    }
}

/// Tells a client that its description joins nothing.
pub(super) fn unusable(error: CallError) -> Error {
    Error::new(Code::MissingSdp, format!("Missing SDP ({error})"))
}
