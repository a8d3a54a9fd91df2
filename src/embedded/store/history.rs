//! What happened, revision by revision, back to the last compaction: watches replay it.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_client::proto::PbKeyValue;

/// All changes of one revision, in their order.
#[derive(Debug)]
pub(in crate::embedded) struct Commit {
    pub(in crate::embedded) revision: i64,
    pub(in crate::embedded) changes: Vec<Change>,
}

impl Commit {
    /// Of its keys and values.
    pub(in crate::embedded) fn bytes(&self) -> usize {
        self.changes.iter().map(|change| change.now.key.len() + change.now.value.len()).sum()
    }
}

/// One key was put or deleted.
#[derive(Debug)]
pub(in crate::embedded) struct Change {
    /// The key as it is now; of a deletion, key and revision only.
    pub(in crate::embedded) now: Arc<PbKeyValue>,
    pub(in crate::embedded) deleted: bool,
    /// The key as it was before, if it was there.
    pub(in crate::embedded) before: Option<Arc<PbKeyValue>>,
}

/// The commits that can be replayed. Their revisions have no gaps.
#[derive(Debug, Default)]
pub(in crate::embedded) struct History {
    commits: VecDeque<Arc<Commit>>,
    /// The last revision that can no longer be replayed.
    forgotten: i64,
}

impl History {
    pub(super) fn push(&mut self, commit: Commit) {
        self.commits.push_back(Arc::new(commit));
    }

    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }

    /// The last revision that can no longer be replayed; 0 if all can.
    pub(in crate::embedded) fn forgotten(&self) -> i64 {
        self.forgotten
    }

    /// At most `limit` commits from this revision on.
    pub(in crate::embedded) fn since(&self, revision: i64, limit: usize) -> impl Iterator<Item = &Arc<Commit>> {
        let first = self.commits.front().map_or(revision, |commit| commit.revision);
        let skip = usize::try_from(revision - first).unwrap_or(0);
        self.commits.range(skip.min(self.commits.len())..).take(limit)
    }

    /// Forgets what happened before this revision.
    pub(super) fn forget_before(&mut self, revision: i64) {
        while let Some(commit) = self.commits.pop_front_if(|commit| commit.revision < revision) {
            self.forgotten = commit.revision;
        }
    }

    /// Forgets what happened after this revision.
    pub(super) fn forget_after(&mut self, revision: i64) {
        while self.commits.pop_back_if(|commit| commit.revision > revision).is_some() {}
    }

    /// The revision in the middle of what is kept.
    pub(super) fn middle(&self) -> Option<i64> {
        self.commits.get(self.commits.len() / 2).map(|commit| commit.revision)
    }
}
