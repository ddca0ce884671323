//! How values are read: what administrators write, and what must not become a number on the way.

use voex_config::{Loaded, LogLevel, Report, RoomField, Source, load};

fn file(text: &str) -> Result<Loaded, Report> {
    load(
        Some(Source {
            name: "settings.yaml",
            text,
        }),
        &[],
        false,
    )
}

fn sets(sets: &[&str]) -> Result<Loaded, Report> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(None, &sets, false)
}

#[test]
fn twenty_tricky_values_are_what_an_administrator_means() {
    let booleans = [
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("yes", true),
        ("Yes", true),
        ("on", true),
        ("ON", true),
        ("'true'", true),
        ("false", false),
        ("No", false),
        ("off", false),
        ("\"no\"", false),
    ];
    for (written, meant) in booleans {
        let loaded = file(&format!("janus_enabled: {written}")).unwrap();
        assert_eq!(loaded.settings.mcu.enabled, meant, "{written}");
    }
    let passwords = [
        "0123",
        "1e5",
        "1.2.3.4",
        "yes",
        "0x1F",
        "1_000",
        "12:34:56",
        "2026-01-01",
    ];
    for written in passwords {
        let loaded = file(&format!("turn: {{users: {{static: {{alice: {written}}}}}}}")).unwrap();
        assert_eq!(loaded.settings.turn.users_static[0].1.reveal(), written);
    }
}

#[test]
fn a_list_key_takes_a_list_one_value_or_commas() {
    for written in ["[1.2.3.4, '5.6.7.8']", "1.2.3.4,5.6.7.8", "\n  - 1.2.3.4\n  - 5.6.7.8"] {
        let loaded = file(&format!("turnserver_external_ip: {written}")).unwrap();
        let shown: Vec<String> = loaded.settings.turn.external.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1.2.3.4", "5.6.7.8"], "{written}");
    }
}

#[test]
fn password_algorithms_are_a_list_that_may_be_empty() {
    use voex_config::PasswordAlgorithm::{Md5, Sha256};
    let read = |written: &str| {
        let loaded = file(&format!("turn: {{password_algorithms: {written}}}"));
        loaded.map(|loaded| loaded.settings.turn.password_algorithms)
    };
    assert_eq!(read("[sha256, MD5]").unwrap(), Some(vec![Sha256, Md5]));
    assert_eq!(read("sha-256").unwrap(), Some(vec![Sha256]));
    assert_eq!(read("[]").unwrap(), Some(vec![]));
    assert_eq!(file("turn: {}").unwrap().settings.turn.password_algorithms, None);
    assert!(read("[sha1]").is_err());
}

#[test]
fn networks_may_have_host_bits_and_bare_addresses_are_networks_of_one() {
    let loaded = file("permit_ip: [121.21.121.103/21, 2001:db8::5]").unwrap();
    let shown: Vec<String> = loaded.settings.acl_cts.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["121.21.120.0/21", "2001:db8::5/128"]);
}

#[test]
fn warning_and_warn_are_one_log_level() {
    for written in ["warning", "warn", "WARNING"] {
        assert_eq!(
            file(&format!("logger_level: {written}")).unwrap().settings.log.level,
            LogLevel::Warn
        );
    }
}

#[test]
fn a_password_is_taken_from_requirepass_in_one_item_in_two_and_with_an_equals_sign() {
    for command in [
        "['--requirepass s3']",
        "[redis-server, --requirepass, s3]",
        "['--requirepass=s3', --appendonly, 'yes']",
    ] {
        let loaded = file(&format!("redis_options: {{command: {command}}}")).unwrap();
        assert_eq!(
            loaded.settings.voex.redis_endpoint_password.unwrap().reveal(),
            "s3",
            "{command}"
        );
    }
}

#[test]
fn the_command_line_wins_over_the_file_and_takes_voex_names_too() {
    let source = Source {
        name: "settings.yaml",
        text: "turnserver_listening_ip: 2.3.4.5\nlogger_level: debug",
    };
    let sets = [
        "turn.listen=10.0.0.1,10.0.0.2".to_owned(),
        "logger_level=error".to_owned(),
    ];
    let settings = load(Some(source), &sets, false).unwrap().settings;
    assert_eq!(settings.turn.listen.len(), 2);
    assert_eq!(settings.log.level, LogLevel::Error);
}

#[test]
fn a_wrong_value_in_the_file_does_not_matter_once_the_command_line_replaces_it() {
    let source = Source {
        name: "settings.yaml",
        text: "workers: many",
    };
    assert_eq!(
        load(Some(source), &["workers=2".to_owned()], false)
            .unwrap()
            .settings
            .workers,
        2
    );
}

#[test]
fn users_of_the_command_line_come_as_pairs_or_one_by_one() {
    let pairs = sets(&["turn.users.static=alice:a,bob:b:c"])
        .unwrap()
        .settings
        .turn
        .users_static;
    let shown: Vec<_> = pairs
        .iter()
        .map(|(name, password)| (name.as_str(), password.reveal()))
        .collect();
    assert_eq!(shown, [("alice", "a"), ("bob", "b:c")]);
    let one = sets(&["turn.users.static.alice=p=q"])
        .unwrap()
        .settings
        .turn
        .users_static;
    assert_eq!(one[0].1.reveal(), "p=q");
}

#[test]
fn routes_of_the_command_line_are_pairs_and_those_of_the_file_are_maps() {
    let short = sets(&["sip.routes=100=echo,9*=room:5,*=reject:404"])
        .unwrap()
        .settings
        .sip
        .routes;
    let flow =
        sets(&["sip.routes=[{match: '100', to: echo}, {match: 9*, to: 'room:5'}, {match: '*', to: 'reject:404'}]"]);
    assert_eq!(short, flow.unwrap().settings.sip.routes);
}

#[test]
fn conference_and_sip_are_on_by_default_off_in_a_silent_file_and_on_when_it_speaks_of_them() {
    let roles = |loaded: Loaded| (loaded.settings.mcu.enabled, loaded.settings.sip.enabled);
    assert_eq!(roles(sets(&[]).unwrap()), (true, true));
    assert_eq!(roles(file("project_type: express-voice").unwrap()), (false, false));
    assert_eq!(roles(file("janus_enabled: yes").unwrap()), (true, true));
    assert_eq!(
        roles(file("mcu: {ws: {listen: 127.0.0.1:8288}}").unwrap()),
        (true, true)
    );
    assert_eq!(
        roles(file("sip: {listen: [udp:127.0.0.1:5070]}").unwrap()),
        (false, true)
    );
    assert_eq!(roles(sets(&["mcu.enabled=no"]).unwrap()), (false, false));
}

#[test]
fn a_key_with_nothing_behind_it_keeps_its_default() {
    let settings = file("permit_ip:\nturn:\n  realm: ~\nmcu:\n").unwrap().settings;
    assert!(settings.acl_cts.is_empty() && settings.turn.realm.is_none());
}

#[test]
fn static_rooms_take_the_fields_of_create_and_refuse_what_create_would() {
    let read = |rooms: &str| file(&format!("mcu: {{rooms: [{rooms}]}}"));
    let loaded = read("{room: 7, videocodec: [vp9, h264], audiolevel_event: yes, pin: 1234}").unwrap();
    let room = &loaded.settings.mcu.rooms[0];
    assert_eq!(room.id, "7");
    assert!(
        room.fields
            .contains(&("videocodec", RoomField::Text("vp9,h264".to_owned())))
    );
    assert!(room.fields.contains(&("audiolevel_event", RoomField::Flag(true))));
    for wrong in [
        "{room: board}",
        "{room: 0}",
        "{room: 7}, {room: 7}",
        "{room: 7, videocodec: [vp7]}",
        "{room: 7, colour: red}",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    assert!(file("mcu: {string_ids: true, rooms: [{room: board}]}").is_ok());
}
