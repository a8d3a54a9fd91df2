//! The modules that the configuration names: loaded, tried out with the configuration that they are used with, watched for
//! change, and replaced as a whole. A file that is no good leaves in force what was there.

pub(super) mod file;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::file::{Look, look};
pub(super) use self::status::Telemetry;
pub use self::status::{Outcome, Status};
use super::abi::GuestMetrics;
use super::bound::Bound;
use super::config::{Config, Use};
use super::engine::Engine;
use super::host::Env;
use super::meter::Calls;
use super::module::{Aside, LoadError, Module};
use crate::table::Table;
use crate::telemetry::Registry;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a module is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To stand on the way of exchanges.
    Filter,
    /// To pick or weigh endpoints.
    Balance,
    /// To judge them.
    Health,
}

/// A module that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The key that names it, for errors.
    pub key: String,
    /// What for.
    pub role: Role,
    /// The module with its configuration.
    pub used: Use,
}

/// A module that cannot be used as the configuration wants.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{key}: module `{module}`: {why}")]
pub struct NeedError {
    /// The key that names it.
    pub key: String,
    /// The module.
    pub module: String,
    /// What is wrong.
    pub why: String,
}

/// Modules that are ready for use.
pub type Prepared = HashMap<Use, Arc<Bound>>;

/// The modules in force. Cheap to clone.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalog").field(&self.0.config).finish()
    }
}

struct Inner {
    config: Config,
    workers: usize,
    table: Table,
    metrics: Arc<GuestMetrics>,
    telemetry: Telemetry,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Made when the first module is named.
    engine: Option<Engine>,
    /// They outlive what is loaded, for shared data does.
    environments: BTreeMap<String, Arc<Env>>,
    loaded: BTreeMap<String, Loaded>,
    bounds: HashMap<Use, Arc<Bound>>,
}

struct Loaded {
    module: Arc<Module>,
    keys: BTreeSet<String>,
    roles: BTreeSet<Role>,
    since: SystemTime,
    /// The calls of those before it.
    before: Calls,
    read: (SystemTime, Outcome),
    /// The file that was acted upon last.
    handled: Option<Look>,
    /// The file at the last look: a change is acted upon when it is found twice, so that no half-written file is.
    seen: Option<Look>,
    rejected: Option<String>,
}

impl Loaded {
    /// One that comes into force now, from that state of its file.
    fn new(module: Arc<Module>, file: Option<Look>) -> Self {
        let now = SystemTime::now();
        Loaded {
            before: module.env.meters.calls(),
            module,
            keys: BTreeSet::new(),
            roles: BTreeSet::new(),
            since: now,
            read: (now, Outcome::Loaded),
            handled: file,
            seen: file,
            rejected: None,
        }
    }

    fn status(&self) -> Status {
        let meters = &self.module.env.meters;
        let calls = meters.calls();
        Status {
            name: self.module.name().clone(),
            module: self.module.clone(),
            keys: self.keys.iter().cloned().collect(),
            since: self.since,
            read: self.read,
            rejected: self.rejected.clone(),
            instances: if self.module.is_aside() { 0 } else { meters.instances(self.module.hash()) },
            calls,
            recent: calls.since(&self.before),
        }
    }
}

impl Catalog {
    /// A catalog without modules. `workers` is how many instances of a filter are wanted at once.
    pub fn new(config: Config, workers: usize, table: Table, registry: &Registry) -> Self {
        let telemetry = Telemetry::new(registry);
        let metrics = Arc::new(GuestMetrics::new(registry.clone()));
        let (state, changed) = (Mutex::default(), watch::Sender::new(0));
        let catalog = Catalog(Arc::new(Inner { config, workers, table, metrics, telemetry, state, changed }));
        registry.register_collector(catalog.clone());
        catalog
    }

    /// The limits that hold for modules.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Loads what is needed and not loaded yet, and tries it out. What is not needed any more is forgotten. Nothing
    /// changes if something is wrong.
    ///
    /// # Errors
    ///
    /// Each module that cannot be used, with the reason.
    pub async fn prepare(&self, needs: Vec<Need>) -> Result<Prepared, Vec<NeedError>> {
        let inner = self.0.clone();
        let prepared = tokio::task::spawn_blocking(move || inner.prepare(&needs));
        // It does not panic; if it did, so would we.
        prepared.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Looks at a module's file now, if the version with this hash is in force: a file that changed takes its place, and
    /// one that was set aside starts afresh. What is known of the module then; `None` if another version is in force.
    pub async fn reload(&self, name: &str, hash: u64) -> Option<Status> {
        self.find(name, hash)?;
        let (inner, file) = (self.0.clone(), name.to_owned());
        let reloaded = tokio::task::spawn_blocking(move || {
            let now = inner.config.place(&file).ok().and_then(|file| look(&file));
            inner.replace(&file, now);
        });
        reloaded.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.status().into_iter().find(|status| *status.name == *name)
    }

    /// Sets a module aside, if the version with this hash is in force: until it is reloaded or its file is replaced,
    /// policies leave it to others, and filters are as if they failed. False if another version is in force.
    pub fn set_aside(&self, name: &str, hash: u64) -> bool {
        self.find(name, hash).is_some_and(|status| {
            status.module.set_aside(Aside::Ordered);
            true
        })
    }

    /// What is known of a module, if that version is in force.
    pub fn find(&self, name: &str, hash: u64) -> Option<Status> {
        let state = self.0.lock();
        state.loaded.get(name).filter(|loaded| loaded.module.hash() == hash).map(Loaded::status)
    }

    /// Wakes when a module was replaced; then [`prepare`](Self::prepare) gives the new one.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Looks at the files each second. Runs until it is dropped.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let inner = self.0.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || inner.look()).await {
                tracing::error!(%error, "looking at module files failed");
            }
        }
    }

    /// The modules in force.
    pub fn status(&self) -> Vec<Status> {
        let state = self.0.lock();
        state.loaded.values().map(Loaded::status).collect()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and compiles a module's file.
    fn load(&self, name: &str) -> Result<Module, LoadError> {
        let file = self.config.place(name).map_err(LoadError::Name)?;
        let bytes = file::read(&file)?;
        let (engine, env) = self.engine_and_env(name)?;
        Module::new(&engine, env, &bytes)
    }

    fn engine_and_env(&self, name: &str) -> Result<(Engine, Arc<Env>), LoadError> {
        let mut state = self.lock();
        if state.engine.is_none() {
            let engine =
                Engine::new(self.config.cache.as_deref()).map_err(|error| LoadError::Engine(Arc::new(error)))?;
            state.engine = Some(engine);
        }
        let env = state.environments.entry(name.to_owned()).or_insert_with(|| {
            let (buffer, memory) = (self.config.buffer_limit as usize, self.config.memory_limit as usize);
            let env = Env::new(name, self.metrics.clone(), self.table.clone(), buffer, memory);
            Arc::new(Env { telemetry: self.telemetry.clone(), ..env })
        });
        let env = env.clone();
        state.engine.clone().map(|engine| (engine, env)).ok_or_else(|| LoadError::Compile("no engine".to_owned()))
    }

    fn prepare(&self, needs: &[Need]) -> Result<Prepared, Vec<NeedError>> {
        let mut errors = Vec::new();
        let mut modules: BTreeMap<&str, (Arc<Module>, Option<Look>)> = BTreeMap::new();
        let mut bounds = Prepared::new();
        for Need { key, role, used } in needs {
            let name = used.module.as_str();
            let error = |why: String| NeedError { key: key.clone(), module: name.to_owned(), why };
            let module = match (modules.get(name), self.lock().loaded.get(name)) {
                (Some((module, _)), _) => Ok(module.clone()),
                (None, Some(loaded)) => Ok(loaded.module.clone()),
                (None, None) => Err(()),
            };
            let module = match module {
                Ok(module) => module,
                Err(()) => {
                    let seen = self.config.place(name).ok().and_then(|file| look(&file));
                    match self.load(name) {
                        Ok(module) => {
                            let module = Arc::new(module);
                            modules.insert(name, (module.clone(), seen));
                            module
                        }
                        Err(why) => {
                            self.telemetry.loaded(name, "refused");
                            errors.push(error(why.to_string()));
                            continue;
                        }
                    }
                }
            };
            if let Err(why) = fits(&module, *role) {
                errors.push(error(why));
                continue;
            }
            match self.bind(&module, used) {
                Ok(bound) => drop(bounds.insert(used.clone(), bound)),
                Err(fault) => errors.push(error(fault.to_string())),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut state = self.lock();
        state.loaded.retain(|name, _| needs.iter().any(|need| need.used.module == *name));
        for (name, (module, seen)) in modules {
            self.telemetry.loaded(name, "loaded");
            tracing::info!(module = name, kind = %module.kinds(), "module loaded");
            state.loaded.insert(name.to_owned(), Loaded::new(module, seen));
        }
        for (name, loaded) in &mut state.loaded {
            let of_it = || needs.iter().filter(|need| need.used.module == *name);
            loaded.keys = of_it().map(|need| need.key.clone()).collect();
            loaded.roles = of_it().map(|need| need.role).collect();
        }
        state.bounds.clone_from(&bounds);
        Ok(bounds)
    }

    /// The module with this configuration: as it is in force, or made and tried out.
    fn bind(&self, module: &Arc<Module>, used: &Use) -> Result<Arc<Bound>, super::fault::Fault> {
        if let Some(bound) = self.lock().bounds.get(used).filter(|bound| Arc::ptr_eq(bound.module(), module)) {
            return Ok(bound.clone());
        }
        let count = if module.kinds().is_policy() { 1 } else { self.workers };
        Bound::new(module.clone(), &used.config, count, self.telemetry.clone()).map(Arc::new)
    }

    /// Looks at all files, and acts upon those that changed and have come to rest.
    fn look(&self) {
        let names: Vec<String> = self.lock().loaded.keys().cloned().collect();
        for name in names {
            let now = self.config.place(&name).ok().and_then(|file| look(&file));
            let changed = {
                let mut state = self.lock();
                let Some(loaded) = state.loaded.get_mut(&name) else { continue };
                let before = std::mem::replace(&mut loaded.seen, now);
                now == before && now != loaded.handled
            };
            if changed {
                self.replace(&name, now);
            }
        }
    }

    fn replace(&self, name: &str, now: Option<Look>) {
        let result = self.try_replace(name);
        let mut state = self.lock();
        let Some(loaded) = state.loaded.get_mut(name) else { return };
        match result {
            Ok(None) => {
                (loaded.handled, loaded.rejected) = (now, None);
                loaded.read = (SystemTime::now(), Outcome::Same);
            }
            Ok(Some((module, bounds))) => {
                let (keys, roles) = (std::mem::take(&mut loaded.keys), std::mem::take(&mut loaded.roles));
                *loaded = Loaded { keys, roles, ..Loaded::new(module, now) };
                state.bounds.extend(bounds);
                drop(state);
                self.telemetry.loaded(name, "loaded");
                tracing::info!(module = name, "the file changed: the new module is in force");
                self.changed.send_modify(|n| *n += 1);
            }
            Err(why) => {
                self.telemetry.loaded(name, "refused");
                tracing::error!(module = name, "the file changed and is no good, the old module stays in force: {why}");
                (loaded.handled, loaded.rejected) = (now, Some(why.to_string()));
                loaded.read = (SystemTime::now(), Outcome::Refused);
            }
        }
    }

    /// The new version of a module, with all that it is used for; `None` if it is the same.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn try_replace(&self, name: &str) -> Result<Option<(Arc<Module>, Vec<(Use, Arc<Bound>)>)>, LoadError> {
        let module = Arc::new(self.load(name)?);
        let (same, uses): (bool, Vec<Use>) = {
            let state = self.lock();
            let same = state.loaded.get(name).is_some_and(|old| {
                // One that was set aside gets another chance when its file is written again.
                old.module.hash() == module.hash() && !old.module.is_aside()
            });
            (same, state.bounds.keys().filter(|used| used.module == name).cloned().collect())
        };
        if same {
            return Ok(None);
        }
        let roles = self.lock().loaded.get(name).map(|loaded| loaded.roles.clone()).unwrap_or_default();
        roles.into_iter().try_for_each(|role| fits(&module, role)).map_err(LoadError::Kind)?;
        let bounds = uses.into_iter().map(|used| Ok((used.clone(), self.bind(&module, &used)?)));
        let bounds = bounds.collect::<Result<_, LoadError>>()?;
        Ok(Some((module, bounds)))
    }
}

/// Whether a module is what it is named for.
fn fits(module: &Module, role: Role) -> Result<(), String> {
    let kinds = module.kinds();
    let (fits, wanted) = match role {
        Role::Filter => (kinds.filter, "filter"),
        Role::Balance => (kinds.pick || kinds.weights, "pick or weights policy"),
        Role::Health => (kinds.health, "health policy"),
    };
    if fits { Ok(()) } else { Err(format!("it is a {kinds}, and here a {wanted} is wanted")) }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}
