//! `register` and `unregister`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use voex_sip::{AccountId, AccountSpec, Command, Credentials, Headers, Registration, Secret};

use super::event::{Push, headers_of, with_headers};
use super::{Code, Error, Sip, host_ip, sip_uri};
use crate::host::{HandleId, Host};
use crate::plugin::Message;
use crate::plugin::fields::{self, Field, Fields, Type, optional, required};
use crate::plugin::videoroom::room::object;

/// The SIP account of a handle.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) id: AccountId,
    /// User part of the address of record.
    pub(super) user: String,
    pub(super) master_id: u64,
    pub(super) state: RegistrationState,
    /// Whether REGISTER is sent.
    pub(super) registers: bool,
    /// The account is another handle's: this one takes part in its calls only.
    pub(super) is_helper: bool,
    pub(super) header_prefixes: Vec<String>,
    pub(super) automatic_ringing: bool,
    /// Address of the outbound proxy, or of the proxy, when it is written as one.
    pub(super) outbound_proxy_ip: Option<IpAddr>,
    pub(super) proxy_ip: Option<IpAddr>,
}

/// Where a registration stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RegistrationState {
    Registering,
    Registered,
    Failed,
    Unregistering,
}

/// Most handles that help with the calls of one account; one more is answered 453.
const HELPERS_MAX: usize = 64;
/// Life of a registration when the request names none.
const REGISTER_TTL_S: u64 = 3_600;

const FIELDS: [Field; 20] = [
    required("username", Type::String),
    optional("type", Type::String),
    optional("send_register", Type::Boolean),
    optional("proxy", Type::String),
    optional("outbound_proxy", Type::String),
    optional("secret", Type::String),
    optional("ha1_secret", Type::String),
    optional("authuser", Type::String),
    optional("display_name", Type::String),
    optional("user_agent", Type::String),
    optional("headers", Type::Object),
    optional("contact_params", Type::Object),
    optional("incoming_header_prefixes", Type::Array),
    optional("register_ttl", Type::Unsigned),
    optional("refresh", Type::Boolean),
    optional("force_udp", Type::Boolean),
    optional("force_tcp", Type::Boolean),
    optional("sips", Type::Boolean),
    optional("automatic_ringing", Type::Boolean),
    optional("rfc2543_cancel", Type::Boolean),
];

impl Sip {
    pub(super) fn register(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let body = &message.body;
        let refresh = body.flag("refresh").unwrap_or(false);
        if let Some(account) = self.client(handle).account.as_ref().filter(|_| !refresh) {
            account.refuse_second()?;
        }
        fields::check(body, &FIELDS)?;
        let guest = match body.text("type") {
            None => false,
            Some("guest") => true,
            Some("helper") => return self.register_helper(host, handle, message),
            Some(_) => {
                let text = "Invalid element (type can only be guest or helper)";
                return Err(Error::new(Code::InvalidElement, text));
            }
        };
        let user = check_addresses(body)?;
        let registers = !guest && body.flag("send_register").unwrap_or(true);
        let credentials = credentials(body, &user)?;
        if registers && credentials.is_none() {
            return Err(Error::new(
                Code::MissingElement,
                "Missing element (secret or ha1_secret)",
            ));
        }
        let id = self.account_id(handle);
        let mut account = Account::new(id, user, registers, self.master_id(host, handle), body);
        let before = self.client(handle).account.as_ref().map(|account| account.state);
        if before == Some(RegistrationState::Registered) {
            account.state = RegistrationState::Registered; // a refresh: calls go on being possible
        }
        host.sip(Command::Register(Box::new(spec(id, body, registers, credentials))));
        let push = Push {
            transaction: Some(&message.transaction),
            ..Push::default()
        };
        let result = if registers {
            json!({"event": "registering"})
        } else {
            account.registered()
        };
        push.send(host, handle, result);
        self.client(handle).account = Some(account);
        Ok(())
    }

    /// Lets a handle take part in the calls of an account that another handle has.
    fn register_helper(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        fields::check(&message.body, &[required("master_id", Type::Unsigned)])?;
        let master_id = message.body.number("master_id");
        let mut accounts = self.clients.values().filter_map(|client| client.account.as_ref());
        let of_master = accounts.find(|account| !account.is_helper && Some(account.master_id) == master_id);
        let mut account = of_master
            .cloned()
            .ok_or(Error::new(Code::Helper, "No such master session"))?;
        let helpers = self.helpers.entry(account.id).or_default();
        if helpers.len() >= HELPERS_MAX {
            return Err(Error::new(Code::Helper, "Too many helpers"));
        }
        if !helpers.contains(&handle) {
            helpers.push(handle);
        }
        (account.is_helper, account.registers) = (true, false);
        let push = Push {
            transaction: Some(&message.transaction),
            ..Push::default()
        };
        push.send(host, handle, account.registered());
        self.client(handle).account = Some(account);
        Ok(())
    }

    /// Handles that take part in the calls of an account, its own first.
    pub(super) fn handles_of(&self, id: AccountId) -> impl Iterator<Item = HandleId> {
        let helpers = self.helpers.get(&id).into_iter().flatten();
        self.accounts.get(&id).into_iter().chain(helpers).copied()
    }

    /// Tells helpers where the registration stands.
    fn tell_helpers(&mut self, id: AccountId, state: RegistrationState) {
        for helper in self.helpers.get(&id).into_iter().flatten() {
            let client = self.clients.get_mut(helper);
            if let Some(account) = client.and_then(|client| client.account.as_mut()) {
                account.state = state;
            }
        }
    }

    /// The account is gone, and with it its helpers: their handles are detached.
    pub(super) fn end_helpers(&mut self, host: &mut Host, id: AccountId) {
        for helper in self.helpers.remove(&id).unwrap_or_default() {
            self.hang_up(host, helper, Headers::new());
            if let Some(client) = self.clients.get_mut(&helper) {
                client.account = None;
            }
            host.detach_later(helper);
        }
    }

    pub(super) fn unregister(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let account = self.client(handle).account.as_mut();
        let registered = |account: &&mut Account| account.registers && account.state == RegistrationState::Registered;
        let account = account.filter(registered).ok_or(not_registered())?;
        account.state = RegistrationState::Unregistering;
        host.sip(Command::Unregister { account: account.id });
        let push = Push {
            transaction: Some(&message.transaction),
            ..Push::default()
        };
        push.send(host, handle, json!({"event": "unregistering"}));
        Ok(())
    }

    pub(super) fn registered(&mut self, host: &mut Host, id: AccountId, headers: &Headers) -> bool {
        let Some((handle, account)) = self.by_account(id) else {
            return false;
        };
        // A guest has been told so with its request.
        if account.registers && account.state != RegistrationState::Unregistering {
            account.state = RegistrationState::Registered;
            let result = with_headers(account.registered(), headers, &account.header_prefixes);
            Push::default().send(host, handle, result);
            self.tell_helpers(id, RegistrationState::Registered);
        }
        true
    }

    pub(super) fn registration_failed(
        &mut self,
        host: &mut Host,
        id: AccountId,
        code: u16,
        reason: &str,
        headers: &Headers,
    ) -> bool {
        let Some((handle, account)) = self.by_account(id) else {
            return false;
        };
        account.state = RegistrationState::Failed;
        let result = json!({"event": "registration_failed", "code": code, "reason": reason});
        let result = with_headers(result, headers, &account.header_prefixes);
        Push::default().send(host, handle, result);
        self.tell_helpers(id, RegistrationState::Failed);
        true
    }

    pub(super) fn unregistered(&mut self, host: &mut Host, id: AccountId, headers: &Headers) -> bool {
        let Some((handle, account)) = self.by_account(id) else {
            return false;
        };
        let result = json!({"event": "unregistered", "username": account.user});
        let result = with_headers(result, headers, &account.header_prefixes);
        Push::default().send(host, handle, result);
        self.client(handle).account = None;
        self.accounts.remove(&id);
        self.end_helpers(host, id);
        true
    }

    fn by_account(&mut self, id: AccountId) -> Option<(HandleId, &mut Account)> {
        let handle = *self.accounts.get(&id)?;
        let account = self.clients.get_mut(&handle)?.account.as_mut()?;
        (account.id == id).then_some((handle, account))
    }

    /// Gives the id of the handle's account; a second registration replaces the first one in place.
    fn account_id(&mut self, handle: HandleId) -> AccountId {
        if let Some(account) = &self.client(handle).account {
            return account.id;
        }
        self.last_account += 1;
        let id = AccountId(self.last_account);
        self.accounts.insert(id, handle);
        id
    }

    fn master_id(&mut self, host: &mut Host, handle: HandleId) -> u64 {
        match &self.client(handle).account {
            Some(account) => account.master_id,
            None => u64::from(host.rng.u32().max(1)),
        }
    }
}

impl Account {
    fn new(id: AccountId, user: String, registers: bool, master_id: u64, body: &Map<String, Value>) -> Self {
        let prefixes = body.list("incoming_header_prefixes").into_iter().flatten();
        Self {
            id,
            user,
            master_id,
            state: match registers {
                true => RegistrationState::Registering,
                false => RegistrationState::Registered,
            },
            registers,
            is_helper: false,
            header_prefixes: prefixes
                .filter_map(|prefix| prefix.as_str().map(str::to_owned))
                .collect(),
            automatic_ringing: body.flag("automatic_ringing").unwrap_or(true),
            outbound_proxy_ip: body.text("outbound_proxy").and_then(host_ip),
            proxy_ip: body.text("proxy").and_then(host_ip),
        }
    }

    fn refuse_second(&self) -> Result<(), Error> {
        match self.state {
            RegistrationState::Failed => Ok(()),
            RegistrationState::Unregistering => Err(Error::new(Code::WrongState, "Wrong state (unregistering)")),
            RegistrationState::Registering | RegistrationState::Registered => {
                let text = format!("Already registered ({})", self.user);
                Err(Error::new(Code::AlreadyRegistered, text))
            }
        }
    }

    fn registered(&self) -> Value {
        let helper = self.is_helper.then_some(true);
        object([
            ("event", Some(json!("registered"))),
            ("username", Some(json!(self.user))),
            ("register_sent", Some(json!(self.registers))),
            ("helper", helper.map(Value::from)),
            ("master_id", Some(json!(self.master_id))),
        ])
    }
}

fn not_registered() -> Error {
    Error::new(Code::WrongState, "Wrong state (not registered)")
}

/// Checks the addresses of the request; gives the user part of `username`.
fn check_addresses(body: &Map<String, Value>) -> Result<String, Error> {
    let username = body.text("username").unwrap_or_default();
    let user = sip_uri(username).and_then(|uri| uri.user());
    let user = user.ok_or_else(|| Error::new(Code::InvalidAddress, format!("Invalid user address {username}\n")))?;
    for name in ["proxy", "outbound_proxy"] {
        if let Some(proxy) = body.text(name).filter(|proxy| sip_uri(proxy).is_none()) {
            return Err(Error::new(
                Code::InvalidAddress,
                format!("Invalid proxy address {proxy}\n"),
            ));
        }
    }
    Ok(user)
}

/// Reads what proves the user, of `register` and of a guest's `call`.
pub(super) fn credentials(body: &Map<String, Value>, user: &str) -> Result<Option<Credentials>, Error> {
    let secret = match (body.text("secret"), body.text("ha1_secret")) {
        (Some(_), Some(_)) => {
            let text = "Conflicting elements specified (secret and ha1_secret)";
            return Err(Error::new(Code::InvalidElement, text));
        }
        (Some(password), None) => Secret::Password(password.to_owned()),
        (None, Some(ha1)) => Secret::Ha1(ha1.to_owned()),
        (None, None) => return Ok(None),
    };
    let user = body.text("authuser").unwrap_or(user).to_owned();
    Ok(Some(Credentials { user, secret }))
}

fn spec(id: AccountId, body: &Map<String, Value>, registers: bool, credentials: Option<Credentials>) -> AccountSpec {
    let owned = |name: &str| body.text(name).map(str::to_owned);
    let ttl = body
        .number("register_ttl")
        .unwrap_or(REGISTER_TTL_S)
        .min(u64::from(u32::MAX));
    let params = body
        .get("contact_params")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    AccountSpec {
        display_name: owned("display_name"),
        registration: registers.then(|| Registration {
            ttl: Duration::from_secs(ttl),
            headers: headers_of(body),
        }),
        proxy: owned("proxy"),
        outbound_proxy: owned("outbound_proxy"),
        credentials,
        user_agent: owned("user_agent"),
        contact_params: params
            .map(|(name, value)| (name.clone(), value.as_str().map(str::to_owned)))
            .collect(),
        ..AccountSpec::guest(id, body.text("username").unwrap_or_default())
    }
}
