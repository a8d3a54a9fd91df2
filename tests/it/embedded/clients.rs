//! etcd clients of other languages: each script registers, watches and locks, and prints a line of JSON per check.

use std::time::Duration;

use tokio::process::Command;

use crate::harness::{
    embedded,
    process::run,
    tools::{project, tool},
};

/// A script runs all its checks within this time, on a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// What every script checks.
const CHECKS: [&str; 9] =
    ["register", "watch", "prefix", "txn", "lock", "keep-alive", "lease end", "history", "errors"];

async fn checks(name: &str, mut command: Command, script: &str) {
    let server = embedded::start().await;
    let said = run(name, LIMIT, command.arg(project(script)).arg(server.address().to_string())).await;
    for check in CHECKS {
        let line = said.lines().find(|line| line.contains(&format!("\"{check}\"")));
        assert!(line.is_some(), "{name} said nothing about {check:?}:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_registers_watches_and_locks() {
    checks("python", Command::new(tool("python/bin/python", "setup-test")), "tests/clients/python/etcd.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_registers_watches_and_locks() {
    tool("node/node_modules/etcd3", "setup-test");
    checks("node", Command::new("node"), "tests/clients/node/etcd.js").await;
}
