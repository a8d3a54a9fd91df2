//! What can be seen of each prefix: how current it is, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Why a prefix was listed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relist {
    /// It was time to.
    Periodic,
    /// The history after the last known revision was compacted.
    Compacted,
    /// The revision went backwards or the cluster became another: data was lost, restored, or moved.
    OtherData,
}

impl fmt::Display for Relist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Relist::Periodic => "periodic",
            Relist::Compacted => "compacted",
            Relist::OtherData => "other_data",
        })
    }
}

/// A prefix at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixStatus {
    /// The name of the etcd client.
    pub client: Arc<str>,
    /// The prefix, with its slash at the end.
    pub prefix: Arc<str>,
    /// Everything up to this revision is in the table; 0 before the first list.
    pub revision: i64,
    /// How long ago etcd last said anything of this prefix, be it only that nothing changed. `None`: never yet.
    pub age: Option<Duration>,
    /// Whether it has been listed once.
    pub listed: bool,
    /// Whether a watch is open. It may be dead and not yet known to be: see `age`.
    pub watching: bool,
    /// How often its watch broke.
    pub watch_restarts: u64,
    /// How often it was listed after the first time, by reason.
    pub relists: BTreeMap<Relist, u64>,
    /// Instances in the table, the doubted ones included.
    pub instances: usize,
    /// Instances whose keys vanished together with most others after a disturbance of etcd, and that are kept.
    pub doubted: usize,
    /// Keys whose value cannot be read, or only in part, in the order of the keys.
    pub unreadable: Arc<[Unreadable]>,
    /// Why it cannot be followed now. `None`: it is.
    pub error: Option<String>,
}

/// A key whose value cannot be read, or only in part. Both texts are short, and may hold any character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The key; what is no UTF-8 is replaced.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A status as the watcher and the writer share it. Nothing is done under its lock but copying.
#[derive(Debug)]
pub(super) struct Shared(Mutex<(PrefixStatus, Option<Instant>)>);

impl Shared {
    pub(super) fn new(client: Arc<str>, prefix: Arc<str>) -> Self {
        let status = PrefixStatus {
            client,
            prefix,
            revision: 0,
            age: None,
            listed: false,
            watching: false,
            watch_restarts: 0,
            relists: BTreeMap::new(),
            instances: 0,
            doubted: 0,
            unreadable: Arc::default(),
            error: None,
        };
        Shared(Mutex::new((status, None)))
    }

    pub(super) fn get(&self) -> PrefixStatus {
        let guard = self.lock();
        let (status, heard) = &*guard;
        PrefixStatus { age: heard.map(|heard| heard.elapsed()), ..status.clone() }
    }

    pub(super) fn heard(&self, now: Instant) {
        self.lock().1 = Some(now);
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut PrefixStatus)) {
        change(&mut self.lock().0);
    }

    fn lock(&self) -> MutexGuard<'_, (PrefixStatus, Option<Instant>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
