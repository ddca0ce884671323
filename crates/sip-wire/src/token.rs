//! The lexical layer (RFC 3261 §25.1): tokens, quoted strings, lists, parameters.

use std::fmt;

use crate::Error;

/// Says whether `text` is a token and not empty.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Linear white space after unfolding.
pub(crate) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Cuts white space off both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Splits at commas outside quoted strings and outside `<>`; elements are trimmed.
pub(crate) fn split_list(text: &str) -> Result<Vec<&str>, Error> {
    let elements = split_outside(text, b',', true)?;
    if elements.iter().any(|element| element.is_empty()) {
        return Err(Error::EmptyListElement);
    }
    Ok(elements)
}

/// Splits at `separator` outside quoted strings, and outside `<>` where `angles`; pieces are trimmed.
fn split_outside(text: &str, separator: u8, angles: bool) -> Result<Vec<&str>, Error> {
    let mut pieces = Vec::with_capacity(2);
    let (mut start, mut at, mut in_angles) = (0, 0, false);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' if !in_angles => at = quoted_end(text, at)?,
            b'<' if angles => in_angles = true,
            b'>' if angles => in_angles = false,
            byte if byte == separator && !in_angles => {
                pieces.push(trim(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    pieces.push(trim(&text[start..]));
    Ok(pieces)
}

/// Finds the closing quote of the quoted string that opens at `open`.
pub(crate) fn quoted_end(text: &str, open: usize) -> Result<usize, Error> {
    let bytes = text.as_bytes();
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Ok(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Err(Error::BadQuotedString)
}

/// Takes the quotes and backslashes off a quoted string; other text stays as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        plain.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    plain
}

/// Puts `text` between quotes, with backslashes where needed. Control characters become spaces.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(if c.is_control() { ' ' } else { c });
    }
    quoted.push('"');
    quoted
}

/// Parameters in order: `;name=value;flag`. Names are compared without regard to case; values are kept as received,
/// quotes included.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Parses the parameters of a header field: `text` is empty or begins with `;`.
    ///
    /// # Errors
    /// `BadParameter`, `BadQuotedString`.
    pub fn parse_header(text: &str) -> Result<Self, Error> {
        Self::parse(text, |name, value| {
            is_token(name) && value.is_none_or(is_header_param_value)
        })
    }

    /// Parses URI parameters: `text` is empty or begins with `;`, and holds no white space.
    pub(crate) fn parse_uri(text: &str) -> Result<Self, Error> {
        Self::parse(text, |name, _| !name.is_empty() && !text.contains('"'))
    }

    fn parse(text: &str, valid: impl Fn(&str, Option<&str>) -> bool) -> Result<Self, Error> {
        let text = trim(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix(';').ok_or(Error::BadParameter)?;
        let mut params = Vec::with_capacity(4);
        for piece in split_outside(rest, b';', false)? {
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (trim(name), Some(trim(value))),
                None => (piece, None),
            };
            if !valid(name, value) {
                return Err(Error::BadParameter);
            }
            params.push((name.to_owned(), value.map(str::to_owned)));
        }
        Ok(Self(params))
    }

    /// Says whether a parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Gives the value of a parameter, as received; `None` when it is not there or has none.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(|at| self.0[at].1.as_deref())
    }

    /// Sets a parameter, in its place or at the end.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.find(name) {
            Some(at) => self.0[at].1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// Gives names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(n, _)| n.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(f, ";{name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// Token, host or quoted string; bare IPv6 addresses in `received` are tolerated.
fn is_header_param_value(value: &str) -> bool {
    if value.starts_with('"') {
        return quoted_end(value, 0) == Ok(value.len() - 1);
    }
    let breaks = |c: char| is_space(c) || c.is_control() || matches!(c, '"' | ',' | '<' | '>');
    !value.is_empty() && !value.contains(breaks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_angles_do_not_split() {
        let list = split_list(r#""a, \"b" <sip:x,y@h>;q=1 , <sip:z>"#);
        assert_eq!(list, Ok(vec![r#""a, \"b" <sip:x,y@h>;q=1"#, "<sip:z>"]));
        assert_eq!(split_list("a,,b"), Err(Error::EmptyListElement));
        assert_eq!(split_list("\"a"), Err(Error::BadQuotedString));
    }

    #[test]
    fn params_ignore_white_space_and_the_case_of_names() {
        let params = Params::parse_header("; Branch =  z9 ;lr; n=\"a;b\"").unwrap();
        assert_eq!(params.value("branch"), Some("z9"));
        assert!(params.has("LR") && params.value("lr").is_none());
        assert_eq!(params.value("n"), Some("\"a;b\""));
        assert_eq!(params.to_string(), ";Branch=z9;lr;n=\"a;b\"");
    }

    #[test]
    fn empty_params_are_refused() {
        for text in [";", ";;a", ";a;", ";=b", ";a=", ";a b", ";a=b c", ";a=\"b"] {
            assert!(Params::parse_header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quoting_and_unquoting_are_inverse() {
        let plain = r#"a "b" \c"#;
        assert_eq!(quote(plain), r#""a \"b\" \\c""#);
        assert_eq!(unquote(&quote(plain)), plain);
        assert_eq!(unquote("plain"), "plain");
    }
}
