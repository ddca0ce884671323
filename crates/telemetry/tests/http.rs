//! The pages over a real socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::routing::get as get_route;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use voex_base::{CounterSet, Histogram, Label};
use voex_telemetry::{Expose, Families, Gate, Health, Pages, Process, role, sum_set};

#[derive(Clone, Copy)]
enum Kind {
    Small,
    Large,
}

impl Label for Kind {
    const ALL: &'static [Self] = &[Self::Small, Self::Large];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

struct Shards(Vec<Arc<CounterSet<Kind>>>, Histogram<2>);

impl Expose for Shards {
    fn expose(&self, families: &mut Families<'_>) -> std::fmt::Result {
        families.counters("test_things", "Things.", "kind", sum_set(&self.0, |set| set))?;
        families.histogram("test_setup_seconds", "Set-up.", 0.001, &self.1)
    }
}

async fn serve(pages: Pages) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(pages.serve(listener, std::future::pending()));
    address
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    send(address, &format!("GET {path}"), "Host: voex").await
}

/// Sends a request without a body, with the given header lines.
async fn send(address: SocketAddr, request: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let request = format!("{request} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the server answers");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status line");
    (status, answer)
}

/// What everybody may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    All,
    Read,
    Nothing,
}

impl Gate for Access {
    fn may_read(&self, _: IpAddr) -> bool {
        *self != Self::Nothing
    }

    fn may_manage(&self, _: IpAddr) -> bool {
        *self == Self::All
    }

    fn is_own_name(&self, name: &str) -> bool {
        name == "voex"
    }
}

fn pages(health: Health, access: Access) -> Pages {
    Pages::new(
        move || health.clone(),
        || json!({"version": "1.2.3", "listeners": ["127.0.0.1:3478"]}),
        access,
    )
}

/// Pages with one thing that can be looked at, stopped and made.
async fn managed(access: Access) -> SocketAddr {
    let thing = get_route(|| async { "here" })
        .delete(|| async { "stopped" })
        .post(|| async { "made" });
    serve(pages(Health::default(), access).with_management(Router::new().route("/thing", thing))).await
}

#[tokio::test]
async fn a_scrape_sums_the_shards_and_names_every_label() {
    let shards = vec![Arc::<CounterSet<Kind>>::default(), Arc::default()];
    shards[0].of(Kind::Large).add(2);
    shards[1].of(Kind::Large).add(3);
    let setup = Histogram::new(&[20, 100]);
    setup.record(30);
    let mut pages = pages(Health::default(), Access::All);
    pages.register(Shards(shards, setup));
    pages.register(role::Janus(Arc::default()));
    pages.register(Process {
        version: "1.2.3",
        dropped_log_lines: Arc::default(),
    });
    let (status, body) = get(serve(pages).await, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "test_things_total{kind=\"small\"} 0",
        "test_things_total{kind=\"large\"} 5",
        "test_setup_seconds_bucket{le=\"0.02\"} 0",
        "test_setup_seconds_bucket{le=\"0.1\"} 1",
        "test_setup_seconds_bucket{le=\"+Inf\"} 1",
        "express_version{component=\"voex\",version=\"1.2.3\"} 1",
        "users_in_calls_count 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is not in\n{body}");
    }
    assert!(body.contains("process_resident_memory_bytes ") && !body.contains("# EOF"));
}

#[tokio::test]
async fn health_is_200_when_all_is_well_and_503_with_the_reason_when_not() {
    let well = Health {
        checks: vec![("workers", Ok(()))],
    };
    assert_eq!(get(serve(pages(well, Access::All)).await, "/health").await.0, 200);
    let failing = Health {
        checks: vec![("workers", Ok(())), ("ports", Err("94 % in use".to_owned()))],
    };
    let (status, body) = get(serve(pages(failing, Access::All)).await, "/health").await;
    assert_eq!(status, 503);
    assert!(body.contains("94 % in use"), "{body}");
}

#[tokio::test]
async fn the_console_and_its_api_are_served() {
    let address = serve(pages(Health::default(), Access::All)).await;
    assert!(get(address, "/").await.1.contains("<!doctype html>"));
    assert!(get(address, "/api/v1/status").await.1.contains("\"version\":\"1.2.3\""));
    assert_eq!(get(address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn an_address_outside_the_list_gets_403() {
    assert_eq!(
        get(serve(pages(Health::default(), Access::Nothing)).await, "/metrics")
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn the_management_api_is_changed_by_those_who_may_and_read_by_others() {
    let (all, readers) = (managed(Access::All).await, managed(Access::Read).await);
    for (server, request, code) in [
        (all, "GET", 200),
        (all, "DELETE", 200),
        (readers, "GET", 200),
        (readers, "DELETE", 403),
    ] {
        let (status, answer) = send(server, &format!("{request} /api/v1/thing"), "Host: 127.0.0.1:9189").await;
        assert_eq!(status, code, "{request}: {answer}");
    }
    let (status, answer) = send(readers, "DELETE /api/v1/thing", "Host: 127.0.0.1").await;
    assert!(status == 403 && answer.contains("\"hint\":\"call from this host, or add the address to http.allow\""));
}

#[tokio::test]
async fn a_page_of_somebody_else_changes_nothing_through_a_browser() {
    let server = managed(Access::All).await;
    for (request, headers, code) in [
        // The console itself.
        ("DELETE", "Host: 127.0.0.1:9189\r\nOrigin: http://127.0.0.1:9189", 200),
        ("DELETE", "Host: voex:9189\r\nOrigin: http://voex:9189", 200),
        // A page elsewhere.
        ("DELETE", "Host: 127.0.0.1:9189\r\nOrigin: http://evil.example", 403),
        ("DELETE", "Host: 127.0.0.1:9189\r\nOrigin: null", 403),
        // A page whose name was pointed here.
        (
            "DELETE",
            "Host: evil.example:9189\r\nOrigin: http://evil.example:9189",
            403,
        ),
        ("GET", "Host: evil.example:9189", 403),
        // What a form can send.
        ("POST", "Host: 127.0.0.1:9189\r\nContent-Length: 0", 415),
        (
            "POST",
            "Host: 127.0.0.1:9189\r\nContent-Type: text/plain\r\nContent-Length: 0",
            415,
        ),
        (
            "POST",
            "Host: 127.0.0.1:9189\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 0",
            200,
        ),
        // Asking beforehand gets no yes.
        ("OPTIONS", "Host: 127.0.0.1:9189\r\nOrigin: http://evil.example", 403),
        ("OPTIONS", "Host: 127.0.0.1:9189", 405),
    ] {
        let (status, answer) = send(server, &format!("{request} /api/v1/thing"), headers).await;
        assert_eq!(status, code, "{request} {headers}: {answer}");
        assert!(
            !answer.to_ascii_lowercase().contains("access-control-allow"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let server = managed(Access::All).await;
    for (request, code) in [("GET /api/v1/nothing", 404), ("PUT /api/v1/thing", 405)] {
        let (status, answer) = send(server, request, "Host: voex").await;
        assert!(status == code && answer.contains("{\"error\":"), "{request}: {answer}");
    }
    assert_eq!(get(server, "/api/v1/status").await.0, 200);
}
