//! Stored values, read: what another program wrote may have any form.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::Value;
use voex_turn::{Secret, TokenAlgorithm, TokenKey};

/// Most secrets of a realm that are tried: each costs every wrong password an HMAC and a digest.
pub(crate) const SECRETS_MAX: usize = 256;

/// A stored value that is not what its key promises; it counts as absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WrongForm(pub(crate) &'static str);

/// The answer to one command.
#[derive(Debug)]
pub(crate) enum Reply {
    /// There is no such key.
    Absent,
    /// One value.
    Text(Vec<u8>),
    /// Members of a set, or fields and values of a hash in turn.
    List(Vec<Vec<u8>>),
    /// The key has a value of another type.
    WrongType,
    /// The server would not do it.
    Refused(String),
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Nil => Self::Absent,
            Value::BulkString(text) => Self::Text(text),
            Value::SimpleString(text) => Self::Text(text.into_bytes()),
            Value::Okay => Self::Text(b"OK".to_vec()),
            Value::Int(number) => Self::Text(number.to_string().into_bytes()),
            Value::Array(values) | Value::Set(values) => Self::List(values.into_iter().filter_map(text_of).collect()),
            Value::ServerError(error) if error.code() == "WRONGTYPE" => Self::WrongType,
            Value::ServerError(error) => {
                Self::Refused(format!("{} {}", error.code(), error.details().unwrap_or_default()))
            }
            other => Self::Refused(format!("an answer of an unexpected kind, {}", kind_of(&other))),
        }
    }
}

fn text_of(value: Value) -> Option<Vec<u8>> {
    match Reply::from(value) {
        Reply::Text(text) => Some(text),
        _ => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Map(_) => "map",
        Value::Double(_) => "double",
        Value::Boolean(_) => "boolean",
        _ => "other",
    }
}

/// A user's key as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UserKey {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

/// Reads a user's key: 32 hexadecimal digits are MD5, 64 are SHA-256.
pub(crate) fn user_key(text: &[u8]) -> Result<UserKey, WrongForm> {
    const WRONG: WrongForm = WrongForm("a user's key is neither 32 nor 64 hexadecimal digits");
    match text.len() {
        32 => digits(text).map(UserKey::Md5).ok_or(WRONG),
        64 => digits(text).map(UserKey::Sha256).ok_or(WRONG),
        _ => Err(WRONG),
    }
}

fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// Reads the shared secrets of a realm, in the order of their bytes.
pub(crate) fn secrets(mut members: Vec<Vec<u8>>) -> (Arc<[Secret]>, Option<WrongForm>) {
    let count = members.len();
    members.sort_unstable();
    let texts = members.into_iter().filter_map(|member| String::from_utf8(member).ok());
    let texts = texts.filter(|text| !text.is_empty());
    let secrets: Arc<[Secret]> = texts.take(SECRETS_MAX).map(Secret::new).collect();
    let wrong = match secrets.len() == count {
        true => None,
        false if count > SECRETS_MAX => Some(WrongForm("a realm has more than 256 shared secrets")),
        false => Some(WrongForm("a shared secret is empty or not UTF-8")),
    };
    (secrets, wrong)
}

/// Reads the hash of a token's key; `realm` is ours.
pub(crate) fn token_key(fields: &[Vec<u8>], realm: &str) -> Result<Option<TokenKey>, WrongForm> {
    if fields.is_empty() {
        return Ok(None);
    }
    let field = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs
            .find(|pair| pair[0] == name.as_bytes())
            .map(|pair| pair[1].as_slice())
    };
    if field("realm").is_some_and(|of| !of.is_empty() && of != realm.as_bytes()) {
        return Err(WrongForm("the key of a token belongs to another realm"));
    }
    let key = field("ikm_key").and_then(|text| STANDARD.decode(text).ok());
    let key = key
        .filter(|key| !key.is_empty())
        .ok_or(WrongForm("the ikm_key of a token is not base64"))?;
    let algorithm = match field("as_rs_alg") {
        None | Some(b"" | b"A256GCM") => TokenAlgorithm::Aes256Gcm,
        Some(b"A128GCM") => TokenAlgorithm::Aes128Gcm,
        Some(_) => return Err(WrongForm("the as_rs_alg of a token is neither A256GCM nor A128GCM")),
    };
    let seconds = |name| match field(name) {
        None | Some(b"") => Ok(0),
        Some(text) => number(text).ok_or(WrongForm("timestamp or lifetime of a token is no number")),
    };
    Ok(Some(TokenKey {
        key: key.into(),
        algorithm,
        timestamp_s: seconds("timestamp")?,
        lifetime_s: seconds("lifetime")?,
    }))
}

/// Reads a decimal number.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let is_decimal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    is_decimal.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_32_digits_is_md5_and_one_of_64_sha256() {
        let md5 = b"38ea77b3222a6572d2bb78cfa6468419";
        let UserKey::Md5(bytes) = user_key(md5).unwrap() else {
            panic!("an MD5 key");
        };
        assert_eq!((bytes[0], bytes[15]), (0x38, 0x19));
        let UserKey::Sha256(bytes) = user_key(&[*b"Ff"; 32].concat()).unwrap() else {
            panic!("a SHA-256 key");
        };
        assert_eq!(bytes, [0xff; 32]);
    }

    #[test]
    fn a_password_in_the_clear_is_no_key() {
        for wrong in [
            &b""[..],
            b"secret",
            &[b'0'; 31],
            &[b'0'; 33],
            &[b'g'; 32],
            &[b'+'; 64],
            &[0xff; 32],
        ] {
            assert!(user_key(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn secrets_are_bounded_and_those_that_fit_are_kept() {
        let (some, wrong) = secrets(vec![b"north".to_vec(), b"\xff".to_vec(), Vec::new()]);
        assert_eq!((some.len(), wrong.is_some()), (1, true));
        let many = (0..300).map(|n: u32| n.to_string().into_bytes()).collect();
        let (many, wrong) = secrets(many);
        assert_eq!((many.len(), wrong.is_some()), (SECRETS_MAX, true));
    }

    fn hash(pairs: &[(&str, &str)]) -> Vec<Vec<u8>> {
        let texts = pairs.iter().flat_map(|(name, value)| [*name, *value]);
        texts.map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_token_s_key_has_the_defaults_of_coturn() {
        let key = token_key(&hash(&[("ikm_key", "AQID")]), "r").unwrap().unwrap();
        assert_eq!((&*key.key, key.algorithm), (&[1, 2, 3][..], TokenAlgorithm::Aes256Gcm));
        assert_eq!((key.timestamp_s, key.lifetime_s), (0, 0));
        let full = hash(&[
            ("as_rs_alg", "A128GCM"),
            ("ikm_key", "AQID"),
            ("lifetime", "60"),
            ("realm", "r"),
            ("timestamp", "1500000000"),
        ]);
        let key = token_key(&full, "r").unwrap().unwrap();
        assert_eq!(key.algorithm, TokenAlgorithm::Aes128Gcm);
        assert_eq!((key.timestamp_s, key.lifetime_s), (1_500_000_000, 60));
        assert!(token_key(&[], "r").unwrap().is_none());
    }

    #[test]
    fn a_token_s_key_of_a_wrong_form_is_refused() {
        for wrong in [
            &[("lifetime", "60")][..],
            &[("ikm_key", "???")],
            &[("ikm_key", "AQID"), ("as_rs_alg", "A256CBC-HS512")],
            &[("ikm_key", "AQID"), ("lifetime", "-1")],
            &[("ikm_key", "AQID"), ("realm", "other")],
        ] {
            assert!(token_key(&hash(wrong), "r").is_err(), "{wrong:?}");
        }
    }
}
