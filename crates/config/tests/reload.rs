//! What a reload takes over, and what waits for a restart.

use voex_config::{Loaded, Reload, Source, load};

fn file(text: &str) -> Loaded {
    let source = Source {
        name: "settings.yaml",
        text,
    };
    load(Some(source), &[], true).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn a_reload_takes_users_rules_and_levels_and_leaves_ports_and_addresses() {
    let mut running = file(
        "project_type: express-voice\n\
         turn: {realm: a.test, relay_ports: 50000-50099, users: {static: {alice: one}}}\n\
         external_interface: eth0\n",
    );
    let fresh = file(
        "project_type: express-voice\n\
         turn:\n  realm: b.test\n  relay_ports: 50000-50199\n  users: {static: {alice: two}}\n  peers: {deny: [10.0.0.0/8]}\n\
         external_interface: eth1\n\
         logger_level: debug\n",
    );
    let reload = running.take_over(&fresh);
    assert_eq!(
        reload,
        Reload {
            taken: vec!["turn.realm", "turn.users.static", "turn.peers.deny", "log.level"],
            waiting: vec!["external_interface", "turn.relay_ports"],
        }
    );
    let settings = &running.settings;
    assert_eq!(settings.turn.realm.as_deref(), Some("b.test"));
    assert_eq!(settings.turn.users_static[0].1.reveal(), "two");
    assert_eq!(settings.turn.relay_ports.last, 50_099);
    assert_eq!(settings.voex.external_interface.as_deref(), Some("eth0"));
    // What waits is named again each time, and what was taken is not.
    let again = running.take_over(&fresh);
    assert_eq!((again.taken, again.waiting), (vec![], reload.waiting));
}

#[test]
fn a_reload_of_the_same_file_changes_nothing() {
    let text = "project_type: express-voice\nturn: {users: {keys: {bob: 38ea77b3222a6572d2bb78cfa6468419}}}\n";
    assert_eq!(file(text).take_over(&file(text)), Reload::default());
}
