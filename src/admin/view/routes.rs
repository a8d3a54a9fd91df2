//! The routes, and where a given request would go, and why. The same router and the same rules as those that carry calls.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::{Facts, Query, shares};
use crate::admin::show::Share;
use crate::balance::Balance;
use crate::registry::clip;
use crate::route::{Config, Fallback, HeaderMatch, HostMatch, PathMatch, Route, Router, Source, Subset};
use crate::table::{Endpoint, Endpoints};

/// The page of routes.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Routes {
    /// In the order of the configuration.
    pub(in crate::admin) routes: Vec<Shown>,
    pub(in crate::admin) suffixes: Vec<String>,
    pub(in crate::admin) service_header: bool,
    /// Where the request that was asked about goes.
    pub(in crate::admin) answer: Option<Answer>,
}

/// A route in words.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Shown {
    pub(in crate::admin) number: usize,
    pub(in crate::admin) matches: String,
    pub(in crate::admin) service: String,
    pub(in crate::admin) subset: String,
    /// It takes the request that was asked about.
    pub(in crate::admin) takes: bool,
}

/// Where a request goes.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Answer {
    /// The service, if there is one.
    pub(in crate::admin) service: Option<String>,
    /// How it was found, step by step, in words.
    pub(in crate::admin) why: Vec<String>,
    /// Who may take it, with the share of such requests that each should get.
    pub(in crate::admin) endpoints: Vec<(String, Share)>,
}

/// Endpoints that are named in an answer.
const NAMED: usize = 50;

pub(in crate::admin) fn routes(facts: &Facts<'_>, query: &Query) -> Routes {
    let config = &facts.in_force.routing;
    let asked = !query.host.is_empty() || !query.path.is_empty() || !query.headers.is_empty();
    let answer = asked.then(|| answer(facts, config, query));
    let taken = answer.as_ref().and_then(|(_, route)| *route);
    let shown = |(n, route): (usize, &Route)| Shown {
        number: n + 1,
        matches: matches(route),
        service: route.service.clone(),
        subset: route.subset.as_ref().map(|of| subset(of, route.fallback)).unwrap_or_default(),
        takes: taken == Some(n),
    };
    Routes {
        routes: config.routes.iter().enumerate().map(shown).collect(),
        suffixes: config.suffixes.clone(),
        service_header: config.service_header,
        answer: answer.map(|(answer, _)| answer),
    }
}

/// The answer, and the place of the route that took the request.
fn answer(facts: &Facts<'_>, config: &Config, query: &Query) -> (Answer, Option<usize>) {
    let nowhere = |why: String| (Answer { service: None, why: vec![why], endpoints: Vec::new() }, None);
    let headers = match headers(&query.headers) {
        Ok(headers) => headers,
        Err(why) => return nowhere(why),
    };
    // A router that says which route it was: each leads to its own number.
    let mut numbered = config.clone();
    numbered.routes.iter_mut().enumerate().for_each(|(n, route)| route.service = n.to_string());
    let router = Router::new(&numbered);
    let host = (!query.host.is_empty()).then_some(&*query.host);
    let path = if query.path.is_empty() { "/" } else { &query.path };
    let matched = match router.route(host, path, &headers) {
        Ok(matched) => matched,
        Err(error) => return nowhere(format!("it is refused: {error}")),
    };
    let route = (matched.source == Source::Route).then(|| matched.service.parse::<usize>().ok()).flatten();
    let named = route.map_or(matched.service, |n| &config.routes[n].service);
    let mut why = vec![match (matched.source, route) {
        (Source::Header, _) => "the header waypost-service names the service".to_owned(),
        (_, Some(n)) => format!("route {} takes it: {}", n + 1, matches(&config.routes[n])),
        _ => "no route takes it, so its host is the service, without port and suffix".to_owned(),
    }];
    let known = |name: &str| facts.services.binary_search_by(|(other, _)| (**other).cmp(name)).ok();
    let lower = matched.lower_case();
    let (service, at) = match (known(named), lower) {
        (None, Some(lower)) if known(&lower).is_some() => {
            why.push("there is no service of that name as it was sent; there is one in lower case".to_owned());
            (lower.clone(), known(&lower))
        }
        (at, _) => (named.to_owned(), at),
    };
    let Some(at) = at else {
        why.push("there is no such service: nothing is registered under that name".to_owned());
        return (Answer { service: Some(service), why, endpoints: Vec::new() }, route);
    };
    let all = &facts.services[at].1;
    let within = route.and_then(|n| config.routes[n].subset.as_ref().map(|of| (of, config.routes[n].fallback)));
    let endpoints = chosen(all, within, &mut why);
    let (balance, _) = facts.in_force.service(&service);
    let wanted = shares::wanted(&endpoints, balance.native());
    why.push(match endpoints.is_empty() {
        true => "there is no endpoint that could take it, so that it fails".to_owned(),
        false => match balance {
            Balance::Native(balancer) => {
                format!("the balancer {balancer} picks among these, by their weights and health")
            }
            Balance::Module(used) => {
                format!("the module {} decides; where it does not, these are the shares", used.module)
            }
        },
    });
    let mut endpoints: Vec<_> =
        endpoints.iter().zip(wanted).map(|(e, share)| (e.label.to_string(), Share(share))).collect();
    endpoints.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    endpoints.truncate(NAMED);
    (Answer { service: Some(service), why, endpoints }, route)
}

/// The endpoints that a route lets a request go to.
fn chosen(all: &Endpoints, within: Option<(&Subset, Fallback)>, why: &mut Vec<String>) -> Endpoints {
    let Some((of, fallback)) = within else { return Endpoints::new(all.to_vec()) };
    let members: Vec<Endpoint> = all.iter().filter(|e| of.contains(&e.instance)).cloned().collect();
    why.push(format!("{} of {} endpoints are in its subset: {}", members.len(), all.len(), subset(of, fallback)));
    match (members.is_empty(), fallback) {
        (true, Fallback::Any) => Endpoints::new(all.to_vec()),
        _ => Endpoints::new(members),
    }
}

/// Headers as they are typed: a line each, name, colon, value.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("`{}` is no header; write name: value", clip(line)))?;
        let name: HeaderName = name.trim().parse().map_err(|_| format!("`{}` is no name of a header", clip(name)))?;
        let value: HeaderValue = value.trim().parse().map_err(|_| format!("the value of {name} is none"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn matches(route: &Route) -> String {
    let mut words = Vec::new();
    match &route.matches.host {
        HostMatch::Any => {}
        HostMatch::Below(end) => words.push(format!("host *{end}")),
        HostMatch::Exact(host) => words.push(format!("host {host}")),
    }
    match &route.matches.path {
        PathMatch::Any => {}
        PathMatch::Prefix(path) => words.push(format!("path {path} and below")),
        PathMatch::Exact(path) => words.push(format!("path {path}")),
    }
    words.extend(route.matches.headers.iter().map(|(name, value)| match value {
        HeaderMatch::Present => format!("header {name}"),
        HeaderMatch::Prefix(start) => format!("header {name} that begins with {start}"),
        HeaderMatch::Exact(value) => format!("header {name} of {value}"),
    }));
    if words.is_empty() { "every request".to_owned() } else { words.join(", ") }
}

fn subset(subset: &Subset, fallback: Fallback) -> String {
    let parts = [("version", &subset.version), ("zone", &subset.zone)];
    let mut words: Vec<_> =
        parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
    words.extend(subset.tags.iter().map(|tag| format!("tag {tag}")));
    let end = if fallback == Fallback::Any { "else any" } else { "else none" };
    format!("{}; {end}", words.join(", "))
}
