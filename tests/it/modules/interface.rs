//! `filters/ABI.md` says what a module may export and import; the host must say the same.

use std::{collections::BTreeSet, fs};

use crate::harness::tools::project;

/// The names in the first column of the tables under a heading, with what stands behind them.
fn table(document: &str, heading: &str) -> BTreeSet<String> {
    let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    names.map(|name| name.split('(').next().unwrap().to_owned()).collect()
}

/// All text literals of the host's sources that are such names.
fn in_sources(folders: &[&str], is_name: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in folders {
        let text = fs::read_to_string(project(path)).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        found.extend(text.split('"').skip(1).step_by(2).filter(|name| is_name(name)).map(str::to_owned));
    }
    assert!(!found.is_empty(), "{folders:?}");
    found
}

#[test]
fn what_policies_export_and_import_is_what_the_host_calls_and_has() {
    let document = fs::read_to_string(project("filters/ABI.md")).unwrap();
    let exports = table(&document, "\n## What a policy exports\n");
    let called = in_sources(&["src/wasm/exports.rs"], |name| name.starts_with("waypost_"));
    assert_eq!(exports, called);
    let imports = table(&document, "\n## What a policy may import\n");
    let there = in_sources(&["src/wasm/abi/policy.rs"], |name| {
        !name.is_empty() && name != "waypost" && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    });
    assert_eq!(imports, there);
}

#[test]
fn the_marks_are_those_that_the_host_looks_for() {
    let document = fs::read_to_string(project("filters/ABI.md")).unwrap();
    let marks = table(&document, "\n## What every module exports\n");
    for mark in ["memory", "malloc", "proxy_on_memory_allocate", "waypost_policy_abi_1", "_initialize", "_start"] {
        assert!(marks.contains(mark), "{mark} is not in the table: {marks:?}");
    }
    let sources =
        ["src/wasm/module.rs", "src/wasm/vm.rs"].map(|path| fs::read_to_string(project(path)).unwrap()).concat();
    for mark in marks {
        let looked_for = mark.trim_start_matches("proxy_abi_version").trim_start_matches('_');
        assert!(sources.contains(looked_for), "nobody looks for {mark}");
    }
}

#[test]
fn proxy_wasm_is_listed_whole() {
    let document = fs::read_to_string(project("filters/ABI.md")).unwrap();
    let files = ["general", "headers", "buffers", "streams", "properties", "shared", "metrics", "calls"];
    let files = files.map(|file| format!("src/wasm/abi/{file}.rs"));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let there = in_sources(&files, |name| name.starts_with("proxy_") && !name.contains(' '));
    let mut listed = table(&document, "\n## proxy-wasm\n");
    listed.retain(|name| name.starts_with("proxy_"));
    assert_eq!(listed, there);
}
