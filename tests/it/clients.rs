//! Real gRPC clients of other languages: each script runs its scenarios and prints one line of JSON per check.

use std::{net::SocketAddr, time::Duration};

use tokio::process::Command;

use crate::harness::{
    Backend, Scene,
    process::run,
    tools::{project, tool},
};

/// A script runs all its scenarios within this time, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs Python's grpcio.
pub async fn python(address: SocketAddr, service: &str, more: &[&str]) -> String {
    let mut command = Command::new(tool("python/bin/python", "setup-test"));
    command.arg(project("tests/clients/python/scenarios.py"));
    scenarios("python", &mut command, address, service, more).await
}

/// Runs Node's @grpc/grpc-js.
pub async fn node(address: SocketAddr, service: &str, more: &[&str]) -> String {
    tool("node/node_modules/@grpc/grpc-js", "setup-test");
    let mut command = Command::new("node");
    command.arg(project("tests/clients/node/scenarios.js"));
    scenarios("node", &mut command, address, service, more).await
}

/// Every script runs these checks; through the proxy one more.
const CHECKS: [&str; 12] = [
    "unary",
    "client stream",
    "server stream",
    "bidi stream",
    "metadata",
    "trailers",
    "error status",
    "deadline",
    "cancel",
    "big messages",
    "parallel",
    "interleaved",
];

async fn scenarios(name: &str, command: &mut Command, address: SocketAddr, service: &str, more: &[&str]) -> String {
    let said = run(name, LIMIT, command.arg(address.to_string()).arg(service).args(more)).await;
    for check in CHECKS {
        assert!(said.contains(&format!("\"{check}\"")), "{name} said nothing about {check:?}:\n{said}");
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_directly() {
    let backend = Backend::h2c("one").await;
    python(backend.address, "any", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_directly() {
    let backend = Backend::h2c("one").await;
    node(backend.address, "any", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_through_the_proxy() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let said = python(scene.waypost.data, "greeter", &["--proxy"]).await;
    assert!(said.contains("unknown service"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_through_the_proxy() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let said = node(scene.waypost.data, "greeter", &["--proxy"]).await;
    assert!(said.contains("unknown service"), "{said}");
}
