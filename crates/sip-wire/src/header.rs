//! Header fields: their names, and the ordered list of them that a message carries.

use std::fmt;

use crate::Error;
use crate::token::split_list;

macro_rules! headers {
    ($($variant:ident = $name:literal $(/ $compact:literal)?,)*) => {
        /// A header field that this crate knows by name (RFC 3261 §20 and the extensions used here).
        #[allow(missing_docs, reason = "each variant is the field of its own name")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Header { $($variant,)* }

        impl Header {
            /// Finds a field by its long or compact name; case does not matter.
            pub fn from_name(name: &str) -> Option<Self> {
                if name.len() == 1 {
                    return match name.as_bytes()[0].to_ascii_lowercase() {
                        $($(x if x == $compact => Some(Self::$variant),)?)*
                        _ => None,
                    };
                }
                [$((Self::$variant, $name)),*]
                    .into_iter()
                    .find_map(|(header, long)| name.eq_ignore_ascii_case(long).then_some(header))
            }

            /// Gives the long name as the standard spells it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

headers! {
    Via = "Via" / b'v',
    From = "From" / b'f',
    To = "To" / b't',
    CallId = "Call-ID" / b'i',
    CSeq = "CSeq",
    Contact = "Contact" / b'm',
    MaxForwards = "Max-Forwards",
    ContentType = "Content-Type" / b'c',
    ContentLength = "Content-Length" / b'l',
    Route = "Route",
    RecordRoute = "Record-Route",
    UserAgent = "User-Agent",
    Server = "Server",
    Allow = "Allow",
    Supported = "Supported" / b'k',
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Unsupported = "Unsupported",
    Accept = "Accept",
    Expires = "Expires",
    MinExpires = "Min-Expires",
    RetryAfter = "Retry-After",
    WwwAuthenticate = "WWW-Authenticate",
    Authorization = "Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    Reason = "Reason",
    Subject = "Subject" / b's',
    ContentEncoding = "Content-Encoding" / b'e',
    ReferTo = "Refer-To" / b'r',
    ReferredBy = "Referred-By" / b'b',
    Replaces = "Replaces",
    Event = "Event" / b'o',
    AllowEvents = "Allow-Events" / b'u',
    SubscriptionState = "Subscription-State",
    SessionExpires = "Session-Expires" / b'x',
    MinSe = "Min-SE",
    AcceptContact = "Accept-Contact" / b'a',
    RSeq = "RSeq",
    RAck = "RAck",
    Date = "Date",
    Warning = "Warning",
    PAssertedIdentity = "P-Asserted-Identity",
    RemotePartyId = "Remote-Party-ID",
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A header field's name: one of ours, or as received.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Name {
    Known(Header),
    Other(Box<str>),
}

impl Name {
    fn new(name: &str) -> Self {
        Header::from_name(name).map_or_else(|| Self::Other(name.into()), Self::Known)
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Known(header) => header.name(),
            Self::Other(name) => name,
        }
    }
}

/// The header fields of a message, in order, unfolded, without white space at the ends of values.
///
/// Names that [`Header`] knows are kept as that, whatever their spelling was; others as received. Values are what
/// stood there: one field with a comma-separated list stays one field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderFields(Vec<(Name, String)>);

impl HeaderFields {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives names (long form) and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Gives the value of the first field of a name.
    pub fn get(&self, header: Header) -> Option<&str> {
        self.all(header).next()
    }

    /// Gives the values of all fields of a name.
    pub fn all(&self, header: Header) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(name, _)| *name == Name::Known(header))
            .map(|(_, value)| value.as_str())
    }

    /// Gives the value of a field that may stand only once.
    ///
    /// # Errors
    /// `Missing` and `Repeated`.
    pub fn single(&self, header: Header) -> Result<&str, Error> {
        let mut values = self.all(header);
        let value = values.next().ok_or(Error::Missing(header))?;
        values.next().map_or(Ok(value), |_| Err(Error::Repeated(header)))
    }

    /// Gives the elements of a comma-separated field over all its lines, in order.
    ///
    /// # Errors
    /// `Bad` for an empty element or a quoted string without an end. A field with an empty value has no elements.
    pub fn list(&self, header: Header) -> Result<Vec<&str>, Error> {
        let mut elements = Vec::new();
        for value in self.all(header).filter(|value| !value.is_empty()) {
            elements.extend(split_list(value).map_err(|_| Error::Bad(header))?);
        }
        Ok(elements)
    }

    /// Gives the value of the first field of any name; case does not matter.
    pub fn get_by_name(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(n, value)| n.eq_ignore_ascii_case(name).then_some(value))
    }

    /// Appends a field. The value must hold no line break; the writer drops fields that do.
    pub fn push(&mut self, header: Header, value: impl Into<String>) {
        self.0.push((Name::Known(header), value.into()));
    }

    /// Appends a field of any name, long or compact.
    pub fn push_by_name(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((Name::new(name), value.into()));
    }

    /// Puts a field in front of all others.
    pub fn push_front(&mut self, header: Header, value: impl Into<String>) {
        self.0.insert(0, (Name::Known(header), value.into()));
    }

    /// Replaces all fields of a name by one, in the place of the first, or at the end.
    pub fn set(&mut self, header: Header, value: impl Into<String>) {
        match self.0.iter().position(|(name, _)| *name == Name::Known(header)) {
            Some(first) => {
                self.0[first].1 = value.into();
                let mut index = 0;
                self.0.retain(|(name, _)| {
                    index += 1;
                    index - 1 <= first || *name != Name::Known(header)
                });
            }
            None => self.push(header, value),
        }
    }

    /// Puts fields right behind the first one of their name, or at the end.
    pub fn insert_after_first(&mut self, header: Header, values: impl IntoIterator<Item = String>) {
        let first = self.0.iter().position(|(name, _)| *name == Name::Known(header));
        let at = first.map_or(self.0.len(), |first| first + 1);
        self.0
            .splice(at..at, values.into_iter().map(|value| (Name::Known(header), value)));
    }

    /// Takes all fields of a name away.
    pub fn remove(&mut self, header: Header) {
        self.0.retain(|(name, _)| *name != Name::Known(header));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_compact_and_oddly_spelled_names_are_one_header() {
        for name in ["Call-ID", "call-id", "CALL-ID", "i", "I"] {
            assert_eq!(Header::from_name(name), Some(Header::CallId), "{name}");
        }
        assert_eq!(Header::from_name("z"), None);
        assert_eq!(Header::from_name("C%6Fntact"), None);
    }

    #[test]
    fn setting_a_field_keeps_the_place_of_the_first_and_drops_the_others() {
        let mut fields = HeaderFields::new();
        fields.push(Header::Route, "<sip:a>");
        fields.push_by_name("X-Test", "1");
        fields.push(Header::Route, "<sip:b>");
        fields.set(Header::Route, "<sip:c>");
        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [("Route", "<sip:c>"), ("X-Test", "1")]
        );
    }

    #[test]
    fn a_list_runs_over_all_lines_of_its_field() {
        let mut fields = HeaderFields::new();
        fields.push(Header::Supported, "a, b");
        fields.push(Header::Supported, "");
        fields.push(Header::Supported, "c");
        assert_eq!(fields.list(Header::Supported), Ok(vec!["a", "b", "c"]));
        fields.push(Header::Supported, "d,,e");
        assert_eq!(fields.list(Header::Supported), Err(Error::Bad(Header::Supported)));
    }
}
