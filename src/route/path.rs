//! Matching the path of a request. gRPC's is `/package.Service/Method`, so its services and methods are paths too.

/// Which paths a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum PathMatch {
    /// Every path.
    #[default]
    Any,
    /// This path and all below it; kept without a `/` at the end.
    Prefix(String),
    /// This path.
    Exact(String),
}

impl PathMatch {
    /// A prefix that ends at a `/`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn prefix(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') || text.contains(['?', '#']) {
            return Err(format!("must be a path that starts with `/`, without a query; is `{text}`"));
        }
        Ok(match text.trim_end_matches('/') {
            "" => PathMatch::Any,
            path => PathMatch::Prefix(path.to_owned()),
        })
    }

    /// `package.Service` or `package.Service/Method`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn grpc(text: &str) -> Result<Self, String> {
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        match text.split_once('/') {
            None if is_name(text) => Ok(PathMatch::Prefix(format!("/{text}"))),
            Some((service, method)) if is_name(service) && is_name(method) => Ok(PathMatch::Exact(format!("/{text}"))),
            _ => Err(format!("must be `package.Service` or `package.Service/Method`, is `{text}`")),
        }
    }

    /// Whether this path, without query, is one of them.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            PathMatch::Any => true,
            PathMatch::Prefix(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            PathMatch::Exact(exact) => exact == path,
        }
    }

    /// The more, the more specific.
    pub(super) fn rank(&self) -> (u8, usize) {
        match self {
            PathMatch::Any => (0, 0),
            PathMatch::Prefix(prefix) => (1, prefix.len()),
            PathMatch::Exact(_) => (2, 0),
        }
    }
}
