//! Payload types of an RTP m-line.

/// One RTP payload type with what `rtpmap`, `fmtp` and `rtcp-fb` say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// RTP payload type, 0-127.
    pub payload_type: u8,
    /// Encoding name as written (`opus`, `PCMU`); empty for a dynamic type without `rtpmap`.
    pub name: String,
    /// RTP clock rate in Hz; 0 when unknown. G.722's is 8000 by decree (RFC 3551 §4.5.2).
    pub clock_rate: u32,
    /// Channels; 1 unless written.
    pub channels: u8,
    /// Format parameters.
    pub fmtp: Option<String>,
    /// Feedback messages: `nack`, `nack pli`, `ccm fir`, `goog-remb`, `transport-cc`.
    pub rtcp_fb: Vec<String>,
}

impl Payload {
    /// Makes a payload type without parameters.
    pub fn new(payload_type: u8, name: &str, clock_rate: u32, channels: u8) -> Self {
        Self {
            payload_type,
            name: name.to_owned(),
            clock_rate,
            channels,
            fmtp: None,
            rtcp_fb: Vec::new(),
        }
    }

    /// Adds format parameters.
    #[must_use]
    pub fn with_fmtp(mut self, fmtp: &str) -> Self {
        self.fmtp = Some(fmtp.to_owned());
        self
    }

    /// Adds feedback messages.
    #[must_use]
    pub fn with_feedback(mut self, rtcp_fb: &[&str]) -> Self {
        self.rtcp_fb = rtcp_fb.iter().map(|&fb| fb.to_owned()).collect();
        self
    }

    /// Tells whether this is the named encoding; encoding names have no case (RFC 4855 §3).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Tells whether `other` is the same format: name, clock rate and channels. Parameters are the caller's to compare.
    pub fn same_format(&self, other: &Self) -> bool {
        self.is(&other.name) && self.clock_rate == other.clock_rate && self.channels == other.channels
    }

    /// Gives one format parameter (`apt` of `apt=96`), names without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.as_deref()?.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Gives the payload type whose retransmissions this one carries (RFC 4588 §8.6).
    pub fn apt(&self) -> Option<u8> {
        self.is("rtx").then(|| self.parameter("apt")?.parse().ok())?
    }

    /// Tells whether a feedback message is named.
    pub fn has_feedback(&self, message: &str) -> bool {
        self.rtcp_fb.iter().any(|fb| fb == message)
    }

    /// Gives what a payload type means without `rtpmap` (RFC 3551 §6).
    pub(crate) fn implied(payload_type: u8) -> Self {
        let (name, clock_rate, channels) = match payload_type {
            0 => ("PCMU", 8_000, 1),
            3 => ("GSM", 8_000, 1),
            4 => ("G723", 8_000, 1),
            5 => ("DVI4", 8_000, 1),
            6 => ("DVI4", 16_000, 1),
            7 => ("LPC", 8_000, 1),
            8 => ("PCMA", 8_000, 1),
            9 => ("G722", 8_000, 1),
            10 => ("L16", 44_100, 2),
            11 => ("L16", 44_100, 1),
            12 => ("QCELP", 8_000, 1),
            13 => ("CN", 8_000, 1),
            14 => ("MPA", 90_000, 1),
            15 => ("G728", 8_000, 1),
            18 => ("G729", 8_000, 1),
            26 => ("JPEG", 90_000, 1),
            31 => ("H261", 90_000, 1),
            32 => ("MPV", 90_000, 1),
            34 => ("H263", 90_000, 1),
            _ => ("", 0, 1),
        };
        Self::new(payload_type, name, clock_rate, channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_read_only_from_rtx() {
        let rtx = Payload::new(97, "rtx", 90_000, 1).with_fmtp("apt=96");
        assert_eq!(rtx.apt(), Some(96));
        assert_eq!(Payload::new(97, "red", 90_000, 1).with_fmtp("apt=96").apt(), None);
    }

    #[test]
    fn parameters_are_found_between_blanks_and_without_case() {
        let opus = Payload::new(111, "opus", 48_000, 2).with_fmtp("minptime=10; useInbandFEC=1");
        assert_eq!(opus.parameter("useinbandfec"), Some("1"));
        assert_eq!(opus.parameter("stereo"), None);
    }
}
