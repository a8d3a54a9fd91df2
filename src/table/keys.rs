//! The keys of one prefix as they were decoded: what is there, what left, and what of that is doubted.
//!
//! When etcd was away, changed its leader or lost data, leases may end although their holders live and register again
//! in a moment. So for a while after such a disturbance, if more than half of the instances vanish, in however many
//! responses, they are kept and marked as doubted. At any other time a delete is taken at its word.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::change::{Change, Gone, Update};
use super::status::Unreadable;
use crate::etcd::KeyValue;
use crate::registry::Instance;
use crate::registry::format::{Decoded, Decoder};

type Key = Arc<[u8]>;
/// Names of services whose endpoints may have changed.
pub(super) type Dirty = HashSet<String>;

/// What a key was decoded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) revision: i64,
    pub(super) lease: i64,
    pub(super) instances: Box<[Arc<Instance>]>,
    /// Since when its disappearance is doubted.
    pub(super) doubted: Option<Instant>,
}

/// A key that was written, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    key: Key,
    entry: Entry,
    /// Why it cannot be read, or only in part.
    reason: Option<Box<str>>,
}

impl Put {
    pub(super) fn read(decoder: &Decoder, kv: KeyValue) -> Put {
        let (instances, reason) = match decoder.decode(&kv) {
            Decoded::Instances(instances) => (instances, None),
            Decoded::Flawed(instances, reason) => (instances, Some(reason)),
            Decoded::NotAnInstance(_) => (Vec::new(), None),
            Decoded::Unreadable(reason) => (Vec::new(), Some(reason)),
        };
        let instances = instances.into_iter().map(Arc::new).collect();
        let entry = Entry { revision: kv.mod_revision, lease: kv.lease, instances, doubted: None };
        Put { key: kv.key.into(), entry, reason: reason.map(|reason| clip(&reason).into()) }
    }
}

/// The time after a disturbance in which a mass disappearance is doubted.
struct Window {
    until: Instant,
    vanished: HashMap<Key, Entry>,
}

/// The keys of one prefix.
pub(super) struct Keys {
    decoder: Decoder,
    entries: HashMap<Key, Entry>,
    /// The keys of each service.
    services: HashMap<String, BTreeSet<Key>>,
    unreadable: BTreeMap<Key, Box<str>>,
    /// `unreadable` as readers see it, until it changes.
    shown: Option<Arc<[Unreadable]>>,
    /// Everything up to this revision was in the last list.
    floor: i64,
    revision: i64,
    listed: bool,
    /// When keys left, since the last list, so that an older put that comes late does not bring them back.
    gone: HashMap<Vec<u8>, i64>,
    window: Option<Window>,
    instances: usize,
    doubted: usize,
}

impl Keys {
    pub(super) fn new(decoder: Decoder) -> Self {
        Keys {
            decoder,
            entries: HashMap::new(),
            services: HashMap::new(),
            unreadable: BTreeMap::new(),
            shown: None,
            floor: 0,
            revision: 0,
            listed: false,
            gone: HashMap::new(),
            window: None,
            instances: 0,
            doubted: 0,
        }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// Instances, the doubted ones included.
    pub(super) fn instances(&self) -> usize {
        self.instances
    }

    pub(super) fn doubted(&self) -> usize {
        self.doubted
    }

    /// Keys that cannot be read, with the reasons.
    pub(super) fn unreadable(&mut self) -> Arc<[Unreadable]> {
        let shown = self
            .unreadable
            .iter()
            .map(|(key, reason)| Unreadable { key: clip(&String::from_utf8_lossy(key)), reason: reason.to_string() });
        self.shown.get_or_insert_with(|| shown.collect()).clone()
    }

    /// What is registered for a service.
    pub(super) fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a Entry, &'a Arc<Instance>)> {
        let keys = self.services.get(service).into_iter().flatten();
        keys.filter_map(|key| self.entries.get(key)).flat_map(move |entry| {
            entry
                .instances
                .iter()
                .filter(move |instance| instance.service == service)
                .map(move |instance| (entry, instance))
        })
    }

    /// The names of all services that have a key here.
    pub(super) fn services(&self) -> impl Iterator<Item = &String> {
        self.services.keys()
    }

    /// Takes a watcher's message. `window` is how long disappearances are doubted after a disturbance.
    pub(super) fn apply(&mut self, update: Update, now: Instant, window: Duration, dirty: &mut Dirty) {
        self.close_window(now);
        if update.unsettled && !window.is_zero() {
            let until = now + window;
            match &mut self.window {
                Some(open) => open.until = until,
                None => self.window = Some(Window { until, vanished: HashMap::new() }),
            }
        }
        match update.change {
            Some(Change::Reset { revision, all }) => self.reset(revision, all, now, window, dirty),
            Some(Change::Delta { revision, set, gone }) => {
                self.revision = revision.max(self.revision);
                // A key that left and came back within one response is in both; its revisions tell what is true.
                for Gone { key, revision } in gone {
                    self.leave(&key, revision, dirty);
                }
                for kv in set {
                    self.put(kv, dirty);
                }
            }
            None => return,
        }
        self.judge(now, dirty);
    }

    fn reset(&mut self, revision: i64, all: Vec<Put>, now: Instant, window: Duration, dirty: &mut Dirty) {
        // A list that lacks what the watch never said had left is a disturbance by itself.
        if self.listed && self.window.is_none() && !window.is_zero() {
            self.window = Some(Window { until: now, vanished: HashMap::new() });
        }
        (self.floor, self.revision, self.listed) = (revision, revision, true);
        self.gone.clear();
        let mut missing: HashSet<Key> = self.entries.keys().cloned().collect();
        self.entries.reserve(all.len().saturating_sub(self.entries.len()));
        for put in all {
            missing.remove(&put.key);
            self.set(put, dirty);
        }
        for key in missing {
            self.vanish(&key, dirty);
        }
    }

    fn put(&mut self, kv: KeyValue, dirty: &mut Dirty) {
        if !self.is_old(&kv.key, kv.mod_revision) {
            self.gone.remove(&kv.key);
            self.set(Put::read(&self.decoder, kv), dirty);
        }
    }

    fn leave(&mut self, key: &[u8], revision: i64, dirty: &mut Dirty) {
        if !self.is_old(key, revision) {
            self.gone.insert(key.to_vec(), revision);
            self.vanish(key, dirty);
        }
    }

    /// Whether it is known already what happened to a key at that revision. A member that catches up may tell it again.
    fn is_old(&self, key: &[u8], revision: i64) -> bool {
        // A doubted key is not in etcd; its revision may be that of a store that is lost.
        let living = self.entries.get(key).filter(|entry| entry.doubted.is_none());
        let seen = living.map(|entry| entry.revision).max(self.gone.get(key).copied());
        revision <= seen.unwrap_or(0).max(self.floor)
    }

    fn set(&mut self, Put { key, entry, reason }: Put, dirty: &mut Dirty) {
        self.complain(&key, reason);
        if let Some(window) = &mut self.window {
            window.vanished.remove(&key);
        }
        self.replace(&key, Some(entry), dirty);
    }

    /// A key is no longer in etcd. It may already be gone here, or doubted.
    fn vanish(&mut self, key: &[u8], dirty: &mut Dirty) {
        let key: Key = key.into();
        self.complain(&key, None);
        let Some(entry) = self.entries.get(&key) else { return };
        if entry.doubted.is_some() {
            return;
        }
        let entry = entry.clone();
        self.replace(&key, None, dirty);
        if let Some(window) = &mut self.window
            && !entry.instances.is_empty()
        {
            window.vanished.insert(key, entry);
        }
    }

    /// Notes why a key cannot be read, or that it can, or is gone.
    fn complain(&mut self, key: &Key, reason: Option<Box<str>>) {
        if self.unreadable.get(key) != reason.as_ref() {
            match reason {
                Some(reason) => self.unreadable.insert(key.clone(), reason),
                None => self.unreadable.remove(key),
            };
            self.shown = None;
        }
    }

    /// Puts back what vanished, if it is too much to be believed.
    fn judge(&mut self, now: Instant, dirty: &mut Dirty) {
        let Some(window) = &mut self.window else { return };
        let vanished: usize = window.vanished.values().map(|entry| entry.instances.len()).sum();
        let lost = vanished + self.doubted;
        let all = self.instances + vanished;
        if vanished > 0 && lost * 2 > all {
            for (key, entry) in std::mem::take(&mut window.vanished) {
                self.replace(&key, Some(Entry { doubted: Some(now), ..entry }), dirty);
            }
        }
        self.close_window(now);
    }

    /// Lets doubted instances go: those that `is_dead`, and all after `limit`.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        limit: Duration,
        is_dead: impl Fn(&Instance) -> bool,
        dirty: &mut Dirty,
    ) {
        self.close_window(now);
        if self.doubted == 0 {
            return;
        }
        let doubted = self.entries.iter().filter_map(|(key, entry)| Some((key, entry, entry.doubted?)));
        let left = doubted.filter_map(|(key, entry, since)| {
            let over = now.saturating_duration_since(since) >= limit;
            let alive = |instance: &&Arc<Instance>| !over && !is_dead(instance);
            let instances: Box<[_]> = entry.instances.iter().filter(alive).cloned().collect();
            let rest = (!instances.is_empty()).then(|| Entry { instances: instances.clone(), ..entry.clone() });
            (instances.len() < entry.instances.len()).then(|| (key.clone(), rest))
        });
        for (key, rest) in left.collect::<Vec<_>>() {
            self.replace(&key, rest, dirty);
        }
    }

    fn close_window(&mut self, now: Instant) {
        if self.window.as_ref().is_some_and(|window| window.until <= now) {
            self.window = None;
        }
    }

    /// The one place where entries change. Notes the services that may look different for it: equal instances written
    /// anew don't.
    fn replace(&mut self, key: &Key, entry: Option<Entry>, dirty: &mut Dirty) {
        let looks = |entry: &Entry| (entry.lease, entry.doubted.is_some());
        if let (Some(old), Some(new)) = (self.entries.get_mut(key), &entry)
            && looks(old) == looks(new)
            && old.instances == new.instances
        {
            old.revision = new.revision;
            return;
        }
        if let Some(old) = self.entries.remove(key) {
            self.instances -= old.instances.len();
            self.doubted -= old.doubted.map_or(0, |_| old.instances.len());
            for instance in &old.instances {
                dirty.insert(instance.service.clone());
                if let Some(keys) = self.services.get_mut(&instance.service) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.services.remove(&instance.service);
                    }
                }
            }
        }
        if let Some(new) = entry {
            self.instances += new.instances.len();
            self.doubted += new.doubted.map_or(0, |_| new.instances.len());
            for instance in &new.instances {
                dirty.insert(instance.service.clone());
                self.services.entry(instance.service.clone()).or_default().insert(key.clone());
            }
            self.entries.insert(key.clone(), new);
        }
    }
}

/// The start of a text that somebody else wrote: enough to recognise it.
fn clip(text: &str) -> String {
    const LONGEST: usize = 256;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
