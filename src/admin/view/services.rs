//! All services, a row each, and the keys that could not be read.

use serde::Serialize;

use super::attention::{link, plural};
use super::filter::{Rank, Row};
use super::{Facts, Level, Query, Rows};
use crate::admin::ORDERS;
use crate::admin::history::Steps;
use crate::admin::show::{Millis, Rate, Share, anchor};
use crate::health::State;
use crate::registry::clip;
use crate::table::Unreadable;

/// Keys that are named at most.
const KEYS: usize = 100;

/// The page of services.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Services<'a> {
    /// The prefixes that are watched, for those who look for a service that is not there.
    pub(in crate::admin) prefixes: Vec<&'a str>,
    pub(in crate::admin) services: Rows<ServiceRow<'a>>,
    pub(in crate::admin) unreadable: Vec<Key>,
}

/// One service.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct ServiceRow<'a> {
    pub(in crate::admin) name: &'a str,
    pub(in crate::admin) level: Level,
    pub(in crate::admin) state: String,
    pub(in crate::admin) healthy: usize,
    pub(in crate::admin) endpoints: usize,
    pub(in crate::admin) calls: Rate,
    pub(in crate::admin) failures: Rate,
    pub(in crate::admin) failure_share: Share,
    pub(in crate::admin) p50: Millis,
    pub(in crate::admin) p99: Millis,
    pub(in crate::admin) balancer: String,
    pub(in crate::admin) history: &'a Steps,
}

/// A key that cannot be read, or only in part.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Key {
    pub(in crate::admin) key: String,
    pub(in crate::admin) reason: String,
}

impl ServiceRow<'_> {
    pub(in crate::admin) fn id(&self) -> String {
        anchor('s', self.name)
    }

    pub(in crate::admin) fn shown(&self) -> String {
        clip(self.name)
    }

    pub(in crate::admin) fn link(&self) -> String {
        link(self.name)
    }
}

impl Row for ServiceRow<'_> {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        field("name", self.name);
        field("state", &self.state);
        field("level", self.level.word());
        field("balancer", &self.balancer);
    }

    fn rank(&self, column: &str) -> Rank<'_> {
        match column {
            "state" => Rank::Number(f64::from(self.level as u8)),
            "endpoints" => Rank::Number(self.endpoints as f64),
            "calls" => Rank::Number(self.calls.0),
            "failures" => Rank::Number(self.failure_share.0),
            "p50" => Rank::Number(self.p50.0.unwrap_or(-1.0)),
            "p99" => Rank::Number(self.p99.0.unwrap_or(-1.0)),
            "balancer" => Rank::Text(&self.balancer),
            _ => Rank::Text(self.name),
        }
    }
}

pub(in crate::admin) fn services<'a>(facts: &'a Facts<'_>, query: &Query) -> Services<'a> {
    let rows = facts.services.iter().map(|(name, _)| row(facts, name)).collect();
    Services {
        prefixes: facts.prefixes.iter().map(|prefix| &*prefix.prefix).collect(),
        services: Rows::new(rows, query),
        unreadable: unreadable(facts, |_, _| true),
    }
}

/// The row of one service, which must be there.
pub(in crate::admin) fn row<'a>(facts: &'a Facts<'_>, name: &'a str) -> ServiceRow<'a> {
    let at = facts.services.binary_search_by(|(other, _)| (**other).cmp(name));
    let endpoints = at.map(|at| &*facts.services[at].1);
    let all = endpoints.map_or(0, |endpoints| endpoints.len());
    let health = facts.health.get(name);
    let count = |state| health.map_or(0, |h| h.endpoints.iter().filter(|e| e.state == state).count());
    // What was registered this moment has not been judged yet, and gets calls.
    let judged = health.map_or(0, |health| health.endpoints.len());
    let unreachable: Vec<_> =
        endpoints.into_iter().flat_map(|e| e.iter()).filter(|e| e.state.is_unreachable()).collect();
    let out = |label: &str| {
        let judged = health.map(|health| &*health.endpoints).unwrap_or_default();
        let at = judged.binary_search_by(|health| (*health.endpoint).cmp(label));
        at.is_ok_and(|at| judged[at].state != State::Healthy)
    };
    let only_unreachable = unreachable.iter().filter(|endpoint| !out(&endpoint.label)).count();
    let healthy = (count(State::Healthy) + all.saturating_sub(judged)).min(all).saturating_sub(only_unreachable);
    let unreachable = unreachable.len();
    let panic = health.is_some_and(|health| health.panic);
    let (level, state) = match () {
        () if all == 0 => (Level::Care, "empty".to_owned()),
        () if panic => (Level::Bad, "panic".to_owned()),
        () if unreachable == all => (Level::Bad, "unreachable".to_owned()),
        () if unreachable > 0 => (Level::Care, format!("{unreachable} unreachable")),
        () if healthy < all => {
            (Level::Care, format!("{} of {all} {}", all - healthy, plural(all, "is out", "are out")))
        }
        () => (Level::Good, "healthy".to_owned()),
    };
    let steps = facts.history.service(name);
    let (p50, p99) = facts.history.quantiles(name);
    ServiceRow {
        name,
        level,
        state,
        healthy,
        endpoints: all,
        calls: steps.calls(),
        failures: steps.failures(),
        failure_share: Share::of(steps.failures().0, steps.calls().0),
        p50,
        p99,
        balancer: facts.in_force.service(name).0.to_string(),
        history: steps,
    }
}

/// The keys that cannot be read and that `which` takes by prefix and key.
pub(in crate::admin) fn unreadable(facts: &Facts<'_>, which: impl Fn(&str, &str) -> bool) -> Vec<Key> {
    let registered = facts.prefixes.iter().flat_map(|status| {
        status.unreadable.iter().map(|Unreadable { key, reason }| (&*status.prefix, &**key, &**reason))
    });
    let orders = facts.unreadable_orders.iter().map(|(key, reason)| (ORDERS, key.as_str(), reason.as_str()));
    let wanted = orders.chain(registered).filter(|(prefix, key, _)| which(prefix, key)).take(KEYS);
    wanted.map(|(_, key, reason)| Key { key: clip(key), reason: clip(reason) }).collect()
}
