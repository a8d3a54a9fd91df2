//! Calls to services, and how their answers are told.

use std::time::Duration;

use proxy_wasm::{hostcalls, types::*};

/// Calls a service by name: GET, or POST with a trailer if there is a body.
pub fn dispatch(service: &str, path: &str, body: &str, millis: u64) -> Result<u32, Status> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let headers = vec![(":method", method), (":path", path), (":authority", service), ("x-guest-call", "yes")];
    let trailers = if body.is_empty() { vec![] } else { vec![("x-guest-trailer", "sent")] };
    let body = (!body.is_empty()).then_some(body.as_bytes());
    hostcalls::dispatch_http_call(service, headers, body, trailers, Duration::from_millis(millis))
}

/// Bytes as text that may stand in a header.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a foreign function answered.
pub fn told(answer: Result<Option<Bytes>, Status>) -> String {
    answer.map_or_else(
        |status| format!("{status:?}"),
        |bytes| format!("ok {}", text(&bytes.unwrap_or_default())).trim().to_owned(),
    )
}

/// The SDK has no way from a number to its enum.
pub const GRPC_CODES: [GrpcStatusCode; 17] = [
    GrpcStatusCode::Ok,
    GrpcStatusCode::Cancelled,
    GrpcStatusCode::Unknown,
    GrpcStatusCode::InvalidArgument,
    GrpcStatusCode::DeadlineExceeded,
    GrpcStatusCode::NotFound,
    GrpcStatusCode::AlreadyExists,
    GrpcStatusCode::PermissionDenied,
    GrpcStatusCode::ResourceExhausted,
    GrpcStatusCode::FailedPrecondition,
    GrpcStatusCode::Aborted,
    GrpcStatusCode::OutOfRange,
    GrpcStatusCode::Unimplemented,
    GrpcStatusCode::Internal,
    GrpcStatusCode::Unavailable,
    GrpcStatusCode::DataLoss,
    GrpcStatusCode::Unauthenticated,
];
