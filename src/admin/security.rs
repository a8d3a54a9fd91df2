//! What holds for every request, whatever its path: whom the server answers, and what a browser may do with the answer.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::host;

/// The largest body that is read, in bytes.
const BODY: usize = 64 << 10;
/// Where something may be posted.
const ACTS: [&str; 1] = ["/health"];

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Guards every route of `router`, which listens on `local`.
pub(super) fn guarded(router: Router, local: SocketAddr) -> Router {
    let headers = HEADERS.into_iter().fold(router, |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    // What is here is of this moment. Only files that never change say otherwise.
    let now = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .layer(now)
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(middleware::from_fn(move |request, next| guard(local, request, next)))
}

async fn guard(local: SocketAddr, request: Request, next: Next) -> Response {
    if !host::is_ours(&request, local) {
        let text = "This server answers only to localhost and loopback addresses, so that no web page can read it.\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let acts = *request.method() == Method::POST && ACTS.contains(&request.uri().path());
    if !acts && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    // A page in a browser names where it comes from, and none of ours sends orders there.
    if acts && request.uri().path() == "/health" && request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "Pages in a browser may not give orders here.\n").into_response();
    }
    next.run(request).await
}
