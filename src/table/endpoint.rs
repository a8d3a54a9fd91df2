//! An endpoint: an instance as calls see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::registry::{Address, Instance, Protocol};
use crate::telemetry::StatusCounters;

/// Names an endpoint for as long as the process runs: one service and one address. A changed weight or version keeps
/// it, and with it counters and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// What all workers share about an endpoint. It outlives changes of the registration.
#[derive(Debug, Default)]
pub struct EndpointState {
    /// Exchanges under way, over all workers.
    pub in_flight: AtomicU32,
    /// How its calls ended.
    pub statuses: StatusCounters,
    /// The last connect failed, and a trial has not succeeded since.
    unreachable: AtomicBool,
    /// What it was found to speak, as 1 or 2; 0 where it is not known.
    detected: AtomicU8,
    /// By how many thousandths its share of calls is reduced.
    reduced: AtomicU32,
    /// The weight that an operator put in the place of the registered one, plus one; 0 if none did.
    weight: AtomicU64,
    /// Calls that failed since the last one that did not.
    failures_in_a_row: AtomicU32,
    /// Calls that failed without an answer.
    unanswered: AtomicU64,
    /// Calls that ended, and the microseconds that they took, where somebody wants to know.
    ended: AtomicU64,
    micros: AtomicU64,
    /// The weight that a policy gives it, plus one; 0 if none does.
    policy_weight: AtomicU64,
    /// What its probes say, for policies.
    probes: AtomicU8,
}

impl EndpointState {
    /// The whole share of calls, in thousandths.
    pub const WHOLE: u32 = 1_000;

    /// Whether the last connect failed and no trial has succeeded since.
    pub fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// Notes that a connect failed. True for the one caller that found it reachable before: that one tries again.
    pub fn mark_unreachable(&self) -> bool {
        self.detected.store(0, Ordering::Relaxed);
        !self.unreachable.swap(true, Ordering::Relaxed)
    }

    /// Notes that a connect succeeded. True if it had been unreachable.
    pub fn mark_reachable(&self) -> bool {
        self.unreachable.swap(false, Ordering::Relaxed)
    }

    /// The part of its share of calls that its health leaves it, in thousandths: 0 if it gets calls only when there is
    /// nobody else.
    pub fn share(&self) -> u32 {
        Self::WHOLE - self.reduced.load(Ordering::Relaxed)
    }

    /// Sets that part; true if it was another before. Pickers see it when the service's slot is touched.
    pub fn set_share(&self, share: u32) -> bool {
        let reduced = Self::WHOLE - share.min(Self::WHOLE);
        self.reduced.swap(reduced, Ordering::Relaxed) != reduced
    }

    /// Puts a weight in the place of the registered one, or takes it back; true if it was another before. Pickers see it
    /// when the service's slot is touched.
    pub fn set_weight(&self, weight: Option<u32>) -> bool {
        let weight = weight.map_or(0, |weight| u64::from(weight) + 1);
        self.weight.swap(weight, Ordering::Relaxed) != weight
    }

    /// Notes that a call was answered, and not with a failure.
    pub fn call_went_well(&self) {
        // Mostly there is nothing to write, which spares the other workers' caches.
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that a call failed through the endpoint's fault. Gives back how many in a row have.
    pub fn call_failed(&self, answered: bool) -> u32 {
        if !answered {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Calls that failed in a row, up to the last one.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }

    /// Calls that failed without an answer, since the start.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// What its probes say: 0 nothing yet, 1 that it works, 2 that it does not.
    pub fn probes(&self) -> u32 {
        u32::from(self.probes.load(Ordering::Relaxed))
    }

    /// Notes what its probes say.
    pub fn set_probes(&self, healthy: Option<bool>) {
        self.probes.store(healthy.map_or(0, |healthy| if healthy { 1 } else { 2 }), Ordering::Relaxed);
    }

    /// Notes that a call ended, after so long.
    pub fn call_ended(&self, took: Duration) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// The calls that ended, and the microseconds that they took in all, since somebody wanted to know.
    pub fn ended(&self) -> (u64, u64) {
        (self.ended.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed))
    }

    /// Takes over what a policy makes of its weight; true if it was another before. Pickers see it when the service's slot
    /// is touched.
    pub fn set_policy_weight(&self, weight: Option<u32>) -> bool {
        let weight = weight.map_or(0, |weight| u64::from(weight) + 1);
        self.policy_weight.swap(weight, Ordering::Relaxed) != weight
    }

    /// What it was found to speak since it could last not be reached.
    pub fn detected(&self) -> Option<Protocol> {
        match self.detected.load(Ordering::Relaxed) {
            1 => Some(Protocol::Http1),
            2 => Some(Protocol::Http2),
            _ => None,
        }
    }

    /// Notes what it was found to speak.
    pub fn set_detected(&self, protocol: Protocol) {
        let version = if protocol == Protocol::Http2 { 2 } else { 1 };
        self.detected.store(version, Ordering::Relaxed);
    }
}

/// An instance as calls see it: where it is, what share it takes, what it speaks.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Stable over changes of the registration.
    pub id: EndpointId,
    /// The registration behind it, the newest if several keys name this address.
    pub instance: Arc<Instance>,
    /// `address` as text, for labels and logs.
    pub label: Arc<str>,
    /// The lease that its key hangs on, 0 if none.
    pub lease: i64,
    /// The mod_revision of its key.
    pub revision: i64,
    /// Its key vanished together with most of the prefix, and it is kept until that proves right.
    pub doubted: bool,
    /// Shared by all workers.
    pub state: Arc<EndpointState>,
}

impl Endpoint {
    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.instance.address
    }

    /// Its share of calls; 0 means no new ones. As registered, unless an operator or a policy put another in its place.
    pub fn weight(&self) -> u32 {
        let ordered = self.state.weight.load(Ordering::Relaxed).checked_sub(1);
        let given = || self.state.policy_weight.load(Ordering::Relaxed).checked_sub(1);
        ordered.or_else(given).and_then(|weight| u32::try_from(weight).ok()).unwrap_or(self.instance.weight)
    }

    /// What it speaks, if the registration says so.
    pub fn protocol(&self) -> Option<Protocol> {
        self.instance.protocol
    }
}

/// The endpoints of one service at one moment, ordered by id. Never changed, only replaced.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: Box<[Endpoint]>,
}

impl Endpoints {
    /// Orders the endpoints by id, which must be unique.
    pub fn new(mut list: Vec<Endpoint>) -> Self {
        list.sort_unstable_by_key(|e| e.id);
        debug_assert!(list.windows(2).all(|w| w[0].id < w[1].id));
        Endpoints { list: list.into() }
    }

    /// The endpoint of that id, if it is still there.
    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.list.binary_search_by_key(&id, |e| e.id).ok().map(|i| &self.list[i])
    }
}

impl std::ops::Deref for Endpoints {
    type Target = [Endpoint];

    fn deref(&self) -> &[Endpoint] {
        &self.list
    }
}
