//! Finding instances: what the table knows, for programs that call services or show them. Every answer comes from memory
//! and says how old it may be; nothing here waits for etcd but [`Discovery::ready`].

mod filter;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use filter::Filter;
pub use watch::{Event, Events};

use crate::registry::{Error, Instance};
use crate::table::{self, Endpoint, Source, Table, Tasks};

/// The instances of every service whose name begins with a watch's prefix.
pub type Map = BTreeMap<String, Vec<Arc<Instance>>>;

/// Names a watch, to remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(u64);

/// What is registered, kept current in the background. Cheap to clone; the last one ends it.
#[derive(Debug, Clone)]
pub struct Discovery {
    table: Table,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tasks: tokio::sync::Mutex<Option<Tasks>>,
    watches: Mutex<(u64, BTreeMap<WatchId, Guard>)>,
}

/// Ends its task when dropped.
#[derive(Debug)]
struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Discovery {
    /// Starts to follow these prefixes, on the runtime that it is called on. Does not wait for etcd.
    pub async fn start(sources: Vec<Source>, config: table::Config) -> Self {
        let (table, tasks) = table::start(sources, config).await;
        Discovery { table, inner: Arc::new(Inner { tasks: Some(tasks).into(), watches: Mutex::default() }) }
    }

    /// The table behind it.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Waits until all prefixes have been read once, for so long at most.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with what keeps etcd from being read. Cancel-safe.
    pub async fn ready(&self, limit: Duration) -> Result<(), Error> {
        let mut changes = self.table.subscribe();
        let ready = changes.wait_for(|_| self.table.ready());
        if timeout(limit, ready).await.is_ok() {
            return Ok(());
        }
        let reasons: Vec<_> = self.table.prefixes().into_iter().filter_map(|prefix| prefix.error).collect();
        let reason = if reasons.is_empty() { "etcd has not answered".to_owned() } else { reasons.join("; ") };
        Err(Error::Missing(format!("the registry could not be read within {limit:?}: {reason}")))
    }

    /// How long ago etcd last said anything of the prefix of which it is longest; none if of one it never did.
    pub fn age(&self) -> Option<Duration> {
        let ages = self.table.prefixes().into_iter().map(|prefix| prefix.age);
        ages.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// The names of all services that have instances, in order.
    pub fn services(&self) -> Vec<String> {
        let slots = self.table.slots();
        let mut names: Vec<_> =
            slots.iter().filter(|(_, slot)| !slot.endpoints().is_empty()).map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }

    /// The instances of a service that the filter lets through.
    pub fn instances(&self, service: &str, filter: &Filter) -> Instances {
        let slot = self.table.slot(service);
        let endpoints = slot.as_ref().map(|slot| slot.endpoints()).unwrap_or_default();
        let list = endpoints.iter().filter(|endpoint| filter.lets(&endpoint.instance)).map(instance).collect();
        Instances { list, known: slot.is_some(), age: self.age() }
    }

    /// One instance of a service that the filter lets through, drawn by weight; those of weight 0 only if there is no
    /// other.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], which tells an unknown service from one that has no instances now, and from one of which none
    /// is let through.
    pub fn resolve(&self, service: &str, filter: &Filter) -> Result<Arc<Instance>, Error> {
        let Instances { list, known, .. } = self.instances(service, filter);
        let weights: u64 = list.iter().map(|instance| u64::from(instance.weight)).sum();
        let mut place = if weights == 0 { 0 } else { fastrand::u64(..weights) };
        let drawn = list.iter().find(|instance| {
            let weight = u64::from(instance.weight);
            let here = place < weight;
            place = place.saturating_sub(weight);
            here
        });
        if let Some(instance) = drawn.or_else(|| fastrand::choice(list.iter())) {
            return Ok(instance.clone());
        }
        Err(Error::Missing(match (known, self.table.ready()) {
            (true, _) if *filter != Filter::default() => format!("no instance of service `{service}` is as wanted"),
            (true, _) => format!("service `{service}` has no instances now: all registrations are gone"),
            (false, true) => format!("unknown service `{service}`: nothing is registered under that name"),
            (false, false) => format!("service `{service}` is not known yet: the registry has not been read"),
        }))
    }

    /// What happens to the instances of services whose names begin with `prefix`; first that those who are there have
    /// come. An empty prefix is all services.
    ///
    /// ```no_run
    /// # use futures_util::StreamExt;
    /// # async fn example(discovery: waypost::discovery::Discovery) {
    /// let mut events = discovery.watch("team/");
    /// while let Some(event) = events.next().await {
    ///     println!("{event:?}");
    /// }
    /// # }
    /// ```
    pub fn watch(&self, prefix: &str) -> Events {
        Events::new(self.table.clone(), prefix)
    }

    /// Calls back with all instances of all services whose names begin with `prefix`: at once, and then whenever one of
    /// them changed, the callbacks of one watch one after the other. A callback must not block; it runs in a task of the
    /// runtime that this is called on.
    pub fn add_watch(&self, prefix: &str, mut callback: impl FnMut(&Map) + Send + 'static) -> WatchId {
        let (table, prefix) = (self.table.clone(), prefix.to_owned());
        let task = tokio::spawn(async move {
            let mut changes = table.subscribe();
            let mut known: Option<Map> = None;
            loop {
                changes.borrow_and_update();
                let map = map(&table, &prefix);
                // What is not known yet is not the same as nothing.
                if table.ready() && known.as_ref() != Some(&map) {
                    callback(&map);
                    known = Some(map);
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        let mut watches = self.watches();
        watches.0 += 1;
        let id = WatchId(watches.0);
        watches.1.insert(id, Guard(task));
        id
    }

    /// Ends a watch: a callback that runs now is the last one. False: there was none.
    pub fn remove_watch(&self, id: WatchId) -> bool {
        self.watches().1.remove(&id).is_some()
    }

    /// Ends all watches and follows etcd no longer. What is known can still be read.
    pub async fn close(&self) {
        self.watches().1.clear();
        self.inner.tasks.lock().await.take();
    }

    fn watches(&self) -> MutexGuard<'_, (u64, BTreeMap<WatchId, Guard>)> {
        self.inner.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn instance(endpoint: &Endpoint) -> Arc<Instance> {
    endpoint.instance.clone()
}

fn map(table: &Table, prefix: &str) -> Map {
    let slots = table.slots();
    let slots = slots.iter().filter(|(service, _)| service.starts_with(prefix));
    let lists = slots.map(|(service, slot)| (service.to_string(), slot.endpoints().iter().map(instance).collect()));
    lists.filter(|(_, list): &(_, Vec<_>)| !list.is_empty()).collect()
}

/// The instances of a service at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// The instances, those whose registration vanished in doubtful circumstances included.
    pub list: Vec<Arc<Instance>>,
    /// Whether the service is known, be it that it has no instances now.
    pub known: bool,
    /// How long ago etcd last said anything of what this comes from. None: it never did.
    pub age: Option<Duration>,
}

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.list.iter().map(|instance| instance.address.to_string()).collect();
        f.write_str(&addresses.join(", "))
    }
}
