//! Backends in this process: they echo, they delay, they fail as the request's headers say, and they count what they saw.
//!
//! gRPC's test service is bytes in, bytes out (see [`super::grpc`]). Every other path is plain HTTP: `/echo` sends the
//! body back as it comes, everything else describes the request that arrived, as JSON.
//!
//! | request header | what the backend does |
//! |---|---|
//! | `x-delay-ms` | waits before it answers |
//! | `x-count`, `x-interval-ms`, `x-size` | that many messages, at this distance, of that size |
//! | `x-status`, `x-message`, `x-details-bin` | ends with this gRPC status |
//! | `x-http-status` | answers with this HTTP status |
//! | `x-refuse` | the instance of this name (or `all`) refuses the stream, unprocessed |
//! | `x-reset` | resets the stream after its messages |
//! | `x-echo-…`, `x-trailer-…` | comes back among the headers, among the trailers |

mod handler;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What the backend speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speaks {
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// HTTP/1.1.
    Http1,
}

/// How a backend is, whatever a request asks of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mood {
    /// It does as it is asked, and says SERVING to `grpc.health.v1.Health/Check`.
    #[default]
    Well,
    /// It answers calls, and says NOT_SERVING.
    NotServing,
    /// It takes requests and never answers.
    Hangs,
    /// It answers after so many milliseconds.
    Slow(u64),
    /// It resets each stream after its headers.
    Resets,
    /// It answers every gRPC call with UNAVAILABLE.
    Unavailable,
}

/// What a backend has seen. Counters only rise, but for the open ones.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests whose headers arrived.
    pub calls: AtomicU64,
    /// Requests that went away before their response was complete.
    pub cancelled: AtomicU64,
    /// Requests under way.
    pub open: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections that are open.
    pub open_connections: AtomicU64,
    /// Bytes of request bodies.
    pub bytes: AtomicU64,
    /// Requests by path.
    pub paths: Mutex<BTreeMap<String, u64>>,
    /// How it is.
    pub mood: Mutex<Mood>,
}

impl Seen {
    /// Requests whose headers arrived.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Requests that went away before their response was complete.
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Requests under way.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open_connections(&self) -> u64 {
        self.open_connections.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A server on a port of its own, until it is dropped.
pub struct Backend {
    /// How it names itself in the header `x-instance`.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    speaks: Speaks,
    /// What it has seen.
    pub seen: Arc<Seen>,
    /// Holds the server: dropping it resets every connection and closes the port.
    tasks: JoinSet<()>,
    drain: watch::Sender<bool>,
}

impl Backend {
    /// A gRPC server.
    pub async fn h2c(name: &str) -> Self {
        Self::start(name, Speaks::H2c, "127.0.0.1:0", 1000).await
    }

    /// A plain web server.
    pub async fn http1(name: &str) -> Self {
        Self::start(name, Speaks::Http1, "127.0.0.1:0", 0).await
    }

    /// A server at `address` that takes `streams` at once on each HTTP/2 connection.
    pub async fn start(name: &str, speaks: Speaks, address: &str, streams: u32) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (drain, draining) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, name.to_owned(), speaks, streams, Arc::clone(&seen), draining));
        Self { name: name.to_owned(), address, speaks, seen, tasks, drain }
    }

    /// Changes how it is.
    pub fn is(&self, mood: Mood) {
        *self.seen.mood.lock().unwrap() = mood;
    }

    /// What stands in the registry for it: an address, or for HTTP/1.1 a URL.
    pub fn url(&self) -> String {
        match self.speaks {
            Speaks::H2c => self.address.to_string(),
            Speaks::Http1 => format!("http://{}", self.address),
        }
    }

    /// Closes the port and lets every connection end by GOAWAY (or `connection: close`).
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Closes the port and cuts every connection, then tells where to listen to come back.
    pub async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }
}

async fn accept(
    listener: TcpListener,
    name: String,
    speaks: Speaks,
    streams: u32,
    seen: Arc<Seen>,
    mut draining: watch::Receiver<bool>,
) {
    // The connections live in this task, so that they end with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|drain| *drain) => break,
        };
        let (stream, _) = accepted.unwrap();
        stream.set_nodelay(true).unwrap();
        connections.spawn(serve(stream, name.clone(), speaks, streams, Arc::clone(&seen), draining.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    name: String,
    speaks: Speaks,
    streams: u32,
    seen: Arc<Seen>,
    mut draining: watch::Receiver<bool>,
) {
    seen.connections.fetch_add(1, Ordering::SeqCst);
    seen.open_connections.fetch_add(1, Ordering::SeqCst);
    let _open = Counted(&seen.open_connections);
    let service = service_fn(|request| handler::answer(name.clone(), Arc::clone(&seen), request));
    let io = TokioIo::new(stream);
    // How a connection ends is the client's business; what matters is in the counters.
    match speaks {
        Speaks::H2c => {
            let mut http = conn::http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new()).max_concurrent_streams(streams);
            http.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
            let mut connection = std::pin::pin!(http.serve_connection(io, service));
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = draining.wait_for(|drain| *drain) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
        Speaks::Http1 => {
            let http = conn::http1::Builder::new();
            let mut connection = std::pin::pin!(http.serve_connection(io, service));
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = draining.wait_for(|drain| *drain) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
    }
}

/// Takes one off the counter when dropped.
struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
