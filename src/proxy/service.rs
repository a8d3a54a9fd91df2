//! One worker's view of one service: its endpoints, and a picker for each subset of them that a route asks for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::config;
use super::headers::Via;
use super::stats::ServiceStats;
use crate::balance::{Balance, Balancer, Call, NoPick, Outcome, Picker, Policy};
use crate::route::Subset;
use crate::table::{Endpoint, EndpointId, Endpoints, Slot};
use crate::telemetry::add;
use crate::wasm::{Bound, Callout, Reply};

/// One worker's view of one service.
pub(super) struct Service {
    pub(super) slot: Arc<Slot>,
    pub(super) settings: config::Service,
    pub(super) stats: Arc<ServiceStats>,
    pub(super) via: Via,
    /// The module that picks, if one does.
    policy: RefCell<Option<Arc<Bound>>>,
    wants_results: Cell<bool>,
    seed: u64,
    seen: Cell<u64>,
    view: RefCell<View>,
}

struct View {
    all: Choice,
    /// By the subset's place in the router; another router may have another one there.
    subsets: HashMap<usize, (Subset, Choice)>,
}

impl View {
    /// What picks among all endpoints, and what picks among those of subsets, with their places.
    fn choices(&mut self) -> impl Iterator<Item = (Option<usize>, &mut Choice)> {
        let subsets = self.subsets.iter_mut().map(|(place, (_, choice))| (Some(*place), choice));
        std::iter::once((None, &mut self.all)).chain(subsets)
    }
}

/// Endpoints as this worker has them: a call counts itself here, and not where all workers would meet.
#[derive(Default)]
struct Snapshot(Arc<Endpoints>);

/// Some endpoints and what picks among them.
struct Choice {
    endpoints: Rc<Snapshot>,
    picker: Box<dyn Picker>,
}

/// Why a call was not given to the endpoint that a filter asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotThere;

/// An endpoint that was picked; it stays as it was then, whatever becomes of the table.
#[derive(Clone)]
pub(super) struct Picked {
    endpoints: Rc<Snapshot>,
    at: u32,
    /// The subset that it was picked from, as in the view.
    place: Option<usize>,
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
    pub(super) fn new(
        slot: Arc<Slot>,
        settings: config::Service,
        policy: Option<Arc<Bound>>,
        stats: Arc<ServiceStats>,
        via: Via,
        seed: u64,
    ) -> Self {
        let picker = picker(&settings, policy.as_ref(), seed);
        let view = View { all: Choice { endpoints: Rc::default(), picker }, subsets: HashMap::new() };
        let wants_results = Cell::new(wants_results(&settings, policy.as_deref()));
        let (policy, seen, view) = (RefCell::new(policy), Cell::new(0), RefCell::new(view));
        let service = Service { slot, settings, stats, via, policy, wants_results, seed, seen, view };
        service.refresh();
        service
    }

    /// Takes over what changed since the last time. Gives the endpoints that are no longer there, or get no calls now, if
    /// anything changed: a connection that packets were lost on may take seconds to go on after they are not any more.
    pub(super) fn refresh(&self) -> Vec<EndpointId> {
        let generation = self.slot.generation();
        if self.seen.get() == generation {
            return Vec::new();
        }
        self.seen.set(generation);
        add(&self.stats.rebuilds, 1);
        let endpoints = self.slot.endpoints();
        let mut view = self.view.borrow_mut();
        let leaves = |id: &EndpointId| endpoints.get(*id).is_none_or(|e| e.state.share() == 0);
        let gone = view.all.endpoints.0.iter().map(|e| e.id).filter(leaves).collect();
        view.all.picker.update(&endpoints);
        for (subset, choice) in view.subsets.values_mut() {
            choice.update(members(&endpoints, subset));
        }
        view.all.endpoints = Rc::new(Snapshot(endpoints));
        gone
    }

    /// Takes over another version of the module that picks. Calls under way are not touched.
    pub(super) fn rebind(&self, policy: Option<Arc<Bound>>) {
        let mut current = self.policy.borrow_mut();
        if current.as_ref().map(Arc::as_ptr) == policy.as_ref().map(Arc::as_ptr) {
            return;
        }
        let mut view = self.view.borrow_mut();
        let mut picker = picker(&self.settings, policy.as_ref(), self.seed);
        picker.update(&view.all.endpoints.0);
        view.all.picker = picker;
        view.subsets.clear();
        self.wants_results.set(wants_results(&self.settings, policy.as_deref()));
        *current = policy;
    }

    /// Whether it is to be heard how calls end.
    pub(super) fn wants_results(&self) -> bool {
        self.wants_results.get()
    }

    /// Says how a call ended, to those who want to know.
    pub(super) fn result(&self, picked: &Picked, outcome: &Outcome) {
        picked.state.call_ended(outcome.took);
        let mut view = self.view.borrow_mut();
        let choice = match picked.place {
            None => Some(&mut view.all),
            Some(place) => view.subsets.get_mut(&place).map(|(_, choice)| choice),
        };
        if let Some(choice) = choice
            && choice.picker.wants_results()
            && let Ok(at) = choice.endpoints.0.binary_search_by_key(&picked.id, |e| e.id)
        {
            choice.picker.result(u32::try_from(at).unwrap_or(u32::MAX), outcome);
        }
    }

    /// How often a module that picks wants to be called.
    pub(super) fn period(&self) -> Option<Duration> {
        self.view.borrow_mut().choices().filter_map(|(_, choice)| choice.picker.period()).min()
    }

    /// Calls it, and gives the calls that it wants made, each with the place of what is to hear the answer.
    pub(super) fn tick(&self) -> Vec<(Option<usize>, Callout)> {
        let mut view = self.view.borrow_mut();
        let ticked = view
            .choices()
            .flat_map(|(place, choice)| choice.picker.tick().into_iter().map(move |callout| (place, callout)));
        ticked.collect()
    }

    /// Says what came of such a call.
    pub(super) fn reply(&self, place: Option<usize>, callout: &Callout, reply: Option<Reply>) {
        if let Some((_, choice)) = self.view.borrow_mut().choices().find(|(at, _)| *at == place) {
            choice.picker.reply(callout, reply);
        }
    }

    /// The endpoint of that address.
    pub(super) fn at(&self, address: &str) -> Result<Picked, NotThere> {
        let endpoints = self.view.borrow().all.endpoints.clone();
        let at = endpoints.0.iter().position(|e| &*e.label == address).ok_or(NotThere)?;
        Ok(Picked { endpoints, at: u32::try_from(at).unwrap_or(u32::MAX), place: None })
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
    pub(super) fn pick(
        &self,
        subset: Option<(usize, &Subset)>,
        tried: &[EndpointId],
        call: Call<'_>,
    ) -> Result<Picked, Nothing> {
        let View { all, subsets } = &mut *self.view.borrow_mut();
        let Some((place, subset)) = subset else { return all.pick(tried, call, None) };
        let new = || {
            let picker = picker(&self.settings, self.policy.borrow().as_ref(), self.seed);
            let mut choice = Choice { endpoints: Rc::default(), picker };
            choice.update(members(&all.endpoints.0, subset));
            (subset.clone(), choice)
        };
        let (known, choice) = subsets.entry(place).or_insert_with(new);
        if known != subset {
            (*known, *choice) = new();
        }
        match choice.pick(tried, call, Some(place)) {
            Err(Nothing::Empty) if !all.endpoints.0.is_empty() => Err(Nothing::EmptySubset),
            picked => picked,
        }
    }
}

fn wants_results(settings: &config::Service, policy: Option<&Bound>) -> bool {
    let kinds = policy.map(|policy| policy.module().kinds()).unwrap_or_default();
    settings.health.policy.is_some() || kinds.results || kinds.weights
}

fn picker(settings: &config::Service, policy: Option<&Arc<Bound>>, seed: u64) -> Box<dyn Picker> {
    match (&settings.balance, policy) {
        (Balance::Native(balancer), _) => balancer.picker(seed),
        (Balance::Module(_), Some(policy)) if policy.module().kinds().pick => {
            Box::new(Policy::new(policy.clone(), seed))
        }
        // One that weighs leaves the picking to this.
        (Balance::Module(_), _) => Balancer::Weighted.picker(seed),
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

    fn pick(&mut self, tried: &[EndpointId], call: Call<'_>, place: Option<usize>) -> Result<Picked, Nothing> {
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
        match self.picker.pick(&Call { tried: &positions[..count], ..call }) {
            Ok(at) => Ok(Picked { endpoints: self.endpoints.clone(), at, place }),
            Err(NoPick) => Err(Nothing::AllTried),
        }
    }
}

/// The most endpoints that one call is tried at.
pub(super) const MOST_TRIED: usize = 8;
