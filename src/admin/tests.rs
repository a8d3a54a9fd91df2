//! The admin server over a real connection: what a scraper, a probe and a browser get.

mod modules;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::balance::{Balance, Balancer};
use crate::health::{self, ServiceSettings};
use crate::registry::{Address, Instance};
use crate::table::{Endpoint, EndpointId, Endpoints, Table};
use crate::wasm::Catalog;

struct Server {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
    _judging: health::Task,
}

impl Server {
    async fn start(readiness: impl Fn() -> Readiness + Send + Sync + 'static) -> Server {
        let registry = Registry::default();
        let calls: Counter = Counter::default();
        registry.register("calls", "Calls", calls);
        let shown = sources(Table::new(), &registry);
        Server::of(readiness, registry, shown).await
    }

    async fn of(
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
        registry: Registry,
        (sources, judging): (Sources, health::Task),
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let state = State {
            registry,
            readiness: Box::new(readiness),
            sources,
            names: Vec::new(),
            token_file: Some(token_file()),
        };
        let served = tokio::spawn(serve(listener, state, async { ended.await.unwrap_or_default() }));
        Server { address, end, served, _judging: judging }
    }

    /// Sends a request as it stands and gives back the whole answer.
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
    }
}

/// Default settings.
pub(super) fn in_force() -> InForce {
    InForce {
        text: "proxy:\n  listen: 127.0.0.1:8400\n".to_owned(),
        routing: crate::route::Config::default(),
        services: Box::new(|_| (Balance::Native(Balancer::Weighted), Arc::default())),
        clients: Vec::new(),
        locks: None,
        operator: None,
        started: Instant::now(),
    }
}

/// What the dashboard shows of this table, with default settings.
pub(super) fn sources(table: Table, registry: &Registry) -> (Sources, health::Task) {
    let of = Box::new(|_: &str| ServiceSettings { health: Arc::default(), upstream: Arc::default() });
    let (health, judging) = health::start(table.clone(), health::Settings { of }, registry);
    let (_, in_force) = watch::channel(Arc::new(in_force()));
    let modules = Catalog::new(crate::config::defaults(crate::wasm::Config::read), 1, table.clone(), registry);
    (Sources { modules, table, health, calls: Box::new(BTreeMap::new), in_force, lock_prefixes: Vec::new() }, judging)
}

/// Endpoints of a service with these weights, at `10.0.0.1:80` and so on.
pub(super) fn endpoints(service: &str, weights: &[u32]) -> Endpoints {
    let endpoint = |(weight, n): (&u32, u32)| {
        let address = Address::new(&format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255), 80).unwrap();
        let label = address.to_string().into();
        let instance = Arc::new(Instance {
            service: service.to_owned(),
            id: format!("i{n}"),
            address,
            weight: *weight,
            version: String::new(),
            zone: if n % 2 == 0 { "b" } else { "a" }.to_owned(),
            tags: Vec::new(),
            protocol: None,
            tls: None,
            metadata: BTreeMap::new(),
        });
        let state = Arc::default();
        Endpoint { id: EndpointId(n), instance, label, lease: 0, revision: 1, doubted: false, state }
    };
    Endpoints::new(weights.iter().zip(1..).map(endpoint).collect())
}

/// A file for the token, below the temporary folder.
fn token_file() -> String {
    let file = std::env::temp_dir().join(format!("waypost-admin-{}/token", std::process::id()));
    file.to_str().unwrap().to_owned()
}

fn nothing() -> Readiness {
    Readiness::default()
}

fn prefix(name: &str, revision: Option<i64>, age: u64, problem: Option<&str>) -> PrefixReadiness {
    PrefixReadiness { name: name.into(), revision, age: Duration::from_secs(age), problem: problem.map(Into::into) }
}

fn check(answer: &str, status: u16, parts: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for part in parts {
        assert!(answer.contains(part), "{part:?} is not in\n{answer}");
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_was_asked_for() {
    let server = Server::start(nothing).await;
    let page = "calls_total 0\n";
    check(&server.get("/metrics").await, 200, &["content-type: text/plain; version=0.0.4; charset=utf-8\r\n", page]);
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let answer =
        server.ask(&format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{accept}\r\n\r\n")).await;
    check(&answer, 200, &["content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n", page]);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_they_may_do_with_it() {
    let server = Server::start(nothing).await;
    for path in
        ["/", "/services", "/metrics", "/healthz", "/readyz", "/health", "/static/style.css", "/api/v1/overview"]
    {
        let parts = ["nosniff", "no-store", "content-security-policy: default-src 'none'; script-src 'self'; "];
        check(&server.get(path).await, 200, &parts);
    }
    check(&server.get("/nothing").await, 404, &[]);
}

#[tokio::test]
async fn ready_is_after_the_first_list_of_every_prefix_and_stays() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move || Readiness {
        prefixes: match asked.fetch_add(1, Ordering::Relaxed) {
            0 => vec![prefix("/a/", Some(7), 1, None), prefix("/b/", None, 3, Some("connection refused"))],
            1 => vec![prefix("/a/", Some(7), 2, None), prefix("/b/", Some(9), 0, None)],
            _ => vec![prefix("/a/", Some(7), 400, Some("connection refused")), prefix("/b/", Some(9), 398, None)],
        },
    })
    .await;
    let waiting = "not ready\n\
        /a/: at revision 7, last heard of 1 s ago\n\
        /b/: not listed yet, waiting for 3 s: connection refused\n";
    check(&server.get("/readyz").await, 503, &[waiting]);
    check(&server.get("/readyz").await, 200, &["\r\n\r\nready\n", "/b/: at revision 9"]);
    check(&server.get("/readyz").await, 200, &["/a/: at revision 7, last heard of 400 s ago: connection refused\n"]);
}

#[tokio::test]
async fn only_reading_and_only_under_a_local_name() {
    let server = Server::start(nothing).await;
    let ask = async |line: &str| server.ask(&format!("{line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")).await;
    let head = ask("HEAD /metrics HTTP/1.1\r\nHost: localhost").await;
    check(&head, 200, &["content-length: "]);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        check(&ask(&format!("{method} /metrics HTTP/1.1\r\nHost: localhost")).await, 405, &["allow: GET, HEAD\r\n"]);
    }
    check(&ask("GET /metrics HTTP/1.1\r\nHost: evil.example:8401").await, 421, &["localhost"]);
    check(&ask("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost").await, 421, &[]);
    check(&ask("GET /metrics HTTP/1.0").await.replace("HTTP/1.0", "HTTP/1.1"), 200, &["calls_total"]);
}

#[tokio::test]
async fn broken_requests_harm_nobody() {
    let server = Server::start(nothing).await;
    let many: String = (0..200).map(|i| format!("X-{i}: y\r\n")).collect();
    check(&server.ask(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).await, 431, &[]);
    check(&server.ask("\0\0\r\n\r\n").await, 400, &[]);
    check(&server.get("/").await, 200, &[]);
}

#[tokio::test]
async fn the_end_waits_for_no_idle_connection() {
    let server = Server::start(nothing).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.end.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    idle.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones() {
    let server = Server::start(nothing).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        idle.push(stream);
    }
    let start = Instant::now();
    check(&server.get("/healthz").await, 200, &["ok\n"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The first ended, for it was idle longest.
    idle[0].read_to_end(&mut Vec::new()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(50), idle[63].read_to_end(&mut Vec::new())).await;
    assert!(ended.is_err(), "the last stays");
}

#[tokio::test]
async fn live_streams_are_bounded_and_end_with_the_server() {
    let server = Server::start(nothing).await;
    let open = async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = "GET /live?topics=%2F%0A%2Fevents HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        (String::from_utf8(status.to_vec()).unwrap(), stream)
    };
    for (topics, status) in [("", 400), ("%2Fnothing", 404), (&"%2F%0A".repeat(17), 400)] {
        check(&server.get(&format!("/live?topics={topics}")).await, status, &[]);
    }
    let mut streams = Vec::new();
    for _ in 0..32 {
        let (status, stream) = open().await;
        assert_eq!(status, "HTTP/1.1 200");
        streams.push(stream);
    }
    assert_eq!(open().await.0, "HTTP/1.1 503");
    server.end.send(()).unwrap();
    let start = Instant::now();
    server.served.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "open pages hold up the end: {:?}", start.elapsed());
    let mut rest = String::new();
    streams[0].read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("\"topic\":\"/events\"") && rest.contains("\"build\""), "{rest}");
}
