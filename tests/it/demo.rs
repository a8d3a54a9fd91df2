//! What `make demo` shows, with this build of the proxy.

use std::time::Duration;

use tokio::process::Command;

use crate::harness::{
    process::run,
    tools::{project, tool},
};

#[tokio::test]
async fn the_demo_shows_calls_by_service_name() {
    let mut command = Command::new(tool("python/bin/python", "setup-demo"));
    command.arg(project("tests/setup/demo.py")).args([env!("CARGO_BIN_EXE_waypost"), "--once"]);
    let said = run("demo", Duration::from_secs(60), &mut command).await;
    for expected in ["greeter: hello you, I am one", "greeter: hello you, I am two", "stranger: UNAVAILABLE", "etcdctl"]
    {
        assert!(said.contains(expected), "{expected:?} is missing in:\n{said}");
    }
}
