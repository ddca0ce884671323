//! The WebSocket listener of the Janus API: handshake, access, one task and one bounded queue a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use voex_base::{Counter, CounterSet, Label};
use voex_config::{ApiAccess, Settings};
use voex_janus::ConnectionId;

/// Which of the two APIs a listener speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// The Janus API.
    Api,
    /// The admin API.
    Admin,
}

impl Front {
    fn sub_protocol(self) -> &'static str {
        match self {
            Self::Api => "janus-protocol",
            Self::Admin => "janus-admin-protocol",
        }
    }

    fn access(self, settings: &Settings, client: IpAddr) -> ApiAccess {
        match self {
            Self::Api => settings.api_access(client),
            Self::Admin => settings.admin_access(client),
        }
    }
}

/// Draws the ids of connections; one for all listeners.
#[derive(Clone, Default)]
pub(crate) struct Ids(Arc<AtomicU64>);

impl Ids {
    fn next(&self) -> ConnectionId {
        ConnectionId(self.0.fetch_add(1, Relaxed) + 1)
    }
}

/// Most connections at once; one more is closed at once.
const CONNECTIONS_MAX: usize = 1_024;
/// Longest message, in bytes; a longer one closes the connection with 1009.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of messages that may wait for a reader; more close the connection with 1008. One request can make an event for
/// each of many thousand handles of a connection, so the bound is far above what a reader that keeps up ever meets.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// How long a connection may take from TCP to WebSocket.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long one message may take to leave.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long each half of the closing handshake may take.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// A connection is pinged this often, and dropped when nothing came for [`SILENCE_MAX`].
const PING_EVERY: Duration = Duration::from_secs(25);
const SILENCE_MAX: Duration = Duration::from_secs(80);

/// How a client that does not read is told goodbye.
const TOO_SLOW: Farewell = (CloseCode::Policy, "reads too slowly");

/// What happens on the connections, in the order of each.
pub(crate) enum ApiInput {
    /// A client is there.
    Opened {
        connection: ConnectionId,
        front: Front,
        peer: IpAddr,
        outgoing: Outgoing,
    },
    /// It said something.
    Message { connection: ConnectionId, text: String },
    /// It is gone.
    Closed { connection: ConnectionId },
}

/// The way to one client.
pub(crate) struct Outgoing {
    queue: mpsc::UnboundedSender<String>,
    waiting_bytes: Arc<AtomicUsize>,
    too_slow: Arc<Notify>,
}

/// The client does not read as fast as it is sent to; its connection is being closed.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl Outgoing {
    /// Queues a message. Dropping the `Outgoing` closes the connection after what is queued.
    pub(crate) fn send(&self, text: String) -> Result<(), TooSlow> {
        let length = text.len();
        if self.waiting_bytes.load(Relaxed) + length > QUEUE_BYTES_MAX {
            self.too_slow.notify_one();
            return Err(TooSlow);
        }
        // A connection that is gone wants nothing any more.
        self.waiting_bytes.fetch_add(length, Relaxed);
        let _ = self.queue.send(text);
        Ok(())
    }
}

/// What the listener counts; only its own task writes.
#[derive(Default, Debug)]
pub(crate) struct Metrics {
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections refused.
    pub(crate) refused: CounterSet<Refusal>,
}

/// Why a connection was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Not in `acl.cts`.
    Acl,
    /// Left out by `mcu.ws.allow_prefix`.
    Prefix,
    /// Too many connections.
    Full,
}

impl Label for Refusal {
    const ALL: &'static [Self] = &[Self::Acl, Self::Prefix, Self::Full];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Prefix => "prefix",
            Self::Full => "full",
        }
    }
}

/// Where the connections of a listener go, and by what rules.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) front: Front,
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    pub(crate) inputs: mpsc::Sender<ApiInput>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ids: Ids,
}

/// Accepts connections until `stop` turns true; those that exist go on.
pub(crate) async fn accept(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    let Door {
        front,
        settings,
        inputs,
        metrics,
        ids,
    } = door;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: waiting is all that can help.
                tracing::warn!("the Janus API cannot accept a connection: {error}");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let access = front.access(&settings.borrow(), peer.ip());
        if access == ApiAccess::NotInAcl {
            metrics.refused.of(Refusal::Acl).inc();
            tracing::debug!("Janus API: {peer} is not in acl.cts");
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics.refused.of(Refusal::Full).inc();
            continue;
        };
        if access == ApiAccess::NotInPrefix {
            metrics.refused.of(Refusal::Prefix).inc();
        } else {
            metrics.accepted.inc();
        }
        let connection = ids.next();
        let inputs = inputs.clone();
        tokio::spawn(async move {
            serve(stream, peer, access == ApiAccess::Allowed, (connection, front), inputs).await;
            drop(place);
        });
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    allowed: bool,
    (id, front): (ConnectionId, Front),
    inputs: mpsc::Sender<ApiInput>,
) {
    let socket = match time::timeout(HANDSHAKE_MAX, handshake(stream, front, allowed)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            tracing::debug!("Janus API: {peer} did not become a WebSocket: {error}");
            return;
        }
        Err(_) => return,
    };
    let (queue, queued) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let too_slow = Arc::new(Notify::new());
    let outgoing = Outgoing {
        queue,
        waiting_bytes: waiting_bytes.clone(),
        too_slow: too_slow.clone(),
    };
    let opened = ApiInput::Opened {
        connection: id,
        front,
        peer: peer.ip(),
        outgoing,
    };
    if inputs.send(opened).await.is_err() {
        return;
    }
    Conversation {
        socket,
        id,
        peer,
        inputs: inputs.clone(),
        queued,
        waiting_bytes,
        too_slow,
        heard: Instant::now(),
    }
    .run()
    .await;
    // The control task is gone only when the process ends.
    let _ = inputs.send(ApiInput::Closed { connection: id }).await;
}

async fn handshake(stream: TcpStream, front: Front, allowed: bool) -> Result<WebSocketStream<TcpStream>, Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    #[expect(clippy::result_large_err, reason = "the signature is the library's")]
    let negotiate = move |request: &Request, response: Response| negotiate(request, response, front, allowed);
    tokio_tungstenite::accept_hdr_async_with_config(stream, negotiate, Some(config)).await
}

/// Echoes the sub-protocol. A client that offers no sub-protocol is served too; one that offers only others is not.
#[expect(clippy::result_large_err, reason = "the signature is the library's")]
fn negotiate(
    request: &Request,
    mut response: Response,
    front: Front,
    allowed: bool,
) -> Result<Response, ErrorResponse> {
    let sub_protocol = front.sub_protocol();
    if !allowed {
        return Err(refuse(
            StatusCode::FORBIDDEN,
            "mcu.ws.allow_prefix leaves this address out\n",
        ));
    }
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offered = offers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut any = false;
    if offered
        .by_ref()
        .inspect(|_| any = true)
        .any(|offer| offer.trim() == sub_protocol)
    {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(sub_protocol));
    } else if any {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            &format!("the sub-protocol here is {sub_protocol}\n"),
        ));
    }
    Ok(response)
}

fn refuse(code: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = code;
    response
}

/// Code and reason of a close frame.
type Farewell = (CloseCode, &'static str);

/// One connection: what is queued goes out, what comes in goes to the control task.
struct Conversation {
    socket: WebSocketStream<TcpStream>,
    id: ConnectionId,
    peer: SocketAddr,
    inputs: mpsc::Sender<ApiInput>,
    queued: mpsc::UnboundedReceiver<String>,
    waiting_bytes: Arc<AtomicUsize>,
    too_slow: Arc<Notify>,
    heard: Instant,
}

impl Conversation {
    async fn run(mut self) {
        let mut ping = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
        let end = loop {
            let step = tokio::select! {
                () = self.too_slow.notified() => Err(Some(TOO_SLOW)),
                text = self.queued.recv() => match text {
                    Some(text) => {
                        self.waiting_bytes.fetch_sub(text.len(), Relaxed);
                        self.write(Message::text(text)).await
                    }
                    None => Err(Some((CloseCode::Away, "closed by the server"))),
                },
                message = self.socket.next() => self.take(message).await,
                _ = ping.tick() => match self.heard.elapsed() > SILENCE_MAX {
                    true => Err(None),
                    false => self.write(Message::Ping(Default::default())).await,
                },
            };
            if let Err(end) = step {
                break end;
            }
        };
        if let Some((code, reason)) = end {
            match code {
                CloseCode::Away => tracing::debug!("Janus API: closing {}: {reason}", self.peer),
                _ => tracing::warn!("Janus API: a client is disconnected: {reason}"),
            }
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            // The other side may be gone; then there is nobody to tell.
            let _ = time::timeout(FAREWELL_MAX, self.socket.close(Some(frame))).await;
        }
        // Sends our half of the closing handshake and waits for theirs: a TCP end before that is an error to a client.
        let drained = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = time::timeout(FAREWELL_MAX, drained).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Option<Farewell>> {
        tokio::select! {
            sent = time::timeout(WRITE_MAX, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(None),
                Err(_) => Err(Some(TOO_SLOW)),
            },
            () = self.too_slow.notified() => Err(Some(TOO_SLOW)),
        }
    }

    async fn take(&mut self, message: Option<Result<Message, Error>>) -> Result<(), Option<Farewell>> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => {
                let input = ApiInput::Message {
                    connection: self.id,
                    text: text.as_str().to_owned(),
                };
                self.inputs.send(input).await.map_err(|_| None)
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => Err(Some((CloseCode::Unsupported, "messages are text"))),
            Some(Err(Error::Capacity(_))) => Err(Some((CloseCode::Size, "a message has at most 1 MiB"))),
            Some(Err(Error::Utf8(_))) => Err(Some((CloseCode::Invalid, "text is UTF-8"))),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(None),
        }
    }
}
