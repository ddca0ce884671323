//! The 49 messages of RFC 4475, byte for byte: which are read and as what, and why the others are refused.

use std::fs;
use std::path::{Path, PathBuf};

use voex_sip_wire::{Error, Essentials, Header, Host, Message, Method, NameAddr, Request, Response};

const READ: [&str; 30] = [
    "badaspec",
    "badbranch",
    "baddate",
    "bcast",
    "bext01",
    "cparam01",
    "cparam02",
    "dblreq",
    "esc01",
    "esc02",
    "escnull",
    "intmeth",
    "inv2543",
    "invut",
    "longreq",
    "lwsdisp",
    "mpart01",
    "noreason",
    "novelsc",
    "regaut01",
    "regbadct",
    "regescrt",
    "sdp01",
    "semiuri",
    "transports",
    "unkscm",
    "unksm2",
    "unreason",
    "wsinv",
    "zeromf",
];

const REFUSED: [(&str, Error, u16); 17] = [
    ("baddn", Error::HeadUnfinished, 400),
    ("badinv01", Error::Bad(Header::Via), 400),
    ("badvers", Error::BadVersion, 505),
    ("clerr", Error::BodyShort, 400),
    ("escruri", Error::HeadersInRequestUri, 400),
    ("insuf", Error::Missing(Header::CallId), 400),
    ("ltgtruri", Error::BadUri, 400),
    ("lwsruri", Error::BadStartLine, 400),
    ("lwsstart", Error::BadStartLine, 400),
    ("mcl01", Error::Repeated(Header::ContentLength), 400),
    ("mismatch01", Error::MethodMismatch, 400),
    ("mismatch02", Error::MethodMismatch, 400),
    ("multi01", Error::Repeated(Header::CallId), 400),
    ("ncl", Error::Bad(Header::ContentLength), 400),
    ("quotbal", Error::Bad(Header::To), 400),
    ("scalar02", Error::Bad(Header::CSeq), 400),
    ("trws", Error::BadStartLine, 400),
];

/// Responses are never answered.
const DROPPED: [(&str, Error); 2] = [("bigcode", Error::BadStartLine), ("scalarlg", Error::Bad(Header::CSeq))];

#[test]
fn good_messages_are_read() {
    for name in READ {
        assert!(Message::parse(&read(name)).is_ok(), "{name}");
    }
}

#[test]
fn bad_requests_are_refused_with_their_reason_and_can_be_answered() {
    for (name, error, status) in REFUSED {
        let malformed = Message::parse(&read(name)).unwrap_err();
        assert_eq!((malformed.error, malformed.error.status()), (error, status), "{name}");
        let headers = malformed.answerable.unwrap();
        assert!(
            Response::answering(&headers, status, None)
                .headers
                .get(Header::Via)
                .is_some(),
            "{name}"
        );
    }
}

#[test]
fn bad_responses_are_dropped() {
    for (name, error) in DROPPED {
        let malformed = Message::parse(&read(name)).unwrap_err();
        assert_eq!((malformed.error, malformed.answerable), (error, None), "{name}");
    }
}

#[test]
fn every_message_stands_in_one_table() {
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let refused = REFUSED.iter().map(|(name, ..)| *name);
    let dropped = DROPPED.iter().map(|(name, _)| *name);
    let mut listed: Vec<_> = READ.into_iter().chain(refused).chain(dropped).collect();
    listed.sort_unstable();
    assert_eq!((listed.len(), listed), (49, names.iter().map(String::as_str).collect()));
}

#[test]
fn wsinv_is_read_through_its_folds_and_compact_names() {
    let (request, essentials) = request("wsinv");
    assert_eq!(essentials.to.tag(), Some("1918181833n"));
    assert_eq!(essentials.from.display_name.as_deref(), Some(r#""J Rosenberg \\\"""#));
    assert_eq!((essentials.cseq.number, essentials.via_count), (9, 3));
    assert_eq!(essentials.via.host, Host::Address("192.0.2.2".parse().unwrap()));
    assert_eq!(request.headers.get(Header::Subject), Some(""));
    assert_eq!(
        request.headers.get_by_name("newfangledheader"),
        Some("newfangled value continued newfangled value")
    );
    assert_eq!(
        request.headers.get_by_name("UnknownHeaderWithUnusualValue"),
        Some(";;,,;;,;")
    );
    let contact = NameAddr::parse(request.headers.get(Header::Contact).unwrap()).unwrap();
    assert_eq!(contact.params.value("newparam"), Some("newvalue"));
    assert_eq!(request.body.len(), 150);
}

#[test]
fn intmeth_keeps_its_method_and_its_escaped_control_characters() {
    let (request, essentials) = request("intmeth");
    assert_eq!(request.method.as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert!(essentials.to.display_name.unwrap().contains('\0'));
    assert_eq!(essentials.from.tag(), Some("_token~1'+`*%!-."));
}

#[test]
fn esc01_has_one_uri_whose_user_looks_like_another() {
    let (request, _) = request("esc01");
    let uri = request.uri.as_sip().unwrap();
    assert!(!uri.secure);
    assert_eq!(uri.user().as_deref(), Some("sips:user@example.com"));
    assert_eq!(uri.host, Host::Name("example.net".into()));
}

#[test]
fn esc02_is_no_register_and_has_no_such_contact() {
    let (request, _) = request("esc02");
    assert_eq!(request.method, Method::Other("RE%47IST%45R".into()));
    assert_eq!(
        request.headers.get_by_name("C%6Fntact"),
        Some("<sip:alias2@host2.example.com>")
    );
    let contacts = request.headers.list(Header::Contact).unwrap();
    assert!(
        contacts.iter().all(|contact| !contact.contains("alias2")),
        "{contacts:?}"
    );
}

#[test]
fn escnull_keeps_both_users_apart() {
    let (request, essentials) = request("escnull");
    assert_eq!(essentials.to.uri.user().as_deref(), Some("null-\0-null"));
    let contacts = request.headers.list(Header::Contact).unwrap();
    let users: Vec<_> = contacts
        .iter()
        .map(|c| NameAddr::parse(c).unwrap().uri.user().unwrap())
        .collect();
    assert_eq!(users, ["\0", "\0\0"]);
}

#[test]
fn longreq_is_read_in_full() {
    let (_, essentials) = request("longreq");
    assert_eq!(essentials.via_count, 34);
}

#[test]
fn dblreq_ends_where_its_content_length_says() {
    let (request, _) = request("dblreq");
    assert_eq!((request.method, request.body.len()), (Method::Register, 0));
}

#[test]
fn semiuri_has_a_user_with_semicolons_and_no_params() {
    let (request, _) = request("semiuri");
    let uri = request.uri.as_sip().unwrap();
    assert_eq!(uri.user().as_deref(), Some("user;par=u@example.net"));
    assert_eq!(uri.params.iter().count(), 0);
}

#[test]
fn transports_are_echoed_unchanged_and_in_order() {
    let (request, _) = request("transports");
    let response = Response::answering(&request.headers, 200, None);
    let vias = |headers: &voex_sip_wire::HeaderFields| headers.all(Header::Via).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(vias(&response.headers), vias(&request.headers));
    assert_eq!(vias(&response.headers).len(), 5);
}

#[test]
fn mpart01_keeps_its_binary_body() {
    let (request, _) = request("mpart01");
    assert_eq!(request.body.len(), 553);
}

#[test]
fn reason_phrases_may_be_unusual_or_empty() {
    for (name, code, reason) in [
        ("unreason", 200, "= 2**3 * 5**2 но сто девяносто девять - простое"),
        ("noreason", 100, ""),
    ] {
        let Ok(Message::Response(response, _)) = Message::parse(&read(name)) else {
            panic!("{name} is a response")
        };
        assert_eq!((response.code, response.reason.as_str()), (code, reason));
    }
}

#[test]
fn contact_params_belong_to_the_header_and_uri_params_to_the_uri() {
    let contact = |name| NameAddr::parse(request(name).0.headers.get(Header::Contact).unwrap()).unwrap();
    assert!(contact("cparam01").params.has("unknownparam"));
    assert!(contact("cparam02").uri.as_sip().unwrap().params.has("unknownparam"));
    assert_eq!(
        contact("regescrt").uri.as_sip().unwrap().headers.as_deref(),
        Some("Route=%3Csip:sip.example.com%3E")
    );
    let (request, _) = request("regbadct");
    assert_eq!(
        NameAddr::parse(request.headers.get(Header::Contact).unwrap()),
        Err(Error::BadUri)
    );
}

#[test]
fn the_bare_cookie_of_badbranch_is_no_transaction_id() {
    let (_, essentials) = request("badbranch");
    assert_eq!(essentials.via.unique_branch(), None);
}

#[test]
fn bext01_names_what_it_requires() {
    let (request, _) = request("bext01");
    let mut required = request.headers.list(Header::Require).unwrap();
    required.extend(request.headers.list(Header::ProxyRequire).unwrap());
    assert_eq!(
        required,
        [
            "nothingSupportsThis",
            "nothingSupportsThisEither",
            "noProxiesSupportThis",
            "norDoAnyProxiesSupportThis"
        ]
    );
}

#[test]
fn inv2543_needs_no_tag_branch_or_length() {
    let (request, essentials) = request("inv2543");
    assert_eq!((essentials.from.tag(), essentials.via.branch()), (None, None));
    assert!(request.body.ends_with(b"m=audio 49217 RTP/AVP 0\r\n"));
}

fn request(name: &str) -> (Request, Essentials) {
    match Message::parse(&read(name)) {
        Ok(Message::Request(request, essentials)) => (request, essentials),
        other => panic!("{name} is a request: {other:?}"),
    }
}

fn read(name: &str) -> Vec<u8> {
    fs::read(directory().join(format!("{name}.dat"))).expect("every named message is in the directory")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}
