//! A module tried out by itself: what it is, what it needs, and what a call costs. For those who write modules.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::Instant;

use super::abi::GuestMetrics;
use super::catalog::file::read;
use super::config::Config;
use super::engine::Engine;
use super::exchange::{Direction, Exchange, Facts, Shared};
use super::fault::Fault;
use super::host::Env;
use super::module::{LoadError, Module};
use super::policy::{EndpointList, Sample, snapshot};
use super::vm::Vm;
use crate::registry::{Address, Instance, Protocol};
use crate::table::{Endpoint, EndpointId, Endpoints, Table};
use crate::telemetry::Registry;

/// Endpoints that a policy is tried with.
const ENDPOINTS: u16 = 3;
/// How long each kind of call is made for.
const MEASURE: Duration = Duration::from_millis(200);

/// What was found out.
#[derive(Debug)]
pub struct Trial {
    /// The module.
    pub module: Arc<Module>,
    /// To compile it, or to find it in the cache.
    pub load: Duration,
    /// To make and configure an instance.
    pub start: Duration,
    /// What an instance has of memory after the calls, in bytes.
    pub memory: usize,
    /// Each kind of call: how long one took, or why it failed.
    pub calls: Vec<(&'static str, Result<Duration, Fault>)>,
}

/// Loads a file as the proxy would, and makes some calls.
///
/// # Errors
///
/// If the proxy would refuse the file or the configuration.
pub fn try_out(file: &Path, config: &str, limits: &Config) -> Result<Trial, LoadError> {
    let bytes = read(file)?;
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let engine = Engine::new(limits.cache.as_deref()).map_err(|error| LoadError::Engine(Arc::new(error)))?;
    let metrics = Arc::new(GuestMetrics::new(Registry::default()));
    let (buffer, memory) = (limits.buffer_limit as usize, limits.memory_limit as usize);
    let env = Arc::new(Env::new(&name, metrics, Table::new(), buffer, memory));
    let begin = Instant::now();
    let module = Arc::new(Module::new(&engine, env, &bytes)?);
    let load = begin.elapsed();
    let begin = Instant::now();
    let mut vm = Vm::new(module.clone(), &Bytes::copy_from_slice(config.as_bytes()))?;
    let start = begin.elapsed();
    let mut calls = Vec::new();
    let kinds = module.kinds();
    if !kinds.is_policy() {
        calls.push(("exchange", measure(|_| exchange(&mut vm))));
    }
    let endpoints = Endpoints::new((0..ENDPOINTS).filter_map(endpoint).collect());
    let list = EndpointList::new(&endpoints);
    if kinds.is_policy() {
        calls.push(("waypost_endpoints", measure(|_| list.tell(&mut vm, &mut 0))));
    }
    if kinds.pick {
        calls.push((
            "waypost_pick",
            measure(|n| vm.pick(n + 1, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, &[]).map(drop)),
        ));
    }
    if kinds.results {
        calls.push(("waypost_result", measure(|_| vm.result(0, 0, Duration::from_millis(1)))));
    }
    let seen = snapshot(&endpoints, 1_000, &vec![Sample::default(); endpoints.len()]);
    for (is, name, health) in [(kinds.weights, "waypost_weights", false), (kinds.health, "waypost_health", true)] {
        if is {
            calls.push((name, measure(|_| vm.judge(&seen, health).map(drop))));
        }
    }
    Ok(Trial { load, start, memory: vm.memory(), module, calls })
}

/// One request and its response, heads only.
fn exchange(vm: &mut Vm) -> Result<(), Fault> {
    let request = Request::post("http://greeter/waypost.demo.Greeter/Hello")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "trial")
        .body(());
    let shared = Shared::new(Exchange::new(Facts::example()));
    shared.lock().request = request.ok().map(|request| request.into_parts().0);
    let context = vm.open(&shared)?;
    vm.head(context, Direction::Request, false)?;
    shared.lock().response = Some(http::Response::new(()).into_parts().0);
    vm.head(context, Direction::Response, false)?;
    vm.close(context)?;
    // Nobody is there to answer.
    vm.callouts().iter().try_for_each(|callout| vm.reply(callout, None))
}

fn endpoint(n: u16) -> Option<Endpoint> {
    let address = Address::new("127.0.0.1", 50_051 + n).ok()?;
    let label = address.to_string().into();
    let instance = Instance {
        service: "trial".to_owned(),
        id: format!("trial-{n}"),
        address,
        weight: 100,
        version: "v1".to_owned(),
        zone: "a".to_owned(),
        tags: Vec::new(),
        protocol: Some(Protocol::Http2),
        tls: None,
        metadata: BTreeMap::new(),
    };
    let (id, instance, state) = (EndpointId(u32::from(n)), Arc::new(instance), Arc::default());
    Some(Endpoint { id, instance, label, lease: 0, revision: 1, doubted: false, state })
}

/// The time that one call takes: the least of many batches, for what disturbs only adds.
fn measure(mut call: impl FnMut(u64) -> Result<(), Fault>) -> Result<Duration, Fault> {
    const BATCH: u32 = 100;
    let (begin, mut least, mut n) = (Instant::now(), Duration::MAX, 0);
    while begin.elapsed() < MEASURE {
        let batch = Instant::now();
        for _ in 0..BATCH {
            call(n)?;
            n += 1;
        }
        least = least.min(batch.elapsed() / BATCH);
    }
    Ok(least)
}
