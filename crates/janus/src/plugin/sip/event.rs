//! The shape of the plugin's events, and the header fields in and out of JSON.

use serde_json::{Map, Value, json};
use voex_sip::Headers;

use crate::host::{HandleId, Host};
use crate::jsep::LocalJsep;

/// What stands around the result of an event.
#[derive(Clone, Copy, Default)]
pub(super) struct Push<'a> {
    pub(super) transaction: Option<&'a str>,
    pub(super) call_id: Option<&'a str>,
    pub(super) jsep: Option<&'a LocalJsep>,
}

impl Push<'_> {
    pub(super) fn send(self, host: &mut Host, handle: HandleId, result: Value) {
        let mut body = json!({"sip": "event", "result": result});
        if let Some(call_id) = self.call_id {
            body["call_id"] = call_id.into();
        }
        host.push_event(handle, self.transaction, body, self.jsep);
    }
}

/// Adds `headers` to a result: those whose name begins with one of the prefixes, if there are any.
pub(super) fn with_headers(mut result: Value, headers: &Headers, prefixes: &[String]) -> Value {
    let wanted = |name: &str| {
        let begins = |prefix: &String| {
            name.get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        };
        prefixes.iter().any(begins)
    };
    let shown: Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    if !shown.is_empty() {
        result["headers"] = shown.into();
    }
    result
}

/// Adds a text to a result when there is one.
pub(super) fn with_text(mut result: Value, name: &str, text: Option<&str>) -> Value {
    if let Some(text) = text {
        result[name] = text.into();
    }
    result
}

/// Gives the first field of a name.
pub(super) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// Reads the `headers` object of a request; values that are no strings are left out.
pub(super) fn headers_of(body: &Map<String, Value>) -> Headers {
    let members = body.get("headers").and_then(Value::as_object).into_iter().flatten();
    members
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_with_a_wanted_prefix_are_shown() {
        let headers = vec![
            ("X-Test".to_owned(), "a".to_owned()),
            ("Via".to_owned(), "b".to_owned()),
        ];
        let shown = with_headers(json!({}), &headers, &["x-".to_owned()]);
        assert_eq!(shown, json!({"headers": {"X-Test": "a"}}));
        assert_eq!(with_headers(json!({}), &headers, &[]), json!({}));
    }
}
