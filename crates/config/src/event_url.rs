//! Where an event handler is: `ws://` or `http://`, with what it takes to be let in.

use std::fmt;

use crate::Secret;

/// The URL of an event handler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventUrl {
    /// Name or address; IPv6 in brackets.
    pub host: String,
    /// Port, 80 when it is not given.
    pub port: u16,
    /// Path with what follows it, `/` at least.
    pub path: String,
    /// User and password, sent as Basic authentication.
    pub user: Option<(String, Secret)>,
    scheme: &'static str,
}

impl EventUrl {
    /// Reads `SCHEME://[USER:PASSWORD@]HOST[:PORT][/PATH]`.
    pub(crate) fn parse(scheme: &'static str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(scheme)?.strip_prefix("://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => {
                let (name, password) = user.split_once(':')?;
                (Some((name.to_owned(), Secret::new(password))), place)
            }
            None => (None, authority),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (place, 80),
        };
        let is_plain = |c: char| c.is_ascii_graphic();
        let is_good = !host.is_empty() && port != 0 && text.chars().all(is_plain);
        is_good.then(|| Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            user,
            scheme,
        })
    }

    /// Gives host and port as a connection and a `Host` header want them.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for EventUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.user.is_some() { "***@" } else { "" };
        // What stands behind the question mark may be a key.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}://{user}{}:{}{path}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_and_without_what_may_be_absent_and_show_no_password() {
        let url = EventUrl::parse("http", "http://cts:s3@[::1]:8080/events?a=1").unwrap();
        assert_eq!(
            (url.authority().as_str(), url.path.as_str()),
            ("[::1]:8080", "/events?a=1")
        );
        assert_eq!(url.user, Some(("cts".to_owned(), Secret::new("s3"))));
        assert_eq!(url.to_string(), "http://***@[::1]:8080/events");
        let url = EventUrl::parse("ws", "ws://cts").unwrap();
        assert_eq!((url.authority().as_str(), url.path.as_str()), ("cts:80", "/"));
        assert_eq!(EventUrl::parse("ws", "ws://[2001:db8::1]").unwrap().port, 80);
        for wrong in [
            "wss://cts",
            "ws://",
            "ws://cts:0",
            "ws://cts:x",
            "ws://a b/",
            "cts",
            "ws://user@cts",
        ] {
            assert_eq!(EventUrl::parse("ws", wrong), None, "{wrong}");
        }
    }
}
