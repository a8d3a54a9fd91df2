//! What holds for every request, whatever its path: whom the server answers, and what a browser may do with the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::host;
use super::session::Sessions;

/// The largest body that is read, in bytes.
const BODY: usize = 64 << 10;
/// Where something may be posted.
const ACTS: [&str; 4] = ["/health", "/login", "/logout", "/action"];
/// What is read without a token wherever the server listens: what machines ask for, and what a login page needs.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/login"];

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Without a referrer browsers would name no origin with our own forms, so it is kept among our own pages.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Guards every route of `router`, which listens on `local`.
pub(super) fn guarded(router: Router, local: SocketAddr, sessions: Arc<Sessions>) -> Router {
    let headers = HEADERS.into_iter().fold(router, |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    // What is here is of this moment. Only files that never change say otherwise.
    let now = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .layer(now)
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(middleware::from_fn(move |request, next| guard(local, sessions.clone(), request, next)))
}

async fn guard(local: SocketAddr, sessions: Arc<Sessions>, request: Request, next: Next) -> Response {
    if !host::is_ours(&request, local) {
        let text = "This server answers only to localhost and loopback addresses, so that no web page can read it.\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let acts = *request.method() == Method::POST && ACTS.contains(&request.uri().path());
    if !acts && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = request.uri().path();
    // A page in a browser names where it comes from: only our own may act, and none of ours sends orders to /health.
    if acts
        && !(is_of_ours(request.headers()) && (path != "/health" || !request.headers().contains_key(header::ORIGIN)))
    {
        return (StatusCode::FORBIDDEN, "Pages of others may not act here.\n").into_response();
    }
    if acts && path == "/health" && !sessions.has_token(request.headers()) {
        let text = "Orders need the token of admin.token_file, as Authorization: Bearer.\n";
        return (StatusCode::UNAUTHORIZED, text).into_response();
    }
    let is_open = local.ip().to_canonical().is_loopback() || OPEN.contains(&path) || path.starts_with("/static/");
    if !is_open && !sessions.may_read(request.headers()) {
        let is_page =
            request.headers().get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
        return match is_page {
            true => Redirect::to("/login").into_response(),
            false => (StatusCode::UNAUTHORIZED, "Send the token as Authorization: Bearer, or log in at /login.\n")
                .into_response(),
        };
    }
    next.run(request).await
}

/// Whether the page that sends this is one of ours, or it is sent by no page.
fn is_of_ours(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let same = match headers.contains_key(header::ORIGIN) {
        true => {
            text(header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host) == text(header::HOST)
        }
        false => true,
    };
    same && site.is_none_or(|site| matches!(site, "same-origin" | "none"))
}
