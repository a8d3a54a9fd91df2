//! What all connections share: the store, and the signal that wakes watches.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::Orders;
use super::server::Config;
use super::store::Store;

/// How often leases are looked at; etcd does so twice as rarely.
const EXPIRY: Duration = Duration::from_millis(250);

/// What streams and connections wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    revision: i64,
    /// Watches say nothing.
    pub(super) stalled: bool,
    /// Watches that began under another number end.
    pub(super) watches: u64,
    /// Connections that began under another number end.
    pub(super) connections: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    store: Mutex<Store>,
    signal: watch::Sender<Signal>,
    pub(super) orders: Orders,
    /// Where the server can be reached.
    pub(super) url: String,
    pub(super) config: Config,
}

impl Shared {
    pub(super) fn new(url: String, config: Config) -> Self {
        let store = Store::new();
        let signal = Signal { revision: store.revision(), stalled: false, watches: 0, connections: 0 };
        let signal = watch::Sender::new(signal);
        Shared { store: Mutex::new(store), signal, orders: Orders::default(), url, config }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// Changes the signal and wakes all who wait for it.
    pub(super) fn signal(&self, change: impl FnOnce(&mut Signal)) {
        self.signal.send_modify(change);
    }

    pub(super) fn read(&self) -> MutexGuard<'_, Store> {
        // A panic while it was held is a bug; the next request shows what is left.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the store, and wakes the watches if that made a new revision.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.read();
        let result = change(&mut store);
        let revision = store.revision();
        self.signal.send_if_modified(|signal| std::mem::replace(&mut signal.revision, revision) != revision);
        result
    }

    /// Ends leases when their time is up, for ever.
    pub(super) async fn expire_leases(&self) {
        let mut ticks = tokio::time::interval(EXPIRY);
        loop {
            ticks.tick().await;
            self.write(|store| store.expire(Instant::now()));
        }
    }
}
