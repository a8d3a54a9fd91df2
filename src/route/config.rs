//! The configuration of routing, checked: section `routing`.

use std::time::Duration;

use http::HeaderName;

use super::host::HostMatch;
use super::{Fallback, Filter, HeaderMatch, LONGEST_NAME, PathMatch, Subset, authority};
use crate::config::{Section, defaults};

/// How services are found from requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Ends of host names that are no part of the service's name, such as `.svc.local`. In lower case, each with its
    /// dot. Default: none.
    pub suffixes: Vec<String>,
    /// Whether the header `waypost-service` names the service. Default: false, for whoever may call can then reach every
    /// service, whatever the routes say.
    pub service_header: bool,
    /// Requests that go elsewhere than their host says. Default: none.
    pub routes: Vec<Route>,
}

/// A match on a request, and where it leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which requests it takes.
    pub matches: Match,
    /// The service that they are for.
    pub service: String,
    /// The instances that they may go to; `None` for all.
    pub subset: Option<Subset>,
    /// What happens if the subset is empty. Default: any instance.
    pub fallback: Fallback,
    /// The time that the whole exchange may take, 1 ms to 24 h, over the service's own. Default: the service's.
    pub timeout: Option<Duration>,
    /// The filters that requests pass once they are on this route, after those that all pass. Default: none.
    pub filters: Vec<Filter>,
}

/// Which requests a route takes: those that meet all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Match {
    /// By host.
    pub host: HostMatch,
    /// By path.
    pub path: PathMatch,
    /// By headers, ordered by name.
    pub headers: Vec<(HeaderName, HeaderMatch)>,
}

impl Config {
    /// Reads the section `routing`.
    pub fn read(section: &mut Section<'_>) -> Config {
        let suffixes = section.strings("suffixes", &[]).iter().filter_map(|text| suffix(section, text)).collect();
        let service_header = section.boolean("service_header", false);
        let mut routes: Vec<Route> = Vec::new();
        section.list("routes", |section| {
            let route = Route::read(section);
            if let Some(earlier) = routes.iter().position(|other| other.matches == route.matches) {
                section.error("match", format!("takes the same requests as routes[{earlier}]; remove one of them"));
            }
            routes.push(route);
        });
        Config { suffixes, service_header, routes }
    }
}

impl Default for Config {
    fn default() -> Self {
        defaults(Config::read)
    }
}

/// A suffix with its dot, in lower case.
fn suffix(section: &mut Section<'_>, text: &str) -> Option<String> {
    let name = text.strip_prefix('.').unwrap_or(text);
    if name.contains(['[', ':']) || !matches!(authority::host(name), Ok(Some(host)) if host == name) {
        section.error("suffixes", format!("must be ends of host names, such as `.svc.local`; `{text}` is none"));
        return None;
    }
    Some(format!(".{}", name.to_ascii_lowercase()))
}

impl Route {
    fn read(section: &mut Section<'_>) -> Route {
        let matches = section.section("match", Match::read);
        let service = section.string("service", "");
        if service.is_empty() {
            section.error("service", "a route needs the service that it leads to");
        } else if service.len() > LONGEST_NAME {
            section.error("service", format!("must be at most {LONGEST_NAME} bytes"));
        }
        let subset = section.section("subset", |section| Subset {
            version: section.optional("version"),
            zone: section.optional("zone"),
            tags: section.strings("tags", &[]),
        });
        let fallback = section.choice("fallback", &[("any", Fallback::Any), ("none", Fallback::None)], Fallback::Any);
        let range = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let timeout = section.optional_duration("timeout", None, range);
        let filters = Filter::read_list(section, "filters");
        Route { matches, service, subset: (subset != Subset::default()).then_some(subset), fallback, timeout, filters }
    }
}

impl Match {
    fn read(section: &mut Section<'_>) -> Match {
        let host = section.optional_parsed("host").unwrap_or_default();
        let prefix = section.optional("path_prefix");
        let grpc = section.optional("grpc");
        if prefix.is_some() && grpc.is_some() {
            section.error("grpc", "a route matches by `grpc` or by `path_prefix`, not by both");
        }
        let mut checked = |key: &str, path: Result<PathMatch, String>| {
            path.map_err(|message| section.error(key, message)).unwrap_or_default()
        };
        let path = match (&prefix, &grpc) {
            (_, Some(grpc)) => checked("grpc", PathMatch::grpc(grpc)),
            (Some(prefix), None) => checked("path_prefix", PathMatch::prefix(prefix)),
            (None, None) => PathMatch::Any,
        };
        let headers = section.map("headers", |name, section| {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| section.error("", "is not a header's name")).ok();
            name.zip(HeaderMatch::read(section))
        });
        let mut headers: Vec<_> = headers.into_values().flatten().collect();
        headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        Match { host, path, headers }
    }
}

impl HeaderMatch {
    fn read(section: &mut Section<'_>) -> Option<HeaderMatch> {
        let exact = section.optional("exact").map(HeaderMatch::Exact);
        let prefix = section.optional("prefix").map(HeaderMatch::Prefix);
        let present = section.boolean("present", false).then_some(HeaderMatch::Present);
        let mut given = [exact, prefix, present].into_iter().flatten();
        let (first, second) = (given.next(), given.next());
        if first.is_none() || second.is_some() {
            section.error("", "needs one of `exact: VALUE`, `prefix: VALUE` and `present: true`");
        }
        first
    }
}
