//! The one writer: takes what the watchers say and puts it where workers read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::change::Update;
use super::keys::{Dirty, Keys};
use super::services::Services;
use super::status::Shared;
use super::{Config, Table, Unreadable};
use crate::registry::format::Decoder;
use crate::telemetry::Rarely;

/// How many unreadable keys are logged at a time.
const MOST_NAMED: usize = 20;

/// How often it is looked whether connects to doubted instances failed, and whether readers let go what was replaced.
const LOOK: Duration = Duration::from_secs(1);
/// Of the keys under a prefix that cannot be read, one is logged no more often than this.
const COMPLAIN: Duration = Duration::from_mins(1);

/// Names a watched prefix for as long as it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SourceId(pub(super) u64);

/// What the writer is told.
pub(super) enum Message {
    /// A prefix is watched from now on. It takes the place of `replaces`, whose instances stay until it has been listed.
    Add { id: SourceId, decoder: Decoder, status: Arc<Shared>, replaces: Option<SourceId> },
    /// A prefix is no longer watched; its instances leave.
    Remove(SourceId),
    /// A watcher has something to say.
    Update(SourceId, Update),
}

struct Source {
    keys: Keys,
    status: Arc<Shared>,
    replaces: Option<SourceId>,
    complaint: Rarely,
}

/// All that the table knows.
pub(super) struct Writer {
    table: Table,
    sources: BTreeMap<SourceId, Source>,
    services: Services,
}

impl Writer {
    pub(super) fn new(table: Table) -> Self {
        let services = Services::new(table.clone());
        Writer { table, sources: BTreeMap::new(), services }
    }

    /// Works until everybody who could say something is gone.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>, config: watch::Receiver<Config>) {
        let mut last = Instant::now();
        loop {
            let settings = config.borrow().clone();
            let due = self.due(&settings, last);
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message, &settings, Instant::now()),
                    None => return,
                },
                () = sleep_until(due.unwrap_or(last)), if due.is_some() => {
                    last = Instant::now();
                    self.tick(&settings, last);
                }
            }
        }
    }

    /// Takes one message and publishes what it changed.
    pub(super) fn take(&mut self, message: Message, config: &Config, now: Instant) {
        let mut dirty = Dirty::new();
        match message {
            Message::Add { id, decoder, status, replaces } => {
                self.sources.insert(
                    id,
                    Source { keys: Keys::new(decoder), status, replaces, complaint: Rarely::new(COMPLAIN) },
                );
            }
            Message::Remove(id) => self.remove(id, &mut dirty),
            Message::Update(id, update) => {
                // One that was removed may have had a last word on the way.
                let Some(source) = self.sources.get_mut(&id) else { return };
                source.keys.apply(update, now, config.doubt_window, &mut dirty);
                if source.keys.is_listed()
                    && let Some(replaced) = source.replaces.take()
                {
                    self.remove(replaced, &mut dirty);
                }
            }
        }
        self.publish(&dirty, now);
    }

    /// Lets go what nobody spoke of: doubted instances that proved dead, services that have long been empty.
    pub(super) fn tick(&mut self, config: &Config, now: Instant) {
        let mut dirty = Dirty::new();
        for source in self.sources.values_mut() {
            source.keys.settle(now, config.doubt_limit, |instance| self.services.is_unreachable(instance), &mut dirty);
        }
        self.publish(&dirty, now);
        self.services.forget(config.forget, now);
    }

    /// When to [`tick`](Writer::tick) next, after the `last` time.
    fn due(&self, config: &Config, last: Instant) -> Option<Instant> {
        let doubts = self.sources.values().any(|source| source.keys.doubted() > 0);
        let look = (doubts || self.services.has_retired()).then_some(last + LOOK);
        [look, self.services.forget_at(config.forget)].into_iter().flatten().min()
    }

    /// Forgets a source, and whatever it was to replace.
    fn remove(&mut self, id: SourceId, dirty: &mut Dirty) {
        let mut next = Some(id);
        while let Some(source) = next.and_then(|id| self.sources.remove(&id)) {
            dirty.extend(source.keys.services().cloned());
            next = source.replaces;
        }
    }

    fn publish(&mut self, dirty: &Dirty, now: Instant) {
        self.services.publish(dirty, &self.sources.values().map(|source| &source.keys), now);
        for Source { keys, status, complaint, .. } in self.sources.values_mut() {
            let unreadable = keys.unreadable();
            status.change(|status| {
                let is_new = |key: &&Unreadable| status.unreadable.binary_search_by(|old| old.key.cmp(&key.key)).is_err();
                if !Arc::ptr_eq(&status.unreadable, &unreadable)
                    && unreadable.iter().any(|key| is_new(&key))
                    && complaint.due(now).is_some()
                {
                    let (client, prefix, all) = (&status.client, &status.prefix, unreadable.len());
                    for Unreadable { key, reason } in unreadable.iter().filter(is_new).take(MOST_NAMED) {
                        tracing::warn!(%client, %prefix, all, key, reason, "a key cannot be read, or only in part");
                    }
                }
                if keys.is_listed() && !status.listed {
                    let (client, prefix, instances) = (&status.client, &status.prefix, keys.instances());
                    tracing::info!(%client, %prefix, revision = keys.revision(), instances, "the registry has been read");
                }
                if keys.doubted() > 0 && status.doubted == 0 {
                    let (client, prefix, doubted) = (&status.client, &status.prefix, keys.doubted());
                    tracing::warn!(%client, %prefix, doubted, "most instances vanished at once and are kept for a while");
                }
                status.revision = keys.revision();
                status.listed = keys.is_listed();
                status.instances = keys.instances();
                status.doubted = keys.doubted();
                status.unreadable = unreadable;
            });
        }
        if !self.sources.is_empty() && self.sources.values().all(|source| source.keys.is_listed()) {
            self.table.set_ready();
        }
    }
}

#[cfg(test)]
mod tests;
