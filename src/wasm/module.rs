//! A module: compiled, linked, and known to be of use. It runs in instances, see [`Vm`](super::vm::Vm).

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::{ExternType, InstancePre};

use super::engine::Engine;
use super::host::{Env, Host};

/// The largest file, in bytes: compiling takes a second and 10 MiB for each MiB.
pub(super) const LARGEST: u64 = 32 << 20;
/// After so many failures without a good minute in between a module is set aside.
const MOST_FAILURES: u32 = 10;
/// How long an instance must do well for earlier failures to be forgotten.
const GOOD: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What a module can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// On the way of requests and responses.
    pub filter: bool,
    /// To pick endpoints.
    pub pick: bool,
    /// To weigh them.
    pub weights: bool,
    /// To judge their health.
    pub health: bool,
    /// And to hear how the calls ended that it picked for.
    pub results: bool,
}

impl Kinds {
    /// Whether it decides something. What its SDK exports besides says nothing of whether it is a filter as well.
    pub fn is_policy(&self) -> bool {
        self.pick || self.weights || self.health
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (!self.is_policy(), "filter"),
            (self.pick, "pick policy"),
            (self.weights, "weights policy"),
            (self.health, "health policy"),
        ];
        let kinds: Vec<_> = kinds.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        f.write_str(&kinds.join(", "))
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Its name is none.
    #[error("{0}")]
    Name(String),
    /// It is not there.
    #[error("there is no file {file} in the folder {}", .folder.display())]
    Missing {
        /// Its name.
        file: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// It is too large to be compiled in a time that anybody would wait.
    #[error("it has {0} bytes, and a module may have {most} at most", most = LARGEST)]
    TooLarge(u64),
    /// It is no module, or one that the engine does not take.
    #[error("it is no WebAssembly module that can be used here: {0}")]
    Compile(String),
    /// It needs what is not there.
    #[error("it imports what there is not: {0}; filters/ABI.md lists what there is")]
    Import(String),
    /// It lacks what every module must have.
    #[error("{0}; filters/ABI.md says what a module exports")]
    Export(String),
    /// It is not what it is named for.
    #[error("{0}")]
    Kind(String),
    /// It does not start, or refuses its configuration.
    #[error("{0}")]
    Start(#[from] super::fault::Fault),
    /// The engine itself is at fault.
    #[error(transparent)]
    Engine(Arc<super::engine::EngineError>),
}

/// A compiled module.
pub struct Module {
    pub(super) env: Arc<Env>,
    pub(super) pre: InstancePre<Host>,
    kinds: Kinds,
    hash: u64,
    imports: Vec<String>,
    tally: Mutex<Tally>,
    aside: OnceLock<Aside>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({} {:016x})", self.env.module, self.hash)
    }
}

/// What went wrong lately.
#[derive(Debug, Default)]
struct Tally {
    /// Failures without a good minute in between, and when the last of them was.
    lately: u32,
    last: Option<Instant>,
    all: Failures,
}

/// What went wrong in a module since it came into force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failures {
    /// How often.
    pub count: u64,
    /// When the last time was, and what it was.
    pub last: Option<(Instant, String)>,
}

/// Why a module is not used until it is reloaded or its file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// It failed too often.
    Failed,
    /// Somebody wants it so.
    Ordered,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// It is started again after this time.
    Restart(Duration),
    /// It is not, until it is reloaded or its file is replaced.
    Aside,
}

impl Module {
    /// Compiles and links. Takes time: not for a thread that others wait for.
    pub(super) fn new(engine: &Engine, env: Arc<Env>, bytes: &[u8]) -> Result<Module, LoadError> {
        let size = bytes.len() as u64;
        if size > LARGEST {
            return Err(LoadError::TooLarge(size));
        }
        let compiled = wasmtime::Module::from_binary(&engine.engine, bytes)
            .map_err(|error| LoadError::Compile(one_line(&error)))?;
        let kinds = kinds(&compiled)?;
        let imports = compiled.imports().map(|import| format!("{}.{}", import.module(), import.name())).collect();
        let pre = engine.linker.instantiate_pre(&compiled).map_err(|error| LoadError::Import(one_line(&error)))?;
        let (tally, aside) = Default::default();
        Ok(Module { env, pre, kinds, hash: hash(bytes), imports, tally, aside })
    }

    /// The name that it is called by: that of its file.
    pub fn name(&self) -> &Arc<str> {
        &self.env.module
    }

    /// What it can be used as.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Tells versions of a file apart.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// What it imports, as `module.name`.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Why it is not used until it is reloaded or its file is replaced; none if it is.
    pub fn aside(&self) -> Option<Aside> {
        self.aside.get().copied()
    }

    /// Whether it is not used.
    pub fn is_aside(&self) -> bool {
        self.aside().is_some()
    }

    /// Has it set aside. Whoever has an instance lets it go when it would call it next.
    pub(super) fn set_aside(&self, why: Aside) {
        self.aside.get_or_init(|| why);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong so far.
    pub fn failures(&self) -> Failures {
        self.tally().all.clone()
    }

    /// Notes that something went wrong.
    pub(super) fn note(&self, why: &dyn fmt::Display, now: Instant) {
        let all = &mut self.tally().all;
        all.count += 1;
        all.last = Some((now, why.to_string()));
    }

    /// Notes that an instance failed, and says what follows.
    pub(super) fn failed(&self, why: &dyn fmt::Display, now: Instant) -> Consequence {
        self.note(why, now);
        let mut tally = self.tally();
        if tally.last.is_some_and(|last| now.saturating_duration_since(last) >= GOOD) {
            tally.lately = 0;
        }
        tally.lately += 1;
        tally.last = Some(now);
        if tally.lately >= MOST_FAILURES {
            self.set_aside(Aside::Failed);
            return Consequence::Aside;
        }
        Consequence::Restart((FIRST_PAUSE * 2u32.pow(tally.lately - 1)).min(LAST_PAUSE))
    }
}

/// An error of the engine, which likes to spread out.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What a module is for, by its marks.
fn kinds(module: &wasmtime::Module) -> Result<Kinds, LoadError> {
    let is_function = |name: &str| matches!(module.get_export(name), Some(ExternType::Func(_)));
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(LoadError::Export("it exports no memory named `memory`".to_owned()));
    }
    let versions = ["0_1_0", "0_2_0", "0_2_1", "0_2_100"];
    let filter = versions.iter().any(|version| is_function(&format!("proxy_abi_version_{version}")));
    let policy = is_function("waypost_policy_abi_1");
    if !filter && !policy {
        let text = "it has no mark that says what it is for: a filter exports `proxy_abi_version_0_2_1`, or 0_2_0, \
                    0_1_0 or 0_2_100, and a policy `waypost_policy_abi_1`";
        return Err(LoadError::Export(text.to_owned()));
    }
    let has = |name| policy && is_function(name);
    let kinds = Kinds {
        filter: filter && FILTER_CALLBACKS.iter().any(|name| is_function(name)),
        pick: has("waypost_pick"),
        weights: has("waypost_weights"),
        health: has("waypost_health"),
        results: has("waypost_result"),
    };
    if policy && !(kinds.pick || kinds.weights || kinds.health) {
        let text =
            "it says that it is a policy, and exports none of `waypost_pick`, `waypost_weights`, `waypost_health`";
        return Err(LoadError::Export(text.to_owned()));
    }
    // A filter may do all of its work on ticks.
    Ok(Kinds { filter: kinds.filter || !policy, ..kinds })
}

const FILTER_CALLBACKS: [&str; 6] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
];
