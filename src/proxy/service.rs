//! One worker's view of one service: its endpoints, and a picker for each subset of them that a route asks for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::config;
use super::stats::{ServiceStats, add};
use crate::balance::{Call, NoPick, Picker};
use crate::route::Subset;
use crate::table::{Endpoint, EndpointId, Endpoints, Slot};

/// One worker's view of one service.
pub(super) struct Service {
    pub(super) slot: Arc<Slot>,
    pub(super) settings: config::Service,
    pub(super) stats: Arc<ServiceStats>,
    seed: u64,
    seen: Cell<u64>,
    view: RefCell<View>,
}

struct View {
    all: Choice,
    /// By the subset's place in the router; another router may have another one there.
    subsets: HashMap<usize, (Subset, Choice)>,
}

/// Endpoints as this worker has them: a call counts itself here, and not where all workers would meet.
#[derive(Default)]
struct Snapshot(Arc<Endpoints>);

/// Some endpoints and what picks among them.
struct Choice {
    endpoints: Rc<Snapshot>,
    picker: Box<dyn Picker>,
}

/// An endpoint that was picked; it stays as it was then, whatever becomes of the table.
#[derive(Clone)]
pub(super) struct Picked {
    endpoints: Rc<Snapshot>,
    at: u32,
}

impl Deref for Picked {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoints.0[self.at as usize]
    }
}

/// Why there is nothing to pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// The service has no endpoint.
    Empty,
    /// The subset has none.
    EmptySubset,
    /// Each has been tried.
    AllTried,
}

impl Service {
    pub(super) fn new(slot: Arc<Slot>, settings: config::Service, stats: Arc<ServiceStats>, seed: u64) -> Self {
        let picker = settings.balancer.picker(seed);
        let view = View { all: Choice { endpoints: Rc::default(), picker }, subsets: HashMap::new() };
        let service = Service { slot, settings, stats, seed, seen: Cell::new(0), view: RefCell::new(view) };
        service.refresh();
        service
    }

    /// Takes over what changed since the last time. Gives the endpoints that are no longer there, if anything changed.
    pub(super) fn refresh(&self) -> Vec<EndpointId> {
        let generation = self.slot.generation();
        if self.seen.get() == generation {
            return Vec::new();
        }
        self.seen.set(generation);
        add(&self.stats.rebuilds);
        let endpoints = self.slot.endpoints();
        let mut view = self.view.borrow_mut();
        let gone = view.all.endpoints.0.iter().map(|e| e.id).filter(|id| endpoints.get(*id).is_none()).collect();
        view.all.picker.update(&endpoints);
        for (subset, choice) in view.subsets.values_mut() {
            choice.update(members(&endpoints, subset));
        }
        view.all.endpoints = Rc::new(Snapshot(endpoints));
        gone
    }

    /// Whether the slot has changed since the last [`refresh`](Self::refresh).
    pub(super) fn is_stale(&self) -> bool {
        self.seen.get() != self.slot.generation()
    }

    /// The endpoints now, for those who let go of all of them.
    pub(super) fn endpoints(&self) -> Arc<Endpoints> {
        self.view.borrow().all.endpoints.0.clone()
    }

    /// The endpoint for a call that has been tried at `tried` already.
    pub(super) fn pick(&self, subset: Option<(usize, &Subset)>, tried: &[EndpointId]) -> Result<Picked, Nothing> {
        let View { all, subsets } = &mut *self.view.borrow_mut();
        let Some((place, subset)) = subset else { return all.pick(tried) };
        let new = || {
            let mut choice = Choice { endpoints: Rc::default(), picker: self.settings.balancer.picker(self.seed) };
            choice.update(members(&all.endpoints.0, subset));
            (subset.clone(), choice)
        };
        let (known, choice) = subsets.entry(place).or_insert_with(new);
        if known != subset {
            (*known, *choice) = new();
        }
        match choice.pick(tried) {
            Err(Nothing::Empty) if !all.endpoints.0.is_empty() => Err(Nothing::EmptySubset),
            picked => picked,
        }
    }
}

fn members(endpoints: &Endpoints, subset: &Subset) -> Endpoints {
    Endpoints::new(endpoints.iter().filter(|e| subset.contains(&e.instance)).cloned().collect())
}

impl Choice {
    fn update(&mut self, endpoints: Endpoints) {
        self.picker.update(&endpoints);
        self.endpoints = Rc::new(Snapshot(Arc::new(endpoints)));
    }

    fn pick(&mut self, tried: &[EndpointId]) -> Result<Picked, Nothing> {
        if self.endpoints.0.is_empty() {
            return Err(Nothing::Empty);
        }
        // Positions are of this view; a call that began before a change names endpoints by what lasts.
        let mut positions = [0u32; MOST_TRIED];
        let mut count = 0;
        for id in tried {
            if let Ok(at) = self.endpoints.0.binary_search_by_key(id, |e| e.id) {
                positions[count] = u32::try_from(at).unwrap_or(u32::MAX);
                count += 1;
            }
        }
        match self.picker.pick(&Call { tried: &positions[..count] }) {
            Ok(at) => Ok(Picked { endpoints: self.endpoints.clone(), at }),
            Err(NoPick) => Err(Nothing::AllTried),
        }
    }
}

/// The most endpoints that one call is tried at.
pub(super) const MOST_TRIED: usize = 8;
