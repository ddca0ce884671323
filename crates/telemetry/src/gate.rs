//! Who may read and who may change, and that no web page of somebody else does either through a browser.
//!
//! A browser inside the allowed network can be made to send requests by any page it shows. Three rules keep such pages
//! out of the management API:
//!
//! - The `Host` must be an address, `localhost` or a name of this host. A page whose own name was pointed at our address
//!   (DNS rebinding) is of our origin, but calls us by its name.
//! - What changes something must not come with the `Origin` of another site.
//! - What changes something is a DELETE, or a POST of `application/json`: browsers ask before they send either across
//!   sites, and are never told yes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Decides who may do what.
pub trait Gate: Send + Sync + 'static {
    /// Tells whether a client may read metrics, health and console.
    fn may_read(&self, client: IpAddr) -> bool;

    /// Tells whether a client may change what runs.
    fn may_manage(&self, client: IpAddr) -> bool;

    /// Tells whether a name, in lower case and without a port, is one of this host.
    fn is_own_name(&self, name: &str) -> bool;
}

/// An answer that says what is wrong and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    error: String,
    hint: String,
}

impl Problem {
    /// Makes an answer of a status.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            hint: hint.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.error, "hint": self.hint}))).into_response()
    }
}

/// Lets nobody read who may not.
pub(crate) async fn admit(
    State(gate): State<Arc<dyn Gate>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !gate.may_read(client.ip()) {
        return Err(refused("this address may not read here", "add it to http.allow"));
    }
    Ok(next.run(request).await)
}

/// Guards the management API.
pub(crate) async fn guard(
    State(gate): State<Arc<dyn Gate>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let host = text(request.headers(), &header::HOST);
    if !is_known(&*gate, host_name(host)) {
        return Err(refused(
            "the Host of the request is no name of this server",
            "call it by its address, or add the name to http.names",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_change(&*gate, client.ip(), &request, host)?;
    }
    Ok(next.run(request).await)
}

fn check_change(gate: &dyn Gate, client: IpAddr, request: &Request, host: &str) -> Result<(), Problem> {
    let headers = request.headers();
    if !gate.may_manage(client) {
        return Err(refused(
            "this address may not change anything",
            "call from this host, or add the address to http.allow",
        ));
    }
    if headers.contains_key(header::ORIGIN) && !is_same_site(text(headers, &header::ORIGIN), host) {
        return Err(refused(
            "the request comes from a page of another site",
            "use the console of this server, or send no Origin",
        ));
    }
    let media_type = text(headers, &header::CONTENT_TYPE).split(';').next();
    let is_json = media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"));
    if *request.method() == Method::POST && !is_json {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a POST must be JSON",
            "send it with Content-Type: application/json",
        ));
    }
    Ok(())
}

pub(crate) async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing here",
        "the administrator's guide lists the paths of the API",
    )
}

pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path knows other methods only",
        "the administrator's guide lists the methods of each path",
    )
}

fn refused(error: &str, hint: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, error, hint)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Takes the port off a `Host`.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_known(gate: &dyn Gate, name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || gate.is_own_name(&name)
}

/// Tells whether an `Origin` is that of the page a `Host` serves.
fn is_same_site(origin: &str, host: &str) -> bool {
    let site = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| !site.is_empty() && site.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Own(&'static str);

    impl Gate for Own {
        fn may_read(&self, _: IpAddr) -> bool {
            true
        }

        fn may_manage(&self, _: IpAddr) -> bool {
            true
        }

        fn is_own_name(&self, name: &str) -> bool {
            name == self.0
        }
    }

    #[test]
    fn a_host_is_known_by_address_and_by_its_own_names_only() {
        let knows = |host| is_known(&Own("turn.example.org"), host_name(host));
        for host in [
            "127.0.0.1:9189",
            "127.0.0.1",
            "[::1]:9189",
            "[2001:db8::5]",
            "localhost:9189",
            "LOCALHOST",
            "turn.example.org:9189",
            "Turn.Example.Org.",
        ] {
            assert!(knows(host), "{host}");
        }
        for host in [
            "",
            ":9189",
            "evil.example",
            "evil.example:9189",
            "127.0.0.1.evil.example",
            "turn.example.org.evil.example",
        ] {
            assert!(!knows(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_ours_when_it_is_the_host_that_was_called() {
        assert!(is_same_site("http://127.0.0.1:9189", "127.0.0.1:9189"));
        assert!(is_same_site("https://Voex.Example", "voex.example"));
        for origin in [
            "null",
            "",
            "http://",
            "http://127.0.0.1",
            "http://127.0.0.1:9190",
            "ftp://127.0.0.1:9189",
        ] {
            assert!(!is_same_site(origin, "127.0.0.1:9189"), "{origin}");
        }
    }
}
