//! MESSAGE-INTEGRITY-SHA256, password algorithms and hashed names (RFC 8489 §9.2, §14.4, §14.6, §14.11, §14.12).

use voex_stun::{
    AddressFamily, AttributeType, Class, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, Method,
    PasswordAlgorithm, long_term_key, long_term_key_sha256, user_hash,
};
use voex_turn::{Command, Config, Event, LookedUp, Refusal, Secret, StoredUser, UserSecret};

use crate::world::{Answer, Client, REALM, UNIX_START_S, World, config, message, rest_password};

const MD5: PasswordAlgorithm = PasswordAlgorithm::Md5;
const SHA256: PasswordAlgorithm = PasswordAlgorithm::Sha256;
const BOTH: [PasswordAlgorithm; 2] = [SHA256, MD5];

#[test]
fn a_challenge_offers_algorithms_in_order_under_a_nonce_that_says_so() {
    for (offered, cookie, list) in [
        (&BOTH[..], "wAAA", Some(&[0, 2, 0, 0, 0, 1, 0, 0][..])),
        (&[MD5], "wAAA", Some(&[0, 1, 0, 0])),
        (&[], "QAAA", None),
    ] {
        let mut world = World::with(offering(offered));
        let mut stranger = Client::alice();
        let request = stranger.unsigned(Method::ALLOCATE, |writer| writer);
        let challenge = world.ask(stranger.five_tuple, &request);
        assert_eq!(challenge.code(), 401);
        let nonce = challenge.message().nonce().unwrap().unwrap().to_vec();
        assert_eq!(&nonce[..13], format!("obMatJos2{cookie}").as_bytes());
        assert_eq!(challenge.message().get(AttributeType::PASSWORD_ALGORITHMS), list);
    }
}

#[test]
fn names_may_be_hashed_only_where_every_user_can_be_found_by_its_hash() {
    let cookie = |config: Config| {
        let mut world = World::with(config);
        let mut client = Client::alice();
        client.learns_nonce(&mut world);
        String::from_utf8(client.nonce[9..13].to_vec()).unwrap()
    };
    assert_eq!(cookie(config()), "wAAA");
    let shared_secrets = vec![Secret::new("north")];
    assert_eq!(
        cookie(Config {
            shared_secrets,
            ..config()
        }),
        "gAAA"
    );
    let credential_store = true;
    assert_eq!(
        cookie(Config {
            credential_store,
            ..config()
        }),
        "gAAA"
    );
}

#[test]
fn whoever_names_an_algorithm_and_signs_with_sha256_is_answered_with_it() {
    for algorithm in BOTH {
        let mut world = World::new();
        let mut alice = Modern::alice(algorithm);
        alice.client.learns_nonce(&mut world);
        let granted = alice.asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_udp());
        assert_eq!(granted.code(), 0, "{algorithm:?}");
        assert_eq!(alice.asks(&mut world, Method::REFRESH, |writer| writer).code(), 0);
        assert_eq!(
            alice.asks(&mut world, Method::CHANNEL_BIND, |writer| writer).code(),
            400
        );
    }
}

#[test]
fn whoever_names_none_is_served_with_md5_and_sha1() {
    for offered in [&BOTH[..], &[SHA256], &[]] {
        let mut world = World::with(offering(offered));
        let mut alice = Client::alice();
        alice.allocates(&mut world);
        let answer = alice.refreshes(&mut world, 600);
        assert!(answer.message().has_integrity() && !answer.message().has_integrity_sha256());
    }
}

#[test]
fn whoever_knows_sha256_but_no_algorithm_is_answered_with_sha256() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let key = IntegrityKeySha256::new(&long_term_key("alice", REALM, "secret of alice"));
    let nonce = alice.nonce.clone();
    let request = alice.unsigned(Method::ALLOCATE, |writer| {
        let writer = writer.requested_transport_udp().username("alice").realm(REALM);
        writer.nonce(&nonce).message_integrity_sha256(&key)
    });
    let answer = world.ask(alice.five_tuple, &request).granted();
    assert_eq!(answer.message().check_integrity_sha256(&key), Ok(()));
}

#[test]
fn an_offer_that_was_altered_on_the_way_comes_to_light() {
    let cases = [
        ("the better one was taken away", Some(&[MD5][..]), Some(MD5)),
        ("another order", Some(&[MD5, SHA256]), Some(MD5)),
        ("one more", Some(&[SHA256, MD5, MD5]), Some(MD5)),
        ("an empty list", Some(&[]), Some(MD5)),
        ("the list was taken away", None, Some(SHA256)),
        ("no algorithm is named", Some(&BOTH), None),
        ("nothing is wrong", Some(&BOTH), Some(SHA256)),
    ];
    for (what, list, algorithm) in cases {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.learns_nonce(&mut world);
        let key = match algorithm {
            Some(SHA256) => IntegrityKeySha256::new(&long_term_key_sha256("alice", REALM, "secret of alice")),
            _ => IntegrityKeySha256::new(&long_term_key("alice", REALM, "secret of alice")),
        };
        let nonce = alice.nonce.clone();
        let request = alice.unsigned(Method::ALLOCATE, |mut writer| {
            writer = writer.requested_transport_udp();
            writer = writer.username("alice").realm(REALM).nonce(&nonce);
            writer = list
                .into_iter()
                .fold(writer, |writer, list| writer.password_algorithms(list));
            writer = algorithm
                .into_iter()
                .fold(writer, |writer, one| writer.password_algorithm(one));
            writer.message_integrity_sha256(&key)
        });
        let answer = world.ask(alice.five_tuple, &request);
        let expected = if what == "nothing is wrong" { 0 } else { 400 };
        assert_eq!(answer.code(), expected, "{what}");
        if expected == 400 {
            assert_eq!(answer.message().nonce(), Ok(None), "{what}");
            assert!(!answer.message().has_integrity() && !answer.message().has_integrity_sha256());
        }
    }
}

#[test]
fn an_algorithm_nobody_knows_or_with_parameters_is_a_bad_request() {
    for value in [&[0, 3, 0, 0][..], &[0, 2, 0, 4, 1, 2, 3, 4], &[0, 2], &[]] {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.learns_nonce(&mut world);
        let answer = alice.asks_unchecked(&mut world, |writer| {
            writer
                .password_algorithms(&BOTH)
                .attribute(AttributeType::PASSWORD_ALGORITHM, value)
        });
        assert_eq!(answer.code(), 400, "{value:?}");
    }
}

#[test]
fn a_nonce_whose_cookie_was_altered_is_stale() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for cookie in ["AAAA", "QAAA", "gAAA", "wAAB"] {
        alice.nonce.clear();
        alice.learns_nonce(&mut world);
        alice.nonce[9..13].copy_from_slice(cookie.as_bytes());
        let answer = alice.asks_allocation(&mut world, |writer| writer);
        assert_eq!(answer.code(), 438, "{cookie}");
        assert!(answer.message().has(AttributeType::PASSWORD_ALGORITHMS));
    }
}

#[test]
fn another_offer_makes_old_nonces_stale() {
    let mut world = World::with(offering(&BOTH));
    let mut alice = Modern::alice(MD5);
    alice.client.learns_nonce(&mut world);
    alice
        .asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_udp())
        .granted();
    let fresh = Command::Reconfigure(Box::new(offering(&[MD5])));
    world
        .server
        .handle_command(world.now(), world.wall(), fresh, &mut world.out);
    let refused = alice.asks(&mut world, Method::REFRESH, |writer| writer);
    assert_eq!(refused.code(), 438);
    alice.client.nonce = refused.message().nonce().unwrap().unwrap().to_vec();
    alice.offered = vec![MD5];
    alice.asks(&mut world, Method::REFRESH, |writer| writer).granted();
}

#[test]
fn a_user_known_by_its_md5_key_alone_is_refused_under_sha256_and_let_in_under_md5() {
    let mut config = config();
    let key = long_term_key("carol", REALM, "secret of carol");
    config.users = vec![("carol".to_owned(), UserSecret::Key(key))];
    for (algorithm, code) in [(SHA256, 401), (MD5, 0)] {
        let mut world = World::with(config.clone());
        let mut carol = Modern::new(Client::new("203.0.113.9:1", "carol", "secret of carol"), algorithm);
        carol.client.learns_nonce(&mut world);
        let answer = carol.asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_udp());
        assert_eq!(answer.code(), code, "{algorithm:?}");
    }
}

#[test]
fn stored_and_time_limited_users_may_choose_sha256_too() {
    let mut config = config();
    config.credential_store = true;
    config.shared_secrets = vec![Secret::new("north")];
    let name = format!("{}:dave", UNIX_START_S + 100);
    for algorithm in BOTH {
        let mut world = World::with(config.clone());
        let password = rest_password("north", &name);
        let mut dave = Modern::new(Client::new("203.0.113.9:1", &name, &password), algorithm);
        dave.client.learns_nonce(&mut world);
        dave.asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_udp())
            .granted();

        let mut carol = Modern::new(Client::new("203.0.113.10:1", "carol", "secret of carol"), algorithm);
        carol.client.learns_nonce(&mut world);
        let request = carol.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
        world.deliver(carol.client.five_tuple, &request);
        let id = std::iter::from_fn(|| world.server.poll_event()).find_map(|event| match event {
            Event::LookUp { id, .. } => Some(id),
            _ => None,
        });
        let found = LookedUp::User(StoredUser {
            md5_key: Some(long_term_key("carol", REALM, "secret of carol")),
            sha256_key: Some(long_term_key_sha256("carol", REALM, "secret of carol")),
            ..StoredUser::default()
        });
        let found = Command::LookedUp { id: id.unwrap(), found };
        world
            .server
            .handle_command(world.now(), world.wall(), found, &mut world.out);
        world.serve_sockets();
        let answer = world.only_sent(carol.client.five_tuple).granted();
        assert_eq!(answer.message().check_integrity_sha256(&carol.key()), Ok(()));
    }
}

#[test]
fn of_two_codes_the_stronger_decides() {
    let good = long_term_key("alice", REALM, "secret of alice");
    let bad = long_term_key("alice", REALM, "guess");
    for (sha1, sha256, code) in [(good, good, 0), (bad, good, 0), (good, bad, 401)] {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.learns_nonce(&mut world);
        let nonce = alice.nonce.clone();
        let request = alice.unsigned(Method::ALLOCATE, |writer| {
            let writer = writer.requested_transport_udp().username("alice").realm(REALM);
            writer
                .nonce(&nonce)
                .message_integrity(&IntegrityKey::new(&sha1))
                .message_integrity_sha256(&IntegrityKeySha256::new(&sha256))
        });
        assert_eq!(world.ask(alice.five_tuple, &request).code(), code);
    }
}

#[test]
fn a_truncated_code_does_not_hold() {
    let mut world = World::new();
    let mut alice = Modern::alice(SHA256);
    alice.client.learns_nonce(&mut world);
    let whole = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    let covered = whole.len() - 36;
    for len in [16, 20, 28] {
        // The length field is covered, so the code has to be made for the shorter message.
        let mut request = whole[..covered].to_vec();
        let counted = (covered + 4 + len - 20) as u16;
        request[2..4].copy_from_slice(&counted.to_be_bytes());
        let code = alice.code(&request);
        request.extend([0, 0x1c, 0, len as u8]);
        request.extend(&code[..len]);
        assert_eq!(
            Message::parse(&request).unwrap().check_integrity_sha256(&alice.key()),
            Ok(()),
            "but for its length it fits"
        );
        assert_eq!(world.ask(alice.client.five_tuple, &request).code(), 401, "{len}");
    }
    world.ask(alice.client.five_tuple, &whole).granted();
}

#[test]
fn what_stands_behind_the_code_is_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let signed = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    let parsed = Message::parse(&signed).unwrap();
    let key = IntegrityKey::long_term("alice", REALM, "secret of alice");
    let request = message(
        Class::Request,
        Method::ALLOCATE,
        parsed.transaction_id(),
        |mut writer| {
            for attribute in parsed.attributes() {
                writer = writer.attribute(attribute.kind, attribute.value);
            }
            writer
                .message_integrity(&key)
                .requested_address_family(AddressFamily::V6)
                .attribute(AttributeType(0x0777), b"unknown")
                .fingerprint()
        },
    );
    let answer = world.ask(alice.five_tuple, &request).granted();
    assert!(answer.relayed().is_ipv4());
}

#[test]
fn a_hashed_name_is_as_good_as_the_name() {
    let mut world = World::new();
    let mut alice = Modern::alice(SHA256);
    alice.client.learns_nonce(&mut world);
    alice.hash = Some(user_hash("alice", REALM));
    alice
        .asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_udp())
        .granted();
    let began = std::iter::from_fn(|| world.server.poll_event()).find_map(|event| match event {
        Event::Began(session) => Some(session.user),
        _ => None,
    });
    assert_eq!(began.as_deref(), Some("alice"), "what is reported has the name");
    alice.asks(&mut world, Method::REFRESH, |writer| writer).granted();
    // A user that the settings have no more is still found by its allocation.
    let mut fresh = config();
    fresh.users.clear();
    let fresh = Command::Reconfigure(Box::new(fresh));
    world
        .server
        .handle_command(world.now(), world.wall(), fresh, &mut world.out);
    alice.asks(&mut world, Method::REFRESH, |writer| writer).granted();
}

#[test]
fn a_hash_that_is_no_users_gets_401_and_one_of_wrong_length_400() {
    for credential_store in [false, true] {
        let mut world = World::with(Config {
            credential_store,
            ..config()
        });
        let mut alice = Modern::alice(SHA256);
        alice.client.learns_nonce(&mut world);
        alice.hash = Some(user_hash("alice", "another realm"));
        let answer = alice.asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_udp());
        assert_eq!(answer.code(), 401);
        assert_eq!(world.metrics.authentication_failures.value(), 1);
        assert_eq!(
            world.metrics.look_ups_total.value(),
            0,
            "a store cannot be asked by hash"
        );
    }
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let answer = alice.asks_unchecked(&mut world, |writer| writer.attribute(AttributeType::USERHASH, &[1; 31]));
    assert_eq!(answer.code(), 400);
    assert_eq!(world.metrics.refused.of(Refusal::BadRequest).value(), 1);
}

fn offering(algorithms: &[PasswordAlgorithm]) -> Config {
    Config {
        password_algorithms: algorithms.to_vec(),
        ..config()
    }
}

/// A client of RFC 8489: it names an algorithm and signs with SHA-256.
struct Modern {
    client: Client,
    algorithm: PasswordAlgorithm,
    /// What it repeats of the offer.
    offered: Vec<PasswordAlgorithm>,
    /// What it sends instead of its name.
    hash: Option<[u8; 32]>,
}

impl Modern {
    fn new(client: Client, algorithm: PasswordAlgorithm) -> Self {
        Self {
            client,
            algorithm,
            offered: BOTH.to_vec(),
            hash: None,
        }
    }

    fn alice(algorithm: PasswordAlgorithm) -> Self {
        Self::new(Client::alice(), algorithm)
    }

    fn key_bytes(&self) -> Vec<u8> {
        let (user, password) = (&self.client.user, &self.client.password);
        match self.algorithm {
            PasswordAlgorithm::Md5 => long_term_key(user, REALM, password).to_vec(),
            PasswordAlgorithm::Sha256 => long_term_key_sha256(user, REALM, password).to_vec(),
        }
    }

    fn key(&self) -> IntegrityKeySha256 {
        IntegrityKeySha256::new(&self.key_bytes())
    }

    fn signed(&mut self, method: Method, body: impl crate::world::Body) -> Vec<u8> {
        let (key, nonce) = (self.key(), self.client.nonce.clone());
        let (user, list, hash, algorithm) = (
            self.client.user.clone(),
            self.offered.clone(),
            self.hash,
            self.algorithm,
        );
        self.client.unsigned(method, |writer| {
            let writer = body(writer);
            let writer = match &hash {
                Some(hash) => writer.user_hash(hash),
                None => writer.username(&user),
            };
            let writer = writer.realm(REALM).nonce(&nonce);
            writer
                .password_algorithms(&list)
                .password_algorithm(algorithm)
                .message_integrity_sha256(&key)
        })
    }

    /// Asks, and holds the answer to being signed with SHA-256 alone.
    fn asks(&mut self, world: &mut World, method: Method, body: impl crate::world::Body) -> Answer {
        let request = self.signed(method, body);
        let answer = world.ask(self.client.five_tuple, &request);
        if ![401, 438].contains(&answer.code()) {
            assert_eq!(answer.message().check_integrity_sha256(&self.key()), Ok(()));
            assert!(!answer.message().has_integrity());
        }
        answer
    }

    /// Computes the code over a message whose length field is right already.
    fn code(&self, covered: &[u8]) -> [u8; 32] {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.key_bytes()).unwrap();
        mac.update(covered);
        mac.finalize().into_bytes().into()
    }
}

impl Client {
    /// Signs as an older client does whatever `body` adds, and takes any answer.
    fn asks_unchecked(&mut self, world: &mut World, body: impl crate::world::Body) -> Answer {
        let (key, nonce) = (
            IntegrityKey::long_term(&self.user, REALM, &self.password),
            self.nonce.clone(),
        );
        let request = self.unsigned(Method::ALLOCATE, |writer: MessageWriter<'_>| {
            body(writer.requested_transport_udp())
                .realm(REALM)
                .nonce(&nonce)
                .message_integrity(&key)
        });
        world.ask(self.five_tuple, &request)
    }
}
