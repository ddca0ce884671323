//! Dialog state (RFC 3261 §12): who speaks to whom, by which route, with which sequence numbers.

use voex_sip_wire::{Error, Essentials, Header, HeaderFields, Method, NameAddr, Request, Uri};

/// One side of a dialog, early or confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our From or To, tag included.
    pub(crate) local: NameAddr,
    /// Theirs; the tag comes with their first answer.
    pub(crate) remote: NameAddr,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
    /// Number of their last INVITE: its ACK and PRACKs name it.
    pub(crate) invite_cseq: u32,
    route_set: Vec<NameAddr>,
    pub(crate) remote_target: Uri,
}

/// Most Route entries kept of a Record-Route.
const ROUTES_MAX: usize = 32;

impl Dialog {
    /// Begins a dialog with an INVITE of ours to `target`, through `proxy` if there is one.
    pub(crate) fn to_call(call_id: String, local: NameAddr, target: Uri, proxy: Option<NameAddr>, cseq: u32) -> Self {
        Self {
            call_id,
            local,
            remote: NameAddr::new(target.clone()),
            local_cseq: cseq,
            remote_cseq: None,
            invite_cseq: 0,
            route_set: proxy.into_iter().collect(),
            remote_target: target,
        }
    }

    /// Begins a dialog with an INVITE of theirs. Without Contact (RFC 2543) the target is the URI in From.
    pub(crate) fn of_invite(
        request: &Request,
        essentials: &Essentials,
        local_tag: &str,
        cseq: u32,
    ) -> Result<Self, Error> {
        let mut local = essentials.to.clone();
        local.params.set("tag", Some(local_tag.to_owned()));
        Ok(Self {
            call_id: essentials.call_id.clone(),
            local,
            remote: essentials.from.clone(),
            local_cseq: cseq,
            remote_cseq: Some(essentials.cseq.number),
            invite_cseq: essentials.cseq.number,
            route_set: record_routes(&request.headers)?,
            remote_target: contact(&request.headers)?.unwrap_or_else(|| essentials.from.uri.clone()),
        })
    }

    /// Takes tag, route set and target from an answer to our INVITE. What of it does not parse is left as it was.
    pub(crate) fn learn(&mut self, headers: &HeaderFields, to: &NameAddr) {
        self.remote = to.clone();
        if let Ok(mut routes) = record_routes(headers) {
            routes.reverse();
            self.route_set = routes;
        }
        self.refresh_target(headers);
    }

    /// Takes a new target from a target refresh request or its 2xx.
    pub(crate) fn refresh_target(&mut self, headers: &HeaderFields) {
        if let Ok(Some(target)) = contact(headers) {
            self.remote_target = target;
        }
    }

    /// Counts up our sequence number and gives it.
    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Makes a request within the dialog, without Via (RFC 3261 §12.2.1.1).
    pub(crate) fn request(&self, method: Method, cseq: u32) -> Request {
        let strict = self.route_set.first().filter(|first| !is_loose(first));
        let uri = strict.map_or(&self.remote_target, |first| &first.uri);
        let mut request = Request::new(method, without_headers(uri));
        let headers = &mut request.headers;
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            headers.push(Header::Route, route.to_string());
        }
        if strict.is_some() {
            headers.push(Header::Route, NameAddr::new(self.remote_target.clone()).to_string());
        }
        headers.push(Header::MaxForwards, "70");
        headers.push(Header::From, self.local.to_string());
        headers.push(Header::To, self.remote.to_string());
        headers.push(Header::CallId, self.call_id.as_str());
        headers.push(Header::CSeq, format!("{cseq} {}", request.method));
        request
    }

    pub(crate) fn local_tag(&self) -> &str {
        self.local.tag().unwrap_or_default()
    }
}

/// Gives the URI of the first Contact.
fn contact(headers: &HeaderFields) -> Result<Option<Uri>, Error> {
    let bad = Error::Bad(Header::Contact);
    match headers.list(Header::Contact)?.first() {
        Some(first) => Ok(Some(NameAddr::parse(first).map_err(|_| bad)?.uri)),
        None => Ok(None),
    }
}

fn record_routes(headers: &HeaderFields) -> Result<Vec<NameAddr>, Error> {
    let bad = Error::Bad(Header::RecordRoute);
    let elements = headers.list(Header::RecordRoute)?;
    if elements.len() > ROUTES_MAX {
        return Err(bad);
    }
    elements
        .into_iter()
        .map(|route| NameAddr::parse(route).map_err(|_| bad))
        .collect()
}

fn is_loose(route: &NameAddr) -> bool {
    route.uri.as_sip().is_none_or(|uri| uri.params.has("lr"))
}

/// A Request-URI must not carry header fields, whatever a Contact said.
pub(crate) fn without_headers(uri: &Uri) -> Uri {
    let mut uri = uri.clone();
    if let Uri::Sip(sip) = &mut uri {
        sip.headers = None;
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    fn answered(record_route: &str) -> Dialog {
        let local = NameAddr::parse("<sip:a@h>;tag=1").unwrap();
        let mut dialog = Dialog::to_call("c".into(), local, uri("sip:b@h"), None, 7);
        let mut headers = HeaderFields::new();
        headers.push(Header::Contact, "<sip:b@10.0.0.9:5070>");
        headers.push(Header::RecordRoute, record_route);
        dialog.learn(&headers, &NameAddr::parse("<sip:b@h>;tag=2").unwrap());
        dialog
    }

    fn routes(request: &Request) -> Vec<&str> {
        request.headers.all(Header::Route).collect()
    }

    #[test]
    fn the_caller_follows_the_record_route_backwards() {
        let request = answered("<sip:p1;lr>, <sip:p2;lr>").request(Method::Bye, 8);
        assert_eq!(request.uri, uri("sip:b@10.0.0.9:5070"));
        assert_eq!(routes(&request), ["<sip:p2;lr>", "<sip:p1;lr>"]);
        assert_eq!(request.headers.get(Header::To), Some("<sip:b@h>;tag=2"));
        assert_eq!(request.headers.get(Header::CSeq), Some("8 BYE"));
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri_and_the_target_the_last_route() {
        let request = answered("<sip:p1;lr>, <sip:p2>").request(Method::Bye, 8);
        assert_eq!(request.uri, uri("sip:p2"));
        assert_eq!(routes(&request), ["<sip:p1;lr>", "<sip:b@10.0.0.9:5070>"]);
    }

    #[test]
    fn an_answer_without_contact_keeps_the_target() {
        let mut dialog = answered("");
        dialog.learn(&HeaderFields::new(), &NameAddr::parse("<sip:b@h>;tag=2").unwrap());
        assert_eq!(dialog.remote_target, uri("sip:b@10.0.0.9:5070"));
    }
}
