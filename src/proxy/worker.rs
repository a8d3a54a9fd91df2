//! One thread of the data plane: its own runtime, connections and pickers. It shares nothing that is locked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::acceptor::Accepted;
use super::body::RequestBody;
use super::filters::{self, Filters};
use super::headers::Via;
use super::respond::Failure;
use super::service::Service;
use super::stats::{ServiceStats, Stats};
use super::{Phase, Settings, config, connection};
use crate::balance::Balance;
use crate::table::Table;
use crate::telemetry::names;
use crate::upstream::{Pool, Trials};
use crate::wasm::Bound;

/// How often connections to endpoints are looked over for idleness and age.
const SWEEP: Duration = Duration::from_secs(1);

/// What one worker owns. Only its own thread sees it.
pub(super) struct Worker {
    index: usize,
    table: Table,
    settings: RefCell<Rc<Current>>,
    services: RefCell<HashMap<Arc<str>, Rc<Service>>>,
    pub(super) pool: RefCell<Pool<RequestBody>>,
    pub(super) trials: RefCell<Trials>,
    pub(super) unknown: Arc<ServiceStats>,
    stats: Stats,
    /// Turns names of services into numbers that are the same in each worker, and in no other process.
    ids: RandomState,
    seed: u64,
    /// For tasks that go on as long as it does.
    itself: RefCell<Weak<Worker>>,
}

/// The settings as this worker has them: an exchange counts itself here, and not where all workers would meet.
pub(super) struct Current {
    settings: Arc<Settings>,
    pub(super) chains: Filters,
}

impl Deref for Current {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// What a worker is told from outside.
pub(super) struct Orders {
    pub(super) accepted: mpsc::Receiver<Accepted>,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Worker {
    pub(super) fn new(index: usize, table: Table, settings: Arc<Settings>, stats: Stats, ids: RandomState) -> Self {
        Worker {
            index,
            table,
            settings: RefCell::new(Rc::new(Current { settings, chains: Filters::default() })),
            services: RefCell::default(),
            pool: RefCell::default(),
            trials: RefCell::default(),
            unknown: stats.service(index, &names::UNKNOWN_SERVICE.into()),
            stats,
            ids,
            seed: fastrand::u64(..),
            itself: RefCell::default(),
        }
    }

    /// Serves connections until the order to stop, and until those that are open have ended or must.
    pub(super) async fn run(self, orders: Orders) {
        let Orders { mut accepted, mut settings, mut phase } = orders;
        let worker = Rc::new(self);
        worker.itself.replace(Rc::downgrade(&worker));
        // Filters belong to the thread that they run on, and call services through its worker.
        let begin = worker.settings().settings.clone();
        worker.take_over_settings(begin);
        let mut table = worker.table.subscribe();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connections = JoinSet::new();
        while *phase.borrow() == Phase::Running {
            tokio::select! {
                connection = accepted.recv() => match connection {
                    Some(connection) => worker.serve(connection, phase.clone(), &mut connections),
                    None => break,
                },
                Some(_) = connections.join_next() => {}
                Ok(()) = table.changed() => worker.take_over_table(),
                Ok(()) = settings.changed() => worker.take_over_settings(settings.borrow_and_update().clone()),
                _ = phase.changed() => {}
                now = sweep.tick() => worker.pool.borrow_mut().sweep(now),
            }
        }
        accepted.close();
        while let Some(connection) = accepted.recv().await {
            worker.serve(connection, phase.clone(), &mut connections);
        }
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        }
    }

    fn serve(self: &Rc<Self>, accepted: Accepted, phase: watch::Receiver<Phase>, connections: &mut JoinSet<()>) {
        let worker = self.clone();
        connections.spawn_local(async move {
            let Accepted { stream, peer, permit, open } = accepted;
            match TcpStream::from_std(stream) {
                Ok(stream) => connection::serve(&worker, stream, peer, phase).await,
                Err(error) => tracing::warn!(%error, "cannot take over a client connection"),
            }
            drop(permit);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// The settings now. An exchange keeps those that it began with.
    pub(super) fn settings(&self) -> Rc<Current> {
        self.settings.borrow().clone()
    }

    /// How long a receiver may take nothing.
    pub(super) fn stall_timeout(&self) -> Duration {
        self.settings.borrow().config.stall_timeout
    }

    /// This worker's view of a service, up to date.
    pub(super) fn service(&self, name: &str) -> Result<Rc<Service>, Failure> {
        if let Some(service) = self.services.borrow().get(name) {
            if service.is_stale() {
                self.refresh(service);
            }
            return Ok(service.clone());
        }
        let Some(slot) = self.table.slot(name) else {
            let name = bounded(name);
            let ready = (self.settings.borrow().ready)();
            return Err(if ready { Failure::UnknownService(name) } else { Failure::NotReady(name) });
        };
        let current = self.settings.borrow();
        let settings = current.services.of(name).clone();
        let policy = policy(&current, &settings);
        let stats = self.stats.service(self.index, slot.service());
        let via = Via::new(self.ids.hash_one(&**slot.service()));
        let seed = self.seed.wrapping_add(self.index as u64);
        let service = Rc::new(Service::new(slot, settings, policy, stats, via, seed));
        if matches!(service.settings.balance, Balance::Module(_)) {
            tokio::task::spawn_local(filters::keep_ticking(Rc::downgrade(&service), self.itself.borrow().clone()));
        }
        self.services.borrow_mut().insert(service.slot.service().clone(), service.clone());
        Ok(service)
    }

    fn refresh(&self, service: &Service) {
        let gone = service.refresh();
        let mut pool = self.pool.borrow_mut();
        for endpoint in gone {
            pool.remove(endpoint);
        }
    }

    /// Brings every service that this worker uses up to date, and lets go of connections to what left.
    fn take_over_table(&self) {
        let slots = self.table.slots();
        let mut services = self.services.borrow_mut();
        services.retain(|name, service| {
            let kept = slots.get(name).is_some_and(|slot| Arc::ptr_eq(slot, &service.slot));
            if kept {
                self.refresh(service);
            } else {
                self.let_go(service);
                self.stats.forget(self.index, name);
            }
            kept
        });
    }

    /// Services whose settings changed are made anew, and connected to anew; others are not touched.
    fn take_over_settings(self: &Rc<Self>, settings: Arc<Settings>) {
        self.services.borrow_mut().retain(|name, service| {
            let kept = *settings.services.of(name) == service.settings;
            if kept {
                service.rebind(policy(&settings, &service.settings));
            } else {
                self.let_go(service);
            }
            kept
        });
        let old = self.settings();
        let chains = Filters::new(&settings, &old.chains, &Rc::downgrade(self));
        self.settings.replace(Rc::new(Current { settings, chains }));
    }

    fn let_go(&self, service: &Service) {
        let mut pool = self.pool.borrow_mut();
        for endpoint in service.endpoints().iter() {
            pool.remove(endpoint.id);
        }
    }
}

/// The module that picks for a service, if one does.
fn policy(settings: &Settings, service: &config::Service) -> Option<Arc<Bound>> {
    match &service.balance {
        Balance::Native(_) => None,
        Balance::Module(used) => settings.modules.get(used).cloned(),
    }
}

/// A name that a stranger chose, short enough to be repeated to him.
fn bounded(name: &str) -> String {
    name.chars().take(100).collect()
}
