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
    /// What is known of each of the seen, in their order.
    pub(super) endpoints: Vec<Tracked>,
    /// What follows from it, in the same order.
    pub(super) judged: Arc<Vec<Judged>>,
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

/// What is known of one endpoint. Small, for there may be a hundred thousand.
pub(super) struct Tracked {
    /// None as long as nothing happened.
    facts: Option<Box<Facts>>,
    /// Since when its share grows; none if it has always had the whole.
    growing: Option<Instant>,
    /// How often it was ejected, less one for each interval in which it was not.
    ejections: u32,
    /// What its counters showed at the start of the interval.
    base: Window,
    pub(super) prober: Option<Probing>,
}

/// What follows from what is known.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// Since when its state is that.
    pub(super) since: Instant,
}

static NOTHING: Facts = Facts { probes: Probes::NONE, ejection: None, order: None, opinion: None };

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
    fn new(state: &EndpointState, config: &Config, is_new: bool, now: Instant) -> Self {
        let growing = is_new.then_some(now);
        Tracked { facts: None, growing, ejections: 0, base: counted(state, config), prober: None }
    }

    fn facts(&self) -> &Facts {
        self.facts.as_deref().unwrap_or(&NOTHING)
    }

    fn facts_mut(&mut self) -> &mut Facts {
        self.facts.get_or_insert_default()
    }

    fn order(&mut self, order: Option<(Order, Instant)>) {
        if order != self.facts().order {
            self.facts_mut().order = order;
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.facts().ejection.as_ref().is_some_and(|ejection| now < ejection.until)
    }

    fn eject(&mut self, state: &EndpointState, reason: String, config: &Config, now: Instant) {
        let time = outlier::ejection_time(self.ejections, &config.outlier);
        self.facts_mut().ejection = Some(Ejection { until: now + time, reason });
        self.ejections = self.ejections.saturating_add(1);
        // When it comes back, it has failed none yet.
        state.call_went_well();
    }

    /// What health leaves it of its share.
    fn share(&self, state: State, config: &Config, panic: bool, now: Instant) -> u32 {
        match state {
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
        let ejection = self.facts().ejection.as_ref().map(|ejection| ejection.until);
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
        let (seen, endpoints, judged, orders) = Default::default();
        let room = Arc::new(Semaphore::new(PROBES_OF_SERVICE));
        Watched { slot, seen, settings, endpoints, judged, panic: false, room, orders, due: None, swept: now }
    }

    /// Takes over the slot's endpoints. Gives those that are new, or are to be asked in another way.
    pub(super) fn take_over(&mut self, seen: Arc<Endpoints>, now: Instant) -> Vec<EndpointId> {
        // Only where others have been there for long are new ones spared: who else should take the calls?
        let window = self.settings.health.slow_start.unwrap_or_default();
        let is_spared = self.judged.iter().any(|judged| judged.since + window <= now);
        let config = &self.settings.health;
        let asked = |e: &Endpoint| (e.id, e.protocol(), e.instance.tls);
        let mut new = Vec::new();
        let before = self.seen.iter().zip(std::mem::take(&mut self.endpoints)).zip(&*self.judged);
        let mut before = before.peekable();
        let mut track = |endpoint: &Endpoint| {
            while before.next_if(|((known, _), _)| known.id < endpoint.id).is_some() {}
            let known = before.next_if(|((known, _), _)| known.id == endpoint.id);
            if known.as_ref().map(|((known, _), _)| asked(known)) != Some(asked(endpoint)) {
                new.push(endpoint.id);
            }
            if let Some(((_, tracked), judged)) = known {
                return (tracked, judged.clone());
            }
            let mut tracked = Tracked::new(&endpoint.state, config, is_spared, now);
            tracked.order(self.orders.get(&endpoint.label).copied());
            (tracked, Judged { verdict: verdict::judge(&NOTHING, config, now), since: now })
        };
        let (endpoints, judged): (Vec<_>, Vec<_>) = seen.iter().map(&mut track).unzip();
        (self.endpoints, self.judged, self.seen) = (endpoints, Arc::new(judged), seen);
        new
    }

    /// Takes over other settings. What probes answered before is forgotten, orders and ejections are not.
    pub(super) fn resettle(&mut self, settings: ServiceSettings) -> Vec<EndpointId> {
        self.settings = settings;
        for (tracked, endpoint) in self.endpoints.iter_mut().zip(self.seen.iter()) {
            tracked.prober = None;
            if let Some(facts) = &mut tracked.facts {
                facts.probes = Probes::default();
            }
            endpoint.state.set_probes(None);
            tracked.base = counted(&endpoint.state, &self.settings.health);
        }
        self.seen.iter().map(|endpoint| endpoint.id).collect()
    }

    /// An endpoint, if it is there, and what is known of it.
    pub(super) fn tracked(&mut self, id: EndpointId) -> Option<(&Endpoint, &mut Tracked)> {
        let at = self.seen.binary_search_by_key(&id, |endpoint| endpoint.id).ok()?;
        Some((&self.seen[at], &mut self.endpoints[at]))
    }

    /// Takes the answer of a probe. True if it changes what is held of the endpoint.
    pub(super) fn answered(&mut self, id: EndpointId, answer: Result<(), String>) -> bool {
        let Some((rise, fall)) = self.settings.health.probe.as_ref().map(|probe| (probe.rise, probe.fall)) else {
            return false;
        };
        let Some((endpoint, tracked)) = self.tracked(id) else { return false };
        let probes = &mut tracked.facts_mut().probes;
        let changed = probes.take(answer, rise, fall);
        endpoint.state.set_probes(probes.healthy());
        changed
    }

    /// Takes over what a policy holds. True if that changes anything.
    pub(super) fn take_opinions(&mut self, opinions: Vec<(EndpointId, Opinion)>) -> bool {
        let mut opinions: BTreeMap<_, _> = opinions.into_iter().collect();
        let mut changed = false;
        for (tracked, endpoint) in self.endpoints.iter_mut().zip(self.seen.iter()) {
            let opinion = opinions.remove(&endpoint.id);
            if tracked.facts().opinion != opinion {
                tracked.facts_mut().opinion = opinion;
                changed = true;
            }
        }
        changed
    }

    /// Orders something for an endpoint, by its address; false if there is none.
    pub(super) fn order(&mut self, address: &str, order: Option<(Order, Instant)>) -> bool {
        let Some(at) = self.seen.iter().position(|endpoint| &*endpoint.label == address) else { return false };
        self.endpoints[at].order(order);
        match order {
            Some(order) => drop(self.orders.insert(self.seen[at].label.clone(), order)),
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
        // Whoever reads a report keeps what was judged before.
        let all = Arc::make_mut(&mut self.judged);
        for ((endpoint, tracked), judged) in self.seen.iter().zip(&mut self.endpoints).zip(&mut *all) {
            let verdict = verdict::judge(tracked.facts(), &config, now);
            let before = std::mem::replace(&mut judged.verdict, verdict);
            if before.state != judged.verdict.state {
                judged.since = now;
                tracked.growing = (judged.verdict.state == State::Healthy).then_some(now);
                transitions.push(Transition {
                    endpoint: endpoint.label.clone(),
                    from: before.state,
                    verdict: judged.verdict.clone(),
                });
            }
        }
        let states = all.iter().map(|judged| judged.verdict.state);
        self.panic = verdict::is_panic(states, config.panic_threshold);
        let panic = self.panic;
        let mut changed = false;
        for ((endpoint, tracked), judged) in self.seen.iter().zip(&self.endpoints).zip(&*all) {
            let weight = match tracked.facts().order {
                Some((Order::Weight(weight), until)) if now < until => Some(weight),
                _ => None,
            };
            changed |= endpoint.state.set_weight(weight);
            changed |= endpoint.state.set_share(tracked.share(judged.verdict.state, &config, panic, now));
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
            || self.endpoints.iter().any(|tracked| tracked.ejections > 0);
        let sweep = sweeps.then_some(self.swept + outlier.interval);
        let orders = self.orders.values().map(|(_, until)| *until).filter(|until| *until > now);
        self.endpoints.iter().filter_map(|tracked| tracked.due(config, now)).chain(sweep).chain(orders).min()
    }

    /// How many endpoints are ejected now, and how many would take calls without ejections.
    fn ejected_and_usable(&self, now: Instant) -> (usize, usize) {
        let ejected = self.endpoints.iter().filter(|tracked| tracked.is_ejected(now));
        let usable = self.judged.iter().filter(|it| matches!(it.verdict.state, State::Healthy | State::Ejected));
        (ejected.count(), usable.count())
    }

    /// Ejects whoever failed too many calls in a row.
    fn eject_consecutive(&mut self, now: Instant) {
        let config = self.settings.health.clone();
        let most = config.outlier.consecutive;
        let fails = |state: &EndpointState, tracked: &Tracked| {
            most > 0 && state.failures_in_a_row() >= most && !tracked.is_ejected(now)
        };
        if !self.seen.iter().zip(&self.endpoints).any(|(endpoint, tracked)| fails(&endpoint.state, tracked)) {
            return;
        }
        let all = self.endpoints.len();
        let (mut ejected, usable) = self.ejected_and_usable(now);
        for (Endpoint { state, .. }, tracked) in self.seen.iter().zip(&mut self.endpoints) {
            if fails(state, tracked) && outlier::may_eject(ejected, usable, all, &config.outlier) {
                let row = state.failures_in_a_row();
                tracked.eject(state, format!("{row} calls in a row failed"), &config, now);
                ejected += 1;
            }
        }
    }

    /// Looks at the calls of the interval that is over.
    fn sweep(&mut self, now: Instant) {
        let config = self.settings.health.clone();
        let mut windows = Vec::with_capacity(self.endpoints.len());
        for (endpoint, tracked) in self.seen.iter().zip(&mut self.endpoints) {
            let total = counted(&endpoint.state, &config);
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
        for (at, reason) in outlier::outliers(&windows, &config.outlier) {
            let outlier = &mut self.endpoints[at];
            if !outlier.is_ejected(now) && outlier::may_eject(ejected, usable, all, &config.outlier) {
                outlier.eject(&self.seen[at].state, reason, &config, now);
                ejected += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
