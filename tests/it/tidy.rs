//! Taste that a machine can hold: tiers, fences, lengths of files, every feature checked.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::harness::tools::project;

/// The rooms of the house, from the roof down: imports go down only, and rooms of one tier never know each other.
const TIERS: [&[&str]; 11] = [
    &["cli"],
    &["manager"],
    &["admin", "proxy", "channel"],
    &["health", "balance"],
    &["wasm"],
    &["upstream", "route", "discovery"],
    &["http2"],
    &["table"],
    &["registry"],
    &["etcd", "embedded"],
    // Everybody's cellar: what these two know of each other is their own affair.
    &["config", "telemetry"],
];

/// Crates that only some rooms may name.
const FENCES: [(&str, &[&str]); 8] = [
    ("etcd_client", &["etcd", "embedded"]),
    ("wasmtime", &["wasm"]),
    ("axum", &["admin"]),
    ("askama", &["admin"]),
    // Only tests: what carries calls is ours.
    ("h2", &[]),
    ("hyper::server", &["proxy", "upstream"]),
    ("clap", &["cli"]),
    ("saphyr", &["config"]),
];

/// Lines of a file, and of one that holds only tests. About 400 is the aim; this is the end of patience.
const LINES: usize = 450;
const TEST_LINES: usize = 550;

/// A source file: its path below src, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The room that it belongs to: `proxy` for `proxy.rs` and for all in `proxy/`.
    fn room(&self) -> String {
        let first = self.path.components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Its code without what only tests see, and without comments.
    fn code(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let code = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }

    fn is_test(&self) -> bool {
        self.path.file_name().unwrap() == "tests.rs" || self.path.components().any(|part| part.as_os_str() == "tests")
    }
}

fn sources(below: &str) -> Vec<Source> {
    let root = project(below);
    let (mut sources, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(!sources.is_empty(), "nothing below {below}");
    sources
}

/// Says all that is wrong at once.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The first name behind each `crate::` of the code, also within braces.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (character.is_alphanumeric() || character == '_') {
                    name.push(character);
                } else if !name.is_empty() && (depth != 1 || matches!(character, ',' | ':' | ' ' | '\n')) {
                    found.push(std::mem::take(&mut name));
                }
                if depth == 0 {
                    break;
                }
            }
            found.extend((!name.is_empty()).then_some(name));
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn imports_are_found_in_every_spelling() {
    let code = "use crate::table::{Slot, route};\nuse crate::{etcd, proxy::config};\nlet a = crate::wasm::b;";
    let mut found = imports(code);
    found.retain(|name| TIERS.concat().contains(&name.as_str()));
    found.sort();
    // `config` is an inner name of the group here, and shows once too often: harmless, it is in the cellar.
    assert_eq!(found, ["config", "etcd", "proxy", "table", "wasm"]);
}

#[test]
fn imports_go_down_only() {
    let tiers: BTreeMap<&str, usize> =
        TIERS.iter().enumerate().flat_map(|(tier, rooms)| rooms.iter().map(move |room| (*room, tier))).collect();
    let cellar = TIERS.len() - 1;
    let mut wrong = Vec::new();
    for source in sources("src") {
        let room = source.room();
        let Some(&own) = tiers.get(room.as_str()) else { continue };
        for import in imports(&source.code()) {
            let Some(&tier) = tiers.get(import.as_str()) else { continue };
            let allowed = import == room || tier > own || (own == cellar && tier == cellar);
            if !allowed {
                wrong.push(format!("{}: {room} must not know {import}", source.path.display()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn every_room_has_its_tier() {
    let known = TIERS.concat();
    let mut wrong = Vec::new();
    for source in sources("src") {
        let room = source.room();
        if !known.contains(&room.as_str()) && !["main", "lib"].contains(&room.as_str()) {
            wrong.push(format!("{}: which tier is {room}?", source.path.display()));
        }
    }
    none(&wrong);
}

#[test]
fn crates_stay_behind_their_fences() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let (room, code) = (source.room(), source.code());
        for (name, rooms) in FENCES {
            let named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                // Whole names only: `bench2::` is not `h2::`, and `crate::h2::` is ours.
                !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
            });
            if named && !rooms.contains(&room.as_str()) {
                wrong.push(format!("{}: {name} belongs to {}", source.path.display(), rooms.join(" and ")));
            }
        }
    }
    none(&wrong);
}

#[test]
fn files_are_short_and_say_why_they_exist() {
    let mut wrong = Vec::new();
    for below in ["src", "tests"] {
        for source in sources(below) {
            let (path, lines) = (source.path.display(), source.text.lines().count());
            let bound = if source.is_test() { TEST_LINES } else { LINES };
            if lines > bound {
                wrong.push(format!("{below}/{path}: {lines} lines, {bound} at most"));
            }
            if source.path.file_name().unwrap() == "mod.rs" {
                wrong.push(format!("{below}/{path}: foo.rs and foo/, never mod.rs"));
            }
            let may_go_without = source.path.file_name().unwrap() == "tests.rs";
            if !source.text.starts_with("//!") && !may_go_without {
                wrong.push(format!("{below}/{path}: no module doc that says why it exists"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_test_is_ignored() {
    let mut wrong = Vec::new();
    for below in ["src", "tests"] {
        for source in sources(below) {
            if source.text.lines().any(|line| line.trim_start().starts_with("#[ignore")) {
                wrong.push(format!("{below}/{}", source.path.display()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_file_names_a_package_registry() {
    // Mirrors are the user's own business, set up where their tools read it.
    let hosts = ["crates.io", "pypi.org", "npmjs.org", "proxy.golang.org"];
    let lists = [
        "Makefile",
        "tests/clients/node/package-lock.json",
        "tests/clients/browser/package-lock.json",
        "tests/clients/python/requirements.txt",
        "tests/guests/assemblyscript/package-lock.json",
    ];
    let setup = fs::read_dir(project("tests/setup")).unwrap().map(|entry| entry.unwrap().path());
    for path in lists.iter().map(|list| project(list)).chain(setup) {
        let text = fs::read_to_string(&path).unwrap();
        for host in hosts {
            assert!(!text.contains(host), "{} names {host}", path.display());
        }
    }
}

#[test]
fn no_fetched_code_lies_among_the_sources() {
    let mut folders = vec![project("tests"), project("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                !["node_modules", "vendor", "site-packages"].contains(&name),
                "{}: belongs to .tools",
                path.display()
            );
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
}

#[test]
fn every_feature_is_checked_alone() {
    let manifest = fs::read_to_string(project("Cargo.toml")).unwrap();
    let section = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let features = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    // What the script reads its list with finds each of them.
    let script = fs::read_to_string(project("tests/setup/lint.sh")).unwrap();
    assert!(script.contains(r"sed -n '/^\[features\]/,/^\[/s/^\([a-z][a-z-]*\) *=.*/\1/p' Cargo.toml"));
    for feature in features {
        assert!(feature.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{feature}: the script misses it");
    }
}
