use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use voex_stun::PasswordAlgorithm;

use crate::nonce::SecurityFeatures;
use crate::{PortShare, TokenKey};

/// What one shard needs to know. Every shard of a process gets the same, but for [`shard`](Self::shard) and
/// [`ports`](Self::ports).
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of the shard: the first three digits of the ids of its sessions.
    pub shard: u16,
    /// Realm of the long-term credentials (RFC 8489 §14.9); at most 127 characters, or answers outgrow their buffer.
    pub realm: String,
    /// SOFTWARE attribute of authenticated answers; empty sends none.
    pub software: String,
    /// Users with a name and a password or key of their own.
    pub users: Vec<(String, UserSecret)>,
    /// Secrets shared with whoever hands out time-limited users `expiry:name` or `name:expiry`.
    pub shared_secrets: Vec<Secret>,
    /// Password algorithms that challenges offer, the best first (RFC 8489 §9.2.4); clients that know them use the first
    /// they support, and MESSAGE-INTEGRITY-SHA256 with it. A user known only by its MD5 key is refused under another.
    /// Empty offers none. Clients that name none are served with MD5 whatever stands here.
    pub password_algorithms: Vec<PasswordAlgorithm>,
    /// Name of this server in THIRD-PARTY-AUTHORIZATION, for which access tokens are made (RFC 7635); `None` accepts no
    /// tokens. At most 255 bytes.
    pub third_party_authorization: Option<String>,
    /// Keys of access tokens by their `kid`, besides those of the credential store. All who come with a token of one `kid`
    /// are one user, whose allocations no quota counts: the authorization server knows whom it lets in.
    pub token_keys: Vec<(String, TokenKey)>,
    /// Whether Binding requests may ask for other ports and addresses, and for padding (RFC 5780). Answers carry
    /// OTHER-ADDRESS where there are listeners on two addresses of a family, with two ports each.
    pub nat_discovery: bool,
    /// Servers to which clients are sent that want to allocate, each with one of its own address family (RFC 8489 §10);
    /// where there is none, they are served here.
    pub alternate_servers: AlternateServers,
    /// Whether a credential store is asked for users that the settings do not know: [`Event::LookUp`](crate::Event).
    pub credential_store: bool,
    /// Whether the allocations of a user end when the credential store has it no more; it is asked at every Refresh.
    pub end_deleted_users: bool,
    /// Signs nonces and reservation tokens; random, the same in every shard of the process.
    pub signing_key: [u8; 32],
    /// Addresses of relays; at most 256 are used. A relay lives on the address that its client talks to, if it is one
    /// of these, else on the first of the family.
    pub relays: Vec<RelayAddress>,
    /// The ports this shard binds relays on.
    pub ports: PortShare,
    /// Lifetimes of everything that expires.
    pub lifetimes: Lifetimes,
    /// Most allocations of one user in all shards; `None` is no limit. More are refused with 486.
    pub allocations_per_user_max: Option<u32>,
    /// Most allocations in all shards; `None` is no limit of its own. More are refused with 508: it is the server that has
    /// no more to give, not the user.
    pub allocations_total_max: Option<u32>,
    /// Most allocations in this shard, which bounds its memory. More are refused with 508.
    pub allocations_max: usize,
    /// How much may pass in a second.
    pub rates: Rates,
    /// Which peers relays may reach.
    pub peers: PeerRules,
    /// Refusals of clients that have not proved who they are, where the refusal is more than half again as long as the
    /// request. What goes beyond is not answered; a client that retransmits gets its answer later.
    ///
    /// 200 a second and 2000 at once: a victim whose address is forged hears at most 24 kB/s of each shard, and an
    /// office of thousands behind one address, all coming back after an outage, is let in within seconds.
    pub challenges: AnswerRate,
    /// Likewise for answers to Binding requests, which are sent every few seconds by every client behind a NAT and are
    /// a few bytes longer than half again the shortest request: 1000 a second and 2000 at once.
    pub bindings: AnswerRate,
    /// Questions to the credential store that one source may cause, for the same office as in `challenges`: 200 a second
    /// and 2000 at once.
    pub look_ups: AnswerRate,
    /// Accepts channel numbers up to 0x7FFF, as RFC 5766 §11 had them; else only those of RFC 8656, up to 0x4FFF. On by
    /// default: clients of the older standard draw from the whole range and cannot be told otherwise.
    pub rfc5766_channel_numbers: bool,
    /// Whether clients over TCP and TLS may have TCP relays (RFC 6062); without it those are refused with 442. Off by
    /// default: a browser has no use for them, and a TCP relay can reach more services than a UDP relay.
    pub tcp_relays: bool,
    /// Whether clients may have tickets with which their allocations follow them to another address (RFC 8016); without it
    /// whoever asks for one is refused with 405. Off by default.
    pub mobility: bool,
    /// Whether the socket owner can send with the DF bit. Without it DONT-FRAGMENT is refused with 420.
    pub dont_fragment: bool,
}

/// How many unauthenticated answers, or look-ups, one source gets of one shard; a source is an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerRate {
    /// Answers a second; at least one.
    pub per_s: u32,
    /// Answers at once, after some quiet; at least one.
    pub burst: u32,
}

/// How much may pass in a second; 0 is no limit. Each counts the two directions apart, and lets a second's worth pass at
/// once after some quiet. What goes beyond is dropped and counted. Data of TCP relays is not lost: who sends more than a limit
/// of bytes lets through is not read until it is paid off.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// Bytes of application data of one allocation.
    pub bytes_per_s: u32,
    /// Bytes of application data of all allocations of all shards.
    pub total_bytes_per_s: u32,
    /// Datagrams of one allocation. Nothing to TCP relays: a stream of bytes has none.
    pub packets_per_s: u32,
    /// Peers, by address, that one allocation asks permission for and that have none yet; of a TCP relay, connections too,
    /// those that its client asks for and those that peers make. More are refused with 508, and not with 403: the peer is
    /// not closed, and its client may ask again soon. A peer that comes in is closed.
    pub new_peers_per_s: u32,
}

/// Where clients are sent instead.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct AlternateServers {
    /// For clients over UDP and TCP.
    pub plain: Vec<SocketAddr>,
    /// For clients over TLS and DTLS.
    pub tls: Vec<SocketAddr>,
    /// Domain in the certificates of those servers (ALTERNATE-DOMAIN, RFC 8489 §14.16); at most 255 bytes.
    pub domain: Option<String>,
}

/// An address of relays, seen from both sides of a one-to-one NAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayAddress {
    /// What sockets are bound to.
    pub local: IpAddr,
    /// What clients are told; the same family as `local`, and equal to it without NAT.
    pub public: IpAddr,
}

/// How a static user proves itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UserSecret {
    /// The password.
    Password(Secret),
    /// MD5 of `user:realm:password`, as user databases store it.
    Key([u8; 16]),
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Lifetimes of everything that expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Least lifetime of an allocation, and the default (RFC 8656 §7.2): 600 s.
    pub allocation_default: Duration,
    /// Longest lifetime a client gets at once: 3600 s.
    pub allocation_max: Duration,
    /// Permissions: 300 s (RFC 8656 §9).
    pub permission: Duration,
    /// Channel bindings: 600 s (RFC 8656 §12).
    pub channel: Duration,
    /// Nonces: 600 s (RFC 8656 §5 asks for at most an hour).
    pub nonce: Duration,
    /// Reserved ports: 30 s (RFC 8656 §7.2).
    pub reservation: Duration,
}

/// Which peers relays may reach.
///
/// Loopback (unless allowed), unspecified, multicast, link-local, the metadata services of clouds, `0.0.0.0/8` and
/// broadcast are refused whatever the lists say. Addresses are judged in canonical form (`voex_base::canonical_ip`).
#[derive(Clone, Default, Debug)]
pub struct PeerRules {
    /// Exceptions to `deny`.
    pub allow: Vec<IpNet>,
    /// Networks that are refused unless `allow` has them; empty by default.
    pub deny: Vec<IpNet>,
    /// Lets relays reach 127.0.0.0/8 and ::1; for tests on one host.
    pub allow_loopback: bool,
    /// Own sockets that no relay may reach: management, signalling, databases.
    pub own_sockets: Vec<SocketAddr>,
}

impl Config {
    /// Makes a configuration with no users and every default.
    pub fn new(realm: &str, signing_key: [u8; 32], relays: Vec<RelayAddress>, ports: PortShare) -> Self {
        Self {
            shard: 0,
            realm: realm.to_owned(),
            software: String::new(),
            users: Vec::new(),
            shared_secrets: Vec::new(),
            password_algorithms: vec![PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5],
            third_party_authorization: None,
            token_keys: Vec::new(),
            nat_discovery: true,
            alternate_servers: AlternateServers::default(),
            credential_store: false,
            end_deleted_users: true,
            signing_key,
            relays,
            ports,
            lifetimes: Lifetimes::default(),
            allocations_per_user_max: None,
            allocations_total_max: None,
            allocations_max: 16_384,
            rates: Rates::default(),
            peers: PeerRules::default(),
            challenges: AnswerRate {
                per_s: 200,
                burst: 2_000,
            },
            bindings: AnswerRate {
                per_s: 1_000,
                burst: 2_000,
            },
            look_ups: AnswerRate {
                per_s: 200,
                burst: 2_000,
            },
            rfc5766_channel_numbers: true,
            tcp_relays: false,
            mobility: false,
            dont_fragment: false,
        }
    }
}

impl Config {
    /// Gives what challenges offer. Names may be hashed where every user can be found by its hash.
    pub(crate) fn features(&self) -> SecurityFeatures<'_> {
        SecurityFeatures {
            password_algorithms: &self.password_algorithms,
            username_anonymity: self.shared_secrets.is_empty()
                && !self.credential_store
                && self.third_party_authorization.is_none(),
        }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            allocation_default: Duration::from_secs(600),
            allocation_max: Duration::from_secs(3_600),
            permission: Duration::from_secs(300),
            channel: Duration::from_secs(600),
            nonce: Duration::from_secs(600),
            reservation: Duration::from_secs(30),
        }
    }
}

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
