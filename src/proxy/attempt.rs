//! One attempt at one endpoint.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, StatusCode, request};
use http_body::Body;
use tokio::time::Instant;

use super::body::{BodyError, RequestBody, Source};
use super::pump::{Pump, PumpError};
use super::respond::{self, Failure};
use super::response::{Upload, Upstream};
use super::service::Picked;
use super::upstream_call::{Answer, Target};
use super::{deadline, headers};
use crate::http2::{Error, Reason};
use crate::registry::Protocol;
use crate::upstream::{ConnectError, Connecting, Http1, Ready, Sent, Trials, detect};

/// Why an attempt brought no response.
pub(super) enum Setback {
    /// No connection came about.
    Connect(Arc<ConnectError>),
    /// The connection had ended, or ended with a GOAWAY that excludes this call: a new one may take it.
    Closed,
    /// The endpoint refused the stream.
    Refused,
    /// The endpoint may have processed it.
    Fatal(Failure),
}

const BROKEN: Failure = Failure::BadRequest("its body broke off, stopped to come, or is malformed");

/// What a body that broke off on its way from the client means.
pub(super) fn broke_off(error: &BodyError) -> Failure {
    match error {
        BodyError::Http2(error) if error.is_remote() || error.reason().is_none() => Failure::Gone,
        _ => BROKEN,
    }
}

/// The same of one that did not arrive.
pub(super) fn not_carried(error: &PumpError) -> Option<Failure> {
    match error {
        PumpError::Source(error) => Some(broke_off(error)),
        PumpError::Stalled(limit) => Some(Failure::NotTaken(*limit)),
        // Who wants no more has said so.
        PumpError::Sink(_) => None,
    }
}

/// How an attempt begins.
enum Start {
    Http2(Result<Sent, Error>),
    Http1(Http1<RequestBody>),
    Connecting(Connecting<RequestBody>),
}

/// Sends the request to this endpoint and waits for the head of the response. What the endpoint provably did not
/// process is in `body` again afterwards.
pub(super) async fn run(
    target: &Target<'_>,
    picked: &Picked,
    head: &request::Parts,
    body: &mut RequestBody,
    grpc: bool,
) -> Result<Answer, Setback> {
    let upstream = &target.service.settings.upstream;
    let protocol = match upstream.protocol.or(picked.protocol()) {
        Some(protocol) => protocol,
        None if grpc => Protocol::Http2,
        // Boxed, as all that is rare: a call's future stays small, and every call pays for its size.
        None => match Box::pin(detect(picked, upstream)).await {
            Ok(protocol) => protocol,
            Err(error) => return Err(Setback::Connect(Arc::new(error))),
        },
    };
    let tls = upstream.wants_tls(picked);
    let timeout = || {
        let by = target.by.filter(|_| grpc)?;
        Some(deadline::to_header(by.saturating_duration_since(Instant::now())))
    };
    // The pool is never held across a wait.
    let start = || match target.worker.pool.borrow_mut().ready(picked, protocol, upstream) {
        Ready::Http2(connection) => {
            Start::Http2(connection.send(&headers::over_http2(head, tls, timeout()), body.is_end_stream()))
        }
        Ready::Http1(connection) => Start::Http1(connection),
        Ready::Connecting(connecting) => Start::Connecting(connecting),
    };
    let request = |body: &RequestBody| headers::over_http1(head, !body.is_end_stream(), timeout());
    // Others may fill each connection that is waited for, until all that may be are open. Beyond that the endpoint
    // closes them as fast as they are made.
    for _ in 0..=upstream.max_connections {
        let connected = match start() {
            Start::Http2(Ok(sent)) => return over_http2(target, sent, body).await,
            Start::Http2(Err(_)) => return Err(Setback::Closed),
            Start::Http1(connection) => return Box::pin(over_http1(target, connection, request(body), body)).await,
            Start::Connecting(Connecting::Http2(connecting)) => Box::pin(connecting.done()).await.map(|()| None),
            Start::Connecting(Connecting::Http1(connecting)) => Box::pin(connecting.done()).await.map(Some),
        };
        match connected {
            Ok(connection) => {
                Trials::connected(picked, &target.service.slot);
                match connection {
                    Some(connection) => return Box::pin(over_http1(target, connection, request(body), body)).await,
                    // It greeted, so this is sure.
                    None => picked.state.set_detected(Protocol::Http2),
                }
            }
            Err(error) => return Err(Setback::Connect(error)),
        }
    }
    Err(Setback::Closed)
}

async fn over_http2(target: &Target<'_>, sent: Sent, body: &mut RequestBody) -> Result<Answer, Setback> {
    let (mut receiver, sender, permit) = sent;
    let mut uploading = !body.is_end_stream();
    let mut failure = None;
    let mut pump = Pump::new(std::mem::take(body), sender, target.settings.config.stall_timeout);
    let answer = poll_fn(|cx| {
        if uploading && let Poll::Ready(done) = pump.poll(cx) {
            uploading = false;
            failure = done.err().as_ref().and_then(not_carried);
            if failure.is_some() {
                pump.reset(Reason::CANCEL);
            }
        }
        receiver.poll_response(cx)
    });
    match answer.await {
        Ok(response) => {
            pump.body.forget();
            let upload = uploading.then(|| Upload::new(pump));
            Ok(response.map(|()| (Source::Http2(receiver), Upstream::Http2 { permit, upload })))
        }
        Err(error) => match failure {
            Some(failure) => Err(Setback::Fatal(failure)),
            None => {
                *body = pump.into_body();
                Err(setback(target, &error))
            }
        },
    }
}

/// What became of a stream that ended before its response. RFC 9113 sections 6.8 and 8.7 say what was not processed.
fn setback(target: &Target<'_>, error: &Error) -> Setback {
    match error.reason() {
        Some(_) if error.is_go_away() && error.is_remote() => Setback::Closed,
        Some(Reason::REFUSED_STREAM) if error.is_remote() => Setback::Refused,
        Some(reason) if error.is_reset() && !error.is_remote() => {
            Setback::Fatal(Failure::BadAnswer(target.name(), respond::rejected(reason)))
        }
        Some(reason) if error.is_reset() => Setback::Fatal(Failure::Reset(target.name(), reason)),
        Some(reason) => lost(target, &format_args!("it broke the rules of HTTP/2: {reason}")),
        None => lost(target, &""),
    }
}

fn too_large(target: &Target<'_>) -> Setback {
    Setback::Fatal(Failure::BadAnswer(target.name(), respond::rejected(Reason::CANCEL)))
}

fn lost(target: &Target<'_>, detail: &dyn std::fmt::Display) -> Setback {
    let detail = match detail.to_string() {
        none if none.is_empty() => none,
        detail => format!(": {detail}"),
    };
    Setback::Fatal(Failure::ConnectionLost { service: target.name(), detail })
}

async fn over_http1(
    target: &Target<'_>,
    mut connection: Http1<RequestBody>,
    request: Request<()>,
    body: &mut RequestBody,
) -> Result<Answer, Setback> {
    match connection.send(request.map(|()| std::mem::take(body))).await {
        Ok(mut response) => {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(lost(target, &"it switched protocols without being asked to"));
            }
            // What it read into a buffer that was large already, it did not measure.
            if headers::size(response.headers()) > target.service.settings.upstream.limits.max_header_bytes as usize {
                return Err(too_large(target));
            }
            headers::from_http1(&mut response);
            Ok(response.map(|body| (Source::Http1(body), Upstream::Http1(Box::new(connection)))))
        }
        Err(mut error) => match error.take_message() {
            Some(unsent) => {
                *body = unsent.into_body();
                Err(Setback::Closed)
            }
            None => {
                let error = error.into_error();
                if error.is_user() {
                    let cause = StdError::source(&error).and_then(|cause| cause.downcast_ref::<BodyError>());
                    return Err(Setback::Fatal(cause.map_or(BROKEN, broke_off)));
                }
                if error.is_parse_too_large() {
                    return Err(too_large(target));
                }
                let parse = "it answered with something that is not HTTP/1.1";
                Err(lost(target, if error.is_parse() { &parse } else { &"" }))
            }
        },
    }
}
