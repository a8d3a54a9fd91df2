//! Leases: how long they live, and which keys live with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::embedded::error::Error;

/// The shortest time to live, in seconds: that of an etcd with the default election timeout of one second.
const MIN_TTL: i64 = 2;
/// The longest that etcd grants, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

#[derive(Debug, Clone)]
pub(in crate::embedded) struct Lease {
    /// Seconds, as granted.
    pub(in crate::embedded) ttl: i64,
    pub(in crate::embedded) expires: Instant,
    pub(in crate::embedded) keys: BTreeSet<Vec<u8>>,
}

impl Lease {
    /// Whole seconds left.
    pub(in crate::embedded) fn left(&self, now: Instant) -> i64 {
        i64::try_from(self.expires.saturating_duration_since(now).as_secs()).unwrap_or(i64::MAX)
    }
}

#[derive(Debug, Default)]
pub(in crate::embedded) struct Leases {
    by_id: BTreeMap<i64, Lease>,
}

impl Leases {
    /// Grants a lease and gives back its id and its time to live. Id 0: one is chosen.
    pub(in crate::embedded) fn grant(&mut self, id: i64, ttl: i64, now: Instant) -> Result<(i64, i64), Error> {
        if ttl > MAX_TTL {
            return Err(Error::TtlTooLarge);
        }
        if self.by_id.contains_key(&id) {
            return Err(Error::LeaseExists);
        }
        let id = if id == 0 { self.free_id() } else { id };
        let ttl = ttl.max(MIN_TTL);
        self.by_id.insert(id, Lease { ttl, expires: now + seconds(ttl), keys: BTreeSet::new() });
        Ok((id, ttl))
    }

    fn free_id(&self) -> i64 {
        std::iter::repeat_with(|| fastrand::i64(1..)).find(|id| !self.by_id.contains_key(id)).unwrap_or(1)
    }

    /// Lets a lease live anew and gives back its time to live. One whose time is up is not found: it cannot be saved.
    pub(in crate::embedded) fn renew(&mut self, id: i64, now: Instant) -> Result<i64, Error> {
        let lease = self.by_id.get_mut(&id).filter(|lease| lease.expires > now).ok_or(Error::LeaseNotFound)?;
        lease.expires = now + seconds(lease.ttl);
        Ok(lease.ttl)
    }

    pub(in crate::embedded) fn get(&self, id: i64) -> Result<&Lease, Error> {
        self.by_id.get(&id).ok_or(Error::LeaseNotFound)
    }

    /// Their ids, the one that ends first at the front.
    pub(in crate::embedded) fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<_> = self.by_id.iter().map(|(&id, lease)| (lease.expires, id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Those whose time is up.
    pub(in crate::embedded) fn expired(&self, now: Instant) -> Vec<i64> {
        self.by_id.iter().filter(|(_, lease)| lease.expires <= now).map(|(&id, _)| id).collect()
    }

    /// The keys of a lease that is then no more.
    pub(super) fn take(&mut self, id: i64) -> Result<BTreeSet<Vec<u8>>, Error> {
        self.by_id.remove(&id).map(|lease| lease.keys).ok_or(Error::LeaseNotFound)
    }

    /// Leaves all leases without keys.
    pub(super) fn detach_all(&mut self) {
        self.by_id.values_mut().for_each(|lease| lease.keys.clear());
    }

    /// Ties a key to another lease than before; 0 is none.
    pub(super) fn attach(&mut self, key: &[u8], before: i64, now: i64) {
        if before == now {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&before) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&now) {
            lease.keys.insert(key.to_vec());
        }
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs())
}
