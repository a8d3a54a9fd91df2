//! Modules of every kind, good and hostile, against the host itself.

mod calls;
mod guest;
mod hostile;
mod kit;
mod lives;
mod metrics;
mod misuse;
mod policies;
mod proxy_wasm;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::abi::GuestMetrics;
use super::bound::Bound;
use super::catalog::Telemetry;
use super::engine::Engine;
use super::fault::Fault;
use super::host::Env;
use super::module::{LoadError, Module};
use super::vm::Vm;
use crate::table::{Slot, Table};
use crate::telemetry::Registry;
use kit::{assemble, filter, policy};

/// One engine for all tests, for its clock is a thread.
fn engine() -> Engine {
    static ENGINE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(None).unwrap()).clone()
}

/// What surrounds a module: a table that knows the service `greeter`, small limits, and metrics of its own.
fn environment() -> (Arc<Env>, Registry) {
    let (table, registry) = (Table::new(), Registry::default());
    table.publish([("greeter".into(), Arc::new(Slot::new("greeter")))].into());
    let metrics = Arc::new(GuestMetrics::new(registry.clone()));
    (Arc::new(Env::new("tested", metrics, table, 64 << 10, 16 << 20)), registry)
}

fn load(bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
    Module::new(&engine(), environment().0, bytes).map(Arc::new)
}

fn start(bytes: &[u8], config: &str) -> Result<Vm, Fault> {
    Vm::new(load(bytes).unwrap(), &Bytes::copy_from_slice(config.as_bytes()))
}

fn bind(bytes: &[u8], count: usize) -> Arc<Bound> {
    Arc::new(Bound::new(load(bytes).unwrap(), "", count, Telemetry::default()).unwrap())
}

/// Waits for what another thread does.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
