//! An incoming call: `accept`, `progress`, `send_ringing`, `decline`.

use serde_json::{Value, json};
use voex_bridge::Call;
use voex_sdp::Description;
use voex_sip::{Command, Headers, IncomingCall};

use super::event::{Push, header, headers_of, with_headers, with_text};
use super::outgoing::{refuse_srtp, unusable};
use super::record::Record;
use super::{ActiveCall, Code, Error, SESSION_NAME, Sip, legs};
use crate::host::{HandleId, Host};
use crate::jsep::{Jsep, JsepKind};
use crate::plugin::Message;
use crate::plugin::fields::{self, Fields, Type, optional};

/// Code of a `decline` that names none, or none that refuses.
const DECLINE_CODE: u16 = 486;

/// Result of taking a browser's description: our plain one, and whether the answer is still to come.
struct Reply {
    sdp: String,
    awaits_answer: bool,
}

impl Sip {
    pub(super) fn incoming_call(&mut self, host: &mut Host, incoming: IncomingCall) -> bool {
        let is_free = |handle: &HandleId| self.clients.get(handle).is_some_and(|client| client.call.is_none());
        let free = self.handles_of(incoming.account).find(is_free);
        let handle = free.or_else(|| self.accounts.get(&incoming.account).copied());
        let Some(handle) = handle else {
            decline(host, &incoming, 480);
            return false;
        };
        host.metrics.calls.began(false);
        let client = self.client(handle);
        if client.call.is_some() {
            host.metrics.calls.ended(false, 486);
            decline(host, &incoming, 486);
            Push::default().send(host, handle, missed(&incoming));
            return true;
        }
        let prefixes = client.prefixes().to_vec();
        let rings = client.account.as_ref().is_some_and(|account| account.automatic_ringing);
        let account = client.account.as_ref().map(|account| account.user.clone());
        match ActiveCall::incoming(host, &incoming, account.unwrap_or_default()) {
            Ok(mut active) => {
                let jsep = active
                    .call
                    .has_offer()
                    .then(|| host.offer(handle, active.worker, SESSION_NAME, active.call.jsep_offer()));
                let result = with_headers(invited(&incoming), &incoming.headers, &prefixes);
                active.push(host, handle, result, jsep.as_ref());
                self.legs.insert(incoming.leg, handle);
                if rings {
                    active.record.ringing = Some(host.now());
                }
                self.client(handle).call = Some(active);
                if rings {
                    host.sip(Command::Ring {
                        leg: incoming.leg,
                        headers: Headers::new(),
                    });
                }
            }
            Err(code) => {
                host.metrics.calls.ended(false, code);
                decline(host, &incoming, code);
            }
        }
        true
    }

    pub(super) fn accept(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).invited()?;
        refuse_srtp(&message.body)?;
        let reply = match active.call.said().filter(|_| active.call.is_negotiated()) {
            // Early media has agreed on everything.
            Some(sdp) => Reply {
                sdp,
                awaits_answer: false,
            },
            None => active.take(host, handle, message.jsep.as_ref())?,
        };
        active.call.answered();
        active.answered = true;
        active.record.answered = Some(host.now());
        host.metrics.calls.answered.inc();
        let (leg, sdp, headers) = (active.leg, reply.sdp.into_bytes(), headers_of(&message.body));
        host.sip(Command::Accept { leg, sdp, headers });
        if reply.awaits_answer {
            active.transaction = Some(message.transaction.clone());
            active.reply(host, handle, message, "accepting");
        } else {
            active.reply(host, handle, message, "accepted");
        }
        active.update_media(host, handle);
        Ok(())
    }

    pub(super) fn progress(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).invited()?;
        refuse_srtp(&message.body)?;
        if !active.call.has_offer() {
            return Err(Error::default_text(Code::MissingSdp));
        }
        let reply = active.take(host, handle, message.jsep.as_ref())?;
        let (leg, sdp, headers) = (active.leg, reply.sdp.into_bytes(), headers_of(&message.body));
        host.sip(Command::Progress { leg, sdp, headers });
        active.reply(host, handle, message, "progressed");
        active.update_media(host, handle);
        Ok(())
    }

    pub(super) fn send_ringing(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).invited()?;
        active.record.ringing.get_or_insert(host.now());
        host.sip(Command::Ring {
            leg: active.leg,
            headers: headers_of(&message.body),
        });
        active.reply(host, handle, message, "ringing");
        Ok(())
    }

    pub(super) fn decline(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        fields::check(
            &message.body,
            &[
                optional("code", Type::Integer),
                optional("headers", Type::Object),
                optional("refer_id", Type::Unsigned),
            ],
        )?;
        if let Some(refer) = message.body.number("refer_id") {
            self.decline_transfer(host, handle, message, refer);
            return Ok(());
        }
        // In a wrong state the ack is all the answer that clients know.
        let Ok(active) = self.client(handle).invited() else {
            return Ok(());
        };
        let code = message.body.number("code").and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..700).contains(code)).unwrap_or(DECLINE_CODE);
        active.call.close();
        let headers = headers_of(&message.body);
        host.sip(Command::Decline {
            leg: active.leg,
            code,
            reason: None,
            headers,
        });
        let result = json!({"event": "declining", "code": code, "call_id": active.id});
        let transaction = Some(message.transaction.as_str());
        Push {
            transaction,
            call_id: Some(&active.id),
            jsep: None,
        }
        .send(host, handle, result);
        Ok(())
    }
}

impl ActiveCall {
    /// Looks at an INVITE; the error is the status code that refuses it.
    fn incoming(host: &mut Host, incoming: &IncomingCall, account: String) -> Result<Self, u16> {
        let offer = match &incoming.sdp {
            Some(sdp) => Some(Description::parse(sdp).map_err(|_| 400_u16)?),
            None => None,
        };
        let (webrtc, plain) = legs(host);
        let call = Call::incoming(webrtc, plain, offer).map_err(|error| error.sip_status())?;
        Ok(Self {
            leg: incoming.leg,
            id: incoming.call_id.clone(),
            call,
            worker: host.least_loaded_worker(),
            uri: incoming.from.clone(),
            transaction: None,
            jsep_offer: None,
            plain: None,
            answered: false,
            record: Record {
                is_outgoing: false,
                call_id: incoming.call_id.clone(),
                account,
                from: incoming.from.clone(),
                to: incoming.callee.clone(),
                began: (host.now(), host.wall()),
                ringing: None,
                answered: None,
                codec: None,
            },
        })
    }

    /// Takes the browser's answer, or its offer when the INVITE had none.
    fn take(&mut self, host: &mut Host, handle: HandleId, jsep: Option<&Jsep>) -> Result<Reply, Error> {
        let wanted = if self.call.has_offer() {
            JsepKind::Answer
        } else {
            JsepKind::Offer
        };
        let jsep = jsep
            .filter(|jsep| jsep.kind == wanted)
            .ok_or(Error::default_text(Code::MissingSdp))?;
        let toward = self.call.remote_ip().filter(|ip| !ip.is_unspecified());
        let local = self.local(host, handle, toward)?;
        match wanted {
            JsepKind::Answer => {
                let sdp = self.call.accept(&jsep.description, local).map_err(unusable)?;
                let taken = host.accept_answer(handle, &jsep.description);
                taken.map_err(|error| Error::new(Code::MissingSdp, format!("Missing SDP ({error})")))?;
                Ok(Reply {
                    sdp,
                    awaits_answer: false,
                })
            }
            JsepKind::Offer => {
                let sdp = self.call.offer_for(&jsep.description, local).map_err(unusable)?;
                self.jsep_offer = Some(jsep.description.clone());
                Ok(Reply {
                    sdp,
                    awaits_answer: true,
                })
            }
        }
    }
}

fn invited(incoming: &IncomingCall) -> Value {
    let mut result = json!({"event": "incomingcall", "username": incoming.from, "call_id": incoming.call_id});
    result = with_text(result, "displayname", incoming.display_name.as_deref());
    result["callee"] = incoming.callee.as_str().into();
    result = with_text(result, "referred_by", header(&incoming.headers, "Referred-By"));
    with_text(result, "replaces", header(&incoming.headers, "Replaces"))
}

fn missed(incoming: &IncomingCall) -> Value {
    let result = json!({"event": "missed_call", "caller": incoming.from});
    let mut result = with_text(result, "displayname", incoming.display_name.as_deref());
    result["callee"] = incoming.callee.as_str().into();
    result
}

fn decline(host: &mut Host, incoming: &IncomingCall, code: u16) {
    host.sip(Command::Decline {
        leg: incoming.leg,
        code,
        reason: None,
        headers: Headers::new(),
    });
}
