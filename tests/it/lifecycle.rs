//! Starting, reloading, and the end by a signal.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::{net::TcpStream, sync::mpsc::Sender};

use crate::harness::{
    Backend, Client, Load, Rate, STEADY, Scene,
    client::{channel, grpc_request},
    eventually, grpc, until,
};

/// Waits until no new connection is taken.
async fn port_closes(scene: &Scene) {
    eventually("the port to close", || async {
        match TcpStream::connect(scene.waypost.data).await {
            Ok(_) => Err("open"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn sigterm_lets_a_stream_finish_and_exits_with_zero() {
    let backend = Backend::h2c("one").await;
    let mut scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;
    let (sender, body) = channel();
    let response = client.send(grpc_request("greeter", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    let mut body = response.into_body();
    sender.send(Frame::data(grpc::frame(b"before"))).await.unwrap();
    body.frame().await.unwrap().unwrap();

    scene.waypost.signal("TERM").await;
    port_closes(&scene).await;
    // The stream goes on, and new calls on the connection are turned away for the client to take elsewhere.
    sender.send(Frame::data(grpc::frame(b"after"))).await.unwrap();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(grpc::messages(&frame.into_data().unwrap()), ["after"]);
    eventually("new calls to be refused", || async {
        match client.unary("greeter").await {
            Ok(reply) => Err(reply),
            Err(_) => Ok(()),
        }
    })
    .await;
    drop(sender);
    let end = body.collect().await.unwrap();
    assert_eq!(grpc::text(end.trailers().unwrap(), "grpc-status"), Some("0"));
    assert_eq!(scene.waypost.ended(Duration::from_secs(10)).await.code(), Some(0));
    assert_eq!(backend.seen.cancelled(), 0);
}

#[tokio::test]
async fn the_grace_period_ends() {
    let backend = Backend::h2c("one").await;
    let mut scene = Scene::with("greeter", &[&backend], "proxy: {grace: 1s}\n").await;
    let _stream = open_stream(&scene, &backend).await;
    scene.waypost.signal("TERM").await;
    assert_eq!(scene.waypost.ended(Duration::from_secs(10)).await.code(), Some(0));
    until("the backend to be told", || backend.seen.open() == 0).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let backend = Backend::h2c("one").await;
    let mut scene = Scene::with("greeter", &[&backend], "proxy: {grace: 10m}\n").await;
    let _stream = open_stream(&scene, &backend).await;
    scene.waypost.signal("TERM").await;
    port_closes(&scene).await;
    scene.waypost.signal("INT").await;
    scene.waypost.ended(Duration::from_secs(5)).await;
}

/// A stream that stays open until what is returned is dropped.
async fn open_stream(scene: &Scene, backend: &Backend) -> (Client, Sender<Frame<Bytes>>, Response<Incoming>) {
    let client = scene.client().await;
    let (sender, body) = channel();
    sender.send(Frame::data(grpc::frame(b"m"))).await.unwrap();
    let response = client.send(grpc_request("greeter", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    assert_eq!(backend.seen.open(), 1);
    (client, sender, response)
}

#[tokio::test]
async fn sigterm_under_load_breaks_no_call_that_had_begun() {
    let backend = Backend::h2c("one").await;
    let mut scene = Scene::with("greeter", &[&backend], "").await;
    let rate = Rate { streams: 0, ..STEADY };
    let load = Load::start(scene.waypost.data, "greeter", rate).await;
    scene.waypost.signal("TERM").await;
    assert_eq!(scene.waypost.ended(Duration::from_secs(20)).await.code(), Some(0));
    drop(load);
    until("every call to end", || backend.seen.open() == 0).await;
    assert_eq!(backend.seen.cancelled(), 0);
}

#[tokio::test]
async fn a_reload_disturbs_nobody() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let load = Load::start(scene.waypost.data, "greeter", STEADY).await;
    let config = |more: &str| format!("etcd:\n  endpoints: {}\n{more}", scene.etcd.endpoints());
    let limited = "services: {named: {greeter: {timeout: 200ms}, slow: {timeout: 100ms}}}\n";

    // By the file alone.
    let client = scene.client().await;
    assert_eq!(timed(&client).await, 0);
    scene.waypost.rewrite(&config(limited));
    eventually("the new limit", || async { if timed(&client).await == 4 { Ok(()) } else { Err("no limit yet") } })
        .await;

    // A wrong file changes nothing, and is told.
    let rejected = || scene.waypost.metric("waypost_config_reloads_total", &["result=\"rejected\""]);
    scene.waypost.rewrite(&config("services: {named: {greeter: {timeout: soon}}}\n"));
    eventually("the rejection", || async { if rejected().await >= 1.0 { Ok(()) } else { Err("not yet") } }).await;
    assert_eq!(timed(&client).await, 4);

    // By a signal too.
    scene.waypost.rewrite(&config(""));
    scene.waypost.signal("HUP").await;
    eventually("no limit", || async { if timed(&client).await == 0 { Ok(()) } else { Err("still limited") } }).await;
    load.stop(STEADY).await;
}

/// The status of a call that takes 300 ms.
async fn timed(client: &Client) -> u32 {
    client.grpc("greeter", "Unary", &[("x-delay-ms", "300")], &[b""]).await.unwrap().status
}
