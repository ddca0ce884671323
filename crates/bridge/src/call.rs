//! One call: its state, what both sides said, what the media worker is told.

use std::fmt;
use std::net::IpAddr;

use voex_sdp::{Description, Direction, Kind, Media, Payload, plain, webrtc};

use crate::format::{self, Format, Numbers};
use crate::relay::Joined;

/// Where a call stands; names as the Janus SIP plugin has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// We called; not answered yet.
    Inviting,
    /// We are called; not answered yet.
    Invited,
    /// Answered.
    InCall,
    /// Answered; an offer of ours is under way.
    InCallReinviting,
    /// Answered; an offer of the remote waits.
    InCallReinvited,
    /// Being ended from our side.
    Closing,
}

impl State {
    /// Tells whether the call was answered and goes on.
    pub const fn is_in_call(self) -> bool {
        matches!(self, Self::InCall | Self::InCallReinviting | Self::InCallReinvited)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inviting => "inviting",
            Self::Invited => "invited",
            Self::InCall => "incall",
            Self::InCallReinviting => "incall_reinviting",
            Self::InCallReinvited => "incall_reinvited",
            Self::Closing => "closing",
        })
    }
}

/// Why a description joins nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// No audio m-line is in use.
    NoAudio,
    /// The audio is offered with SDES keys only.
    Encrypted,
    /// No sound format is common to both sides.
    NoCommonFormat,
    /// It answers an offer that was not made.
    NotOffered,
}

impl CallError {
    /// Gives the SIP status code that refuses such an offer.
    pub const fn sip_status(self) -> u16 {
        match self {
            Self::NoAudio | Self::Encrypted | Self::NoCommonFormat => 488,
            Self::NotOffered => 500,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAudio => "no audio in use",
            Self::Encrypted => "SDES-SRTP is not supported",
            Self::NoCommonFormat => "no common audio format",
            Self::NotOffered => "no offer was made",
        })
    }
}

/// What we send on a leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leg {
    /// Our SSRC.
    pub ssrc: u32,
    /// Our canonical name.
    pub cname: String,
}

/// One call between a browser and a SIP leg.
#[derive(Debug)]
pub struct Call {
    state: State,
    pub(crate) webrtc: Leg,
    pub(crate) plain: Leg,
    /// Mid, SSRC and payload types that the browser wrote.
    pub(crate) browser: Option<Browser>,
    local: Option<plain::Local>,
    /// Our last plain description.
    said: Option<Description>,
    /// The remote's last audio m-line.
    pub(crate) remote: Option<Media>,
    /// Whole offer of the remote, as long as it waits for our answer.
    offer: Option<Description>,
    pub(crate) formats: Vec<Format>,
    /// What we want on the plain leg: `SendRecv` unless held.
    wanted: Direction,
    /// `wanted` before the re-INVITE that is under way.
    wanted_before: Direction,
    /// What both sides agreed on the plain leg, seen from us.
    pub(crate) flow: Direction,
    pub(crate) joined: Option<Joined>,
}

/// What is known of the browser's audio.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) mid: String,
    pub(crate) ssrc: Option<u32>,
    direction: Direction,
    payloads: Vec<Payload>,
}

/// Mid of the audio in our offers to the browser.
const MID: &str = "0";

impl Call {
    fn new(state: State, webrtc: Leg, plain: Leg) -> Self {
        Self {
            state,
            webrtc,
            plain,
            browser: None,
            local: None,
            said: None,
            remote: None,
            offer: None,
            formats: Vec::new(),
            wanted: Direction::SendRecv,
            wanted_before: Direction::SendRecv,
            flow: Direction::SendRecv,
            joined: None,
        }
    }

    /// Begins a call of the browser; gives the offer for the INVITE.
    ///
    /// # Errors
    /// When the browser offers no audio that can be carried.
    pub fn outgoing(
        webrtc: Leg,
        plain: Leg,
        jsep_offer: &Description,
        local: plain::Local,
    ) -> Result<(Self, String), CallError> {
        let mut call = Self::new(State::Inviting, webrtc, plain);
        let offer = call.offer_for(jsep_offer, local)?;
        Ok((call, offer))
    }

    /// Begins a call of the remote; without an offer the browser makes one when it accepts.
    ///
    /// # Errors
    /// When there is an offer and nothing in it can be carried to a browser.
    pub fn incoming(webrtc: Leg, plain: Leg, offer: Option<Description>) -> Result<Self, CallError> {
        let mut call = Self::new(State::Invited, webrtc, plain);
        if let Some(offer) = offer {
            let audio = usable_audio(&offer)?;
            if !audio
                .payloads
                .iter()
                .any(|p| format::is_portable(p) && format::is_sound(p))
            {
                return Err(CallError::NoCommonFormat);
            }
            call.remote = Some(audio.clone());
            call.offer = Some(offer);
        }
        Ok(call)
    }

    /// Gives where the call stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Tells whether the remote's offer waits for our answer.
    pub fn has_offer(&self) -> bool {
        self.offer.is_some()
    }

    /// Gives the name of the format that both sides speak, once they have agreed.
    pub fn codec(&self) -> Option<&str> {
        let mut payloads = self.formats.iter().map(|format| &format.payload);
        payloads
            .find(|payload| format::is_sound(payload))
            .map(|payload| payload.name.as_str())
    }

    /// Tells whether both sides have agreed on formats.
    pub fn is_negotiated(&self) -> bool {
        !self.formats.is_empty()
    }

    /// Gives the text of our last plain description: what a 200 repeats after a 183.
    pub fn said(&self) -> Option<String> {
        self.said.as_ref().map(Description::to_string)
    }

    /// Gives the address in the remote's last description.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.remote.as_ref()?.connection.as_ref()?.ip()
    }

    /// Notes that the call is being ended.
    pub fn close(&mut self) {
        self.state = State::Closing;
    }

    /// Notes that the call was answered, by either side.
    pub fn answered(&mut self) {
        if matches!(self.state, State::Inviting | State::Invited) {
            self.state = State::InCall;
        }
    }

    /// Makes the plain offer for what the browser offers.
    ///
    /// # Errors
    /// When the browser offers no audio that can be carried.
    pub fn offer_for(&mut self, jsep_offer: &Description, local: plain::Local) -> Result<String, CallError> {
        let (_, audio) = jsep_offer.first(&Kind::Audio).ok_or(CallError::NoAudio)?;
        let payloads = format::portable(&audio.payloads);
        if !payloads.iter().any(format::is_sound) {
            return Err(CallError::NoCommonFormat);
        }
        let section = plain::Section {
            direction: audio.direction,
            payloads,
            ptime: None,
        };
        self.browser = Some(Browser::new(audio));
        let offer = plain::offer(&local, section);
        self.local = Some(local);
        Ok(self.say(offer))
    }

    /// Takes the remote's answer to our offer: of a provisional answer, of the 200, or of a re-INVITE. Can come more
    /// than once; the last one counts.
    ///
    /// # Errors
    /// When it takes nothing that we offered; what was agreed before stays.
    pub fn handle_plain_answer(&mut self, answer: &Description) -> Result<(), CallError> {
        self.reinvite_is_over();
        let said = self
            .said
            .as_ref()
            .and_then(|said| said.media.first())
            .ok_or(CallError::NotOffered)?;
        let audio = usable_audio(answer)?;
        let formats = self.formats_of(&said.payloads, &audio.payloads);
        if !formats.iter().any(|format| format::is_sound(&format.payload)) {
            return Err(CallError::NoCommonFormat);
        }
        self.flow = audio.direction.reversed().and(said.direction);
        self.formats = formats;
        self.remote = Some(audio.clone());
        Ok(())
    }

    /// Gives what to say to the browser on an m-line: the answer to its offer, or the only m-line of ours to it.
    /// `None` refuses the m-line.
    pub fn jsep_section(&self, offered: Option<&Media>) -> Option<webrtc::Section> {
        let remote = self.remote.as_ref()?;
        let payloads = match offered {
            Some(media) => {
                let ours = self.browser.as_ref().filter(|browser| browser.is(media))?;
                self.answered_payloads(&ours.payloads)
            }
            None => format::portable(&remote.payloads),
        };
        Some(webrtc::Section {
            direction: remote.direction,
            payloads,
            msid: Some("janus janus0".to_owned()),
            ssrc: Some((self.webrtc.ssrc, None)),
            cname: self.webrtc.cname.clone(),
            ..webrtc::Section::default()
        })
    }

    /// Gives the offer to the browser for an incoming call.
    pub fn jsep_offer(&self) -> Vec<webrtc::Offered> {
        vec![webrtc::Offered {
            kind: Kind::Audio,
            mid: MID.to_owned(),
            section: self.jsep_section(None),
        }]
    }

    /// Takes the browser's answer; gives the plain answer for the 200 (or the 183).
    ///
    /// # Errors
    /// When the browser takes nothing that was offered, or nothing was.
    pub fn accept(&mut self, jsep_answer: &Description, local: plain::Local) -> Result<String, CallError> {
        let offer = self.offer.clone().ok_or(CallError::NotOffered)?;
        let (_, audio) = jsep_answer.first(&Kind::Audio).ok_or(CallError::NoAudio)?;
        let remote = self.remote.as_ref().ok_or(CallError::NotOffered)?;
        let pairs = format::matched(&remote.payloads, &audio.payloads);
        let format = |(offered, answered): (&Payload, &Payload)| Format {
            payload: offered.clone(),
            webrtc: Numbers {
                ours: offered.payload_type,
                theirs: answered.payload_type,
            },
            plain: Numbers {
                ours: offered.payload_type,
                theirs: offered.payload_type,
            },
        };
        let formats: Vec<Format> = pairs.into_iter().map(format).collect();
        if !formats.iter().any(|format| format::is_sound(&format.payload)) {
            return Err(CallError::NoCommonFormat);
        }
        self.offer = None;
        self.browser = Some(Browser::new(audio));
        self.formats = formats;
        self.local = Some(local);
        Ok(self.answer_with(&offer, audio.direction))
    }

    /// Answers a re-INVITE of the remote within the formats in use, following its direction: hold, resume, moved media.
    ///
    /// # Errors
    /// When the offer leaves no format that the browser uses; what was agreed before stays.
    pub fn handle_reinvite(&mut self, offer: &Description) -> Result<String, CallError> {
        let audio = usable_audio(offer)?;
        let browser = self.browser.as_ref().ok_or(CallError::NotOffered)?;
        // The browser goes on with its numbers; only those of the plain leg may change.
        let formats: Vec<Format> = format::matched(&browser_payloads(&self.formats), &audio.payloads)
            .into_iter()
            .filter_map(|(known, offered)| {
                let format = self
                    .formats
                    .iter()
                    .find(|format| format.webrtc.theirs == known.payload_type)?;
                let number = offered.payload_type;
                let plain = Numbers {
                    ours: number,
                    theirs: number,
                };
                Some(Format {
                    payload: offered.clone(),
                    webrtc: format.webrtc,
                    plain,
                })
            })
            .collect();
        if !formats.iter().any(|format| format::is_sound(&format.payload)) {
            return Err(CallError::NoCommonFormat);
        }
        let wanted = self.wanted.and(browser.direction);
        self.formats = formats;
        self.remote = Some(audio.clone());
        Ok(self.answer_with(offer, wanted))
    }

    /// Gives our offer for a re-INVITE that has none; the answer comes in the ACK and goes to
    /// [`handle_plain_answer`](Self::handle_plain_answer). `None` when nothing has been agreed yet.
    pub fn handle_reinvite_without_offer(&mut self) -> Option<String> {
        let offer = self.offer_again()?;
        self.state = State::InCallReinvited;
        Some(offer)
    }

    fn offer_again(&mut self) -> Option<String> {
        if !self.is_negotiated() {
            return None;
        }
        let direction = self.wanted.and(self.browser.as_ref()?.direction);
        let section = plain::Section {
            direction,
            payloads: self.formats.iter().map(Format::as_we_write_it).collect(),
            ptime: None,
        };
        let offer = plain::offer(self.local.as_ref()?, section);
        Some(self.say(offer))
    }

    /// Holds (or, with `SendRecv`, resumes) from our side; gives the offer for the re-INVITE. `None` when nothing has
    /// been agreed yet.
    pub fn hold(&mut self, direction: Direction) -> Option<String> {
        if !self.is_negotiated() {
            return None;
        }
        self.wanted_before = std::mem::replace(&mut self.wanted, direction);
        let offer = self.offer_again()?;
        self.state = State::InCallReinviting;
        Some(offer)
    }

    /// Notes that the remote refused our re-INVITE: things stay as they are.
    pub fn handle_refused_reinvite(&mut self) {
        if self.state == State::InCallReinviting {
            self.wanted = self.wanted_before;
        }
        self.reinvite_is_over();
    }

    fn reinvite_is_over(&mut self) {
        if matches!(self.state, State::InCallReinviting | State::InCallReinvited) {
            self.state = State::InCall;
        }
    }

    /// Builds the plain answer with the formats in use and notes what it agrees on.
    fn answer_with(&mut self, offer: &Description, wanted: Direction) -> String {
        let Some(local) = &self.local else {
            return String::new();
        };
        let payloads: Vec<Payload> = self.formats.iter().map(Format::as_we_write_it).collect();
        let answer = plain::answer(offer, local, |media| {
            (!is_encrypted(media)).then(|| plain::Section {
                direction: wanted,
                payloads: payloads.clone(),
                ptime: media.ptime,
            })
        });
        self.flow = answer
            .first(&Kind::Audio)
            .map_or(Direction::Inactive, |(_, audio)| audio.direction);
        self.say(answer)
    }

    /// Remembers a description of ours and gives its text. The version in `o=` grows when anything else changed
    /// (RFC 3264 §8).
    fn say(&mut self, mut description: Description) -> String {
        if let (Some(said), Some(local)) = (&self.said, &mut self.local)
            && *said != description
        {
            local.version += 1;
            description.origin.version = local.version;
        }
        let text = description.to_string();
        self.said = Some(description);
        text
    }

    /// Gives the formats of an answer to our plain offer. The numbers that we offered are those of the browser, or of
    /// the formats in use once there are any.
    fn formats_of(&self, offered: &[Payload], answered: &[Payload]) -> Vec<Format> {
        let webrtc = |offered: &Payload| match self.formats.iter().find(|f| f.plain.ours == offered.payload_type) {
            Some(known) => known.webrtc,
            None => Numbers {
                ours: offered.payload_type,
                theirs: offered.payload_type,
            },
        };
        format::matched(offered, answered)
            .into_iter()
            .map(|(offered, answered)| Format {
                payload: Payload {
                    fmtp: answered.fmtp.clone(),
                    ..offered.clone()
                },
                webrtc: webrtc(offered),
                plain: Numbers {
                    ours: offered.payload_type,
                    theirs: answered.payload_type,
                },
            })
            .collect()
    }

    /// Gives the formats in use under the browser's numbers, in the order of the remote.
    fn answered_payloads(&self, offered: &[Payload]) -> Vec<Payload> {
        let in_use = self.formats.iter();
        in_use
            .filter(|format| offered.iter().any(|p| p.payload_type == format.webrtc.theirs))
            .map(|format| Payload {
                payload_type: format.webrtc.theirs,
                rtcp_fb: Vec::new(),
                ..format.payload.clone()
            })
            .collect()
    }
}

impl Browser {
    fn new(audio: &Media) -> Self {
        Self {
            mid: audio.mid.clone().unwrap_or_else(|| MID.to_owned()),
            ssrc: audio.first_ssrc().map(|(ssrc, _)| ssrc),
            direction: audio.direction,
            payloads: audio.payloads.clone(),
        }
    }

    fn is(&self, media: &Media) -> bool {
        media.kind == Kind::Audio && media.mid.as_deref().unwrap_or(MID) == self.mid
    }
}

impl Format {
    /// Gives the payload type as our plain descriptions have it.
    fn as_we_write_it(&self) -> Payload {
        Payload {
            payload_type: self.plain.ours,
            rtcp_fb: Vec::new(),
            ..self.payload.clone()
        }
    }
}

/// Gives the audio of a plain description that can be used.
fn usable_audio(description: &Description) -> Result<&Media, CallError> {
    let audio = |media: &&Media| media.kind == Kind::Audio && media.is_rtp() && !media.is_rejected();
    let mut all = description.media.iter().filter(audio).peekable();
    all.peek().ok_or(CallError::NoAudio)?;
    all.find(|media| !is_encrypted(media)).ok_or(CallError::Encrypted)
}

/// Tells whether an m-line asks for SRTP.
fn is_encrypted(media: &Media) -> bool {
    media.protocol.split('/').any(|part| part.starts_with("SAVP"))
}

fn browser_payloads(formats: &[Format]) -> Vec<Payload> {
    let numbered = |format: &Format| Payload {
        payload_type: format.webrtc.theirs,
        ..format.payload.clone()
    };
    formats.iter().map(numbered).collect()
}
