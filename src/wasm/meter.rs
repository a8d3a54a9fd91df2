//! How often a module is called, and how long its calls take: of one call in 61, so that the clock costs the others nothing.
//! Each instance counts for itself, and nobody who calls waits for somebody who reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bound::SAY_EVERY;
use super::fault::Fault;
use super::module::Module;
use crate::telemetry::{Rarely, add};

/// One call in so many is timed. A prime, or it would always be the same callback of an exchange.
const TIMED: u32 = 61;

/// Calls, and what is known of their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// All of them.
    pub all: u64,
    /// Those that were timed.
    pub timed: u64,
    /// What these took in all.
    pub time: Duration,
}

impl Calls {
    /// What was added since then.
    pub fn since(&self, then: &Calls) -> Calls {
        Calls {
            all: self.all.saturating_sub(then.all),
            timed: self.timed.saturating_sub(then.timed),
            time: self.time.saturating_sub(then.time),
        }
    }

    /// What one took, if any was timed.
    pub fn mean(&self) -> Option<Duration> {
        self.time.as_nanos().checked_div(self.timed.into()).map(|nanos| Duration::from_nanos(nanos as u64))
    }

    fn add(&mut self, other: Calls) {
        self.all += other.all;
        self.timed += other.timed;
        self.time += other.time;
    }
}

/// The calls of one instance: written by the thread that has it, and so without an atomic addition.
#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    timed: AtomicU64,
    nanos: AtomicU64,
}

impl Counts {
    fn calls(&self) -> Calls {
        Calls {
            all: self.all.load(Ordering::Relaxed),
            timed: self.timed.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

/// All instances that a module has, whatever version of its file they run, and what those did that are gone.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<Instances>);

#[derive(Debug, Default)]
struct Instances {
    /// The calls of those that are gone.
    before: Calls,
    /// Those that can be called, with the hash of their version.
    up: Vec<(u64, Arc<Counts>)>,
}

impl Meters {
    fn lock(&self) -> MutexGuard<'_, Instances> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All calls so far.
    pub(super) fn calls(&self) -> Calls {
        let instances = self.lock();
        let mut calls = instances.before;
        instances.up.iter().for_each(|(_, counts)| calls.add(counts.calls()));
        calls
    }

    /// The instances of the version with this hash that can be called.
    pub(super) fn instances(&self, hash: u64) -> usize {
        self.lock().up.iter().filter(|(of, _)| *of == hash).count()
    }
}

/// Counts the calls of one instance, from when it is ready for use to its end.
pub(super) struct Meter {
    pub(super) module: Arc<Module>,
    counts: Arc<Counts>,
    /// Calls until one is timed.
    until: u32,
    complaint: Rarely,
}

impl Meter {
    /// For an instance that is being made.
    pub(super) fn new(module: Arc<Module>) -> Self {
        Meter { module, counts: Arc::default(), until: 0, complaint: Rarely::new(SAY_EVERY) }
    }

    /// The instance is ready for use. What it took to make it does not count.
    pub(super) fn ready(&mut self) {
        (self.counts, self.until) = Default::default();
        self.module.env.meters.lock().up.push((self.module.hash(), self.counts.clone()));
    }

    /// A call begins. Gives the time if this one is timed.
    pub(super) fn begin(&mut self) -> Option<Instant> {
        add(&self.counts.all, 1);
        match self.until.checked_sub(1) {
            Some(left) => {
                self.until = left;
                None
            }
            None => {
                self.until = TIMED - 1;
                Some(Instant::now())
            }
        }
    }

    /// It is over.
    pub(super) fn end(&mut self, begun: Option<Instant>) {
        if let Some(begun) = begun {
            add(&self.counts.timed, 1);
            add(&self.counts.nanos, u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Something went wrong in it that the module alone was told.
    pub(super) fn wrong(&mut self, fault: &Fault) {
        let now = Instant::now();
        let module = self.module.name();
        self.module.env.telemetry.failed(module, fault.label());
        self.module.note(fault, now);
        if let Some(kept_back) = self.complaint.due(now) {
            tracing::warn!(%module, kept_back, "module: {fault}");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let mut instances = self.module.env.meters.lock();
        if let Some(at) = instances.up.iter().position(|(_, counts)| Arc::ptr_eq(counts, &self.counts)) {
            let (_, counts) = instances.up.swap_remove(at);
            instances.before.add(counts.calls());
        }
    }
}
