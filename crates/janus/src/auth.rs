//! Who may use the API: one secret, tokens that are stored, tokens that are signed.
//!
//! A signed token is `EXPIRY,REALM,DESCRIPTOR...:SIGNATURE`: unix seconds, what it is for, what it opens, and the
//! BASE64 of HMAC-SHA1 over all that stands before the colon.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use voex_base::WallTime;

use crate::config::Options;
use crate::plugin::Kind;

/// Most stored tokens; `add_token` beyond is answered 490.
pub(crate) const TOKENS_MAX: usize = 65_536;

/// Realm of tokens for the API itself.
const API_REALM: &str = "janus";

/// What requests are measured by.
pub(crate) struct Auth {
    secret: Option<String>,
    tokens: Tokens,
}

/// The kinds of tokens.
enum Tokens {
    /// None are asked for.
    Off,
    /// Those that the admin API stored, with the plugins that each may use.
    Stored(BTreeMap<String, Vec<Kind>>),
    /// Those that carry a signature by this key.
    Signed(String),
}

impl Auth {
    pub(crate) fn new(secret: Option<String>, options: &Options) -> Self {
        let tokens = match (&options.token_secret, options.token_auth) {
            (Some(key), true) => Tokens::Signed(key.clone()),
            (None, true) => Tokens::Stored(BTreeMap::new()),
            (_, false) => Tokens::Off,
        };
        Self { secret, tokens }
    }

    pub(crate) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    pub(crate) fn has_tokens(&self) -> bool {
        !matches!(self.tokens, Tokens::Off)
    }

    /// Tells whether a request may pass. Where both a secret and tokens are asked for, either is enough.
    pub(crate) fn allows(&self, wall: WallTime, members: &Map<String, Value>) -> bool {
        if !self.has_secret() && !self.has_tokens() {
            return true;
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let by_secret = match (&self.secret, text("apisecret")) {
            (Some(secret), Some(given)) => is_equal(secret, given),
            _ => false,
        };
        by_secret || text("token").is_some_and(|token| self.knows(wall, token))
    }

    /// Tells whether a token may attach to a plugin; a request without one has passed by the secret.
    pub(crate) fn allows_plugin(&self, wall: WallTime, token: Option<&str>, plugin: Kind) -> bool {
        let Some(token) = token else { return true };
        match &self.tokens {
            Tokens::Off => true,
            Tokens::Stored(tokens) => tokens.get(token).is_some_and(|plugins| plugins.contains(&plugin)),
            Tokens::Signed(key) => is_signed(key, wall, token, API_REALM, Some(plugin.about().package)),
        }
    }

    /// Tells whether a token opens something of a plugin, as rooms with `signed_tokens` ask; `None` where tokens are
    /// not signed at all.
    pub(crate) fn opens(&self, wall: WallTime, token: Option<&str>, plugin: Kind, what: &str) -> Option<bool> {
        let Tokens::Signed(key) = &self.tokens else { return None };
        Some(token.is_some_and(|token| is_signed(key, wall, token, plugin.about().package, Some(what))))
    }

    /// Gives the stored tokens; `None` where tokens are not stored.
    pub(crate) fn stored(&mut self) -> Option<&mut BTreeMap<String, Vec<Kind>>> {
        match &mut self.tokens {
            Tokens::Stored(tokens) => Some(tokens),
            Tokens::Off | Tokens::Signed(_) => None,
        }
    }

    fn knows(&self, wall: WallTime, token: &str) -> bool {
        match &self.tokens {
            Tokens::Off => false,
            Tokens::Stored(tokens) => tokens.contains_key(token),
            Tokens::Signed(key) => is_signed(key, wall, token, API_REALM, None),
        }
    }
}

/// Compares in constant time.
pub(crate) fn is_equal(secret: &str, given: &str) -> bool {
    bool::from(given.as_bytes().ct_eq(secret.as_bytes()))
}

fn is_signed(key: &str, wall: WallTime, token: &str, realm: &str, descriptor: Option<&str>) -> bool {
    let Some((data, signature)) = token.split_once(':') else {
        return false;
    };
    let mut parts = data.split(',');
    let expiry = parts.next().and_then(|text| text.parse::<u64>().ok());
    let is_fresh = expiry.is_some_and(|expiry| wall.unix_s() <= expiry);
    let is_ours = parts.next() == Some(realm);
    let is_open = descriptor.is_none_or(|wanted| parts.any(|open| open == wanted));
    is_fresh && is_ours && is_open && is_equal(&signature_of(key, data), signature)
}

fn signature_of(key: &str, data: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(data.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(unix_s: u64) -> WallTime {
        WallTime::from_unix(Duration::from_secs(unix_s))
    }

    #[test]
    fn a_signed_token_opens_what_it_names_until_it_expires() {
        let token = "1000,janus,janus.plugin.videoroom:SIGNATURE".replace(
            "SIGNATURE",
            &signature_of("sesame", "1000,janus,janus.plugin.videoroom"),
        );
        let options = Options {
            token_auth: true,
            token_secret: Some("sesame".to_owned()),
            ..Options::default()
        };
        let auth = Auth::new(None, &options);
        let request = |token: &str| Map::from_iter([("token".to_owned(), token.into())]);
        assert!(auth.allows(at(1000), &request(&token)));
        assert!(!auth.allows(at(1001), &request(&token)));
        assert!(!auth.allows(at(1000), &request(&token.replace("1000", "1001"))));
        assert!(!auth.allows(at(1000), &Map::new()));
        assert!(auth.allows_plugin(at(1000), Some(&token), Kind::VideoRoom));
        assert!(!auth.allows_plugin(at(1000), Some(&token), Kind::Sip));
        assert_eq!(
            auth.opens(at(1000), Some(&token), Kind::VideoRoom, "room=5"),
            Some(false)
        );
    }

    #[test]
    fn the_signature_is_hmac_sha1_in_base64() {
        // RFC 2202, test case 2.
        assert_eq!(
            signature_of("Jefe", "what do ya want for nothing?"),
            "7/zfauXrL6LSdBbV8YTfnCWafHk="
        );
    }
}
