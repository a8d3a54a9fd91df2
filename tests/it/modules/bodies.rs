//! Bodies and trailers through filters, over every bridge.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::timeout;

use super::{Modules, call, kit::filter, on, pairs};
use crate::harness::{
    Backend, Client, Scene,
    client::{Answer, channel, full, grpc_request},
    grpc,
    scene::key,
};

/// A proxy before a web server and an HTTP/2 one.
struct Bridges {
    scene: Scene,
    _modules: Modules,
    _backends: [Backend; 2],
}

impl Bridges {
    async fn new(module: Vec<u8>) -> Self {
        let (web, new) = (Backend::http1("web").await, Backend::h2c("new").await);
        let modules = Modules::new(&[("tested", module)]);
        let scene = modules.scene(&[&new], "filters: [{module: tested}]\n").await;
        scene.etcd.put(&key("web", &web), &web.url()).await;
        scene.knows(2).await;
        Self { scene, _modules: modules, _backends: [web, new] }
    }

    async fn all(&self) -> Vec<(String, Client, &'static str)> {
        let mut all = Vec::new();
        for service in ["web", "greeter"] {
            all.push((format!("HTTP/1.1 to {service}"), Client::h1(self.scene.waypost.data).await, service));
            all.push((format!("HTTP/2 to {service}"), Client::h2(self.scene.waypost.data).await, service));
        }
        all
    }
}

/// Waits for the whole body, and puts brackets around it.
fn brackets() -> Vec<u8> {
    let body = |map: u32| {
        format!(
            "(if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
             (drop (call $buffer_set (i32.const {map}) (i32.const 0) (i32.const 0) @\"[\"))
             (drop (call $buffer_set (i32.const {map}) (i32.const 0x7fffffff) (i32.const 0) @\"]\")) (i32.const 0)"
        )
    };
    filter(&(on("request_body", &body(0)) + &on("response_body", &body(1))))
}

#[tokio::test]
async fn whole_bodies_are_collected_and_replaced_both_ways() {
    let bridges = Bridges::new(brackets()).await;
    for (way, client, service) in bridges.all().await {
        for size in [1, 1_000, 300_000] {
            let sent: Bytes = (0..size).map(|at| b'a' + (at % 26) as u8).collect::<Vec<_>>().into();
            let url = format!("http://{service}/echo");
            let echo = client.http("POST", &url, &[], full(sent.clone())).await;
            assert_eq!(echo.status, 200, "{way}: {}", echo.text());
            assert!(echo.body == [b"[[", &sent[..], b"]]"].concat(), "{way}: {} of {size}", echo.body.len());
        }
        // Without a body there is none to be changed; with one of unknown length there is.
        let answer = client.http("GET", &format!("http://{service}/"), &[], full("")).await;
        assert!(answer.text().starts_with("[{") && answer.text().ends_with("}]"), "{way}: {}", answer.text());
        let answer = client.http("HEAD", &format!("http://{service}/"), &[], full("")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{way}");
        let (sender, body) = channel();
        let request = http::Request::post(format!("http://{service}/echo")).body(body).unwrap();
        let feed = async {
            for _ in 0..3 {
                sender.send(Frame::data(Bytes::from_static(b"part"))).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(sender);
        };
        let (response, ()) = tokio::join!(client.send(request), feed);
        assert_eq!(Answer::read(response.unwrap()).await.unwrap().text(), "[[partpartpart]]", "{way}");
    }
}

#[tokio::test]
async fn bodies_that_are_looked_at_in_parts_stream_on() {
    let look = on("request_body", "(drop (call $body (i32.const 0))) (i32.const 0)")
        + &on("response_body", "(drop (call $body (i32.const 1))) (i32.const 0)");
    let bridges = Bridges::new(filter(&look)).await;
    let large: Bytes = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    for (way, client, service) in bridges.all().await {
        let url = format!("http://{service}/echo");
        let (sender, body) = channel();
        let request = http::Request::post(&url).body(body).unwrap();
        sender.send(Frame::data(Bytes::from_static(b"0"))).await.unwrap();
        let mut answer = timeout(Duration::from_secs(10), client.send(request)).await.expect(&way).unwrap().into_body();
        for at in 0..10_u8 {
            let frame = timeout(Duration::from_secs(10), answer.frame()).await.expect(&way).unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), [b'0' + at][..], "{way}");
            sender.send(Frame::data(Bytes::from(vec![b'1' + at]))).await.unwrap();
        }
        drop(sender);
        assert_eq!(answer.collect().await.unwrap().to_bytes(), [b':'][..], "{way}");
        let echo = client.http("POST", &url, &[], full(large.clone())).await;
        assert!(echo.body == large, "{way}: {} bytes", echo.body.len());
    }
}

#[tokio::test]
async fn grpc_streams_pass_through_filters_of_bodies_and_trailers() {
    let text = on("request_body", "(drop (call $body (i32.const 0))) (i32.const 0)")
        + &on("response_body", "(drop (call $body (i32.const 1))) (i32.const 0)")
        + "(func (export \"proxy_on_response_trailers\") (param i32 i32) (result i32)
             (drop (call $get (i32.const 3) @\"grpc-status\"))
             (call $set (i32.const 3) @\"x-status-was\" (call $at) (call $len)) (i32.const 0))";
    let bridges = Bridges::new(filter(&text)).await;
    let client = bridges.scene.client().await;
    let (sender, body) = channel();
    let request = grpc_request("greeter", "Bidi", &[]).body(body).unwrap();
    let mut answer = client.send(request).await.unwrap().into_body();
    for n in 0..20u8 {
        sender.send(Frame::data(grpc::frame(&[n]))).await.unwrap();
        let frame = timeout(Duration::from_secs(10), answer.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), grpc::frame(&[n]));
    }
    drop(sender);
    let trailers = answer.collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!((grpc::text(&trailers, "grpc-status"), grpc::text(&trailers, "x-status-was")), (Some("0"), Some("0")));
    let reply = client.grpc("greeter", "Server", &[("x-count", "50")], &[b"m"]).await.unwrap();
    assert_eq!((reply.status, reply.messages.len()), (0, 50));
    let reply = client.grpc("greeter", "Client", &[], &[b"1", b"22", b"333"]).await.unwrap();
    assert_eq!(reply.messages, ["3 6"]);
    let reply = call(&client, &[("x-status", "5"), ("x-message", "no")]).await;
    assert_eq!((reply.status, &*reply.message), (5, "no"));
}

#[tokio::test]
async fn a_grpc_message_is_replaced_and_its_status_too() {
    let framed = super::literal(&grpc::frame(b"changed"));
    let replace = |map: u32| {
        format!(
            "(if (i32.eqz (local.get 1)) (then (return (i32.const 0))))
             (drop (call $buffer_set (i32.const {map}) (i32.const 0) (local.get 1) @\"{framed}\")) (i32.const 0)"
        )
    };
    let text = on("response_body", &replace(1))
        + "(func (export \"proxy_on_response_trailers\") (param i32 i32) (result i32)
             (call $set (i32.const 3) @\"grpc-status\" @\"9\") (i32.const 0))";
    let bridges = Bridges::new(filter(&text)).await;
    let reply = call(&bridges.scene.client().await, &[]).await;
    assert_eq!((reply.status, &reply.messages[..]), (9, &[Bytes::from_static(b"changed")][..]));
}

#[tokio::test]
async fn request_trailers_are_seen_and_changed() {
    let text = on("request_body", "(i32.const 1)")
        + "(func (export \"proxy_on_request_trailers\") (param i32 i32) (result i32)
             (call $set (i32.const 1) @\"x-checksum\" @\"8\")
             (drop (call $buffer_set (i32.const 0) (i32.const 0) (i32.const 0) @\">\")) (i32.const 0))";
    let bridges = Bridges::new(filter(&text)).await;
    for (way, client, service) in bridges.all().await {
        let (sender, body) = channel();
        let request = http::Request::post(format!("http://{service}/echo"))
            .header("te", "trailers")
            .header("trailer", "x-checksum")
            .body(body)
            .unwrap();
        let feed = async {
            sender.send(Frame::data("data".into())).await.unwrap();
            let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from_static("7"))]);
            sender.send(Frame::trailers(trailers)).await.unwrap();
            drop(sender);
        };
        let (response, ()) = tokio::join!(client.send(request), feed);
        let answer = Answer::read(response.unwrap()).await.unwrap();
        assert_eq!(answer.text(), ">data", "{way}");
        if service == "greeter" && way.starts_with("HTTP/2") {
            assert_eq!(grpc::text(&answer.trailers, "x-checksum"), Some("8"), "{way}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_body_may_be_refused_whoever_sends_it() {
    // A firewall: it waits for the whole body, and answers if there is something in it that it does not like.
    let body = "(drop (call $body (i32.const 0)))
        (if (call $is @\"evil\") (then (call $respond (i32.const 418) @\"refused\" (i32.const 7)) (return (i32.const 1))))
        (i32.eqz (local.get 2))";
    let answered = "(drop (call $body (i32.const 1)))
        (if (call $is @\"secret\") (then (call $respond (i32.const 500) @\"hidden\" (i32.const 13)) (return (i32.const 1))))
        (i32.const 0)";
    let bridges = Bridges::new(filter(&(on("request_body", body) + &on("response_body", answered)))).await;
    for (way, client, service) in bridges.all().await {
        // Not an endpoint that answers before it has the body: then it is too late for another status.
        let url = format!("http://{service}/");
        for _ in 0..5 {
            let answer = client.http("POST", &url, &[], full("evil deeds")).await;
            assert_eq!((answer.status, answer.text().as_str()), (418, "refused"), "{way}");
        }
        assert_eq!(client.http("POST", &url, &[], full("good")).await.json()["bytes"], 4, "{way}");
    }
    // What a response body is refused for comes too late for a status, but it does not come.
    for service in ["web", "greeter"] {
        let client = bridges.scene.client().await;
        let request = http::Request::post(format!("http://{service}/echo")).body(full("secret thing")).unwrap();
        let response = client.send(request).await.unwrap();
        assert!(Answer::read(response).await.is_err(), "{service}");
    }
    let client = bridges.scene.client().await;
    // The message begins behind its length.
    let evil = grpc_request("greeter", "Unary", &[]).body(full("evil")).unwrap();
    let answer = Answer::read(client.send(evil).await.unwrap()).await.unwrap();
    assert_eq!(grpc::text(&answer.headers, "grpc-status"), Some("7"), "{answer:?}");
    // That a filter refuses bodies says nothing about the endpoints.
    assert_eq!(bridges.scene.waypost.metric("waypost_endpoint_unhealthy", &[]).await, 0.0);
    assert_eq!(client.http("POST", "http://greeter/echo", &[], full("good")).await.text(), "good");
}

#[tokio::test]
async fn what_is_kept_of_a_body_has_an_end() {
    let bridges = Bridges::new(brackets()).await;
    // Not so much more that the rest of it finds no room between the two.
    let large = vec![b'x'; (1 << 20) + (32 << 10)];
    for (way, client, service) in bridges.all().await {
        let answer = client.http("POST", &format!("http://{service}/"), &[], full(large.clone())).await;
        assert_eq!(answer.status, 413, "{way}: {}", answer.text());
        assert!(answer.text().contains("wasm.buffer_limit"), "{way}: {}", answer.text());
    }
    let reply = bridges.scene.client().await.grpc("greeter", "Unary", &[], &[&large]).await.unwrap();
    assert_eq!(reply.status, 8, "{reply:?}");
}

#[tokio::test]
async fn a_body_is_held_until_a_call_is_answered() {
    let judge = Backend::h2c("judge").await;
    let body = format!(
        "(if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
         (global.set $waiting (local.get 0))
         (drop (call $http_call @\"judge\" @\"{}\" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 2000) (i32.const 8)))
         (i32.const 1)",
        pairs(&[(":method", "GET"), (":path", "/"), ("x-delay-ms", "30")])
    );
    let text = format!(
        "(global $waiting (mut i32) (i32.const 0)) {}
         (func (export \"proxy_on_http_call_response\") (param i32 i32 i32 i32 i32)
           (drop (call $set_context (global.get $waiting)))
           (drop (call $buffer_set (i32.const 0) (i32.const 0) (i32.const 0) @\"judged: \"))
           (drop (call $resume (i32.const 0))))",
        on("request_body", &body)
    );
    let bridges = Bridges::new(filter(&text)).await;
    bridges.scene.etcd.put(&key("judge", &judge), &judge.url()).await;
    bridges.scene.knows(3).await;
    for (way, client, service) in bridges.all().await {
        let echo = client.http("POST", &format!("http://{service}/echo"), &[], full("body")).await;
        assert_eq!(echo.text(), "judged: body", "{way}");
    }
    assert_eq!(judge.seen.calls(), 4);
}
