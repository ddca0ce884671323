//! Transfers: `transfer`, what the remote says of it, and those that the remote asks for.

use serde_json::json;
use voex_sip::{Command, Headers, LegId, ReferId, Referral};

use super::event::{Push, headers_of, with_headers, with_text};
use super::{Code, Error, Sip, sip_uri};
use crate::host::{HandleId, Host};
use crate::plugin::Message;
use crate::plugin::fields::{self, Fields, Type, optional, required};

/// NOTIFY of the remote.
pub(super) struct Notice<'a> {
    pub(super) event: &'a str,
    pub(super) state: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
}

impl Sip {
    pub(super) fn transfer(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).in_call()?;
        fields::check(
            &message.body,
            &[
                required("uri", Type::String),
                optional("replace", Type::String),
                optional("headers", Type::Object),
            ],
        )?;
        let to = message.body.text("uri").unwrap_or_default();
        if sip_uri(to).is_none() {
            let text = format!("Invalid user address {to}\n");
            return Err(Error::new(Code::InvalidAddress, text));
        }
        host.sip(Command::Refer {
            leg: active.leg,
            to: to.to_owned(),
            replaces: message.body.text("replace").map(str::to_owned),
            headers: headers_of(&message.body),
        });
        active.reply(host, handle, message, "transferring");
        Ok(())
    }

    /// Our REFER was refused: told as the NOTIFY that will not come.
    pub(super) fn refer_answered(&mut self, host: &mut Host, leg: LegId, code: u16, reason: &str) -> bool {
        if code < 300 {
            return self.by_leg(leg).is_some();
        }
        let content = format!("SIP/2.0 {code} {reason}\r\n");
        let notice = Notice {
            event: "refer",
            state: "terminated",
            content_type: "message/sipfrag",
            body: content.as_bytes(),
        };
        self.notified(host, leg, &notice, &Headers::new())
    }

    pub(super) fn notified(&mut self, host: &mut Host, leg: LegId, notice: &Notice<'_>, headers: &Headers) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let prefixes = client.prefixes().to_vec();
        let Some(active) = &client.call else { return false };
        let first = |value: &str| value.split(';').next().unwrap_or_default().trim().to_owned();
        let result = json!({
            "event": "notify",
            "notify": first(notice.event),
            "substate": first(notice.state),
            "content-type": first(notice.content_type),
            "content": String::from_utf8_lossy(notice.body),
        });
        active.push(host, handle, with_headers(result, headers, &prefixes), None);
        true
    }

    /// The remote asks for a transfer. The application follows it by `call` with the id, on a handle that has no call.
    pub(super) fn referred(&mut self, host: &mut Host, referral: &Referral) -> bool {
        let Some((handle, client)) = self.by_leg(referral.leg) else {
            return false;
        };
        let prefixes = client.prefixes().to_vec();
        let result = json!({
            "event": "transfer", "refer_id": referral.refer.0, "refer_to": referral.to,
        });
        let result = with_text(result, "referred_by", referral.referred_by.as_deref());
        let result = with_text(result, "replaces", referral.replaces.as_deref());
        Push::default().send(host, handle, with_headers(result, &referral.headers, &prefixes));
        true
    }

    /// `decline` of a transfer.
    pub(super) fn decline_transfer(&mut self, host: &mut Host, handle: HandleId, message: &Message, refer: u64) {
        let code = message.body.number("code").and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..=699).contains(code)).unwrap_or(603);
        host.sip(Command::DeclineRefer {
            refer: ReferId(refer),
            code,
        });
        let push = Push {
            transaction: Some(message.transaction.as_str()),
            ..Push::default()
        };
        push.send(host, handle, json!({"event": "declining", "code": code}));
    }
}
