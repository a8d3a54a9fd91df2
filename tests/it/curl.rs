//! curl, as it comes with the system, over HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Backend, PATIENCE, process::run};

/// Runs curl against `http://SERVICE/path` at `address`, and returns what it printed.
pub async fn curl(address: SocketAddr, service: &str, path: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    let route = format!("::{}:{}", address.ip(), address.port());
    // No proxy of the environment may come between.
    command.args(["--silent", "--show-error", "--noproxy", "*", "--connect-to", &route]).args(arguments);
    run("curl", PATIENCE, command.arg(format!("http://{service}{path}"))).await
}

#[tokio::test]
async fn curl_directly() {
    let http1 = Backend::http1("web").await;
    let seen: Value = serde_json::from_str(&curl(http1.address, "web", "/a?b=c", &["--http1.1"]).await).unwrap();
    assert_eq!((&seen["version"], &seen["instance"]), (&"HTTP/1.1".into(), &"web".into()));
    let http2 = Backend::h2c("new").await;
    let seen: Value =
        serde_json::from_str(&curl(http2.address, "web", "/", &["--http2-prior-knowledge"]).await).unwrap();
    assert_eq!((&seen["version"], &seen["uri"]), (&"HTTP/2.0".into(), &"http://web/".into()));
}
