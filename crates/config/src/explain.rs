//! The effective settings as an administrator reads them.

use std::fmt::Write as _;
use std::net::IpAddr;

use voex_base::Protocol;

use crate::key;
use crate::load::Loaded;
use crate::problem::Place;
use crate::settings::{Settings, SipTransport};

impl Loaded {
    /// Prints every setting with its origin, the ports that will be bound, and the certificates; secrets masked.
    pub fn explain(&self) -> String {
        let mut text = String::from("settings\n");
        for key in key::KEYS {
            let value = (key.show)(&self.settings);
            match self.origin(key.name) {
                Some(origin) => writeln!(text, "  {} = {value}    # {origin}", key.name),
                None => writeln!(text, "  {} = {value}", key.name),
            }
            .expect("writing to a string cannot fail");
        }
        text.push_str("ports\n");
        for line in ports(&self.settings) {
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str("certificates\n  ");
        text.push_str(&certificates(&self.settings));
        text.push('\n');
        text
    }

    fn origin(&self, key: &str) -> Option<String> {
        let given = self.given.iter().find(|given| given.key == key)?;
        Some(match given.place {
            Place::Line(line) if given.written == key => format!("line {line}"),
            Place::Line(line) => format!("line {line}, {}", given.written),
            _ => "--set".to_owned(),
        })
    }
}

fn ports(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    let turn = &settings.turn;
    if turn.enabled {
        let listen = hosts(&turn.listen, settings.voex.external_interface.as_deref());
        let serves = |protocol| turn.transports.contains(&protocol);
        let carriers = [
            ("udp", serves(Protocol::Udp) || serves(Protocol::Dtls)),
            ("tcp", serves(Protocol::Tcp) || serves(Protocol::Tls)),
        ];
        let carried = Protocol::ALL.into_iter();
        let carried = carried.filter(|protocol| serves(*protocol)).map(Protocol::name);
        let carried = carried.collect::<Vec<_>>().join(", ");
        for port in turn.ports() {
            let bound = carriers.iter().filter(|(_, is_bound)| *is_bound);
            let bound: Vec<_> = bound.map(|(carrier, _)| format!("{port}/{carrier}")).collect();
            if !bound.is_empty() {
                lines.push(format!(
                    "{} on {listen}: STUN and TURN over {carried}",
                    bound.join(" and ")
                ));
            }
        }
        let ports = turn.relay_ports;
        let tcp = if turn.tcp_relays {
            format!(" and {ports}/tcp")
        } else {
            String::new()
        };
        lines.push(format!(
            "{ports}/udp{tcp} on {listen}: relayed transport addresses, one for each allocation"
        ));
    }
    if settings.mcu.enabled || settings.sip.enabled {
        let listen = hosts(&settings.media.listen, None);
        lines.push(format!(
            "{}/udp on {listen}: conference and SIP media, as needed",
            settings.media.ports
        ));
    }
    if settings.mcu.enabled {
        lines.push(format!(
            "{}/tcp on {}: Janus API",
            settings.mcu.ws_listen.port(),
            settings.mcu.ws_listen.ip()
        ));
    }
    if let Some(listen) = settings.mcu.admin_listen.filter(|_| settings.mcu.enabled) {
        lines.push(format!("{}/tcp on {}: Janus admin API", listen.port(), listen.ip()));
    }
    if settings.sip.enabled {
        let udp = settings
            .sip
            .listen
            .iter()
            .filter(|listen| listen.transport == SipTransport::Udp);
        lines.extend(udp.map(|listen| format!("{}/udp on {}: SIP", listen.address.port(), listen.address.ip())));
    }
    lines.push(format!(
        "{}/tcp on {}: metrics, health, console",
        settings.http.listen.port(),
        settings.http.listen.ip()
    ));
    lines
}

fn hosts(addresses: &[IpAddr], interface: Option<&str>) -> String {
    match (addresses, interface) {
        ([], None) => "every address of this host".to_owned(),
        ([], Some(interface)) => format!("the addresses of {interface}"),
        _ => addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn certificates(settings: &Settings) -> String {
    match &settings.tls.certificate {
        Some(path) if path.is_file() => format!("{}: found", path.display()),
        Some(path) => format!("{}: not found", path.display()),
        None => "none given; TURN and media use self-signed certificates made at start".to_owned(),
    }
}
