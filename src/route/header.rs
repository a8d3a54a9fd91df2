//! Matching one header of a request.

use http::{HeaderMap, HeaderName};

/// Which values of a header a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeaderMatch {
    /// Any, as long as the header is there.
    Present,
    /// Those that start so.
    Prefix(String),
    /// This one.
    Exact(String),
}

impl HeaderMatch {
    pub(super) fn matches(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        headers.get_all(name).iter().any(|value| match self {
            HeaderMatch::Present => true,
            HeaderMatch::Prefix(prefix) => value.as_bytes().starts_with(prefix.as_bytes()),
            HeaderMatch::Exact(exact) => value.as_bytes() == exact.as_bytes(),
        })
    }
}
