//! What the monitor tells others: the state of each endpoint, what happened last, and metrics.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::Instant;

use super::verdict::State;
use super::watched::{Judged, Watched};
use crate::table::{Endpoint, Endpoints};
use crate::telemetry::{Families, names};

/// Events that are kept.
const EVENTS: usize = 1_000;

/// One endpoint, as a person reads it.
#[derive(Debug, Clone)]
pub struct EndpointHealth {
    /// Its address.
    pub endpoint: Arc<str>,
    /// Whether it gets calls.
    pub state: State,
    /// Why.
    pub reason: Cow<'static, str>,
    /// Since when.
    pub since: Instant,
    /// When that ends by itself, if it does.
    pub until: Option<Instant>,
    /// The part of its share of calls that it gets, in thousandths.
    pub share: u32,
}

/// One service.
#[derive(Debug, Clone)]
pub struct ServiceHealth {
    /// So few endpoints are healthy that all are used.
    pub panic: bool,
    /// All of them.
    pub endpoints: Vec<EndpointHealth>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// The service.
    pub service: Arc<str>,
    /// The endpoint; none if it concerns all.
    pub endpoint: Option<Arc<str>>,
    /// The state that the endpoint is in since.
    pub state: Option<State>,
    /// What and why, in words.
    pub text: String,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    known: Mutex<Known>,
    good: AtomicU64,
    bad: AtomicU64,
    /// Probes that met a connection that was just ending.
    nothing: AtomicU64,
    /// Probes that wait for the room of their service, and for that of all.
    pub(super) overdue: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct Known {
    services: BTreeMap<Arc<str>, Shown>,
    events: VecDeque<Event>,
    transitions: BTreeMap<(Arc<str>, State), u64>,
}

/// A service as it was judged last, shared with the monitor.
#[derive(Debug)]
struct Shown {
    panic: bool,
    seen: Arc<Endpoints>,
    judged: Arc<Vec<Judged>>,
}

impl Shown {
    fn endpoints(&self) -> impl Iterator<Item = (&Endpoint, &Judged)> {
        self.seen.iter().zip(&*self.judged)
    }

    fn health(&self) -> ServiceHealth {
        let health = |(endpoint, judged): (&Endpoint, &Judged)| EndpointHealth {
            endpoint: endpoint.label.clone(),
            state: judged.verdict.state,
            reason: judged.verdict.reason.clone(),
            since: judged.since,
            until: judged.verdict.until,
            share: endpoint.state.share(),
        };
        let mut endpoints: Vec<_> = self.endpoints().map(health).collect();
        endpoints.sort_unstable_by(|a, b| a.endpoint.cmp(&b.endpoint));
        ServiceHealth { panic: self.panic, endpoints }
    }
}

impl Report {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn probed(&self, answer: Option<&Result<(), String>>) {
        let counter = match answer {
            Some(Ok(())) => &self.good,
            Some(Err(_)) => &self.bad,
            None => &self.nothing,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn event(&self, event: Event) {
        let mut known = self.lock();
        if let Some(state) = event.state {
            *known.transitions.entry((event.service.clone(), state)).or_default() += 1;
        }
        if known.events.len() == EVENTS {
            known.events.pop_front();
        }
        known.events.push_back(event);
    }

    pub(super) fn update(&self, service: &Arc<str>, watched: &Watched) {
        let Watched { panic, seen, judged, .. } = watched;
        let shown = Shown { panic: *panic, seen: seen.clone(), judged: judged.clone() };
        self.lock().services.insert(service.clone(), shown);
    }

    pub(super) fn forget(&self, service: &str) {
        let mut known = self.lock();
        known.services.remove(service);
        known.transitions.retain(|(of, _), _| &**of != service);
    }

    pub(super) fn services(&self) -> BTreeMap<Arc<str>, ServiceHealth> {
        self.lock().services.iter().map(|(service, shown)| (service.clone(), shown.health())).collect()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.lock().events.iter().rev().cloned().collect()
    }
}

/// What `/health` shows: a line for each endpoint.
pub(super) fn text(services: &BTreeMap<Arc<str>, ServiceHealth>, now: Instant) -> String {
    let seconds = |duration: Duration| duration.as_secs();
    let mut text = String::new();
    for (service, ServiceHealth { panic, endpoints }) in
        services.iter().filter(|(_, health)| !health.endpoints.is_empty())
    {
        let note = if *panic { " (too few are healthy: calls go to all)" } else { "" };
        // Formatting into a String does not fail.
        let _ = writeln!(text, "{service}{note}");
        for EndpointHealth { endpoint, state, reason, since, until, share } in endpoints {
            let _ = write!(text, "  {endpoint}  {state} for {} s: {reason}", seconds(now.duration_since(*since)));
            if let Some(until) = until {
                let _ = write!(text, ", for {} s more", until.saturating_duration_since(now).as_secs_f64().ceil());
            }
            if (1..1_000).contains(share) {
                let _ = write!(text, "; its share has grown to {} %", share / 10);
            }
            text.push('\n');
        }
    }
    text
}

/// The metrics of health.
#[derive(Debug)]
pub(super) struct Metrics(pub(super) Arc<Report>);

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut families = Families::new(encoder);
        let known = self.0.lock();
        let unwell = known.services.iter().flat_map(|(service, shown)| {
            let unwell = shown.endpoints().filter(|(_, judged)| judged.verdict.state != State::Healthy);
            unwell.map(move |(endpoint, judged)| {
                let state = judged.verdict.state.to_string();
                ([("service", service.to_string()), ("endpoint", endpoint.label.to_string()), ("state", state)], 1u32)
            })
        });
        families.gauges(names::ENDPOINT_UNHEALTHY, "Endpoints that are not healthy", unwell)?;
        let panic = known.services.iter().filter(|(_, shown)| shown.panic);
        families.gauges(
            names::SERVICE_PANIC,
            "Services with so few healthy endpoints that all are used",
            panic.map(|(service, _)| ([("service", &**service)], 1u32)),
        )?;
        families.counters(
            names::HEALTH_TRANSITIONS,
            "Endpoints that went into a state",
            known.transitions.iter().map(|((service, state), count)| {
                ([("service", service.to_string()), ("state", state.to_string())], *count)
            }),
        )?;
        let [service, all] = &self.0.overdue;
        let waiting = [("service", service), ("all", all)].map(|(limit, count)| (limit, count.load(Ordering::Relaxed)));
        families.gauges(
            names::PROBES_OVERDUE,
            "Probes that are due and wait because as many as may be are under way",
            waiting.into_iter().filter(|(_, count)| *count > 0).map(|(limit, count)| ([("limit", limit)], count)),
        )?;
        let count = |result, counter: &AtomicU64| ([("result", result)], counter.load(Ordering::Relaxed));
        let probes = [count("good", &self.0.good), count("bad", &self.0.bad), count("nothing", &self.0.nothing)];
        families.counters(names::PROBES, "Probes, by what they found", probes.into_iter().filter(|(_, n)| *n > 0))
    }
}
