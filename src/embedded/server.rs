//! Listening: connections, what is asked of a server beside its API, and the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service as _;

use super::VERSION;
use super::faults::Faults;
use super::service::{auth, routes};
use super::shared::{Shared, Signal};
use crate::telemetry::Rarely;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1_024;
/// Streams at a time on a connection. Go's client opens one for each context in which it watches.
const STREAMS: u32 = 10_000;
/// From accepting a connection to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// That there is no room for more connections is logged no more often than this.
const COMPLAIN: Duration = Duration::from_mins(1);
/// How often a silent client is asked for a sign of life, and how long it may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(20));
/// After an accept that failed, such as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The largest document of faults, in bytes.
const DOCUMENT: usize = 64 << 10;

/// How a server behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How often a watch that asks for notices of progress is told that nothing happened. Default 10 min, as in etcd;
    /// not zero.
    pub progress_notify: Duration,
    /// Whether whoever reaches the port may order [`Faults`] by a `POST` of a document in YAML or JSON to `/faults`.
    /// Default false.
    pub faults_over_http: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { progress_notify: Duration::from_mins(10), faults_over_http: false }
    }
}

/// A running server. Dropping it closes all connections; what it held is gone.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on this listener, on the tokio runtime that it is called on.
    ///
    /// # Errors
    ///
    /// Only if the listener has no local address.
    pub fn start(listener: TcpListener, config: Config) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(format!("http://{address}"), config));
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            tokio::join!(accept(listener, serving.clone()), serving.expire_leases());
        });
        Ok(Server { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle that makes it misbehave.
    pub fn faults(&self) -> Faults {
        Faults { shared: self.shared.clone() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts for ever. Dropped, it takes all connections with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let routes = routes(&shared);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut complaint = Rarely::new(COMPLAIN);
    loop {
        if room.available_permits() == 0 && complaint.due(Instant::now()).is_some() {
            tracing::warn!(connections = CONNECTIONS, "no more connections are taken until one ends");
        }
        // None only if the semaphore were closed, which nobody does.
        let permit = room.clone().acquire_owned().await.ok();
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the embedded registry cannot accept a connection");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let serving = connection(stream, routes.clone(), shared.clone());
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, routes: Routes, shared: Arc<Shared>) {
    // Small answers should not wait for each other; without it, they only come later.
    let _ = stream.set_nodelay(true);
    let mut signal = shared.subscribe();
    let asked = Arc::new(AtomicBool::new(false));
    let was_asked = asked.clone();
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        answer(request, routes.clone(), shared.clone())
    });
    let silent = async {
        sleep(FIRST_REQUEST).await;
        if was_asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let mut builder = Builder::new(TokioExecutor::new());
    let (interval, timeout) = KEEP_ALIVE;
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout);
    tokio::select! {
        // How a client ends its connection is its own affair.
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = cut(&mut signal) => {}
        () = silent => {}
    }
}

/// Ready when the connections are cut that are there now.
async fn cut(signal: &mut watch::Receiver<Signal>) {
    let began = signal.borrow().connections;
    // An error means that the server is gone.
    let _ = signal.wait_for(|signal| signal.connections != began).await;
}

async fn answer(
    request: Request<Incoming>,
    mut routes: Routes,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    if let Some(json) = beside_the_api(path) {
        return Ok(text(StatusCode::OK, "application/json", json));
    }
    if path == "/faults" && shared.config.faults_over_http {
        return Ok(faults(request, shared).await);
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !kind.starts_with(b"application/grpc") {
        let what = "this is etcd's v3 API over gRPC, and /health and /version; there is no JSON gateway\n";
        return Ok(text(StatusCode::NOT_FOUND, "text/plain", what.to_owned()));
    }
    if let Some(status) = shared.orders.meet(path).await {
        return Ok(status.into_http());
    }
    if let Some(call) = path.strip_prefix("/etcdserverpb.Auth/") {
        return Ok(auth::answer(call, &shared));
    }
    routes.call(request).await
}

/// What people and scripts ask a member with curl.
fn beside_the_api(path: &str) -> Option<String> {
    match path {
        "/health" => Some(r#"{"health":"true","reason":""}"#.to_owned()),
        "/version" => Some(format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{VERSION}"}}"#)),
        _ => None,
    }
}

/// Carries out a document of faults. Pages in a browser name their origin, and have no business here.
async fn faults(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Body> {
    if request.method() != Method::POST || request.headers().contains_key(header::ORIGIN) {
        let how = "order faults with a POST, such as: curl -d 'cut_watches: true'\n";
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", how.to_owned());
    }
    let outcome = match Limited::new(request.into_body(), DOCUMENT).collect().await {
        Ok(body) => {
            let document = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            Faults { shared }.carry_out(document).map_err(|refused| refused.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) => text(StatusCode::OK, "text/plain", "done\n".to_owned()),
        Err(why) => text(StatusCode::BAD_REQUEST, "text/plain", why + "\n"),
    }
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
