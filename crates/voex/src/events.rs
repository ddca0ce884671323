//! Event handlers: what happens in the gateway is sent to a WebSocket server, to an HTTP server, or to both.
//!
//! ```text
//!  Gateway ── Output::Event ──► Handlers ── bounded queue ──► task ── WebSocket text, or POST ──► server outside
//! ```
//!
//! Each handler has a task and a queue of its own, so that none waits for the other and the control task for neither. An
//! event that finds its queue full is lost and counted. What could not be sent is kept and sent again after a pause that
//! doubles, from [`PAUSE_MIN`] to [`PAUSE_MAX`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};
use voex_config::{EventUrl, Events};
use voex_janus::Topic;
use voex_telemetry::{Expose, Families};

/// Most events in one message or post, and their bytes, but for one that is longer.
const GROUP_MAX: usize = 100;
const GROUP_BYTES_MAX: usize = 256 << 10;
/// Bytes of events that wait for one handler; more are lost.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Pauses after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a connection, a message or an answer may take.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Longest answer to a post, in bytes; a longer one counts as a failure.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long what waits at the end may take to leave.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Packages that the two handlers go by in `info`.
const WEBSOCKET: &str = "janus.eventhandler.wsevh";
const HTTP: &str = "janus.eventhandler.sampleevh";

/// Gives the packages of the handlers that the settings ask for.
pub(crate) fn packages(events: &Events) -> Vec<&'static str> {
    let handlers = [(events.websocket.is_some(), WEBSOCKET), (events.http.is_some(), HTTP)];
    let asked = handlers.into_iter().filter(|(is_asked, _)| *is_asked);
    asked.map(|(_, package)| package).collect()
}

/// What is counted of one handler.
#[derive(Default, Debug)]
pub(crate) struct Figures {
    sent: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
    connected: AtomicBool,
    /// Bytes that wait.
    waiting: AtomicUsize,
}

/// What is counted of every handler, by its name.
#[derive(Clone, Default)]
pub(crate) struct AllFigures(Vec<(&'static str, Arc<Figures>)>);

impl Expose for AllFigures {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let of = |figure: fn(&Figures) -> u64| self.0.iter().map(move |(name, figures)| (*name, figure(figures)));
        if self.0.is_empty() {
            return Ok(());
        }
        families.counters(
            "mcu_events_sent",
            "Events that a handler took.",
            "handler",
            of(|figures| figures.sent.load(Relaxed)),
        )?;
        families.counters(
            "mcu_events_lost",
            "Events lost because the queue of a handler was full.",
            "handler",
            of(|figures| figures.lost.load(Relaxed)),
        )?;
        families.counters(
            "mcu_event_handler_failures",
            "Times that a handler could not be reached or did not take events.",
            "handler",
            of(|figures| figures.failures.load(Relaxed)),
        )
    }
}

/// The handlers, as the control task sees them.
pub(crate) struct Handlers {
    topics: Vec<Topic>,
    handlers: Vec<Handler>,
    stop: watch::Sender<bool>,
}

struct Handler {
    queue: mpsc::Sender<Arc<str>>,
    figures: Arc<Figures>,
    task: JoinHandle<()>,
}

impl Handlers {
    /// Starts the handlers that the settings ask for.
    pub(crate) fn start(events: &Events) -> (Self, AllFigures) {
        let wanted = |name: &str| events.topics.is_empty() || events.topics.iter().any(|topic| topic == name);
        let topics = Topic::ALL.iter().filter(|(_, name)| wanted(name));
        let (stop, stopped) = watch::channel(false);
        let mut handlers = Vec::new();
        let mut all = AllFigures::default();
        let mut add = |name: &'static str, way: Way| {
            let (queue, queued) = mpsc::channel(events.queue as usize);
            let figures = Arc::new(Figures::default());
            all.0.push((name, figures.clone()));
            let sending = Sending {
                name,
                way,
                queued,
                figures: figures.clone(),
                group_max: if events.grouping { GROUP_MAX } else { 1 },
                stopped: stopped.clone(),
            };
            handlers.push(Handler {
                queue,
                figures,
                task: tokio::spawn(sending.run()),
            });
        };
        if let Some(url) = &events.websocket {
            let sub_protocol = events.sub_protocol.clone();
            add(
                "websocket",
                Way::WebSocket {
                    url: url.clone(),
                    sub_protocol,
                    socket: None,
                },
            );
        }
        if let Some(url) = &events.http {
            add(
                "http",
                Way::Http {
                    url: url.clone(),
                    sender: None,
                },
            );
        }
        let topics = topics.map(|(topic, _)| *topic).collect();
        (Self { topics, handlers, stop }, all)
    }

    /// Queues an event for every handler; where there is no room it is lost.
    pub(crate) fn tell(&self, topic: Topic, text: &str) {
        if !self.topics.contains(&topic) {
            return;
        }
        let event: Arc<str> = text.into();
        for Handler { queue, figures, .. } in &self.handlers {
            let is_full = figures.waiting.load(Relaxed) + event.len() > QUEUE_BYTES_MAX;
            if is_full || queue.try_send(event.clone()).is_err() {
                figures.lost.fetch_add(1, Relaxed);
            } else {
                figures.waiting.fetch_add(event.len(), Relaxed);
            }
        }
    }

    /// Lets what waits leave, for a short while, and ends the handlers.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let tasks = self.handlers.into_iter().map(|handler| handler.task);
        // A task that fell has told so itself.
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = time::timeout(FAREWELL_MAX, all).await;
    }
}

/// How events get to a server.
enum Way {
    WebSocket {
        url: EventUrl,
        sub_protocol: String,
        socket: Option<Box<WebSocketStream<TcpStream>>>,
    },
    Http {
        url: EventUrl,
        sender: Option<SendRequest<Full<Bytes>>>,
    },
}

/// The task of one handler.
struct Sending {
    name: &'static str,
    way: Way,
    queued: mpsc::Receiver<Arc<str>>,
    figures: Arc<Figures>,
    group_max: usize,
    stopped: watch::Receiver<bool>,
}

/// Why events were not taken.
enum Failed {
    /// The server is not there, or busy: what was sent is sent again.
    Away(Box<dyn std::error::Error + Send + Sync>),
    /// It cannot take this, and will not later: 400, 413, 415 or 422.
    Refused(String),
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Away(error.into())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) => error.fmt(f),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl Sending {
    async fn run(mut self) {
        let mut group = VecDeque::new();
        let mut queued = Vec::new();
        let mut pause = PAUSE_MIN;
        // How many events the server takes at once, as far as it has let us know.
        let mut taken_max = self.group_max;
        loop {
            if group.is_empty() {
                let step = tokio::select! {
                    biased;
                    count = self.queued.recv_many(&mut queued, self.group_max) => Ok(count),
                    gone = self.way.closed() => Err(gone),
                    () = until(&mut self.stopped) => Ok(0),
                };
                match step {
                    Ok(0) => return self.way.close().await,
                    Ok(_) => group.extend(queued.drain(..)),
                    Err(gone) => {
                        self.disconnected(&gone);
                        continue;
                    }
                }
            }
            let count = first_of(&group, taken_max);
            let text = message(group.make_contiguous().get(..count).unwrap_or_default(), self.group_max);
            match time::timeout(STEP_MAX, self.way.send(&text)).await {
                Ok(Ok(())) => {
                    if !self.figures.connected.swap(true, Relaxed) {
                        tracing::info!("events: {} is connected", self.way);
                    }
                    self.figures.sent.fetch_add(count as u64, Relaxed);
                    self.forget(&mut group, count);
                    (pause, taken_max) = (PAUSE_MIN, self.group_max);
                    continue;
                }
                // Perhaps it was too much at once; one that is refused alone would hold up all others for ever.
                Ok(Err(Failed::Refused(why))) => {
                    self.figures.failures.fetch_add(1, Relaxed);
                    if count > 1 {
                        taken_max = count / 2;
                    } else {
                        if taken_max > 0 {
                            tracing::warn!("events: {} refuses an event, which is lost: {why}", self.way);
                        }
                        // Said once until something is taken again.
                        taken_max = 0;
                        self.figures.lost.fetch_add(1, Relaxed);
                        self.forget(&mut group, 1);
                    }
                    continue;
                }
                Ok(Err(error)) => self.disconnected(&error),
                Err(_) => self.disconnected(&"it takes too long"),
            }
            let is_stopped = time::timeout(pause, self.stopped.wait_for(|stopped| *stopped))
                .await
                .is_ok();
            if is_stopped {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Takes the first events out of those that wait.
    fn forget(&self, group: &mut VecDeque<Arc<str>>, count: usize) {
        let bytes = group.drain(..count).map(|event| event.len()).sum();
        self.figures.waiting.fetch_sub(bytes, Relaxed);
    }

    fn disconnected(&mut self, error: &dyn fmt::Display) {
        self.way.forget();
        self.figures.failures.fetch_add(1, Relaxed);
        if self.figures.connected.swap(false, Relaxed) || self.figures.failures.load(Relaxed) == 1 {
            tracing::warn!("events: {} takes none ({}): {error}", self.way, self.name);
        }
    }
}

/// Waits until the handlers are to end, or until whoever would say so is gone.
async fn until(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

impl Way {
    /// Sends a message, over a new connection when there is none.
    async fn send(&mut self, text: &str) -> Result<(), Failed> {
        match self {
            Self::WebSocket {
                url,
                sub_protocol,
                socket,
            } => {
                if socket.is_none() {
                    *socket = Some(Box::new(connect(url, sub_protocol).await?));
                }
                if let Some(socket) = socket {
                    socket.send(Message::text(text)).await?;
                }
            }
            Self::Http { url, sender } => {
                if sender.as_ref().is_none_or(SendRequest::is_closed) {
                    *sender = Some(open(url).await?);
                }
                if let Some(sender) = sender {
                    post(sender, url, text).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the end of an idle connection, answering pings; forever when there is none.
    async fn closed(&mut self) -> String {
        if let Self::WebSocket {
            socket: Some(socket), ..
        } = self
        {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Close(_))) | None => return "it closed the connection".to_owned(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error.to_string(),
                }
            }
        }
        std::future::pending().await
    }

    fn forget(&mut self) {
        match self {
            Self::WebSocket { socket, .. } => *socket = None,
            Self::Http { sender, .. } => *sender = None,
        }
    }

    async fn close(self) {
        if let Self::WebSocket {
            socket: Some(mut socket),
            ..
        } = self
        {
            // The other side may be gone; then there is nobody to tell.
            let _ = socket.close().await;
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebSocket { url, .. } | Self::Http { url, .. } => url.fmt(f),
        }
    }
}

async fn connect(url: &EventUrl, sub_protocol: &str) -> Result<WebSocketStream<TcpStream>, Failed> {
    let stream = dial(url).await?;
    let mut request = format!("ws://{}{}", url.authority(), url.path).into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, sub_protocol.parse()?);
    if let Some(credentials) = credentials(url) {
        headers.insert(header::AUTHORIZATION, credentials.parse()?);
    }
    Ok(client_async(request, stream).await?.0)
}

async fn open(url: &EventUrl) -> Result<SendRequest<Full<Bytes>>, Failed> {
    let (sender, connection) = http1::handshake(TokioIo::new(dial(url).await?)).await?;
    // Its end shows in the next request.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn post(sender: &mut SendRequest<Full<Bytes>>, url: &EventUrl, text: &str) -> Result<(), Failed> {
    sender.ready().await?;
    let mut request = Request::post(&url.path)
        .header(header::HOST, url.authority())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(credentials) = credentials(url) {
        request = request.header(header::AUTHORIZATION, credentials);
    }
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let response = sender.send_request(request.body(body)?).await?;
    let status = response.status();
    // Read to its end, so that the connection can be used again.
    Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
    match status.as_u16() {
        200..=299 => Ok(()),
        // Of the events. Any other is of the server, or of how it is set up.
        400 | 413 | 415 | 422 => Err(Failed::Refused(format!("HTTP {status}"))),
        _ => Err(format!("HTTP {status}").into()),
    }
}

async fn dial(url: &EventUrl) -> Result<TcpStream, Failed> {
    let stream = TcpStream::connect(url.authority()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn credentials(url: &EventUrl) -> Option<String> {
    let (user, password) = url.user.as_ref()?;
    Some(format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{}", password.reveal()))
    ))
}

/// How many events of those that wait go into one message.
fn first_of(waiting: &VecDeque<Arc<str>>, taken_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = waiting.iter().take(taken_max.max(1)).take_while(|event| {
        bytes += event.len();
        bytes <= GROUP_BYTES_MAX
    });
    fitting.count().max(1)
}

/// Writes a group as one array, or its only event as it is where events are not grouped.
fn message(group: &[Arc<str>], group_max: usize) -> String {
    match group {
        [only] if group_max == 1 => only.to_string(),
        _ => format!("[{}]", group.join(",")),
    }
}
