//! The data: keys with all their versions since the last compaction, leases, and what happened. No I/O, no clock; one
//! caller at a time.

mod check;
mod history;
mod keys;
mod lease;
mod range;
mod txn;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::proto::{PbKeyValue, PbResponseHeader};
use tokio::time::Instant;

pub(super) use check::{check_delete, check_put, check_range, check_txn};
pub(super) use history::{Change, Commit, History};
pub(super) use keys::Keys;
pub(super) use lease::Leases;
use write::Write;

use super::error::Error;

/// Revisions that are kept for watches and reads of the past; more than this, and the older half is compacted.
const MAX_REVISIONS: usize = 100_000;
/// Bytes of keys and values, old versions included. When half of it is full, the older half of the history is compacted.
const MAX_BYTES: usize = 1 << 30;
/// The history is never made shorter than this for the sake of memory.
const MIN_REVISIONS: usize = 64;
/// Revisions that outlive a compaction for the watches that are just being told of them.
const TRAILING: i64 = 1_000;
/// The time to live, in seconds, of leases that a rewind brings back.
const REVIVED_TTL: i64 = 60;

/// Who this is: another number means other data.
#[derive(Debug, Clone, Copy)]
struct Identity {
    cluster: u64,
    member: u64,
}

impl Identity {
    fn new() -> Self {
        Identity { cluster: fastrand::u64(1..), member: fastrand::u64(1..) }
    }
}

#[derive(Debug)]
pub(super) struct Store {
    identity: Identity,
    revision: i64,
    /// What is older than this revision cannot be read.
    compacted: i64,
    keys: BTreeMap<Vec<u8>, Versions>,
    pub(super) leases: Leases,
    pub(super) history: History,
    /// Of all keys and values, old versions included.
    bytes: usize,
}

/// The versions of a key, oldest first; never empty.
type Versions = Vec<Version>;

#[derive(Debug)]
struct Version {
    revision: i64,
    /// None: it was deleted.
    kv: Option<Arc<PbKeyValue>>,
}

impl Version {
    fn bytes(&self) -> usize {
        self.kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len())
    }
}

impl Store {
    /// An empty one with a new identity.
    pub(super) fn new() -> Self {
        Store {
            identity: Identity::new(),
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            leases: Leases::default(),
            history: History::default(),
            bytes: 0,
        }
    }

    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// -1 before the first compaction.
    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    pub(super) fn member(&self) -> u64 {
        self.identity.member
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn header(&self) -> PbResponseHeader {
        self.header_at(self.revision)
    }

    pub(super) fn header_at(&self, revision: i64) -> PbResponseHeader {
        PbResponseHeader { cluster_id: self.identity.cluster, member_id: self.identity.member, revision, raft_term: 2 }
    }

    /// The key as it is now.
    fn get(&self, key: &[u8]) -> Option<&Arc<PbKeyValue>> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    /// The keys as they were at a revision, in their order.
    fn at(&self, keys: &Keys, revision: i64) -> impl Iterator<Item = &Arc<PbKeyValue>> {
        self.keys.range::<[u8], _>(keys.bounds()).filter_map(move |(_, versions)| {
            // Most reads are of the present.
            versions.iter().rev().find(|version| version.revision <= revision)?.kv.as_ref()
        })
    }

    /// Forgets what is older than a revision, as etcd does: that revision itself can still be read and watched from. What
    /// happened last can be replayed to watches that began before.
    pub(super) fn compact(&mut self, revision: i64) -> Result<PbResponseHeader, Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.compacted = revision;
        self.history.forget_before(revision.min(self.revision - TRAILING));
        let mut forgotten = 0;
        self.keys.retain(|_, versions| {
            let current = versions.iter().rposition(|version| version.revision <= revision);
            let mut old = current.unwrap_or(0);
            if current.is_some_and(|at| versions[at].kv.is_none()) {
                old += 1;
            }
            forgotten += versions.drain(..old).map(|version| version.bytes()).sum::<usize>();
            !versions.is_empty()
        });
        self.bytes -= forgotten;
        Ok(self.header())
    }

    /// Compacts by itself when there is much to forget, so that memory stays bounded.
    fn tidy(&mut self) {
        let much =
            self.history.len() > MAX_REVISIONS || self.bytes > MAX_BYTES / 2 && self.history.len() > MIN_REVISIONS;
        if let (true, Some(middle)) = (much, self.history.middle()) {
            // The middle of the history is neither compacted nor in the future.
            let _ = self.compact(middle);
            self.history.forget_before(middle);
        }
    }

    /// Ends a lease, and with it its keys, in one revision.
    pub(super) fn revoke(&mut self, lease: i64) -> Result<PbResponseHeader, Error> {
        let keys = self.leases.take(lease)?;
        let mut write = Write::new(self);
        for key in keys {
            write.delete(&Keys::One(key));
        }
        write.commit();
        Ok(self.header())
    }

    /// Ends the leases whose time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        for lease in self.leases.expired(now) {
            // It was there a moment ago.
            let _ = self.revoke(lease);
        }
    }

    /// Goes back to an earlier revision, as a restore from a backup does; what came after it never happened. Leases
    /// that have ended since come back with a minute to live.
    pub(super) fn rewind(&mut self, revision: i64, now: Instant) -> Result<(), Error> {
        if revision < self.compacted.max(1) {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.revision = revision;
        self.history.forget_after(revision);
        self.keys.retain(|_, versions| {
            versions.retain(|version| version.revision <= revision);
            !versions.is_empty()
        });
        self.bytes = self.keys.values().flatten().map(Version::bytes).sum();
        self.leases.detach_all();
        for kv in self.keys.values().filter_map(|versions| versions.last()?.kv.as_ref()).filter(|kv| kv.lease != 0) {
            // One that is still there is left as it is.
            let _ = self.leases.grant(kv.lease, REVIVED_TTL, now);
            self.leases.attach(&kv.key, 0, kv.lease);
        }
        Ok(())
    }

    /// A number for all keys and values at a revision: equal data, equal number.
    pub(super) fn hash(&self, revision: i64) -> Result<u32, Error> {
        use std::hash::{DefaultHasher, Hasher};

        let revision = self.readable(revision)?;
        let mut hasher = DefaultHasher::new();
        for kv in self.at(&Keys::From(Vec::new()), revision) {
            for part in [&kv.key, &kv.value] {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.write_i64(kv.mod_revision);
        }
        // The half that etcd's answer has room for.
        Ok(hasher.finish() as u32)
    }

    /// The revision that a read of `asked` is of; 0 and less mean the present.
    fn readable(&self, asked: i64) -> Result<i64, Error> {
        match asked {
            ..=0 => Ok(self.revision),
            _ if asked > self.revision => Err(Error::FutureRevision),
            _ if asked < self.compacted => Err(Error::Compacted),
            _ => Ok(asked),
        }
    }
}

#[cfg(test)]
mod tests;
