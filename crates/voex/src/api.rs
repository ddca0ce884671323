//! The management API below `/api/v1`: TURN sessions and the drain. Answers are JSON; refusals say what to do instead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use voex_telemetry::Problem;
use voex_turn::{Flow, Selection, SessionId};

use crate::drain::{Asked, Drain};
use crate::turn_desk::Order;
use crate::turn_sessions::{Entry, Filter, Sessions};

/// Sessions of one page when nothing is said, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;
/// How long an answer waits for the sessions to end that it was asked to end.
const END_MAX: Duration = Duration::from_secs(2);

/// What the API works on.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) desk: mpsc::Sender<Order>,
    pub(crate) drain: Arc<Drain>,
}

impl Api {
    /// Gives the routes.
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/turn/sessions", get(list).delete(end_many))
            .route("/turn/sessions/{id}", get(show).delete(end_one))
            .route("/drain", get(show_drain).post(drain))
            .with_state(self)
    }

    /// Has sessions ended and waits, for a while, until they are gone.
    async fn end(&self, orders: Vec<Order>, ids: &[SessionId]) -> Result<Answer, Problem> {
        for order in orders {
            self.desk.send(order).await.map_err(|_| {
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the server is stopping",
                    "every session ends with it",
                )
            })?;
        }
        let left = self.sessions.gone(ids, END_MAX).await;
        let code = if left == 0 {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        Ok((code, Json(json!({"ended": ids.len() - left, "ending": left}))))
    }
}

/// What a change answers.
type Answer = (StatusCode, Json<Value>);

/// `GET /turn/sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    user: Option<String>,
    realm: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

/// `DELETE /turn/sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    user: Option<String>,
    realm: Option<String>,
}

async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Problem> {
    let page: Page = query(&uri, "user, realm, limit and after")?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        let hint = "pages follow one another with after=ID";
        return Err(bad_request("limit is not a number from 1 to 1000", hint));
    }
    let after = match page.after.as_deref().map(SessionId::parse) {
        Some(None) => {
            return Err(bad_request(
                "after is no session id",
                "give the \"next\" of the page before",
            ));
        }
        after => after.flatten(),
    };
    let filter = Filter {
        user: page.user,
        realm: page.realm,
    };
    let mut entries = api.sessions.list(&filter, after, limit + 1);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries
        .last()
        .filter(|_| more)
        .map(|entry| entry.session.id.to_string());
    let now = Instant::now();
    let sessions: Vec<_> = entries.iter().map(|entry| session(entry, now)).collect();
    Ok(Json(
        json!({"sessions": sessions, "next": next, "sessions_in_all": api.sessions.len()}),
    ))
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(session(&find(&api, &id)?, Instant::now())))
}

async fn end_one(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer, Problem> {
    let id = find(&api, &id)?.session.id;
    api.end(vec![Order::End(Selection::Session(id))], &[id]).await
}

async fn end_many(State(api): State<Api>, uri: Uri) -> Result<Answer, Problem> {
    let whose: Whose = query(&uri, "user and realm")?;
    let is_empty = |name: &Option<String>| name.as_ref().is_some_and(String::is_empty);
    if is_empty(&whose.user) || is_empty(&whose.realm) || (whose.user.is_none() && whose.realm.is_none()) {
        let hint = "give user=NAME, realm=NAME or both";
        return Err(bad_request("whose sessions shall end is not said", hint));
    }
    let filter = Filter {
        user: whose.user.clone(),
        realm: whose.realm.clone(),
    };
    let entries = api.sessions.list(&filter, None, usize::MAX);
    let ids: Vec<_> = entries.iter().map(|entry| entry.session.id).collect();
    let orders = match (whose.user, whose.realm) {
        // The shards know better than the directory who came this very moment.
        (Some(user), None) => vec![Order::End(Selection::User(user.into()))],
        (None, Some(realm)) => vec![Order::EndRealm(realm)],
        _ => ids.iter().map(|id| Order::End(Selection::Session(*id))).collect(),
    };
    api.end(orders, &ids).await
}

async fn show_drain(State(api): State<Api>) -> Json<Value> {
    Json(drain_state(&api.drain))
}

/// `POST /drain`; an empty body means the limit of the settings.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wish {
    max_s: Option<u32>,
}

async fn drain(State(api): State<Api>, body: String) -> Result<Answer, Problem> {
    let wish = match body.trim() {
        "" => Ok(Wish::default()),
        body => serde_json::from_str(body),
    };
    let Wish { max_s } = wish.map_err(|error| {
        bad_request(
            format!("the body cannot be used: {error}"),
            "send {\"max_s\": 3600}, or nothing for drain_max_s of the settings",
        )
    })?;
    api.drain.ask(Asked::ByApi { max_s });
    Ok((StatusCode::ACCEPTED, Json(drain_state(&api.drain))))
}

fn drain_state(drain: &Drain) -> Value {
    let left = drain.time_left(Instant::now());
    json!({
        "draining": drain.is_asked(),
        "in_use": drain.in_use(),
        "ends_in_s": left.map(|left| left.as_secs()),
    })
}

fn find(api: &Api, id: &str) -> Result<Entry, Problem> {
    let id = SessionId::parse(id).ok_or_else(|| bad_request("this is no session id", "an id is 18 decimal digits"))?;
    api.sessions.get(id).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no such session lives",
            "GET /api/v1/turn/sessions lists those that do",
        )
    })
}

fn query<T: DeserializeOwned>(uri: &Uri, known: &str) -> Result<T, Problem> {
    let Query(query) = Query::try_from_uri(uri).map_err(|error| {
        bad_request(
            format!("the query cannot be used: {}", error.body_text()),
            format!("known are {known}, each once, percent-encoded"),
        )
    })?;
    Ok(query)
}

fn bad_request(error: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error, hint)
}

fn session(entry: &Entry, now: Instant) -> Value {
    let session = &entry.session;
    let age = |since: Instant| now.saturating_duration_since(since).as_secs();
    let relayed = session
        .relayed
        .iter()
        .map(|relayed| json!({"public": relayed.public, "local": relayed.local}));
    json!({
        "id": session.id.to_string(),
        "user": *session.user,
        "realm": *session.realm,
        "client": session.client,
        "local": session.path.local,
        "protocol": session.path.protocol.name(),
        "tls": session.path.tls.map(|tls| json!({"version": tls.version, "cipher": tls.cipher})),
        "transport": session.transport.name(),
        "relayed": relayed.collect::<Vec<_>>(),
        "began_unix_s": session.began.unix_s(),
        "age_s": age(entry.began),
        "lifetime_s": entry.lifetime_s,
        "expires_in_s": u64::from(entry.lifetime_s).saturating_sub(age(entry.refreshed)),
        "traffic": {"client": flow(session.traffic.client()), "peers": flow(session.traffic.peer())},
    })
}

fn flow(flow: Flow) -> Value {
    json!({
        "received_packets": flow.received_packets,
        "received_bytes": flow.received_bytes,
        "sent_packets": flow.sent_packets,
        "sent_bytes": flow.sent_bytes,
    })
}
