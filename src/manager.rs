//! The entry for programs: finds its settings by itself, and hands out what they ask for.
//!
//! ```no_run
//! use waypost::Manager;
//!
//! # async fn example() -> Result<(), waypost::Error> {
//! let manager = Manager::connect()?;
//! let registration = manager.registry().register("greeter", "one", "10.0.0.7:50051").await?;
//! let web = manager.discovery().await.resolve("web", &Default::default())?;
//! println!("web is at {}", web.address);
//! registration.deregister().await?;
//! manager.close().await;
//! # Ok(())
//! # }
//! ```

mod builder;
mod find;
mod preset;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use builder::Builder;
pub use preset::Preset;
pub use settings::Settings;

#[cfg(feature = "channel")]
use crate::channel::{self, Channel};
use crate::discovery::Discovery;
use crate::etcd::{self, Client, DEFAULT_CLIENT, Metrics};
use crate::registry::{Centre, Closer, Elections, Error, Leases, Locks, Registry};
use crate::table::Source;

/// Connections to one or several etcd clusters, and all that is done through them. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    default: Registry,
    registries: BTreeMap<String, Registry>,
    discovery: OnceCell<Discovery>,
    /// For each client, whether it is well, once somebody asked.
    health: Mutex<BTreeMap<String, (watch::Receiver<bool>, Guard)>>,
    /// Ends registrations, locks and candidacies.
    closer: Arc<Closer>,
}

#[derive(Debug)]
struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Manager {
    /// A manager that finds its settings by itself: environment variables first, then the file that `WAYPOST_CONFIG`
    /// names, or else the first that there is of `etcd-config.json`, `etcd-config.yaml`, `etcd-config.yml`,
    /// `config/etcd.json`, `config/etcd.yaml` and `config/etcd.yml` in the working directory, then the defaults. Nothing
    /// is dialled before it is needed. To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with everything that is wrong.
    pub fn connect() -> Result<Self, Error> {
        Manager::builder().connect()
    }

    /// A manager with the settings of this file, below environment variables.
    ///
    /// # Errors
    ///
    /// As [`connect`](Manager::connect); also that there is no such file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Manager::builder().file(path).connect()
    }

    /// A manager with these settings, and nothing else. To be called in a tokio runtime.
    pub fn with_config(settings: Settings) -> Self {
        let closer = Arc::new(Closer::new());
        let metrics = Metrics::default();
        let registry = |name: &str, config: &etcd::Config| {
            let client = Client::new(name, config.clone(), metrics.clone());
            Registry::new(client, settings.registry.clone()).closed_by(&closer)
        };
        let default = registry(DEFAULT_CLIENT, &settings.etcd.get(DEFAULT_CLIENT).cloned().unwrap_or_default());
        let others = settings.etcd.iter().filter(|(name, _)| *name != DEFAULT_CLIENT);
        let mut registries: BTreeMap<_, _> =
            others.map(|(name, config)| (name.clone(), registry(name, config))).collect();
        registries.insert(DEFAULT_CLIENT.to_owned(), default.clone());
        let (discovery, health) = (OnceCell::new(), Mutex::default());
        Manager { inner: Arc::new(Inner { settings, default, registries, discovery, health, closer }) }
    }

    /// Settings of a program's own, which count before all others.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What holds in the end.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The registry of the default client.
    pub fn registry(&self) -> &Registry {
        &self.inner.default
    }

    /// The registry of a named client.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no client has that name.
    pub fn registry_of(&self, client: &str) -> Result<&Registry, Error> {
        self.inner.registries.get(client).ok_or_else(|| {
            let known: Vec<_> = self.inner.registries.keys().map(String::as_str).collect();
            Error::Invalid { what: "the client", reason: format!("`{client}` is none of {}", known.join(", ")) }
        })
    }

    /// Leases of the default client's cluster.
    pub fn leases(&self) -> Leases {
        self.registry().leases()
    }

    /// Locks in the default client's cluster.
    pub fn locks(&self) -> Locks {
        self.registry().locks()
    }

    /// Elections in the default client's cluster.
    pub fn elections(&self) -> Elections {
        self.registry().elections()
    }

    /// Plain keys in the default client's cluster.
    pub fn centre(&self) -> Centre {
        self.registry().centre()
    }

    /// What is registered, from all prefixes of the settings; followed from the first call on. Does not wait for etcd:
    /// [`Discovery::ready`] does. Cancel-safe.
    pub async fn discovery(&self) -> &Discovery {
        let settings = &self.inner.settings;
        let start = || async {
            let prefixes = settings.prefixes.iter();
            let sources = prefixes.filter_map(|prefix| {
                let client = self.inner.registries.get(&prefix.client)?.client().clone();
                Some(Source { prefix: prefix.clone(), client })
            });
            Discovery::start(sources.collect(), settings.table.clone()).await
        };
        self.inner.discovery.get_or_init(start).await
    }

    /// A channel to a service for tonic's generated clients, with the usual settings; it waits as long as a call to etcd
    /// may take for what is registered. Cancel-safe.
    #[cfg(feature = "channel")]
    pub async fn channel(&self, service: &str) -> Channel {
        let wait = self.inner.default.client().config().call_timeout;
        self.channel_with(service, channel::Config { wait, ..channel::Config::default() }).await
    }

    /// The same with settings of its own.
    #[cfg(feature = "channel")]
    pub async fn channel_with(&self, service: &str, config: channel::Config) -> Channel {
        Channel::new(self.discovery().await.table().clone(), service, config)
    }

    /// Asks the default client's cluster for a sign of life, and gives back how long that took.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if there is none in the time that the settings give it, and those of etcd. Cancel-safe.
    pub async fn ping(&self) -> Result<Duration, Error> {
        ping(self.registry()).await
    }

    /// Whether a client's cluster is well: asked for at once and then as often as the settings say.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no client has that name.
    pub fn health(&self, client: &str) -> Result<watch::Receiver<bool>, Error> {
        let registry = self.registry_of(client)?.clone();
        let mut health = self.inner.health.lock().unwrap_or_else(PoisonError::into_inner);
        let (receiver, _) = health.entry(client.to_owned()).or_insert_with(|| {
            let (sender, receiver) = watch::channel(false);
            let asking = async move {
                loop {
                    let well = ping(&registry).await;
                    if let Err(error) = &well {
                        tracing::debug!(%error, "etcd is not well");
                    }
                    sender.send_if_modified(|known| std::mem::replace(known, well.is_ok()) != well.is_ok());
                    sleep(registry.config().health_interval).await;
                }
            };
            (receiver, Guard(tokio::spawn(asking)))
        });
        Ok(receiver.clone())
    }

    /// Ends everything in order, whoever still holds a part of it: registrations, locks and candidacies are taken back,
    /// then etcd is followed no longer. Connections close with the last handle. What is asked for later fails. Cancelled,
    /// it goes on in the background; may be called again.
    pub async fn close(&self) {
        self.inner.closer.close().await;
        if let Some(discovery) = self.inner.discovery.get() {
            discovery.close().await;
        }
        self.inner.health.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn ping(registry: &Registry) -> Result<Duration, Error> {
    let limit = registry.config().health_timeout;
    let start = Instant::now();
    match timeout(limit, registry.client().get(b"\0")).await {
        // Whoever may not read this key has been answered all the same.
        Ok(Err(error)) if !error.is_denied() => Err(error.into()),
        Ok(_) => Ok(start.elapsed()),
        Err(_) => Err(Error::Missing(format!("etcd did not answer within {limit:?}"))),
    }
}
