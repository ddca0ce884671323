//! The pieces of a file as bytes.

use serde_json::{Map, Value, json};

/// What a file begins with.
pub(crate) const MAGIC: &[u8; 8] = b"MJR00002";
/// What each packet begins with.
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"MEET";
/// Bytes in front of each packet.
pub const FRAME_HEAD_BYTES: usize = 4 + 4 + 2;
/// Longest JSON header that is written or read.
pub const HEADER_BYTES_MAX: usize = 8_192;

/// What a recording is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Audio.
    Audio,
    /// Video.
    Video,
    /// Messages of a data channel.
    Data,
}

impl Kind {
    fn letter(self) -> &'static str {
        match self {
            Self::Audio => "a",
            Self::Video => "v",
            Self::Data => "d",
        }
    }

    fn of(letter: &str) -> Option<Self> {
        [Self::Audio, Self::Video, Self::Data]
            .into_iter()
            .find(|kind| kind.letter() == letter)
    }
}

/// What the JSON header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the recording is of.
    pub kind: Kind,
    /// The codec by its name in the API: `opus`, `vp8`, `pcma`.
    pub codec: String,
    /// Format parameters, as in `a=fmtp`.
    pub fmtp: Option<String>,
    /// RTP header extensions that packets carry, as (id, URI).
    pub extensions: Vec<(u8, String)>,
    /// When the recording was ordered, in microseconds since 1970.
    pub created_us: u64,
    /// When the first packet came, in microseconds since 1970.
    pub first_us: u64,
    /// The media is encrypted end to end: nobody but its receivers can play it.
    pub is_encrypted: bool,
}

impl Header {
    /// Gives what a file begins with.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut members = Map::new();
        members.insert("t".into(), json!(self.kind.letter()));
        members.insert("c".into(), json!(self.codec));
        if let Some(fmtp) = &self.fmtp {
            members.insert("f".into(), json!(fmtp));
        }
        if !self.extensions.is_empty() {
            let extensions = self.extensions.iter().map(|(id, uri)| (id.to_string(), json!(uri)));
            members.insert("x".into(), Value::Object(extensions.collect()));
        }
        members.insert("s".into(), json!(self.created_us));
        members.insert("u".into(), json!(self.first_us));
        if self.is_encrypted {
            members.insert("e".into(), json!(true));
        }
        let text = Value::Object(members).to_string();
        let mut bytes = MAGIC.to_vec();
        bytes.extend((text.len().min(HEADER_BYTES_MAX) as u16).to_be_bytes());
        bytes.extend(text.into_bytes());
        bytes
    }

    /// Reads a JSON header. What is not there counts as zero or empty.
    ///
    /// # Errors
    /// `None` when it is no object, or does not say what it is of.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let extensions = value.get("x").and_then(Value::as_object);
        let extension = |(id, uri): (&String, &Value)| Some((id.parse().ok()?, uri.as_str()?.to_owned()));
        Some(Self {
            kind: Kind::of(text("t")?)?,
            codec: text("c")?.to_ascii_lowercase(),
            fmtp: text("f").map(str::to_owned),
            extensions: extensions.into_iter().flatten().filter_map(extension).collect(),
            created_us: number("s"),
            first_us: number("u"),
            is_encrypted: value.get("e").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

/// Gives what stands in front of a packet that came so many milliseconds after the first.
pub fn frame_head(since_first_ms: u32, length: u16) -> [u8; FRAME_HEAD_BYTES] {
    let mut head = [0; FRAME_HEAD_BYTES];
    head[..4].copy_from_slice(FRAME_MAGIC);
    head[4..8].copy_from_slice(&since_first_ms.to_be_bytes());
    head[8..].copy_from_slice(&length.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Video,
            codec: "h264".into(),
            fmtp: Some("profile-level-id=42e01f".into()),
            extensions: vec![(13, "urn:3gpp:video-orientation".into())],
            created_us: 1_795_000_000_000_000,
            first_us: 1_795_000_000_250_000,
            is_encrypted: false,
        }
    }

    #[test]
    fn a_header_is_written_byte_for_byte_as_readers_of_janus_expect_it() {
        let text = "{\"t\":\"v\",\"c\":\"h264\",\"f\":\"profile-level-id=42e01f\",\
                    \"x\":{\"13\":\"urn:3gpp:video-orientation\"},\"s\":1795000000000000,\"u\":1795000000250000}";
        let mut expected = b"MJR00002".to_vec();
        expected.extend([0, text.len() as u8]);
        expected.extend(text.as_bytes());
        assert_eq!(header().to_bytes(), expected);
        assert_eq!(Header::parse(text.as_bytes()), Some(header()));
    }

    #[test]
    fn a_header_that_is_no_object_or_names_no_kind_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"t":"q","c":"opus"}"#,
            r#"{"t":"a"}"#,
            r#"{"t":1,"c":2}"#,
        ] {
            assert_eq!(Header::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_head_of_a_packet_is_ten_bytes() {
        assert_eq!(frame_head(0x0102_0304, 0x0506), *b"MEET\x01\x02\x03\x04\x05\x06");
    }
}
