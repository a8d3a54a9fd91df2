//! One client connection: finds out which HTTP it speaks, and starts an exchange for each request.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::body::{BodyError, RequestBody, Source};
use super::exchange::{self, Client};
use super::pump::{Pump, PumpError};
use super::worker::Worker;
use super::{Config, Phase, Settings, headers};
use crate::http2::{self, PREFACE, PingPong, Reason, Receiver, Sender, Server};

/// How long the rest of a short request that was answered early is waited for. To reset it instead is allowed, but
/// what is on its way then counts against the connection, and a client that is often refused would lose it.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves a client until it goes, breaks the rules, or the proxy stops.
pub(super) async fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, mut phase: watch::Receiver<Phase>) {
    let settings = worker.settings();
    let Some((stream, is_http2)) = timeout(settings.config.handshake_timeout, sniff(stream)).await.ok().flatten()
    else {
        return;
    };
    let local = stream.stream.local_addr().unwrap_or(peer);
    let address = peer.ip().to_canonical().to_string();
    let Ok(header) = HeaderValue::from_str(&address) else { return };
    let client = Rc::new(Client { address: address.into(), header, peer, local });
    if is_http2 {
        http2(worker, stream, client, &settings, &mut phase).await;
    } else {
        http1(worker, stream, client, &settings, &mut phase).await;
    }
}

/// Reads until it is clear whether the client began with HTTP/2's preface. `None` if it went away first.
async fn sniff(mut stream: TcpStream) -> Option<(Sniffed, bool)> {
    let mut begin = [0; PREFACE.len()];
    let mut read = 0;
    while read < begin.len() && begin[..read] == PREFACE[..read] {
        match stream.read(&mut begin[read..]).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => read += n,
        }
    }
    let is_http2 = begin == *PREFACE;
    Some((Sniffed { begin: Bytes::copy_from_slice(&begin[..read]), stream, blocked: Rc::default() }, is_http2))
}

async fn http2(
    worker: &Rc<Worker>,
    stream: Sniffed,
    client: Rc<Client>,
    settings: &Settings,
    phase: &mut watch::Receiver<Phase>,
) {
    let Config { limits, idle_timeout, handshake_timeout, stall_timeout, .. } = &settings.config;
    let mut connection = Server::new(
        stream.stream,
        http2::Settings {
            max_streams: limits.max_streams,
            max_header_bytes: limits.max_header_bytes,
            stream_window: limits.stream_window,
            connection_window: limits.connection_window,
            max_pending_resets: settings.config.max_pending_resets,
            max_error_resets: settings.config.max_error_resets,
        },
    );
    let mut silent = Box::pin(silent(connection.ping_pong(), *handshake_timeout, *stall_timeout));
    let mut idle = Box::pin(tokio::time::sleep(*idle_timeout));
    // Made once: each of these waits takes a lock that all connections share.
    let mut stopping = pin!(async { drop(phase.wait_for(|phase| *phase != Phase::Running).await) });
    let mut used = false;
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => match accepted {
                Some(Ok((request, sender))) => {
                    used = true;
                    tokio::task::spawn_local(Box::pin(stream_task(worker.clone(), request, sender, client.clone())));
                }
                Some(Err(error)) => {
                    tracing::debug!(client = %client.address, %error, "client connection ended");
                    return;
                }
                None => return,
            },
            () = &mut stopping, if !draining => {
                draining = true;
                connection.shut_down();
            }
            () = &mut silent => {
                tracing::debug!(client = %client.address, "client answers no pings, its connection is cut");
                return;
            }
            () = &mut idle, if !draining => {
                if std::mem::take(&mut used) || connection.has_streams() {
                    idle.as_mut().reset(Instant::now() + *idle_timeout);
                } else {
                    draining = true;
                    connection.shut_down();
                }
            }
        }
    }
}

/// Returns when the client leaves a ping unanswered: at first within the time for a handshake, then, asked every
/// minute, within that for a receiver that takes nothing. It may be gone, or it may hold the connection by never
/// ending what it began.
async fn silent(mut pings: PingPong, first: Duration, later: Duration) {
    let (mut wait, mut patience) = (first / 2, first / 2);
    loop {
        tokio::time::sleep(wait).await;
        if timeout(patience, pings.ping()).await.is_err() {
            return;
        }
        (wait, patience) = (Duration::from_secs(60), later);
    }
}

/// One stream: ends early, and cancels the call at the endpoint, if the client resets it.
fn stream_task(
    worker: Rc<Worker>,
    request: Request<Receiver>,
    mut sender: Sender,
    client: Rc<Client>,
) -> impl Future<Output = ()> {
    let (mut head, body) = request.into_parts();
    let mut body = RequestBody::new(Source::Http2(body));
    // What a block captures it uses in place, where an `async fn` would hold its arguments twice.
    async move {
        if head.headers.contains_key(EXPECT) {
            let mut proceed = Response::new(());
            *proceed.status_mut() = StatusCode::CONTINUE;
            if sender.respond(&proceed, false).is_err() {
                return;
            }
        }
        let stall_timeout = worker.stall_timeout();
        let response = {
            let mut exchange = pin!(exchange::handle(&worker, &mut head, &mut body, &client));
            poll_fn(|cx| match exchange.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => sender.poll_ended(cx).map(|_| None),
            })
            .await
        };
        let Some(response) = response else { return };
        let (head, response) = response.into_parts();
        let ended = response.is_end_stream();
        if sender.respond(&Response::from_parts(head, ()), ended).is_err() {
            return;
        }
        if !ended {
            let mut pump = Pump::new(response, sender, stall_timeout);
            let sent = poll_fn(|cx| match pump.poll(cx) {
                // The deadline also holds for a client that takes nothing.
                Poll::Pending => pump.body.poll_deadline(cx).map(|()| Err(BodyError::Deadline.into())),
                sent => sent,
            });
            match sent.await {
                Ok(()) => {}
                Err(PumpError::Sink(_)) => return,
                Err(PumpError::Source(error)) => return pump.reset(reason(&error)),
                Err(PumpError::Stalled(_)) => {
                    pump.body.finish("stalled");
                    return pump.reset(Reason::CANCEL);
                }
            }
        }
        if !body.is_end_stream() {
            let _ = timeout(DRAIN, poll_fn(|cx| body.poll_drain(cx))).await;
        }
    }
}

/// What a client is told of a response that broke off: what the endpoint said, if it said something that is true behind the
/// beginning of a response.
fn reason(error: &BodyError) -> Reason {
    match error {
        BodyError::Http2(error) if error.is_reset() && error.is_remote() => match error.reason() {
            None | Some(Reason::NO_ERROR | Reason::REFUSED_STREAM) => Reason::INTERNAL_ERROR,
            Some(reason) => reason,
        },
        BodyError::Deadline => Reason::CANCEL,
        _ => Reason::INTERNAL_ERROR,
    }
}

async fn http1(
    worker: &Rc<Worker>,
    stream: Sniffed,
    client: Rc<Client>,
    settings: &Settings,
    phase: &mut watch::Receiver<Phase>,
) {
    let config = &settings.config;
    let blocked = stream.blocked.clone();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (worker, client) = (worker.clone(), client.clone());
        async move {
            let (mut head, body) = request.into_parts();
            let mut body = RequestBody::new(Source::upload(body, worker.stall_timeout()));
            let mut response = exchange::handle(&worker, &mut head, &mut body, &client).await;
            headers::announce_trailers(response.headers_mut());
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_headers(config.max_header_fields)
            .max_buf_size(config.limits.max_header_bytes.max(8 << 10) as usize)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stalled(&blocked, config.stall_timeout) => {
            tracing::debug!(client = %client.address, "client takes nothing, its connection is cut");
            return;
        }
        stopping = phase.wait_for(|phase| *phase != Phase::Running) => {
            drop(stopping);
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = %client.address, %error, "client connection ended");
    }
}

/// Returns when nothing could be written for `limit`, give or take a quarter.
async fn stalled(blocked: &Cell<Option<Instant>>, limit: Duration) {
    while blocked.get().is_none_or(|since| since.elapsed() < limit) {
        tokio::time::sleep(limit / 4).await;
    }
}

/// A stream of which the beginning has been read.
struct Sniffed {
    begin: Bytes,
    stream: TcpStream,
    /// Since when the client has taken nothing of what is to be written.
    blocked: Rc<Cell<Option<Instant>>>,
}

impl Sniffed {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.blocked.set(None);
        } else if self.blocked.get().is_none() {
            self.blocked.set(Some(Instant::now()));
        }
        written
    }
}

impl AsyncRead for Sniffed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.begin.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = self.begin.len().min(buf.remaining());
        buf.put_slice(&self.begin.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
