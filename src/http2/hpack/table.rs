//! The tables of RFC 7541 2.3, as a decoder keeps them: with fields that are parsed already.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{Field, OVERHEAD, Pseudo};

/// The static table (RFC 7541 appendix A), whose first entry has the index 1.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

static PARSED: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let parsed = STATIC.iter().map(|(name, value)| Entry::new(Name::new(name.as_bytes()), value.as_bytes()));
    parsed.collect()
});

/// The name of an entry, for literals that refer to it.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Pseudo(Pseudo),
    Regular(HeaderName),
    /// Every field of this name is malformed; only its length counts.
    Malformed(usize),
}

impl Name {
    pub(super) fn new(name: &[u8]) -> Self {
        match name {
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":method" => Self::Pseudo(Pseudo::Method),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            b":status" => Self::Pseudo(Pseudo::Status),
            _ => HeaderName::from_lowercase(name).map_or(Self::Malformed(name.len()), Self::Regular),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Pseudo(pseudo) => pseudo.name().len(),
            Self::Regular(name) => name.as_str().len(),
            Self::Malformed(length) => *length,
        }
    }

    /// The field of this name that has `value`, which is copied at most once.
    pub(super) fn field(self, value: &[u8]) -> Field {
        let field = match self {
            Self::Pseudo(Pseudo::Authority) => {
                Authority::from_maybe_shared(Bytes::copy_from_slice(value)).ok().map(Field::Authority)
            }
            Self::Pseudo(Pseudo::Method) => Method::from_bytes(value).ok().map(Field::Method),
            Self::Pseudo(Pseudo::Path) => path(value).map(Field::Path),
            Self::Pseudo(Pseudo::Scheme) if value.is_empty() => None,
            Self::Pseudo(Pseudo::Scheme) => Scheme::try_from(value).ok().map(Field::Scheme),
            Self::Pseudo(Pseudo::Status) => StatusCode::from_bytes(value).ok().map(Field::Status),
            Self::Regular(name) => regular(value).map(|value| Field::Regular(name, value)),
            Self::Malformed(_) => None,
        };
        field.unwrap_or(Field::Malformed)
    }
}

/// An absolute path with its query, or `*`. What has a fragment is neither; the type would only drop it.
fn path(value: &[u8]) -> Option<PathAndQuery> {
    if value != b"*" && (value.first() != Some(&b'/') || value.contains(&b'#')) {
        return None;
    }
    PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(value)).ok()
}

/// A value without white space around it (RFC 9113 8.2.1). gRPC servers send some behind a message.
fn regular(value: &[u8]) -> Option<HeaderValue> {
    let mut value = value;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value)).ok()
}

/// An entry of a table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) field: Field,
    /// As RFC 7541 4.1 counts it.
    pub(super) size: usize,
}

impl Entry {
    pub(super) fn new(name: Name, value: &[u8]) -> Self {
        Self { field: name.clone().field(value), size: name.len() + value.len() + OVERHEAD, name }
    }
}

/// The static and a dynamic table in one address space (RFC 7541 2.3.3).
#[derive(Debug)]
pub(super) struct Table {
    fixed: &'static [Entry],
    /// The newest is in front.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Table {
    /// An empty dynamic table that may grow to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { fixed: &PARSED, entries: VecDeque::new(), size: 0, limit }
    }

    /// The entry with the index, unless it is 0 or beyond the last.
    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        let index = index.checked_sub(1)?;
        self.fixed.get(index).or_else(|| self.entries.get(index - self.fixed.len()))
    }

    /// Evicts what no longer fits.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    /// Adds an entry in front. One that is larger than the table only empties it (RFC 7541 4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        self.evict(self.limit.saturating_sub(entry.size));
        if entry.size <= self.limit {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size;
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
