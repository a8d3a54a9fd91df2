//! etcd goes away, in part or whole: calls go on.

use std::time::Duration;

use crate::{
    harness::{Backend, Etcd, Load, STEADY, Scene, Version, Waypost, eventually, scene::register},
    scenarios,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_members_under_load_and_no_call_fails() {
    // The promise is given for a minute.
    scenarios::a_cluster_loses_members(Version::Wheel, Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_gone_is_not_the_services_gone() {
    scenarios::etcd_gone(Version::Debian, Duration::from_secs(20)).await;
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
    eventually("another leader", || async {
        etcd.etcdctl(other).run(&["put", "/services/greeter/one", &one.url()]).await
    })
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
