//! The data plane: accepts client connections and carries each request to an endpoint of the service that it names.
//!
//! A request's way: `acceptor` → `worker` → `connection` → `exchange`, where each step has its line.

mod acceptor;
mod attempt;
mod body;
mod config;
mod connection;
mod deadline;
mod exchange;
mod filters;
mod headers;
mod pump;
mod record;
mod respond;
mod response;
mod service;
mod stats;
mod upstream_call;
mod worker;

use std::fmt;
use std::hash::RandomState;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

pub use config::{Config, Service, Services};
use stats::Stats;
pub use stats::{Calls, Counts};
use worker::{Orders, Worker};

use crate::health::Health;
use crate::route::{self, Router};
use crate::table::Table;
use crate::telemetry::Registry;
use crate::wasm::{self, Prepared};

/// Connections that may wait for one worker to take them over.
const BACKLOG: usize = 1_024;

/// All that carrying calls depends on and that may change while they run; replaced whole.
pub struct Settings {
    /// Limits and time-outs towards clients. The listen address, the number of workers and `max_connections` are read
    /// at the start only.
    pub config: Config,
    /// Which service a request is for.
    pub router: Router,
    /// How each service is called.
    pub services: Services,
    /// The filters that every exchange passes.
    pub filters: Vec<route::Filter>,
    /// The modules that `filters`, `router` and `services` name.
    pub modules: Prepared,
    /// Limits for modules.
    pub wasm: wasm::Config,
    /// Who hears of endpoints that fail.
    pub health: Health,
    /// Whether each exchange is logged.
    pub access_log: bool,
    /// Whether the registry has been read: until then an unknown name may only be one that is not known yet.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// No new connections or requests; those under way finish.
    Draining,
    /// What is still open is cut.
    Ended,
}

/// A running data plane. Dropping it cuts all calls; [`Proxy::stop`] lets them finish.
#[derive(Debug)]
pub struct Proxy {
    phase: watch::Sender<Phase>,
    settings: watch::Sender<Arc<Settings>>,
    threads: Vec<JoinHandle<()>>,
    counts: Counts,
}

impl Proxy {
    /// Starts the workers and begins to accept. Must run in a tokio runtime, which accepts for all workers.
    ///
    /// # Errors
    ///
    /// If a thread or its runtime cannot be started.
    pub fn start(listener: TcpListener, settings: Settings, table: &Table, metrics: &Registry) -> io::Result<Proxy> {
        let count = settings.config.workers;
        let max_connections = settings.config.max_connections;
        let stats = Stats::new(table.clone(), count);
        metrics.register_collector(stats.clone());
        let phase = watch::Sender::new(Phase::Running);
        let settings = watch::Sender::new(Arc::new(settings));
        let ids = RandomState::new();
        let mut senders = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (sender, accepted) = mpsc::channel(BACKLOG);
            let orders = Orders { accepted, settings: settings.subscribe(), phase: phase.subscribe() };
            let (table, current, stats, ids) = (table.clone(), settings.borrow().clone(), stats.clone(), ids.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime.block_on(Worker::new(index, table, current, stats, ids).run(orders)),
                    Err(error) => tracing::error!(%error, "cannot start a worker's runtime"),
                }
            })?);
            senders.push(sender);
        }
        let connections = stats.connections.clone();
        tokio::spawn(acceptor::run(listener, senders, connections, max_connections, phase.subscribe()));
        Ok(Proxy { phase, settings, threads, counts: Counts(stats) })
    }

    /// What the workers count.
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Replaces the settings. Exchanges under way keep those that they began with.
    pub fn reconfigure(&self, settings: Settings) {
        self.settings.send_replace(Arc::new(settings));
    }

    /// Stops to accept, asks clients to go elsewhere, and waits until their calls have finished or `cut` is ready.
    /// True if they finished.
    pub async fn stop(mut self, cut: impl Future<Output = ()>) -> bool {
        self.phase.send_replace(Phase::Draining);
        let threads = std::mem::take(&mut self.threads);
        let mut joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        tokio::select! {
            _ = &mut joined => true,
            () = cut => {
                self.phase.send_replace(Phase::Ended);
                drop(joined.await);
                false
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Ended);
    }
}
