//! Instances come and go in etcd, in every format.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::{
    harness::{
        Backend, Etcd, Scene, Version, Waypost,
        client::{channel, grpc_request},
        grpc,
        scene::{key, register},
        until,
    },
    scenarios,
};

#[tokio::test]
async fn what_is_put_takes_calls_and_what_is_deleted_stops() {
    for version in Version::LOCAL {
        scenarios::puts_and_deletes(version).await;
    }
}

#[tokio::test]
async fn an_instance_lives_as_long_as_its_lease() {
    for version in Version::LOCAL {
        scenarios::a_lease(version).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_left_keeps_its_streams_and_then_its_connection_closes() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one], "").await;
    let client = scene.client().await;
    let (sender, body) = channel();
    let response = client.send(grpc_request("greeter", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    scene.etcd.delete(&key("greeter", &one)).await;
    register(&scene.etcd, "greeter", &two).await;
    scene.reaches("greeter", "two").await;

    sender.send(Frame::data(grpc::frame(b"still here"))).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), grpc::frame(b"still here"));
    assert!(one.seen.open_connections() > 0);
    drop(sender);
    let end = body.collect().await.unwrap();
    assert_eq!(grpc::text(end.trailers().unwrap(), "grpc-status"), Some("0"));
    until("its connection to close", || one.seen.open_connections() == 0).await;
    assert_eq!(one.seen.cancelled(), 0);
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
