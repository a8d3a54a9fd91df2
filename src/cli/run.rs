//! `waypost run`: puts the rooms of the house together, hands changed settings to them, and closes them in reverse order
//! when told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::process::{self, Error, Stop, listen};
use super::sources::Given;
use super::{Failure, Outcome, Reloader, Settings, Sources};
use crate::admin::{self, PrefixReadiness, Readiness};
use crate::balance::Balance;
use crate::config::{Effective, Errors};
use crate::etcd::{self, Client};
use crate::health::{self, Health, Policies, PolicySettings, PolicyThread, ServiceSettings};
use crate::proxy::{self, Proxy};
use crate::route::Router;
use crate::table::{self, PrefixStatus, Source, Table};
use crate::telemetry::{LogHandle, Registry, init_log, names};
use crate::wasm::{Catalog, NeedError, Prepared};

/// Run the proxy until SIGTERM or Ctrl-C.
///
/// For each setting, arguments count first, then variables (WAYPOST_PROXY_LISTEN for proxy.listen, WAYPOST_CONFIG for
/// the file), then the file, then defaults. The file is read again when it changes, and on SIGHUP.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost run
  waypost run --config waypost.yaml
  waypost run --listen 0.0.0.0:8400 --etcd http://etcd-0:2379,http://etcd-1:2379 --prefix /services/
  waypost run --set services.default.balance=least_request
  WAYPOST_ETCD_USER=proxy WAYPOST_ETCD_PASSWORD=... waypost run")]
pub(super) struct Arguments {
    #[command(flatten)]
    given: Given,
}

pub(super) fn run(arguments: Arguments, environment: Vec<(String, String)>) -> Result<(), Failure> {
    let (reloader, settings) = Reloader::start(Sources::new(arguments.given, environment))?;
    let log = init_log(&settings.borrow().log);
    process::run(async {
        let now = settings.borrow().clone();
        let data = listen("proxy", "proxy.listen", now.proxy.listen).await?;
        let admin = listen("admin", "admin.listen", now.admin.listen).await?;
        serve(reloader, settings, &log, data, admin).await
    })??;
    Ok(())
}

/// Runs everything on these listeners until a signal asks to stop, and stops it.
pub(super) async fn serve(
    reloader: Reloader,
    mut settings: watch::Receiver<Arc<Settings>>,
    log: &LogHandle,
    data: TcpListener,
    admin: TcpListener,
) -> Result<(), Error> {
    let mut stop = Stop::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut now = settings.borrow_and_update().clone();

    let registry = Registry::default();
    let reloads = Reloads::new(&registry);
    let mut clients = Clients::new(&registry);
    let (table, mut tasks) = table::start(clients.sources(&now), now.table.clone()).await;
    registry.register_collector(table.clone());
    let (health, _judging) = health::start(table.clone(), judging(&now), &registry);
    let catalog = Catalog::new(now.wasm.clone(), now.proxy.workers, table.clone(), &registry);
    let effective = reloader.effective();
    let first = effective.borrow().clone();
    let mut modules = prepare(&catalog, &now, &first).await.map_err(Error::Modules)?;
    let proxy = Proxy::start(data, carrying(&now, &modules, &table, &health), &table, &registry)?;
    let policies = PolicyThread::start(table.clone(), health.clone(), deciding(&now, &modules))?;
    let mut replaced = catalog.subscribe();
    let watching = tokio::spawn(catalog.clone().watch());
    let (end_admin, admin_ends) = oneshot::channel::<()>();
    let started = Instant::now();
    let (shown, in_force) = watch::channel(Arc::new(showing(&now, &effective, &clients, started)));
    let lock_prefixes = now.admin.lock_prefixes.clone();
    let sources = admin::Sources {
        table: table.clone(),
        health: health.clone(),
        calls: calls(&proxy),
        in_force,
        lock_prefixes,
        modules: catalog.clone(),
    };
    let state = admin::State {
        registry,
        readiness: readiness(table.clone()),
        sources,
        names: now.admin.names.clone(),
        token_file: now.admin.token_file.clone(),
    };
    let admin = tokio::spawn(async move {
        if let Err(error) = admin::serve(admin, state, async { drop(admin_ends.await) }).await {
            tracing::error!(%error, "the admin server has ended; calls go on");
        }
    });

    {
        let told = async || {
            if hangup.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let try_out =
            async |settings: &Settings, effective: &Effective| prepare(&catalog, settings, effective).await.map(drop);
        let mut reloading = std::pin::pin!(reloader.run(told, try_out, |outcome| reloads.count(outcome)));
        loop {
            tokio::select! {
                () = stop.told() => break,
                () = &mut reloading => {}
                Ok(()) = settings.changed() => {
                    now = settings.borrow_and_update().clone();
                    // They were tried out before, and are ready.
                    if let Ok(prepared) = catalog.prepare(now.needs()).await {
                        modules = prepared;
                    }
                    log.apply(&now.log);
                    tasks.reconfigure(clients.sources(&now), now.table.clone()).await;
                    health.reconfigure(judging(&now)).await;
                    proxy.reconfigure(carrying(&now, &modules, &table, &health));
                    policies.reconfigure(deciding(&now, &modules));
                    shown.send_replace(Arc::new(showing(&now, &effective, &clients, started)));
                }
                Ok(()) = replaced.changed() => {
                    replaced.borrow_and_update();
                    // What was in force a moment ago can be used as it could then.
                    if let Ok(prepared) = catalog.prepare(now.needs()).await {
                        modules = prepared;
                        proxy.reconfigure(carrying(&now, &modules, &table, &health));
                        policies.reconfigure(deciding(&now, &modules));
                    }
                }
            }
        }
    }

    watching.abort();
    let grace = now.proxy.grace;
    tracing::info!(?grace, "stopping: calls under way may finish; a second signal cuts them");
    let cut = async {
        tokio::select! {
            () = stop.told() => {}
            () = tokio::time::sleep(grace) => {}
        }
    };
    if proxy.stop(cut).await {
        // The last answers have been counted: whoever is just reading them may do so.
        let _ = end_admin.send(());
        tokio::select! {
            _ = admin => {}
            () = stop.told() => {}
        }
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped with calls under way");
    }
    Ok(())
}

/// Loads and tries out the modules that the settings name; what is wrong with them stands where they are named.
pub(super) async fn prepare(catalog: &Catalog, settings: &Settings, effective: &Effective) -> Result<Prepared, Errors> {
    for file in settings.shadowed() {
        tracing::warn!("{file}");
    }
    catalog.prepare(settings.needs()).await.or_else(|wrong| {
        let wrong = wrong.into_iter().map(|NeedError { key, module, why }| (key, format!("module `{module}`: {why}")));
        effective.errors(wrong).map_or_else(|| Ok(Prepared::new()), Err)
    })
}

/// What the data plane needs of the settings.
fn carrying(settings: &Settings, modules: &Prepared, table: &Table, health: &Health) -> proxy::Settings {
    let table = table.clone();
    proxy::Settings {
        config: settings.proxy.clone(),
        router: Router::new(&settings.routing),
        services: settings.services.clone(),
        filters: settings.filters.clone(),
        modules: modules.clone(),
        wasm: settings.wasm.clone(),
        health: health.clone(),
        access_log: settings.log.access,
        ready: Box::new(move || table.ready()),
    }
}

/// What health needs of the settings.
fn judging(settings: &Settings) -> health::Settings {
    health::Settings { of: by_service(settings) }
}

fn by_service(settings: &Settings) -> Box<dyn Fn(&str) -> ServiceSettings + Send + Sync> {
    let services = settings.services.clone();
    Box::new(move |name: &str| {
        let proxy::Service { health, upstream, .. } = services.of(name);
        ServiceSettings { health: health.clone(), upstream: upstream.clone() }
    })
}

/// What the policies that weigh and judge need of the settings.
fn deciding(settings: &Settings, modules: &Prepared) -> PolicySettings {
    let (services, modules) = (settings.services.clone(), modules.clone());
    let of = move |name: &str| {
        let service = services.of(name);
        let weights = match &service.balance {
            Balance::Module(used) => modules.get(used).filter(|bound| bound.module().kinds().weights),
            Balance::Native(_) => None,
        };
        let health = service.health.policy.as_ref().and_then(|used| modules.get(used));
        Policies { weights: weights.cloned(), health: health.cloned() }
    };
    PolicySettings { of: Box::new(of), services: by_service(settings) }
}

/// What the dashboard shows of the settings.
fn showing(
    settings: &Settings,
    effective: &watch::Receiver<Effective>,
    clients: &Clients,
    started: Instant,
) -> admin::InForce {
    let services = settings.services.clone();
    admin::InForce {
        text: effective.borrow().to_string(),
        routing: settings.routing.clone(),
        services: Box::new(move |name| {
            let proxy::Service { balance, health, .. } = services.of(name);
            (balance.clone(), health.clone())
        }),
        clients: clients.watching(settings),
        operator: clients.clients.get(admin::OPERATOR).cloned(),
        locks: clients.clients.get(&settings.admin.lock_client).cloned(),
        started,
    }
}

/// What the dashboard shows of calls.
fn calls(proxy: &Proxy) -> Box<dyn Fn() -> BTreeMap<Arc<str>, admin::Calls> + Send + Sync> {
    let counts = proxy.counts();
    Box::new(move || {
        let calls = |proxy::Calls { latency, outcomes }: proxy::Calls| {
            let sum =
                |which: &dyn Fn(&str) -> bool| outcomes.iter().filter(|(name, _)| which(name)).map(|(_, n)| n).sum();
            let unanswered = sum(&|name| !["answered", "cancelled"].contains(&name));
            admin::Calls { latency, ended: sum(&|_| true), unanswered }
        };
        counts.calls().into_iter().map(|(name, counted)| (name, calls(counted))).collect()
    })
}

/// Counts what came of reading the configuration again.
struct Reloads(Family<[(&'static str, &'static str); 1], Counter>);

impl Reloads {
    fn new(registry: &Registry) -> Self {
        let reloads = Reloads(Family::default());
        registry.register(names::CONFIG_RELOADS, "Times the configuration was read again", reloads.0.clone());
        reloads
    }

    fn count(&self, outcome: &Outcome) {
        let result = match outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::Rejected(_) => "rejected",
        };
        self.0.get_or_create(&[("result", result)]).inc();
    }
}

/// The etcd clients by name.
struct Clients {
    metrics: etcd::Metrics,
    clients: BTreeMap<String, Client>,
}

impl Clients {
    fn new(registry: &Registry) -> Self {
        Clients { metrics: etcd::Metrics::new(registry), clients: BTreeMap::new() }
    }

    /// The prefixes with their clients. A client whose settings are as before is kept, and with it its connections.
    fn sources(&mut self, settings: &Settings) -> Vec<Source> {
        let old = std::mem::take(&mut self.clients);
        for (name, config) in &settings.etcd {
            let kept = old.get(name).filter(|client| client.config() == config).cloned();
            let client = kept.unwrap_or_else(|| Client::new(name, config.clone(), self.metrics.clone()));
            self.clients.insert(name.clone(), client);
        }
        // That each prefix names a client was checked when the settings were read.
        let source = |prefix: &table::Prefix| {
            let client = self.clients.get(&prefix.client)?.clone();
            Some(Source { prefix: prefix.clone(), client })
        };
        settings.prefixes.iter().filter_map(source).collect()
    }

    /// The clients that prefixes are watched with.
    fn watching(&self, settings: &Settings) -> Vec<Client> {
        let watches = |name: &str| settings.prefixes.iter().any(|prefix| prefix.client == name);
        self.clients.iter().filter(|(name, _)| watches(name)).map(|(_, client)| client.clone()).collect()
    }
}

/// What `/readyz` asks.
fn readiness(table: Table) -> Box<dyn Fn() -> Readiness + Send + Sync> {
    let start = Instant::now();
    Box::new(move || {
        let prefixes = table.prefixes();
        let several = prefixes.windows(2).any(|pair| pair[0].client != pair[1].client);
        let was_ready = table.ready();
        let state = |status: PrefixStatus| {
            let PrefixStatus { client, prefix, revision, age, listed, error, .. } = status;
            PrefixReadiness {
                name: if several { format!("{client} {prefix}") } else { prefix.to_string() },
                // A prefix that was added later does not take back that calls are served.
                revision: (listed || was_ready).then_some(revision),
                age: age.unwrap_or_else(|| start.elapsed()),
                problem: error.or_else(|| (!listed && was_ready).then(|| "not listed yet".to_owned())),
            }
        };
        Readiness { prefixes: prefixes.into_iter().map(state).collect() }
    })
}
