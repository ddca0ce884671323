//! Accounts and their registrations (RFC 3261 §10).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use voex_sip_wire::{
    Header, HeaderFields, MAGIC_COOKIE, Method, NameAddr, Params, Request, Response, SipUri, Uri, Via,
    parse_delta_seconds,
};

use super::call_out::identity;
use super::client::{Hop, Lookup, Outgoing, Purpose, hop};
use super::server::TAG_LENGTH;
use super::{Endpoint, TimerOwner, fields};
use crate::digest::DigestState;
use crate::{AccountId, AccountSpec, Credentials, Event, Headers, Listen};

/// An account.
pub(super) struct Account {
    pub(super) spec: AccountSpec,
    aor: Uri,
    registrar: Uri,
    pub(super) outbound_proxy: Option<NameAddr>,
    state: State,
    /// Addresses of its registrar and proxies.
    pub(super) hosts: Vec<IpAddr>,
    /// Changes with every REGISTER that is not a mere answer to a challenge.
    pub(super) serial: u64,
    call_id: String,
    tag: String,
    cseq: u32,
    digest: DigestState,
    /// Life to ask for.
    ttl: Duration,
    retry_delay: Duration,
}

/// ```text
///  Guest                       Registering ──2xx──► Registered ──refresh──► (REGISTER again)
///                                  │ refused           │ refused
///                                  └──────► Failed ◄───┘      Failed ──retry──► (REGISTER again)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Guest,
    Registering,
    Registered,
    Failed,
    Unregistering,
}

/// First wait after a registration that failed for a passing reason; doubles.
const RETRY_MIN: Duration = Duration::from_secs(30);

/// Longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Longest life asked for or believed: a day.
const TTL_MAX: Duration = Duration::from_secs(86_400);

impl Account {
    fn new(spec: AccountSpec) -> Option<Self> {
        let aor = Uri::parse(&spec.aor).ok()?;
        let domain = without_user(aor.as_sip()?);
        let registrar = match &spec.proxy {
            Some(proxy) => Uri::parse(proxy).ok().filter(|uri| uri.as_sip().is_some())?,
            None => domain,
        };
        let outbound_proxy = match &spec.outbound_proxy {
            Some(proxy) => Some(loose_route(proxy)?),
            None => None,
        };
        let ttl = spec
            .registration
            .as_ref()
            .map(|registration| registration.ttl.min(TTL_MAX));
        Some(Self {
            aor,
            registrar,
            outbound_proxy,
            state: if ttl.is_some() {
                State::Registering
            } else {
                State::Guest
            },
            hosts: Vec::new(),
            serial: 0,
            call_id: String::new(),
            tag: String::new(),
            cseq: 0,
            digest: DigestState::default(),
            ttl: ttl.unwrap_or_default(),
            retry_delay: RETRY_MIN,
            spec,
        })
    }

    /// Gives our From: address of record with display name.
    pub(super) fn identity(&self) -> NameAddr {
        identity(&self.aor, self.spec.display_name.as_deref())
    }

    /// Gives our Contact at one of our sockets.
    pub(super) fn contact(&self, advertised: SocketAddr) -> NameAddr {
        let user_info = self.aor.as_sip().and_then(|aor| aor.user_info.clone());
        NameAddr::new(Uri::Sip(Box::new(SipUri {
            secure: false,
            user_info,
            host: voex_sip_wire::Host::Address(advertised.ip()),
            port: Some(advertised.port()),
            params: Params::default(),
            headers: None,
        })))
    }

    fn user(&self) -> String {
        self.aor.user().unwrap_or_default()
    }
}

impl Endpoint {
    pub(super) fn register(&mut self, now: Instant, spec: AccountSpec) {
        let id = spec.id;
        let before = self.remove_account(id);
        let full = self.accounts.len() >= self.config.limits.accounts_max;
        let Some(mut account) = Account::new(spec).filter(|_| !full) else {
            let (code, reason) = if full {
                (503, "Too Many Accounts")
            } else {
                (400, "Bad URI")
            };
            let (reason, headers) = (reason.to_owned(), Headers::new());
            return self.event(Event::RegistrationFailed {
                account: id,
                code,
                reason,
                headers,
            });
        };
        match before {
            Some(before) => (account.call_id, account.tag, account.cseq) = (before.call_id, before.tag, before.cseq),
            None => {
                account.call_id = self.rng.token(TAG_LENGTH);
                account.tag = self.rng.token(TAG_LENGTH);
                account.cseq = self.rng.below(1 << 16) as u32;
            }
        }
        self.accounts_by_user.insert((account.user(), id));
        if account.spec.catch_all {
            self.catch_all.insert(id);
        }
        let guest = account.state == State::Guest;
        self.accounts.insert(id, account);
        self.learn_hosts(now, id);
        if guest {
            let (ttl, headers) = (Duration::ZERO, Headers::new());
            self.event(Event::Registered {
                account: id,
                ttl,
                headers,
            });
        } else {
            self.send_register(now, id);
        }
    }

    pub(super) fn unregister(&mut self, now: Instant, id: AccountId) {
        let Some(account) = self.accounts.get_mut(&id) else {
            return self.ignore_command();
        };
        match account.state {
            State::Guest | State::Failed => self.forget(id, Headers::new()),
            State::Registering | State::Registered => {
                account.ttl = Duration::ZERO;
                self.set_state(id, State::Unregistering);
                self.timers.arm(TimerOwner::Account(id), None);
                self.send_register(now, id);
            }
            State::Unregistering => self.ignore_command(),
        }
    }

    fn forget(&mut self, account: AccountId, headers: Headers) {
        self.remove_account(account);
        self.event(Event::Unregistered { account, headers });
    }

    fn remove_account(&mut self, id: AccountId) -> Option<Account> {
        self.set_state(id, State::Failed);
        let account = self.accounts.remove(&id)?;
        self.accounts_by_user.remove(&(account.user(), id));
        self.catch_all.remove(&id);
        for ip in &account.hosts {
            self.account_hosts.remove(&(*ip, id));
        }
        self.timers.arm(TimerOwner::Account(id), None);
        Some(account)
    }

    /// Keeps the number of registrations right.
    fn set_state(&mut self, id: AccountId, state: State) {
        if let Some(account) = self.accounts.get_mut(&id) {
            let counted = |state| i64::from(state == State::Registered);
            self.metrics.registrations.add(counted(state) - counted(account.state));
            account.state = state;
        }
    }

    /// Finds the addresses that an account's calls may come from. The registrar's name is looked up with REGISTER.
    fn learn_hosts(&mut self, now: Instant, id: AccountId) {
        let Some(account) = self.accounts.get(&id) else { return };
        let registrar = hop(&account.registrar).filter(|hop| {
            let by_register = account.state != State::Guest && account.outbound_proxy.is_none();
            !by_register || matches!(hop, Hop::Address(_))
        });
        let proxy = account.outbound_proxy.as_ref().and_then(|proxy| hop(&proxy.uri));
        for hop in registrar.into_iter().chain(proxy) {
            match hop {
                Hop::Address(address) => self.add_account_host(id, address.ip()),
                Hop::Name(host, port) => self.look_up(now, Lookup::AccountHost(id), host, port),
            }
        }
    }

    /// Gives the socket an account's requests leave from.
    pub(super) fn account_socket(&self, account: &Account, hop: Option<&Hop>) -> Option<Listen> {
        let wanted = account.spec.socket;
        match hop {
            Some(Hop::Address(to)) => self.socket_towards(*to, wanted),
            _ => {
                let listens = &self.config.listen;
                let chosen = listens.iter().find(|listen| Some(listen.id) == wanted);
                chosen.or_else(|| listens.first()).copied()
            }
        }
    }

    fn send_register(&mut self, now: Instant, id: AccountId) {
        let serial = self.next_id();
        let Some(account) = self.accounts.get(&id) else { return };
        let first = account
            .outbound_proxy
            .as_ref()
            .map_or(&account.registrar, |proxy| &proxy.uri);
        let socket = self.account_socket(account, hop(first).as_ref());
        let contact = socket.map(|socket| account.contact(socket.advertised));
        let Some(account) = self.accounts.get_mut(&id) else {
            return;
        };
        account.serial = serial;
        account.cseq += 1;
        let mut request = register_request(account, &self.config.user_agent);
        if let Some(mut contact) = contact {
            for (name, value) in &account.spec.contact_params {
                if is_parameter(name, value.as_deref()) {
                    contact.params.set(name, value.clone());
                } else {
                    self.metrics.fields_left_out.inc();
                }
            }
            request.headers.push(Header::Contact, contact.to_string());
        }
        if let Some(registration) = &account.spec.registration {
            fields::add(&mut request.headers, &registration.headers, None, &self.metrics);
        }
        if let Some(credentials) = &account.spec.credentials {
            account.digest.authorize(&mut request, credentials, &mut self.rng);
        }
        let (purpose, socket) = (Purpose::Register(id, serial), socket.map(|socket| socket.id));
        self.send_request(
            now,
            Outgoing {
                request,
                purpose,
                socket,
                challenges: 0,
            },
        );
    }

    pub(super) fn handle_register_response(&mut self, now: Instant, id: AccountId, serial: u64, response: Response) {
        let Some(account) = self.accounts.get_mut(&id).filter(|account| account.serial == serial) else {
            return;
        };
        match (account.state, response.code) {
            (State::Unregistering, _) => self.forget(id, fields::reported(&response.headers)),
            (_, 200..=299) => self.registered(now, id, &response.headers),
            (_, 423) if lengthen(account, &response.headers) => self.send_register(now, id),
            _ => self.registration_failed(now, id, response),
        }
    }

    fn registered(&mut self, now: Instant, id: AccountId, headers: &HeaderFields) {
        let Some(account) = self.accounts.get_mut(&id) else {
            return;
        };
        account.retry_delay = RETRY_MIN;
        let ttl = granted(account, headers);
        let first = account.state != State::Registered;
        // Refreshed at four fifths, so that one lost REGISTER of 32 s does not end a life of three minutes or more.
        self.timers.arm(TimerOwner::Account(id), Some(now + ttl * 4 / 5));
        self.set_state(id, State::Registered);
        if first {
            let headers = fields::reported(headers);
            self.event(Event::Registered {
                account: id,
                ttl,
                headers,
            });
        }
    }

    fn registration_failed(&mut self, now: Instant, id: AccountId, response: Response) {
        self.set_state(id, State::Failed);
        let Some(account) = self.accounts.get_mut(&id) else {
            return;
        };
        if response.code == 408 || (500..=599).contains(&response.code) {
            self.timers
                .arm(TimerOwner::Account(id), Some(now + account.retry_delay));
            account.retry_delay = (account.retry_delay * 2).min(RETRY_MAX);
        }
        let headers = fields::reported(&response.headers);
        let (code, reason) = (response.code, response.reason);
        self.event(Event::RegistrationFailed {
            account: id,
            code,
            reason,
            headers,
        });
    }

    /// Time to refresh, or to try again.
    pub(super) fn handle_account_timeout(&mut self, now: Instant, id: AccountId) {
        self.send_register(now, id);
    }

    /// Gives what answering a challenge to a request of this purpose changes: digest state, credentials, CSeq.
    pub(super) fn authenticator(
        &mut self,
        purpose: Purpose,
    ) -> Option<(&mut DigestState, Option<Credentials>, &mut u32)> {
        match purpose {
            Purpose::Register(id, serial) => {
                let account = self.accounts.get_mut(&id).filter(|account| account.serial == serial)?;
                Some((&mut account.digest, account.spec.credentials.clone(), &mut account.cseq))
            }
            Purpose::Invite(id)
            | Purpose::Reinvite(id)
            | Purpose::Info(id)
            | Purpose::Prack(id)
            | Purpose::Update(id)
            | Purpose::Refer(id)
            | Purpose::Notify(id)
            | Purpose::Bye(id) => {
                let leg = self.legs.get_mut(&id)?;
                Some((&mut leg.digest, leg.credentials.clone(), &mut leg.dialog.local_cseq))
            }
            Purpose::Cancel | Purpose::StrayBye => None,
        }
    }

    /// Puts a Via of ours with a new branch in front.
    pub(super) fn put_via(&mut self, request: &mut Request, advertised: SocketAddr) {
        let branch = format!("{MAGIC_COOKIE}{}", self.rng.token(20));
        request
            .headers
            .push_front(Header::Via, Via::new("UDP", advertised, &branch).to_string());
    }
}

/// Says whether an application's parameter is one parameter and nothing else.
fn is_parameter(name: &str, value: Option<&str>) -> bool {
    let text = value.map_or_else(|| format!(";{name}"), |value| format!(";{name}={value}"));
    Params::parse_header(&text).is_ok_and(|params| params.iter().eq([(name, value)]))
}

/// Makes REGISTER without Via and Contact.
fn register_request(account: &Account, user_agent: &str) -> Request {
    let mut request = Request::new(Method::Register, account.registrar.clone());
    let headers = &mut request.headers;
    if let Some(proxy) = &account.outbound_proxy {
        headers.push(Header::Route, proxy.to_string());
    }
    let mut from = account.identity();
    let to = from.to_string();
    from.params.set("tag", Some(account.tag.clone()));
    headers.push(Header::MaxForwards, "70");
    headers.push(Header::From, from.to_string());
    headers.push(Header::To, to);
    headers.push(Header::CallId, account.call_id.as_str());
    headers.push(Header::CSeq, format!("{} REGISTER", account.cseq));
    headers.push(Header::Expires, account.ttl.as_secs().to_string());
    headers.push(Header::Allow, fields::ALLOW);
    headers.push(
        Header::UserAgent,
        account.spec.user_agent.as_deref().unwrap_or(user_agent),
    );
    request
}

/// Reads the life granted: `expires` of our Contact, else Expires, else what we asked for.
fn granted(account: &Account, headers: &HeaderFields) -> Duration {
    let ours = account.user();
    let contacts = headers.list(Header::Contact).unwrap_or_default();
    let mut contacts = contacts.into_iter().filter_map(|contact| NameAddr::parse(contact).ok());
    let of_contact = contacts.find(|contact| contact.uri.user().unwrap_or_default() == ours);
    let of_contact = of_contact.and_then(|contact| contact.params.value("expires").and_then(parse_delta_seconds));
    let seconds = of_contact.or_else(|| headers.get(Header::Expires).and_then(parse_delta_seconds));
    let ttl = seconds.map_or(account.ttl, |seconds| Duration::from_secs(seconds.into()));
    ttl.clamp(TTL_MIN, TTL_MAX)
}

/// Shortest life believed; a registrar that grants less would be asked without end.
const TTL_MIN: Duration = Duration::from_secs(10);

/// 423: asks for what the registrar wants, if that is more than before.
fn lengthen(account: &mut Account, headers: &HeaderFields) -> bool {
    let seconds = headers.get(Header::MinExpires).and_then(parse_delta_seconds);
    let wanted = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    match wanted.filter(|wanted| *wanted > account.ttl && *wanted <= TTL_MAX) {
        Some(wanted) => {
            account.ttl = wanted;
            true
        }
        None => false,
    }
}

fn without_user(aor: &SipUri) -> Uri {
    let host = aor.host.clone();
    let params = Params::default();
    Uri::Sip(Box::new(SipUri {
        secure: aor.secure,
        user_info: None,
        host,
        port: aor.port,
        params,
        headers: None,
    }))
}

fn loose_route(proxy: &str) -> Option<NameAddr> {
    let mut uri = Uri::parse(proxy).ok()?;
    match &mut uri {
        Uri::Sip(sip) => sip.params.set("lr", None),
        _ => return None,
    }
    Some(NameAddr::new(uri))
}
