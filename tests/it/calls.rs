//! A call's deadline, its cancellation, its errors: what the proxy must carry as it is.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Instant, timeout};

use crate::harness::{
    Backend, Scene,
    backend::Speaks,
    client::{channel, full, grpc_request},
    grpc, until,
};

const DEADLINE_EXCEEDED: u32 = 4;

#[tokio::test]
async fn the_caller_s_deadline_is_kept_and_passed_on_less_the_time_spent() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;

    let start = Instant::now();
    let slow = [("grpc-timeout", "300m"), ("x-delay-ms", "30000")];
    let reply = client.grpc("greeter", "Unary", &slow, &[b""]).await.unwrap();
    assert_eq!(reply.status, DEADLINE_EXCEEDED, "{}", reply.message);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
    until("the backend to be told", || backend.seen.cancelled() == 1 && backend.seen.open() == 0).await;

    // A stream that has begun ends with the same status in its trailers.
    let stream = [("grpc-timeout", "500m"), ("x-count", "1000"), ("x-interval-ms", "50")];
    let reply = client.grpc("greeter", "Server", &stream, &[b"m"]).await.unwrap();
    assert_eq!(reply.status, DEADLINE_EXCEEDED);
    assert!(!reply.messages.is_empty() && !reply.trailers.is_empty());

    // The backend is given what is left.
    let seen = client.http("POST", "http://greeter/", &[("grpc-timeout", "10S"), GRPC], full("")).await;
    let left = header(&seen.json(), "grpc-timeout").expect("a deadline for the backend");
    let (number, unit) = left.split_at(left.len() - 1);
    let micros = number.parse::<u64>().unwrap()
        * match unit {
            "S" => 1_000_000,
            "m" => 1_000,
            "u" => 1,
            "n" => 0,
            other => panic!("{other:?}"),
        };
    assert!((5_000_000..=10_000_000).contains(&micros), "{left}");
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn header(seen: &serde_json::Value, name: &str) -> Option<String> {
    let all = seen["headers"].as_array().unwrap();
    all.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_service_s_own_limit_ends_a_call() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "services: {named: {greeter: {timeout: 300ms}}}\n").await;
    let client = scene.client().await;
    let reply = client.grpc("greeter", "Unary", &[("x-delay-ms", "30000")], &[b""]).await.unwrap();
    assert_eq!(reply.status, DEADLINE_EXCEEDED, "{}", reply.message);
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_upstream_at_once() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;

    // Before the response.
    let waiting = grpc_request("greeter", "Unary", &[("x-delay-ms", "60000")]).body(full(grpc::frame(b""))).unwrap();
    tokio::select! {
        answer = client.send(waiting) => panic!("{answer:?}"),
        () = until("the call to arrive", || backend.seen.open() == 1) => {}
    }
    until("the cancellation", || backend.seen.cancelled() == 1).await;

    // In the middle of the response.
    let stream = [("x-count", "100000"), ("x-interval-ms", "10")];
    let request = grpc_request("greeter", "Server", &stream).body(full(grpc::frame(b"m"))).unwrap();
    let mut body = client.send(request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    until("the cancellation", || backend.seen.cancelled() == 2).await;

    // With the connection: every call on it.
    let other = scene.client().await;
    let (sender, body) = channel();
    let response = other.send(grpc_request("greeter", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    sender.send(Frame::data(grpc::frame(b"m"))).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(other);
    until("the cancellation", || backend.seen.cancelled() == 3 && backend.seen.open() == 0).await;
}

#[tokio::test]
async fn five_thousand_cancels_harm_no_other_stream() {
    let backend = Backend::h2c("one").await;
    // Few upstream connections, so that the innocent stream shares one with the cancelled.
    let scene = Scene::with("greeter", &[&backend], "proxy: {workers: 1}\n").await;
    let client = scene.client().await;
    let (sender, body) = channel();
    let response = client.send(grpc_request("greeter", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    let mut innocent = response.into_body();
    let slow = [("x-count", "1000"), ("x-interval-ms", "1000")];
    while backend.seen.cancelled() < 5_000 {
        // Each of these is reset by the proxy itself: its deadline passes in the middle of the response.
        let slow = [("grpc-timeout", "50m"), slow[0], slow[1]];
        let streams = (0..50).map(|_| client.grpc("greeter", "Server", &slow, &[b"m"]));
        for reply in join_all(streams).await {
            assert_eq!(reply.unwrap().status, DEADLINE_EXCEEDED);
        }
        sender.send(Frame::data(grpc::frame(b"still here"))).await.unwrap();
        let frame = timeout(Duration::from_secs(10), innocent.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(grpc::messages(&frame.into_data().unwrap()), [Bytes::from("still here")]);
    }
    drop(sender);
    let end = innocent.collect().await.unwrap();
    assert_eq!(grpc::text(end.trailers().unwrap(), "grpc-status"), Some("0"));
    until("all to be over", || backend.seen.open() == 0).await;
    assert_eq!(backend.seen.connections(), 1, "the innocent stream was elsewhere");
}

#[tokio::test]
async fn a_status_comes_back_as_it_was_sent() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;
    let error = [("x-status", "9"), ("x-message", "caf%C3%A9"), ("x-details-bin", "CAkSAm5v"), ("x-trailer-a", "1")];
    let reply = client.grpc("greeter", "Unary", &error, &[b""]).await.unwrap();
    assert_eq!((reply.status, reply.message.as_str()), (9, "caf%C3%A9"));
    // In the headers alone, as the backend sent it.
    assert!(reply.trailers.is_empty());
    assert_eq!(grpc::text(&reply.headers, "grpc-status-details-bin"), Some("CAkSAm5v"));
    assert_eq!(grpc::text(&reply.headers, "x-trailer-a"), Some("1"));
}

#[tokio::test]
async fn a_reset_in_the_middle_ends_the_call_with_an_error() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;
    let reset = [("x-reset", "1"), ("x-count", "2")];
    match client.grpc("greeter", "Server", &reset, &[b"m"]).await {
        Ok(reply) => assert_eq!(reply.status, 13, "{}", reply.message),
        Err(error) => assert!(error.contains("INTERNAL_ERROR"), "{error}"),
    }
    assert_eq!(client.unary("greeter").await.unwrap().status, 0);
}

#[tokio::test]
async fn a_connection_s_stream_limit_opens_a_further_one() {
    let backend = Backend::start("one", Speaks::H2c, "127.0.0.1:0", 5).await;
    let scene = Scene::with("greeter", &[&backend], "proxy: {workers: 1}\n").await;
    let client = scene.client().await;
    assert_eq!(client.unary("greeter").await.unwrap().status, 0);
    let slow = [("x-delay-ms", "1000")];
    for reply in join_all((0..20).map(|_| client.grpc("greeter", "Unary", &slow, &[b""]))).await {
        assert_eq!(reply.unwrap().status, 0);
    }
    assert!(backend.seen.connections() >= 2, "{}", backend.seen.connections());
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;
    // The backend echoes as fast as it is allowed; we send, and read nothing.
    let (sender, body) = channel();
    let response = client.send(grpc_request("greeter", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    let megabyte = grpc::frame(&vec![b'x'; 1 << 20]);
    let mut sent = 0_u64;
    while sent < 200 {
        let next = sender.send(Frame::data(megabyte.clone()));
        if timeout(Duration::from_secs(2), next).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 60, "{sent} MiB went somewhere, though nobody read");
    // What was sent is not lost.
    drop(sender);
    let all = response.into_body().collect().await.unwrap();
    assert_eq!(grpc::messages(&all.to_bytes()).len() as u64, sent);
}
