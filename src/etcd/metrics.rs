//! What is counted of calls to etcd.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::telemetry::{Registry, names};

/// A kind of call to etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reading keys.
    Range,
    /// Writing a key.
    Put,
    /// Deleting a key.
    Delete,
    /// Doing a transaction.
    Txn,
    /// Opening a watch, until it is confirmed.
    Watch,
    /// Logging in.
    Authenticate,
    /// Administration of users and roles.
    Auth,
    /// Asking how a member is.
    Status,
    /// Asking for the members of the cluster.
    MemberList,
    /// Granting a lease.
    LeaseGrant,
    /// Letting a lease live anew.
    LeaseKeepAlive,
    /// Ending a lease.
    LeaseRevoke,
    /// Asking how long a lease still lives.
    LeaseTimeToLive,
    /// Asking for all leases.
    LeaseList,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Range => "range",
            Operation::Put => "put",
            Operation::Delete => "delete",
            Operation::Txn => "txn",
            Operation::Watch => "watch",
            Operation::Authenticate => "authenticate",
            Operation::Auth => "auth",
            Operation::MemberList => "member_list",
            Operation::LeaseGrant => "lease_grant",
            Operation::LeaseKeepAlive => "lease_keep_alive",
            Operation::LeaseRevoke => "lease_revoke",
            Operation::LeaseTimeToLive => "lease_time_to_live",
            Operation::LeaseList => "lease_list",
            Operation::Status => "status",
        })
    }
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        use fmt::Write;
        write!(encoder, "{self}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    operation: Operation,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    operation: Operation,
}

/// Counts each call to a member, the failed ones and those that follow them elsewhere included. One for all clients;
/// cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    operations: Family<Outcome, Counter>,
    duration: Family<Timed, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Counters that stand in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Metrics::default();
        registry.register(names::ETCD_OPERATIONS, "Calls to etcd", metrics.operations.clone());
        registry.register(names::ETCD_OPERATION_DURATION, "How long calls to etcd took", metrics.duration.clone());
        metrics
    }

    /// Counts a call that ended with this gRPC status.
    pub(super) fn count(&self, operation: Operation, status: &'static str, took: Duration) {
        self.operations.get_or_create(&Outcome { operation, status }).inc();
        self.duration.get_or_create(&Timed { operation }).observe(took.as_secs_f64());
    }

    /// How many calls ended with this status, such as `OK`.
    pub fn calls(&self, operation: Operation, status: &'static str) -> u64 {
        self.operations.get(&Outcome { operation, status }).map_or(0, |counter| counter.get())
    }
}

impl Default for Metrics {
    /// Counters that stand nowhere.
    fn default() -> Self {
        // From half a millisecond, a call in one machine room, to eight seconds, beyond every sane time limit.
        let histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        Metrics { operations: Family::default(), duration: Family::new_with_constructor(histogram) }
    }
}
