//! In a call: `hangup`, `hold`, `unhold`, `info`, `dtmf_info`, and what the remote does.

use serde_json::json;
use voex_bridge::State;
use voex_sdp::{Description, Direction};
use voex_sip::{Command, Headers, LegId};

use super::event::{headers_of, with_headers, with_text};
use super::{Code, Error, Sip};
use crate::host::{HandleId, Host};
use crate::plugin::Message;
use crate::plugin::fields::{self, Fields, Type, optional, required};

const DTMF_RELAY: &str = "application/dtmf-relay";
/// Duration of a digit when the request names none, in ms.
const DTMF_MS: u64 = 160;

/// Who sent an INFO.
pub(super) struct Sender {
    pub(super) from: String,
    pub(super) display_name: Option<String>,
}

impl Sip {
    pub(super) fn hangup(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        fields::check(&message.body, &[optional("headers", Type::Object)])?;
        let open = |client: &&mut super::ActiveCall| client.call.state() != State::Closing;
        // In a wrong state the ack is all the answer that clients know.
        if let Some(active) = self.client(handle).call.as_mut().filter(open) {
            active.reply(host, handle, message, "hangingup");
            self.hang_up(host, handle, headers_of(&message.body));
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).in_call()?;
        fields::check(
            &message.body,
            &[optional("direction", Type::String), optional("headers", Type::Object)],
        )?;
        let holds = message.body.text("request") == Some("hold");
        let direction = match message.body.text("direction").filter(|_| holds) {
            None if holds => Direction::SendOnly,
            None => Direction::SendRecv,
            Some(name) => Direction::from_name(name)
                .filter(|d| *d != Direction::SendRecv)
                .ok_or(Error::new(
                    Code::InvalidElement,
                    "Invalid direction (can only be sendonly, recvonly or inactive)",
                ))?,
        };
        if active.call.state() != State::InCall {
            let text = format!("Wrong state (not in a call? status={})", active.call.state());
            return Err(Error::new(Code::WrongState, text));
        }
        let offer = active.call.hold(direction);
        let sdp = offer
            .ok_or(Error::new(Code::WrongState, "Wrong state (not in a call?)"))?
            .into_bytes();
        host.sip(Command::Reinvite {
            leg: active.leg,
            sdp,
            headers: headers_of(&message.body),
        });
        active.reply(host, handle, message, if holds { "holding" } else { "resuming" });
        Ok(())
    }

    pub(super) fn info(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).in_call()?;
        fields::check(
            &message.body,
            &[
                required("type", Type::String),
                required("content", Type::String),
                optional("headers", Type::Object),
            ],
        )?;
        let content_type = message.body.text("type").unwrap_or_default().to_owned();
        if content_type.is_empty() || content_type.contains(char::is_control) {
            return Err(Error::new(
                Code::InvalidElement,
                "Invalid element (type should be a media type)",
            ));
        }
        let body = message.body.text("content").unwrap_or_default().as_bytes().to_vec();
        host.sip(Command::Info {
            leg: active.leg,
            content_type,
            body,
            headers: headers_of(&message.body),
        });
        active.reply(host, handle, message, "infosent");
        Ok(())
    }

    pub(super) fn dtmf_info(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let active = self.client(handle).in_call()?;
        fields::check(
            &message.body,
            &[
                required("digit", Type::String),
                optional("duration", Type::Unsigned),
                optional("headers", Type::Object),
            ],
        )?;
        let mut digits = message.body.text("digit").unwrap_or_default().chars();
        let (Some(digit), None) = (digits.next().filter(|digit| !digit.is_control()), digits.next()) else {
            return Err(Error::new(
                Code::InvalidElement,
                "Invalid element (digit should be one character)",
            ));
        };
        let duration = message.body.number("duration").unwrap_or(DTMF_MS);
        host.sip(Command::Info {
            leg: active.leg,
            content_type: DTMF_RELAY.to_owned(),
            body: format!("Signal={digit}\r\nDuration={duration}").into_bytes(),
            headers: headers_of(&message.body),
        });
        active.reply(host, handle, message, "dtmfsent");
        Ok(())
    }

    /// Answers a re-INVITE at once; the browser hears nothing of it.
    pub(super) fn reinvited(&mut self, host: &mut Host, leg: LegId, sdp: Option<&[u8]>) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let Some(active) = &mut client.call else { return false };
        let answer = match sdp {
            Some(sdp) => match Description::parse(sdp) {
                Ok(offer) => active.call.handle_reinvite(&offer).map_err(|error| error.sip_status()),
                Err(_) => Err(400),
            },
            None => active.call.handle_reinvite_without_offer().ok_or(488),
        };
        let answer = answer.map(String::into_bytes);
        host.sip(Command::AnswerReinvite {
            leg,
            answer,
            headers: Headers::new(),
        });
        active.update_media(host, handle);
        true
    }

    pub(super) fn reinvite_answered(&mut self, host: &mut Host, leg: LegId, sdp: Option<&[u8]>) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let Some(active) = &mut client.call else { return false };
        if sdp.is_none_or(|sdp| active.agree(sdp).is_err()) {
            active.call.handle_refused_reinvite();
        }
        active.update_media(host, handle);
        true
    }

    pub(super) fn reinvite_failed(&mut self, leg: LegId) -> bool {
        let active = self.by_leg(leg).and_then(|(_, client)| client.call.as_mut());
        active.map(|active| active.call.handle_refused_reinvite()).is_some()
    }

    pub(super) fn info_received(
        &mut self,
        host: &mut Host,
        leg: LegId,
        sender: &Sender,
        content_type: &str,
        body: &[u8],
        headers: &Headers,
    ) -> bool {
        let Some((handle, client)) = self.by_leg(leg) else {
            return false;
        };
        let prefixes = client.prefixes().to_vec();
        let Some(active) = &client.call else { return false };
        let content = String::from_utf8_lossy(body);
        let result = match dtmf_signal(content_type, &content) {
            Some((signal, duration)) => {
                let mut result = json!({"event": "dtmf", "sender": sender.from, "signal": signal});
                if let Some(duration) = duration {
                    result["duration"] = duration.into();
                }
                result
            }
            None => {
                let result = json!({"event": "info", "sender": sender.from});
                let mut result = with_text(result, "displayname", sender.display_name.as_deref());
                result["type"] = content_type.into();
                result["content"] = content.into();
                result
            }
        };
        active.push(host, handle, with_headers(result, headers, &prefixes), None);
        true
    }
}

/// Reads `Signal=5` and `Duration=160` of a DTMF relay body.
fn dtmf_signal(content_type: &str, content: &str) -> Option<(String, Option<u64>)> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(DTMF_RELAY) {
        return None;
    }
    let value = |name: &str| {
        let mut pairs = content.lines().filter_map(|line| line.split_once('='));
        let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let signal = value("Signal").filter(|signal| !signal.is_empty())?;
    Some((signal, value("Duration").and_then(|duration| duration.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dtmf_relay_body_is_read_with_blanks_and_without_duration() {
        let read = |content| dtmf_signal("application/dtmf-relay", content);
        assert_eq!(read("Signal=5\r\nDuration=160\r\n"), Some(("5".to_owned(), Some(160))));
        assert_eq!(read("Signal= *\r\n"), Some(("*".to_owned(), None)));
        assert_eq!(read("Duration=160\r\n"), None);
        assert_eq!(dtmf_signal("text/plain", "Signal=5"), None);
    }
}
