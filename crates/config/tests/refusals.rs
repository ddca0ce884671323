//! What is refused, and how it is said.

use voex_config::{Report, Severity, Source, load};

fn refusal(text: &str) -> Report {
    load(
        Some(Source {
            name: "settings.yaml",
            text,
        }),
        &[],
        false,
    )
    .expect_err("the file is wrong")
}

fn errors(report: &Report) -> Vec<String> {
    report
        .lines()
        .filter(|(severity, _)| *severity == Severity::Error)
        .map(|(_, line)| line)
        .collect()
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = load(
        Some(Source {
            name: "settings.yaml",
            text,
        }),
        &[],
        false,
    )
    .expect("the file can be started with");
    loaded
        .report
        .lines()
        .filter(|(severity, _)| *severity == Severity::Warning)
        .map(|(_, line)| line)
        .collect()
}

#[test]
fn every_error_is_reported_at_once_with_file_line_key_value_and_what_is_right() {
    let report = refusal(
        "project_type: express-voice\n\
         turnserver_listening_ip: 2.3.4\n\
         janus_enabled: perhaps\n\
         turn:\n  ports:\n    plain: [3478, 0, x]\n\
         logger_level: loud\n",
    );
    assert_eq!(
        errors(&report),
        [
            "settings.yaml:2: turnserver_listening_ip = \"2.3.4\": an IP address is expected, such as 192.0.2.10 or 2001:db8::10",
            "settings.yaml:3: janus_enabled = \"perhaps\": true or false is expected (yes, no, on, off are taken too)",
            "settings.yaml:6: turn.ports.plain = \"0\": a port from 1 to 65535 is expected",
            "settings.yaml:6: turn.ports.plain = \"x\": a port from 1 to 65535 is expected",
            "settings.yaml:7: logger_level = \"loud\": one of error, warning, info, debug, trace is expected",
        ]
    );
}

#[test]
fn a_wrong_set_is_an_error_of_the_command_line() {
    let report = load(
        None,
        &[
            "workers=many".to_owned(),
            "turn.listn=1.2.3.4".to_owned(),
            "x".to_owned(),
        ],
        false,
    );
    let errors = errors(&report.unwrap_err());
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors.iter().all(|line| line.starts_with("--set: ")));
    assert!(errors.iter().any(|line| line.contains("did you mean `turn.listen`?")));
}

#[test]
fn another_product_s_file_is_refused_by_name() {
    let errors = errors(&refusal("project_type: express\n"));
    assert!(
        errors[0].contains("project_type = \"express\"") && errors[0].contains("express-voice"),
        "{errors:?}"
    );
}

#[test]
fn two_spellings_that_contradict_each_other_are_refused_and_two_that_agree_are_not() {
    let report = refusal("janus_nat_1_1_mapping: 1.2.3.4\nnat_1_1_mapping: 5.6.7.8\n");
    assert!(errors(&report)[0].contains("contradicts `janus_nat_1_1_mapping` of line 1"));
    assert!(
        load(
            Some(Source {
                name: "f",
                text: "janus_ws_ip: 127.0.0.1\nmcu:\n  ws:\n    listen: 127.0.0.1:8188\n"
            }),
            &[],
            false
        )
        .is_ok()
    );
}

#[test]
fn the_api_on_a_public_address_needs_an_acl() {
    for listen in ["0.0.0.0", "203.0.113.5", "'[::]:8188'"] {
        let report = refusal(&format!("janus_enabled: true\njanus_ws_ip: {listen}\npermit_ip: []\n"));
        assert!(errors(&report)[0].contains("acl.cts"), "{listen}");
    }
    for listen in ["172.17.0.1", "10.0.0.5", "127.0.0.1"] {
        warnings(&format!("janus_enabled: true\njanus_ws_ip: {listen}\npermit_ip: []\n"));
    }
    warnings("janus_enabled: true\njanus_ws_ip: 0.0.0.0\npermit_ip: [10.0.0.7]\n");
    let open = warnings("janus_enabled: true\njanus_ws_ip: 0.0.0.0\npermit_ip: ['0.0.0.0/0']\n");
    assert!(open.iter().any(|line| line.contains("lets everybody")));
}

#[test]
fn pools_that_overlap_are_refused() {
    let report = refusal("media:\n  ports: 20000-50000\n");
    assert!(errors(&report)[0].contains("overlaps turn.relay_ports 49152-65535"));
}

#[test]
fn unknown_keys_warn_with_the_nearest_known_one_and_strict_refuses_them() {
    let text = "janus_enable: true\nmcu:\n  wss: 1\n";
    let lines = warnings(text);
    assert!(
        lines[0].contains("settings.yaml:1: janus_enable") && lines[0].contains("`janus_enabled`"),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.starts_with("settings.yaml:3: mcu.wss")));
    assert!(load(Some(Source { name: "f", text }), &[], true).is_err());
}

#[test]
fn keys_of_the_deployment_tool_get_one_notice_each() {
    let text = "prometheus_users: {a: b}\nnginx_options: {}\nelk_host: x\nfoo_env_override: {}\n";
    let loaded = load(Some(Source { name: "f", text }), &[], true).unwrap();
    let notices = loaded
        .report
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Notice);
    assert_eq!(notices.count(), 4);
}

#[test]
fn secrets_are_in_no_message() {
    let report = refusal(
        "redis_userdb: ip=localhost password=topsecret prot=1\n\
         turn:\n  users:\n    static: {alice: [topsecret]}\n    secrets: {topsecret: x}\n\
         mcu:\n  api_secret: [topsecret]\n",
    );
    assert_eq!(errors(&report).len(), 4, "{report}");
    assert!(!report.to_string().contains("topsecret"), "{report}");
}

#[test]
fn a_broken_file_names_the_line_and_the_fix() {
    let report = refusal("redis_userdb: ip=localhost password=topsecret dbname=1\nport=6379\njanus_enabled: true\n");
    let errors = errors(&report);
    assert!(
        errors[0].starts_with("settings.yaml:2: the line `port=6379`") && errors[0].contains("indent"),
        "{errors:?}"
    );
    assert!(refusal("a: [1, 2\n").to_string().contains("settings.yaml:"));
    assert!(refusal("- a\n- b\n").to_string().contains("key: value"));
}

#[test]
fn databases_of_one_file_with_different_passwords_are_told() {
    let file = |endpoint: &str, users: &str, statistics: &str| {
        format!(
            "project_type: express-voice\n\
             redis_options:\n  command:\n    - redis-server\n    - --requirepass {endpoint}\n\
             redis_userdb: ip=localhost password={users} dbname=1 port=6379\n\
             redis_statsdb: ip=localhost password={statistics} dbname=1 port=6379\n"
        )
    };
    let told = |text: &str| -> Vec<String> {
        let differing = "its password is another one than that of";
        warnings(text)
            .into_iter()
            .filter(|line| line.contains(differing))
            .collect()
    };
    assert_eq!(told(&file("aaa", "aaa", "aaa")), Vec::<String>::new());
    for (text, key) in [
        (file("aaa", "aaa", "bbb"), "redis_statsdb"),
        (file("bbb", "aaa", "aaa"), "redis_options"),
        (file("bbb", "aaa", "bbb"), "redis_statsdb"),
    ] {
        let told = told(&text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains(&format!("{key}: ")) && !told[0].contains("bbb"),
            "{told:?}"
        );
    }
}
