//! Which service a request is for. Matching is pure: it looks at the request and at what the configuration was compiled
//! to, touches neither table nor clock, and allocates nothing.
//!
//! # The order
//!
//! 1. The header [`SERVICE_HEADER`], if the configuration lets it, names the service outright.
//! 2. Routes, the most specific first, as in Kubernetes' Gateway API:
//!    1. by host: an exact one, then wildcards by falling length, then none;
//!    2. by path: an exact one (a gRPC method), then prefixes by falling length (a gRPC service is one), then none;
//!    3. by headers: the more of them the earlier, then the more exact values, then the longer prefixes;
//!    4. as they stand in the configuration.
//! 3. Without a route the host is the service, without its port and a final dot. If it ends in one of the suffixes, the
//!    longest of those is cut off.
//!
//! # What is compared how
//!
//! Hosts are compared without regard to case, as DNS does. Names of services are not: the name is used as it was sent,
//! and only if no service of that name is known may a name from the host be tried in [lower
//! case](Matched::lower_case), for some clients lower the host and others do not. Paths are compared byte by byte as
//! sent, without the query, and nothing in them is decoded or resolved; so routes are no access control. A prefix ends
//! at a `/`: `/api` is not a prefix of `/apix`. A header of several values matches if one of them does.

mod authority;
mod config;
mod filter;
mod header;
mod host;
mod path;
mod router;
#[cfg(test)]
mod tests;

pub use config::{Config, Match, Route};
pub use filter::{Filter, OnError};
pub use header::HeaderMatch;
pub use host::HostMatch;
pub use path::PathMatch;
pub use router::{Matched, Router, Source, SubsetChoice};

use crate::registry::Instance;

/// The header that names the service outright, where the configuration lets it.
pub const SERVICE_HEADER: &str = "waypost-service";

/// The longest service name that a request may give, in bytes, as in the registry.
const LONGEST_NAME: usize = 255;

/// Why it cannot be said which service a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// It names no host, and no route takes it without.
    #[error("it names no service: `:authority` or `Host` is missing")]
    NoAuthority,
    /// What it names is not a host with or without a port.
    #[error("its host is not valid; call a name, with or without a port")]
    BadAuthority,
    /// The service header is empty, too long, not text, or there twice.
    #[error("`waypost-service` must be there once and name a service")]
    BadServiceHeader,
}

/// Some instances of a service: those that have all that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Subset {
    /// Their version.
    pub version: Option<String>,
    /// Their zone.
    pub zone: Option<String>,
    /// Tags that each of them has; it may have others.
    pub tags: Vec<String>,
}

impl Subset {
    /// Whether the instance belongs to the subset.
    pub fn contains(&self, instance: &Instance) -> bool {
        self.version.as_ref().is_none_or(|version| *version == instance.version)
            && self.zone.as_ref().is_none_or(|zone| *zone == instance.zone)
            && self.tags.iter().all(|tag| instance.tags.contains(tag))
    }
}

/// Where calls go when no instance of the service is in the subset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fallback {
    /// To any instance of the service.
    #[default]
    Any,
    /// Nowhere: they fail.
    None,
}
