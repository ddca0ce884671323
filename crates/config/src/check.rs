//! Rules that join keys: what is well-formed line by line can still be wrong together.

use std::net::IpAddr;

use crate::load::Given;
use crate::problem::{Place, Report, Severity};
use crate::settings::{PortRange, RoomField, Settings, SipTransport, StaticRoom};
use crate::{RedisTarget, Secret};

/// The password of the guide's examples.
const EXAMPLE_PASSWORD: &str = "verystrongpassword";

/// Ports of cAdvisor and node exporter on the container bridge.
const EXPORTER_PORTS: [u16; 2] = [9100, 9200];

pub(crate) fn check(settings: &Settings, given: &[Given], has_file: bool, report: &mut Report) {
    let mut check = Check { given, report };
    check.exposure(settings);
    check.pools(settings);
    check.passwords(settings);
    check.user_keys(settings);
    check.certificate(settings);
    check.access(settings);
    check.locks(settings);
    check.rooms(settings);
    check.sip(settings);
    if has_file {
        check.file(settings);
    }
}

struct Check<'a> {
    given: &'a [Given],
    report: &'a mut Report,
}

impl Check<'_> {
    /// The Janus API is never open to the world by accident.
    fn exposure(&mut self, settings: &Settings) {
        let listen = settings.mcu.ws_listen;
        if !settings.mcu.enabled || !is_public(listen.ip()) {
            return;
        }
        if settings.acl_cts.is_empty() {
            self.say(
                Severity::Error,
                "mcu.ws.listen",
                &listen.to_string(),
                "the Janus API would be open on a public address and acl.cts (permit_ip) is empty; list the addresses \
                 of the CTS there, listen on an inside address, or write acl.cts: [\"0.0.0.0/0\", \"::/0\"] if it \
                 really shall be open to everybody",
            );
        } else if settings.acl_cts.iter().any(|network| network.prefix_len() == 0) && settings.mcu.api_secret.is_none()
        {
            self.say(
                Severity::Warning,
                "acl.cts",
                "",
                "lets everybody use the Janus API, and mcu.api_secret is not set",
            );
        }
    }

    /// The admin API needs its secret, and signed tokens need to be asked for.
    fn access(&mut self, settings: &Settings) {
        let mcu = &settings.mcu;
        if let (true, Some(listen), None) = (mcu.enabled, mcu.admin_listen, &mcu.admin_secret) {
            let text = "the admin API needs mcu.admin.secret, which its requests must carry";
            self.say(Severity::Error, "mcu.admin.listen", &listen.to_string(), text);
        }
        if mcu.token_secret.is_some() && !mcu.token_auth {
            let text = "has no effect, since mcu.token_auth is off and no token is asked for";
            self.say(Severity::Warning, "mcu.token_secret", "", text);
        }
    }

    /// What is locked needs a key, what is signed a key to read it.
    fn locks(&mut self, settings: &Settings) {
        let mcu = &settings.mcu;
        if mcu.lock_rtp_forward && mcu.admin_key.is_none() {
            let text = "locks nothing without mcu.admin_key, which requests for forwarders would have to carry";
            self.say(Severity::Error, "mcu.lock_rtp_forward", "true", text);
        }
        let is_signed = |room: &&StaticRoom| {
            let fields = &room.fields;
            fields
                .iter()
                .any(|(name, field)| *name == "signed_tokens" && matches!(field, RoomField::Flag(true)))
        };
        if mcu.token_secret.is_none()
            && let Some(room) = mcu.rooms.iter().find(is_signed)
        {
            let text = "has signed_tokens, which are not asked for without mcu.token_secret: anybody could join";
            self.say(Severity::Error, "mcu.rooms", &room.id, text);
        }
    }

    /// Ids of rooms are what `mcu.string_ids` says, each once.
    fn rooms(&mut self, settings: &Settings) {
        let is_number = |id: &str| id.parse::<u64>().is_ok_and(|number| number > 0);
        for (index, room) in settings.mcu.rooms.iter().enumerate() {
            if !settings.mcu.string_ids && !is_number(&room.id) {
                let text = "is no positive whole number, as ids of rooms are unless mcu.string_ids is on";
                self.say(Severity::Error, "mcu.rooms", &room.id, text);
            }
            if settings.mcu.rooms[..index].iter().any(|other| other.id == room.id) {
                self.say(Severity::Error, "mcu.rooms", &room.id, "is the id of two rooms");
            }
        }
    }

    fn pools(&mut self, settings: &Settings) {
        let (media, relay) = (settings.media.ports, settings.turn.relay_ports);
        if settings.turn.enabled && media.overlaps(relay) {
            let text = format!("overlaps turn.relay_ports {relay}; the two pools must not share a port");
            self.say(Severity::Error, "media.ports", &media.to_string(), &text);
        }
        if media.last - media.first < 9 {
            self.say(
                Severity::Error,
                "media.ports",
                &media.to_string(),
                "at least ten ports are needed",
            );
        }
        for port in settings.turn.ports() {
            self.listener_outside_pools(port, [media, relay]);
        }
        if EXPORTER_PORTS.contains(&settings.http.listen.port()) {
            let listen = settings.http.listen.to_string();
            self.say(
                Severity::Warning,
                "http.listen",
                &listen,
                "9100 and 9200 belong to the exporters of the CTS",
            );
        }
    }

    fn listener_outside_pools(&mut self, port: u16, pools: [PortRange; 2]) {
        if pools.iter().any(|pool| pool.contains(port)) {
            let text = "lies inside media.ports or turn.relay_ports; a busy host may have lent it out before a restart";
            self.say(Severity::Warning, "turn.ports.plain", &port.to_string(), text);
        }
    }

    fn passwords(&mut self, settings: &Settings) {
        let of = |target: &Option<RedisTarget>| target.as_ref().and_then(|target| target.password.clone());
        let redis = [
            ("turn.users.redis", of(&settings.turn.users_redis)),
            ("turn.stats.redis", of(&settings.turn.stats_redis)),
            ("redis_options", settings.voex.redis_endpoint_password.clone()),
        ];
        let others = settings
            .turn
            .users_static
            .iter()
            .map(|(_, password)| ("turn.users.static", password.clone()));
        let secrets = settings
            .turn
            .users_secrets
            .iter()
            .map(|secret| ("turn.users.secrets", secret.clone()));
        let redis_passwords = redis.into_iter().filter_map(|(key, password)| Some((key, password?)));
        let redis_passwords: Vec<(&str, Secret)> = redis_passwords.collect();
        for (key, password) in redis_passwords.iter().cloned().chain(others).chain(secrets) {
            if password.reveal() == EXAMPLE_PASSWORD {
                self.say(
                    Severity::Warning,
                    key,
                    "",
                    "the password is the example of the guide; replace it now",
                );
            }
        }
        if let Some((first, rest)) = redis_passwords.split_first()
            && let Some((key, _)) = rest.iter().find(|(_, password)| *password != first.1)
        {
            let text = format!(
                "its password is another one than that of {}; the CTS knows only one",
                first.0
            );
            self.say(Severity::Warning, key, "", &text);
        }
    }

    /// A user has a password or a key; of two, one would be meant and the other would count.
    fn user_keys(&mut self, settings: &Settings) {
        let turn = &settings.turn;
        let has_password = |name: &String| turn.users_static.iter().any(|(user, _)| user == name);
        for (name, _) in turn.users_keys.iter().filter(|(name, _)| has_password(name)) {
            let text = format!("{name:?} stands in turn.users.static too; remove one of the two");
            self.say(Severity::Error, "turn.users.keys", "", &text);
        }
    }

    fn certificate(&mut self, settings: &Settings) {
        let tls = &settings.tls;
        for (key, missing) in [("tls.certificate", "tls.key"), ("tls.key", "tls.certificate")] {
            let (has, lacks) = match key {
                "tls.key" => (tls.key.is_some(), tls.certificate.is_none()),
                _ => (tls.certificate.is_some(), tls.key.is_none()),
            };
            if has && lacks {
                self.say(Severity::Error, key, "", &format!("needs {missing} beside it"));
            }
        }
        if settings.voex.le_email.is_some() && tls.certificate.is_none() {
            let text = "certificates are not fetched; supply them as files under tls.certificate and tls.key";
            self.say(Severity::Notice, "le_email", "", text);
        }
        if !settings.voex.images.is_empty() {
            self.say(
                Severity::Notice,
                "images",
                "",
                "pins container versions of the deployment tool; no effect here",
            );
        }
    }

    fn sip(&mut self, settings: &Settings) {
        for listen in &settings.sip.listen {
            if listen.transport != SipTransport::Udp {
                let text = "not built yet: SIP over tcp and tls; this listener is left out";
                self.say(Severity::Notice, "sip.listen", &listen.to_string(), text);
            }
        }
    }

    fn file(&mut self, settings: &Settings) {
        let legacy = self.given.iter().any(|given| {
            crate::key::find(&given.written).is_some_and(|key| key.voex.contains(&given.written.as_str()))
        });
        if legacy && self.place("project_type") == Place::Nowhere {
            self.say(
                Severity::Warning,
                "project_type",
                "",
                "is missing; write project_type: express-voice",
            );
        }
        let turn = &settings.turn;
        let no_tokens = !turn.oauth || turn.users_tokens.is_empty();
        let no_stored = turn.users_redis.is_none();
        let nobody = turn.users_static.is_empty() && turn.users_keys.is_empty() && turn.users_secrets.is_empty();
        if turn.enabled && nobody && no_tokens && no_stored {
            let text = "there is no user from turn.users.static, keys, secrets, tokens or redis: every allocation will be \
                        refused";
            self.say(Severity::Warning, "turn.users", "", text);
        }
    }

    fn say(&mut self, severity: Severity, key: &str, value: &str, text: &str) {
        let given = self.given.iter().find(|given| given.key == key);
        let (written, place) = given.map_or((key, Place::Nowhere), |given| (given.written.as_str(), given.place));
        self.report.push(severity, place, written, value, text);
    }

    fn place(&self, key: &str) -> Place {
        self.given
            .iter()
            .find(|given| given.key == key)
            .map_or(Place::Nowhere, |given| given.place)
    }
}

/// Tells whether the world may reach an address: neither loopback, nor link-local, nor of a private range.
fn is_public(address: IpAddr) -> bool {
    match voex_base::canonical_ip(address) {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}
