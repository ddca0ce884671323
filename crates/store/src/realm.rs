//! Options of the realm and its lists of peers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use redis::Pipeline;
use tokio::sync::watch;

use crate::keys::Keys;
use crate::stored::{Reply, WrongForm, number};

/// Most entries of a list of peers.
const PEERS_MAX: usize = 4_096;

/// What Redis says of the realm, and where Redis is. Absent options leave those of the settings in force.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RealmRules {
    /// Peers that may be reached although a list forbids them.
    pub allow: Vec<IpNet>,
    /// Peers that may not be reached.
    pub deny: Vec<IpNet>,
    /// Bytes a second of one allocation, each way; 0 is no limit.
    pub bandwidth_bytes_s: Option<u64>,
    /// Allocations at once; 0 is no limit.
    pub allocations: Option<u32>,
    /// Allocations of one user at once; 0 is no limit.
    pub allocations_per_user: Option<u32>,
    /// Where the databases are: no relay may reach them.
    pub servers: Vec<SocketAddr>,
}

/// Where the rules are kept; whoever watches is told of changes.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Arc<watch::Sender<Arc<RealmRules>>>);

/// Addresses of Redis that are kept closed; beyond it the oldest is let go.
const SERVERS_MAX: usize = 64;

impl Rules {
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<RealmRules>>) {
        let (rules, watched) = watch::channel(Arc::default());
        (Self(Arc::new(rules)), watched)
    }

    /// Replaces the rules if they change.
    pub(crate) fn set(&self, change: impl FnOnce(&RealmRules) -> RealmRules) {
        self.0.send_if_modified(|known| {
            let rules = change(known);
            let is_new = **known != rules;
            if is_new {
                *known = Arc::new(rules);
            }
            is_new
        });
    }

    /// Notes where a Redis is.
    pub(crate) fn add_server(&self, server: SocketAddr) {
        self.set(|known| {
            let mut rules = known.clone();
            if !rules.servers.contains(&server) {
                rules.servers.push(server);
                rules.servers.drain(..rules.servers.len().saturating_sub(SERVERS_MAX));
            }
            rules
        });
    }
}

const ALLOWED: &str = "allowed-peer-ip";
const DENIED: &str = "denied-peer-ip";

/// Asks for everything in one round trip; [`read`] takes the replies. A list may be a set or a text: both are asked for,
/// and the wrong question is answered with an error that says nothing.
pub(crate) fn ask(keys: &Keys, commands: &mut Pipeline) {
    for option in ["max-bps", "total-quota", "user-quota"] {
        commands.cmd("get").arg(keys.of_realm(option));
    }
    for list in [ALLOWED, DENIED] {
        commands.cmd("smembers").arg(keys.of_realm(list));
        commands.cmd("get").arg(keys.of_realm(list));
    }
}

/// How many replies [`ask`] asks for.
pub(crate) const REPLIES: usize = 7;

/// Reads the replies. What is of a wrong form is left out and named.
///
/// # Errors
/// With what the server said when it refused a command: then nothing is known.
pub(crate) fn read(replies: &[Reply; REPLIES], wrong: &mut Vec<WrongForm>) -> Result<RealmRules, String> {
    let refused = replies.iter().find_map(|reply| match reply {
        Reply::Refused(error) => Some(error.clone()),
        _ => None,
    });
    if let Some(error) = refused {
        return Err(error);
    }
    let [bandwidth, total, per_user, allowed, allowed_text, denied, denied_text] = replies;
    Ok(RealmRules {
        allow: networks([allowed, allowed_text], wrong),
        deny: networks([denied, denied_text], wrong),
        bandwidth_bytes_s: option(bandwidth, wrong),
        allocations: option(total, wrong).map(saturated),
        allocations_per_user: option(per_user, wrong).map(saturated),
        servers: Vec::new(),
    })
}

fn option(reply: &Reply, wrong: &mut Vec<WrongForm>) -> Option<u64> {
    let value = match reply {
        Reply::Absent => return None,
        Reply::Text(text) => number(text),
        _ => None,
    };
    if value.is_none() {
        wrong.push(WrongForm("an option of the realm is no decimal number"));
    }
    value
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn networks(as_set_and_text: [&Reply; 2], wrong: &mut Vec<WrongForm>) -> Vec<IpNet> {
    let (members, text);
    let entries: &[Vec<u8>] = match as_set_and_text {
        [Reply::List(list), _] => {
            members = list;
            members
        }
        [_, Reply::Text(one)] => {
            text = [one.clone()];
            &text
        }
        _ => return Vec::new(),
    };
    if entries.len() > PEERS_MAX {
        wrong.push(WrongForm("a list of peers has more than 4096 entries"));
    }
    let mut networks = Vec::new();
    for entry in entries.iter().take(PEERS_MAX) {
        match range(entry) {
            Some(covered) => networks.extend(covered),
            None => wrong.push(WrongForm("an entry of a list of peers is neither `ip` nor `ip-ip`")),
        }
    }
    networks.sort_unstable();
    networks
}

/// Reads `ip`, `ip-ip`, or a network; gives the networks that together are the range.
fn range(text: &[u8]) -> Option<Vec<IpNet>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(vec![network.trunc()]);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> Reply {
        Reply::List(entries.iter().map(|entry| entry.as_bytes().to_vec()).collect())
    }

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    fn absent() -> [Reply; REPLIES] {
        std::array::from_fn(|_| Reply::Absent)
    }

    fn shown(networks: &[IpNet]) -> Vec<String> {
        networks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_of_both_families_become_the_networks_they_cover() {
        let networks = |entry: &str| range(entry.as_bytes()).map(|covered| shown(&covered));
        assert_eq!(networks("10.0.0.1").unwrap(), ["10.0.0.1/32"]);
        assert_eq!(networks("10.0.0.0-10.255.255.255").unwrap(), ["10.0.0.0/8"]);
        assert_eq!(
            networks("10.0.0.1-10.0.0.4").unwrap(),
            ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]
        );
        assert_eq!(networks(" 2001:db8:: - 2001:db8::ff ").unwrap(), ["2001:db8::/120"]);
        assert_eq!(networks("0.0.0.0-255.255.255.255").unwrap(), ["0.0.0.0/0"]);
        for wrong in ["", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "a", "10.0.0.1-", "\u{fffd}"] {
            assert_eq!(networks(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_is_a_set_or_a_text() {
        let mut replies = absent();
        replies[3] = set(&["10.0.0.1", "2001:db8::1"]);
        replies[5] = Reply::WrongType;
        replies[6] = text("192.168.0.0-192.168.255.255");
        let rules = read(&replies, &mut Vec::new()).unwrap();
        assert_eq!(shown(&rules.allow), ["10.0.0.1/32", "2001:db8::1/128"]);
        assert_eq!(shown(&rules.deny), ["192.168.0.0/16"]);
    }

    #[test]
    fn an_absent_option_is_none_and_zero_is_zero() {
        let mut replies = absent();
        assert_eq!(read(&replies, &mut Vec::new()).unwrap(), RealmRules::default());
        replies[0] = text("125000");
        replies[1] = text("0");
        replies[2] = text("99999999999");
        let rules = read(&replies, &mut Vec::new()).unwrap();
        assert_eq!(rules.bandwidth_bytes_s, Some(125_000));
        assert_eq!(
            (rules.allocations, rules.allocations_per_user),
            (Some(0), Some(u32::MAX))
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_holds() {
        let mut replies = absent();
        replies[0] = text("much");
        replies[1] = Reply::WrongType;
        replies[5] = set(&["10.0.0.1", "nonsense"]);
        let mut wrong = Vec::new();
        let rules = read(&replies, &mut wrong).unwrap();
        assert_eq!(wrong.len(), 3);
        assert_eq!(shown(&rules.deny), ["10.0.0.1/32"]);
    }

    #[test]
    fn a_refusal_of_the_server_leaves_everything_as_it_was() {
        let mut replies = absent();
        replies[4] = Reply::Refused("NOPERM".to_owned());
        assert!(read(&replies, &mut Vec::new()).is_err());
    }
}
