//! What `make demo` shows: the whole story, and that no call fails in it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::harness::{Etcdctl, PATIENCE, Version, client, eventually, process::Process};

/// The story comes to its last change within this time.
const STORY: Duration = Duration::from_secs(90);

/// A running demo, and where it listens.
struct Demo {
    process: Process,
    proxy: SocketAddr,
    admin: SocketAddr,
    registry: SocketAddr,
}

impl Demo {
    async fn start() -> Self {
        let process = Process::start("demo", Command::new(env!("CARGO_BIN_EXE_waypost")).arg("demo"));
        let addresses = eventually("the demo to introduce itself", || async {
            let address = |what: &str| {
                process.find(|line| {
                    let at = line.trim_start().strip_prefix(what)?.split_whitespace().next()?;
                    at.trim_start_matches("http://").parse::<SocketAddr>().ok()
                })
            };
            Ok::<_, Vec<String>>((
                address("proxy ").ok_or_else(|| process.log())?,
                address("admin ").ok_or_else(|| process.log())?,
                address("registry ").ok_or_else(|| process.log())?,
            ))
        });
        let (proxy, admin, registry) = addresses.await;
        Self { process, proxy, admin, registry }
    }

    async fn says(&self, what: &str, within: Duration) {
        let start = Instant::now();
        while self.process.find(|line| line.contains(what).then_some(())).is_none() {
            assert!(start.elapsed() < within, "not within {within:?}: {what:?}\n{}", self.process.log().join("\n"));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it with Ctrl-C.
    async fn end(mut self) -> Vec<String> {
        self.process.signal("INT").await;
        let status = self.process.ended(PATIENCE).await;
        assert!(status.success(), "{status}:\n{}", self.process.log().join("\n"));
        self.process.log()
    }
}

#[tokio::test]
async fn the_demo_tells_its_story_without_a_failed_call() {
    let demo = Demo::start().await;
    demo.says("the first call is carried", PATIENCE).await;
    let ctl = Etcdctl { version: Version::LOCAL[0], server: demo.registry };
    let keys = ctl.run(&["get", "--prefix", "/", "--keys-only"]).await.unwrap();
    for key in ["/services/greeter/one", "/services/greeter/three", "/services/clock/b", "/locks/nightly-report/"] {
        assert!(keys.contains(key), "{keys}");
    }
    ctl.run(&["put", "/services/mine/1", "127.0.0.1:1\u{1b}[31m"]).await.unwrap();
    demo.says("put /services/mine/1 127.0.0.1:1\\u{1b}[31m", PATIENCE).await;
    assert!(matches!(client::get(demo.admin, "/readyz").await, Some((200, _))));

    demo.says("delete /services/greeter/two", STORY).await;
    demo.says("worker-2 holds /locks/nightly-report", STORY).await;
    demo.says("delete /services/clock/b", STORY).await;
    demo.says("greeter one gets weight 4", STORY).await;
    demo.says("\"weight\":4", PATIENCE).await;
    let (proxy, log) = (demo.proxy, demo.end().await);
    let calls: Vec<_> = log.iter().filter(|line| line.contains("calls:")).collect();
    assert!(calls.len() >= 5, "{log:#?}");
    // The first count is of all instances, by their weights: 5 of 8 calls go to three.
    for instance in ["one", "two", "three", "a", "b"] {
        assert!(calls[0].contains(&format!("{instance} ")), "{}", calls[0]);
    }
    assert!(calls.iter().all(|line| line.ends_with("; failed 0")), "{calls:#?}");
    assert!(log.last().unwrap().contains("nothing is left behind"), "{log:#?}");
    assert!(tokio::net::TcpStream::connect(proxy).await.is_err());
}

#[tokio::test]
async fn a_second_demo_takes_other_ports_and_says_so() {
    let (one, two) = (Demo::start().await, Demo::start().await);
    for (mine, other) in [(one.proxy, two.proxy), (one.admin, two.admin), (one.registry, two.registry)] {
        assert_ne!(mine, other);
    }
    two.says("port 8400 is taken: the proxy listens on", PATIENCE).await;
    two.says("the first call is carried", PATIENCE).await;
    one.says("the first call is carried", PATIENCE).await;
    one.end().await;
    two.end().await;
}
