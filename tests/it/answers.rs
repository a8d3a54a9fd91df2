//! What a caller is told when a call can't be carried, and what is done about an endpoint that is dead.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Client, Scene, Waypost,
    backend::Speaks,
    client::full,
    eventually,
    scene::{key, register},
};

const UNAVAILABLE: u32 = 14;

#[tokio::test]
async fn an_unknown_service_is_named_to_the_caller() {
    let scene = Scene::new("").await;
    let client = scene.client().await;
    let reply = client.unary("nobody").await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE);
    assert!(reply.message.contains("unknown") && reply.message.contains("nobody"), "{}", reply.message);
    let answer = client.http("GET", "http://nobody/", &[], full("")).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("unknown") && answer.text().contains("nobody"), "{}", answer.text());
}

#[tokio::test]
async fn an_empty_service_is_another_answer() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;
    assert_eq!(client.unary("greeter").await.unwrap().status, 0);
    scene.etcd.delete(&key("greeter", &backend)).await;
    eventually("no instance", || async {
        let reply = client.unary("greeter").await?;
        if reply.status == UNAVAILABLE && reply.message.contains("no instances") { Ok(()) } else { Err(reply.message) }
    })
    .await;
    assert_eq!(client.http("GET", "http://greeter/", &[], full("")).await.status, 503);
}

#[tokio::test]
async fn no_answer_tells_an_address() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let address = backend.stop().await;
    let client = scene.client().await;
    let reply = client.unary("greeter").await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE);
    let answer = client.http("GET", "http://greeter/", &[], full("")).await;
    assert_eq!(answer.status, 503);
    for text in [format!("{reply:?}"), format!("{answer:?}"), answer.text()] {
        assert!(!text.contains(&address.port().to_string()) && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_call_and_is_remembered() {
    let (alive, dead) = (Backend::h2c("alive").await, Backend::h2c("dead").await);
    let scene = Scene::with("greeter", &[&alive, &dead], "").await;
    let address = dead.stop().await;
    let client = scene.client().await;
    for _ in 0..200 {
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!((reply.status, reply.instance()), (0, "alive"), "{}", reply.message);
    }
    // It comes back: after its back-off one call tries it.
    let back = Backend::start("dead", Speaks::H2c, &address.to_string(), 100).await;
    scene.reaches("greeter", "dead").await;
    // All that time it was tried a few times at most, not once per call.
    assert!(back.seen.connections() <= 2, "{}", back.seen.connections());
}

/// A port that takes connections and is no HTTP/2 server.
struct Impostor {
    address: SocketAddr,
    connections: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Impostor {
    /// Says `text` and closes, once something has come; or stays silent for ever.
    async fn new(text: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, connections) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.send_modify(|count| *count += 1);
                match text {
                    None => kept.push(stream),
                    Some(text) => {
                        // The preface and a SETTINGS frame have 33 bytes at least.
                        let _ = stream.read_exact(&mut [0; 33]).await;
                        let _ = stream.write_all(text).await;
                        let _ = stream.shutdown().await;
                        // Closed with unread bytes it would be reset, and what was said might be lost.
                        tokio::spawn(async move { drop(stream.read_to_end(&mut Vec::new()).await) });
                    }
                }
            }
        });
        Impostor { address, connections, task }
    }

    fn connections(&self) -> u32 {
        *self.connections.borrow()
    }

    /// Closes the port.
    async fn stop(self) -> String {
        self.task.abort();
        let _ = self.task.await;
        self.address.to_string()
    }
}

const QUICK: &str = "services: {default: {connect_timeout: 300ms}}\n";

#[tokio::test]
async fn who_accepts_connections_and_speaks_no_http2_costs_no_call() {
    for (text, why) in [
        (None, "sends no HTTP/2 SETTINGS within 300ms"),
        (Some(&b""[..]), "closes connections before it sends HTTP/2 SETTINGS"),
        (Some(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "something that is not HTTP/2; if it speaks HTTP/1.1"),
        (Some(b"\x15\x03\x01\0\x02\x02\x46"), "it is TLS: say so in its registration"),
        (Some(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), "answers in HTTP/1.1 and not in HTTP/2"),
    ] {
        let (alive, bad) = (Backend::h2c("alive").await, Impostor::new(text).await);
        let scene = Scene::with("greeter", &[&alive], &format!("{QUICK}proxy: {{reveal_addresses: true}}\n")).await;
        for (service, instance) in [("greeter", "bad"), ("alone", "bad")] {
            scene.etcd.put(&format!("/services/{service}/{instance}"), &format!("h2c://{}", bad.address)).await;
        }
        scene.knows(3).await;
        let client = scene.client().await;
        let start = Instant::now();
        for _ in 0..200 {
            let reply = client.unary("greeter").await.unwrap();
            assert_eq!((reply.status, reply.instance()), (0, "alive"), "{why}: {}", reply.message);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{why}: {:?}", start.elapsed());
        // Each worker may find it out for itself; after that it is tried in the background only.
        assert!((1..=6).contains(&bad.connections()), "{why}: {} connections", bad.connections());
        let reply = client.unary("alone").await.unwrap();
        assert_eq!(reply.status, UNAVAILABLE);
        assert!(reply.message.contains(why), "{why}: {}", reply.message);
        assert!(start.elapsed() < Duration::from_secs(5), "{why}: {:?}", start.elapsed());
        // Something that works comes to the same port.
        let address = bad.stop().await;
        let _back = Backend::start("bad", Speaks::H2c, &address, 100).await;
        scene.reaches("greeter", "bad").await;
    }
}

#[tokio::test]
async fn a_grpc_call_takes_no_web_server_out_of_service() {
    let (one, two) = (Backend::http1("one").await, Backend::http1("two").await);
    let scene = Scene::new("").await;
    for web in [&one, &two] {
        // As an address that does not say what it speaks.
        scene.etcd.put(&key("web", web), &web.address.to_string()).await;
    }
    scene.knows(2).await;
    let client = scene.client().await;
    for _ in 0..3 {
        let reply = client.unary("web").await.unwrap();
        assert_eq!(reply.status, UNAVAILABLE, "{}", reply.message);
    }
    assert!((scene.waypost.metric("waypost_endpoint_unreachable", &[]).await).abs() < f64::EPSILON);
    for _ in 0..10 {
        assert_eq!(client.http("GET", "http://web/", &[], full("")).await.status, 200);
    }
    assert!(one.seen.calls() >= 4 && two.seen.calls() >= 4);
}

#[tokio::test]
async fn what_an_endpoint_refuses_goes_to_another() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one], "").await;
    let client = scene.client().await;
    // Alone, its refusal is the answer.
    let reply = client.grpc("greeter", "Unary", &[("x-refuse", "one")], &[b""]).await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE, "{}", reply.message);
    register(&scene.etcd, "greeter", &two).await;
    scene.reaches("greeter", "two").await;
    for _ in 0..20 {
        let reply = client.grpc("greeter", "Unary", &[("x-refuse", "one")], &[b"kept"]).await.unwrap();
        assert_eq!((reply.status, reply.instance(), &reply.messages[0][..]), (0, "two", &b"kept"[..]));
    }
}

#[tokio::test]
async fn an_endpoint_that_drains_loses_no_call() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one, &two], "").await;
    let client = scene.client().await;
    for at in 0..400 {
        if at == 100 {
            one.drain();
        }
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!(reply.status, 0, "{}", reply.message);
    }
}

#[tokio::test]
async fn a_registration_that_leads_back_to_the_proxy_is_found_out() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let other = Waypost::on(&scene.etcd, "").await;
    scene.etcd.put("/services/itself/a", &scene.waypost.data.to_string()).await;
    // Each of two proxies may send the call to itself or to the other one.
    scene.etcd.put("/services/ring/a", &scene.waypost.data.to_string()).await;
    scene.etcd.put("/services/ring/b", &other.data.to_string()).await;
    scene.knows(4).await;
    let ways = [scene.client().await, Client::h1(scene.waypost.data).await];
    for service in ["itself", "ring"] {
        for client in &ways {
            let answer = client.http("GET", &format!("http://{service}/"), &[], full("")).await;
            assert_eq!(answer.status, 508, "{}", answer.text());
            assert!(
                answer.text().contains(&format!("the call for service `{service}` came back")),
                "{}",
                answer.text()
            );
        }
        let reply = ways[0].unary(service).await.unwrap();
        assert_eq!(reply.status, UNAVAILABLE);
        assert!(reply.message.contains("register the address where the service itself listens"), "{}", reply.message);
    }
    let loops = scene.waypost.metric("waypost_exchanges_total", &["itself", "loop"]).await;
    assert!((loops - 3.0).abs() < f64::EPSILON, "{loops}");
    // What other proxies say of themselves is no loop.
    let via = [("via", "1.1 waypost, 2.0 waypost-0123456789abcdef")];
    assert_eq!(ways[0].grpc("greeter", "Unary", &via, &[b""]).await.unwrap().status, 0);
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_of_a_request_is_at_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let deaf = h2::server::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await;
        let mut deaf = deaf.unwrap();
        let mut calls = Vec::new();
        while let Some(call) = deaf.accept().await {
            calls.push(call);
        }
    });
    let scene = Scene::new("proxy: {stall_timeout: 1s}\n").await;
    scene.etcd.put("/services/greeter/deaf", &format!("h2c://{address}")).await;
    scene.knows(1).await;
    let reply = scene.client().await.grpc("greeter", "Unary", &[], &[b"hello"]).await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE, "{}", reply.message);
    assert!(reply.message.contains("took nothing of the request for 1s"), "{}", reply.message);
}

#[tokio::test]
async fn an_endpoint_that_takes_no_streams_is_not_asked_by_ever_more_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, connections) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                let full = h2::server::Builder::new().max_concurrent_streams(0).handshake::<_, Bytes>(stream).await;
                let mut full = full.unwrap();
                while full.accept().await.is_some() {}
            });
        }
    });
    let scene = Scene::new("").await;
    scene.etcd.put("/services/greeter/full", &format!("h2c://{address}")).await;
    scene.knows(1).await;
    let client = scene.client().await;
    for _ in 0..3 {
        let reply = client.grpc("greeter", "Unary", &[("grpc-timeout", "300m")], &[b""]).await.unwrap();
        assert_eq!(reply.status, 4, "{}", reply.message);
    }
    // Each worker makes one of its own.
    assert!((1..=8).contains(&*connections.borrow()), "{} connections", *connections.borrow());
}
