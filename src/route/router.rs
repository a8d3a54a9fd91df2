//! The routes, compiled when the configuration changes and asked by every request.

use std::cmp::Reverse;
use std::time::Duration;

use http::HeaderMap;

use super::config::{Config, Match, Route};
use super::host::before_suffix;
use super::{Fallback, Filter, HeaderMatch, LONGEST_NAME, NoRoute, SERVICE_HEADER, Subset, authority};

/// Says which service a request is for. Never changed, only replaced.
#[derive(Debug, Clone, Default)]
pub struct Router {
    /// The longest first.
    suffixes: Vec<String>,
    service_header: bool,
    /// The most specific first.
    routes: Vec<Compiled>,
    subsets: Vec<(Subset, Fallback)>,
    /// The chains of filters that routes have.
    chains: Vec<Vec<Filter>>,
}

#[derive(Debug, Clone)]
struct Compiled {
    matches: Match,
    service: String,
    subset: Option<usize>,
    timeout: Option<Duration>,
    chain: Option<usize>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched<'a> {
    /// The service's name, as sent or as configured.
    pub service: &'a str,
    /// What named it.
    pub source: Source,
    /// The instances that it may go to, for [`Router::subset`]; `None` for all.
    pub subset: Option<usize>,
    /// The time that the exchange may take, if the route says so.
    pub timeout: Option<Duration>,
    /// The route's own filters, by their place in [`Router::chains`].
    pub chain: Option<usize>,
}

/// What named a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The request's host.
    Host,
    /// The request's header [`SERVICE_HEADER`].
    Header,
    /// A route.
    Route,
}

/// The subset that a route asks for. Its id is its place in one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubsetChoice<'a> {
    /// Names it among those of its router; equal subsets with equal fallbacks share one.
    pub id: usize,
    /// The instances.
    pub subset: &'a Subset,
    /// What happens if there is none of them.
    pub fallback: Fallback,
}

impl Matched<'_> {
    /// The name to try if no service has the one that was sent: host names have no case, names in the registry do.
    pub fn lower_case(&self) -> Option<String> {
        let may = self.source == Source::Host && self.service.bytes().any(|b| b.is_ascii_uppercase());
        may.then(|| self.service.to_ascii_lowercase())
    }
}

impl Router {
    /// Sorts out the routes.
    pub fn new(config: &Config) -> Self {
        let mut suffixes = config.suffixes.clone();
        suffixes.sort_by_key(|suffix| Reverse(suffix.len()));
        let mut subsets: Vec<(Subset, Fallback)> = Vec::new();
        let mut place = |subset: &Subset, fallback: Fallback| {
            let wanted = (subset.clone(), fallback);
            subsets.iter().position(|other| *other == wanted).unwrap_or_else(|| {
                subsets.push(wanted);
                subsets.len() - 1
            })
        };
        let mut chains: Vec<Vec<Filter>> = Vec::new();
        let mut chain = |filters: &Vec<Filter>| {
            let wanted = (!filters.is_empty()).then_some(filters)?;
            Some(chains.iter().position(|other| other == wanted).unwrap_or_else(|| {
                chains.push(wanted.clone());
                chains.len() - 1
            }))
        };
        let mut compile = |route: &Route| Compiled {
            matches: route.matches.clone(),
            service: route.service.clone(),
            subset: route.subset.as_ref().map(|subset| place(subset, route.fallback)),
            timeout: route.timeout,
            chain: chain(&route.filters),
        };
        let mut routes: Vec<Compiled> = config.routes.iter().map(&mut compile).collect();
        routes.sort_by_key(|route| Reverse(route.matches.rank()));
        Router { suffixes, service_header: config.service_header, routes, subsets, chains }
    }

    /// The subset of that id; `None` if the id is not from this router.
    pub fn subset(&self, id: usize) -> Option<SubsetChoice<'_>> {
        self.subsets.get(id).map(|(subset, fallback)| SubsetChoice { id, subset, fallback: *fallback })
    }

    /// The chains of filters that routes have, each once.
    pub fn chains(&self) -> &[Vec<Filter>] {
        &self.chains
    }

    /// The service that a request is for. `authority` is its `:authority` or `Host`, `path` may have a query.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] says what is wrong with the request.
    pub fn route<'a>(
        &'a self,
        authority: Option<&'a str>,
        path: &str,
        headers: &'a HeaderMap,
    ) -> Result<Matched<'a>, NoRoute> {
        if self.service_header
            && let Some(service) = named(headers)?
        {
            return Ok(Matched { service, source: Source::Header, subset: None, timeout: None, chain: None });
        }
        let host = authority::host(authority.unwrap_or_default())?;
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if let Some(route) = self.routes.iter().find(|route| route.matches.takes(host, path, headers)) {
            let Compiled { service, subset, timeout, chain, .. } = route;
            let source = Source::Route;
            return Ok(Matched { service, source, subset: *subset, timeout: *timeout, chain: *chain });
        }
        let service = self.without_suffix(host.ok_or(NoRoute::NoAuthority)?);
        Ok(Matched { service, source: Source::Host, subset: None, timeout: None, chain: None })
    }

    fn without_suffix<'a>(&self, host: &'a str) -> &'a str {
        self.suffixes.iter().find_map(|suffix| before_suffix(host, suffix)).unwrap_or(host)
    }
}

impl Match {
    fn takes(&self, host: Option<&str>, path: &str, headers: &HeaderMap) -> bool {
        self.host.matches(host)
            && self.path.matches(path)
            && self.headers.iter().all(|(name, value)| value.matches(name, headers))
    }

    /// The more, the more specific.
    fn rank(&self) -> impl Ord + use<> {
        let exact = self.headers.iter().filter(|(_, value)| matches!(value, HeaderMatch::Exact(_))).count();
        let prefixes: usize = self
            .headers
            .iter()
            .map(|(_, value)| match value {
                HeaderMatch::Prefix(prefix) => prefix.len(),
                HeaderMatch::Present | HeaderMatch::Exact(_) => 0,
            })
            .sum();
        (self.host.rank(), self.path.rank(), self.headers.len(), exact, prefixes)
    }
}

/// The service that the header names, if it is there.
fn named(headers: &HeaderMap) -> Result<Option<&str>, NoRoute> {
    let mut values = headers.get_all(SERVICE_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = std::str::from_utf8(value.as_bytes()).map_err(|_| NoRoute::BadServiceHeader)?.trim();
    if values.next().is_some() || name.is_empty() || name.len() > LONGEST_NAME {
        return Err(NoRoute::BadServiceHeader);
    }
    Ok(Some(name))
}
