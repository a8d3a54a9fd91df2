//! Faults on command, for tests of what follows a registry: each is one that real clusters have had.

mod document;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::error::Error;
use super::shared::Shared;
use super::store::Store;

/// Makes a running [`Server`](super::Server) misbehave. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Faults {
    pub(super) shared: Arc<Shared>,
}

/// Why a fault could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Impossible(#[from] Error);

impl Faults {
    /// Ends all watch streams with `UNAVAILABLE`, as a member does that stops. Connections stay, and new watches begin.
    pub fn cut_watches(&self) {
        self.shared.signal(|signal| signal.watches += 1);
    }

    /// Cuts all connections without a word, as a crash does.
    pub fn cut_connections(&self) {
        self.shared.signal(|signal| signal.connections += 1);
    }

    /// Stalls all watches, or lets them go on: while stalled they stay open and say nothing, also to requests for
    /// progress; other calls are answered. Nothing is lost: what happened meanwhile is told when they go on.
    pub fn stall_watches(&self, stalled: bool) {
        self.shared.signal(|signal| signal.stalled = stalled);
    }

    /// Compacts up to a revision, or the current one if there is none.
    ///
    /// # Errors
    ///
    /// If that was compacted before, or is in the future.
    pub fn compact(&self, revision: Option<i64>) -> Result<(), Impossible> {
        self.shared.write(|store| store.compact(revision.unwrap_or(store.revision())))?;
        Ok(())
    }

    /// Ends a lease now, as if its time were up: its keys are deleted.
    ///
    /// # Errors
    ///
    /// If there is no such lease.
    pub fn expire_lease(&self, lease: i64) -> Result<(), Impossible> {
        self.shared.write(|store| store.revoke(lease))?;
        Ok(())
    }

    /// Refuses the next `times` calls whose path ends in `method`, such as `Range` or `Lease/LeaseGrant`, with this
    /// status. A stream is refused when it begins. Later orders for the same calls wait for the earlier ones.
    pub fn refuse(&self, method: &str, code: Code, times: u32) {
        self.shared.orders.lock().refusals.push(Refusal { method: method.to_owned(), code, left: times });
    }

    /// Lets every call wait for so long before it is answered; zero ends that.
    pub fn delay(&self, delay: Duration) {
        self.shared.orders.lock().delay = delay;
    }

    /// Restarts with all data lost: another cluster id, revision 1, no keys, no leases; all connections are cut.
    pub fn lose_all_data(&self) {
        self.shared.write(|store| *store = Store::new());
        self.cut_connections();
    }

    /// Goes back to an earlier revision, as a member does that is restored from a backup: what came later never
    /// happened, the cluster id stays, and all connections are cut. Leases that have ended since come back and have a
    /// minute to live.
    ///
    /// # Errors
    ///
    /// If that revision is compacted, or in the future.
    pub fn rewind(&self, revision: i64) -> Result<(), Impossible> {
        self.shared.write(|store| store.rewind(revision, Instant::now()))?;
        self.cut_connections();
        Ok(())
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.shared.read().revision()
    }
}

/// What calls are met with.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<Ordered>);

#[derive(Debug, Default)]
struct Ordered {
    delay: Duration,
    refusals: Vec<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    method: String,
    code: Code,
    left: u32,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Ordered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call wait, and says whether it is refused.
    pub(super) async fn meet(&self, path: &str) -> Option<Status> {
        let (delay, refused) = {
            let mut orders = self.lock();
            orders.refusals.retain(|refusal| refusal.left > 0);
            let refusal = orders.refusals.iter_mut().find(|refusal| ends_in(path, &refusal.method));
            let refused = refusal.map(|refusal| {
                refusal.left -= 1;
                refusal.code
            });
            (orders.delay, refused)
        };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        refused.map(|code| Status::new(code, "refused on command"))
    }
}

/// Whether a path ends in whole parts with a method's name.
fn ends_in(path: &str, method: &str) -> bool {
    path.strip_suffix(method).is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_by_the_end_of_their_path() {
        let path = "/etcdserverpb.KV/Range";
        for (method, is_meant) in [
            ("Range", true),
            ("KV/Range", true),
            ("etcdserverpb.KV/Range", true),
            ("/etcdserverpb.KV/Range", true),
            ("ange", false),
            ("V/Range", false),
            ("Put", false),
        ] {
            assert_eq!(ends_in(path, method), is_meant, "{method}");
        }
        assert!(!ends_in("/etcdserverpb.KV/DeleteRange", "Range"));
    }
}
