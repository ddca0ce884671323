//! What the console shows: the pages with their figures, and where everything listens.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use voex_base::Protocol;
use voex_config::Settings;
use voex_telemetry::{Gate, LogControl, Pages, Process, role};

use crate::addresses::Addresses;
use crate::certificate::CertificateFigures;
use crate::coturn_figures::CoturnFigures;
use crate::figures::{Listeners, Loops, Recordings, State, Status};
use crate::host::Bound;
use crate::media::{self, Media};
use crate::redis_figures::RedisFigures;
use crate::turn_sessions::Sessions;

/// Makes the pages and registers every figure.
pub(crate) fn pages(
    state: &Arc<State>,
    status: &Arc<Status>,
    settings: &watch::Receiver<Arc<Settings>>,
    listeners: Listeners,
    sessions: &Arc<Sessions>,
    logging: &LogControl,
) -> Pages {
    let (health, figures) = (state.clone(), status.clone());
    let shown = status.clone();
    let gate = SettingsGate {
        settings: settings.clone(),
        host: media::host_name().to_ascii_lowercase(),
    };
    let mut pages = Pages::new(
        move || health.health(figures.relay_ports_percent()),
        move || shown.to_json(),
        gate,
    );
    let media = &status.media;
    pages.register(Process {
        version: env!("CARGO_PKG_VERSION"),
        dropped_log_lines: logging.dropped_lines(),
    });
    pages.register(role::Turn(media.turn.clone()));
    pages.register(CoturnFigures {
        shards: media.turn.clone(),
        sessions: sessions.clone(),
    });
    pages.register(RedisFigures(state.redis.clone()));
    pages.register(CertificateFigures(state.certificate.clone()));
    pages.register(role::Sfu(media.sfu.clone()));
    pages.register(role::Transports(
        media.sfu.iter().map(|sfu| sfu.transport.clone()).collect(),
    ));
    pages.register(role::Workers(media.workers.clone()));
    pages.register(role::Janus(status.janus.clone()));
    pages.register(role::Sip(status.sip.clone()));
    pages.register(Loops(media.net.clone()));
    pages.register(Recordings(status.recorder.clone()));
    pages.register(listeners);
    pages
}

/// Lets in whom the settings in force let in.
struct SettingsGate {
    settings: watch::Receiver<Arc<Settings>>,
    host: String,
}

impl Gate for SettingsGate {
    fn may_read(&self, client: IpAddr) -> bool {
        self.settings.borrow().may_read_console(client)
    }

    fn may_manage(&self, client: IpAddr) -> bool {
        self.settings.borrow().may_manage(client)
    }

    fn is_own_name(&self, name: &str) -> bool {
        let settings = self.settings.borrow();
        let given = settings.http.names.iter().chain(&settings.turn.realm);
        name == self.host || given.into_iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Names every listener and where it is.
pub(crate) fn listeners(
    settings: &Settings,
    addresses: &Addresses,
    bound: &Bound,
    media: &Media,
) -> Vec<(String, String)> {
    let joined = |items: Vec<String>| items.join(", ");
    let mut lines = Vec::new();
    let turn = media.workers.turn_listeners();
    if !turn.is_empty() {
        let carried = Protocol::ALL.into_iter();
        let carried = carried.filter(|protocol| settings.turn.transports.contains(protocol));
        let over = carried.map(Protocol::name).collect::<Vec<_>>().join("+");
        let at = turn.iter().map(|at| format!("{at}/{over}")).collect();
        lines.push(("STUN and TURN".to_owned(), joined(at)));
        let shown = |relay: &voex_turn::RelayAddress| match relay.local == relay.public {
            true => relay.local.to_string(),
            false => format!("{} as {}", relay.local, relay.public),
        };
        let on = joined(addresses.relays.iter().map(shown).collect());
        let over = if settings.turn.tcp_relays { "udp+tcp" } else { "udp" };
        lines.push((
            "TURN relays".to_owned(),
            format!("{}/{over} on {on}", settings.turn.relay_ports),
        ));
    }
    let sockets = media.workers.media_sockets();
    if !sockets.is_empty() {
        let at = sockets.iter().map(|socket| format!("{}/udp", socket.local)).collect();
        lines.push(("conference media".to_owned(), joined(at)));
    }
    let tcp = |listener: &TcpListener| listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
    if let Some(api) = &bound.api {
        lines.push(("Janus API".to_owned(), format!("ws://{}", tcp(api))));
    }
    if let Some(admin) = &bound.admin {
        lines.push(("Janus admin API".to_owned(), format!("ws://{}", tcp(admin))));
    }
    for listen in bound.sip.listens() {
        lines.push(("SIP".to_owned(), format!("udp:{}", listen.advertised)));
    }
    lines.push((
        "metrics, health, console".to_owned(),
        format!("http://{}", tcp(&bound.http)),
    ));
    lines
}
