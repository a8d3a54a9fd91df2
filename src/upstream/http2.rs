//! One HTTP/2 connection to an endpoint, shared by many calls.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::time::{Instant, timeout_at};

use super::batch::{Batched, Flush, batched};
use super::connect::{Stream, connect};
use super::{Config, ConnectError};
use crate::registry::{Address, Protocol};

/// How many streams may be opened as long as no SETTINGS have come: a number that they cannot set, for theirs have 32
/// bits, and those that set none permit `usize::MAX`.
const NOT_GREETED: usize = usize::MAX - 1;

const IS_TLS: &str = "it is TLS: say so in its registration or with `tls`";
const MAY_BE_HTTP1: &str = "if it speaks HTTP/1.1, say so in its registration or with `protocol: http1`";

type Greeted = (SendRequest<Bytes>, Connection<Batched<Stream>, Bytes>);

/// A handle on one HTTP/2 connection. When all handles and streams are gone, the connection ends gracefully.
#[derive(Clone)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
    max_streams: usize,
    pub(super) born: Instant,
}

#[derive(Default)]
struct Shared {
    streams: AtomicU32,
    closed: AtomicBool,
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
        let (stream, flush) = batched(stream);
        let greeted = timeout_at(by, Http2::greet(stream, config)).await;
        let (send, connection) = match (greeted, beginning.try_recv().ok()) {
            (Ok(Ok(made)), _) => made,
            (_, Some([b'H', b'T', b'T', b'P', b'/', b'1', ..])) => return Err(ConnectError::Http1),
            (_, Some([0x15, 3, ..])) => return Err(ConnectError::NotHttp2(IS_TLS)),
            (Ok(Err(failed)), _) => return Err(failed),
            (Err(_), _) => return Err(ConnectError::Silent(config.connect_timeout)),
        };
        flush.begin();
        let shared = Arc::new(Shared::default());
        tokio::spawn(drive(connection, flush, shared.clone(), config.keep_alive, config.keep_alive_timeout));
        let max_streams = config.limits.max_streams as usize;
        Ok(Http2 { send, shared, max_streams, born: Instant::now() })
    }

    /// Sends our SETTINGS and waits for the endpoint's.
    async fn greet(stream: Batched<Stream>, config: &Config) -> Result<Greeted, ConnectError> {
        let limits = &config.limits;
        let (send, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_header_list_size(limits.max_header_bytes)
            // Frames that were under way when a call was cancelled arrive for a stream that is gone. h2 answers those
            // it has forgotten with a reset, and counts that against the connection for its whole life: enough
            // cancelled calls would end it for everyone. So remember more of them, for longer, and do not count.
            .max_concurrent_reset_streams(1_000)
            .reset_stream_duration(Duration::from_secs(5))
            .max_local_error_reset_streams(None)
            .max_send_buffer_size(limits.stream_window as usize)
            .initial_max_send_streams(NOT_GREETED)
            .handshake(stream)
            .await
            .map_err(|error| not_greeted(&error))?;
        let ended = poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            // An end that comes with the SETTINGS is found again by the first who uses the connection.
            if send.current_max_send_streams() == NOT_GREETED { ended.map(Some) } else { Poll::Ready(None) }
        });
        match ended.await {
            None => Ok((send, connection)),
            Some(Ok(())) => Err(ConnectError::Closed),
            Some(Err(error)) => Err(not_greeted(&error)),
        }
    }

    /// Whether another stream fits, by our limit and the endpoint's.
    pub(super) fn has_room(&self) -> bool {
        let streams = self.streams();
        streams < self.max_streams && streams < self.send.current_max_send_streams()
    }

    pub(super) fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed) as usize
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
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
    pub fn send(
        &mut self,
        request: Request<()>,
        end_of_stream: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>, StreamPermit), h2::Error> {
        let sent = if self.has_room() {
            self.send.send_request(request, end_of_stream)
        } else {
            // A handle that has a stream waiting takes no other, so a waiting stream gets a handle of its own.
            self.send.clone().send_request(request, end_of_stream)
        };
        match sent {
            Ok((response, body)) => {
                self.shared.streams.fetch_add(1, Ordering::Relaxed);
                if !self.shared.used.load(Ordering::Relaxed) {
                    self.shared.used.store(true, Ordering::Relaxed);
                }
                Ok((response, body, StreamPermit(self.shared.clone())))
            }
            Err(error) => {
                self.shared.closed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// Why no SETTINGS came.
fn not_greeted(error: &h2::Error) -> ConnectError {
    match error.reason() {
        Some(reason) if error.is_remote() => ConnectError::Http(format!("it ended the connection: {reason}")),
        Some(_) => ConnectError::NotHttp2(MAY_BE_HTTP1),
        None => ConnectError::Closed,
    }
}

async fn drive(
    mut connection: Connection<Batched<Stream>, Bytes>,
    flush: Flush<Stream>,
    shared: Arc<Shared>,
    keep_alive: Option<Duration>,
    timeout: Duration,
) {
    let pings = connection.ping_pong();
    let connection = poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        flush.poll(cx);
        ended
    });
    tokio::select! {
        ended = connection => if let Err(error) = ended { tracing::debug!(%error, "connection to endpoint ended") },
        () = no_pong(pings, keep_alive, timeout, &shared) => tracing::debug!("endpoint stopped to answer pings"),
    }
    shared.closed.store(true, Ordering::Relaxed);
}

/// Returns when a ping stays unanswered. Pings are sent only while calls are open, as gRPC servers demand.
async fn no_pong(pings: Option<PingPong>, interval: Option<Duration>, timeout: Duration, shared: &Shared) {
    let (Some(mut pings), Some(interval)) = (pings, interval) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(interval).await;
        if shared.streams.load(Ordering::Relaxed) > 0
            && tokio::time::timeout(timeout, pings.ping(Ping::opaque())).await.is_err()
        {
            return;
        }
    }
}
