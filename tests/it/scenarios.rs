//! What must hold on every version of etcd: `make test` runs it on those at hand, `make interop` on current ones.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::harness::{
    Backend, Etcd, Load, STEADY, Scene, Version, Waypost, eventually,
    scene::{key, register},
    until,
};

/// What is put takes calls, what is deleted stops, and no call fails meanwhile.
pub async fn puts_and_deletes(version: Version) {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::of(version, "greeter", &[&one], "").await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;

    register(&scene.etcd, "greeter", &two).await;
    until("two to take calls", || load.counted.by("two") > 200).await;

    scene.etcd.delete(&key("greeter", &one)).await;
    stops_taking_calls(&load, "one").await;
    // The open streams that began on it stay there until they end by themselves.
    assert!(one.seen.open() > 0);

    register(&scene.etcd, "greeter", &one).await;
    let before = load.counted.by("one");
    until("one to take calls again", || load.counted.by("one") > before + 200).await;
    load.stop(STEADY).await;
    until("every stream to end", || one.seen.open() + two.seen.open() == 0).await;
    assert_eq!(one.seen.cancelled() + two.seen.cancelled(), 0);
}

/// An instance lives as long as its lease, and no call fails when it ends.
pub async fn a_lease(version: Version) {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::of(version, "greeter", &[&one], "").await;
    let lease = scene.etcd.grant(2).await;
    let keep_alive = scene.etcd.keep_alive(&lease);
    scene.etcd.put_leased(&key("greeter", &two), &two.url(), &lease).await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;

    // Longer than the lease's time to live: five seconds at half of five hundred calls.
    until("two to take calls for a while", || load.counted.by("two") > 1_250).await;
    drop(keep_alive);
    stops_taking_calls(&load, "two").await;
    load.stop(STEADY).await;
}

/// Waits until `instance` has had no call during two hundred of the others'.
async fn stops_taking_calls(load: &Load, instance: &str) {
    eventually("no more calls", || async {
        let all = || load.counted.by_instance.lock().unwrap().values().sum::<u64>();
        let (before, seen) = (load.counted.by(instance), all());
        until("two hundred calls", || all() > seen + 200).await;
        if load.counted.by(instance) == before { Ok(()) } else { Err(instance.to_owned()) }
    })
    .await;
}

/// A cluster of three loses a member, then its leader, under load: no call fails, later puts are seen.
pub async fn a_cluster_loses_members(version: Version, time: Duration) {
    let mut etcd = Etcd::cluster(version, 3, &[]).await;
    let (one, two, three) = (Backend::h2c("one").await, Backend::h2c("two").await, Backend::h2c("three").await);
    register(&etcd, "greeter", &one).await;
    let waypost = Waypost::on(&etcd, "").await;
    let load = Load::start(waypost.data, "greeter", STEADY).await;
    let start = Instant::now();

    let follower = (etcd.leader().await + 1) % 3;
    etcd.kill(follower).await;
    register(&etcd, "greeter", &two).await;
    until("two to take calls", || load.counted.by("two") > 100).await;
    etcd.restart(follower).await;

    let leader = etcd.leader().await;
    etcd.kill(leader).await;
    etcd.leader().await;
    register(&etcd, "greeter", &three).await;
    until("three to take calls", || load.counted.by("three") > 100).await;
    etcd.restart(leader).await;

    sleep_until(start + time).await;
    let counted = load.stop(STEADY).await;
    let messages = counted.messages.load(Ordering::SeqCst);
    assert!(messages > 10 * time.as_secs(), "the streams stood still: {messages} messages");
    assert_eq!(one.seen.cancelled() + two.seen.cancelled() + three.seen.cancelled(), 0);
}

/// etcd is gone for so long under load: no call fails, and then a put is seen again.
pub async fn etcd_gone(version: Version, time: Duration) {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let mut scene = Scene::of(version, "greeter", &[&one], "").await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;
    scene.etcd.kill(0).await;
    let stopped = Instant::now();
    while stopped.elapsed() < time {
        sleep_until(Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(scene.waypost.readiness().await, 200);
    }
    let age = scene.waypost.metric("waypost_table_age_seconds", &[]).await;
    assert!(age > time.as_secs_f64() * 0.9, "{age}");
    // Said once, and then rarely.
    let log = scene.waypost.log();
    let warnings: Vec<_> = log.iter().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).collect();
    assert!((1..=15).contains(&warnings.len()), "{} in {time:?}: {warnings:#?}", warnings.len());

    scene.etcd.restart(0).await;
    register(&scene.etcd, "greeter", &two).await;
    // After so long the next try may be a while away.
    let patience = Instant::now() + Duration::from_secs(60);
    while load.counted.by("two") < 100 {
        assert!(Instant::now() < patience, "the proxy didn't come back to etcd");
        sleep_until(Instant::now() + Duration::from_millis(50)).await;
    }
    load.stop(STEADY).await;
}
