//! The HTTP side: `/metrics`, `/health`, the console and its API.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::families::{Expose, Source};
use crate::gate::{self, Gate};
use crate::text;

const CONSOLE: &str = include_str!("console.html");

/// What the pages are made of; the shell's owner fills it in.
pub struct Pages {
    registry: Registry,
    health: Box<dyn Fn() -> Health + Send + Sync>,
    status: Box<dyn Fn() -> Value + Send + Sync>,
    gate: Arc<dyn Gate>,
    management: Router,
}

/// Whether the service can do its work.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Health {
    /// What is checked, whether it is well, and what is wrong when it is not.
    pub checks: Vec<(&'static str, Result<(), String>)>,
}

impl Pages {
    /// Makes pages. `health` and `status` are asked at each request and must not wait; `gate` decides who sees what.
    pub fn new(
        health: impl Fn() -> Health + Send + Sync + 'static,
        status: impl Fn() -> Value + Send + Sync + 'static,
        gate: impl Gate,
    ) -> Self {
        Self {
            registry: Registry::default(),
            health: Box::new(health),
            status: Box::new(status),
            gate: Arc::new(gate),
            management: Router::new(),
        }
    }

    /// Adds routes below `/api/v1`, behind the gate. What changes something must not be a GET.
    #[must_use]
    pub fn with_management(mut self, routes: Router) -> Self {
        self.management = routes;
        self
    }

    /// Adds figures to `/metrics`.
    pub fn register(&mut self, source: impl Expose) {
        self.registry.register_collector(Box::new(Source(Box::new(source))));
    }

    /// Serves until `stop` is done.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let management = std::mem::take(&mut self.management)
            .fallback(gate::not_found)
            .method_not_allowed_fallback(gate::method_not_allowed)
            .layer(middleware::from_fn_with_state(self.gate.clone(), gate::guard));
        let gate = self.gate.clone();
        let router = Router::new()
            .route("/", get(console))
            .route("/metrics", get(metrics))
            .route("/health", get(health))
            .route("/api/v1/status", get(status))
            .with_state(Arc::new(self))
            .nest("/api/v1", management)
            .layer(middleware::from_fn_with_state(gate, gate::admit));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).with_graceful_shutdown(stop).await
    }
}

impl Health {
    /// Tells whether every check is well.
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|(_, result)| result.is_ok())
    }

    fn to_json(&self) -> Value {
        let check = |(name, result): &(&str, Result<(), String>)| {
            let detail = result.as_ref().err();
            json!({"check": name, "ok": detail.is_none(), "detail": detail})
        };
        let state = if self.is_well() { "ok" } else { "failing" };
        json!({"status": state, "checks": self.checks.iter().map(check).collect::<Vec<_>>()})
    }
}

async fn console() -> Html<&'static str> {
    Html(CONSOLE)
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match text::scrape(&pages.registry, accept.unwrap_or_default()) {
        Ok((media_type, body)) => ([(header::CONTENT_TYPE, media_type)], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn health(State(pages): State<Arc<Pages>>) -> Response {
    let health = (pages.health)();
    let code = if health.is_well() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, axum::Json(health.to_json())).into_response()
}

async fn status(State(pages): State<Arc<Pages>>) -> axum::Json<Value> {
    axum::Json((pages.status)())
}
