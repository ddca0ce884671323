//! Third-party authorization with access tokens (RFC 7635).

use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use voex_stun::{AttributeType, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, Method};
use voex_turn::{
    ClientVerdict, Command, Config, DropReason, Event, LookUpId, LookedUp, TokenAlgorithm, TokenKey, Wanted,
};

use crate::world::{Answer, Body, Client, REALM, UNIX_START_S, World, config};

const SERVER_NAME: &str = "turn.example.org";
const KID: &str = "north";
const KEY: [u8; 32] = [0x4e; 32];
const MAC_KEY: [u8; 20] = [0x6d; 20];

#[test]
fn a_challenge_names_the_server_only_where_tokens_are_accepted() {
    for (config, name) in [(config(), None), (with_tokens(), Some(SERVER_NAME.as_bytes()))] {
        let mut world = World::with(config);
        let mut stranger = Client::alice();
        let request = stranger.unsigned(Method::ALLOCATE, |writer| writer);
        let challenge = world.ask(stranger.five_tuple, &request);
        assert_eq!(challenge.code(), 401);
        assert_eq!(challenge.message().get(AttributeType::THIRD_PARTY_AUTHORIZATION), name);
    }
}

#[test]
fn whoever_has_a_token_allocates_and_is_answered_under_its_key() {
    for algorithm in [TokenAlgorithm::Aes128Gcm, TokenAlgorithm::Aes256Gcm] {
        let mut config = with_tokens();
        config.token_keys[0].1.algorithm = algorithm;
        let mut world = World::with(config);
        let mut holder = Holder::new();
        let token = Token {
            algorithm,
            ..Token::fresh()
        };
        holder
            .asks(&mut world, Some(&token.seal()), Method::ALLOCATE, |writer| writer)
            .granted();
        let user = std::iter::from_fn(|| world.server.poll_event()).find_map(|event| match event {
            Event::Began(session) => Some(session.user),
            _ => None,
        });
        assert_eq!(user.as_deref(), Some(KID));
    }
}

#[test]
fn a_token_whose_key_is_used_with_sha256_is_answered_with_sha256() {
    let mut world = World::with(with_tokens());
    let mut holder = Holder::new();
    let key = IntegrityKeySha256::new(&MAC_KEY);
    holder.client.learns_nonce(&mut world);
    let (nonce, token) = (holder.client.nonce.clone(), Token::fresh().seal());
    let request = holder.client.unsigned(Method::ALLOCATE, |writer| {
        let writer = writer.requested_transport_udp().username(KID).realm(REALM);
        writer
            .nonce(&nonce)
            .attribute(AttributeType::ACCESS_TOKEN, &token)
            .message_integrity_sha256(&key)
    });
    let answer = world.ask(holder.client.five_tuple, &request).granted();
    assert_eq!(answer.message().check_integrity_sha256(&key), Ok(()));
}

#[test]
fn a_client_that_signs_with_sixteen_bytes_of_the_key_as_coturns_do_is_let_in() {
    for (taken, code) in [(16, 0), (15, 401), (17, 401), (0, 401)] {
        let mut world = World::with(with_tokens());
        let mut holder = Holder::new();
        holder.mac_key.truncate(taken);
        let token = Token::fresh().seal();
        let answer = holder.asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer);
        assert_eq!(answer.code(), code, "{taken}");
    }
}

#[test]
fn where_tokens_are_not_accepted_they_are_an_attribute_nobody_knows() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let token = Token::fresh().seal();
    let refused = alice.asks_allocation(&mut world, |writer| {
        writer.attribute(AttributeType::ACCESS_TOKEN, &token)
    });
    assert_eq!(refused.code(), 420);
    let listed = refused.message().listed_unknown_attributes();
    assert!(listed.types().eq([AttributeType::ACCESS_TOKEN]));
}

#[test]
fn a_token_that_was_altered_or_is_too_short_or_too_long_is_refused_and_allocates_nothing() {
    let good = Token::fresh().seal();
    let mut wrong = vec![
        Vec::new(),
        vec![0],
        vec![0, 12],
        good[..14].to_vec(),
        good[..15].to_vec(),
    ];
    wrong.extend((0..good.len()).map(|at| {
        let mut altered = good.clone();
        altered[at] ^= 0x80;
        altered
    }));
    for nonce_len in [0_u16, 11, 13, 255, 0xffff] {
        let mut claimed = good.clone();
        claimed[..2].copy_from_slice(&nonce_len.to_be_bytes());
        wrong.push(claimed);
    }
    for len in [good.len() - 1, good.len() + 1, 256, 270, 271, 1_024, 3_000] {
        wrong.push(good.iter().copied().cycle().take(len).collect());
    }
    for token in wrong {
        let mut world = World::with(with_tokens());
        let refused = Holder::new().asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer);
        assert_eq!(refused.code(), 401, "{token:02x?}");
        assert!(refused.message().has(AttributeType::THIRD_PARTY_AUTHORIZATION));
        assert_eq!(world.metrics.authentication_failures.value(), 1);
        assert_eq!(world.server.allocations(), 0);
    }
}

#[test]
fn a_mac_key_of_impossible_length_inside_a_genuine_token_is_refused() {
    for (claimed, mac_key) in [
        (0, &[][..]),
        (15, &[7; 15]),
        (65, &[7; 65]),
        (200, &[7; 200]),
        (0xffff, &[7; 20]),
    ] {
        let mut world = World::with(with_tokens());
        let token = Token {
            mac_key,
            mac_key_len: claimed,
            ..Token::fresh()
        };
        let mut holder = Holder::new();
        holder.mac_key = mac_key.to_vec();
        let refused = holder.asks(&mut world, Some(&token.seal()), Method::ALLOCATE, |writer| writer);
        assert_eq!(refused.code(), 401, "{claimed}");
    }
}

#[test]
fn a_token_is_good_for_one_server_one_kid_and_its_time() {
    let refused = |token: Token<'_>, kid: &str| {
        let mut world = World::with(with_tokens());
        let mut holder = Holder::new();
        holder.client.user = kid.into();
        holder
            .asks(&mut world, Some(&token.seal()), Method::ALLOCATE, |writer| writer)
            .code()
    };
    assert_eq!(refused(Token::fresh(), KID), 0);
    assert_eq!(
        refused(
            Token {
                server_name: "turn.example.com",
                ..Token::fresh()
            },
            KID
        ),
        401
    );
    assert_eq!(
        refused(
            Token {
                key: &[0x4f; 32],
                ..Token::fresh()
            },
            KID
        ),
        401
    );
    assert_eq!(refused(Token::fresh(), "south"), 401);
    assert_eq!(
        refused(
            Token {
                issued_s: UNIX_START_S - 605,
                ..Token::fresh()
            },
            KID
        ),
        401
    );
    assert_eq!(
        refused(
            Token {
                issued_s: UNIX_START_S + 605,
                ..Token::fresh()
            },
            KID
        ),
        401
    );
    assert_eq!(
        refused(
            Token {
                lifetime_s: 0,
                issued_s: UNIX_START_S - 5,
                ..Token::fresh()
            },
            KID
        ),
        401
    );
}

#[test]
fn a_key_that_ended_or_has_not_begun_opens_no_token() {
    for (timestamp_s, lifetime_s, code) in [
        (UNIX_START_S, 0, 0),
        (UNIX_START_S - 99, 100, 0),
        (UNIX_START_S - 100, 100, 401),
        (UNIX_START_S + 1, 0, 401),
    ] {
        let mut config = with_tokens();
        config.token_keys[0].1.timestamp_s = timestamp_s;
        config.token_keys[0].1.lifetime_s = lifetime_s;
        let mut world = World::with(config);
        let token = Token::fresh().seal();
        let answer = Holder::new().asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer);
        assert_eq!(answer.code(), code);
    }
}

#[test]
fn a_genuine_token_in_the_hands_of_somebody_without_its_key_is_refused() {
    let mut world = World::with(with_tokens());
    let mut thief = Holder::new();
    thief.mac_key = vec![0; 20];
    let token = Token::fresh().seal();
    let refused = thief.asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer);
    assert_eq!(refused.code(), 401);
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn an_allocation_lives_no_longer_than_its_token_unless_a_new_one_comes() {
    let mut world = World::with(with_tokens());
    let mut holder = Holder::new();
    let token = Token {
        lifetime_s: 100,
        ..Token::fresh()
    };
    let granted = holder.asks(&mut world, Some(&token.seal()), Method::ALLOCATE, |writer| writer);
    assert_eq!(granted.granted().lifetime_s(), 100);
    world.pass(Duration::from_secs(40));
    let granted = holder.asks(&mut world, None, Method::REFRESH, |writer| writer.lifetime_s(600));
    assert_eq!(granted.granted().lifetime_s(), 60);

    // The new token has another key, and may have another kid.
    let token = Token {
        issued_s: UNIX_START_S + 40,
        lifetime_s: 3_600,
        mac_key: &[9; 32],
        mac_key_len: 32,
        key: &[0x53; 32],
        ..Token::fresh()
    };
    holder.client.user = "south".into();
    holder.mac_key = vec![9; 32];
    let mut fresh = with_tokens();
    fresh.token_keys.push(("south".into(), key(&[0x53; 32])));
    let fresh = Command::Reconfigure(Box::new(fresh));
    world
        .server
        .handle_command(world.now(), world.wall(), fresh, &mut world.out);
    let granted = holder.asks(&mut world, Some(&token.seal()), Method::REFRESH, |writer| {
        writer.lifetime_s(1_200)
    });
    assert_eq!(granted.granted().lifetime_s(), 1_200);
    let peer = "192.0.2.1:7000".parse().unwrap();
    holder
        .asks(&mut world, None, Method::CREATE_PERMISSION, |writer| {
            writer.xor_peer_address(peer)
        })
        .granted();
    world.pass(Duration::from_secs(500));
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn nobody_moves_an_allocation_with_another_token_of_the_same_kid() {
    let mut world = World::with(Config {
        mobility: true,
        ..with_tokens()
    });
    let mut holder = Holder::new();
    let token = Token::fresh().seal();
    let allocated = holder.asks(&mut world, Some(&token), Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::MOBILITY_TICKET, b"")
    });
    let ticket = allocated.granted().message().mobility_ticket().unwrap().to_vec();
    let mut thief = Holder::at("198.18.0.7:6100");
    thief.mac_key = vec![9; 20];
    let other = Token {
        mac_key: &[9; 20],
        ..Token::fresh()
    };
    for _ in 0..2 {
        let refused = thief.asks(&mut world, Some(&other.seal()), Method::REFRESH, |writer| {
            writer.attribute(AttributeType::MOBILITY_TICKET, &ticket)
        });
        assert_eq!(refused.code(), 441);
    }
    assert!(!world.server.serves(&thief.client.five_tuple));
    // It has the key that it had, here and elsewhere.
    let peer = "192.0.2.1:7000".parse().unwrap();
    holder
        .asks(&mut world, None, Method::CREATE_PERMISSION, |writer| {
            writer.xor_peer_address(peer)
        })
        .granted();
    for (at, token) in [("198.18.0.8:6100", None), ("198.18.0.9:6100", Some(&token[..]))] {
        Holder::at(at)
            .asks(&mut world, token, Method::REFRESH, |writer| {
                writer.attribute(AttributeType::MOBILITY_TICKET, &ticket)
            })
            .granted();
    }
}

#[test]
fn requests_of_an_allocation_need_no_token_and_may_have_one() {
    let mut world = World::with(with_tokens());
    let mut holder = Holder::new();
    let token = Token::fresh().seal();
    holder
        .asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer)
        .granted();
    let peer = "192.0.2.1:7000".parse().unwrap();
    for token in [None, Some(&token[..]), Some(&token[..20])] {
        let answer = holder.asks(&mut world, token, Method::CREATE_PERMISSION, |writer| {
            writer.xor_peer_address(peer)
        });
        assert_eq!(answer.code(), 0);
    }
    let refused = holder.asks(&mut world, Some(&token[..20]), Method::REFRESH, |writer| writer);
    assert_eq!(refused.code(), 401, "a Refresh counts what its token says");
}

#[test]
fn holders_of_tokens_are_counted_by_no_quota() {
    let mut config = with_tokens();
    config.allocations_per_user_max = Some(1);
    let mut world = World::with(config);
    for port in 1..=3 {
        let mut holder = Holder::new();
        holder.client.five_tuple.client.set_port(port);
        let token = Token::fresh().seal();
        holder
            .asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer)
            .granted();
    }
}

#[test]
fn users_with_passwords_get_in_beside_tokens() {
    let mut world = World::with(with_tokens());
    Client::alice().allocates(&mut world);
    Client::bob().allocates(&mut world);
}

#[test]
fn the_key_of_an_unknown_kid_is_looked_up() {
    let config = Config {
        credential_store: true,
        token_keys: Vec::new(),
        ..with_tokens()
    };
    let cases = [
        (LookedUp::Token(Some(key(&KEY))), Some(0)),
        (LookedUp::Token(Some(key(&[1; 32]))), Some(401)),
        (LookedUp::Token(None), Some(401)),
        (LookedUp::User(Default::default()), Some(401)),
        (LookedUp::Unavailable, None),
    ];
    for (found, code) in cases {
        let mut world = World::with(config.clone());
        let mut holder = Holder::new();
        let token = Token::fresh().seal();
        let request = holder.signed(&mut world, Some(&token), Method::ALLOCATE, |writer| writer);
        assert_eq!(
            world.deliver(holder.client.five_tuple, &request),
            ClientVerdict::Handled
        );
        assert!(world.out.sent.is_empty());
        let (id, wanted) = question(&mut world);
        assert_eq!(wanted, Wanted::Token(KID.into()));
        answer(&mut world, id, found);
        match code {
            Some(code) => assert_eq!(world.only_sent(holder.client.five_tuple).code(), code),
            None => assert_eq!(world.metrics.dropped.of(DropReason::StoreUnavailable).value(), 1),
        }
    }
}

#[test]
fn a_refresh_with_a_token_lives_on_what_it_had_while_the_store_is_out_of_reach() {
    let mut world = World::with(with_tokens());
    let mut holder = Holder::new();
    let token = Token {
        lifetime_s: 700,
        ..Token::fresh()
    }
    .seal();
    holder
        .asks(&mut world, Some(&token), Method::ALLOCATE, |writer| writer)
        .granted();
    let fresh = Config {
        credential_store: true,
        token_keys: Vec::new(),
        ..with_tokens()
    };
    let fresh = Command::Reconfigure(Box::new(fresh));
    world
        .server
        .handle_command(world.now(), world.wall(), fresh, &mut world.out);
    world.pass(Duration::from_secs(300));
    let request = holder.signed(&mut world, Some(&token), Method::REFRESH, |writer| writer);
    assert_eq!(
        world.deliver(holder.client.five_tuple, &request),
        ClientVerdict::Handled
    );
    let (id, _) = question(&mut world);
    answer(&mut world, id, LookedUp::Unavailable);
    assert_eq!(world.only_sent(holder.client.five_tuple).granted().lifetime_s(), 400);
}

fn with_tokens() -> Config {
    Config {
        third_party_authorization: Some(SERVER_NAME.into()),
        token_keys: vec![(KID.into(), key(&KEY))],
        ..config()
    }
}

fn key(bytes: &[u8]) -> TokenKey {
    TokenKey {
        key: bytes.into(),
        algorithm: TokenAlgorithm::Aes256Gcm,
        timestamp_s: 0,
        lifetime_s: 0,
    }
}

/// What an authorization server puts into a token.
struct Token<'a> {
    key: &'a [u8],
    algorithm: TokenAlgorithm,
    server_name: &'a str,
    mac_key: &'a [u8],
    mac_key_len: u16,
    issued_s: u64,
    lifetime_s: u32,
}

impl Token<'_> {
    fn fresh() -> Self {
        Self {
            key: &KEY,
            algorithm: TokenAlgorithm::Aes256Gcm,
            server_name: SERVER_NAME,
            mac_key: &MAC_KEY,
            mac_key_len: 20,
            issued_s: UNIX_START_S,
            lifetime_s: 600,
        }
    }

    fn seal(&self) -> Vec<u8> {
        let algorithm = match self.algorithm {
            TokenAlgorithm::Aes128Gcm => &AES_128_GCM,
            TokenAlgorithm::Aes256Gcm => &AES_256_GCM,
        };
        let mut block = self.mac_key_len.to_be_bytes().to_vec();
        block.extend(self.mac_key);
        block.extend((self.issued_s << 16).to_be_bytes());
        block.extend(self.lifetime_s.to_be_bytes());
        let nonce = *b"twelve bytes";
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]).unwrap();
        let aad = Aad::from(self.server_name.as_bytes());
        LessSafeKey::new(key)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut block)
            .unwrap();
        [&[0, 12][..], &nonce, &block].concat()
    }
}

/// A client that signs with the key of its token.
struct Holder {
    client: Client,
    mac_key: Vec<u8>,
}

impl Holder {
    fn new() -> Self {
        Self::at("203.0.113.9:6000")
    }

    fn at(client: &str) -> Self {
        Self {
            client: Client::new(client, KID, ""),
            mac_key: MAC_KEY.to_vec(),
        }
    }

    fn signed(&mut self, world: &mut World, token: Option<&[u8]>, method: Method, body: impl Body) -> Vec<u8> {
        if self.client.nonce.is_empty() {
            self.client.learns_nonce(world);
        }
        let key = IntegrityKey::new(&self.mac_key);
        let (user, nonce) = (self.client.user.clone(), self.client.nonce.clone());
        self.client.unsigned(method, |writer: MessageWriter<'_>| {
            let writer = match method {
                Method::ALLOCATE => writer.requested_transport_udp(),
                _ => writer,
            };
            body(writer)
                .optional(AttributeType::ACCESS_TOKEN, token)
                .username(&user)
                .realm(REALM)
                .nonce(&nonce)
                .message_integrity(&key)
        })
    }

    /// Asks, and holds the answer to being signed.
    fn asks(&mut self, world: &mut World, token: Option<&[u8]>, method: Method, body: impl Body) -> Answer {
        let request = self.signed(world, token, method, body);
        let answer = world.ask(self.client.five_tuple, &request);
        if answer.code() != 401 {
            let key = IntegrityKey::new(&self.mac_key);
            assert_eq!(Message::parse(&answer.0).unwrap().check_integrity(&key), Ok(()));
        }
        answer
    }
}

fn question(world: &mut World) -> (LookUpId, Wanted) {
    let found = std::iter::from_fn(|| world.server.poll_event()).find_map(|event| match event {
        Event::LookUp { id, wanted } => Some((id, wanted)),
        _ => None,
    });
    found.expect("the store is asked")
}

fn answer(world: &mut World, id: LookUpId, found: LookedUp) {
    let (now, wall) = (world.now(), world.wall());
    let command = Command::LookedUp { id, found };
    world.server.handle_command(now, wall, command, &mut world.out);
    world.serve_sockets();
}
