//! Locks and elections of the library: on real etcd servers and the embedded one, and against etcdctl.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout};
use waypost::registry::{Config, Error, Loss, Registry};

use crate::{
    harness::{Etcd, Etcdctl, PATIENCE, Version, embedded, eventually},
    registering::{client, everywhere},
};

const TTL: Duration = Duration::from_secs(3);

fn registry(endpoint: &str) -> Registry {
    Registry::new(client(endpoint), Config { ttl: TTL, ..Config::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stands_in_line_has_a_name() {
    everywhere(async |endpoint| {
        let (registry, client) = (registry(&endpoint), client(&endpoint));
        let locks = registry.locks().with_holder("worker-1");
        let held = locks.lock("x").await.unwrap();
        // As Go and etcdctl do, who write no name: one is registered on its lease, the other is not.
        let [lease, other] = [client.grant(TTL * 10).await.unwrap(), client.grant(TTL * 10).await.unwrap()];
        client.put(b"/services/greeter/one", b"10.0.0.1:80", lease).await.unwrap();
        for lease in [lease, other] {
            client.put(format!("/locks/x/{lease:x}").as_bytes(), b"", lease).await.unwrap();
        }
        let (waiter, ours) = (registry.locks(), format!(":{}", std::process::id()));
        let waiting = tokio::spawn(async move { waiter.lock("x").await });
        queue(&registry, "x", 4).await;
        let status = registry.locks().status("x").await.unwrap();
        let names: Vec<_> = status.queue.iter().map(|place| place.name.as_deref()).collect();
        assert_eq!(names[..3], [Some("worker-1"), Some("greeter/one"), None]);
        assert!(names[3].is_some_and(|name| name.ends_with(&ours)), "{names:?}");
        waiting.abort();
        held.unlock().await.unwrap();
    })
    .await;
}

/// Waits until so many stand in the queue of a lock.
async fn queue(registry: &Registry, name: &str, count: usize) {
    eventually("the queue", || async {
        let queue = registry.locks().status(name).await.unwrap().queue;
        if queue.len() == count { Ok(()) } else { Err(queue) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_passes_from_one_to_the_next_with_a_greater_token() {
    everywhere(async |endpoint| {
        let (one, two) = (registry(&endpoint), registry(&endpoint));
        let first = one.locks().with_ttl(TTL).lock("a/report").await.unwrap();
        let token = first.token().unwrap();
        assert_eq!(first.key(), format!("/locks/a/report/{:x}", first.lease()));
        assert!(two.locks().try_lock("a/report").await.unwrap().is_none());
        assert!(two.locks().lock_timeout("a/report", Duration::from_millis(300)).await.unwrap().is_none());
        queue(&one, "a/report", 1).await;

        let locks = two.locks();
        let waiting = tokio::spawn(async move { locks.lock("a/report").await });
        queue(&one, "a/report", 2).await;
        let status = one.locks().status("a/report").await.unwrap();
        assert_eq!((status.holder().unwrap().token, status.waiters().len()), (token, 1));
        assert!(status.holder().unwrap().remaining <= TTL && status.holder().unwrap().ttl == TTL);
        assert_eq!(one.locks().list().await.unwrap().len(), 1);

        first.unlock().await.unwrap();
        let second = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        assert!(second.token().unwrap() > token);
        // Longer than it lives without being renewed.
        tokio::time::sleep(TTL + Duration::from_secs(1)).await;
        assert_eq!(second.loss(), None);
        drop(second);
        queue(&one, "a/report", 0).await;
        assert!(client(&endpoint).leases().await.unwrap().is_empty(), "no lease is left behind");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_gives_up_leaves_the_queue() {
    everywhere(async |endpoint| {
        let registry = registry(&endpoint);
        let held = registry.locks().lock("x").await.unwrap();
        let locks = registry.locks();
        let waiting = tokio::spawn(async move { locks.lock("x").await });
        queue(&registry, "x", 2).await;
        waiting.abort();
        queue(&registry, "x", 1).await;
        held.unlock().await.unwrap();
        assert!(registry.locks().try_lock("x").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_somebody_takes_away_is_lost_at_once() {
    everywhere(async |endpoint| {
        let (registry, client) = (registry(&endpoint), client(&endpoint));
        for revoke in [true, false] {
            let lock = registry.locks().lock("x").await.unwrap();
            assert!(lock.lost().now_or_never().is_none());
            let start = Instant::now();
            match revoke {
                true => client.revoke(lock.lease()).await.unwrap(),
                false => drop(client.delete(lock.key().as_bytes()).await.unwrap()),
            }
            assert_eq!(timeout(PATIENCE, lock.lost()).await.unwrap(), Loss::KeyGone);
            assert_eq!(lock.loss(), Some(Loss::KeyGone));
            // Long before it would be renewed.
            assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
            assert!(matches!(lock.token(), Err(Error::Lost { loss: Loss::KeyGone, .. })));
            assert!(matches!(lock.unlock().await, Err(Error::Lost { .. })));
        }
        // A waiter learns of it as well.
        let held = registry.locks().lock("x").await.unwrap();
        let locks = registry.locks();
        let waiting = tokio::spawn(async move { locks.lock("x").await });
        queue(&registry, "x", 2).await;
        let place = registry.locks().status("x").await.unwrap().waiters()[0].clone();
        client.delete(place.key.as_bytes()).await.unwrap();
        let lost = timeout(PATIENCE, waiting).await.unwrap().unwrap();
        assert!(matches!(lost, Err(Error::Lost { loss: Loss::KeyGone, .. })), "{lost:?}");
        held.unlock().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_given_up_by_the_clock_before_the_cluster_gives_it_to_another() {
    let etcd = Etcd::start(Version::Wheel).await;
    let registry = registry(&format!("http://{}", etcd.address(0)));
    let lock = registry.locks().lock("x").await.unwrap();
    etcd.freeze(0).await;
    let start = Instant::now();
    assert_eq!(timeout(PATIENCE, lock.lost()).await.unwrap(), Loss::Expired(TTL));
    assert!(start.elapsed() < TTL, "{:?}", start.elapsed());
    assert!(lock.token().is_err());
    etcd.thaw(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_says_something_and_others_hear_it() {
    everywhere(async |endpoint| {
        let (one, two) = (registry(&endpoint), registry(&endpoint));
        assert_eq!(one.elections().leader("boss").await.unwrap(), None);
        let mut heard = two.elections().observe("boss").unwrap();
        let mut next = async || timeout(PATIENCE, heard.next()).await.unwrap().unwrap().map(|leader| leader.value);
        assert_eq!(next().await, None);
        let first = one.elections().campaign("boss", "a").await.unwrap();
        assert_eq!(next().await.as_deref(), Some(&b"a"[..]));
        first.proclaim("b").await.unwrap();
        assert_eq!(next().await.as_deref(), Some(&b"b"[..]));
        let elections = two.elections();
        let waiting = tokio::spawn(async move { elections.campaign("boss", "c").await });
        eventually("two candidates", || async {
            let keys = client(&endpoint).list(b"/elections/boss/").await.unwrap().keys.len();
            if keys == 2 { Ok(()) } else { Err(keys) }
        })
        .await;
        let token = first.token().unwrap();
        first.resign().await.unwrap();
        let second = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        assert!(second.token().unwrap() > token);
        assert_eq!(next().await.as_deref(), Some(&b"c"[..]));
        client(&endpoint).revoke(second.lease()).await.unwrap();
        assert_eq!(timeout(PATIENCE, second.lost()).await.unwrap(), Loss::KeyGone);
        assert!(matches!(second.proclaim("d").await, Err(Error::Lost { .. })));
        assert_eq!(next().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_none_says_why() {
    let registry = registry("http://127.0.0.1:1");
    for name in ["", "/a", "a/", "a\u{7}"] {
        assert!(matches!(registry.locks().lock(name).await, Err(Error::Invalid { .. })), "{name:?}");
        assert!(matches!(registry.elections().leader(name).await, Err(Error::Invalid { .. })), "{name:?}");
    }
    let short = registry.locks().with_ttl(Duration::from_secs(1)).lock("a").await.unwrap_err();
    assert!(short.to_string().contains("etcd's shortest"), "{short}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_and_we_exclude_one_another() {
    let server = embedded::start().await;
    excludes(Etcdctl { version: Version::Wheel, server: server.address() }).await;
    for version in Version::LOCAL {
        let etcd = Etcd::start(version).await;
        excludes(etcd.etcdctl(0)).await;
    }
}

async fn excludes(ctl: Etcdctl) {
    let registry = registry(&format!("http://{}", ctl.server));
    // It holds, we wait.
    let mut theirs = ctl.start(&["lock", "/locks/x"]);
    eventually("etcdctl to hold the lock", || async {
        let log = theirs.log();
        if log.iter().any(|line| line.starts_with("/locks/x/")) { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(registry.locks().try_lock("x").await.unwrap().is_none());
    let locks = registry.locks();
    let waiting = tokio::spawn(async move { locks.lock("x").await });
    queue(&registry, "x", 2).await;
    assert!(!waiting.is_finished());
    theirs.signal("INT").await;
    theirs.ended(PATIENCE).await;
    let ours = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();

    // We hold, it waits.
    let mut theirs = ctl.start(&["lock", "/locks/x", "echo", "got it"]);
    queue(&registry, "x", 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(theirs.is_running() && theirs.log().is_empty(), "{:?}", theirs.log());
    ours.unlock().await.unwrap();
    assert!(theirs.ended(PATIENCE).await.success());
    assert_eq!(theirs.log(), ["got it"]);
}
