//! One connection to Redis: TCP with keep-alive, TLS where asked for, AUTH and SELECT.

use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, RedisError};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use voex_config::RedisTarget;

use crate::realm::Rules;
use crate::tls;

/// A quiet connection shows that it lives this often.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What is Redis' word for a password that nobody asked for.
const NO_PASSWORD_SET: &str = "without any password configured";

/// A connection that answered.
pub(crate) struct Dialled {
    pub(crate) connection: MultiplexedConnection,
    /// Ends when the connection does.
    pub(crate) driver: JoinHandle<()>,
    /// Where it leads.
    pub(crate) peer: SocketAddr,
    /// A password was given and the server wants none.
    pub(crate) password_is_unused: bool,
    /// Names this life of the server, from its start to its end; `None` when it would not say.
    pub(crate) run_id: Option<String>,
}

/// Connects, logs in, chooses the database and hears one answer. `rules` are told of every address that the host has.
pub(crate) async fn dial(target: &RedisTarget, rules: &Rules) -> Result<Dialled, String> {
    let limit = Duration::from_secs(target.connect_timeout_s.into());
    match tokio::time::timeout(limit, open(target, rules)).await {
        Ok(done) => done,
        Err(_) => Err(format!("no answer within {} s", target.connect_timeout_s)),
    }
}

/// Finds the addresses that the target's host has now.
async fn resolve(target: &RedisTarget) -> Result<Vec<SocketAddr>, String> {
    let found = lookup_host((target.host.as_str(), target.port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
    match found.is_empty() {
        true => Err("the name has no address".to_owned()),
        false => Ok(found),
    }
}

async fn open(target: &RedisTarget, rules: &Rules) -> Result<Dialled, String> {
    let addresses = resolve(target).await?;
    addresses.iter().for_each(|address| rules.add_server(*address));
    let (stream, peer) = connect(&addresses).await?;
    let (mut connection, driver) = match &target.tls {
        None => speak(stream).await?,
        Some(settings) => speak(tls::wrap(&target.host, settings, stream).await?).await?,
    };
    let password_is_unused = log_in(&mut connection, target).await?;
    let run_id = run_id(&mut connection).await;
    Ok(Dialled {
        connection,
        driver,
        peer,
        password_is_unused,
        run_id,
    })
}

async fn run_id(connection: &mut MultiplexedConnection) -> Option<String> {
    let mut info = redis::cmd("info");
    info.arg("server");
    let text: String = info.query_async(connection).await.ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("run_id:"));
    line.map(|id| id.trim().to_owned())
}

/// Says who we are and chooses the database; tells whether the password was not asked for.
async fn log_in(connection: &mut MultiplexedConnection, target: &RedisTarget) -> Result<bool, String> {
    let mut unused = false;
    if let Some(password) = &target.password {
        let mut auth = redis::cmd("auth");
        auth.arg(&target.user).arg(password.reveal());
        unused = match auth.exec_async(connection).await {
            Ok(()) => false,
            Err(error) if told(&error).contains(NO_PASSWORD_SET) => true,
            Err(error) => return Err(told(&error)),
        };
    }
    let mut select = redis::cmd("select");
    select.arg(target.database);
    // While Redis still reads its file from disk it takes connections and no commands.
    for command in [select, redis::cmd("ping")] {
        let done = command.exec_async(connection).await;
        done.map_err(|error| told(&error))?;
    }
    Ok(unused)
}

async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), String> {
    let mut last = String::new();
    for address in addresses {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4);
        let set = stream
            .set_nodelay(true)
            .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keep_alive));
        return set
            .map(|()| (stream, *address))
            .map_err(|error| format!("socket options: {error}"));
    }
    Err(last)
}

async fn speak<S>(stream: S) -> Result<(MultiplexedConnection, JoinHandle<()>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The address of this URL is not used: the stream is ours, and so is what is said first.
    let info = "redis://localhost".into_connection_info();
    let info = info.map_err(|error| told(&error))?;
    let silent = info.redis_settings().clone().set_skip_set_lib_name();
    // Who asks sets the limit of its own patience.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let made = MultiplexedConnection::new_with_config(&silent, stream, config).await;
    let (connection, driver) = made.map_err(|error| told(&error))?;
    Ok((connection, tokio::spawn(driver)))
}

/// Says what went wrong in one line.
pub(crate) fn told(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    text.replace(['\r', '\n'], " ")
}
