//! Matching the host of a request.

use std::str::FromStr;

use super::authority;

/// Which hosts a route takes. Kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum HostMatch {
    /// Every host, and none.
    #[default]
    Any,
    /// `*.shop.example`, kept as `.shop.example`: every host that ends so, however many labels stand before.
    Below(String),
    /// This host.
    Exact(String),
}

impl HostMatch {
    pub(super) fn matches(&self, host: Option<&str>) -> bool {
        match (self, host) {
            (HostMatch::Any, _) => true,
            (_, None) => false,
            (HostMatch::Below(suffix), Some(host)) => before_suffix(host, suffix).is_some(),
            (HostMatch::Exact(exact), Some(host)) => exact.eq_ignore_ascii_case(host),
        }
    }

    /// The more, the more specific.
    pub(super) fn rank(&self) -> (u8, usize) {
        match self {
            HostMatch::Any => (0, 0),
            HostMatch::Below(suffix) => (1, suffix.len()),
            HostMatch::Exact(_) => (2, 0),
        }
    }
}

impl FromStr for HostMatch {
    type Err = String;

    /// Reads a host name or address without port, `*.` and such a name, or `*`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(HostMatch::Any);
        }
        let (wildcard, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let has_port = !name.starts_with('[') && name.contains(':') || name.contains("]:");
        if has_port || name.contains('*') {
            return Err("write a host without port, `*.` and a host, or `*`".to_owned());
        }
        match authority::host(name) {
            Ok(Some(host)) if wildcard => Ok(HostMatch::Below(format!(".{}", host.to_ascii_lowercase()))),
            Ok(Some(host)) => Ok(HostMatch::Exact(host.to_ascii_lowercase())),
            Ok(None) | Err(_) => Err("it is neither a host name nor an IP address".to_owned()),
        }
    }
}

/// What stands before the suffix, if `host` ends in it, in whatever case, and something does.
pub(super) fn before_suffix<'a>(host: &'a str, suffix: &str) -> Option<&'a str> {
    let at = host.len().checked_sub(suffix.len()).filter(|at| *at > 0)?;
    let end = host.get(at..)?;
    end.eq_ignore_ascii_case(suffix).then(|| &host[..at])
}
