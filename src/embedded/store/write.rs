//! Changing keys: all changes of one request make one revision.

use std::sync::Arc;

use etcd_client::proto::{
    PbDeleteRequest, PbDeleteResponse, PbKeyValue, PbPutRequest, PbPutResponse, PbResponseHeader,
};

use super::history::{Change, Commit};
use super::{Error, Keys, MAX_BYTES, Store, Version};

impl Store {
    /// Whether a put can be done: nothing is written before all of a request is known to be possible.
    pub(super) fn can_put(&self, request: &PbPutRequest) -> Result<(), Error> {
        if (request.ignore_value || request.ignore_lease) && self.get(&request.key).is_none() {
            return Err(Error::KeyNotFound);
        }
        if request.lease != 0 {
            self.leases.get(request.lease)?;
        }
        if self.bytes > MAX_BYTES {
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    pub(in crate::embedded) fn put(&mut self, request: PbPutRequest) -> Result<PbPutResponse, Error> {
        // Of several errors etcd names that of the lease first, and in a transaction last.
        if request.lease != 0 {
            self.leases.get(request.lease)?;
        }
        self.can_put(&request)?;
        let mut write = Write::new(self);
        let mut response = write.put(request);
        write.commit();
        response.header = Some(self.header());
        Ok(response)
    }

    pub(in crate::embedded) fn delete(&mut self, request: &PbDeleteRequest) -> PbDeleteResponse {
        let mut write = Write::new(self);
        let mut response = write.delete_range(request);
        write.commit();
        response.header = Some(self.header());
        response
    }
}

/// Changes that belong to one revision. They are seen by reads at once, and become history by [`Write::commit`].
pub(super) struct Write<'a> {
    pub(super) store: &'a mut Store,
    changes: Vec<Change>,
}

impl<'a> Write<'a> {
    pub(super) fn new(store: &'a mut Store) -> Self {
        Write { store, changes: Vec::new() }
    }

    /// The revision with what has been written so far.
    pub(super) fn revision(&self) -> i64 {
        self.store.revision + i64::from(!self.changes.is_empty())
    }

    /// Ends the request; without a change there is no new revision.
    pub(super) fn commit(self) {
        if !self.changes.is_empty() {
            self.store.revision += 1;
            self.store.history.push(Commit { revision: self.store.revision, changes: self.changes });
            self.store.tidy();
        }
    }

    pub(super) fn put(&mut self, request: PbPutRequest) -> PbPutResponse {
        let revision = self.store.revision + 1;
        let before = self.store.get(&request.key).cloned();
        let old = before.as_deref();
        let now = Arc::new(PbKeyValue {
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(0, |old| old.version) + 1,
            value: if request.ignore_value {
                old.map(|old| old.value.clone()).unwrap_or_default()
            } else {
                request.value
            },
            lease: if request.ignore_lease { old.map_or(0, |old| old.lease) } else { request.lease },
            key: request.key,
        });
        self.store.leases.attach(&now.key, old.map_or(0, |old| old.lease), now.lease);
        let prev_kv = old.filter(|_| request.prev_kv).cloned();
        self.write(Change { now, deleted: false, before });
        PbPutResponse { header: revision_only(revision), prev_kv }
    }

    pub(super) fn delete_range(&mut self, request: &PbDeleteRequest) -> PbDeleteResponse {
        let gone = self.delete(&Keys::new(&request.key, &request.range_end));
        PbDeleteResponse {
            deleted: i64::try_from(gone.len()).unwrap_or(i64::MAX),
            prev_kvs: gone.iter().filter(|_| request.prev_kv).map(|kv| PbKeyValue::clone(kv)).collect(),
            header: revision_only(self.revision()),
        }
    }

    /// Deletes keys and gives them back as they were.
    pub(super) fn delete(&mut self, keys: &Keys) -> Vec<Arc<PbKeyValue>> {
        let gone: Vec<_> = self.store.at(keys, i64::MAX).cloned().collect();
        let mod_revision = self.store.revision + 1;
        for before in &gone {
            self.store.leases.attach(&before.key, before.lease, 0);
            let now = Arc::new(PbKeyValue { key: before.key.clone(), mod_revision, ..PbKeyValue::default() });
            self.write(Change { now, deleted: true, before: Some(before.clone()) });
        }
        gone
    }

    fn write(&mut self, change: Change) {
        let kv = (!change.deleted).then(|| change.now.clone());
        let version = Version { revision: change.now.mod_revision, kv };
        self.store.bytes += version.bytes();
        let versions = match self.store.keys.get_mut(&change.now.key) {
            Some(versions) => versions,
            None => self.store.keys.entry(change.now.key.clone()).or_default(),
        };
        versions.push(version);
        self.changes.push(change);
    }
}

/// Of the answers within a transaction, headers have this and nothing else.
pub(super) fn revision_only(revision: i64) -> Option<PbResponseHeader> {
    Some(PbResponseHeader { revision, ..PbResponseHeader::default() })
}
