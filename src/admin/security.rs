//! What holds for every request, whatever its path: whom the server answers, and what a browser may do with the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::errors;
use super::host::Names;
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

/// Guards every route of `router`, which listens on `local` under these names.
pub(super) fn guarded(router: Router, local: SocketAddr, names: Names, sessions: Arc<Sessions>) -> Router {
    let guard = Arc::new(Guard { names, sessions, on_loopback: local.ip().to_canonical().is_loopback() });
    let router = router
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(middleware::from_fn(move |request, next| tell(guard.clone(), request, next)));
    let headers = HEADERS.into_iter().fold(router, |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    // What is here is of this moment. Only files that never change say otherwise.
    headers.layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
}

struct Guard {
    names: Names,
    sessions: Arc<Sessions>,
    on_loopback: bool,
}

async fn tell(guard: Arc<Guard>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (path, is_page) = (head.uri.path().to_owned(), is_page(&head.headers));
    let is_in = is_page && guard.sessions.mark(&head.headers).is_some();
    let answer = match guard.refuse(&head).await {
        Some(refusal) => refusal,
        None => next.run(Request::from_parts(head, body)).await,
    };
    errors::told(&path, is_page, is_in, answer).await
}

/// Whether it is a person who asks, with a browser.
fn is_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"))
}

impl Guard {
    async fn refuse(&self, request: &Parts) -> Option<Response> {
        let refusal = |status: StatusCode, text: &'static str| Some((status, text).into_response());
        if !self.names.take(request) {
            return refusal(StatusCode::MISDIRECTED_REQUEST, self.names.refusal());
        }
        let (path, headers) = (request.uri.path(), &request.headers);
        let acts = request.method == Method::POST && ACTS.contains(&path);
        if !acts && !matches!(request.method, Method::GET | Method::HEAD) {
            let (allow, text) = match path {
                "/logout" => ("POST", "This address takes POST only.\n"),
                path if ACTS.contains(&path) => ("GET, HEAD, POST", "This address takes GET, HEAD and POST only.\n"),
                _ => ("GET, HEAD", "This address is only read, with GET or HEAD.\n"),
            };
            return Some((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allow)], text).into_response());
        }
        let orders = acts && path == "/health";
        // A page in a browser names where it comes from: only our own may act, and none of ours sends orders to /health.
        if acts && !(is_of_ours(headers) && !(orders && headers.contains_key(header::ORIGIN))) {
            return refusal(StatusCode::FORBIDDEN, "Pages of others may not act here.\n");
        }
        if !orders && (self.on_loopback || OPEN.contains(&path) || path.starts_with("/static/")) {
            return None;
        }
        match self.sessions.bearer(headers).await {
            Some(Ok(())) => None,
            Some(Err(wrong)) => Some(wrong.into_response()),
            None if orders => refusal(
                StatusCode::UNAUTHORIZED,
                "Orders need the token of admin.token_file, as Authorization: Bearer.\n",
            ),
            None if self.sessions.mark(headers).is_some() => None,
            None if is_page(headers) => Some(Redirect::to("/login").into_response()),
            None => {
                refusal(StatusCode::UNAUTHORIZED, "Send the token as Authorization: Bearer, or log in at /login.\n")
            }
        }
    }
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
