//! One service: each endpoint with its health and why, its share of calls, wanted and had.

use std::collections::BTreeMap;

use serde::Serialize;

use super::filter::{Rank, Row};
use super::services::{Key, ServiceRow, row, unreadable};
use super::{Facts, Level, Query, Rows, shares};
use crate::admin::history::Steps;
use crate::admin::show::{LeaseId, Rate, Seconds, Share};
use crate::admin::ttl::Ttl;
use crate::health::{EndpointHealth, State};
use crate::registry::clip;
use crate::table::Endpoint;

/// The page of a service.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Service<'a> {
    pub(in crate::admin) service: ServiceRow<'a>,
    /// So few endpoints are healthy that calls go to all.
    pub(in crate::admin) panic: bool,
    /// The revision of the table, which guards actions.
    pub(in crate::admin) revision: i64,
    pub(in crate::admin) endpoints: Rows<EndpointRow<'a>>,
    pub(in crate::admin) unreadable: Vec<Key>,
    #[serde(skip)]
    pub(in crate::admin) acts: bool,
}

/// One endpoint.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct EndpointRow<'a> {
    #[serde(skip)]
    pub(in crate::admin) service: &'a str,
    /// Whether there are actions.
    #[serde(skip)]
    pub(in crate::admin) acts: bool,
    pub(in crate::admin) id: u32,
    pub(in crate::admin) address: &'a str,
    pub(in crate::admin) instance: &'a str,
    pub(in crate::admin) weight: u32,
    /// The weight of the registration, if an operator put another in its place.
    pub(in crate::admin) registered_weight: Option<u32>,
    pub(in crate::admin) version: &'a str,
    pub(in crate::admin) zone: &'a str,
    pub(in crate::admin) tags: &'a [String],
    pub(in crate::admin) protocol: Option<String>,
    pub(in crate::admin) metadata: &'a BTreeMap<String, String>,
    pub(in crate::admin) level: Level,
    pub(in crate::admin) state: &'static str,
    pub(in crate::admin) reason: &'a str,
    pub(in crate::admin) since: Option<Seconds>,
    /// When its state ends by itself.
    pub(in crate::admin) left: Option<Seconds>,
    pub(in crate::admin) doubted: bool,
    /// An operator gave it an order that holds.
    pub(in crate::admin) ordered: bool,
    pub(in crate::admin) in_flight: u32,
    pub(in crate::admin) calls: Rate,
    pub(in crate::admin) failures: Rate,
    pub(in crate::admin) wanted: Share,
    pub(in crate::admin) actual: Share,
    pub(in crate::admin) lease: Option<LeaseId>,
    pub(in crate::admin) ttl: Option<Ttl>,
    /// The revision of its key, which guards actions.
    pub(in crate::admin) revision: i64,
    pub(in crate::admin) history: &'a Steps,
}

impl EndpointRow<'_> {
    /// What can be done with it now, by name of the action and of the button.
    pub(in crate::admin) fn actions(&self) -> &'static [(&'static str, &'static str)] {
        match (self.state, self.ordered) {
            ("draining", _) => &[("restore", "Undrain")],
            (_, true) => &[("drain", "Drain"), ("restore", "Take order back")],
            ("healthy", _) => &[("drain", "Drain"), ("weight", "Weight"), ("unhealthy", "Force unhealthy")],
            _ => &[("drain", "Drain"), ("weight", "Weight"), ("healthy", "Force healthy")],
        }
    }

    pub(in crate::admin) fn clipped(&self, text: &str) -> String {
        clip(text)
    }
}

impl Row for EndpointRow<'_> {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        field("address", self.address);
        field("id", self.instance);
        field("state", self.state);
        field("zone", self.zone);
        field("version", self.version);
        self.tags.iter().for_each(|tag| field("tag", tag));
    }

    fn rank(&self, column: &str) -> Rank<'_> {
        match column {
            "state" => Rank::Text(self.state),
            "zone" => Rank::Text(self.zone),
            "version" => Rank::Text(self.version),
            "weight" => Rank::Number(f64::from(self.weight)),
            "in_flight" => Rank::Number(f64::from(self.in_flight)),
            "calls" => Rank::Number(self.calls.0),
            "failures" => Rank::Number(self.failures.0),
            "share" => Rank::Number(self.actual.0),
            _ => Rank::Text(self.address),
        }
    }
}

/// The page of the service that the query names; none if there is no such service.
pub(in crate::admin) fn service<'a>(
    facts: &'a Facts<'_>,
    ttl: impl Fn(i64) -> Option<Ttl>,
    query: &Query,
) -> Option<Service<'a>> {
    let at = facts.services.binary_search_by(|(name, _)| (**name).cmp(&query.name)).ok()?;
    let (name, endpoints) = &facts.services[at];
    let health = facts.health.get(name);
    let judged = health.map(|health| &*health.endpoints).unwrap_or_default();
    let wanted = shares::wanted(endpoints, facts.in_force.service(name).0.native());
    let minute: f64 = endpoints.iter().map(|e| facts.history.endpoint(e.id).minute()).sum();
    let rows = endpoints.iter().zip(wanted).map(|(endpoint, wanted)| {
        let at = judged.binary_search_by(|health| health.endpoint.cmp(&endpoint.label)).ok();
        endpoint_row(facts, endpoint, at.map(|at| &judged[at]), wanted, minute)
    });
    let below = |prefix: &str, key: &str| {
        let rest = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(&**name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut endpoints = Rows::new(rows.collect(), query);
    // Asked for what is shown only.
    for row in &mut endpoints.rows {
        row.ttl = row.lease.and_then(|lease| ttl(lease.0));
    }
    Some(Service {
        service: row(facts, name),
        panic: health.is_some_and(|health| health.panic),
        revision: facts.prefixes.iter().map(|prefix| prefix.revision).max().unwrap_or(0),
        endpoints,
        unreadable: unreadable(facts, below),
        acts: facts.in_force.operator.is_some(),
    })
}

fn endpoint_row<'a>(
    facts: &'a Facts<'_>,
    endpoint: &'a Endpoint,
    health: Option<&'a EndpointHealth>,
    wanted: f64,
    minute: f64,
) -> EndpointRow<'a> {
    let steps = facts.history.endpoint(endpoint.id);
    let instance = &*endpoint.instance;
    let state = health.map_or(State::Healthy, |health| health.state);
    let reason = health.map_or("it has not been judged yet", |health| &*health.reason);
    let (level, state, reason) = match (state, endpoint.state.is_unreachable()) {
        (State::Draining, _) => (Level::Care, "draining", reason),
        (State::Unhealthy, _) => (Level::Bad, "unhealthy", reason),
        (State::Ejected, _) => (Level::Bad, "ejected", reason),
        (State::Healthy, true) => (Level::Bad, "unreachable", "the last connect failed; it is tried again"),
        (State::Healthy, false) if endpoint.doubted => {
            (Level::Care, "doubted", "its key vanished together with most others; it is kept until a connect fails")
        }
        (State::Healthy, false) => (Level::Good, "healthy", reason),
    };
    EndpointRow {
        service: &instance.service,
        acts: facts.in_force.operator.is_some(),
        id: endpoint.id.0,
        address: &endpoint.label,
        instance: &instance.id,
        weight: endpoint.weight(),
        registered_weight: (endpoint.weight() != instance.weight).then_some(instance.weight),
        version: &instance.version,
        zone: &instance.zone,
        tags: &instance.tags,
        protocol: instance.protocol.map(|protocol| protocol.to_string()),
        metadata: &instance.metadata,
        level,
        state,
        reason,
        since: health.map(|health| facts.now.saturating_duration_since(health.since).into()),
        left: health.and_then(|h| h.until).map(|until| until.saturating_duration_since(facts.now).into()),
        doubted: endpoint.doubted,
        ordered: reason.ends_with("by an operator") || endpoint.weight() != instance.weight,
        in_flight: endpoint.state.in_flight.load(std::sync::atomic::Ordering::Relaxed),
        calls: steps.calls(),
        failures: steps.failures(),
        wanted: Share(wanted),
        actual: Share::of(steps.minute(), minute),
        lease: (endpoint.lease != 0).then_some(LeaseId(endpoint.lease)),
        ttl: None,
        revision: endpoint.revision,
        history: steps,
    }
}
