//! Plain HTTP, and the four ways between HTTP/1.1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::harness::{
    Backend, Client, Scene,
    client::{Answer, channel, full},
    eventually, grpc, until,
};

/// A proxy before a web server (`web`) and an HTTP/2 one (`new`).
struct Bridges {
    scene: Scene,
    web: Backend,
    new: Backend,
}

impl Bridges {
    async fn new() -> Self {
        let (web, new) = (Backend::http1("web").await, Backend::h2c("new").await);
        let scene = Scene::with("web", &[&web], "").await;
        scene.etcd.put("/services/new/1", &new.url()).await;
        scene.reaches("new", "new").await;
        Self { scene, web, new }
    }

    /// Waits until so many of a service's exchanges have ended so.
    async fn ended_as(&self, service: &str, outcome: &str, count: u32) {
        let labels = [&*format!("service=\"{service}\""), &*format!("outcome=\"{outcome}\"")];
        eventually("the exchanges to be counted", async || {
            match self.scene.waypost.metric("waypost_exchanges_total", &labels).await {
                counted if counted == f64::from(count) => Ok(()),
                _ => Err(self.scene.waypost.metrics().await),
            }
        })
        .await;
    }

    /// Each kind of client with each kind of service.
    async fn all(&self) -> Vec<(String, Client, &'static str)> {
        let mut all = Vec::new();
        for service in ["web", "new"] {
            all.push((format!("HTTP/1.1 to {service}"), Client::h1(self.scene.waypost.data).await, service));
            all.push((format!("HTTP/2 to {service}"), Client::h2(self.scene.waypost.data).await, service));
        }
        all
    }
}

fn header<'a>(seen: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let all = seen["headers"].as_array().unwrap();
    all.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn all_four_bridges_carry_requests_and_trailers() {
    let bridges = Bridges::new().await;
    for (way, client, service) in bridges.all().await {
        let seen = client.http("PUT", &format!("http://{service}/a/b?c=d"), &[("x-a", "1")], full("four")).await;
        assert_eq!(seen.status, 200, "{way}: {}", seen.text());
        let seen = seen.json();
        assert_eq!(
            (&seen["method"], &seen["bytes"], &seen["instance"]),
            (&"PUT".into(), &4.into(), &service.into()),
            "{way}"
        );
        assert!(seen["uri"].as_str().unwrap().ends_with("/a/b?c=d"), "{way}: {seen}");
        assert_eq!(header(&seen, "x-a"), ["1"], "{way}");
        assert_eq!(header(&seen, "x-forwarded-for"), ["127.0.0.1"], "{way}");
        assert_eq!(header(&seen, "x-forwarded-proto"), ["http"], "{way}");
        assert_eq!(header(&seen, "via").len(), 1, "{way}: {seen}");

        let trailer = [("te", "trailers"), ("x-trailer-sum", "42"), ("x-echo-b", "2")];
        let echo = client.http("POST", &format!("http://{service}/echo"), &trailer, full("back")).await;
        assert_eq!((echo.text().as_str(), grpc::text(&echo.headers, "x-echo-b")), ("back", Some("2")), "{way}");
        assert_eq!(grpc::text(&echo.trailers, "x-trailer-sum"), Some("42"), "{way}: {echo:?}");

        for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("DELETE", 503)] {
            let wanted = [("x-http-status", &*status.to_string())];
            let answer = client.http(method, &format!("http://{service}/"), &wanted, full("")).await;
            assert_eq!(answer.status, status, "{way}: {method}");
            assert!(status == 503 || answer.body.is_empty(), "{way}: {method} {status}: {answer:?}");
        }
    }
    assert_eq!((bridges.web.seen.cancelled(), bridges.new.seen.cancelled()), (0, 0));
}

#[tokio::test]
async fn request_trailers_arrive() {
    let bridges = Bridges::new().await;
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
        assert_eq!(answer.text(), "data", "{way}");
        // The HTTP/1.1 backend announces no trailers of that name, so only an HTTP/2 one can send them back.
        if service == "new" && way.starts_with("HTTP/2") {
            assert_eq!(grpc::text(&answer.trailers, "x-checksum"), Some("7"), "{way}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_and_are_never_collected() {
    let bridges = Bridges::new().await;
    for (way, client, service) in bridges.all().await {
        let (sender, body) = channel();
        let request = http::Request::post(format!("http://{service}/echo")).body(body).unwrap();
        sender.send(Frame::data(Bytes::from_static(b"0"))).await.unwrap();
        let mut answer = client.send(request).await.unwrap().into_body();
        for at in 0..10_u8 {
            let frame = timeout(Duration::from_secs(10), answer.frame()).await.expect(&way).unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), [b'0' + at][..], "{way}");
            sender.send(Frame::data(Bytes::from(vec![b'1' + at]))).await.unwrap();
        }
        drop(sender);
        let rest = answer.collect().await.unwrap().to_bytes();
        assert_eq!(rest, [b':'][..], "{way}");
    }
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let bridges = Bridges::new().await;
    let large: Bytes = (0..20_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    for (way, client, service) in bridges.all().await {
        let echo = client.http("POST", &format!("http://{service}/echo"), &[], full(large.clone())).await;
        assert!(echo.body == large, "{way}: {} bytes", echo.body.len());
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_told_upstream() {
    let bridges = Bridges::new().await;
    for (way, client, service) in bridges.all().await {
        let backend = if service == "web" { &bridges.web } else { &bridges.new };
        let (open, cancelled) = (backend.seen.open(), backend.seen.cancelled());
        let request = http::Request::get(format!("http://{service}/"))
            .header("x-count", "100000")
            .header("x-interval-ms", "10")
            .body(full(""))
            .unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        assert_eq!(backend.seen.open(), open + 1, "{way}");
        drop(body);
        drop(client);
        until(&way, || backend.seen.cancelled() == cancelled + 1 && backend.seen.open() == open).await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_whole_for_the_client() {
    let bridges = Bridges::new().await;
    for (way, client, service) in bridges.all().await {
        let request = http::Request::get(format!("http://{service}/"))
            .header("x-count", "2")
            .header("x-interval-ms", "100")
            .header("x-reset", "1")
            .body(full(""))
            .unwrap();
        let response = client.send(request).await.unwrap();
        assert!(Answer::read(response).await.is_err(), "{way}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stop_at_the_proxy() {
    let bridges = Bridges::new().await;
    for service in ["web", "new"] {
        let said = raw(
            &bridges.scene,
            &format!(
                "GET / HTTP/1.1\r\nhost: {service}\r\nconnection: keep-alive, x-private, close\r\nx-private: 1\r\n\
                 keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: trailers, deflate\r\nupgrade: h2c\r\n\
                 http2-settings: AAMAAABkAAQAAP__\r\nx-public: 1\r\nvia: 1.0 before\r\nx-forwarded-for: 10.0.0.1\r\n\r\n"
            ),
        )
        .await;
        let seen: serde_json::Value = serde_json::from_str(body_of(&said)).unwrap_or_else(|_| panic!("{said}"));
        for gone in ["x-private", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
            assert!(header(&seen, gone).is_empty(), "{gone} went to {service}: {seen}");
        }
        assert_eq!(header(&seen, "x-public"), ["1"]);
        assert_eq!(header(&seen, "te"), ["trailers"], "{seen}");
        assert_eq!(header(&seen, "x-forwarded-for").join(", "), "10.0.0.1, 127.0.0.1");
        assert!(header(&seen, "via").join(", ").starts_with("1.0 before, 1.1 "), "{seen}");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let bridges = Bridges::new().await;
    for service in ["web", "new"] {
        let mut stream = TcpStream::connect(bridges.scene.waypost.data).await.unwrap();
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: {service}\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        timeout(Duration::from_secs(5), stream.read_exact(&mut first)).await.expect("an answer").unwrap();
        assert_eq!(&first, b"HTTP/1.1 100");
        stream.write_all(b"body").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("HTTP/1.1 200") && rest.contains("body"), "{rest}");
    }
    // Nobody is told to send a body to a service that isn't there.
    let said =
        raw(&bridges.scene, "POST / HTTP/1.1\r\nhost: nobody\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
            .await;
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
}

#[tokio::test]
async fn requests_that_could_be_smuggled_are_refused() {
    let bridges = Bridges::new().await;
    for head in [
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
        "GET / HTTP/1.1\r\nhost: web\r\nx-a : 1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: new\r\nhost: web\r\n\r\n",
        "GET new HTTP/1.1\r\nhost: web\r\n\r\n",
    ] {
        let said = raw(&bridges.scene, head).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{head:?} got {said:?}");
    }
    assert_eq!(bridges.web.seen.calls(), 0);
}

#[tokio::test]
async fn a_client_s_broken_body_is_its_own_fault() {
    let bridges = Bridges::new().await;
    for service in ["web", "new"] {
        let begin = format!("POST / HTTP/1.1\r\nhost: {service}\r\ntransfer-encoding: chunked\r\n\r\n");
        let said = raw(&bridges.scene, &format!("{begin}2\r\nab\r\nZZ\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{service}: {said:?}");
        let labels = [&*format!("service=\"{service}\""), "outcome=\"bad_request\""];
        let counted = bridges.scene.waypost.metric("waypost_exchanges_total", &labels).await;
        assert!(counted > 0.0, "{service}");
    }
}

#[tokio::test]
async fn so_is_one_that_breaks_while_the_answer_is_there() {
    let bridges = Bridges::new().await;
    let mut client = TcpStream::connect(bridges.scene.waypost.data).await.unwrap();
    client
        .write_all(b"POST /echo HTTP/1.1\r\nhost: new\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"ab\r\n") {
        assert!(client.read_buf(&mut said).await.unwrap() > 0, "{}", String::from_utf8_lossy(&said));
    }
    client.write_all(b"ZZ\r\n").await.unwrap();
    let _ = timeout(Duration::from_secs(5), client.read_to_end(&mut said)).await.expect("it is closed");
    bridges.ended_as("new", "bad_request", 1).await;
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_its_request_cancels_it() {
    let bridges = Bridges::new().await;
    let stream = TcpStream::connect(bridges.scene.waypost.data).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://new/").body(()).unwrap();
    let (_response, mut body) = send.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"ab"), false).unwrap();
    until("the call to begin", || bridges.new.seen.open() == 1).await;
    connection.abort();
    bridges.ended_as("new", "cancelled", 1).await;
}

#[tokio::test]
async fn an_answer_is_whole_when_its_length_has_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        // The end of none of them is ever told.
        let mut open = Vec::new();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = http::Response::builder().header("content-length", "5").body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"hello"), false).unwrap();
            open.push(body);
        }
    });
    let bridges = Bridges::new().await;
    bridges.scene.etcd.put("/services/late/one", &format!("h2c://{address}")).await;
    bridges.scene.knows(3).await;
    let client = Client::h1(bridges.scene.waypost.data).await;
    for _ in 0..3 {
        assert_eq!(client.http("GET", "http://late/", &[], full("")).await.body, "hello");
    }
    bridges.ended_as("late", "answered", 3).await;
}

/// Sends bytes as they are, and reads until the proxy has nothing more to say.
async fn raw(scene: &Scene, request: &str) -> String {
    let mut stream = TcpStream::connect(scene.waypost.data).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let bridges = Bridges::new().await;
    for service in ["web", "new"] {
        let mut client = TcpStream::connect(bridges.scene.waypost.data).await.unwrap();
        let head = format!("GET /echo HTTP/1.1\r\nhost: {service}\r\nconnection: close\r\n");
        client
            .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut said = String::new();
        timeout(Duration::from_secs(10), client.read_to_string(&mut said)).await.unwrap().unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("1234"), "{service}: {said}");
    }
}

/// The JSON in a response, chunked or not.
fn body_of(said: &str) -> &str {
    let (from, to) = (said.find('{').unwrap_or(0), said.rfind('}').map_or(0, |at| at + 1));
    said.get(from..to).unwrap_or("")
}
