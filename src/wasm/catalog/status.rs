//! What is known of modules, for people and for metrics.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Catalog;
use crate::telemetry::{Families, Registry, names};
use crate::wasm::meter::Calls;
use crate::wasm::module::Module;

/// What is known of a module, for people.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub module: Arc<Module>,
    /// Where the configuration names it.
    pub keys: Vec<String>,
    /// When it came into force.
    pub since: SystemTime,
    /// When its file was read last, and what came of that.
    pub read: (SystemTime, Outcome),
    /// Why the file as it is now is not in force, if it is not.
    pub rejected: Option<String>,
    /// Its instances that can be called; none while it is set aside.
    pub instances: usize,
    /// Calls into modules of that name since the process started.
    pub calls: Calls,
    /// Calls since this one came into force.
    pub recent: Calls,
}

/// What came of reading a module's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The module is in force.
    Loaded,
    /// It is the one that is in force already.
    Same,
    /// It is no good, and the one before stays in force.
    Refused,
}

/// What is counted of modules.
#[derive(Debug, Clone, Default)]
pub(in crate::wasm) struct Telemetry {
    failures: Family<[(&'static str, String); 2], Counter>,
    loads: Family<[(&'static str, String); 2], Counter>,
}

impl Telemetry {
    pub(super) fn new(registry: &Registry) -> Self {
        let telemetry = Telemetry::default();
        let help = "Traps, overruns and invalid answers of modules";
        registry.register(names::MODULE_FAILURES, help, telemetry.failures.clone());
        registry.register(names::MODULE_LOADS, "Module files that were loaded or refused", telemetry.loads.clone());
        telemetry
    }

    pub(in crate::wasm) fn failed(&self, module: &str, reason: &str) {
        self.failures.get_or_create(&[("module", module.to_owned()), ("reason", reason.to_owned())]).inc();
    }

    pub(super) fn loaded(&self, module: &str, result: &str) {
        self.loads.get_or_create(&[("module", module.to_owned()), ("result", result.to_owned())]).inc();
    }
}

impl Collector for Catalog {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let modules = self.status();
        let version =
            |status: &Status| [("module", status.name.to_string()), ("hash", format!("{:016x}", status.module.hash()))];
        let name = |status: &Status| [("module", status.name.to_string())];
        let mut families = Families::new(encoder);
        let up = modules.iter().map(|status| (version(status), u32::from(status.instances > 0)));
        let help = "Modules in force; 0 for one that is set aside, or of which no instance is up";
        families.gauges(names::MODULE_UP, help, up)?;
        let instances = modules.iter().map(|status| (version(status), status.instances as u64));
        families.gauges(names::MODULE_INSTANCES, "Instances of modules that can be called", instances)?;
        let calls = modules.iter().map(|status| (name(status), status.calls.all));
        families.counters(names::MODULE_CALLS, "Calls into modules", calls)?;
        let timed = modules.iter().map(|status| (name(status), status.calls.timed));
        families.counters(names::MODULE_TIMED_CALLS, "Calls into modules that were timed, one in 61", timed)?;
        let time = modules.iter().map(|status| (name(status), status.calls.time.as_secs_f64()));
        families.counters(names::MODULE_TIMED_SECONDS, "What these took", time)
    }
}
