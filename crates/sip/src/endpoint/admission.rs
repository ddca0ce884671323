//! Who may talk to us outside dialogs.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use voex_base::canonical_ip;
use voex_sip_wire::{Header, HeaderFields};

use super::Endpoint;
use crate::AccountId;

/// Names that scanning tools give themselves; compared in lower case.
const SCANNERS: [&str; 8] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sundayddr",
    "sip-scan",
    "sipcli/",
    "vaxsipuseragent",
    "pplsip",
];

/// Says whether a request comes from a scanning tool: by User-Agent, From, To or Contact.
pub(super) fn is_scanner(headers: &HeaderFields) -> bool {
    let names = [Header::UserAgent, Header::From, Header::To, Header::Contact];
    names.into_iter().filter_map(|header| headers.get(header)).any(|value| {
        let value = value.to_ascii_lowercase();
        SCANNERS.iter().any(|scanner| value.contains(scanner))
    })
}

impl Endpoint {
    /// Says whether `source` may send requests outside dialogs.
    pub(super) fn admits(&self, source: SocketAddr) -> bool {
        let ip = canonical_ip(source.ip());
        let listed = self.config.allow.iter().any(|net| net.contains(&ip));
        let host = || self.account_hosts.range(accounts_at(ip)).next().is_some();
        listed || (self.config.allow_account_hosts && host())
    }

    /// Says whether `source` is a registrar or proxy of this account.
    pub(super) fn is_host_of(&self, account: AccountId, source: SocketAddr) -> bool {
        self.account_hosts.contains(&(canonical_ip(source.ip()), account))
    }

    pub(super) fn add_account_host(&mut self, account: AccountId, ip: IpAddr) {
        let hosts = self.accounts.get_mut(&account).map(|account| &mut account.hosts);
        let ip = canonical_ip(ip);
        if let Some(hosts) = hosts.filter(|hosts| hosts.len() < HOSTS_MAX && !hosts.contains(&ip)) {
            hosts.push(ip);
            self.account_hosts.insert((ip, account));
        }
    }
}

/// Most addresses remembered for an account's registrar and proxies.
const HOSTS_MAX: usize = 16;

fn accounts_at(ip: IpAddr) -> RangeInclusive<(IpAddr, AccountId)> {
    (ip, AccountId(u64::MIN))..=(ip, AccountId(u64::MAX))
}
