//! Between header blocks and the heads and trailers of messages: RFC 9113 section 8.

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

use super::frame::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS};
use super::hpack::{Encoder, Field, Pseudo};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Room for the fields of usual heads, and for those that a proxy adds.
const USUAL: usize = 12;

/// A header block as it is being read.
pub(super) struct Block {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    length: Option<u64>,
    /// Bytes that it may still have.
    left: usize,
    pub(super) is_too_large: bool,
    pub(super) is_malformed: bool,
}

/// Marks a request of which fields were left out, for its header list was larger than it may be. It is to be refused.
#[derive(Debug, Clone, Copy)]
pub struct TooLarge;

/// A message that breaks the rules, a PROTOCOL_ERROR of its stream.
pub(super) struct Malformed;

/// What `content-length` says of a message.
pub(super) type Length = Option<u64>;

impl Block {
    /// A block that may have so many bytes, as RFC 9113 section 6.5.2 counts them.
    pub(super) fn new(limit: usize) -> Block {
        Block {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            status: None,
            headers: HeaderMap::new(),
            length: None,
            left: limit,
            is_too_large: false,
            is_malformed: false,
        }
    }

    pub(super) fn take(&mut self, field: Field, size: usize) {
        // What still fits behind it is kept: whoever answers wants to know what was asked.
        let Some(left) = self.left.checked_sub(size) else {
            self.is_too_large = true;
            return;
        };
        self.left = left;
        let is_new = match field {
            Field::Regular(name, value) => return self.regular(name, value),
            Field::Method(method) => self.method.replace(method).is_none(),
            Field::Scheme(scheme) => self.scheme.replace(scheme).is_none(),
            Field::Authority(authority) => self.authority.replace(authority).is_none(),
            Field::Path(path) => self.path.replace(path).is_none(),
            Field::Status(status) => self.status.replace(status).is_none(),
            Field::Malformed => false,
        };
        self.is_malformed |= !is_new || !self.headers.is_empty();
    }

    fn regular(&mut self, name: HeaderName, value: HeaderValue) {
        if name == CONTENT_LENGTH {
            let length = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = length.and_then(|text| text.parse().ok());
            self.is_malformed |= length.is_none() || self.length.is_some_and(|earlier| Some(earlier) != length);
            self.length = length;
        }
        self.is_malformed |= match name {
            CONNECTION | TRANSFER_ENCODING | UPGRADE => true,
            TE => value != "trailers",
            _ => name == KEEP_ALIVE || name == PROXY_CONNECTION,
        };
        if self.headers.capacity() == 0 {
            self.headers.reserve(USUAL);
        }
        self.is_too_large |= self.headers.try_append(name, value).is_err();
    }

    pub(super) fn into_request(self) -> Result<(Request<()>, Length), Malformed> {
        let method = self.method.ok_or(Malformed)?;
        if self.is_malformed || self.status.is_some() {
            return Err(Malformed);
        }
        let mut uri = http::uri::Parts::default();
        if method == Method::CONNECT {
            if self.scheme.is_some() || self.path.is_some() || self.authority.is_none() {
                return Err(Malformed);
            }
        } else {
            // One that did not fit makes no difference to whoever refuses it.
            let path = self.path.or_else(|| self.is_too_large.then(|| PathAndQuery::from_static("/")));
            let (scheme, path) = (self.scheme.ok_or(Malformed)?, path.ok_or(Malformed)?);
            uri.scheme = self.authority.is_some().then_some(scheme);
            uri.path_and_query = Some(path);
        }
        uri.authority = self.authority;
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed)?;
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Ok((request, self.length))
    }

    pub(super) fn into_response(self) -> Result<(Response<()>, Length), Malformed> {
        let status = self.status.ok_or(Malformed)?;
        let is_request = self.method.is_some() || self.scheme.is_some() || self.path.is_some();
        if self.is_malformed || is_request || self.authority.is_some() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Malformed);
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.headers;
        Ok((response, self.length))
    }

    pub(super) fn into_trailers(self) -> Result<HeaderMap, Malformed> {
        let has_pseudo = self.method.is_some()
            || self.scheme.is_some()
            || self.path.is_some()
            || self.authority.is_some()
            || self.status.is_some();
        if self.is_malformed || self.is_too_large || has_pseudo { Err(Malformed) } else { Ok(self.headers) }
    }
}

/// The head of a request on its way out.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// `:method`.
    pub method: &'a Method,
    /// `:scheme`.
    pub scheme: &'a Scheme,
    /// `:authority`.
    pub authority: Option<&'a [u8]>,
    /// `:path`, with its query.
    pub path: &'a str,
    /// Of these, `host` is left out.
    pub headers: &'a HeaderMap,
    /// Stands for the `grpc-timeout` of the headers.
    pub timeout: Option<HeaderValue>,
}

impl<'a> RequestHead<'a> {
    /// The head of a request with an absolute URI.
    pub fn of<B>(request: &'a Request<B>) -> RequestHead<'a> {
        let uri = request.uri();
        RequestHead {
            method: request.method(),
            scheme: uri.scheme().unwrap_or(&Scheme::HTTP),
            authority: uri.authority().map(|authority| authority.as_str().as_bytes()),
            path: uri.path_and_query().map_or("/", PathAndQuery::as_str),
            headers: request.headers(),
            timeout: None,
        }
    }
}

/// The same, kept.
pub(super) struct OwnedRequest {
    method: Method,
    scheme: Scheme,
    authority: Option<Vec<u8>>,
    path: String,
    headers: HeaderMap,
    timeout: Option<HeaderValue>,
    pub(super) end: bool,
    /// All there is behind it.
    pub(super) trailers: Option<HeaderMap>,
}

impl OwnedRequest {
    pub(super) fn new(head: &RequestHead<'_>, end: bool) -> OwnedRequest {
        OwnedRequest {
            method: head.method.clone(),
            scheme: head.scheme.clone(),
            authority: head.authority.map(<[u8]>::to_vec),
            path: head.path.to_owned(),
            headers: head.headers.clone(),
            timeout: head.timeout.clone(),
            end,
            trailers: None,
        }
    }

    pub(super) fn end_with(&mut self, trailers: &HeaderMap) {
        if trailers.is_empty() {
            self.end = true;
        } else {
            self.trailers = Some(trailers.clone());
        }
    }

    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            scheme: &self.scheme,
            authority: self.authority.as_deref(),
            path: &self.path,
            headers: &self.headers,
            timeout: self.timeout.clone(),
        }
    }
}

/// Writes header blocks as frames.
pub(super) struct Writer<'a> {
    pub(super) encoder: &'a mut Encoder,
    pub(super) out: &'a mut BytesMut,
    pub(super) max_frame: usize,
}

impl Writer<'_> {
    pub(super) fn request(self, id: u32, head: &RequestHead<'_>, end: bool) {
        self.block(id, end, |encoder, out| {
            encoder.pseudo(Pseudo::Method, head.method.as_str().as_bytes(), true, out);
            if head.method != Method::CONNECT {
                encoder.pseudo(Pseudo::Scheme, head.scheme.as_str().as_bytes(), true, out);
            }
            if let Some(authority) = head.authority {
                encoder.pseudo(Pseudo::Authority, authority, true, out);
            }
            if head.method != Method::CONNECT {
                encoder.pseudo(Pseudo::Path, head.path.as_bytes(), true, out);
            }
            for (name, value) in head.headers {
                if name != HOST && (head.timeout.is_none() || name != GRPC_TIMEOUT) {
                    encoder.field(name, value, out);
                }
            }
            if let Some(timeout) = &head.timeout {
                encoder.field(&GRPC_TIMEOUT, timeout, out);
            }
        });
    }

    pub(super) fn response(self, id: u32, status: StatusCode, headers: &HeaderMap, end: bool) {
        self.block(id, end, |encoder, out| {
            encoder.pseudo(Pseudo::Status, status.as_str().as_bytes(), true, out);
            for (name, value) in headers {
                encoder.field(name, value, out);
            }
        });
    }

    pub(super) fn trailers(self, id: u32, trailers: &HeaderMap) {
        self.block(id, true, |encoder, out| {
            for (name, value) in trailers {
                encoder.field(name, value, out);
            }
        });
    }

    fn block(self, id: u32, end: bool, write: impl FnOnce(&mut Encoder, &mut BytesMut)) {
        let Writer { encoder, out, max_frame } = self;
        let at = out.len();
        let end = if end { END_STREAM } else { 0 };
        frame::put_head(out, 0, HEADERS, END_HEADERS | end, id);
        encoder.begin(out);
        write(encoder, out);
        if out.len() - at - frame::HEAD <= max_frame {
            return frame::set_length(out, at);
        }
        let block = out.split_off(at).split_off(frame::HEAD);
        let last = block.len().div_ceil(max_frame) - 1;
        for (i, part) in block.chunks(max_frame).enumerate() {
            let kind = if i == 0 { HEADERS } else { CONTINUATION };
            let flags = if i == 0 { end } else { 0 } | if i == last { END_HEADERS } else { 0 };
            frame::put_head(out, part.len(), kind, flags, id);
            out.extend_from_slice(part);
        }
    }
}
