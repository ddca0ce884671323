//! The rules of the house that a compiler does not check: direction of dependencies, no I/O in core, `unsafe` only in
//! `net`, readable files, licences. The rules themselves stand in ARCHITECTURE.md.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Floors of the house, ground first. A crate may depend on crates of lower floors, and on its own floor only as
/// `SAME_FLOOR` says.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &["voex-base"]),
    (
        "wire",
        &["voex-stun", "voex-rtp", "voex-mjr", "voex-sdp", "voex-sip-wire"],
    ),
    (
        "core",
        &[
            "voex-turn",
            "voex-transport",
            "voex-sfu",
            "voex-sip",
            "voex-bridge",
            "voex-janus",
            "voex-worker",
        ],
    ),
    ("shell", &["voex-net", "voex-telemetry", "voex-config", "voex-store"]),
    ("binary", &["voex"]),
    ("outside", &["voex-tests", "voex-benches", "voex-load"]),
];

/// Arrows between crates of one floor.
const SAME_FLOOR: &[(&str, &str)] = &[
    ("voex-sfu", "voex-transport"),
    ("voex-bridge", "voex-sfu"),
    ("voex-bridge", "voex-sip"),
    ("voex-janus", "voex-sfu"),
    ("voex-janus", "voex-sip"),
    ("voex-janus", "voex-bridge"),
    ("voex-worker", "voex-turn"),
    ("voex-worker", "voex-sfu"),
    ("voex-store", "voex-config"),
    ("voex-mjr", "voex-rtp"),
];

/// Words that a wire or core crate must not contain outside its tests, with what they would mean.
const FORBIDDEN_IN_CORE: &[(&str, &str)] = &[
    ("Instant::now", "a clock of its own"),
    ("SystemTime", "a clock of its own"),
    ("UdpSocket", "a socket"),
    ("TcpStream", "a socket"),
    ("TcpListener", "a socket"),
    ("tokio", "a runtime"),
    ("async fn", "a runtime"),
    ("thread::spawn", "a thread"),
    ("thread::sleep", "waiting"),
    ("Mutex", "a lock"),
    ("RwLock", "a lock"),
    ("println!", "output"),
    ("getrandom", "randomness of its own"),
];

/// Packages whose presence means I/O or a runtime.
const SHELL_PACKAGES: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "axum",
    "hyper",
    "tokio-tungstenite",
    "tracing",
    "libc",
    "rustix",
    "nix",
    "redis",
];

const LINES_MAX: usize = 800;

/// The workspace and every package that a Linux build uses.
fn metadata() -> Metadata {
    let linux = ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned);
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).other_options(linux);
    command.exec().expect("cargo metadata works")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the workspace")
        .to_owned()
}

fn floor(name: &str) -> usize {
    let found = FLOORS.iter().position(|(_, crates)| crates.contains(&name));
    found.unwrap_or_else(|| panic!("{name} has no floor: add it to FLOORS here and to ARCHITECTURE.md"))
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development)
        {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            if !to.starts_with("voex") {
                continue;
            }
            let down = floor(from) > floor(to);
            if !down && !SAME_FLOOR.contains(&(from, to)) {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies against the direction: {wrong:?}");
}

#[test]
fn core_and_wire_crates_depend_on_no_runtime_and_no_socket() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        if !(floor("voex-stun")..=floor("voex-turn")).contains(&floor(&package.name)) {
            continue;
        }
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development)
        {
            if SHELL_PACKAGES.contains(&dependency.name.as_str()) {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "core crates with I/O among their dependencies: {wrong:?}"
    );
}

#[test]
fn core_and_wire_sources_name_no_clock_socket_lock_or_runtime() {
    let mut wrong = Vec::new();
    for (name, path, text) in sources() {
        // A fuzz module plays the caller: it makes the first instant that the rest is counted from.
        if floor(&name) > floor("voex-turn") || path.ends_with("fuzz.rs") {
            continue;
        }
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, means) in FORBIDDEN_IN_CORE {
                if code.contains(word) {
                    wrong.push(format!("{}:{} `{word}`: {means}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_in_net_alone() {
    let mut wrong = Vec::new();
    for (name, path, text) in sources() {
        let root_file = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if name == "voex-net" {
            continue;
        }
        if root_file && !text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{} does not forbid unsafe code", path.display()));
        }
        if text
            .lines()
            .any(|line| line.split("//").next().unwrap_or_default().contains("unsafe "))
        {
            wrong.push(format!("{} contains unsafe", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = sources()
        .filter(|(_, _, text)| text.lines().count() > LINES_MAX)
        .map(|(_, path, text)| format!("{} has {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_package_has_a_licence_on_the_list_and_none_is_banned() {
    let policy = fs::read_to_string(root().join("deny.toml")).expect("deny.toml stands beside Cargo.toml");
    let allowed = strings_of(&policy, "allow");
    let banned = strings_of(&policy, "deny");
    let mut wrong = Vec::new();
    for package in metadata().packages {
        let licence = package.license.clone().unwrap_or_default();
        if banned.contains(&package.name.to_string()) {
            wrong.push(format!("{} is banned by deny.toml", package.name));
        }
        if !satisfied(&licence, &allowed) {
            wrong.push(format!(
                "{} {}: licence `{licence}` is not on the list of deny.toml",
                package.name, package.version
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_direct_dependency_has_its_reason_in_the_architecture() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md stands beside Cargo.toml");
    let mut names = BTreeMap::new();
    for package in metadata().workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| !d.name.starts_with("voex")) {
            names.insert(dependency.name.clone(), package.name.clone());
        }
    }
    let missing: Vec<_> = names
        .iter()
        .filter(|(name, _)| !text.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "dependencies without a reason (name, first user): {missing:?}"
    );
}

/// Whether an SPDX expression can be met by the allowed licences: `OR` needs one side, `AND` needs both.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression
        .split(" AND ")
        .all(|all| all.split(" OR ").any(|one| allowed.iter().any(|a| a == one.trim())))
}

/// Strings of the first TOML array called `key`.
fn strings_of(toml: &str, key: &str) -> Vec<String> {
    let from = toml
        .find(&format!("\n{key} = ["))
        .unwrap_or_else(|| panic!("deny.toml has no `{key}`"));
    let array = toml[from..].split(']').next().unwrap_or_default();
    array.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every Rust file under `crates/*/src`: package, path from the root, text.
fn sources() -> impl Iterator<Item = (String, PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    for package in metadata().workspace_packages() {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest stands in a folder")
            .as_std_path()
            .to_owned();
        if folder.starts_with(root.join("crates")) {
            walk(&folder.join("src"), &mut |path| {
                let text = fs::read_to_string(path).expect("sources are readable");
                let short = path
                    .strip_prefix(&root)
                    .expect("sources stand under the root")
                    .to_owned();
                found.push((package.name.to_string(), short, text));
            });
        }
    }
    found.into_iter()
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a crate has sources").map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|e| e == "rs") {
            visit(&path);
        }
    }
}
