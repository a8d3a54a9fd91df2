//! Follows the prefixes below which locks and elections stand. What is kept is what etcd says, so that a holder whose
//! lease has ended is gone here although it may still believe that it holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::InForce;
use crate::etcd::{Client, Error, Event, KeyValue, Listing, Response};
use crate::registry::clip;
use crate::registry::queue::{self, Queue};

/// Keys that are kept of a prefix; more are passed over, and that is said.
const KEYS: usize = 10_000;
/// From one attempt to follow a prefix to the next.
const AGAIN: Duration = Duration::from_secs(2);
/// How often etcd is asked for a sign of life, and how long may pass without one.
const ASK: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(15);

/// What is known below the prefixes.
#[derive(Debug)]
pub(super) struct Locks {
    known: Mutex<BTreeMap<String, Prefix>>,
    changed: watch::Sender<u64>,
}

/// One prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Prefix {
    keys: BTreeMap<Vec<u8>, Kept>,
    revision: i64,
    pub(super) listed: bool,
    /// Keys that were passed over.
    pub(super) beyond: usize,
    /// Why it cannot be followed now.
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone)]
struct Kept {
    kv: KeyValue,
    seen: Instant,
    /// It came while it was watched, so that its age is known.
    exact: bool,
    /// Since when it is at the head of its queue.
    held: Option<Since>,
}

/// Since when a key holds, or else is there: the time, and whether it is known or it is at least so long.
pub(super) type Since = (Instant, bool);

/// A queue changed hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HandOver {
    pub(super) name: String,
    pub(super) text: String,
}

impl Prefix {
    fn list(&mut self, Listing { header, keys }: Listing, now: Instant) {
        let old = std::mem::take(&mut self.keys);
        self.beyond = keys.len().saturating_sub(KEYS);
        for kv in keys.into_iter().take(KEYS) {
            let before = old.get(&kv.key).filter(|kept| kept.kv.create_revision == kv.create_revision);
            let (seen, exact, held) = before.map_or((now, false, None), |kept| (kept.seen, kept.exact, kept.held));
            self.keys.insert(kv.key.clone(), Kept { kv, seen, exact, held });
        }
        (self.revision, self.listed) = (header.revision, true);
        // Whose predecessor left while nobody watched holds for longer than is known.
        let queues = self.queues();
        self.note_holders(&queues, now, false);
    }

    /// Gives what the queues are then.
    fn take(&mut self, response: Response, now: Instant) -> Vec<Queue> {
        for event in response.events {
            if event.revision() <= self.revision {
                continue;
            }
            match event {
                Event::Put(kv) => {
                    let is_new = kv.create_revision == kv.mod_revision;
                    if let Some(kept) = self.keys.get_mut(&kv.key).filter(|_| !is_new) {
                        kept.kv = kv;
                    } else if self.keys.len() < KEYS {
                        self.keys.insert(kv.key.clone(), Kept { kv, seen: now, exact: is_new, held: None });
                    } else {
                        self.beyond += 1;
                    }
                }
                Event::Delete { key, .. } => drop(self.keys.remove(&key)),
            }
        }
        self.revision = self.revision.max(response.header.revision);
        let queues = self.queues();
        self.note_holders(&queues, now, true);
        queues
    }

    /// Notes since when those hold who did not before. Of a blocked queue nobody does.
    fn note_holders(&mut self, queues: &[Queue], now: Instant, is_watched: bool) {
        let heads = queues.iter().filter(|queue| queue.blocked_by.is_none()).filter_map(|q| q.contenders.first());
        for head in heads {
            if let Some(kept) = self.keys.get_mut(&head.key) {
                let exact = is_watched && (kept.exact || kept.seen < now);
                kept.held.get_or_insert((now, exact));
            }
        }
    }

    /// Why it is not known now what is held there; none if it is.
    pub(super) fn unread(&self) -> Option<String> {
        let never = || (!self.listed).then(|| "it has not been read yet".to_owned());
        self.error.clone().or_else(never)
    }

    fn queues(&self) -> Vec<Queue> {
        queue::queues(self.keys.values().map(|kept| &kept.kv))
    }
}

impl Locks {
    pub(super) fn new(prefixes: &[String]) -> Self {
        let known = prefixes.iter().map(|prefix| (prefix.clone(), Prefix::default())).collect();
        Locks { known: Mutex::new(known), changed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Prefix>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whenever anything changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The prefixes with what is wrong with them.
    pub(super) fn prefixes(&self) -> Vec<(String, Prefix)> {
        let state = |(name, prefix): (&String, &Prefix)| {
            let Prefix { listed, beyond, error, revision, .. } = prefix;
            let (error, keys) = (error.clone(), BTreeMap::new());
            (name.clone(), Prefix { keys, listed: *listed, beyond: *beyond, error, revision: *revision })
        };
        self.lock().iter().map(state).collect()
    }

    /// The prefixes of which it is not known now what is held there, and why.
    pub(super) fn unread(&self) -> Vec<(String, String)> {
        let known = self.lock();
        let unread = known.iter().filter_map(|(name, prefix)| Some((name.clone(), prefix.unread()?)));
        unread.collect()
    }

    /// All queues, and since when each key holds, or else is there.
    pub(super) fn queues(&self) -> (Vec<Queue>, BTreeMap<Vec<u8>, Since>) {
        let known = self.lock();
        let queues = known.values().flat_map(Prefix::queues).collect();
        let keys = known.values().flat_map(|prefix| prefix.keys.iter());
        (queues, keys.map(|(key, kept)| (key.clone(), kept.held.unwrap_or((kept.seen, kept.exact)))).collect())
    }

    /// Follows one prefix for ever, and tells who took what over.
    pub(super) async fn follow(
        self: Arc<Self>,
        prefix: String,
        in_force: watch::Receiver<Arc<InForce>>,
        tell: impl Fn(HandOver) + Send,
    ) {
        loop {
            let client = in_force.borrow().locks.clone();
            let Some(client) = client else { return };
            if let Err(error) = self.watch(&client, &prefix, &tell).await {
                tracing::debug!(prefix, %error, "locks cannot be followed");
                self.change(&prefix, |known| known.error = Some(error.to_string()));
            }
            sleep(AGAIN).await;
        }
    }

    async fn watch(&self, client: &Client, prefix: &str, tell: &(impl Fn(HandOver) + Send)) -> Result<(), Error> {
        let listing = client.list(prefix.as_bytes()).await?;
        let from = listing.header.revision;
        self.change(prefix, |known| {
            known.list(listing, Instant::now());
            known.error = None;
        });
        // From the revision that is known, which some servers need to give a sign of life.
        let mut watch = client.watch(prefix.as_bytes(), from).await?;
        let mut ask = interval_at(Instant::now() + ASK, ASK);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                response = timeout(SILENCE, watch.next()) => match response {
                    Ok(response) => {
                        heard = Instant::now();
                        self.take(prefix, response?, tell);
                    }
                    Err(_) => break,
                },
                _ = ask.tick() => {
                    if heard.elapsed() > SILENCE {
                        break;
                    }
                    watch.request_progress().await?;
                }
            }
        }
        watch.leave();
        Ok(())
    }

    fn take(&self, prefix: &str, response: Response, tell: &impl Fn(HandOver)) {
        if response.events.is_empty() {
            return;
        }
        let mut told = Vec::new();
        self.change(prefix, |known| {
            let before = known.queues();
            let after = known.take(response, Instant::now());
            told = hand_overs(&before, &after);
        });
        told.into_iter().for_each(tell);
    }

    fn change(&self, prefix: &str, change: impl FnOnce(&mut Prefix)) {
        change(self.lock().entry(prefix.to_owned()).or_default());
        self.changed.send_modify(|n| *n += 1);
    }
}

/// What of the queues before and after is worth telling.
fn hand_overs(before: &[Queue], after: &[Queue]) -> Vec<HandOver> {
    let holder = |queues: &[Queue], name: &str| {
        let queue = queues.iter().find(|queue| queue.name == name)?;
        let first = queue.contenders.first()?;
        let name = first.name().or_else(|| queue.proposal(first));
        Some((first.token, name.map(|name| clip(&name))))
    };
    let named = |word: &str, name: Option<String>| name.map(|name| format!(" {word} {name}")).unwrap_or_default();
    let mut told = Vec::new();
    for queue in after {
        let Some((is, to)) = holder(after, &queue.name) else { continue };
        let text = match holder(before, &queue.name) {
            None => format!("taken{}, with the fencing token {is}", named("by", to)),
            Some((was, from)) if was != is => {
                let (from, to) = (named("from", from), named("to", to));
                format!("handed over{from}{to}: the fencing token was {was} and is {is}")
            }
            Some(_) => continue,
        };
        told.push(HandOver { name: queue.name.clone(), text });
    }
    let gone = before.iter().filter(|queue| holder(after, &queue.name).is_none());
    told.extend(gone.map(|queue| HandOver { name: queue.name.clone(), text: "released, and nobody waits".to_owned() }));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::Header;

    fn kv(lease: i64, created: i64, revision: i64) -> KeyValue {
        let key = format!("/locks/a/{lease:x}").into_bytes();
        KeyValue { key, value: Vec::new(), lease, mod_revision: revision, create_revision: created }
    }

    fn response(revision: i64, events: Vec<Event>) -> Response {
        Response { header: Header { revision, ..Header::default() }, requested: false, events }
    }

    #[test]
    fn ages_are_exact_only_for_what_came_while_it_was_watched() {
        let (start, mut prefix) = (Instant::now(), Prefix::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let listing = |keys| Listing { header: Header { revision: 5, ..Header::default() }, keys };
        prefix.list(listing(vec![kv(1, 3, 3)]), at(0));
        drop(prefix.take(response(6, vec![Event::Put(kv(1, 3, 3)), Event::Put(kv(2, 6, 6))]), at(10)));
        let since = |prefix: &Prefix, lease| {
            let kept = &prefix.keys[&kv(lease, 0, 0).key];
            (kept.seen, kept.exact)
        };
        assert_eq!((since(&prefix, 1), since(&prefix, 2)), ((at(0), false), (at(10), true)));
        // A new list keeps what is known of keys that stayed.
        prefix.list(listing(vec![kv(1, 3, 3), kv(2, 6, 6), kv(3, 7, 7)]), at(20));
        assert_eq!((since(&prefix, 2), since(&prefix, 3)), ((at(10), true), (at(20), false)));
    }

    #[test]
    fn a_holder_holds_since_its_predecessor_left() {
        let (start, mut prefix) = (Instant::now(), Prefix::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let listing = |keys| Listing { header: Header { revision: 5, ..Header::default() }, keys };
        let delete = |lease, revision| Event::Delete { key: kv(lease, 0, 0).key, mod_revision: revision };
        let held = |prefix: &Prefix, lease| prefix.keys[&kv(lease, 0, 0).key].held;
        prefix.list(listing(vec![kv(1, 3, 3), kv(2, 4, 4)]), at(0));
        assert_eq!((held(&prefix, 1), held(&prefix, 2)), (Some((at(0), false)), None));
        drop(prefix.take(response(6, vec![Event::Put(kv(3, 6, 6))]), at(10)));
        drop(prefix.take(response(7, vec![delete(1, 7)]), at(20)));
        assert_eq!((held(&prefix, 2), held(&prefix, 3)), (Some((at(20), true)), None));
        // It left while nobody watched: the next holds for at least as long as that is known.
        prefix.list(listing(vec![kv(3, 6, 6)]), at(30));
        assert_eq!(held(&prefix, 3), Some((at(30), false)));
    }

    #[test]
    fn hand_overs_are_told() {
        let mut prefix = Prefix::default();
        let mut step = |events| {
            let before = prefix.queues();
            let after = prefix.take(response(0, events), Instant::now());
            hand_overs(&before, &after).into_iter().map(|told| told.text).collect::<Vec<_>>()
        };
        let delete = |lease, revision| Event::Delete { key: kv(lease, 0, 0).key, mod_revision: revision };
        assert_eq!(step(vec![Event::Put(kv(1, 3, 3))]), ["taken, with the fencing token 3"]);
        assert_eq!(step(vec![Event::Put(kv(2, 4, 4))]), [""; 0]);
        assert_eq!(step(vec![delete(1, 5)]), ["handed over: the fencing token was 3 and is 4"]);
        assert_eq!(step(vec![delete(2, 6)]), ["released, and nobody waits"]);
        let named = |lease, name: &str| KeyValue { value: name.into(), ..kv(lease, lease + 10, lease + 10) };
        assert_eq!(
            step(vec![
                Event::Put(named(3, "{\"holder\":\"worker-1\"}")),
                Event::Put(named(4, "{\"holder\":\"worker-2\"}"))
            ]),
            ["taken by worker-1, with the fencing token 13"]
        );
        let told = ["handed over from worker-1 to worker-2: the fencing token was 13 and is 14"];
        assert_eq!(step(vec![delete(3, 20)]), told);
    }
}
