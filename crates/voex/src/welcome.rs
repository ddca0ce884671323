//! What the embedded default tells whoever started it: what is where, and how to try it.

use std::io::Write as _;

use voex_config::Settings;

use crate::addresses::Addresses;

/// Prints to stdout; logs go to stderr.
pub(crate) fn print(settings: &Settings, addresses: &Addresses, user: &str, password: &str) {
    let turn = addresses.turn.first().copied().unwrap_or_else(|| addresses.primary());
    let port = settings.turn.plain_ports.first().copied().unwrap_or(3478);
    let mut text = format!(
        "\nvoex runs on its embedded default: users live in memory, certificates were made now.\n\n\
         TURN       turn:{turn}:{port}   user {user}   password {password}\n"
    );
    if settings.mcu.enabled {
        text += &format!(
            "Janus API  ws://{}   sub-protocol janus-protocol\n",
            settings.mcu.ws_listen
        );
    }
    if settings.sip.enabled {
        let listen = settings
            .sip
            .listen
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        text += &format!("SIP        {listen}\n");
    }
    text += &format!(
        "console    http://{0}/   metrics http://{0}/metrics   health http://{0}/health\n\n\
         try it     turnutils_uclient -y -u {user} -w {password} -p {port} {turn}\n\
         \x20          curl http://{0}/api/v1/status\n\
         stop it    Ctrl-C\n\n",
        settings.http.listen
    );
    // Nobody may be reading; the log says where everything is too.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
