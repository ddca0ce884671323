//! [`Description`] to text.

use std::fmt::{self, Write as _};

use crate::attribute::{Attribute, Bandwidth, Ice};
use crate::description::{Description, Media};
use crate::payload::Payload;

impl fmt::Display for Description {
    /// Writes the lines, each ended by CR LF. Control characters inside a value are left out, so no value can begin a
    /// line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text(String::with_capacity(2_048));
        text.session(self);
        for media in &self.media {
            text.media(media, self);
        }
        f.write_str(&text.0)
    }
}

struct Text(String);

macro_rules! line {
    ($text:expr, $($argument:tt)*) => { $text.line(format_args!($($argument)*)) };
}

impl Text {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        let start = self.0.len();
        // Writing to a String fails only when a Display of ours does, and none does.
        let _ = self.0.write_fmt(line);
        if self.0[start..].contains(|c: char| c.is_ascii_control() && c != '\t') {
            let clean: String = self.0[start..]
                .chars()
                .filter(|c| !c.is_ascii_control() || *c == '\t')
                .collect();
            self.0.truncate(start);
            self.0.push_str(&clean);
        }
        self.0.push_str("\r\n");
    }

    fn session(&mut self, d: &Description) {
        let (origin, name) = (&d.origin, &d.session_name);
        line!(self, "v=0");
        line!(
            self,
            "o={} {} {} {}",
            origin.username,
            origin.session_id,
            origin.version,
            origin.connection
        );
        line!(self, "s={}", if name.is_empty() { "-" } else { name });
        if let Some(connection) = &d.connection {
            line!(self, "c={connection}");
        }
        self.bandwidth(&d.bandwidth);
        line!(self, "t=0 0");
        if !d.bundle.is_empty() {
            line!(self, "a=group:BUNDLE {}", d.bundle.join(" "));
        }
        self.ice(d.ice.as_ref());
        self.optional("ice-options", d.ice_options.as_ref());
        self.optional("fingerprint", d.fingerprint.as_ref());
        self.optional("setup", d.setup.map(|setup| setup.name()).as_ref());
        self.flag("extmap-allow-mixed", d.extmap_allow_mixed);
        self.optional(
            "msid-semantic",
            d.msid_semantic.as_ref().map(|semantic| format!(" {semantic}")).as_ref(),
        );
        self.attributes(&d.attributes);
        self.flag("ice-lite", d.ice_lite);
    }

    fn media(&mut self, m: &Media, session: &Description) {
        self.media_line(m);
        if let Some(connection) = m.connection.as_ref().filter(|c| session.connection.as_ref() != Some(c)) {
            line!(self, "c={connection}");
        }
        self.bandwidth(&m.bandwidth);
        line!(self, "a={}", m.direction.name());
        self.optional("mid", m.mid.as_ref());
        self.flag("bundle-only", m.bundle_only);
        self.optional("sctp-port", m.sctp_port.as_ref());
        self.optional("max-message-size", m.max_message_size.as_ref());
        self.optional("rtcp", m.rtcp.as_ref());
        self.flag("rtcp-mux", m.rtcp_mux);
        self.flag("rtcp-rsize", m.rtcp_rsize);
        self.security(m, session);
        for payload in m.payloads.iter().filter(|p| p.apt().is_none()) {
            self.payload(payload);
        }
        self.optional("ptime", m.ptime.as_ref());
        self.optional("maxptime", m.maxptime.as_ref());
        self.flag(
            "extmap-allow-mixed",
            m.extmap_allow_mixed && !session.extmap_allow_mixed,
        );
        self.extmaps(m);
        for payload in m.payloads.iter().filter(|p| p.apt().is_some()) {
            self.payload(payload);
        }
        self.streams(m);
        self.attributes(&m.attributes);
        for candidate in &m.candidates {
            line!(self, "a=candidate:{candidate}");
        }
        self.flag("end-of-candidates", m.end_of_candidates);
    }

    fn media_line(&mut self, m: &Media) {
        let mut formats = String::new();
        for payload in &m.payloads {
            let _ = write!(formats, " {}", payload.payload_type);
        }
        for format in &m.formats {
            let _ = write!(formats, " {format}");
        }
        line!(self, "m={} {} {}{formats}", m.kind.name(), m.port, m.protocol);
    }

    fn security(&mut self, m: &Media, session: &Description) {
        self.ice(m.ice.as_ref().filter(|ice| session.ice.as_ref() != Some(ice)));
        self.optional("ice-options", m.ice_options.as_ref());
        self.optional(
            "fingerprint",
            m.fingerprint
                .as_ref()
                .filter(|fp| session.fingerprint.as_ref() != Some(fp)),
        );
        self.optional(
            "setup",
            m.setup.filter(|s| session.setup != Some(*s)).map(|s| s.name()).as_ref(),
        );
        for crypto in &m.crypto {
            line!(self, "a=crypto:{} {} {}", crypto.tag, crypto.suite, crypto.keys);
        }
    }

    fn payload(&mut self, p: &Payload) {
        let number = p.payload_type;
        if !p.name.is_empty() {
            match p.channels {
                1 => line!(self, "a=rtpmap:{number} {}/{}", p.name, p.clock_rate),
                channels => line!(self, "a=rtpmap:{number} {}/{}/{channels}", p.name, p.clock_rate),
            }
        }
        if let Some(fmtp) = &p.fmtp {
            line!(self, "a=fmtp:{number} {fmtp}");
        }
        for message in &p.rtcp_fb {
            line!(self, "a=rtcp-fb:{number} {message}");
        }
    }

    fn extmaps(&mut self, m: &Media) {
        for extmap in &m.extmaps {
            let direction = extmap.direction.map(|d| format!("/{}", d.name())).unwrap_or_default();
            let blank = if extmap.attributes.is_empty() { "" } else { " " };
            line!(
                self,
                "a=extmap:{}{direction} {}{blank}{}",
                extmap.id,
                extmap.uri,
                extmap.attributes
            );
        }
    }

    fn streams(&mut self, m: &Media) {
        for rid in &m.rids {
            let direction = if rid.send { "send" } else { "recv" };
            let blank = if rid.restrictions.is_empty() { "" } else { " " };
            line!(self, "a=rid:{} {direction}{blank}{}", rid.id, rid.restrictions);
        }
        self.optional("simulcast", m.simulcast.as_ref());
        self.optional("msid", m.msid.as_ref());
        for ssrc in &m.ssrcs {
            let number = ssrc.ssrc;
            if let Some(cname) = &ssrc.cname {
                line!(self, "a=ssrc:{number} cname:{cname}");
            }
            if let Some(msid) = &ssrc.msid {
                line!(self, "a=ssrc:{number} msid:{msid}");
            }
            if ssrc.cname.is_none() && ssrc.msid.is_none() {
                line!(self, "a=ssrc:{number}");
            }
        }
        for group in &m.ssrc_groups {
            let members: Vec<String> = group.ssrcs.iter().map(u32::to_string).collect();
            line!(self, "a=ssrc-group:{} {}", group.semantics, members.join(" "));
        }
    }

    fn bandwidth(&mut self, list: &[Bandwidth]) {
        for bandwidth in list {
            line!(self, "b={}:{}", bandwidth.kind, bandwidth.value);
        }
    }

    fn ice(&mut self, ice: Option<&Ice>) {
        self.optional("ice-ufrag", ice.map(|ice| &ice.ufrag));
        self.optional("ice-pwd", ice.map(|ice| &ice.pwd));
    }

    fn attributes(&mut self, list: &[Attribute]) {
        for attribute in list {
            match &attribute.value {
                Some(value) => line!(self, "a={}:{value}", attribute.name),
                None => line!(self, "a={}", attribute.name),
            }
        }
    }

    fn optional(&mut self, name: &str, value: Option<&impl fmt::Display>) {
        if let Some(value) = value {
            line!(self, "a={name}:{value}");
        }
    }

    fn flag(&mut self, name: &str, set: bool) {
        if set {
            line!(self, "a={name}");
        }
    }
}
