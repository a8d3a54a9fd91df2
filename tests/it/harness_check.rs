//! The harness holds what it promises: a test that can't fail proves nothing.

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::harness::{
    Backend, Client, Etcd, Load, Rate, Version,
    client::{channel, full, grpc_request},
    grpc, until,
};

#[tokio::test]
async fn backend_answers_all_four_kinds() {
    let backend = Backend::h2c("one").await;
    let client = Client::h2(backend.address).await;
    let headers = [("x-echo-a", "1"), ("x-trailer-b", "2")];

    let reply = client.grpc("any", "Unary", &headers, &[b"hello"]).await.unwrap();
    assert_eq!((reply.status, reply.instance(), &reply.messages[0][..]), (0, "one", &b"hello"[..]));
    assert_eq!(grpc::text(&reply.headers, "x-echo-a"), Some("1"));
    assert_eq!(grpc::text(&reply.trailers, "x-trailer-b"), Some("2"));

    let reply = client.grpc("any", "Client", &[], &[b"a", b"bc"]).await.unwrap();
    assert_eq!(reply.messages, ["2 3"]);
    let reply = client.grpc("any", "Server", &[("x-count", "3")], &[b"m"]).await.unwrap();
    assert_eq!(reply.messages, ["m", "m", "m"]);

    let (sender, body) = channel();
    let response = client.send(grpc_request("any", "Bidi", &[]).body(body).unwrap()).await.unwrap();
    let mut body = response.into_body();
    for message in ["x", "yy"] {
        sender.send(Frame::data(grpc::frame(message.as_bytes()))).await.unwrap();
        let mut buffer = BytesMut::from(&*body.frame().await.unwrap().unwrap().into_data().unwrap());
        assert_eq!(grpc::take_message(&mut buffer).unwrap(), message);
    }
    drop(sender);
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!(grpc::text(&trailers, "grpc-status"), Some("0"));

    let error = [("x-status", "9"), ("x-message", "no"), ("x-details-bin", "AAA")];
    let reply = client.grpc("any", "Unary", &error, &[b""]).await.unwrap();
    assert_eq!((reply.status, reply.message.as_str()), (9, "no"));
    assert!(client.grpc("any", "Unary", &[("x-refuse", "all")], &[b""]).await.unwrap_err().contains("REFUSED_STREAM"));
    assert!(client.grpc("any", "Server", &[("x-reset", "1")], &[b""]).await.unwrap_err().contains("INTERNAL_ERROR"));
    assert_eq!((backend.seen.calls(), backend.seen.cancelled(), backend.seen.open()), (7, 0, 0));
}

#[tokio::test]
async fn backend_notices_a_cancelled_call() {
    let backend = Backend::h2c("one").await;
    let client = Client::h2(backend.address).await;
    let request = grpc_request("any", "Unary", &[("x-delay-ms", "60000")]).body(full(grpc::frame(b""))).unwrap();
    {
        let mut call = std::pin::pin!(client.send(request));
        tokio::select! {
            _ = call.as_mut() => panic!("it should wait"),
            () = until("the call to arrive", || backend.seen.open() == 1) => {}
        }
    }
    until("the call to be cancelled", || backend.seen.cancelled() == 1 && backend.seen.open() == 0).await;
}

#[tokio::test]
async fn backend_describes_plain_requests() {
    let backend = Backend::http1("web").await;
    let client = Client::h1(backend.address).await;
    let answer = client.http("PUT", "http://any/a?b=c", &[("x-http-status", "201")], full("four")).await;
    let seen = answer.json();
    assert_eq!((answer.status, &seen["method"], &seen["uri"]), (201, &"PUT".into(), &"/a?b=c".into()));
    assert_eq!((&seen["bytes"], &seen["version"]), (&4.into(), &"HTTP/1.1".into()));
    let echo = client.http("POST", "http://any/echo", &[("te", "trailers"), ("x-trailer-t", "1")], full("back")).await;
    assert_eq!((echo.text(), grpc::text(&echo.trailers, "x-trailer-t")), ("back".into(), Some("1")));
}

#[tokio::test]
async fn load_counts_calls_and_keeps_its_rate() {
    let rate = Rate { per_second: 200, at_once: 20, streams: 2 };
    let backend = Backend::h2c("one").await;
    let load = Load::start(backend.address, "any", rate).await;
    until("two hundred calls", || load.counted.by("one") >= 200).await;
    let counted = load.stop(rate).await;
    assert_eq!(counted.by("one") + 2, backend.seen.calls());
}

#[tokio::test]
#[should_panic(expected = "calls failed")]
async fn load_notices_a_backend_that_goes() {
    let rate = Rate { per_second: 200, at_once: 20, streams: 0 };
    let backend = Backend::h2c("one").await;
    let load = Load::start(backend.address, "any", rate).await;
    backend.stop().await;
    until("a failure", || !load.counted.failures.lock().unwrap().is_empty()).await;
    load.stop(rate).await;
}

#[tokio::test]
async fn etcd_of_every_version_keeps_its_data_over_a_kill() {
    for version in Version::LOCAL {
        let mut etcd = Etcd::start(version).await;
        etcd.put("/a", "1").await;
        etcd.kill(0).await;
        etcd.restart(0).await;
        assert_eq!(etcd.ctl(&["get", "/a", "--print-value-only"]).await, "1\n");
        let lease = etcd.grant(60).await;
        etcd.put_leased("/b", "2", &lease).await;
        etcd.ctl(&["lease", "revoke", &lease]).await;
        assert_eq!(etcd.ctl(&["get", "/b"]).await, "");
        etcd.kill(0).await;
        etcd.wipe(0);
        etcd.restart(0).await;
        assert_eq!(etcd.ctl(&["get", "/a"]).await, "");
    }
}

#[tokio::test]
async fn etcd_cluster_finds_another_leader() {
    let mut etcd = Etcd::cluster(Version::Wheel, 3, &[]).await;
    let first = etcd.leader().await;
    etcd.kill(first).await;
    let second = etcd.leader().await;
    assert_ne!(first, second);
    etcd.put("/a", "1").await;
    etcd.restart(first).await;
}
