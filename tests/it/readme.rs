//! The README keeps its word: its configuration is read, its reference is complete and right, its example runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tokio::process::Command;
use waypost::cli::Settings;
use waypost::config;

use crate::harness::{
    PATIENCE, Scene, eventually,
    process::{Process, run},
    tools::{project, tool},
};

/// A key that no section knows, and that is near to none.
const NONSENSE: &str = "xqzwxqzw";
/// Sections under names of the user's own that have the keys of another section, which is where they are explained.
const SAME_AS_ANOTHER: [&str; 2] = ["etcd.clients.NAME", "services.named.NAME"];
const PROBE: &str = "services.default.health.probe.";

fn readme() -> String {
    fs::read_to_string(project("README.md")).unwrap()
}

/// The blocks of the README in one language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("\n```{language}\n");
    readme.split(start.as_str()).skip(1).map(|rest| rest.split("\n```\n").next().unwrap()).collect()
}

/// A row of the reference: key, default, range.
type Row<'a> = (&'a str, &'a str, &'a str);

/// The rows of the configuration reference.
fn reference(readme: &str) -> BTreeMap<&str, Row<'_>> {
    let section = readme.split("\n## Configuration\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [key, default, range, meaning] = cells[..] else { panic!("four cells, not {line}") };
        assert!(!meaning.is_empty(), "{line}");
        assert!(rows.insert(key, (key, default, range)).is_none(), "{key} stands there twice");
    }
    rows
}

/// The configuration that has only this key: `a.b[].c` with 1 is `{"a": {"b": [{"c": 1}]}}`.
fn with(path: &str, value: &str) -> String {
    path.rsplit('.').fold(value.to_owned(), |inner, part| match part.strip_suffix("[]") {
        Some(list) => format!("{{\"{list}\": [{inner}]}}"),
        None => format!("{{\"{part}\": {inner}}}"),
    })
}

/// What is wrong at this key if it has this value.
fn complaints(path: &str, value: &str) -> Vec<String> {
    let errors = config::parse(&with(path, value), Settings::read).err();
    let key = path.replace("[]", "[0]");
    let errors = errors.iter().flat_map(|errors| errors.iter());
    errors.filter(|error| error.key == key).map(|error| error.message.clone()).collect()
}

/// The paths of all keys that have a value, found by asking: a section that is given nonsense says what it knows.
fn known(section: &str, found: &mut BTreeSet<String>) {
    let below = |key: &str| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    let answers = complaints(&below(NONSENSE), "1");
    let keys = answers.iter().find_map(|answer| answer.strip_prefix("unknown key; known here are "));
    let says = |answers: &[String], start: &str| answers.iter().any(|answer| answer.starts_with(start));
    if let Some(keys) = keys {
        keys.split(", ").for_each(|key| known(&below(key), found));
    } else if says(&answers, "must be a section") {
        known(&below("NAME"), found);
    } else if says(&complaints(section, "{}"), "must be a list of sections") {
        known(&format!("{section}[]"), found);
    } else {
        found.insert(section.to_owned());
    }
}

#[test]
fn every_key_is_explained_and_no_other() {
    let readme = readme();
    let mut found = BTreeSet::new();
    known("", &mut found);
    assert!(found.contains("proxy.limits.max_streams") && found.contains("prefixes[].service"), "{found:?}");
    let same = |key: &str| SAME_AS_ANOTHER.into_iter().find(|other| key.starts_with(other));
    let found: BTreeSet<_> = found.iter().map(|key| same(key).unwrap_or(key)).collect();
    let explained: BTreeSet<_> = reference(&readme).into_keys().collect();
    let missing: Vec<_> = found.difference(&explained).collect();
    let invented: Vec<_> = explained.difference(&found).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:?}, invented: {invented:?}");
}

#[test]
fn defaults_and_ranges_are_right() {
    let readme = readme();
    let defaults = config::parse("", Settings::read).unwrap();
    for (key, default, range) in reference(&readme).into_values() {
        if SAME_AS_ANOTHER.contains(&key) {
            continue;
        }
        if !["unset", "required", "cores, at most 4"].contains(&default) {
            let value = if default.starts_with('[') { default.to_owned() } else { format!("'{default}'") };
            assert_eq!(complaints(key, &value), [""; 0], "{key}: {default}");
            // Items of these two have a key that is required.
            if !["routing.routes[]", "filters[]"].iter().any(|list| key.starts_with(list)) {
                let text = match key.strip_prefix(PROBE) {
                    // Its other keys are an error without that one.
                    Some(own) if own != "kind" => {
                        with(&PROBE[..PROBE.len() - 1], &format!("{{kind: 'off', {own}: {value}}}"))
                    }
                    _ => with(key, &value),
                };
                let read = config::parse(&text, Settings::read).unwrap();
                assert!(read == defaults, "{key}: the default is not {default}");
            }
        }
        // Far out of every range, in the three units that there are; and no word that there is.
        let refusals =
            ["'99999999999999999999'", "99999d", "99999999GiB", NONSENSE].map(|value| complaints(key, value));
        for refusal in refusals.concat() {
            let said = refusal.split("; is `").next().unwrap().split(", is `").next().unwrap();
            if let Some((_, limits)) = said.split_once(" from ") {
                assert!(range.contains(limits), "{key}: {said}, the README says {range:?}");
            }
            let words = said.strip_prefix("must be one of ").map(|words| words.split(", ").collect::<Vec<_>>());
            for word in words.unwrap_or_default() {
                assert!(range.split(", ").any(|w| w.trim_matches('`') == word), "{key}: {word} is not in {range:?}");
            }
        }
    }
}

#[test]
fn its_configurations_are_accepted() {
    let readme = readme();
    let examples = blocks(&readme, "yaml");
    assert!(examples.len() > 1, "{examples:?}");
    for example in examples {
        if let Err(errors) = config::parse(example, Settings::read) {
            panic!("{errors}\nin\n{example}");
        }
    }
}

/// The names that a source file lists as texts, between `start` and `end`.
fn texts(path: &str, start: &str, end: &str) -> Vec<String> {
    let source = fs::read_to_string(project(path)).unwrap();
    let list = source.split(start).nth(1).unwrap().split(end).next().unwrap();
    let code: Vec<_> = list.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    code.join("\n").split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_metric_and_outcome_is_explained() {
    let readme = readme();
    let metrics = texts("src/telemetry/names.rs", "pub const ETCD_OPERATIONS", "\0");
    let outcomes = texts("src/proxy/stats.rs", "pub(super) const OUTCOMES", "];");
    assert!(metrics.len() > 15 && outcomes.len() > 10, "{metrics:?} {outcomes:?}");
    for name in metrics {
        let row = |suffix: &str| readme.contains(&format!("| `{name}{suffix}` |"));
        assert!(row("") || row("_total"), "{name} has no row");
    }
    for outcome in outcomes {
        assert!(readme.contains(&format!("`{outcome}`")), "{outcome} is not explained");
    }
}

#[test]
fn every_call_of_the_go_table_is_made_by_the_test_that_it_names() {
    let readme = readme();
    let table = readme.split("\n| Go | here | test |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let files = ["tests/it", "src/registry"].map(|folder| fs::read_dir(project(folder)).unwrap());
    let paths = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let rows: Vec<_> = table.lines().skip(1).collect();
    assert!(rows.len() > 30, "{rows:?}");
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, ours, test] = cells[..] else { panic!("three cells, not {row}") };
        let start = format!("fn {}(", test.trim_matches('`'));
        let file = files.iter().find(|file| file.contains(&start)).unwrap_or_else(|| panic!("there is no test {test}"));
        let body = file.split(&start).nth(1).unwrap().split("\n}\n").next().unwrap();
        // Each call that the row names stands in that test, or else in a helper beside it.
        for call in ours.split('`').skip(1).step_by(2) {
            let names = call.split(['.', ':']).filter_map(|part| part.split_once('(')).map(|(name, _)| name);
            for name in names.filter(|name| !name.is_empty()) {
                let called = format!("{name}(");
                assert!(
                    body.contains(&called)
                        || file.contains(&format!(".{called}"))
                        || file.contains(&format!("::{called}")),
                    "{test} calls no {name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn its_example_runs() {
    let scene = Scene::new("").await;
    let python = || {
        let mut command = Command::new(tool("python/bin/python", "setup-test"));
        command.arg(project("examples/greeter.py"));
        command
    };
    let server = Process::start("greeter", python().args(["serve", "one", "0"]));
    let address = eventually("the greeter to listen", async || {
        server.find(|line| line.strip_prefix("one listens on ").map(str::to_owned)).ok_or("not yet")
    });
    scene.etcd.put("/services/greeter/one", &address.await).await;
    scene.knows(1).await;
    let mut call = python();
    call.args(["call", "greeter", "2"]).env("PROXY", scene.waypost.data.to_string());
    assert_eq!(run("call", PATIENCE, &mut call).await, "hello, I am one\nhello, I am one\n");
}
