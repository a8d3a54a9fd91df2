//! The watches of one stream: which events each of them is owed. No I/O: the stream asks, and sends what it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader, PbWatchResponse};

use super::store::{Change, Commit, Keys, Store};

/// Revisions in one response at the most, when a watch has to catch up.
const BATCH: usize = 1_000;
/// The bytes of keys and values from which on no further revision is put into the same response: clients take 4 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// The size from which on a response is sent in fragments to those who asked for it: etcd's limit for a request.
const FRAGMENT: usize = 3 << 19;
/// The id of answers that are for no single watch.
const NO_WATCH: i64 = -1;

/// What a client asks for. (The message itself has no name outside of the client crate.)
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) id: i64,
    pub(super) key: Vec<u8>,
    pub(super) range_end: Vec<u8>,
    pub(super) start_revision: i64,
    pub(super) puts: bool,
    pub(super) deletes: bool,
    pub(super) previous: bool,
    pub(super) progress: bool,
    pub(super) fragments: bool,
}

#[derive(Debug)]
struct Watcher {
    keys: Keys,
    /// The first revision that it has not been told of.
    next: i64,
    ask: Ask,
    /// It asks for what was compacted before it began, and will be told so.
    too_late: bool,
    /// It was told nothing since the last notice of progress was due.
    quiet: bool,
}

#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_id: BTreeMap<i64, Watcher>,
    next_id: i64,
}

/// What of the store a stream needs to go on. Taken at one moment, so that the store is not held while it is sent.
#[derive(Debug)]
pub(super) struct View {
    header: PbResponseHeader,
    compacted: i64,
    /// The last revision that can no longer be replayed.
    forgotten: i64,
    commits: Vec<Arc<Commit>>,
}

impl Watchers {
    /// Begins a watch; gives back what the client is told.
    pub(super) fn create(&mut self, mut ask: Ask, store: &Store) -> PbWatchResponse {
        if ask.key.is_empty() {
            ask.key = vec![0];
        }
        let keys = Keys::new(&ask.key, &ask.range_end);
        let refused = if keys.is_empty() {
            Some("mvcc: watcher range is empty")
        } else if ask.start_revision < 0 {
            Some("etcdserver: mvcc: required revision has been compacted")
        } else if ask.id != 0 && self.by_id.contains_key(&ask.id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else {
            None
        };
        let header = Some(store.header());
        if let Some(reason) = refused {
            return PbWatchResponse {
                header,
                watch_id: NO_WATCH,
                created: true,
                canceled: true,
                cancel_reason: reason.to_owned(),
                ..PbWatchResponse::default()
            };
        }
        let id = if ask.id == 0 { self.free_id() } else { ask.id };
        let next = if ask.start_revision == 0 { store.revision() + 1 } else { ask.start_revision };
        let too_late = next < store.compacted();
        self.by_id.insert(id, Watcher { keys, next, ask, too_late, quiet: false });
        PbWatchResponse { header, watch_id: id, created: true, ..PbWatchResponse::default() }
    }

    fn free_id(&mut self) -> i64 {
        while self.by_id.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Ends a watch; nothing is said of one that there is not.
    pub(super) fn cancel(&mut self, id: i64, store: &Store) -> Option<PbWatchResponse> {
        self.by_id.remove(&id)?;
        let header = Some(store.header());
        Some(PbWatchResponse { header, watch_id: id, canceled: true, ..PbWatchResponse::default() })
    }

    /// What is needed to tell the watches more; none if they know everything.
    pub(super) fn view(&self, store: &Store) -> Option<View> {
        let from = self.by_id.values().map(|watcher| watcher.next).min()?;
        if from > store.revision() {
            return None;
        }
        let mut bytes = 0;
        let room = |commit: &&Arc<Commit>| {
            let before = bytes;
            bytes += commit.bytes();
            before < BATCH_BYTES
        };
        let commits = store.history.since(from, BATCH).take_while(room).cloned().collect();
        let (compacted, forgotten) = (store.compacted(), store.history.forgotten());
        Some(View { header: store.header(), compacted, forgotten, commits })
    }

    /// The responses that this view owes to the watches, which then know it.
    pub(super) fn tell(&mut self, view: &View) -> Vec<PbWatchResponse> {
        let mut responses = Vec::new();
        self.by_id.retain(|&id, watcher| {
            let header = Some(view.header);
            if watcher.too_late || watcher.next <= view.forgotten {
                responses.push(PbWatchResponse {
                    header,
                    watch_id: id,
                    canceled: true,
                    compact_revision: view.compacted,
                    ..PbWatchResponse::default()
                });
                return false;
            }
            let events = watcher.events(view);
            // Watches that begin in the future know the past as well as they want to.
            let told = view.commits.last().map_or(view.header.revision, |commit| commit.revision);
            watcher.next = watcher.next.max(told + 1);
            if !events.is_empty() {
                watcher.quiet = false;
                let response = PbWatchResponse { header, watch_id: id, events, ..PbWatchResponse::default() };
                if watcher.ask.fragments { split(response, &mut responses) } else { responses.push(response) }
            }
            true
        });
        responses
    }

    /// The answer to a request for progress: all watches know everything up to this revision.
    pub(super) fn progress(store: &Store) -> PbWatchResponse {
        PbWatchResponse { header: Some(store.header()), watch_id: NO_WATCH, ..PbWatchResponse::default() }
    }

    /// The notices for watches that want them and were told nothing since the last time.
    pub(super) fn notices(&mut self, store: &Store) -> Vec<PbWatchResponse> {
        let wants = self.by_id.iter_mut().filter(|(_, watcher)| watcher.ask.progress);
        let notice = |(&id, watcher): (&i64, &mut Watcher)| {
            let quiet = std::mem::replace(&mut watcher.quiet, true);
            let header = Some(store.header());
            (quiet && watcher.next > store.revision()).then(|| PbWatchResponse {
                header,
                watch_id: id,
                ..PbWatchResponse::default()
            })
        };
        wants.filter_map(notice).collect()
    }
}

impl Watcher {
    fn events(&self, view: &View) -> Vec<PbEvent> {
        let commits = view.commits.iter().filter(|commit| commit.revision >= self.next);
        let changes = commits.flat_map(|commit| &commit.changes);
        let wanted = changes.filter(|change| {
            let kind = if change.deleted { self.ask.deletes } else { self.ask.puts };
            kind && self.keys.contains(&change.now.key)
        });
        let event = |change: &Change| {
            // What was before the compacted revision is not known any more.
            let known = self.ask.previous && change.now.mod_revision > view.compacted;
            PbEvent {
                r#type: i32::from(change.deleted),
                kv: Some(PbKeyValue::clone(&change.now)),
                prev_kv: change.before.as_deref().filter(|_| known).cloned(),
            }
        };
        wanted.map(event).collect()
    }
}

/// Splits a large response; all parts but the last say that there is more.
fn split(whole: PbWatchResponse, parts: &mut Vec<PbWatchResponse>) {
    let mut events = whole.events;
    let empty = PbWatchResponse { events: Vec::new(), ..whole };
    let mut part: Vec<PbEvent> = Vec::new();
    let mut size = 0;
    for event in events.drain(..) {
        let more = event.kv.iter().chain(&event.prev_kv).map(|kv| kv.key.len() + kv.value.len() + 64).sum::<usize>();
        if !part.is_empty() && size + more >= FRAGMENT {
            parts.push(PbWatchResponse { events: std::mem::take(&mut part), fragment: true, ..empty.clone() });
            size = 0;
        }
        size += more;
        part.push(event);
    }
    parts.push(PbWatchResponse { events: part, ..empty });
}

#[cfg(test)]
mod tests;
