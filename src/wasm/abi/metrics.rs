//! Metrics that modules define. They stand in `/metrics` under `waypost_guest_` and their own name, with the module as a
//! label, and outlive instances and versions.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use wasmtime::Linker;

use super::ENV;
use super::memory::{Answer, Guest, Status, code, parts, text, write_u32, write_u64};
use crate::telemetry::Registry;
use crate::wasm::host::Host;

/// The most metrics that one module may define.
const MOST: usize = 1_000;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// What tells it from another kind of the same name.
    fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_counter",
            Kind::Gauge => "_gauge",
            Kind::Histogram => "_histogram",
        }
    }

    /// The names that a metric of this kind and name has on the page.
    fn series(self, name: &str) -> Vec<String> {
        let suffixes: &[&str] = match self {
            Kind::Counter => &["", "_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["", "_bucket", "_count", "_sum"],
        };
        suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
    }
}

type Label = [(&'static str, String); 1];

#[derive(Debug, Clone)]
enum Defined {
    Counter(Family<Label, Counter>),
    Gauge(Family<Label, Gauge>),
    Histogram(Family<Label, Histogram, fn() -> Histogram>),
}

/// The metrics of all modules, by name.
pub(crate) struct GuestMetrics {
    registry: Registry,
    families: Mutex<Families>,
}

#[derive(Default)]
struct Families {
    /// By kind and by name as the page may have it.
    defined: HashMap<(Kind, String), Defined>,
    /// The names of all series that they have on the page.
    taken: HashSet<String>,
}

impl fmt::Debug for GuestMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestMetrics").finish_non_exhaustive()
    }
}

/// One metric of one module.
#[derive(Debug, Clone)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram, Arc<AtomicU64>),
}

impl GuestMetrics {
    pub(crate) fn new(registry: Registry) -> Self {
        GuestMetrics { registry, families: Mutex::default() }
    }

    /// The metric of that kind. Two kinds under one name get two names.
    fn define(&self, module: &str, kind: Kind, name: &str) -> Metric {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let Families { defined, taken } = &mut *families;
        let mut plain = sanitized(name);
        if kind == Kind::Counter && plain.ends_with("_total") {
            // The page puts it behind each counter.
            plain.truncate(plain.len() - "_total".len());
        }
        let family = defined.entry((kind, plain)).or_insert_with_key(|(_, plain)| {
            let mut full = format!("waypost_guest_{plain}");
            while kind.series(&full).iter().any(|series| taken.contains(series)) {
                full += kind.suffix();
            }
            taken.extend(kind.series(&full));
            let help = format!("Defined by modules as `{}`", name.escape_debug());
            let family = match kind {
                Kind::Counter => Defined::Counter(Family::default()),
                Kind::Gauge => Defined::Gauge(Family::default()),
                Kind::Histogram => Defined::Histogram(Family::new_with_constructor(histogram)),
            };
            match &family {
                Defined::Counter(family) => self.registry.register(&full, &help, family.clone()),
                Defined::Gauge(family) => self.registry.register(&full, &help, family.clone()),
                Defined::Histogram(family) => self.registry.register(&full, &help, family.clone()),
            }
            family
        });
        let label = [("module", module.to_owned())];
        match family {
            Defined::Counter(family) => Metric::Counter(family.get_or_create(&label).clone()),
            Defined::Gauge(family) => Metric::Gauge(family.get_or_create(&label).clone()),
            Defined::Histogram(family) => Metric::Histogram(family.get_or_create(&label).clone(), Arc::default()),
        }
    }
}

/// Doubling from 1: what a module measures has a unit that only it knows.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 24))
}

fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The metrics of one module, by the number that it knows them by.
#[derive(Debug)]
pub(crate) struct Metrics {
    module: Arc<str>,
    all: Arc<GuestMetrics>,
    defined: Mutex<Vec<(Kind, String, Metric)>>,
}

impl Metrics {
    pub(crate) fn new(module: Arc<str>, all: Arc<GuestMetrics>) -> Self {
        Metrics { module, all, defined: Mutex::default() }
    }

    fn define(&self, kind: Kind, name: &str) -> Answer<u32> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(Status::BadArgument);
        }
        let mut defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        let known = defined.iter().position(|(k, n, _)| *k == kind && n == name);
        let id = match known {
            Some(id) => id,
            None if defined.len() >= MOST => return Err(Status::InternalFailure),
            None => {
                defined.push((kind, name.to_owned(), self.all.define(&self.module, kind, name)));
                defined.len() - 1
            }
        };
        // 0 is no metric to some guests.
        u32::try_from(id + 1).map_err(|_| Status::InternalFailure)
    }

    fn get(&self, id: i32) -> Answer<Metric> {
        let place = (id as u32 as usize).checked_sub(1).ok_or(Status::NotFound)?;
        let defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        defined.get(place).map(|(_, _, metric)| metric.clone()).ok_or(Status::NotFound)
    }
}

impl Metric {
    fn increment(&self, by: i64) -> Answer {
        match self {
            Metric::Counter(counter) => drop(counter.inc_by(u64::try_from(by).map_err(|_| Status::BadArgument)?)),
            Metric::Gauge(gauge) => drop(gauge.inc_by(by)),
            Metric::Histogram(..) => self.record(by)?,
        }
        Ok(())
    }

    fn record(&self, value: i64) -> Answer {
        match self {
            Metric::Counter(_) => self.increment(value)?,
            Metric::Gauge(gauge) => drop(gauge.set(value)),
            Metric::Histogram(histogram, count) => {
                histogram.observe(value as u64 as f64);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn value(&self) -> u64 {
        match self {
            Metric::Counter(counter) => counter.get(),
            Metric::Gauge(gauge) => gauge.get() as u64,
            Metric::Histogram(_, count) => count.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "proxy_define_metric", |mut guest: Guest<'_>, kind: i32, at: i32, len: i32, out: i32| {
        code(define(&mut guest, kind, at, len).and_then(|id| write_u32(&mut guest, out, id)))
    })?;
    linker.func_wrap(ENV, "proxy_record_metric", |guest: Guest<'_>, id: i32, value: i64| {
        code(guest.data().env.metrics.get(id).and_then(|metric| metric.record(value)))
    })?;
    linker.func_wrap(ENV, "proxy_increment_metric", |guest: Guest<'_>, id: i32, by: i64| {
        code(guest.data().env.metrics.get(id).and_then(|metric| metric.increment(by)))
    })?;
    linker.func_wrap(ENV, "proxy_get_metric", |mut guest: Guest<'_>, id: i32, out: i32| {
        let metric = guest.data().env.metrics.get(id);
        code(metric.and_then(|metric| write_u64(&mut guest, out, metric.value())))
    })?;
    Ok(())
}

fn define(guest: &mut Guest<'_>, kind: i32, at: i32, len: i32) -> Answer<u32> {
    let kind = match kind {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Histogram,
        _ => return Err(Status::BadArgument),
    };
    let (memory, host) = parts(guest)?;
    host.env.metrics.define(kind, text(memory, at, len)?)
}
