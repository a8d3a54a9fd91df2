//! HPACK, the compression of header fields (RFC 7541), for a proxy that writes the same fields again and again.
//!
//! A field is parsed once, when it enters the table of its connection; each later reference to it costs no more than a
//! clone. What goes out is never Huffman-coded: that saves bytes, but costs time at both ends.

mod decode;
mod encode;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

pub(super) use decode::Decoder;
pub(super) use encode::Encoder;

/// The limit of both dynamic tables, in bytes as RFC 7541 4.1 counts them: what holds before any SETTINGS.
const TABLE_LIMIT: usize = 4096;
/// What each field counts beside its name and its value (RFC 7541 4.1).
const OVERHEAD: usize = 32;

/// A header field, parsed once: when it enters a table, or when it is read as a literal.
#[derive(Debug, Clone)]
pub(crate) enum Field {
    Authority(Authority),
    Method(Method),
    Path(PathAndQuery),
    Scheme(Scheme),
    Status(StatusCode),
    /// The value is sensitive if it came as a literal that must never be indexed (RFC 7541 6.2.3).
    Regular(HeaderName, HeaderValue),
    /// Not a field that HTTP/2 permits: an unknown pseudo-header, a name with upper-case letters, an invalid name or
    /// value (RFC 9113 8.2 and 8.3). The rest of the block can be decoded nevertheless.
    Malformed,
}

/// The block breaks the rules of HPACK: a `COMPRESSION_ERROR` of the connection, whose decoder must not be used again.
#[derive(Debug)]
pub(crate) struct Invalid;

/// The pseudo-header fields (RFC 9113 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pseudo {
    Authority,
    Method,
    Path,
    Scheme,
    Status,
}

impl Pseudo {
    const fn name(self) -> &'static str {
        match self {
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Status => ":status",
        }
    }
}
