//! Names with addresses: From, To, Contact, Route, Record-Route.

use std::fmt;

use crate::token::{Params, quote, quoted_end, trim};
use crate::{Error, Uri};

/// `name-addr` or `addr-spec` with header parameters (RFC 3261 §20.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameAddr {
    /// The display name as received, quotes included; `None` when there is none.
    pub display_name: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// Parameters of the header field, not of the URI.
    pub params: Params,
}

impl NameAddr {
    /// Makes one without display name and parameters.
    pub fn new(uri: Uri) -> Self {
        Self {
            display_name: None,
            uri,
            params: Params::default(),
        }
    }

    /// Makes one with a display name, which is put between quotes.
    pub fn with_display_name(uri: Uri, name: &str) -> Self {
        Self {
            display_name: Some(quote(name)),
            ..Self::new(uri)
        }
    }

    /// Parses one element.
    ///
    /// White space inside the brackets is tolerated; a URI without brackets may hold neither `?` nor `,`, and its
    /// parameters are the header's (RFC 3261 §20.10).
    ///
    /// # Errors
    /// `BadUri`, `BadQuotedString`, `BadParameter`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = trim(text);
        let bracket = if text.starts_with('"') {
            let end = quoted_end(text, 0)?;
            let rest = text[end + 1..].find('<').ok_or(Error::BadQuotedString)?;
            if !trim(&text[end + 1..end + 1 + rest]).is_empty() {
                return Err(Error::BadQuotedString);
            }
            Some(end + 1 + rest)
        } else {
            text.find('<')
        };
        match bracket {
            Some(open) => Self::parse_bracketed(&text[..open], &text[open + 1..]),
            None => Self::parse_bare(text),
        }
    }

    fn parse_bracketed(name: &str, rest: &str) -> Result<Self, Error> {
        let name = trim(name);
        if !name.starts_with('"') && name.contains(|c: char| c.is_control() || matches!(c, '"' | ',' | ';' | '>')) {
            return Err(Error::BadQuotedString);
        }
        let (uri, params) = rest.split_once('>').ok_or(Error::BadUri)?;
        Ok(Self {
            display_name: (!name.is_empty()).then(|| name.to_owned()),
            uri: Uri::parse(trim(uri))?,
            params: Params::parse_header(params)?,
        })
    }

    fn parse_bare(text: &str) -> Result<Self, Error> {
        let (uri, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        if uri.contains(['?', ',']) {
            return Err(Error::BadUri);
        }
        Ok(Self {
            display_name: None,
            uri: Uri::parse(trim(uri))?,
            params: Params::parse_header(params)?,
        })
    }

    /// Gives the `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.display_name {
            write!(f, "{name} ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_display_name_keeps_its_quotes() {
        let from = NameAddr::parse(r#""Mr. \"J\" <x>" <sip:a@b;p=1>;tag=7"#).unwrap();
        assert_eq!(from.display_name.as_deref(), Some(r#""Mr. \"J\" <x>""#));
        assert_eq!(from.uri.to_string(), "sip:a@b;p=1");
        assert_eq!(from.tag(), Some("7"));
        assert_eq!(from.to_string(), r#""Mr. \"J\" <x>" <sip:a@b;p=1>;tag=7"#);
    }

    #[test]
    fn params_after_a_bare_uri_belong_to_the_header() {
        let contact = NameAddr::parse("sip:a@b;unknownparam").unwrap();
        assert_eq!(contact.uri.to_string(), "sip:a@b");
        assert!(contact.params.has("unknownparam"));
        let contact = NameAddr::parse("<sip:a@b;unknownparam>").unwrap();
        assert!(!contact.params.has("unknownparam"));
    }

    #[test]
    fn no_white_space_is_needed_before_the_bracket() {
        let from = NameAddr::parse("caller<sip:caller@example.com>;tag=323").unwrap();
        assert_eq!(from.display_name.as_deref(), Some("caller"));
    }

    #[test]
    fn broken_names_and_brackets_are_refused() {
        for text in [
            r#""Mr. J. User <sip:j.user@example.com>"#,
            r#""a" b <sip:a@b>"#,
            "Bell, A <sip:a@b>",
            "<sip:a@b",
            "sip:a@b?x=y",
            "",
            "<>",
            "<sip:a@b>;;",
            "a\"b <sip:a@b>",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }
}
