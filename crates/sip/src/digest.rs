//! Answers to digest challenges over the life of a registration or a leg.

use voex_base::Rng;
use voex_sip_wire::{Algorithm, Answer, Challenge, DigestSecret, Header, Request, Response};

use crate::{Credentials, Secret};

/// The challenges met so far, by kind and realm, with how often each nonce was used.
#[derive(Clone, Default, Debug)]
pub(crate) struct DigestState(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    proxy: bool,
    challenge: Challenge,
    nonce_count: u32,
}

/// Most realms on the way of one request.
const REALMS_MAX: usize = 4;

impl DigestState {
    /// Takes the challenge of a 401 or 407 to `request`. False: there is none that these credentials could answer, or
    /// the request carried an answer that was wrong. `retried` says that the request was itself sent because of a
    /// challenge: a first one may fail merely because its nonce was kept from long ago.
    pub(crate) fn take_challenge(
        &mut self,
        request: &Request,
        response: &Response,
        credentials: &Credentials,
        retried: bool,
    ) -> bool {
        let proxy = response.code == 407;
        let header = if proxy {
            Header::ProxyAuthenticate
        } else {
            Header::WwwAuthenticate
        };
        let answerable =
            |c: &Challenge| c.algorithm == Algorithm::Md5 || matches!(credentials.secret, Secret::Password(_));
        let mut challenges = response.headers.all(header).filter_map(Challenge::parse);
        let Some(challenge) = challenges.find(answerable) else {
            return false;
        };
        let answered = request.headers.get(answer_header(proxy)).is_some();
        let same = |entry: &Entry| entry.proxy == proxy && entry.challenge.realm == challenge.realm;
        let known = self.0.iter().find(|entry| same(entry));
        let wrong = known.is_some_and(|entry| retried || entry.challenge.nonce == challenge.nonce);
        if answered && wrong && !challenge.stale {
            return false;
        }
        self.0.retain(|entry| !same(entry));
        if self.0.len() >= REALMS_MAX {
            return false;
        }
        self.0.push(Entry {
            proxy,
            challenge,
            nonce_count: 0,
        });
        true
    }

    /// Adds an answer to every challenge met so far, in place of older answers.
    pub(crate) fn authorize(&mut self, request: &mut Request, credentials: &Credentials, rng: &mut Rng) {
        request.headers.remove(Header::Authorization);
        request.headers.remove(Header::ProxyAuthorization);
        let uri = request.uri.to_string();
        for entry in &mut self.0 {
            entry.nonce_count = entry.nonce_count.saturating_add(1);
            let value = entry.challenge.answer(&Answer {
                user: &credentials.user,
                secret: match &credentials.secret {
                    Secret::Password(password) => DigestSecret::Password(password),
                    Secret::Ha1(ha1) => DigestSecret::Ha1(ha1),
                },
                method: request.method.as_str(),
                uri: &uri,
                cnonce: &rng.token(16),
                nonce_count: entry.nonce_count,
            });
            if let Some(value) = value {
                request.headers.push(answer_header(entry.proxy), value);
            }
        }
    }
}

const fn answer_header(proxy: bool) -> Header {
    if proxy {
        Header::ProxyAuthorization
    } else {
        Header::Authorization
    }
}

#[cfg(test)]
mod tests {
    use voex_sip_wire::{HeaderFields, Method, Uri};

    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            user: "alice".into(),
            secret: Secret::Password("pw".into()),
        }
    }

    fn challenge(nonce: &str, stale: bool) -> Response {
        let mut response = Response::answering(&HeaderFields::new(), 401, None);
        let value = format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\", stale={stale}");
        response.headers.push(Header::WwwAuthenticate, value);
        response
    }

    fn request() -> Request {
        Request::new(Method::Register, Uri::parse("sip:r").unwrap())
    }

    #[test]
    fn a_second_challenge_is_answered_only_when_the_nonce_was_to_blame() {
        let (mut state, mut request, mut rng) = (DigestState::default(), request(), Rng::from_number(1));
        assert!(state.take_challenge(&request, &challenge("n1", false), &credentials(), false));
        state.authorize(&mut request, &credentials(), &mut rng);
        let credentials = credentials();
        let accepts = |nonce, stale, retried| {
            state
                .clone()
                .take_challenge(&request, &challenge(nonce, stale), &credentials, retried)
        };
        assert!(!accepts("n2", false, true), "the answer was wrong");
        assert!(!accepts("n1", false, false), "the answer to this very nonce was wrong");
        assert!(accepts("n2", false, false), "the old nonce was refused");
        assert!(accepts("n2", true, true), "the nonce was stale");
        assert!(state.take_challenge(&request, &challenge("n2", true), &credentials, true));
        state.authorize(&mut request, &credentials, &mut rng);
        let answers: Vec<_> = request.headers.all(Header::Authorization).collect();
        assert_eq!(answers.len(), 1);
        assert!(
            answers[0].contains("nonce=\"n2\"") && answers[0].contains("nc=00000001"),
            "{}",
            answers[0]
        );
    }

    #[test]
    fn the_nonce_count_grows_with_every_request() {
        let (mut state, mut rng) = (DigestState::default(), Rng::from_number(1));
        state.take_challenge(&request(), &challenge("n", false), &credentials(), false);
        for count in ["nc=00000001", "nc=00000002"] {
            let mut request = request();
            state.authorize(&mut request, &credentials(), &mut rng);
            assert!(request.headers.get(Header::Authorization).unwrap().contains(count));
        }
    }

    #[test]
    fn no_more_realms_are_kept_than_one_way_can_have() {
        let (mut state, request) = (DigestState::default(), request());
        for realm in 0..9 {
            let mut response = challenge("n", false);
            response.headers.set(
                Header::WwwAuthenticate,
                format!("Digest realm=\"{realm}\", nonce=\"n\""),
            );
            let taken = state.take_challenge(&request, &response, &credentials(), false);
            assert_eq!((taken, state.0.len()), (realm < REALMS_MAX, REALMS_MAX.min(realm + 1)));
        }
    }

    #[test]
    fn a_digested_secret_cannot_answer_sha_256() {
        let mut response = challenge("n", false);
        response.headers.set(
            Header::WwwAuthenticate,
            "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256",
        );
        let secret = Secret::Ha1("0".repeat(32));
        let digested = Credentials {
            secret,
            ..credentials()
        };
        assert!(!DigestState::default().take_challenge(&request(), &response, &digested, false));
        assert!(DigestState::default().take_challenge(&request(), &response, &credentials(), false));
    }
}
