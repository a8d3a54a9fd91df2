//! What is known of orders: as they stand in etcd, and as they were given here. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use super::written::Written;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct State {
    /// As they stand in etcd.
    pub(super) known: HashMap<Vec<u8>, Standing>,
    /// Given here and not shared, by key.
    pub(super) waiting: BTreeMap<String, Waiting>,
    /// How many were given here, below 0.
    given: i64,
}

/// An order in etcd.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) revision: i64,
    /// The order, or why it cannot be followed.
    pub(super) read: Result<Written, String>,
}

/// An order to be shared, or that one is taken back.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// What it has until it has a revision; below 0, so that it is none.
    pub(super) id: i64,
    pub(super) written: Option<Written>,
    /// The revision of the order that it takes the place of in etcd; 0: there was none.
    pub(super) place_of: i64,
    pub(super) stage: Stage,
}

/// How far the sharing of an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being shared for the first time.
    First,
    /// Etcd was away, and it is shared later.
    Later,
    /// It could not be shared, and holds here only.
    Here,
}

impl Waiting {
    /// Its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.written.as_ref().is_some_and(|written| written.left(SystemTime::now()).is_zero())
    }

    /// What becomes of it if it cannot be shared.
    pub(super) fn alone(&self) -> Option<Stage> {
        self.written.as_ref().map(|_| Stage::Here)
    }
}

impl State {
    /// The order that stands here, and what tells it from others: its revision, or what it has until it is shared.
    pub(super) fn standing(&self, key: &str) -> (i64, Option<&Written>) {
        if let Some(waiting) = self.waiting.get(key).filter(|waiting| !waiting.is_over()) {
            return (waiting.id, waiting.written.as_ref());
        }
        let known = self.known.get(key.as_bytes());
        known.map_or((0, None), |standing| (standing.revision, standing.read.as_ref().ok()))
    }

    /// Puts something in the place of what stands here; none if that is not what was seen.
    pub(super) fn begin(&mut self, key: &str, written: Option<Written>, seen: i64) -> Option<Waiting> {
        if self.standing(key).0 != seen {
            return None;
        }
        // What was not shared is not in etcd: there this takes the place of what that was to take the place of.
        let place_of = self.waiting.get(key).filter(|waiting| waiting.id == seen).map_or(seen, |w| w.place_of);
        self.given -= 1;
        let waiting = Waiting { id: self.given, written, place_of, stage: Stage::First };
        self.waiting.insert(key.to_owned(), waiting.clone());
        Some(waiting)
    }

    /// What becomes of something that was given here, unless something else was since; none: it is let go of.
    pub(super) fn settle(&mut self, key: &str, of: &Waiting, stage: Option<Stage>) {
        let Some(waiting) = self.waiting.get_mut(key).filter(|waiting| waiting.id == of.id) else { return };
        match stage {
            Some(stage) => waiting.stage = stage,
            None => drop(self.waiting.remove(key)),
        }
    }

    /// What is to be shared later.
    pub(super) fn later(&self) -> Vec<(String, Waiting)> {
        let later = self.waiting.iter().filter(|(_, waiting)| waiting.stage == Stage::Later);
        later.map(|(key, waiting)| (key.clone(), waiting.clone())).collect()
    }

    /// Notes what we have just done, which the watch says too, if it did not say something newer already.
    pub(super) fn stands(&mut self, key: Vec<u8>, revision: i64, written: Option<Written>) {
        if self.known.get(&key).is_some_and(|standing| standing.revision > revision && revision > 0) {
            return;
        }
        match written {
            Some(written) => drop(self.known.insert(key, Standing { revision, read: Ok(written) })),
            None => drop(self.known.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_takes_the_place_of_what_stands_here_and_of_nothing_else() {
        let (mut state, key) = (State::default(), "/waypost/orders/a/b");
        state.known.insert(key.into(), Standing { revision: 7, read: Err("broken".to_owned()) });
        assert!(state.begin(key, None, 0).is_none());
        let first = state.begin(key, None, 7).unwrap();
        assert_eq!((first.place_of, state.standing(key).0), (7, first.id));
        assert!(state.begin(key, None, 7).is_none(), "another form of the same time");
        // It was never shared, so that in etcd the next takes the place of what stands there.
        let second = state.begin(key, None, first.id).unwrap();
        assert_eq!((second.place_of, second.id == first.id), (7, false));
        state.settle(key, &first, None);
        state.settle(key, &second, Some(Stage::Later));
        assert_eq!((state.later().len(), state.standing(key).0), (1, second.id));
        state.settle(key, &second, None);
        assert_eq!((state.later().len(), state.standing(key).0), (0, 7));
    }
}
