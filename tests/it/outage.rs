//! etcd goes away, in part or whole: calls go on.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::harness::{Backend, Etcd, Load, STEADY, Scene, Version, Waypost, eventually, scene::register, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_members_under_load_and_no_call_fails() {
    let start = Instant::now();
    let mut etcd = Etcd::cluster(Version::Wheel, 3, &[]).await;
    let (one, two, three) = (Backend::h2c("one").await, Backend::h2c("two").await, Backend::h2c("three").await);
    register(&etcd, "greeter", &one).await;
    let waypost = Waypost::on(&etcd, "").await;
    let load = Load::start(waypost.data, "greeter", STEADY).await;

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

    // The promise is given for a minute.
    sleep_until(start + Duration::from_secs(60)).await;
    let counted = load.stop(STEADY).await;
    assert!(counted.messages.load(std::sync::atomic::Ordering::SeqCst) > 1_000, "the streams stood still");
    assert_eq!(one.seen.cancelled() + two.seen.cancelled() + three.seen.cancelled(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_gone_is_not_the_services_gone() {
    etcd_gone_for(Duration::from_secs(20)).await;
}

/// Stops etcd for so long under load; then a put is seen again.
pub async fn etcd_gone_for(time: Duration) {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let mut scene = Scene::with("greeter", &[&one], "").await;
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
    let warnings =
        scene.waypost.log().iter().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).count();
    assert!((1..=10).contains(&warnings), "{warnings} in {time:?}");

    scene.etcd.restart(0).await;
    register(&scene.etcd, "greeter", &two).await;
    until("two to take calls", || load.counted.by("two") > 100).await;
    eventually("a young table", || async {
        let age = scene.waypost.metric("waypost_table_age_seconds", &[]).await;
        if age < 10.0 { Ok(()) } else { Err(age) }
    })
    .await;
    load.stop(STEADY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_says_nothing_is_left() {
    let mut etcd = Etcd::cluster(Version::Wheel, 3, &[]).await;
    let one = Backend::h2c("one").await;
    let waypost = Waypost::on(&etcd, "").await;
    // Frozen, not dead: its connections stay open. Whichever the proxy is at, a change is seen.
    let frozen = etcd.leader().await;
    etcd.freeze(frozen).await;
    let other = (frozen + 1) % 3;
    eventually("another leader", || async { etcd.try_ctl(other, &["put", "/services/greeter/one", &one.url()]).await })
        .await;
    let scene = Scene { waypost, etcd };
    scene.reaches("greeter", "one").await;
    etcd = scene.etcd;
    etcd.thaw(frozen).await;
}

#[tokio::test]
async fn an_etcd_that_lost_its_data_is_doubted() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    let mut scene = Scene::with("greeter", &backends.each_ref(), "").await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;
    scene.etcd.kill(0).await;
    scene.etcd.wipe(0);
    scene.etcd.restart(0).await;
    eventually("the instances to be doubted", || async {
        let doubted = scene.waypost.metric("waypost_table_doubted", &[]).await;
        if doubted >= 3.0 { Ok(()) } else { Err(doubted) }
    })
    .await;
    // They register again, as they would; then nothing is in doubt.
    for backend in &backends {
        register(&scene.etcd, "greeter", backend).await;
    }
    eventually("the doubt to end", || async {
        let doubted = scene.waypost.metric("waypost_table_doubted", &[]).await;
        if doubted == 0.0 { Ok(()) } else { Err(doubted) }
    })
    .await;
    load.stop(STEADY).await;
}
