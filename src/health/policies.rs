//! Modules that weigh endpoints or judge their health, once a second or as they wish, on a thread that carries no calls.
//! Weights go to the endpoints themselves, which pickers follow; verdicts go to the monitor, where what an operator orders
//! counts before them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::monitor::Command;
use super::policy::{Opinion, Runner};
use super::{Health, ServiceSettings};
use crate::table::{Endpoint, EndpointId, Slot, Table};
use crate::upstream::Pool;
use crate::wasm::{Bound, CallOut, Callout, Reply};

/// From the start to the first tick, so that the first snapshot has something in it.
const PERIOD: Duration = Duration::from_secs(1);
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

/// The modules of one service.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// The one that weighs.
    pub weights: Option<Arc<Bound>>,
    /// The one that judges.
    pub health: Option<Arc<Bound>>,
}

/// What calls of modules are made over.
type Connections = RefCell<Pool<Full<Bytes>>>;

/// What holds for each service.
pub struct PolicySettings {
    /// The modules of a service, by its name; must not block.
    pub of: Box<dyn Fn(&str) -> Policies + Send + Sync>,
    /// How services are connected to, by calls that modules make.
    pub services: Box<dyn Fn(&str) -> ServiceSettings + Send + Sync>,
}

/// Runs policies until it is dropped; what they decided is taken back then.
#[derive(Debug)]
pub struct PolicyThread {
    settings: watch::Sender<Arc<PolicySettings>>,
}

impl std::fmt::Debug for PolicySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySettings").finish_non_exhaustive()
    }
}

impl PolicyThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If there is none to be had.
    pub fn start(table: Table, health: Health, settings: PolicySettings) -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(Arc::new(settings));
        std::thread::Builder::new().name("policies".to_owned()).spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(manage(table, health, receiver)),
                Err(error) => tracing::error!(%error, "cannot start the thread of policies"),
            }
        })?;
        Ok(PolicyThread { settings: sender })
    }

    /// Replaces the settings. Modules that stay go on as they are.
    pub fn reconfigure(&self, settings: PolicySettings) {
        self.settings.send_replace(Arc::new(settings));
    }
}

/// What runs for one service, and the modules that it runs.
struct Running {
    slot: Arc<Slot>,
    bound: Arc<Bound>,
    weighs: bool,
    judges: bool,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts and ends what runs, as the table and the settings have it.
async fn manage(table: Table, health: Health, mut settings: watch::Receiver<Arc<PolicySettings>>) {
    let mut changes = table.subscribe();
    let mut running: HashMap<Arc<str>, Vec<Running>> = HashMap::new();
    let pool = Rc::<Connections>::default();
    tokio::task::spawn_local(sweep(Rc::downgrade(&pool), table.clone()));
    loop {
        let now = settings.borrow_and_update().clone();
        changes.borrow_and_update();
        let slots = table.slots();
        running.retain(|name, all| {
            let wanted = (now.of)(name);
            let slot = slots.get(name);
            all.retain(|one| {
                let is = |bound: &Option<Arc<Bound>>| bound.as_ref().is_some_and(|b| Arc::ptr_eq(b, &one.bound));
                slot.is_some_and(|slot| Arc::ptr_eq(slot, &one.slot))
                    && one.weighs == is(&wanted.weights)
                    && one.judges == is(&wanted.health)
            });
            !all.is_empty()
        });
        for (name, slot) in slots.iter() {
            let Policies { weights, health: judge } = (now.of)(name);
            let one = weights.as_ref().zip(judge.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
            let judge = judge.map(|bound| (bound, one, true));
            let wanted = weights.filter(|_| !one).map(|bound| (bound, true, false)).into_iter().chain(judge);
            for (bound, weighs, judges) in wanted {
                let all = running.entry(name.clone()).or_default();
                if all.iter().any(|one| Arc::ptr_eq(&one.bound, &bound)) {
                    continue;
                }
                let runner = Runner::new(slot.clone(), bound.clone(), weighs, judges, health.clone());
                let call_out = call_out(table.clone(), settings.clone(), pool.clone());
                let task = tokio::task::spawn_local(run(runner, call_out)).abort_handle();
                all.push(Running { slot: slot.clone(), bound, weighs, judges, task });
            }
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            changed = settings.changed() => match changed {
                // Services may have to be connected to in another way.
                Ok(()) => drop(pool.take()),
                Err(_) => return,
            },
        }
    }
}

/// Closes connections that are idle, too old, or to endpoints that left, until nobody has the pool any more.
async fn sweep(pool: Weak<Connections>, table: Table) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        let now = ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        let (slots, mut pool) = (table.slots(), pool.borrow_mut());
        pool.sweep(now);
        pool.retain(|endpoint| slots.values().any(|slot| slot.endpoints().get(endpoint).is_some()));
    }
}

async fn run(mut runner: Runner, call_out: CallOut) {
    let (answers, mut answered) = mpsc::channel::<(Callout, Option<Reply>)>(16);
    let mut next = Instant::now() + PERIOD;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                runner.tick(Instant::now());
                next = Instant::now() + runner.period().unwrap_or(PERIOD).max(SHORTEST_PERIOD);
            }
            Some((callout, reply)) = answered.recv() => runner.reply(&callout, reply),
        }
        for callout in runner.callouts() {
            let (reply, answers) = (call_out(&callout), answers.clone());
            tokio::task::spawn_local(async move {
                // Whoever asked may have been replaced.
                let _ = answers.send((callout, reply.await)).await;
            });
        }
    }
}

/// Makes calls for modules of this thread: to any endpoint that gets calls.
fn call_out(table: Table, settings: watch::Receiver<Arc<PolicySettings>>, pool: Rc<Connections>) -> CallOut {
    Rc::new(move |callout: &Callout| {
        let endpoint = table.slot(&callout.service).and_then(|slot| any(&slot));
        let ServiceSettings { upstream, .. } = (settings.borrow().services)(&callout.service);
        let callout = callout.clone();
        let pool = pool.clone();
        Box::pin(async move { callout.carry(&endpoint?, &upstream, &pool).await })
    })
}

fn any(slot: &Slot) -> Option<Endpoint> {
    let endpoints = slot.endpoints();
    let good: Vec<&Endpoint> =
        endpoints.iter().filter(|e| e.weight() > 0 && e.state.share() > 0 && !e.state.is_unreachable()).collect();
    fastrand::choice(&good).map(|e| (*e).clone())
}

impl Health {
    /// What a policy holds of a service's endpoints; those that are not named it has no opinion of.
    pub(super) fn opine(&self, service: &Arc<str>, opinions: Vec<(EndpointId, Opinion)>) {
        // Never waits: what finds no room is said again at the next tick.
        let _ = self.commands.try_send(Command::Opinions { service: service.clone(), opinions });
    }
}
