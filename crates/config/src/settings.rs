//! The settings, typed, under their canonical names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use voex_base::Protocol;

use crate::{EventUrl, RedisTarget, Secret, TokenKey, UserKey};

/// All settings. [`Settings::default`] is the embedded default: what `voex serve` does with no file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// STUN and TURN.
    pub turn: Turn,
    /// Certificate of TLS listeners.
    pub tls: Tls,
    /// `acl.cts`: who, besides this host and its container bridges, may reach the Janus API.
    pub acl_cts: Vec<IpNet>,
    /// The conference server and its API.
    pub mcu: Mcu,
    /// Addresses and ports of media.
    pub media: Media,
    /// The SIP gateway.
    pub sip: Sip,
    /// Metrics, health, console.
    pub http: Http,
    /// Seconds that a stop waits for calls and allocations to end by themselves.
    pub drain_max_s: u32,
    /// Media worker threads; 0 = one a core.
    pub workers: u16,
    /// Logging.
    pub log: Log,
    /// Settings of the deployment tool that have an effect here.
    pub voex: VoEx,
}

/// `turn.*`.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whether the role is on.
    pub enabled: bool,
    /// Addresses to listen on and to relay from; empty = every address of the host.
    pub listen: Vec<IpAddr>,
    /// Ports that clients know for UDP and TCP.
    pub plain_ports: Vec<u16>,
    /// Ports that clients know for TLS and DTLS. What a client talks is told by its first byte: every port takes all.
    pub tls_ports: Vec<u16>,
    /// What clients may come over; at least one.
    pub transports: Vec<Protocol>,
    /// Addresses that clients are shown instead of our own (NAT 1:1).
    pub external: Vec<External>,
    /// Realm of credentials; `None` = the host's name.
    pub realm: Option<String>,
    /// Ports of relayed transport addresses.
    pub relay_ports: PortRange,
    /// Long-term credentials, as name and password.
    pub users_static: Vec<(String, Secret)>,
    /// Long-term credentials, as name and MD5 key.
    pub users_keys: Vec<(String, UserKey)>,
    /// Shared secrets of time-limited users.
    pub users_secrets: Vec<Secret>,
    /// Keys of access tokens by their `kid`.
    pub users_tokens: Vec<(String, TokenKey)>,
    /// Whether allocations end whose user is no longer there: Redis is asked every 5 s and at each Refresh.
    pub users_end_deleted: bool,
    /// Where the CTS keeps users.
    pub users_redis: Option<RedisTarget>,
    /// Seconds that a user of Redis is remembered after it was seen there, for when Redis is away; 0 to 604800, 0 = not.
    pub users_cache_s: u32,
    /// Users of Redis that are remembered, and as many keys of tokens; one at least.
    pub users_cache_max: u32,
    /// Where allocations are published.
    pub stats_redis: Option<RedisTarget>,
    /// Whether clients may have TCP relays (RFC 6062).
    pub tcp_relays: bool,
    /// Whether allocations may follow their clients to other addresses (RFC 8016).
    pub mobility: bool,
    /// Password algorithms that clients are offered, the best first, without repeats; empty = none, `None` = whatever
    /// every user can use.
    pub password_algorithms: Option<Vec<PasswordAlgorithm>>,
    /// Whether clients may find out how their NAT behaves (RFC 5780).
    pub nat_discovery: bool,
    /// Servers to which new clients over UDP and TCP are sent, each to one of its address family; empty = none.
    pub alternate_server: Vec<SocketAddr>,
    /// The same for clients over TLS and DTLS.
    pub alternate_server_tls: Vec<SocketAddr>,
    /// Domain in the certificates of those servers.
    pub alternate_domain: Option<String>,
    /// Whether clients may come with access tokens (RFC 7635).
    pub oauth: bool,
    /// Name of this server, for which access tokens are made; `None` = the realm.
    pub server_name: Option<String>,
    /// Peers that may be reached although a default or `peers_deny` forbids them.
    pub peers_allow: Vec<IpNet>,
    /// Peers that may not be reached.
    pub peers_deny: Vec<IpNet>,
    /// Whether loopback addresses may be peers; for tests.
    pub peers_allow_loopback: bool,
    /// Most allocations at once, of all workers; 0 = no limit of our own.
    pub quota_allocations: u32,
    /// Most allocations of one user at once, of all workers; 0 = no limit.
    pub quota_allocations_per_user: u32,
    /// Most bytes of data a second that one allocation relays each way, over UDP and TCP; 0 = no limit.
    pub quota_bytes_per_s: u32,
    /// Most bytes of data a second that all allocations relay each way, over UDP and TCP; 0 = no limit.
    pub quota_total_bytes_per_s: u32,
    /// Most datagrams a second that one allocation relays each way; 0 = no limit. TCP relays have none.
    pub quota_packets_per_s: u32,
    /// Most new peers a second that one allocation gets permission for, or a connection with; 0 = no limit.
    pub quota_new_peers_per_s: u32,
    /// Whether answers to authenticated clients name the server (SOFTWARE).
    pub software_attribute: bool,
    /// How long things live.
    pub lifetimes: Lifetimes,
}

/// `turn.lifetimes.*`, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Longest lifetime that an allocation is granted at once; 60 to 86400.
    pub allocation_max_s: u32,
    /// Permissions; 60 to 3600. Clients refresh them every four minutes (RFC 8656 §9).
    pub permission_s: u32,
    /// Channel bindings; 60 to 86400.
    pub channel_s: u32,
    /// Nonces; 60 to 86400.
    pub nonce_s: u32,
}

/// `tls.*`.
#[derive(Clone, Default, Debug)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, unencrypted PEM.
    pub key: Option<PathBuf>,
}

/// `mcu.*`.
#[derive(Clone, Debug)]
pub struct Mcu {
    /// Whether the role is on.
    pub enabled: bool,
    /// WebSocket of the Janus API.
    pub ws_listen: SocketAddr,
    /// Who may use it, besides the rule of `acl.cts`; empty = all.
    pub ws_allow_prefix: Vec<Prefix>,
    /// `apisecret` that each request must carry.
    pub api_secret: Option<Secret>,
    /// Whether requests must carry a token.
    pub token_auth: bool,
    /// Key of signed tokens; without it tokens are those that the admin API stores.
    pub token_secret: Option<Secret>,
    /// Whether the `opaque_id` of a handle stands in its replies and events.
    pub opaque_id_in_api: bool,
    /// WebSocket of the admin API; `None` = off.
    pub admin_listen: Option<SocketAddr>,
    /// Its secret.
    pub admin_secret: Option<Secret>,
    /// Seconds after which a silent session ends; 0 = never.
    pub session_timeout_s: u32,
    /// Seconds that a session waits for its client to come back.
    pub reclaim_timeout_s: u32,
    /// Where recordings go.
    pub recordings_dir: Option<PathBuf>,
    /// Rooms that exist from the start.
    pub rooms: Vec<StaticRoom>,
    /// Key that making rooms and seeing private ones needs.
    pub admin_key: Option<Secret>,
    /// Whether RTP forwarders need it too.
    pub lock_rtp_forward: bool,
    /// Who is told what happens in the conferences.
    pub events: Events,
    /// Ids of rooms and of those in them are texts instead of numbers.
    pub string_ids: bool,
}

/// `mcu.events.*`: event handlers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Events {
    /// The WebSocket server that events are sent to.
    pub websocket: Option<EventUrl>,
    /// The HTTP server that events are posted to.
    pub http: Option<EventUrl>,
    /// What they are told of; empty = everything.
    pub topics: Vec<String>,
    /// Whether several events go in one array.
    pub grouping: bool,
    /// Events that may wait for each of them; more are lost and counted.
    pub queue: u32,
    /// Sub-protocol of the WebSocket.
    pub sub_protocol: String,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            websocket: None,
            http: None,
            topics: Vec::new(),
            grouping: true,
            queue: 10_000,
            sub_protocol: "janus-events".to_owned(),
        }
    }
}

/// One of `mcu.rooms`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticRoom {
    /// Id of the room: a number above zero unless `string_ids`.
    pub id: String,
    /// The other fields that are given, by their names in the API's `create`.
    pub fields: Vec<(&'static str, RoomField)>,
}

/// Value of a field of [`StaticRoom`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoomField {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u32),
    /// A text.
    Text(String),
    /// A text that is not shown.
    Secret(Secret),
    /// Texts that are not shown.
    Secrets(Vec<Secret>),
}

/// `media.*`.
#[derive(Clone, Debug)]
pub struct Media {
    /// UDP ports of conference and SIP media.
    pub ports: PortRange,
    /// Addresses of media sockets; empty = every address of the host.
    pub listen: Vec<IpAddr>,
    /// Addresses to offer instead of our own (NAT 1:1).
    pub public_address: Vec<IpAddr>,
    /// Whether our own addresses are offered too, with the higher priority.
    pub keep_private: bool,
}

/// `sip.*`.
#[derive(Clone, Debug)]
pub struct Sip {
    /// Whether the role is on.
    pub enabled: bool,
    /// Sockets of signalling.
    pub listen: Vec<SipListen>,
    /// Address of plain RTP in our SDP; `None` = chosen by the route to the other side.
    pub media_address: Option<IpAddr>,
    /// Folder of the call log; `None` = calls are not logged.
    pub calls_dir: Option<PathBuf>,
    /// How long the call log is kept, in seconds.
    pub calls_kept_s: u32,
    /// Trunks.
    pub trunks: Vec<Trunk>,
    /// Where incoming calls go; the first match wins.
    pub routes: Vec<Route>,
}

/// One of `sip.trunks`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trunk {
    /// Its name.
    pub name: String,
    /// Host of outgoing calls, with an optional port.
    pub server: String,
    /// Outbound proxy.
    pub proxy: Option<String>,
    /// Who may call in; empty = nobody.
    pub allow: Vec<IpNet>,
    /// Put before a dialled number.
    pub prefix: String,
    /// Credentials of its registration.
    pub register: Option<(String, Secret)>,
    /// Codecs, the preferred one first.
    pub codecs: Vec<String>,
    /// Whether media is encrypted.
    pub srtp: bool,
}

/// One of `sip.routes`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// A number, or a prefix that ends in `*`.
    pub pattern: String,
    /// What happens to the call.
    pub to: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteTarget {
    /// Answer and play back what is heard.
    Echo,
    /// An audio room.
    Room(u64),
    /// The API handle registered under that user.
    Handle,
    /// A final response, 300-699.
    Reject(u16),
}

/// `http.*`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Socket of metrics, health and console.
    pub listen: SocketAddr,
    /// Who may read them and change what runs, besides this host; its container bridges and `acl.cts` may read.
    pub allow: Vec<IpNet>,
    /// Names under which the console is reached, besides addresses, `localhost`, the host's name and `turn.realm`.
    pub names: Vec<String>,
}

/// `log.*`.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Lowest level that is written.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
}

/// Keys of the deployment tool.
#[derive(Clone, Default, Debug)]
pub struct VoEx {
    /// Interface whose addresses stand in for `turn.listen` when that is not given.
    pub external_interface: Option<String>,
    /// Contact for certificates.
    pub le_email: Option<String>,
    /// Pinned image versions, shown and without effect.
    pub images: Vec<(String, String)>,
    /// Password of a Redis that the host itself offers.
    pub redis_endpoint_password: Option<Secret>,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what an administrator should look at.
    Warn,
    /// And changes of state.
    Info,
    /// And users' names and addresses.
    Debug,
    /// Everything.
    Trace,
}

/// Form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A password algorithm of RFC 8489 §18.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasswordAlgorithm {
    /// Every user can use it.
    Md5,
    /// For users whose password, or SHA-256 key, is known.
    Sha256,
}

/// An inclusive range of ports, written `20000-40000`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// An address clients are shown, written `public` or `public/private`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct External {
    /// What they are shown.
    pub public: IpAddr,
    /// Which of our addresses it stands for; `None` = all of its family.
    pub private: Option<IpAddr>,
}

/// An entry of `mcu.ws.allow_prefix`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Prefix {
    /// The textual address begins with this: `172.18.0.` matches 172.18.0.5 and not 172.18.10.5.
    Text(String),
    /// The address lies in this network.
    Network(IpNet),
}

/// Whether a client may use the Janus API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApiAccess {
    /// It may.
    Allowed,
    /// It is neither this host nor in `acl.cts`.
    NotInAcl,
    /// `mcu.ws.allow_prefix` leaves it out.
    NotInPrefix,
}

/// A socket of SIP signalling, written `udp:0.0.0.0:5060`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SipListen {
    /// Its transport.
    pub transport: SipTransport,
    /// Its address.
    pub address: SocketAddr,
}

/// A transport of SIP signalling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SipTransport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// Streams over TLS.
    Tls,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            turn: Turn::default(),
            tls: Tls::default(),
            acl_cts: Vec::new(),
            mcu: Mcu::default(),
            media: Media::default(),
            sip: Sip {
                enabled: true,
                listen: vec![SipListen {
                    transport: SipTransport::Udp,
                    address: SocketAddr::from((Ipv4Addr::LOCALHOST, 5060)),
                }],
                media_address: None,
                calls_dir: None,
                calls_kept_s: 259_200,
                trunks: Vec::new(),
                routes: Vec::new(),
            },
            http: Http {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9189)),
                allow: Vec::new(),
                names: Vec::new(),
            },
            drain_max_s: 30,
            workers: 0,
            log: Log {
                level: LogLevel::Info,
                format: LogFormat::Text,
            },
            voex: VoEx::default(),
        }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: Vec::new(),
            plain_ports: vec![3478, 3479],
            tls_ports: vec![5349, 5350],
            transports: Protocol::ALL.to_vec(),
            external: Vec::new(),
            realm: None,
            relay_ports: PortRange {
                first: 49152,
                last: 65535,
            },
            users_static: Vec::new(),
            users_keys: Vec::new(),
            users_secrets: Vec::new(),
            users_tokens: Vec::new(),
            users_end_deleted: true,
            users_redis: None,
            users_cache_s: 3_600,
            users_cache_max: 10_000,
            stats_redis: None,
            tcp_relays: false,
            mobility: false,
            password_algorithms: None,
            nat_discovery: true,
            alternate_server: Vec::new(),
            alternate_server_tls: Vec::new(),
            alternate_domain: None,
            oauth: false,
            server_name: None,
            peers_allow: Vec::new(),
            peers_deny: Vec::new(),
            peers_allow_loopback: false,
            quota_allocations: 0,
            quota_allocations_per_user: 0,
            quota_bytes_per_s: 0,
            quota_total_bytes_per_s: 0,
            quota_packets_per_s: 0,
            quota_new_peers_per_s: 0,
            software_attribute: true,
            lifetimes: Lifetimes::default(),
        }
    }
}

impl Default for Lifetimes {
    /// As RFC 8656 has them; 3600 s is its suggestion for the longest.
    fn default() -> Self {
        Self {
            allocation_max_s: 3_600,
            permission_s: 300,
            channel_s: 600,
            nonce_s: 600,
        }
    }
}

impl Default for Mcu {
    fn default() -> Self {
        Self {
            enabled: true,
            ws_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8188)),
            ws_allow_prefix: Vec::new(),
            api_secret: None,
            token_auth: false,
            token_secret: None,
            opaque_id_in_api: false,
            admin_listen: None,
            admin_secret: None,
            session_timeout_s: 60,
            reclaim_timeout_s: 0,
            recordings_dir: None,
            rooms: Vec::new(),
            admin_key: None,
            lock_rtp_forward: false,
            events: Events::default(),
            string_ids: false,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            ports: PortRange {
                first: 20000,
                last: 40000,
            },
            listen: Vec::new(),
            public_address: Vec::new(),
            keep_private: false,
        }
    }
}

impl Turn {
    /// Gives every port that clients are served on, each once.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports = self.plain_ports.clone();
        for port in &self.tls_ports {
            if !ports.contains(port) {
                ports.push(*port);
            }
        }
        ports
    }
}

impl Settings {
    /// What holds where a settings file says nothing: as the embedded default, but conference and SIP are off until
    /// switched on, as with VoEx, and SIP listens on every address, where a PBX can reach it.
    pub(crate) fn with_file() -> Self {
        let mut settings = Self::default();
        settings.mcu.enabled = false;
        settings.sip.enabled = false;
        settings.sip.listen[0].address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
        settings
    }

    /// Tells whether a client may use the Janus API: this host, its container bridges (172.16.0.0/12) and `acl.cts`,
    /// narrowed to `mcu.ws.allow_prefix` when that is given.
    pub fn api_access(&self, client: IpAddr) -> ApiAccess {
        let client = client.to_canonical();
        let prefixes = &self.mcu.ws_allow_prefix;
        if !is_local(client) && !contains(&self.acl_cts, client) {
            ApiAccess::NotInAcl
        } else if !prefixes.is_empty() && !prefixes.iter().any(|prefix| prefix.matches(client)) {
            ApiAccess::NotInPrefix
        } else {
            ApiAccess::Allowed
        }
    }

    /// Tells whether a client may read metrics, health and console.
    pub fn may_read_console(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        is_local(client) || contains(&self.acl_cts, client) || contains(&self.http.allow, client)
    }

    /// Tells whether a client may use the admin API: whoever may read the console, with the secret of that API.
    pub fn admin_access(&self, client: IpAddr) -> ApiAccess {
        if self.may_read_console(client) {
            ApiAccess::Allowed
        } else {
            ApiAccess::NotInAcl
        }
    }

    /// Tells whether a client may end sessions and drain: this host, and `http.allow`.
    pub fn may_manage(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_loopback() || contains(&self.http.allow, client)
    }
}

impl PortRange {
    /// Tells whether two ranges share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Counts the ports.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Tells whether a port lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Prefix {
    fn matches(&self, client: IpAddr) -> bool {
        match self {
            Self::Text(prefix) => client.to_string().starts_with(prefix.as_str()),
            Self::Network(network) => network.contains(&client),
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Loopback, and the range that container bridges take their addresses from.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || (v4.octets()[0] == 172 && (16..32).contains(&v4.octets()[1])),
        IpAddr::V6(v6) => v6.is_loopback(),
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.private {
            None => write!(f, "{}", self.public),
            Some(private) => write!(f, "{}/{private}", self.public),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl fmt::Display for SipTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

impl fmt::Display for SipListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.to)
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("echo"),
            Self::Room(id) => write!(f, "room:{id}"),
            Self::Handle => f.write_str("handle"),
            Self::Reject(code) => write!(f, "reject:{code}"),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

impl fmt::Display for PasswordAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
        })
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}
