//! A module with a configuration, and what keeps one instance of it going.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::catalog::Telemetry;
use super::fault::Fault;
use super::module::{Consequence, Module};
use super::vm::Vm;
use crate::telemetry::Rarely;

/// Between two messages that the same instance fails.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(10);

/// From one attempt to start a thread to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// A module with a configuration, from which instances are made.
pub struct Bound {
    module: Arc<Module>,
    config: Bytes,
    /// Made in advance, for those who take them over.
    ready: Mutex<Vec<Vm>>,
    telemetry: Telemetry,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bound").field(&self.module).finish()
    }
}

impl Bound {
    /// Makes so many instances in advance, one at the least: what refuses its configuration does so now.
    pub(super) fn new(module: Arc<Module>, config: &str, count: usize, telemetry: Telemetry) -> Result<Bound, Fault> {
        let config = Bytes::copy_from_slice(config.as_bytes());
        let ready = (0..count.max(1)).map(|_| Vm::new(module.clone(), &config)).collect::<Result<_, _>>()?;
        Ok(Bound { module, config, ready: Mutex::new(ready), telemetry })
    }

    /// The module.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// An instance that was made in advance.
    fn take(&self) -> Option<Vm> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// One instance that is kept going: after a failure a new one is made, on another thread and after a pause.
pub struct Live {
    bound: Arc<Bound>,
    state: State,
    complaint: Rarely,
}

enum State {
    Up(Box<Vm>),
    Making(oneshot::Receiver<Result<Vm, Fault>>),
    Aside,
}

impl Live {
    /// Takes over an instance that was made in advance, or has one made.
    pub fn new(bound: Arc<Bound>) -> Self {
        let state = match bound.take() {
            Some(vm) => State::Up(Box::new(vm)),
            None => make(&bound, Duration::ZERO),
        };
        Live { bound, state, complaint: Rarely::new(SAY_EVERY) }
    }

    /// What it is an instance of.
    pub fn bound(&self) -> &Arc<Bound> {
        &self.bound
    }

    /// The instance; none while there is none.
    pub fn vm(&mut self) -> Option<&mut Vm> {
        if self.bound.module.is_aside() {
            self.leave();
        } else if let State::Making(made) = &mut self.state {
            match made.try_recv() {
                Ok(Ok(vm)) => {
                    self.state = State::Up(Box::new(vm));
                    tracing::info!(module = %self.bound.module.name(), "the module has been started");
                }
                Ok(Err(fault)) => self.failed(&fault),
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => self.state = make(&self.bound, AGAIN),
            }
        }
        match &mut self.state {
            State::Up(vm) => Some(vm),
            _ => None,
        }
    }

    /// Lets the instance go: whoever waits for it hears so.
    fn leave(&mut self) {
        if let State::Up(vm) = &mut self.state {
            vm.abandon();
        }
        self.state = State::Aside;
    }

    /// Notes that the instance failed. Unless that was harmless, it is dropped, and a new one is made after a pause, or
    /// none any more.
    pub fn failed(&mut self, fault: &Fault) {
        let module = &self.bound.module;
        self.bound.telemetry.failed(module.name(), fault.label());
        let now = Instant::now();
        let due = self.complaint.due(now);
        if fault.is_harmless() {
            module.note(fault, now);
            if let Some(kept_back) = due {
                tracing::warn!(module = %module.name(), kept_back, "module: {fault}");
            }
            return;
        }
        let then = module.failed(fault, now);
        self.leave();
        let module = &self.bound.module;
        match then {
            Consequence::Restart(pause) => {
                if let Some(kept_back) = due {
                    tracing::error!(module = %module.name(), kept_back, ?pause, "module failed and is started anew: {fault}");
                }
                self.state = make(&self.bound, pause);
            }
            Consequence::Aside => {
                tracing::error!(
                    module = %module.name(),
                    "module failed again and again and is set aside until it is reloaded or its file is replaced: {fault}"
                );
            }
        }
    }
}

/// Has an instance made after a pause, so that it is there when the next call comes.
fn make(bound: &Arc<Bound>, pause: Duration) -> State {
    let (done, made) = oneshot::channel();
    let bound = bound.clone();
    let thread = std::thread::Builder::new().name("wasm-start".to_owned());
    let started = thread.spawn(move || {
        std::thread::sleep(pause);
        // Whoever wanted it may have gone, and others may have had it set aside meanwhile.
        if !done.is_closed() && !bound.module.is_aside() {
            drop(done.send(Vm::new(bound.module.clone(), &bound.config)));
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "cannot start a thread to make an instance of a module");
    }
    State::Making(made)
}
