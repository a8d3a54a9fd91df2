//! curl, as it comes with the system, over HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Backend, PATIENCE, Scene, process::run, tools::Folder};

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

#[tokio::test]
async fn curl_through_the_proxy() {
    let (http1, http2) = (Backend::http1("web").await, Backend::h2c("new").await);
    let scene = Scene::with("web", &[&http1], "").await;
    scene.etcd.put("/services/new/1", &http2.url()).await;
    scene.reaches("new", "new").await;
    let address = scene.waypost.data;
    let folder = Folder::new("curl");
    let file = folder.path().join("big");
    std::fs::write(&file, vec![b'b'; 3_000_000]).unwrap();
    let upload = format!("@{}", file.display());

    for way in ["--http1.1", "--http2-prior-knowledge"] {
        for (service, version) in [("web", "HTTP/1.1"), ("new", "HTTP/2.0")] {
            let seen: Value = serde_json::from_str(&curl(address, service, "/a?b=c", &[way]).await).unwrap();
            assert_eq!((&seen["instance"], &seen["version"]), (&service.into(), &version.into()), "{way}: {seen}");
            // Large enough for curl to ask first, by `expect: 100-continue`, over HTTP/1.1.
            let counted = curl(address, service, "/", &[way, "--data-binary", &upload]).await;
            let counted: Value = serde_json::from_str(&counted).unwrap();
            assert_eq!(counted["bytes"], 3_000_000, "{way} to {service}");
            let status = ["--output", "/dev/null", "--write-out", "%{http_code}", "--header", "x-http-status: 418"];
            assert_eq!(curl(address, service, "/", &[&[way][..], &status].concat()).await, "418");
            let head = curl(address, service, "/", &[way, "--head"]).await;
            assert!(head.contains(" 200"), "{way} to {service}: {head}");
        }
        let unknown = curl(address, "nobody", "/", &[way, "--write-out", "%{http_code}"]).await;
        assert!(unknown.contains("nobody") && unknown.ends_with("404"), "{way}: {unknown}");
    }
}
