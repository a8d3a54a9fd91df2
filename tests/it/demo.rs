//! What `make demo` shows: the whole story, and that no call fails in it.

use std::time::Duration;

use crate::harness::{Demo, Etcdctl, PATIENCE, Version, client};

/// The story comes to its last change within this time.
const STORY: Duration = Duration::from_secs(90);

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
    let calls: Vec<_> = log.iter().filter(|line| line.contains("calls in ")).collect();
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
async fn what_somebody_takes_away_comes_back() {
    let demo = Demo::start().await;
    demo.says("worker-1 holds", PATIENCE).await;
    let ctl = Etcdctl { version: Version::LOCAL[0], server: demo.registry };
    ctl.run(&["del", "/services/greeter/three"]).await.unwrap();
    demo.says("/services/greeter/three is gone: it is registered again", PATIENCE).await;
    for lease in ctl.run(&["lease", "list"]).await.unwrap().lines().skip(1) {
        ctl.run(&["lease", "revoke", lease]).await.unwrap();
    }
    demo.says("/services/clock/a is gone: it is registered again", PATIENCE).await;
    demo.says("/locks/nightly-report/", PATIENCE).await;
    // It goes on past the point where a lock changes hands.
    demo.says("clock b crashes", STORY).await;
    let registered = ctl.run(&["get", "--prefix", "/", "--keys-only"]).await.unwrap();
    for key in ["/services/greeter/one", "/services/greeter/three", "/services/clock/a", "/locks/backup/"] {
        assert!(registered.contains(key), "{registered}");
    }
    demo.end().await;
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
