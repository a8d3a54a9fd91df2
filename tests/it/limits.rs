//! What a client may not do, and that only itself is told.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::harness::{
    Backend, Client, Scene,
    client::{full, grpc_request},
    eventually, grpc,
};

const RESOURCE_EXHAUSTED: u32 = 8;
const INTERNAL: u32 = 13;

#[tokio::test]
async fn too_many_header_fields_are_refused() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "proxy: {max_header_fields: 20}\n").await;
    let names: Vec<_> = (0..30).map(|at| format!("x-field-{at}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let client = scene.client().await;
    let reply = client.grpc("greeter", "Unary", &many, &[b""]).await.unwrap();
    assert_eq!(reply.status, RESOURCE_EXHAUSTED, "{}", reply.message);
    assert!(reply.message.contains("max_header_fields"), "{}", reply.message);
    for client in [scene.client().await, Client::h1(scene.waypost.data).await] {
        assert_eq!(client.http("GET", "http://greeter/", &many, full("")).await.status, 431);
    }
    assert_eq!(client.unary("greeter").await.unwrap().status, 0);
    assert_eq!(backend.seen.calls(), 1);
}

#[tokio::test]
async fn too_many_header_bytes_are_refused() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "proxy: {limits: {max_header_bytes: 8KiB}}\n").await;
    let long = "x".repeat(20_000);
    let fields = [("x-long", &*long)];
    let client = scene.client().await;
    let reply = client.grpc("greeter", "Unary", &fields, &[b""]).await.unwrap();
    assert_eq!(reply.status, RESOURCE_EXHAUSTED, "{}", reply.message);
    assert!(reply.message.contains("proxy.limits.max_header_bytes"), "{}", reply.message);
    for client in [client, Client::h1(scene.waypost.data).await] {
        assert_eq!(client.http("GET", "http://greeter/", &fields, full("")).await.status, 431);
    }
    assert_eq!(scene.client().await.unary("greeter").await.unwrap().status, 0);
    assert_eq!(backend.seen.calls(), 1);
}

#[tokio::test]
async fn an_answer_with_too_many_header_bytes_is_an_error_that_says_so() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "services: {default: {limits: {max_header_bytes: 4KiB}}}\n").await;
    let client = scene.client().await;
    let long = "x".repeat(5_000);
    for name in ["x-echo-long", "x-trailer-long"] {
        let reply = client.grpc("greeter", "Unary", &[(name, &long)], &[b""]).await.unwrap();
        assert_eq!(reply.status, INTERNAL, "{name}: {}", reply.message);
        assert!(reply.message.contains("limits.max_header_bytes"), "{name}: {}", reply.message);
    }
    let labels = ["service=\"greeter\"", "outcome=\"bad_answer\""];
    eventually("both are counted", async || match scene.waypost.metric("waypost_exchanges_total", &labels).await {
        2.0 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(client.unary("greeter").await.unwrap().status, 0);
}

#[tokio::test]
async fn the_same_over_http1() {
    let backend = Backend::http1("one").await;
    let scene = Scene::with(
        "greeter",
        &[&backend],
        "services: {default: {protocol: http1, limits: {max_header_bytes: 4KiB}}}\n",
    )
    .await;
    let client = scene.client().await;
    let long = "x".repeat(5_000);
    // Also where the connection has a large buffer already.
    for _ in 0..4 {
        let reply = client.http("GET", "http://greeter/", &[("x-echo-long", &long)], full("")).await;
        assert_eq!(reply.status, 502);
        let text = String::from_utf8_lossy(&reply.body);
        assert!(text.contains("limits.max_header_bytes"), "{text}");
        assert_eq!(client.http("GET", "http://greeter/", &[], full("")).await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_opens_and_resets_without_end_is_cut_off_alone() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let innocent = scene.client().await;
    assert_eq!(innocent.unary("greeter").await.unwrap().status, 0);

    let stream = TcpStream::connect(scene.waypost.data).await.unwrap();
    let mut attack = h2::client::Builder::new();
    attack.max_concurrent_reset_streams(100_000).initial_max_send_streams(100_000);
    let (send, connection) = attack.handshake::<_, Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let resets = async {
        loop {
            let request = grpc_request("greeter", "Unary", &[("x-delay-ms", "60000")]).body(()).unwrap();
            let Ok((_, mut stream)) = send.send_request(request, false) else { return };
            let _ = stream.send_data(grpc::frame(b""), false);
            stream.send_reset(h2::Reason::CANCEL);
            match send.clone().ready().await {
                Ok(next) => send = next,
                Err(_) => return,
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), resets).await.expect("the connection is ended");
    let error = connection.await.unwrap().unwrap_err();
    // Who goes on sending may find the connection gone before it has read why.
    assert!(error.is_io() || error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
    for _ in 0..10 {
        assert_eq!(innocent.unary("greeter").await.unwrap().status, 0);
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    use tokio::io::AsyncReadExt;
    let scene = Scene::new("proxy: {handshake_timeout: 300ms}\n").await;
    let mut silent = TcpStream::connect(scene.waypost.data).await.unwrap();
    let mut said = Vec::new();
    timeout(Duration::from_secs(5), silent.read_to_end(&mut said)).await.expect("it is closed").unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_client_that_never_ends_what_it_began_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let scene = Scene::new("proxy: {handshake_timeout: 400ms, stall_timeout: 1s}\n").await;
    // The preface, an empty SETTINGS frame, and the first byte of a HEADERS frame of 4,096.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for begin in [&preface[..24], preface, &[preface, &b"\0\x10\0\x01\x04\0\0\0\x01\x82"[..]].concat()] {
        let mut slow = TcpStream::connect(scene.waypost.data).await.unwrap();
        slow.write_all(begin).await.unwrap();
        let mut said = Vec::new();
        // Closed with unread bytes, it may also be reset.
        let _ = timeout(Duration::from_secs(5), slow.read_to_end(&mut said)).await.expect("it is closed");
    }
    // One that answers pings may stay.
    let client = scene.client().await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(900) {
        assert_eq!(client.unary("nobody").await.unwrap().status, 14);
    }
}

#[tokio::test]
async fn a_client_that_is_refused_thousands_of_times_keeps_its_connection() {
    let scene = Scene::new("").await;
    let client = scene.client().await;
    for _ in 0..3_000 {
        assert_eq!(client.unary("nobody").await.unwrap().status, 14);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed() {
    use tokio::io::AsyncWriteExt;
    let backend = Backend::http1("web").await;
    let scene = Scene::with("web", &[&backend], "proxy: {stall_timeout: 1s}\n").await;
    let mut stalled = TcpStream::connect(scene.waypost.data).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: web\r\nx-count: 1000000\r\nx-size: {}\r\n\r\n", 1 << 16);
    stalled.write_all(request.as_bytes()).await.unwrap();
    crate::harness::until("the call to begin", || backend.seen.open() == 1).await;
    crate::harness::until("the call to be cancelled", || backend.seen.open() == 0).await;
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_body_is_told_and_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for backend in [Backend::http1("web").await, Backend::h2c("web").await] {
        let scene = Scene::with("web", &[&backend], "proxy: {stall_timeout: 1s}\n").await;
        for start in ["content-length: 8\r\n\r\n1234", "transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n"] {
            let mut client = TcpStream::connect(scene.waypost.data).await.unwrap();
            client.write_all(format!("POST /echo HTTP/1.1\r\nhost: web\r\n{start}").as_bytes()).await.unwrap();
            let mut said = Vec::new();
            let _ = timeout(Duration::from_secs(10), client.read_to_end(&mut said)).await.expect("it is closed");
            crate::harness::until("the call to end", || backend.seen.open() == 0).await;
        }
        // One that is slow takes longer in all than it may be silent.
        let mut client = TcpStream::connect(scene.waypost.data).await.unwrap();
        let head = b"POST /echo HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 6\r\n\r\n";
        client.write_all(head).await.unwrap();
        for byte in b"slowly" {
            tokio::time::sleep(Duration::from_millis(400)).await;
            client.write_all(&[*byte]).await.unwrap();
        }
        let mut said = String::new();
        timeout(Duration::from_secs(5), client.read_to_string(&mut said)).await.unwrap().unwrap();
        let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // It comes in chunks, each with its length in digits.
        let letters: String = body.chars().filter(char::is_ascii_alphabetic).collect();
        assert!(said.starts_with("HTTP/1.1 200") && letters == "slowly", "{said}");
    }
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_body_before_its_answer_is_told_why() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for backend in [Backend::http1("web").await, Backend::h2c("web").await] {
        let scene = Scene::with("web", &[&backend], "proxy: {stall_timeout: 1s}\n").await;
        let mut client = TcpStream::connect(scene.waypost.data).await.unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 8\r\n\r\n1234").await.unwrap();
        let mut said = String::new();
        timeout(Duration::from_secs(10), client.read_to_string(&mut said)).await.unwrap().unwrap();
        assert!(said.starts_with("HTTP/1.1 400") && said.contains("stopped to come"), "{said}");
        crate::harness::until("the call to end", || backend.seen.open() == 0).await;
    }
}

#[tokio::test]
async fn a_deadline_holds_for_a_client_that_takes_nothing() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let stream = TcpStream::connect(scene.waypost.data).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let asked = [("x-size", "1000000"), ("grpc-timeout", "700m")];
    let request = grpc_request("greeter", "Unary", &asked).body(()).unwrap();
    let (response, mut body) = send.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(grpc::frame(b""), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    // Its window stays as it is, so most of the answer waits.
    let broken = async {
        loop {
            if let Err(error) = body.data().await.expect("it is too long to be whole") {
                break error;
            }
        }
    };
    let broken = timeout(Duration::from_secs(10), broken).await.expect("the deadline");
    assert_eq!(broken.reason(), Some(h2::Reason::CANCEL));
}
