//! What happened last, beside what health says of itself: who came and left, which lock changed hands, what somebody
//! ordered here. A bounded number of events; the oldest are forgotten.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::table::{Endpoints, Table};

/// Events that are kept, and what operators did, which no crowd of other events may push out.
const EVENTS: usize = 1_000;
const ACTIONS: usize = 200;
/// Of one service, so many comers and goers at a time are named; more are counted.
const NAMED: usize = 10;
/// Changes of the table are gathered for so long.
const GATHER: Duration = Duration::from_millis(50);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Registry,
    Lock,
    Action,
    /// An action that was not done.
    Refused,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: SystemTime,
    pub(super) kind: Kind,
    /// The service, the lock, the lease.
    pub(super) subject: String,
    pub(super) text: String,
}

/// What happened last.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Entry>,
    actions: VecDeque<Entry>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, kind: Kind, subject: &str, text: String) {
        let mut kept = self.lock();
        let (ring, most) = match kind {
            Kind::Action | Kind::Refused => (&mut kept.actions, ACTIONS),
            Kind::Registry | Kind::Lock => (&mut kept.events, EVENTS),
        };
        if ring.len() == most {
            ring.pop_front();
        }
        ring.push_back(Entry { at: SystemTime::now(), kind, subject: subject.to_owned(), text });
    }

    /// The newest last.
    pub(super) fn events(&self) -> Vec<Entry> {
        let kept = self.lock();
        let mut events: Vec<_> = kept.events.iter().chain(&kept.actions).cloned().collect();
        events.sort_by_key(|entry| entry.at);
        events
    }

    /// Writes down who comes and leaves, for ever. Who is there at first did not come.
    pub(super) async fn follow(self: Arc<Self>, table: Table) {
        let mut changes = table.subscribe();
        let mut seen: HashMap<Arc<str>, Arc<Endpoints>> = HashMap::new();
        let mut was_ready = false;
        while changes.changed().await.is_ok() {
            tokio::time::sleep(GATHER).await;
            changes.mark_unchanged();
            for (name, slot) in table.slots().iter() {
                let now = slot.endpoints();
                let before = seen.insert(name.clone(), now.clone()).unwrap_or_default();
                if was_ready && !Arc::ptr_eq(&before, &now) {
                    differences(&before, &now).into_iter().for_each(|text| self.add(Kind::Registry, name, text));
                }
            }
            was_ready |= table.ready();
        }
    }
}

/// Who came, who left, and whose weight changed, in words.
fn differences(before: &Endpoints, now: &Endpoints) -> Vec<String> {
    let labels = |endpoints: &Endpoints| endpoints.iter().map(|e| e.label.clone()).collect::<HashSet<_>>();
    let (was, is) = (labels(before), labels(now));
    let mut told = Vec::new();
    for (what, some) in [("came", is.difference(&was)), ("left", was.difference(&is))] {
        let mut some: Vec<_> = some.collect();
        some.sort();
        told.extend(some.iter().take(NAMED).map(|label| format!("{label} {what}")));
        if some.len() > NAMED {
            told.push(format!("{} more {what}", some.len() - NAMED));
        }
    }
    let changed = now.iter().filter_map(|e| before.get(e.id).map(|old| (old, e)));
    let weights = changed.filter(|(old, e)| old.instance.weight != e.instance.weight);
    told.extend(weights.take(NAMED).map(|(old, e)| {
        format!("{} registered the weight {} instead of {}", e.label, e.instance.weight, old.instance.weight)
    }));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::endpoints;

    #[test]
    fn comers_goers_and_weights_are_told() {
        assert_eq!(differences(&endpoints("a", &[1]), &endpoints("a", &[1, 1])), ["10.0.0.2:80 came"]);
        assert_eq!(differences(&endpoints("a", &[1]), &Endpoints::default()), ["10.0.0.1:80 left"]);
        let weight = "10.0.0.1:80 registered the weight 4 instead of 1";
        assert_eq!(differences(&endpoints("a", &[1]), &endpoints("a", &[4])), [weight]);
        let many = differences(&Endpoints::default(), &endpoints("a", &[1; 30]));
        assert_eq!((many.len(), &*many[10]), (11, "20 more came"));
    }

    #[test]
    fn what_operators_did_is_pushed_out_by_their_own_only() {
        let log = Log::default();
        (0..201).for_each(|n| log.add(Kind::Action, "a", n.to_string()));
        log.add(Kind::Refused, "a", "refused".to_owned());
        (0..1_005).for_each(|_| log.add(Kind::Registry, "a", "came".to_owned()));
        let events = log.events();
        assert_eq!((events.len(), &*events[0].text, &*events[199].text), (1_200, "2", "refused"));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let log = Log::default();
        (0..1_005).for_each(|n| log.add(Kind::Lock, "a", n.to_string()));
        let events = log.events();
        assert_eq!((events.len(), &*events[0].text, &*events[999].text), (1_000, "5", "1004"));
    }
}
