//! What is written and published about a session, by coturn's words.

use redis::Pipeline;
use voex_base::Protocol;
use voex_turn::{Flow, Session};

use crate::keys;

/// The names under which a session is known, and the part of its status that never changes.
pub(crate) struct Names {
    /// Status key, and the channel of the same name.
    pub(crate) status: Vec<u8>,
    /// Set of the status keys that we have written.
    index: Vec<u8>,
    traffic: Vec<u8>,
    traffic_peer: Vec<u8>,
    total: Vec<u8>,
    total_peer: Vec<u8>,
    path: String,
}

impl Names {
    pub(crate) fn new(session: &Session, server: &str) -> Self {
        let prefix = keys::session(session);
        let name = |end: &str| [&prefix[..], end.as_bytes()].concat();
        Self {
            status: name("status"),
            index: keys::index(server),
            traffic: name("traffic"),
            traffic_peer: name("traffic/peer"),
            total: name("total_traffic"),
            total_peer: name("total_traffic/peer"),
            path: path(session),
        }
    }

    /// Writes the status key anew; nobody is told.
    pub(crate) fn write(&self, refreshed_s: Option<u32>, lifetime_s: u32, out: &mut Pipeline) {
        let status = match refreshed_s {
            None => self.status("new", lifetime_s),
            Some(refreshed_s) => self.status("refreshed", refreshed_s),
        };
        out.cmd("set").arg(&self.status).arg(status);
        out.cmd("sadd").arg(&self.index).arg(&self.status);
    }

    pub(crate) fn began(&self, lifetime_s: u32, out: &mut Pipeline) {
        let status = self.status("new", lifetime_s);
        out.cmd("set").arg(&self.status).arg(&status);
        out.cmd("publish").arg(&self.status).arg(&status);
        out.cmd("sadd").arg(&self.index).arg(&self.status);
    }

    /// A refresh to 0 is written too, although the delete follows.
    pub(crate) fn refreshed(&self, lifetime_s: u32, out: &mut Pipeline) {
        let status = self.status("refreshed", lifetime_s);
        out.cmd("set").arg(&self.status).arg(&status);
        out.cmd("publish").arg(&self.status).arg(&status);
    }

    pub(crate) fn traffic(&self, client: Flow, peer: Flow, out: &mut Pipeline) {
        out.cmd("publish").arg(&self.traffic).arg(flow(client));
        out.cmd("publish").arg(&self.traffic_peer).arg(flow(peer));
    }

    pub(crate) fn ended(&self, last: (Flow, Flow), total: (Flow, Flow), out: &mut Pipeline) {
        self.traffic(last.0, last.1, out);
        out.cmd("del").arg(&self.status);
        out.cmd("publish").arg(&self.status).arg("deleted");
        out.cmd("publish").arg(&self.total).arg(flow(total.0));
        out.cmd("publish").arg(&self.total_peer).arg(flow(total.1));
        out.cmd("srem").arg(&self.index).arg(&self.status);
    }

    /// Deletes the status key; nobody is told.
    pub(crate) fn left(&self, out: &mut Pipeline) {
        out.cmd("del").arg(&self.status);
        out.cmd("srem").arg(&self.index).arg(&self.status);
    }

    fn status(&self, word: &str, lifetime_s: u32) -> String {
        format!("{word} lifetime={lifetime_s}, {}", self.path)
    }
}

fn path(session: &Session) -> String {
    let transport = match session.path.protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
        Protocol::Tls => "TLS/TCP",
        Protocol::Dtls => "DTLS",
    };
    let (version, cipher) = match session.path.tls {
        Some(tls) => (tls.version, tls.cipher),
        None => ("NONE", "NONE"),
    };
    format!(
        "type={transport}, local={}, remote={}, ssl={version}, cipher={cipher}",
        session.path.local, session.client
    )
}

fn flow(flow: Flow) -> String {
    format!(
        "rcvp={}, rcvb={}, sentp={}, sentb={}",
        flow.received_packets, flow.received_bytes, flow.sent_packets, flow.sent_bytes
    )
}

#[cfg(test)]
mod tests {
    use redis::Arg;
    use voex_turn::TlsSession;

    use super::*;
    use crate::test_session;

    /// The commands as MONITOR shows them, with the session's prefix cut short.
    fn shown(write: impl FnOnce(&Names, &mut Pipeline)) -> Vec<String> {
        let mut out = redis::pipe();
        write(&Names::new(&test_session(1, "gorst"), "here"), &mut out);
        let word = |arg: Arg<&[u8]>| match arg {
            Arg::Simple(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => panic!("no cursors here"),
        };
        let short = |text: String| text.replace("turn/realm/voex.test/user/gorst/allocation/000000000000000001/", "~");
        out.cmd_iter()
            .map(|command| short(command.args_iter().map(word).collect::<Vec<_>>().join(" | ")))
            .collect()
    }

    const FLOW: Flow = Flow {
        received_packets: 1029,
        received_bytes: 178_418,
        sent_packets: 1030,
        sent_bytes: 178_146,
    };

    #[test]
    fn a_session_s_life_is_told_in_the_words_of_coturn() {
        let path = "type=UDP, local=127.0.0.1:3478, remote=127.0.0.1:5000, ssl=NONE, cipher=NONE";
        let status = |words: &str| format!("~status | {words}, {path}");
        assert_eq!(
            shown(|names, out| names.began(777, out)),
            [
                format!("set | {}", status("new lifetime=777")),
                format!("publish | {}", status("new lifetime=777")),
                "sadd | voex/turn/here/status | ~status".to_owned(),
            ]
        );
        for lifetime_s in [600, 0] {
            let words = format!("refreshed lifetime={lifetime_s}");
            assert_eq!(
                shown(|names, out| names.refreshed(lifetime_s, out)),
                ["set", "publish"].map(|command| format!("{command} | {}", status(&words)))
            );
        }
        let counts = "rcvp=1029, rcvb=178418, sentp=1030, sentb=178146";
        let nothing = "rcvp=0, rcvb=0, sentp=0, sentb=0";
        let none = Flow::default();
        assert_eq!(
            shown(|names, out| names.ended((none, FLOW), (FLOW, none), out)),
            [
                format!("publish | ~traffic | {nothing}"),
                format!("publish | ~traffic/peer | {counts}"),
                "del | ~status".to_owned(),
                "publish | ~status | deleted".to_owned(),
                format!("publish | ~total_traffic | {counts}"),
                format!("publish | ~total_traffic/peer | {nothing}"),
                "srem | voex/turn/here/status | ~status".to_owned(),
            ]
        );
    }

    #[test]
    fn a_status_that_is_written_again_says_what_was_granted_last() {
        let refreshed = shown(|names, out| names.write(Some(600), 777, out));
        assert!(refreshed[0].starts_with("set | ~status | refreshed lifetime=600, "));
        let new = shown(|names, out| names.write(None, 777, out));
        assert!(new[0].starts_with("set | ~status | new lifetime=777, "));
    }

    #[test]
    fn the_path_of_a_tls_client_over_ipv6_is_written_as_coturn_does() {
        let mut session = test_session(1, "gorst");
        session.path.protocol = Protocol::Tls;
        session.path.local = "[2001:db8::1]:5349".parse().unwrap();
        session.client = "[2001:db8::2]:40000".parse().unwrap();
        session.path.tls = Some(TlsSession {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
        });
        assert_eq!(
            path(&session),
            "type=TLS/TCP, local=[2001:db8::1]:5349, remote=[2001:db8::2]:40000, ssl=TLSv1.3, \
             cipher=TLS_AES_256_GCM_SHA384"
        );
    }
}
