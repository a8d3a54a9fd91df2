//! What the dashboard is made of: hands on what the other planes say of themselves, and what it keeps in mind itself. It
//! reads; nothing that carries calls waits for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::history::{self, Calls, History};
use super::locks::{HandOver, Locks};
use super::log::{Kind, Log};
use super::members::Members;
use super::orders::Orders;
use super::page::{self, Page, Piece};
use super::show::Seconds;
use super::ttl::Ttls;
use super::view::{self, Facts, Query};
use crate::balance::Balance;
use crate::etcd::Client;
use crate::health::{self, Health};
use crate::route;
use crate::table::Table;
use crate::wasm::{Catalog, Status};

/// How often it is looked whether somebody wants to know how etcd's members are.
const LOOK: Duration = Duration::from_millis(250);

/// What holds for a service.
pub type ServiceFacts = (Balance, Arc<health::Config>);

/// The configuration that holds now.
pub struct InForce {
    /// All of it as text, secrets masked.
    pub text: String,
    /// How services are found from requests.
    pub routing: route::Config,
    /// Asked by service name; must not block.
    pub services: Box<dyn Fn(&str) -> ServiceFacts + Send + Sync>,
    /// The clients that prefixes are watched with.
    pub clients: Vec<Client>,
    /// The client that locks are looked for with.
    pub locks: Option<Client>,
    /// The client that actions are done with; without one there are none.
    pub operator: Option<Client>,
    /// When the process started.
    pub started: Instant,
}

/// What is to be shown.
pub struct Sources {
    /// What is registered.
    pub table: Table,
    /// Who works, and who takes orders.
    pub health: Health,
    /// What was counted of each service; must not block.
    pub calls: Box<dyn Fn() -> BTreeMap<Arc<str>, Calls> + Send + Sync>,
    /// The configuration in force.
    pub in_force: watch::Receiver<Arc<InForce>>,
    /// The prefixes below which locks are looked for.
    pub lock_prefixes: Vec<String>,
    /// Filters and policies.
    pub modules: Catalog,
}

/// The dashboard. Its tasks end when it is dropped.
pub(super) struct Dashboard {
    pub(super) sources: Sources,
    history: Mutex<History>,
    members: Members,
    pub(super) locks: Arc<Locks>,
    ttls: Arc<Ttls>,
    pub(super) log: Arc<Log>,
    pub(super) orders: Arc<Orders>,
    tasks: Mutex<JoinSet<()>>,
}

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) query: Query,
}

/// A view as it is wanted.
pub(super) enum Wanted<'a> {
    Page(&'a mut Page),
    Json(&'a mut serde_json::Value),
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce").finish_non_exhaustive()
    }
}

impl InForce {
    pub(super) fn service(&self, name: &str) -> ServiceFacts {
        (self.services)(name)
    }

    /// Every client, each once.
    pub(super) fn all_clients(&self) -> Vec<Client> {
        let mut clients = self.clients.clone();
        clients.extend(self.locks.iter().filter(|locks| !self.clients.iter().any(|client| client.is(locks))).cloned());
        clients
    }

    pub(super) fn uptime(&self, now: Instant) -> Seconds {
        now.saturating_duration_since(self.started).into()
    }
}

impl Dashboard {
    pub(super) fn start(sources: Sources) -> Arc<Self> {
        let locks = Arc::new(Locks::new(&sources.lock_prefixes));
        let (ttls, log, orders) = (Arc::<Ttls>::default(), Arc::<Log>::default(), Arc::<Orders>::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(log.clone().follow(sources.table.clone()));
        tasks.spawn(ttls.clone().run(sources.in_force.clone()));
        let told = log.clone();
        let tell = move |service: &str, text| told.add(Kind::Action, service, text);
        tasks.spawn(orders.clone().run(sources.health.clone(), sources.in_force.clone(), tell));
        for prefix in &sources.lock_prefixes {
            let log = log.clone();
            let tell = move |HandOver { name, text }| log.add(Kind::Lock, &name, text);
            tasks.spawn(locks.clone().follow(prefix.clone(), sources.in_force.clone(), tell));
        }
        let (history, members) = (Mutex::default(), Members::default());
        let dashboard = Dashboard { sources, history, members, locks, ttls, log, orders, tasks: Mutex::default() };
        let dashboard = Arc::new(dashboard);
        let weak = Arc::downgrade(&dashboard);
        tasks.spawn(async move {
            let mut ticks = interval(history::STEP);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let Some(dashboard) = weak.upgrade() else { return };
                dashboard.sample();
            }
        });
        let weak = Arc::downgrade(&dashboard);
        tasks.spawn(async move {
            while let Some(dashboard) = weak.upgrade() {
                let clients = dashboard.sources.in_force.borrow().all_clients();
                dashboard.members.look(&clients).await;
                drop(dashboard);
                tokio::time::sleep(LOOK).await;
            }
        });
        *dashboard.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        dashboard
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all counters.
    pub(super) fn sample(&self) {
        let calls = (self.sources.calls)();
        let slots = self.sources.table.slots();
        let modules = self.sources.modules.status();
        let mut history = self.history();
        history.sample(&calls, slots.iter().map(|(name, slot)| (name, slot.endpoints())));
        history.sample_modules(modules.into_iter().map(|status| (status.name, status.calls.all)));
    }

    fn facts<'a>(&self, history: &'a History) -> Facts<'a> {
        let Sources { table, health, in_force, modules, .. } = &self.sources;
        let mut services: Vec<_> = table.slots().iter().map(|(name, slot)| (name.clone(), slot.endpoints())).collect();
        services.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (now, wall) = (Instant::now(), SystemTime::now());
        let module = |status: &Status| view::modules::module(status, history.module(&status.name).calls(), now, wall);
        Facts {
            now,
            wall,
            services,
            prefixes: table.prefixes(),
            health: health.services(),
            in_force: in_force.borrow().clone(),
            queues: self.locks.queues().0,
            unread_locks: self.locks.unread(),
            unreadable_orders: self.orders.unreadable(),
            modules: modules.status().iter().map(module).collect(),
            history,
        }
    }

    /// Makes a view; false if there is no such page. Gives the line at the top too.
    pub(super) fn view(&self, target: &Target, wanted: Wanted<'_>) -> Option<Piece> {
        let history = self.history();
        let facts = self.facts(&history);
        let attention = view::attention::attention(&facts);
        let status = page::status(&facts.status(attention.len()));
        let query = &target.query;
        match &*target.path {
            "/" => {
                let events = view::events::events(&facts, &self.sources.health.events(), &self.log.events(), query);
                let view = view::overview::overview(&facts, attention, self.members.known(), events.events.rows);
                wanted.take(&view, || page::overview(&view));
            }
            "/services" => {
                let view = view::services::services(&facts, query);
                wanted.take(&view, || page::services(&view, query));
            }
            "/service" => match view::service::service(&facts, |lease| self.ttls.of(lease, facts.now), query) {
                Some(view) => wanted.take(&view, || page::service(&view, query)),
                None => wanted.take(&serde_json::Value::Null, || page::missing(&query.name)),
            },
            "/locks" => {
                let ttl = |lease| self.ttls.of(lease, facts.now);
                let view = view::locks::locks(&facts, self.locks.prefixes(), &self.locks.queues().1, ttl, query);
                wanted.take(&view, || page::locks(&view, query));
            }
            "/leases" => {
                let ttl = |lease| self.ttls.of(lease, facts.now);
                let view = view::leases::leases(&facts, ttl, query);
                wanted.take(&view, || page::leases(&view, query));
            }
            "/filters" => {
                let view = view::modules::modules(&facts, query);
                wanted.take(&view, || page::modules(&view, query));
            }
            "/events" => {
                let view = view::events::events(&facts, &self.sources.health.events(), &self.log.events(), query);
                wanted.take(&view, || page::events(&view, query));
            }
            "/routes" => {
                let view = view::routes::routes(&facts, query);
                wanted.take(&view, || page::routes(&view, query));
            }
            "/config" => {
                let text = &*facts.in_force.text;
                wanted.take(&serde_json::json!({ "text": text }), || page::config(text));
            }
            _ => return None,
        }
        Some(status)
    }
}

impl Wanted<'_> {
    fn take(self, view: &impl serde::Serialize, page: impl FnOnce() -> Page) {
        match self {
            Wanted::Page(place) => *place = page(),
            // Nothing in a view can fail to be written: no map has keys that are no text.
            Wanted::Json(place) => *place = serde_json::to_value(view).unwrap_or_default(),
        }
    }
}
