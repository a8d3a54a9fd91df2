//! Where workers read: a slot per service, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::status::Shared;
use super::{Endpoints, PrefixStatus};

/// One service's place in the table. It stays the same while the endpoints in it are replaced.
#[derive(Debug)]
pub struct Slot {
    service: Arc<str>,
    endpoints: ArcSwap<Endpoints>,
    generation: AtomicU64,
}

impl Slot {
    /// An empty slot.
    pub fn new(service: &str) -> Self {
        Slot { service: service.into(), endpoints: ArcSwap::default(), generation: AtomicU64::new(1) }
    }

    /// The service's name.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Counts changes: of the endpoints, and of whether they can be reached. A worker compares it with the one that
    /// its picker was built from; that is all that a call pays for discovery.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The endpoints now. Read the generation first: then a change in between is seen again rather than missed.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// Puts new endpoints in place and gives back the old ones, so that the writer frees them and no worker does.
    pub fn replace(&self, endpoints: Arc<Endpoints>) -> Arc<Endpoints> {
        let old = self.endpoints.swap(endpoints);
        self.touch();
        old
    }

    /// Has every picker of this service built anew at its next use, as when an endpoint became unreachable.
    pub fn touch(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// The read side of the table: service names to slots. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Table {
    slots: Arc<ArcSwap<HashMap<Arc<str>, Arc<Slot>>>>,
    changed: watch::Sender<u64>,
    prefixes: Arc<ArcSwap<Vec<Arc<Shared>>>>,
    ready: Arc<AtomicBool>,
    rebuilds: Arc<AtomicU64>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Table {
            slots: Arc::default(),
            changed: watch::Sender::new(0),
            prefixes: Arc::default(),
            ready: Arc::default(),
            rebuilds: Arc::default(),
        }
    }

    /// The slot of a service; `None` if no such service has been seen, or not for long. One that was forgotten and comes
    /// back gets another slot: whoever keeps slots looks them up again when woken.
    pub fn slot(&self, service: &str) -> Option<Arc<Slot>> {
        self.slots.load().get(service).cloned()
    }

    /// All slots by service name, at one moment.
    pub fn slots(&self) -> Arc<HashMap<Arc<str>, Arc<Slot>>> {
        self.slots.load_full()
    }

    /// Wakes whenever anything changed; the value counts the changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How current each watched prefix is, in the order of the configuration.
    pub fn prefixes(&self) -> Vec<PrefixStatus> {
        self.prefixes.load().iter().map(|prefix| prefix.get()).collect()
    }

    /// Whether every prefix has been listed once. It stays so, whatever happens to etcd or is configured later.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How many times the endpoints of a service were replaced, over all services.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    pub(super) fn set_ready(&self) {
        if !self.ready.swap(true, Ordering::AcqRel) {
            self.notify();
        }
    }

    pub(super) fn set_prefixes(&self, prefixes: Vec<Arc<Shared>>) {
        self.prefixes.store(Arc::new(prefixes));
    }

    pub(super) fn count_rebuild(&self) {
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces the set of services. For the one writer.
    pub fn publish(&self, slots: HashMap<Arc<str>, Arc<Slot>>) {
        self.slots.store(Arc::new(slots));
    }

    /// Wakes the workers, after one or more slots changed. For the one writer.
    pub fn notify(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}
