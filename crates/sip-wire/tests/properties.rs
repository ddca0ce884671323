//! Whatever arrives: parsing never panics, and what is accepted is written back to the same value.

use proptest::prelude::*;
use voex_sip_wire::{Challenge, Message, NameAddr, Uri, Via, fuzz, quote, unquote};

const INVITE: &str = "INVITE sip:bob@example.com;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKa, \
SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\nf: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:bob@example.com>\r\ni: 1@b\r\nCSeq: 1 \
INVITE\r\nm: <sip:a@[::1]:5070;ob>;q=1\r\nRoute: <sip:p;lr>, <sip:q;lr>\r\nX-Y: a\r\n b\r\nl: 4\r\n\r\nv=0\n";

proptest! {
    #[test]
    fn any_octets(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::parse_and_write(&data);
    }

    #[test]
    fn an_invite_with_some_octets_changed(changes in proptest::collection::vec((0..INVITE.len(), any::<u8>()), 0..6)) {
        let mut data = INVITE.as_bytes().to_vec();
        for (at, octet) in changes {
            data[at] = octet;
        }
        fuzz::parse_and_write(&data);
    }

    #[test]
    fn an_invite_with_separators_thrown_in(
        inserts in proptest::collection::vec((0..INVITE.len(), "[ \t\r\n,;:<>\"\\\\@=?%/\\[\\]]{1,3}"), 0..5),
    ) {
        let mut data = INVITE.to_owned();
        for (at, text) in inserts {
            data.insert_str(at, &text);
        }
        fuzz::parse_and_write(data.as_bytes());
    }

    #[test]
    fn an_invite_cut_anywhere_but_at_its_end_is_refused(at in 0..INVITE.len()) {
        prop_assert!(Message::parse(&INVITE.as_bytes()[..at]).is_err());
    }

    #[test]
    fn values_of_any_text(text in "\\PC{0,60}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(Uri::parse(&uri.to_string()), Ok(uri));
        }
        if let Ok(via) = Via::parse(&text) {
            prop_assert_eq!(Via::parse(&via.to_string()), Ok(via));
        }
        if let Ok(address) = NameAddr::parse(&text) {
            prop_assert_eq!(NameAddr::parse(&address.to_string()), Ok(address));
        }
        Challenge::parse(&text);
        prop_assert_eq!(unquote(&quote(&text)), text);
    }

    #[test]
    fn sip_uris(user in "[a-z0-9;?=&+%.-]{0,8}", host in "[a-z0-9.:\\[\\]-]{1,16}", rest in "[;=a-z0-9?&%:]{0,12}") {
        let text = format!("sip:{user}@{host}{rest}");
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(Uri::parse(&uri.to_string()), Ok(uri));
        }
    }
}
