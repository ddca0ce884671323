//! What the gateway is told at start.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use voex_base::{SocketId, WorkerId};

use crate::plugin::id::Id;

/// Settings of a [`Gateway`](crate::Gateway), fixed for its life.
pub struct Config {
    /// `server-name` in `info`.
    pub server_name: String,
    /// Version of the server, `major.minor.patch`.
    pub version: String,
    /// The media workers and where clients reach them; at least one.
    pub workers: Vec<WorkerMedia>,
    /// SHA-256 fingerprint of the one certificate of all transports.
    pub fingerprint_sha256: [u8; 32],
    /// Address in the `o=` and `c=` lines of descriptions.
    pub public_ip: IpAddr,
    /// A session without a request for this long is destroyed; zero means never.
    pub session_timeout: Duration,
    /// How long a session outlives its connection, waiting for `claim`; zero destroys it with the connection.
    pub reclaim_timeout: Duration,
    /// When set, every request but `ping` and `info` must carry it as `apisecret`.
    pub api_secret: Option<String>,
    /// Rooms that exist from the start, each with the fields of a `create`; what `create` would refuse is left out.
    pub rooms: Vec<(Id, Map<String, Value>)>,
    /// What most servers leave as it is.
    pub options: Options,
    /// Where port pairs of plain RTP come from.
    pub rtp_ports: Box<dyn RtpPorts + Send>,
}

/// Settings with a default that most servers keep.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Ids of rooms and of those in them are texts instead of numbers.
    pub string_ids: bool,
    /// Requests must carry a token: one that the admin API stored, or one that is signed.
    pub token_auth: bool,
    /// Key of signed tokens; with it none are stored.
    pub token_secret: Option<String>,
    /// The `opaque_id` of a handle stands in its replies and events.
    pub opaque_id_in_api: bool,
    /// Secret of the admin API; without it every request passes.
    pub admin_secret: Option<String>,
    /// Key that `create` of a room needs, and that shows private rooms in `list`.
    pub admin_key: Option<String>,
    /// Requests for RTP forwarders need it too.
    pub lock_rtp_forward: bool,
    /// Event handlers are told what happens: [`Output::Event`](crate::Output::Event).
    pub events: bool,
    /// The packages of the event handlers, as `info` lists them.
    pub event_handlers: Vec<&'static str>,
    /// The folder of recordings; without it nothing is recorded.
    pub recordings_dir: Option<PathBuf>,
    /// Descriptions are kept for `handle_info` of the admin API.
    pub keep_descriptions: bool,
}

/// One media worker as the outside sees it.
#[derive(Clone, Debug)]
pub struct WorkerMedia {
    /// The worker.
    pub worker: WorkerId,
    /// Addresses that reach its shared media sockets, best first.
    pub candidates: Vec<Candidate>,
}

/// One host candidate of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The address to advertise (after 1:1 NAT mapping).
    pub address: SocketAddr,
}

/// A pool of UDP port pairs for plain RTP; the shell backs it with sockets.
pub trait RtpPorts {
    /// Binds an even/odd pair on `worker`, at the local address that reaches `toward`; `None` is the default address.
    ///
    /// # Errors
    /// When no pair is free.
    fn open(&mut self, worker: WorkerId, toward: Option<IpAddr>) -> Result<RtpPair, PortsExhausted>;

    /// Gives a pair back. Its transport has been told to close before.
    fn close(&mut self, worker: WorkerId, pair: RtpPair);
}

/// A bound pair of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpPair {
    /// Socket of RTP.
    pub rtp: SocketId,
    /// Socket of RTCP; `None` when it shares the one of RTP.
    pub rtcp: Option<SocketId>,
    /// Advertised address of RTP; RTCP is one port above.
    pub address: SocketAddr,
}

/// No port pair is free in the media range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortsExhausted;
