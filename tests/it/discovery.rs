//! What is put with etcdctl takes calls, what is deleted stops, and no call fails meanwhile.

use std::time::Duration;

use crate::harness::{
    Backend, Etcd, Load, STEADY, Scene, Version, Waypost, eventually,
    scene::{key, register},
    until,
};

#[tokio::test]
async fn what_is_put_takes_calls_and_what_is_deleted_stops() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one], "").await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;

    register(&scene.etcd, "greeter", &two).await;
    until("two to take calls", || load.counted.by("two") > 200).await;

    scene.etcd.delete(&key("greeter", &one)).await;
    stops_taking_calls(&load, "one").await;
    // The open streams that began on it stay there until they end by themselves.
    assert!(one.seen.open() > 0);

    scene.etcd.put(&key("greeter", &one), &one.url()).await;
    let before = load.counted.by("one");
    until("one to take calls again", || load.counted.by("one") > before + 200).await;
    load.stop(STEADY).await;
    until("every stream to end", || one.seen.open() + two.seen.open() == 0).await;
    assert_eq!(one.seen.cancelled() + two.seen.cancelled(), 0);
}

#[tokio::test]
async fn an_instance_lives_as_long_as_its_lease() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one], "").await;
    let lease = scene.etcd.grant(2).await;
    let keep_alive = scene.etcd.keep_alive(&lease);
    scene.etcd.put_leased(&key("greeter", &two), &two.url(), &lease).await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;

    // Longer than the lease's time to live.
    until("two to take calls for a while", || load.counted.by("two") > 750).await;
    drop(keep_alive);
    stops_taking_calls(&load, "two").await;
    load.stop(STEADY).await;
}

/// Waits until `instance` has had no call during two hundred of the others'.
async fn stops_taking_calls(load: &Load, instance: &str) {
    eventually("no more calls", || async {
        let before = load.counted.by(instance);
        let all = || load.counted.by_instance.lock().unwrap().values().sum::<u64>();
        let seen = all();
        until("two hundred calls", || all() > seen + 200).await;
        if load.counted.by(instance) == before { Ok(()) } else { Err(instance.to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn every_format_is_read_as_a_user_types_it() {
    let scene = Scene::new("").await;
    let cases = [
        ("/services/raw/1", "ADDRESS"),
        ("/services/alone", "ADDRESS"),
        ("/services/url/1", "h2c://ADDRESS"),
        ("/services/go/1", r#"{"Op":0,"Addr":"ADDRESS","Metadata":{"weight":2,"zone":"a"}}"#),
        ("/services/gotext/1", r#"{"Op":0,"Addr":"ADDRESS","Metadata":"{\"weight\":2}"}"#),
        ("/services/json/1", r#"{"address":"ADDRESS"}"#),
        ("/services/parts/1", r#"{"host":"HOST","port":PORT}"#),
    ];
    for (key, value) in cases {
        let service = key.split('/').nth(2).unwrap();
        let backend = Backend::h2c(service).await;
        let (host, port) = (backend.address.ip().to_string(), backend.address.port().to_string());
        let value = value.replace("ADDRESS", &backend.address.to_string());
        // An unreadable neighbour changes nothing.
        scene.etcd.put(&format!("/services/{service}/broken"), "\u{1}{]").await;
        scene.etcd.put(key, &value.replace("HOST", &host).replace("PORT", &port)).await;
        scene.reaches(service, service).await;
    }
}

#[tokio::test]
async fn etcd_may_come_after_the_proxy() {
    let mut etcd = Etcd::start(Version::Wheel).await;
    let one = Backend::h2c("one").await;
    register(&etcd, "greeter", &one).await;
    etcd.kill(0).await;
    let waypost = Waypost::launch(&format!("etcd: {{endpoints: {}}}", etcd.endpoints())).await;
    assert_eq!(waypost.readiness().await, 503);
    etcd.restart(0).await;
    waypost.ready().await;
    let scene = Scene { waypost, etcd };
    scene.reaches("greeter", "one").await;
}

#[tokio::test]
async fn an_instance_is_called_within_a_moment_of_its_put() {
    let scene = Scene::new("").await;
    let mut slowest = Duration::ZERO;
    for at in 0..10 {
        let backend = Backend::h2c(&format!("i{at}")).await;
        let service = format!("s{at}");
        register(&scene.etcd, &service, &backend).await;
        let put = tokio::time::Instant::now();
        scene.reaches(&service, &backend.name).await;
        slowest = slowest.max(put.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}
