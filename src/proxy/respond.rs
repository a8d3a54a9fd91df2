//! What a caller is told when a call cannot be carried: the one place that turns a failure into an answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::headers::strip_hop_by_hop;
use crate::http2::Reason;
use crate::route::NoRoute;
use crate::upstream::ConnectError;
use crate::wasm::{LocalResponse, Stop};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a call could not be carried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No registration has ever named this service.
    #[error(
        "unknown service `{0}`: nothing is registered under that name; check the host part of the address that you call, and the registry"
    )]
    UnknownService(String),
    /// The registry has not been read yet.
    #[error("the registry has not been read yet, so `{0}` is not known; try again in a moment")]
    NotReady(String),
    /// The service is known but has no instance now.
    #[error("service `{0}` has no instances now: all registrations are gone; start one or wait for it to register")]
    NoInstances(String),
    /// The route's subset has no instance, and no fallback is allowed.
    #[error(
        "service `{0}` has instances, but none in the subset that the route asks for, and the route has no fallback"
    )]
    NoSubset(String),
    /// An endpoint led the call back to this proxy.
    #[error(
        "the call for service `{0}` came back to the proxy that had sent it on: an instance of it is registered at the address of a proxy; register the address where the service itself listens"
    )]
    Loop(String),
    /// Every endpoint was tried.
    #[error(
        "service `{service}` is registered, but none of its instances can be connected to{detail}; see that they run and that the proxy can reach them"
    )]
    Unreachable {
        /// The service.
        service: String,
        /// What the last connect failed by; with the address, if that may be told.
        detail: String,
    },
    /// The endpoint refused the call or went away before it had processed it, and there is no other.
    #[error("service `{0}` refused the call before processing it, and no other instance took it")]
    Refused(String),
    /// The connection broke after the call was sent: it may have been processed.
    #[error(
        "the connection to an instance of service `{service}` was lost during the call{detail}; the call may have been processed"
    )]
    ConnectionLost {
        /// The service.
        service: String,
        /// What it was lost by.
        detail: String,
    },
    /// The endpoint reset the stream before it answered.
    #[error("an instance of service `{0}` reset the call: {1}")]
    Reset(String, Reason),
    /// The endpoint's answer is none that can be passed on.
    #[error("an instance of service `{0}` gave an answer that cannot be passed on: {1}")]
    BadAnswer(String, Cow<'static, str>),
    /// The endpoint does not read the request.
    #[error(
        "the instance took nothing of the request for {0:?} (proxy.stall_timeout); it may have processed what it took"
    )]
    NotTaken(Duration),
    /// The client went away, or took its request back.
    #[error("the client went away in the middle of its request")]
    Gone,
    /// It took longer than the caller or the configuration allows.
    #[error("the deadline of the call passed after {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The head of the request has too many fields.
    #[error("the request has {0} header fields; this proxy takes {1} at most (proxy.max_header_fields)")]
    TooManyFields(usize, usize),
    /// The header list of the request is too large.
    #[error(
        "the header list of the request is larger than {0} bytes, the most that this proxy takes (proxy.limits.max_header_bytes)"
    )]
    TooManyBytes(u32),
    /// The request names no service.
    #[error("bad request: {0}")]
    NoRoute(#[from] NoRoute),
    /// The request makes no sense to a proxy.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// A filter does not let it pass.
    #[error("{0}")]
    Filter(#[from] Stop),
}

/// The `grpc-status` codes that a proxy gives: the gRPC status code list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Internal = 13,
    Unavailable = 14,
}

impl Failure {
    /// What metrics and logs call it.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Failure::UnknownService(_) => "unknown_service",
            Failure::NotReady(_) => "not_ready",
            Failure::NoInstances(_) => "no_instances",
            Failure::NoSubset(_) => "no_subset",
            Failure::Loop(_) => "loop",
            Failure::Unreachable { .. } => "unreachable",
            Failure::Refused(_) => "refused",
            Failure::ConnectionLost { .. } | Failure::NotTaken(_) => "connection_lost",
            Failure::Gone => "cancelled",
            Failure::Reset(..) => "reset",
            Failure::BadAnswer(..) => "bad_answer",
            Failure::Deadline(_) => "deadline",
            Failure::BadRequest(_) | Failure::NoRoute(_) => "bad_request",
            Failure::Filter(Stop::Answered(_) | Stop::Closed(_)) => "filter",
            Failure::TooManyFields(..) | Failure::TooManyBytes(_) | Failure::Filter(Stop::TooLarge(_)) => "too_large",
            Failure::Filter(Stop::Failed(_) | Stop::Invalid(_) | Stop::Held(_)) => "filter_failed",
        }
    }

    /// Whether it speaks against the endpoint, and not against the call or its caller.
    pub(super) fn is_endpoints_fault(&self) -> bool {
        matches!(
            self,
            Failure::ConnectionLost { .. } | Failure::NotTaken(_) | Failure::Reset(..) | Failure::BadAnswer(..)
        )
    }

    /// As an HTTP status and a gRPC one. A reset follows the table "HTTP2 Transport Mapping, Errors" of the gRPC
    /// protocol.
    fn codes(&self) -> (StatusCode, Code) {
        match self {
            Failure::UnknownService(_) => (StatusCode::NOT_FOUND, Code::Unavailable),
            Failure::NotReady(_)
            | Failure::NoInstances(_)
            | Failure::NoSubset(_)
            | Failure::Refused(_)
            | Failure::Unreachable { .. }
            | Failure::Filter(Stop::Answered(_) | Stop::Closed(_) | Stop::Failed(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            Failure::Filter(Stop::Invalid(_)) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
            Failure::Loop(_) => (StatusCode::LOOP_DETECTED, Code::Unavailable),
            Failure::ConnectionLost { .. } | Failure::NotTaken(_) => (StatusCode::BAD_GATEWAY, Code::Unavailable),
            Failure::Gone => (StatusCode::BAD_REQUEST, Code::Cancelled),
            Failure::BadAnswer(..) => (StatusCode::BAD_GATEWAY, Code::Internal),
            Failure::Reset(_, reason) => (StatusCode::BAD_GATEWAY, code_of_reset(*reason)),
            Failure::Deadline(_) | Failure::Filter(Stop::Held(_)) => {
                (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded)
            }
            Failure::TooManyFields(..) | Failure::TooManyBytes(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::ResourceExhausted)
            }
            Failure::BadRequest(_) | Failure::NoRoute(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Failure::Filter(Stop::TooLarge(_)) => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
        }
    }

    /// The answer: for gRPC a status in the head of an empty response, for others a status and a line of text.
    pub(super) fn answer(&self, grpc: bool) -> (Response<()>, Bytes) {
        let mut response = Response::new(());
        let (status, code) = self.codes();
        if grpc {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            status_fields(response.headers_mut(), code, &self.to_string());
            return (response, Bytes::new());
        }
        *response.status_mut() = status;
        let text = Bytes::from(format!("{self}\n"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        (response, text)
    }

    /// What ends a gRPC response that had begun.
    pub(super) fn trailers(&self) -> HeaderMap {
        trailers(self.codes().1, &self.to_string())
    }

    /// Every endpoint was tried; `reveal` adds which one failed last, and how.
    pub(super) fn unreachable(service: &str, label: &str, error: &Arc<ConnectError>, reveal: bool) -> Failure {
        let detail = if reveal { format!(" (last tried {label}: {error})") } else { String::new() };
        Failure::Unreachable { service: service.to_owned(), detail }
    }
}

/// What a filter answered. A gRPC caller gets its status in the head of an empty response, as of any answer of ours.
pub(super) fn local(answer: LocalResponse, grpc: bool) -> (Response<()>, Bytes) {
    let LocalResponse { status, headers, body, grpc_status, details } = answer;
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(TRAILER);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if grpc {
        let text = String::from_utf8_lossy(if body.is_empty() { details.as_bytes() } else { &body }).into_owned();
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status.unwrap_or_else(|| code_of_status(status))));
        if let Ok(message) = HeaderValue::from_maybe_shared(percent_encoded(&text)) {
            headers.insert(GRPC_MESSAGE, message);
        }
        return (response, Bytes::new());
    }
    *response.status_mut() = status;
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return (response, Bytes::new());
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if !body.is_empty() && !response.headers().contains_key(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    (response, body)
}

/// The same when the head of a response is gone already.
pub(super) fn local_trailers(answer: LocalResponse) -> HeaderMap {
    let said = local(answer, true).0;
    let status = [GRPC_STATUS, GRPC_MESSAGE].into_iter().filter_map(|name| {
        let value = said.headers().get(&name)?.clone();
        Some((name, value))
    });
    status.collect()
}

/// The gRPC status for an HTTP one: gRPC's document "HTTP to gRPC Status Code Mapping".
fn code_of_status(status: StatusCode) -> u32 {
    match status.as_u16() {
        200..=299 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The trailers that end a gRPC response which cannot go on.
pub(super) fn trailers(code: Code, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    status_fields(&mut trailers, code, message);
    trailers
}

/// Why we reset the stream of an endpoint's answer, in words.
pub(super) fn rejected(reason: Reason) -> Cow<'static, str> {
    match reason {
        Reason::CANCEL => "its header list is larger than the service's `limits.max_header_bytes`".into(),
        reason => format!("it breaks the rules of HTTP/2 ({reason})").into(),
    }
}

/// The gRPC status for a stream that was reset, by the table of the gRPC protocol.
pub(super) fn code_of_reset(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

fn status_fields(headers: &mut HeaderMap, code: Code, message: &str) {
    headers.insert(GRPC_STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_maybe_shared(percent_encoded(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// As the gRPC protocol writes `grpc-message`: printable ASCII but `%` stays, all else is `%XX`.
fn percent_encoded(text: &str) -> Bytes {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = BytesMut::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            encoded.put_u8(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            encoded.put_slice(&[b'%', HEX[high], HEX[low]]);
        }
    }
    encoded.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("plain `text`"), "plain `text`");
        assert_eq!(percent_encoded("50% é\n"), "50%25 %C3%A9%0A");
    }

    #[test]
    fn a_failure_is_a_status_in_grpc_and_a_text_elsewhere() {
        let failure = Failure::UnknownService("greeter".into());
        let (response, body) = failure.answer(true);
        assert_eq!((response.status(), body.len()), (StatusCode::OK, 0));
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(response.headers()["grpc-message"].to_str().unwrap().contains("greeter"));
        let (response, body) = failure.answer(false);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(body.starts_with(b"unknown service `greeter`"));
    }
}
