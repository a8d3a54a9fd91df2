//! From instances to endpoints: one per service and address, with an identity that lasts, in a slot per service.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::keys::{Dirty, Entry, Keys};
use super::{Endpoint, EndpointId, EndpointState, Endpoints, Slot, Table};
use crate::registry::{Address, Instance};

/// All services, for the one writer.
pub(super) struct Services {
    table: Table,
    slots: HashMap<Arc<str>, Known>,
    /// Every endpoint that is or was not long ago, by its service and label, so that it is the same when it comes back.
    endpoints: HashMap<Arc<str>, HashMap<Arc<str>, Identity>>,
    count: u32,
    /// When endpoints that left were last looked for.
    swept: Instant,
    /// What was replaced and some reader may still hold.
    retired: Vec<Arc<Endpoints>>,
}

/// A service that has instances, or had them not long ago.
struct Known {
    slot: Arc<Slot>,
    empty_since: Option<Instant>,
}

struct Identity {
    id: EndpointId,
    state: Arc<EndpointState>,
    /// Nobody had it when endpoints that left were last looked for.
    left: bool,
}

impl Services {
    pub(super) fn new(table: Table) -> Self {
        Services {
            table,
            slots: HashMap::new(),
            endpoints: HashMap::new(),
            count: 0,
            swept: Instant::now(),
            retired: Vec::new(),
        }
    }

    /// Whether a connect to that instance failed and none has succeeded since.
    pub(super) fn is_unreachable(&self, instance: &Instance) -> bool {
        let labels = self.endpoints.get(&*instance.service);
        let known = labels.and_then(|labels| labels.get(&*instance.address.to_string()));
        known.is_some_and(|identity| identity.state.is_unreachable())
    }

    /// Rebuilds the slots of the services that changed, and wakes the readers once.
    pub(super) fn publish<'a>(
        &mut self,
        dirty: &Dirty,
        sources: &(impl Iterator<Item = &'a Keys> + Clone),
        now: Instant,
    ) {
        let mut changed = false;
        let mut is_new = false;
        for service in dirty {
            let endpoints = self.endpoints(service, sources.clone().flat_map(|keys| keys.of(service)));
            let empty_since = endpoints.is_empty().then_some(now);
            let name: Arc<str> = service.as_str().into();
            match self.slots.entry(name) {
                Place::Vacant(_) if endpoints.is_empty() => continue,
                Place::Vacant(place) => {
                    let slot = Arc::new(Slot::new(service));
                    slot.replace(Arc::new(endpoints));
                    place.insert(Known { slot, empty_since });
                    is_new = true;
                }
                Place::Occupied(mut place) => {
                    let known = place.get_mut();
                    let before = known.slot.endpoints();
                    if !came_back(&before, &endpoints) && same(&before, &endpoints) {
                        continue;
                    }
                    self.retired.push(known.slot.replace(Arc::new(endpoints)));
                    known.empty_since = empty_since;
                }
            }
            self.table.count_rebuild();
            changed = true;
        }
        if is_new {
            self.publish_slots();
        }
        if changed {
            self.table.notify();
        }
        self.free();
    }

    /// Forgets services that have been empty for that long and endpoints that left about as long ago, and frees what
    /// nobody reads any more.
    pub(super) fn forget(&mut self, after: Duration, now: Instant) {
        if now >= self.swept + after {
            self.swept = now;
            self.endpoints.retain(|_, labels| {
                labels.retain(|_, known| {
                    let is_here = Arc::strong_count(&known.state) > 1;
                    let was_here = !std::mem::replace(&mut known.left, !is_here);
                    is_here || was_here
                });
                !labels.is_empty()
            });
        }
        let before = self.slots.len();
        self.slots.retain(|_, known| known.empty_since.is_none_or(|since| now < since + after));
        if self.slots.len() < before {
            self.publish_slots();
            self.table.notify();
        }
        self.free();
    }

    /// Whether something that was replaced waits to be freed.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// When something may be to be forgotten.
    pub(super) fn forget_at(&self, after: Duration) -> Option<Instant> {
        let sweep = (!self.endpoints.is_empty()).then_some(self.swept);
        self.slots.values().filter_map(|known| known.empty_since).chain(sweep).min().map(|since| since + after)
    }

    /// The endpoints of a service: of several keys with one address the newest, one in etcd before one that is doubted.
    fn endpoints<'a>(
        &mut self,
        service: &str,
        registered: impl Iterator<Item = (&'a Entry, &'a Arc<Instance>)>,
    ) -> Endpoints {
        let mut newest: HashMap<&Address, (&Entry, &Arc<Instance>)> = HashMap::new();
        let rank = |entry: &Entry| (entry.doubted.is_none(), entry.revision);
        for (entry, instance) in registered {
            let at = newest.entry(&instance.address).or_insert((entry, instance));
            if rank(entry) > rank(at.0) {
                *at = (entry, instance);
            }
        }
        if newest.is_empty() {
            return Endpoints::default();
        }
        let known = self.endpoints.entry(service.into()).or_default();
        let mut text = String::new();
        let endpoint = |(entry, instance): (&Entry, &Arc<Instance>)| {
            text.clear();
            let _ = write!(text, "{}", instance.address);
            let (label, identity) = match known.get_key_value(&*text) {
                Some((label, identity)) => (label.clone(), identity),
                None => {
                    self.count += 1;
                    let label: Arc<str> = text.as_str().into();
                    let new = Identity { id: EndpointId(self.count), state: Arc::default(), left: false };
                    (label.clone(), &*known.entry(label).or_insert(new))
                }
            };
            Endpoint {
                id: identity.id,
                instance: instance.clone(),
                label,
                lease: entry.lease,
                revision: entry.revision,
                doubted: entry.doubted.is_some(),
                state: identity.state.clone(),
            }
        };
        Endpoints::new(newest.into_values().map(endpoint).collect())
    }

    fn publish_slots(&self) {
        self.table.publish(self.slots.iter().map(|(name, known)| (name.clone(), known.slot.clone())).collect());
    }

    /// Frees what was replaced, here and not in a worker.
    fn free(&mut self) {
        self.retired.retain(|endpoints| Arc::strong_count(endpoints) > 1);
    }
}

/// Gives endpoints that could not be reached another chance if they registered anew since: whoever does has probably
/// just started. Whether there was one.
fn came_back(before: &Endpoints, now: &Endpoints) -> bool {
    let anew = |e: &&Endpoint| before.get(e.id).is_none_or(|before| before.revision < e.revision);
    now.iter().filter(anew).filter(|e| e.state.is_unreachable() && e.state.mark_reachable()).count() > 0
}

/// Whether calls and readers would see no difference. That a key was written anew with the same value is none.
fn same(a: &Endpoints, b: &Endpoints) -> bool {
    let looks = |e: &Endpoint| (e.id, e.lease, e.doubted);
    a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| looks(a) == looks(b) && a.instance == b.instance)
}
