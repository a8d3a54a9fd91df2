//! What happens to instances, one by one.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::unfold;

use super::map;
use crate::registry::{Address, Instance};
use crate::table::Table;

/// Something that happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It has come.
    Joined(Arc<Instance>),
    /// It says something else of itself than before.
    Changed(Arc<Instance>),
    /// It is gone; this is what it last said.
    Left(Arc<Instance>),
}

impl Event {
    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        match self {
            Event::Joined(instance) | Event::Changed(instance) | Event::Left(instance) => instance,
        }
    }
}

type Known = BTreeMap<(String, Address), Arc<Instance>>;

/// A stream of events, which never ends. A reader that is slow misses what was undone meanwhile, but never how it ended.
pub struct Events(Pin<Box<dyn Stream<Item = Event> + Send>>);

impl Events {
    pub(super) fn new(table: Table, prefix: &str) -> Self {
        struct State {
            table: Table,
            prefix: String,
            known: Known,
            waiting: VecDeque<Event>,
        }
        let state = State { table, prefix: prefix.to_owned(), known: Known::new(), waiting: VecDeque::new() };
        let changes = state.table.subscribe();
        let seen = false;
        Events(Box::pin(unfold((state, changes, seen), |(mut state, mut changes, mut seen)| async move {
            loop {
                if let Some(event) = state.waiting.pop_front() {
                    return Some((event, (state, changes, seen)));
                }
                if seen && changes.changed().await.is_err() {
                    return None;
                }
                seen = true;
                changes.borrow_and_update();
                let now = known(&state.table, &state.prefix);
                state.waiting.extend(differences(&state.known, &now));
                state.known = now;
            }
        })))
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.as_mut().poll_next(context)
    }
}

fn known(table: &Table, prefix: &str) -> Known {
    let instances = map(table, prefix).into_values().flatten();
    instances.map(|instance| ((instance.service.clone(), instance.address.clone()), instance)).collect()
}

fn differences(before: &Known, now: &Known) -> Vec<Event> {
    let gone = before.iter().filter(|(key, _)| !now.contains_key(key)).map(|(_, old)| Event::Left(old.clone()));
    let here = now.iter().filter_map(|(key, new)| match before.get(key) {
        None => Some(Event::Joined(new.clone())),
        Some(old) if old != new => Some(Event::Changed(new.clone())),
        Some(_) => None,
    });
    gone.chain(here).collect()
}
