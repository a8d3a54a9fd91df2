//! What the workers count, and how it is read. Each worker writes counters of its own; a scrape adds them up.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::table::Table;
use crate::telemetry::{Distribution, Families, Histogram, add, names};

/// How an exchange ended, as its metric label says it. The first is the usual one.
pub(super) const OUTCOMES: [&str; 19] = [
    "answered",
    "cancelled",
    "stalled",
    "unknown_service",
    "not_ready",
    "no_instances",
    "no_subset",
    "loop",
    "unreachable",
    "refused",
    "connection_lost",
    "reset",
    "bad_answer",
    "deadline",
    "too_large",
    "bad_request",
    "filter",
    "filter_failed",
    "other",
];

/// What one worker counts for one service.
#[derive(Debug, Default)]
pub(super) struct ServiceStats {
    pub(super) latency: Histogram,
    outcomes: [AtomicU64; OUTCOMES.len()],
    pub(super) retries: AtomicU64,
    pub(super) rebuilds: AtomicU64,
    pub(super) unhonoured: AtomicU64,
}

impl ServiceStats {
    /// Counts the end of an exchange. Only its own worker calls this, so there is nothing to lock.
    pub(super) fn count(&self, outcome: &'static str) {
        let place = OUTCOMES.iter().position(|o| *o == outcome).unwrap_or(OUTCOMES.len() - 1);
        add(&self.outcomes[place], 1);
    }
}

/// What was counted for one service, over all workers.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// From a request's head to the end of its response.
    pub latency: Distribution,
    /// How many exchanges ended in each way, as the label of the metric says it.
    pub outcomes: Vec<(&'static str, u64)>,
}

/// Reads what the workers count, for as long as it is kept.
#[derive(Debug, Clone)]
pub struct Counts(pub(super) Stats);

impl Counts {
    /// What was counted for each service that was called.
    pub fn calls(&self) -> BTreeMap<Arc<str>, Calls> {
        let calls =
            |sum: Sum| Calls { latency: sum.latency, outcomes: OUTCOMES.into_iter().zip(sum.outcomes).collect() };
        self.0.sums().into_iter().map(|(name, sum)| (name, calls(sum))).collect()
    }
}

/// The counters of each worker for each service.
type Counters = HashMap<(usize, Arc<str>), Arc<ServiceStats>>;

/// The counters of all workers, for those who read them.
#[derive(Debug, Clone)]
pub(super) struct Stats {
    services: Arc<Mutex<Counters>>,
    pub(super) connections: Arc<[AtomicU64]>,
    table: Table,
}

#[derive(Default)]
struct Sum {
    latency: Distribution,
    outcomes: [u64; OUTCOMES.len()],
    retries: u64,
    rebuilds: u64,
    unhonoured: u64,
}

impl Stats {
    pub(super) fn new(table: Table, workers: usize) -> Self {
        Stats { services: Arc::default(), connections: (0..workers).map(|_| AtomicU64::new(0)).collect(), table }
    }

    /// The counters of one worker for one service. They go on where they were if the service was away for a while.
    pub(super) fn service(&self, worker: usize, name: &Arc<str>) -> Arc<ServiceStats> {
        self.lock().entry((worker, name.clone())).or_default().clone()
    }

    /// The service is known no more, and its counters with it.
    pub(super) fn forget(&self, worker: usize, name: &Arc<str>) {
        self.lock().remove(&(worker, name.clone()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sums(&self) -> BTreeMap<Arc<str>, Sum> {
        let mut sums: BTreeMap<Arc<str>, Sum> = BTreeMap::new();
        for ((_, name), stats) in self.lock().iter() {
            let sum = sums.entry(name.clone()).or_default();
            sum.latency.merge(&stats.latency.distribution());
            for (total, count) in sum.outcomes.iter_mut().zip(&stats.outcomes) {
                *total += count.load(Ordering::Relaxed);
            }
            sum.retries += stats.retries.load(Ordering::Relaxed);
            sum.rebuilds += stats.rebuilds.load(Ordering::Relaxed);
            sum.unhonoured += stats.unhonoured.load(Ordering::Relaxed);
        }
        sums
    }
}

impl Collector for Stats {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut families = Families::new(encoder);
        let sums = self.sums();
        families.counters(
            names::EXCHANGES,
            "Requests that came to an end, by how they did",
            sums.iter().flat_map(|(name, sum)| {
                let counts = OUTCOMES.iter().zip(sum.outcomes).filter(|(_, count)| *count > 0);
                counts.map(move |(outcome, count)| ([("service", &**name), ("outcome", *outcome)], count))
            }),
        )?;
        families.histograms(
            names::EXCHANGE_DURATION,
            "From a request's head to the end of its response",
            sums.iter().map(|(name, sum)| ([("service", &**name)], sum.latency.clone())),
        )?;
        families.counters(
            names::RETRIES,
            "Attempts after the first, of what no endpoint had processed",
            sums.iter().filter(|(_, sum)| sum.retries > 0).map(|(name, sum)| ([("service", &**name)], sum.retries)),
        )?;
        families.counters(
            names::PICKER_REBUILDS,
            "Pickers brought up to date, counted per worker",
            sums.iter().map(|(name, sum)| ([("service", &**name)], sum.rebuilds)),
        )?;
        families.counters(
            names::ENDPOINT_OVERRIDES_MISSED,
            "Endpoints that a filter asked for and that were not there",
            sums.iter()
                .filter(|(_, sum)| sum.unhonoured > 0)
                .map(|(name, sum)| ([("service", &**name)], sum.unhonoured)),
        )?;
        families.gauges(
            names::CLIENT_CONNECTIONS,
            "Open client connections",
            self.connections
                .iter()
                .enumerate()
                .map(|(worker, open)| ([("worker", worker.to_string())], open.load(Ordering::Relaxed))),
        )?;
        self.encode_endpoints(&mut families)
    }
}

impl Stats {
    fn encode_endpoints(&self, families: &mut Families<'_>) -> Result<(), std::fmt::Error> {
        let endpoints: Vec<_> = self
            .table
            .slots()
            .values()
            .flat_map(|slot| slot.endpoints().iter().map(|e| (slot.service().clone(), e.clone())).collect::<Vec<_>>())
            .collect();
        families.counters(
            names::ENDPOINT_RESPONSES,
            "Responses of an endpoint, by gRPC status or HTTP class",
            endpoints.iter().flat_map(|(service, e)| {
                e.state.statuses.samples().map(move |(protocol, status, count)| {
                    let labels =
                        [("service", &**service), ("endpoint", &*e.label), ("protocol", protocol), ("status", status)];
                    (labels, count)
                })
            }),
        )?;
        families.gauges(
            names::ENDPOINT_IN_FLIGHT,
            "Exchanges under way",
            endpoints.iter().filter(|(_, e)| e.state.statuses.samples().next().is_some()).map(|(service, e)| {
                let in_flight = e.state.in_flight.load(Ordering::Relaxed);
                ([("service", &**service), ("endpoint", &*e.label)], in_flight)
            }),
        )?;
        families.gauges(
            names::ENDPOINT_UNREACHABLE,
            "Endpoints that could not be connected to and are tried again in the background",
            endpoints
                .iter()
                .filter(|(_, e)| e.state.is_unreachable())
                .map(|(service, e)| ([("service", &**service), ("endpoint", &*e.label)], 1u32)),
        )
    }
}
