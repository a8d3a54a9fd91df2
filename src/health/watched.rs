//! One service as the monitor knows it: what was found out about each endpoint, and what follows for all of them. No I/O,
//! and the clock is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::outlier::{self, Window};
use super::policy::Opinion;
use super::prober::PROBES_OF_SERVICE;
use super::verdict::{self, Ejection, Facts, Order, Probes, State, Verdict};
use super::{Config, ServiceSettings};
use crate::table::{Endpoint, EndpointId, EndpointState, Endpoints, Slot};

pub(super) struct Watched {
    pub(super) slot: Arc<Slot>,
    /// What the slot held when it was looked at last.
    pub(super) seen: Arc<Endpoints>,
    pub(super) settings: ServiceSettings,
    pub(super) endpoints: BTreeMap<EndpointId, Tracked>,
    pub(super) panic: bool,
    /// For the probes of this service.
    pub(super) room: Arc<Semaphore>,
    /// What operators ordered, by address: an order outlives the endpoint's leaving and coming back.
    orders: BTreeMap<Arc<str>, (Order, Instant)>,
    /// When to judge again although nothing happens.
    pub(super) due: Option<Instant>,
    /// When success rates were looked at last.
    swept: Instant,
}

/// What is known of one endpoint.
pub(super) struct Tracked {
    pub(super) endpoint: Endpoint,
    pub(super) facts: Facts,
    pub(super) verdict: Verdict,
    pub(super) since: Instant,
    /// Since when its share grows; none if it has always had the whole.
    growing: Option<Instant>,
    /// How often it was ejected, less one for each interval in which it was not.
    ejections: u32,
    /// What its counters showed at the start of the interval.
    base: Window,
    pub(super) prober: Option<Probing>,
}

/// Ends its task when dropped.
pub(super) struct Probing(pub(super) AbortHandle);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An endpoint went from one state to another.
pub(super) struct Transition {
    pub(super) endpoint: Arc<str>,
    pub(super) from: State,
    pub(super) verdict: Verdict,
}

impl Tracked {
    fn new(endpoint: Endpoint, config: &Config, is_new: bool, now: Instant) -> Self {
        let facts = Facts::default();
        let verdict = verdict::judge(&facts, config, now);
        let base = counted(&endpoint.state, config);
        let growing = is_new.then_some(now);
        Tracked { endpoint, facts, verdict, since: now, growing, ejections: 0, base, prober: None }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.facts.ejection.as_ref().is_some_and(|ejection| now < ejection.until)
    }

    fn eject(&mut self, reason: String, config: &Config, now: Instant) {
        let time = outlier::ejection_time(self.ejections, &config.outlier);
        self.facts.ejection = Some(Ejection { until: now + time, reason });
        self.ejections = self.ejections.saturating_add(1);
        // When it comes back, it has failed none yet.
        self.endpoint.state.call_went_well();
    }

    /// What health leaves it of its share.
    fn share(&self, config: &Config, panic: bool, now: Instant) -> u32 {
        match self.verdict.state {
            State::Healthy => {
                let since = self.growing.map(|since| now.duration_since(since));
                since.map_or(EndpointState::WHOLE, |since| verdict::ramp(since, config.slow_start))
            }
            State::Unhealthy | State::Ejected if panic => EndpointState::WHOLE,
            _ => 0,
        }
    }

    /// When something changes by itself.
    fn due(&self, config: &Config, now: Instant) -> Option<Instant> {
        let ejection = self.facts.ejection.as_ref().map(|ejection| ejection.until);
        let step = config.slow_start.zip(self.growing).filter(|(window, since)| now < *since + *window);
        let step = step.map(|(window, _)| now + window / 20);
        [ejection, step].into_iter().flatten().filter(|at| *at > now).min()
    }
}

fn counted(state: &EndpointState, config: &Config) -> Window {
    let (answered, failed) = state.statuses.totals(&config.outlier.statuses);
    Window { calls: answered + state.unanswered(), failed: failed + state.unanswered() }
}

impl Watched {
    pub(super) fn new(slot: Arc<Slot>, settings: ServiceSettings, now: Instant) -> Self {
        let endpoints = BTreeMap::new();
        let (room, orders) = (Arc::new(Semaphore::new(PROBES_OF_SERVICE)), BTreeMap::new());
        Watched { slot, seen: Arc::default(), settings, endpoints, panic: false, room, orders, due: None, swept: now }
    }

    /// Takes over the slot's endpoints. Gives those that are new, or are to be asked in another way.
    pub(super) fn take_over(&mut self, seen: Arc<Endpoints>, now: Instant) -> Vec<EndpointId> {
        // Only where others have been there for long are new ones spared: who else should take the calls?
        let window = self.settings.health.slow_start.unwrap_or_default();
        let is_spared = self.endpoints.values().any(|tracked| tracked.since + window <= now);
        self.endpoints.retain(|id, _| seen.get(*id).is_some());
        let mut new = Vec::new();
        for endpoint in seen.iter() {
            match self.endpoints.get_mut(&endpoint.id) {
                Some(tracked) => {
                    let asked = |e: &Endpoint| (e.protocol(), e.instance.tls);
                    if asked(&tracked.endpoint) != asked(endpoint) {
                        new.push(endpoint.id);
                    }
                    tracked.endpoint = endpoint.clone();
                }
                None => {
                    let mut tracked = Tracked::new(endpoint.clone(), &self.settings.health, is_spared, now);
                    tracked.facts.order = self.orders.get(&endpoint.label).copied();
                    self.endpoints.insert(endpoint.id, tracked);
                    new.push(endpoint.id);
                }
            }
        }
        self.seen = seen;
        new
    }

    /// Takes over other settings. What probes answered before is forgotten, orders and ejections are not.
    pub(super) fn resettle(&mut self, settings: ServiceSettings) -> Vec<EndpointId> {
        self.settings = settings;
        for tracked in self.endpoints.values_mut() {
            tracked.prober = None;
            tracked.facts.probes = Probes::default();
            tracked.endpoint.state.set_probes(None);
            tracked.base = counted(&tracked.endpoint.state, &self.settings.health);
        }
        self.endpoints.keys().copied().collect()
    }

    /// Takes the answer of a probe. True if it changes what is held of the endpoint.
    pub(super) fn answered(&mut self, id: EndpointId, answer: Result<(), String>) -> bool {
        let (Some(tracked), Some(probe)) = (self.endpoints.get_mut(&id), &self.settings.health.probe) else {
            return false;
        };
        let changed = tracked.facts.probes.take(answer, probe.rise, probe.fall);
        tracked.endpoint.state.set_probes(tracked.facts.probes.healthy());
        changed
    }

    /// Takes over what a policy holds. True if that changes anything.
    pub(super) fn take_opinions(&mut self, opinions: Vec<(EndpointId, Opinion)>) -> bool {
        let mut opinions: BTreeMap<_, _> = opinions.into_iter().collect();
        let mut changed = false;
        for (id, tracked) in &mut self.endpoints {
            let opinion = opinions.remove(id);
            changed |= tracked.facts.opinion != opinion;
            tracked.facts.opinion = opinion;
        }
        changed
    }

    /// Orders something for an endpoint, by its address; false if there is none.
    pub(super) fn order(&mut self, address: &str, order: Option<(Order, Instant)>) -> bool {
        let tracked = self.endpoints.values_mut().find(|tracked| &*tracked.endpoint.label == address);
        let Some(tracked) = tracked else { return false };
        tracked.facts.order = order;
        match order {
            Some(order) => drop(self.orders.insert(tracked.endpoint.label.clone(), order)),
            None => drop(self.orders.remove(address)),
        }
        true
    }

    /// Lets go of the orders whose time is over, and gives them with the address of their endpoint.
    pub(super) fn end_orders(&mut self, now: Instant) -> Vec<(Arc<str>, Order)> {
        let over = self.orders.extract_if(.., |_, (_, until)| *until <= now);
        over.map(|(endpoint, (order, _))| (endpoint, order)).collect()
    }

    /// Judges all endpoints, and gives each its share. Gives what changed.
    pub(super) fn judge(&mut self, now: Instant) -> Vec<Transition> {
        self.eject_consecutive(now);
        if now >= self.swept + self.settings.health.outlier.interval {
            self.swept = now;
            self.sweep(now);
        }
        let config = self.settings.health.clone();
        let mut transitions = Vec::new();
        for tracked in self.endpoints.values_mut() {
            let verdict = verdict::judge(&tracked.facts, &config, now);
            let before = std::mem::replace(&mut tracked.verdict, verdict);
            if before.state != tracked.verdict.state {
                tracked.since = now;
                tracked.growing = (tracked.verdict.state == State::Healthy).then_some(now);
                transitions.push(Transition {
                    endpoint: tracked.endpoint.label.clone(),
                    from: before.state,
                    verdict: tracked.verdict.clone(),
                });
            }
        }
        let states = self.endpoints.values().map(|tracked| tracked.verdict.state);
        self.panic = verdict::is_panic(states, config.panic_threshold);
        let panic = self.panic;
        let mut changed = false;
        for tracked in self.endpoints.values() {
            let weight = match tracked.facts.order {
                Some((Order::Weight(weight), until)) if now < until => Some(weight),
                _ => None,
            };
            changed |= tracked.endpoint.state.set_weight(weight);
            changed |= tracked.endpoint.state.set_share(tracked.share(&config, panic, now));
        }
        if changed {
            self.slot.touch();
        }
        self.due = self.next_due(now);
        transitions
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        let config = &self.settings.health;
        let outlier = &config.outlier;
        let sweeps = outlier.success_rate_deviation > 0
            || outlier.failure_percentage > 0
            || self.endpoints.values().any(|tracked| tracked.ejections > 0);
        let sweep = sweeps.then_some(self.swept + outlier.interval);
        let orders = self.orders.values().map(|(_, until)| *until).filter(|until| *until > now);
        self.endpoints.values().filter_map(|tracked| tracked.due(config, now)).chain(sweep).chain(orders).min()
    }

    /// How many endpoints are ejected now, and how many would take calls without ejections.
    fn ejected_and_usable(&self, now: Instant) -> (usize, usize) {
        let count = |is: &dyn Fn(&Tracked) -> bool| self.endpoints.values().filter(|tracked| is(tracked)).count();
        let usable = |tracked: &Tracked| matches!(tracked.verdict.state, State::Healthy | State::Ejected);
        (count(&|tracked| tracked.is_ejected(now)), count(&usable))
    }

    /// Ejects whoever failed too many calls in a row.
    fn eject_consecutive(&mut self, now: Instant) {
        let config = self.settings.health.clone();
        let most = config.outlier.consecutive;
        let fails = |tracked: &Tracked| {
            most > 0 && tracked.endpoint.state.failures_in_a_row() >= most && !tracked.is_ejected(now)
        };
        if !self.endpoints.values().any(fails) {
            return;
        }
        let all = self.endpoints.len();
        let (mut ejected, usable) = self.ejected_and_usable(now);
        for tracked in self.endpoints.values_mut().filter(|tracked| fails(tracked)) {
            if outlier::may_eject(ejected, usable, all, &config.outlier) {
                let row = tracked.endpoint.state.failures_in_a_row();
                tracked.eject(format!("{row} calls in a row failed"), &config, now);
                ejected += 1;
            }
        }
    }

    /// Looks at the calls of the interval that is over.
    fn sweep(&mut self, now: Instant) {
        let config = self.settings.health.clone();
        let mut windows = Vec::with_capacity(self.endpoints.len());
        for tracked in self.endpoints.values_mut() {
            let total = counted(&tracked.endpoint.state, &config);
            let base = std::mem::replace(&mut tracked.base, total);
            windows.push(Window {
                calls: total.calls.saturating_sub(base.calls),
                failed: total.failed.saturating_sub(base.failed),
            });
            if !tracked.is_ejected(now) {
                tracked.ejections = tracked.ejections.saturating_sub(1);
            }
        }
        let all = self.endpoints.len();
        let (mut ejected, usable) = self.ejected_and_usable(now);
        let mut places = self.endpoints.values_mut().collect::<Vec<_>>();
        for (at, reason) in outlier::outliers(&windows, &config.outlier) {
            if !places[at].is_ejected(now) && outlier::may_eject(ejected, usable, all, &config.outlier) {
                places[at].eject(reason, &config, now);
                ejected += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
