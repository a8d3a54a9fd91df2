//! What a proxy changes in a head on its way: RFC 9110 section 7.6, RFC 9113 section 8.2.2.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Response, Version, request};

use super::deadline::GRPC_TIMEOUT;
use super::respond::GRPC_STATUS;
use crate::http2::RequestHead;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The service that a request names: `:authority`, or `Host` where there is none.
pub(super) fn authority(head: &request::Parts) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
    }
}

/// Removes what concerns one connection only, with all that `Connection` names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS] {
        headers.remove(name);
    }
}

/// How this proxy names itself in `via` when it calls one service, made once: another proxy, and this one when it calls
/// another service, has another name.
pub(super) struct Via {
    name: String,
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    pub(super) fn new(id: u64) -> Via {
        let name = format!("waypost-{id:016x}");
        let value = |version: &str| {
            HeaderValue::try_from(format!("{version} {name}")).unwrap_or(HeaderValue::from_static("1.1 waypost"))
        };
        Via { http10: value("1.0"), http11: value("1.1"), http2: value("2.0"), name }
    }

    /// Whether a call for the service was here before: it went to an endpoint that led back to this proxy.
    pub(super) fn is_loop(&self, headers: &HeaderMap) -> bool {
        let name = self.name.as_bytes();
        headers.get_all(VIA).iter().any(|via| via.as_bytes().windows(name.len()).any(|part| part == name))
    }

    fn of(&self, version: Version) -> HeaderValue {
        match version {
            Version::HTTP_2 => self.http2.clone(),
            Version::HTTP_10 => self.http10.clone(),
            _ => self.http11.clone(),
        }
    }
}

/// Readies a request's head for the way to an endpoint, whichever it will be. `client` is the caller's address as a
/// header.
pub(super) fn to_upstream(head: &mut request::Parts, client: &HeaderValue, via: &Via) {
    let headers = &mut head.headers;
    // HTTP/2 has none of these, and no `te` but `trailers`; a request that carries one was refused as malformed.
    if head.version != Version::HTTP_2 {
        let wants_trailers = headers
            .get_all(TE)
            .iter()
            .filter_map(|te| te.to_str().ok())
            .any(|te| te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")));
        strip_hop_by_hop(headers);
        headers.remove(PROXY_AUTHORIZATION);
        headers.remove(TE);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    // We answer that ourselves, as soon as we read the body.
    headers.remove(EXPECT);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    match headers.get(FORWARDED_FOR) {
        None => drop(headers.insert(FORWARDED_FOR, client.clone())),
        Some(earlier) => {
            let list = [earlier.as_bytes(), b", ", client.as_bytes()].concat();
            if let Ok(list) = HeaderValue::from_bytes(&list) {
                headers.insert(FORWARDED_FOR, list);
            }
        }
    }
    headers.append(VIA, via.of(head.version));
}

/// The head of one attempt over HTTP/2, with the name that was called in `:authority` and not in `Host`. `timeout` stands for the
/// caller's `grpc-timeout`.
pub(super) fn over_http2(head: &request::Parts, tls: bool, timeout: Option<HeaderValue>) -> RequestHead<'_> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    RequestHead {
        method: &head.method,
        scheme: if tls { &Scheme::HTTPS } else { &Scheme::HTTP },
        authority: authority.or_else(|| head.headers.get(HOST).map(HeaderValue::as_bytes)),
        path: head.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        headers: &head.headers,
        timeout,
    }
}

/// The same over HTTP/1.1, which carries the name in `Host`, and tells before a body that there is one.
pub(super) fn over_http1(head: &request::Parts, has_body: bool, timeout: Option<HeaderValue>) -> http::Request<()> {
    let mut headers = head.headers.clone();
    if let Some(host) = head.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
        headers.insert(HOST, host);
    }
    if headers.remove(TE).is_some() {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout);
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = path.into();
    *request.headers_mut() = headers;
    request
}

/// Readies the head of an HTTP/1.1 response for the way to the client. HTTP/2 has nothing that would not pass.
pub(super) fn from_http1<B>(response: &mut Response<B>) {
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    // RFC 9112 section 6.3: a length beside a transfer coding does not count.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
}

/// Whether a head belongs to a gRPC call: its answer has its status in `grpc-status`.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The bytes of a head, counted as HTTP/2 does: RFC 9113 section 6.5.2.
pub(super) fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// A header's value as a number that is the same in every worker and proxy; 0 if the header is not there.
pub(super) fn hash(headers: &HeaderMap, name: &HeaderName) -> u64 {
    let Some(value) = headers.get(name) else { return 0 };
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, value.as_bytes());
    std::hash::Hasher::finish(&hasher).max(1)
}

/// Declares the trailers of gRPC to an HTTP/1.1 client, which gets none that was not declared. An answer that has its status
/// in the head has none.
pub(super) fn announce_trailers(headers: &mut HeaderMap) {
    if !is_grpc(headers) || headers.contains_key(GRPC_STATUS) {
        return;
    }
    let names = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("grpc-status"));
    if !headers.get_all(TRAILER).iter().any(names) {
        headers.append(TRAILER, HeaderValue::from_static("grpc-status, grpc-message"));
    }
}

#[cfg(test)]
mod tests;
