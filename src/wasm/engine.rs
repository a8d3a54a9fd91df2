//! The engine that compiles and runs modules: its limits and its clock.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::{Linker, UpdateDeadline};

use super::abi;
use super::cache;
use super::host::Host;

/// The engine's clock ticks so often; the time of a call is counted in ticks.
const TICK: Duration = Duration::from_millis(1);
/// The stack of a module, for all its calls into itself.
const STACK: usize = 512 << 10;

/// Time that a callback may take, of its thread's own processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget(Duration);

impl Budget {
    /// A pick, and the result of one.
    pub(super) const PICK: Budget = Budget(Duration::from_millis(1));
    /// Every other callback.
    pub(super) const CALLBACK: Budget = Budget(Duration::from_millis(10));
    /// Instantiation, start and configuration, each.
    pub(super) const START: Budget = Budget(Duration::from_secs(5));

    /// The same in ticks, of which the one that runs already does not count.
    pub(super) fn ticks(self) -> u64 {
        (self.0.as_millis() / TICK.as_millis()) as u64 + 1
    }

    /// What the thread's clock shows as a call begins. Reading it is dear, so that short calls do so only when their time is
    /// up by the wall clock, and then have as much again.
    pub(super) fn begin(self) -> Option<Duration> {
        (self == Budget::START).then(thread_time)
    }

    /// What becomes of a call whose time is up by the wall clock, called again and again. The thread's own clock, which
    /// is dear to read, is asked only now: another program may have had the processor meanwhile. `since` is what it
    /// showed the first time.
    pub(super) fn look(self, since: &mut Option<Duration>) -> UpdateDeadline {
        let now = thread_time();
        match since {
            Some(since) if now.saturating_sub(*since) >= self.0 => UpdateDeadline::Interrupt,
            _ => {
                since.get_or_insert(now);
                UpdateDeadline::Continue(1)
            }
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget::START
    }
}

fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Compiles modules and links them with the host's functions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Arc<Linker<Host>>,
    /// Held while somebody may run a module: the clock ticks as long.
    _running: Arc<AtomicBool>,
}

impl Engine {
    /// An engine that keeps what it compiles in this folder, or nowhere. If the folder is no place for that, this is logged,
    /// and nothing is kept.
    pub(super) fn new(cache: Option<&Path>) -> Result<Engine, EngineError> {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true).max_wasm_stack(STACK);
        let cache = cache.map(cache::open).transpose().unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        });
        let folder = cache.as_ref().map(|cache| cache.directory().clone());
        config.cache(cache);
        let engine = wasmtime::Engine::new(&config).map_err(EngineError::Engine)?;
        if let Some(folder) = folder {
            cache::settle(&engine, &folder);
        }
        let mut linker = Linker::new(&engine);
        abi::link(&mut linker).map_err(EngineError::Engine)?;
        let running = Arc::new(AtomicBool::new(true));
        let (clock, alive) = (engine.weak(), Arc::downgrade(&running));
        std::thread::Builder::new()
            .name("wasm-clock".to_owned())
            .spawn(move || tick(&clock, &alive))
            .map_err(EngineError::Thread)?;
        Ok(Engine { engine, linker: Arc::new(linker), _running: running })
    }
}

fn tick(engine: &wasmtime::EngineWeak, alive: &Weak<AtomicBool>) {
    while alive.upgrade().is_some_and(|running| running.load(Ordering::Relaxed)) {
        std::thread::sleep(TICK);
        if let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
        }
    }
}

/// Why modules cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not start here.
    #[error("the WebAssembly engine does not start: {0:#}")]
    Engine(wasmtime::Error),
    /// Its clock does not.
    #[error("cannot start the clock of the WebAssembly engine: {0}")]
    Thread(io::Error),
}
