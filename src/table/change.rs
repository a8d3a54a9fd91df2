//! What watchers tell the writer.

use super::keys::Put;
use crate::etcd::KeyValue;

/// What happened under a prefix. A list is one change, so that nothing is ever half new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// This is all that there is, whatever was said before.
    Reset {
        /// The revision at which it was.
        revision: i64,
        /// All keys, decoded page by page: a hundred thousand of them take much less room so.
        all: Vec<Put>,
    },
    /// These keys changed. Nothing changed if there are none: the prefix is as it was, at a later revision.
    Delta {
        /// The revision up to which everything is known now.
        revision: i64,
        /// Keys that were written.
        set: Vec<KeyValue>,
        /// Keys that left.
        gone: Vec<Gone>,
    },
}

/// A key that was deleted or whose lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    /// The whole key.
    pub(super) key: Vec<u8>,
    /// The revision at which it left.
    pub(super) revision: i64,
}

/// One message of a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// etcd was lost, changed its leader or its data: leases may end although their holders live.
    pub(super) unsettled: bool,
    pub(super) change: Option<Change>,
}
