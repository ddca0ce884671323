//! The files an administrator starts from.

use voex_config::{ApiAccess, Severity, Source, load};

const VOEX: &str = include_str!("../../../config/express-voice.yaml");
const OWN: &str = include_str!("../../../config/settings.yaml");
const GOLDEN: &str = include_str!("golden/express-voice.txt");

fn source(text: &str) -> Option<Source<'_>> {
    Some(Source {
        name: "settings.yaml",
        text,
    })
}

#[test]
fn the_file_of_the_guide_is_read_unchanged() {
    let loaded = load(source(VOEX), &[], false).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.turn.listen, ["2.3.4.5".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(settings.turn.realm.as_deref(), Some("localhost"));
    assert_eq!(settings.mcu.ws_listen, "172.17.0.1:8188".parse().unwrap());
    assert_eq!(settings.turn.users_redis.as_ref().unwrap().port, 6379);
    assert_eq!(
        settings.voex.redis_endpoint_password.as_ref().unwrap().reveal(),
        "verystrongpassword"
    );
    assert!(settings.mcu.enabled && settings.sip.enabled && settings.media.keep_private);
    for (client, access) in [
        ("172.18.0.5", ApiAccess::Allowed),
        ("172.18.10.5", ApiAccess::NotInPrefix),
        ("192.0.2.1", ApiAccess::NotInAcl),
        ("::ffff:192.0.2.1", ApiAccess::NotInAcl),
    ] {
        assert_eq!(settings.api_access(client.parse().unwrap()), access, "{client}");
    }
}

#[test]
fn the_effective_settings_of_the_file_of_the_guide_match_the_golden_file() {
    let loaded = load(source(VOEX), &[], false).unwrap();
    let shown = format!("{}{}", loaded.explain(), loaded.report);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/express-voice.txt"),
            &shown,
        )
        .unwrap();
    }
    assert_eq!(shown, GOLDEN);
    assert!(!shown.contains("verystrongpassword"), "a secret is shown");
}

#[test]
fn the_annotated_file_gives_every_key_its_default() {
    let annotated = load(source(OWN), &[], true).unwrap();
    let empty = load(source("project_type: express-voice"), &[], true).unwrap();
    let values = |text: String| -> Vec<String> {
        text.lines()
            .map(|line| line.split("    # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(annotated.explain()), values(empty.explain()));
}

#[test]
fn every_example_that_is_commented_out_in_the_annotated_file_is_valid() {
    // An example is a comment whose text is a YAML line of its own: `# key: value`, `#  - {..}`, `#   redis: ..`.
    let uncommented: String = OWN
        .replace("static: {}\n", "static:\n")
        .replace("keys: {}\n", "keys:\n")
        .replace("tokens: {}\n", "tokens:\n")
        .replace("rooms: []\n", "rooms:\n")
        .replace("trunks: []\n", "trunks:\n")
        .replace("routes: []\n", "routes:\n")
        .lines()
        .map(|line| {
            let trimmed = line.trim_start();
            let example = trimmed.strip_prefix("# ").filter(|rest| is_example(rest.trim_start()));
            match example {
                Some(rest) => format!("{}{rest}\n", &line[..line.len() - trimmed.len()]),
                None => format!("{line}\n"),
            }
        })
        .collect();
    let loaded = load(source(&uncommented), &[], true).unwrap_or_else(|report| panic!("{report}\n{uncommented}"));
    assert_eq!(loaded.settings.mcu.rooms[0].id, "1234");
    assert_eq!(loaded.settings.turn.users_static[0].0, "alice");
    assert_eq!(loaded.settings.turn.users_keys[0].0, "bob");
    assert_eq!(loaded.settings.turn.users_tokens[0].0, "north");
    assert_eq!(loaded.settings.sip.trunks[0].prefix, "9");
    assert!(loaded.settings.tls.key.is_some() && loaded.settings.turn.stats_redis.is_some());
}

fn is_example(text: &str) -> bool {
    let key = text.split(':').next().unwrap_or_default();
    text.starts_with("- {")
        || (text.contains(':') && !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
}

#[test]
fn keys_that_are_not_built_yet_are_said_once_each_and_do_not_stop_the_start() {
    let loaded = load(source(VOEX), &[], false).unwrap();
    let notices: Vec<_> = loaded
        .report
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Notice && problem.text.contains("not built yet"))
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(notices, ["redis_options"]);
}

#[test]
fn the_example_password_of_the_guide_is_warned_about() {
    let loaded = load(source(VOEX), &[], false).unwrap();
    assert!(
        loaded
            .report
            .problems
            .iter()
            .any(|problem| problem.severity == Severity::Warning
                && problem.key == "redis_userdb"
                && problem.text.contains("replace it now"))
    );
}
