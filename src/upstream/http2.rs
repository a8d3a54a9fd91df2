//! One HTTP/2 connection to an endpoint, shared by many calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connect::{Stream, connect};
use super::{Config, ConnectError};
use crate::http2::{self, Client, ClientConnection, Error, PingPong, Receiver, RequestHead, Sender, Settings};
use crate::registry::{Address, Protocol};

const IS_TLS: &str = "it is TLS: say so in its registration or with `tls`";
const MAY_BE_HTTP1: &str = "if it speaks HTTP/1.1, say so in its registration or with `protocol: http1`";

/// A stream that was begun.
pub type Sent = (Receiver, Sender, StreamPermit);

/// A handle on one HTTP/2 connection. When all handles and streams are gone, the connection ends gracefully.
#[derive(Clone)]
pub struct Http2 {
    client: Client,
    shared: Arc<Shared>,
    max_streams: usize,
    pub(super) born: Instant,
}

#[derive(Default)]
struct Shared {
    streams: AtomicU32,
    used: AtomicBool,
}

/// Counts a stream of a connection for as long as it lives.
pub struct StreamPermit(Arc<Shared>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http2 {
    /// Connects, and drives the connection in a task of its own. It counts as made only when the endpoint's SETTINGS
    /// have come, within `connect_timeout` of the start: who accepts connections need not speak HTTP/2, or answer at
    /// all. Must run in a tokio runtime.
    pub(super) async fn open(address: &Address, tls: bool, config: &Config) -> Result<Http2, ConnectError> {
        let by = Instant::now() + config.connect_timeout;
        let mut stream = connect(address, tls, Some(Protocol::Http2), config).await?;
        let mut beginning = stream.beginning();
        let greeted = timeout_at(by, http2::connect(stream, settings(config))).await;
        let (client, connection) = match (greeted, beginning.try_recv().ok()) {
            (Ok(Ok(made)), _) => made,
            (_, Some([b'H', b'T', b'T', b'P', b'/', b'1', ..])) => return Err(ConnectError::Http1),
            (_, Some([0x15, 3, ..])) => return Err(ConnectError::NotHttp2(IS_TLS)),
            (Ok(Err(failed)), _) => return Err(not_greeted(&failed)),
            (Err(_), _) => return Err(ConnectError::Silent(config.connect_timeout)),
        };
        let shared = Arc::new(Shared::default());
        tokio::spawn(drive(connection, shared.clone(), config.keep_alive, config.keep_alive_timeout));
        let max_streams = config.limits.max_streams as usize;
        Ok(Http2 { client, shared, max_streams, born: Instant::now() })
    }

    /// Whether another stream fits, by our limit and the endpoint's.
    pub(super) fn has_room(&self) -> bool {
        self.streams() < self.max_streams.min(self.client.max_streams())
    }

    pub(super) fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed) as usize
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_ending()
    }

    /// Whether a call used it since the last time this was asked, or does now.
    pub(super) fn was_used(&self) -> bool {
        self.shared.used.swap(false, Ordering::Relaxed) || self.streams() > 0
    }

    /// Opens a stream. If the endpoint's limit of streams is reached, it waits inside for its turn.
    ///
    /// # Errors
    ///
    /// If the connection has ended or is about to: nothing was sent then.
    pub fn send(&mut self, head: &RequestHead<'_>, end: bool) -> Result<Sent, Error> {
        let (receiver, sender) = self.client.send(head, end)?;
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        if !self.shared.used.load(Ordering::Relaxed) {
            self.shared.used.store(true, Ordering::Relaxed);
        }
        Ok((receiver, sender, StreamPermit(self.shared.clone())))
    }
}

fn settings(config: &Config) -> Settings {
    let limits = &config.limits;
    Settings {
        max_streams: limits.max_streams,
        max_header_bytes: limits.max_header_bytes,
        stream_window: limits.stream_window,
        connection_window: limits.connection_window,
        max_pending_resets: usize::MAX,
        // One call's malformed answer must not end those of others.
        max_error_resets: usize::MAX,
    }
}

/// Why no SETTINGS came.
fn not_greeted(error: &Error) -> ConnectError {
    match error.reason() {
        Some(reason) if error.is_remote() => ConnectError::Http(format!("it ended the connection: {reason}")),
        Some(_) => ConnectError::NotHttp2(MAY_BE_HTTP1),
        None => ConnectError::Closed,
    }
}

async fn drive(
    connection: ClientConnection<Stream>,
    shared: Arc<Shared>,
    keep_alive: Option<Duration>,
    timeout: Duration,
) {
    let pings = connection.ping_pong();
    tokio::select! {
        ended = connection => if let Err(error) = ended { tracing::debug!(%error, "connection to endpoint ended") },
        () = no_pong(pings, keep_alive, timeout, &shared) => tracing::debug!("endpoint stopped to answer pings"),
    }
}

/// Returns when a ping stays unanswered. Pings are sent only while calls are open, as gRPC servers demand.
async fn no_pong(mut pings: PingPong, interval: Option<Duration>, timeout: Duration, shared: &Shared) {
    let Some(interval) = interval else { return std::future::pending().await };
    loop {
        tokio::time::sleep(interval).await;
        if shared.streams.load(Ordering::Relaxed) > 0 && tokio::time::timeout(timeout, pings.ping()).await.is_err() {
            return;
        }
    }
}
