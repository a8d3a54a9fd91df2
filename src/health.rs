//! Which endpoints work: a lease says that a process renews it, not that it answers.
//!
//! Endpoints are probed where their service asks for it, and watched by what became of their calls, which the workers
//! count. One task, in the control plane, judges each endpoint by what is known of it ([`judge`], a pure function) and
//! gives it its share of calls, which the pickers follow. It never waits for an endpoint: probes are tasks of their own,
//! a bounded number at a time.
//!
//! ```text
//! probes ──answers──┐
//! workers ─counters─┼─> monitor: judge each endpoint, panic? ──share──> endpoint's state, slot touched ──> pickers
//! operators ─orders─┤
//! policies ─verdicts┘
//! ```

mod config;
mod monitor;
mod outlier;
mod policies;
mod policy;
mod probe;
mod prober;
mod report;
mod verdict;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use config::{Config, Kind, Outlier, Probe};
use monitor::{Command, Monitor};
pub use outlier::Window;
pub use policies::{Policies, PolicySettings, PolicyThread};
pub use report::{EndpointHealth, Event, ServiceHealth};
use report::{Metrics, Report};
pub use verdict::{Ejection, Facts, Order, Probes, State, Verdict, judge};

use crate::registry::Instance;
use crate::table::{Endpoint, EndpointId, Table};
use crate::telemetry::Registry;
use crate::upstream;

/// Alarms and commands that may wait for the monitor.
const QUEUE: usize = 64;

/// What holds for one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSettings {
    /// How its endpoints are judged.
    pub health: Arc<Config>,
    /// How its endpoints are connected to, by probes as by calls.
    pub upstream: Arc<upstream::Config>,
}

/// What holds for each service.
pub struct Settings {
    /// Asked by service name; must not block.
    pub of: Box<dyn Fn(&str) -> ServiceSettings + Send + Sync>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// A handle on the monitor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    commands: mpsc::Sender<Command>,
    alarms: mpsc::Sender<Arc<str>>,
    report: Arc<Report>,
}

/// Ends the monitor and its probes when dropped; endpoints stay as they are judged then.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts to judge the endpoints of a table, on the runtime that it is called on.
pub fn start(table: Table, settings: Settings, metrics: &Registry) -> (Health, Task) {
    let report = Arc::new(Report::default());
    metrics.register_collector(Metrics(report.clone()));
    let (commands, received) = mpsc::channel(QUEUE);
    let (alarms, raised) = mpsc::channel(QUEUE);
    let task = tokio::spawn(Monitor::run(table, settings, report.clone(), received, raised));
    (Health { commands, alarms, report }, Task(task))
}

/// Asks an instance once how it is, apart from any table: whether a child that was just started is ready.
///
/// # Errors
///
/// What is wrong with it, for people. Cancel-safe.
pub async fn ask(probe: &Probe, instance: Instance, config: &upstream::Config) -> Result<(), String> {
    let service = instance.service.clone();
    let endpoint = Endpoint {
        id: EndpointId(0),
        label: instance.address.to_string().into(),
        instance: Arc::new(instance),
        lease: 0,
        revision: 0,
        doubted: false,
        state: Arc::default(),
    };
    probe::run(probe, &service, &endpoint, config).await.unwrap_or_else(|| Err("it is ending".to_owned()))
}

impl Health {
    /// Replaces the settings. Services whose settings stay are not disturbed; others are judged anew from the start.
    pub async fn reconfigure(&self, settings: Settings) {
        // Without the monitor everything is ending.
        let _ = self.commands.send(Command::Reconfigure(settings)).await;
    }

    /// Says that a service's endpoint has failed so often that it should be looked at now. Never waits: an alarm that
    /// finds no room is made good by the next one.
    pub fn alarm(&self, service: &Arc<str>) {
        let _ = self.alarms.try_send(service.clone());
    }

    /// Orders something for an endpoint, by its address as in metrics, for so long; or takes back what was ordered. False
    /// if the service has no such endpoint.
    pub async fn order(&self, service: &str, endpoint: &str, order: Option<(Order, Duration)>) -> bool {
        let (done, answer) = oneshot::channel();
        let order = order.map(|(order, time)| (order, Instant::now() + time));
        let command = Command::Order { service: service.to_owned(), address: endpoint.to_owned(), order, done };
        self.commands.send(command).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// The state of each endpoint, by service.
    pub fn services(&self) -> BTreeMap<Arc<str>, ServiceHealth> {
        self.report.services()
    }

    /// What happened, the newest first; a thousand events at most.
    pub fn events(&self) -> Vec<Event> {
        self.report.events()
    }

    /// The state of each endpoint as text, a line each.
    pub fn text(&self) -> String {
        report::text(&self.services(), Instant::now())
    }
}
