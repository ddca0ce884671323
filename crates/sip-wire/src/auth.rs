//! Digest authentication (RFC 2617, RFC 7616, RFC 8760): the client's side.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::token::{quote, split_list, trim};

/// A digest challenge: WWW-Authenticate or Proxy-Authenticate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// The realm, between its quotes as received.
    pub realm: String,
    /// The nonce, between its quotes as received.
    pub nonce: String,
    /// To be sent back, if given.
    pub opaque: Option<String>,
    /// The hash.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered; without it the answer is RFC 2069's.
    pub qop_auth: bool,
    /// The nonce of the last answer was too old, its secret was right.
    pub stale: bool,
}

/// Hash of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// The default.
    Md5,
    /// RFC 8760.
    Sha256,
}

/// The secret that proves a user.
#[derive(Clone, Copy)]
pub enum DigestSecret<'a> {
    /// The password.
    Password(&'a str),
    /// MD5 of user, realm and password, in hex.
    Ha1(&'a str),
}

/// What an answer is made of, besides the challenge.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// User name.
    pub user: &'a str,
    /// What proves it.
    pub secret: DigestSecret<'a>,
    /// Method of the request.
    pub method: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// Our nonce; a token.
    pub cnonce: &'a str,
    /// How often this nonce has been used, this time included.
    pub nonce_count: u32,
}

impl Challenge {
    /// Parses one challenge; `None` for other schemes, unknown algorithms, `qop` without `auth`, no realm or nonce.
    pub fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = trim(value).split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let params: Vec<(&str, &str)> = split_list(rest)
            .ok()?
            .into_iter()
            .filter_map(|param| param.split_once('='))
            .map(|(name, value)| (trim(name), strip_quotes(trim(value))))
            .collect();
        let get = |name: &str| {
            params
                .iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| *value)
        };
        let qop = get("qop");
        let qop_auth = qop.is_some_and(|qop| qop.split(',').any(|q| trim(q).eq_ignore_ascii_case("auth")));
        if qop.is_some() && !qop_auth {
            return None;
        }
        Some(Self {
            realm: get("realm")?.to_owned(),
            nonce: get("nonce")?.to_owned(),
            opaque: get("opaque").map(str::to_owned),
            algorithm: Algorithm::parse(get("algorithm").unwrap_or("MD5"))?,
            qop_auth,
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// Gives the value of Authorization or Proxy-Authorization; `None` when an MD5 secret meets another algorithm.
    pub fn answer(&self, answer: &Answer<'_>) -> Option<String> {
        let hash = |text: String| self.algorithm.hash(&text);
        let ha1 = match answer.secret {
            DigestSecret::Password(password) => hash(format!("{}:{}:{password}", answer.user, self.realm)),
            DigestSecret::Ha1(ha1) if self.algorithm == Algorithm::Md5 => ha1.to_ascii_lowercase(),
            DigestSecret::Ha1(_) => return None,
        };
        let ha2 = hash(format!("{}:{}", answer.method, answer.uri));
        let (nonce, cnonce, count) = (&self.nonce, answer.cnonce, answer.nonce_count);
        let response = if self.qop_auth {
            hash(format!("{ha1}:{nonce}:{count:08x}:{cnonce}:auth:{ha2}"))
        } else {
            hash(format!("{ha1}:{nonce}:{ha2}"))
        };
        let mut value = format!(
            "Digest username={}, realm=\"{}\", nonce=\"{nonce}\", uri=\"{}\", response=\"{response}\", algorithm={}",
            quote(answer.user),
            self.realm,
            answer.uri,
            self.algorithm.name(),
        );
        if self.qop_auth {
            let _ = write!(value, ", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\"");
        }
        if let Some(opaque) = &self.opaque {
            let _ = write!(value, ", opaque=\"{opaque}\"");
        }
        Some(value)
    }
}

impl Algorithm {
    fn parse(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(text))
    }

    /// Gives the name in `algorithm=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

/// RFC 2617's `unq`: the quotes go, backslashes stay.
fn strip_quotes(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(challenge: &str, answer: &Answer<'_>) -> String {
        let value = Challenge::parse(challenge).unwrap().answer(answer).unwrap();
        let (_, rest) = value.split_once("response=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    const MUFASA: Answer<'_> = Answer {
        user: "Mufasa",
        secret: DigestSecret::Password("Circle Of Life"),
        method: "GET",
        uri: "/dir/index.html",
        cnonce: "0a4f113b",
        nonce_count: 1,
    };

    #[test]
    fn rfc_2617_section_3_5_example() {
        let challenge = r#"Digest realm="testrealm@host.com", qop="auth,auth-int",
            nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#
            .replace('\n', "");
        assert_eq!(response(&challenge, &MUFASA), "6629fae49393a05397450978507c4ef1");
        let ha1 = DigestSecret::Ha1("939e7578ed9e3c518a452acee763bce9");
        let answer = Answer { secret: ha1, ..MUFASA };
        assert_eq!(response(&challenge, &answer), "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn rfc_7616_section_3_9_1_example() {
        let challenge = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let answer = Answer {
            secret: DigestSecret::Password("Circle of Life"),
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            ..MUFASA
        };
        assert_eq!(
            response(challenge, &answer),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
        let ha1 = DigestSecret::Ha1("939e7578ed9e3c518a452acee763bce9");
        assert_eq!(
            Challenge::parse(challenge)
                .unwrap()
                .answer(&Answer { secret: ha1, ..answer }),
            None
        );
    }

    #[test]
    fn without_qop_the_answer_has_neither_count_nor_cnonce() {
        let challenge = Challenge::parse(r#"Digest realm="r", nonce="n""#).unwrap();
        let value = challenge.answer(&MUFASA).unwrap();
        assert!(!value.contains("nc=") && !value.contains("cnonce"), "{value}");
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for text in [
            "",
            "Basic realm=\"r\"",
            "NoOneKnowsThisScheme opaque-data=here",
            "Digest realm=\"r\"",
            "Digest realm=\"r\", nonce=\"n\", algorithm=AKAv1-MD5",
            "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
        ] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }
}
