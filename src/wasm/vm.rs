//! An instance of a module, and all that can be asked of it. Each question has its budget; after a trap or an overrun the
//! instance is of no use any more, and whoever owns it drops it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{AsContextMut, Instance, Store, StoreLimitsBuilder, Trap, TypedFunc, WasmParams, WasmResults};

use super::abi::{self, Exit};
use super::engine::Budget;
use super::exchange::{Direction, Shared};
use super::host::{Callout, Host, Reply};
use super::module::{Kinds, Module};

/// The root context: the module itself, and not an exchange.
const ROOT: u32 = 1;
/// Elements of a module's tables.
const TABLE: usize = 100_000;
/// The next instance's id; 0 is none.
static IDS: AtomicU64 = AtomicU64::new(1);

/// What went wrong in a module.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// It trapped.
    #[error("`{callback}` trapped: {why}")]
    Trap {
        /// What had been called.
        callback: &'static str,
        /// As the engine says it.
        why: String,
    },
    /// It took too long.
    #[error("`{0}` took more processor time than it may")]
    Time(&'static str),
    /// It ended itself.
    #[error("`{callback}`: {exit}")]
    Exit {
        /// What had been called.
        callback: &'static str,
        /// How.
        exit: String,
    },
    /// It has something of another type than it must.
    #[error("its export `{0}` is not as it must be: {1}")]
    Export(&'static str, String),
    /// It said no.
    #[error("`{0}` answered that it refuses; its log may say why")]
    Refused(&'static str),
    /// It gave no room for what it was to be given.
    #[error("its allocator gave no room for {0} bytes")]
    Allocator(usize),
    /// It answered something that makes no sense.
    #[error("`{callback}` gave an answer that is not valid: {why}")]
    Answer {
        /// What had been called.
        callback: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Fault {
    /// What metrics call it.
    pub fn label(&self) -> &'static str {
        match self {
            Fault::Trap { .. } => "trap",
            Fault::Time(_) => "time",
            Fault::Exit { .. } => "exit",
            Fault::Export(..) => "export",
            Fault::Refused(_) => "refused",
            Fault::Allocator(_) => "allocator",
            Fault::Answer { .. } => "answer",
        }
    }

    /// Whether the instance can go on: what it said was wrong, but it works as before.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Fault::Answer { .. })
    }
}

type Call<P, R = ()> = Option<TypedFunc<P, R>>;

/// A callback on a head: of version 0.1.0 it is not told whether a body follows.
enum Head {
    Short(TypedFunc<(i32, i32), i32>),
    Long(TypedFunc<(i32, i32, i32), i32>),
}

/// What a module exports, as far as it is called.
struct Exports {
    context_create: Call<(i32, i32)>,
    tick: Call<i32>,
    done: Call<i32, i32>,
    log: Call<i32>,
    delete: Call<i32>,
    head: [Option<Head>; 2],
    body: [Call<(i32, i32, i32), i32>; 2],
    trailers: [Call<(i32, i32), i32>; 2],
    http_reply: Call<(i32, i32, i32, i32, i32)>,
    grpc_reply: Call<(i32, i32, i32)>,
    grpc_close: Call<(i32, i32, i32)>,
    endpoints: Call<(i32, i32, i32)>,
    pick: Call<(i32, i64, i64, i32), i32>,
    result: Call<(i32, i32, i32, i64)>,
    weights: Call<(i32, i32, i32), i32>,
    health: Call<(i32, i32, i32), i32>,
}

/// An instance.
pub struct Vm {
    store: Store<Host>,
    exports: Exports,
    module: Arc<Module>,
    id: u64,
    last_context: u32,
    /// Contexts that asked to be waited for.
    unfinished: HashSet<u32>,
}

impl Vm {
    /// Makes an instance and configures it. May take as long as its budget: not for a thread that others wait for.
    pub fn new(module: Arc<Module>, config: &Bytes) -> Result<Vm, Fault> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(module.env.memory_limit)
            .table_elements(TABLE)
            .instances(1)
            .memories(1)
            .build();
        let host = Host::new(module.env.clone(), config.clone(), limits);
        let mut store = Store::new(module.pre.module().engine(), host);
        store.limiter(|host| &mut host.limits);
        store.epoch_deadline_callback(|mut context| {
            let host = context.data_mut();
            Ok(host.budget.look(&mut host.since))
        });
        arm(&mut store, Budget::START);
        let instance = module.pre.instantiate(&mut store).map_err(|error| fault("instantiation", &error))?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let allocator = match export(&instance, &mut store, "proxy_on_memory_allocate")? {
            Some(allocator) => Some(allocator),
            None => export(&instance, &mut store, "malloc")?,
        };
        store.data_mut().allocator = allocator;
        let exports = Exports::of(&instance, &mut store)?;
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let mut vm = Vm { store, exports, module, id, last_context: ROOT, unfinished: HashSet::new() };
        vm.start(&instance, config)?;
        Ok(vm)
    }

    fn start(&mut self, instance: &Instance, config: &Bytes) -> Result<(), Fault> {
        if let Some(initialize) = export::<(), ()>(instance, &mut self.store, "_initialize")? {
            self.run("_initialize", &initialize, (), Budget::START)?;
            if let Some(main) = export::<(), i32>(instance, &mut self.store, "__main_void").ok().flatten() {
                self.run("__main_void", &main, (), Budget::START)?;
            } else if let Some(main) = export::<(i32, i32), i32>(instance, &mut self.store, "main").ok().flatten() {
                self.run("main", &main, (0, 0), Budget::START)?;
            }
        } else if let Some(start) = export::<(), ()>(instance, &mut self.store, "_start")? {
            arm(&mut self.store, Budget::START);
            match start.call(&mut self.store, ()) {
                Err(error) if error.downcast_ref::<Exit>().is_some_and(|exit| exit.0 == 0) => {}
                ended => ended.map_err(|error| fault("_start", &error))?,
            }
        }
        if let Some(create) = self.exports.context_create.clone() {
            self.in_context(ROOT);
            self.run("proxy_on_context_create", &create, (ROOT as i32, 0), Budget::START)?;
        }
        let size = config.len() as i32;
        for (name, size) in [("proxy_on_vm_start", 0), ("proxy_on_configure", size)] {
            if let Some(ready) = export::<(i32, i32), i32>(instance, &mut self.store, name)? {
                self.in_context(ROOT);
                if self.run(name, &ready, (ROOT as i32, size), Budget::START)? == 0 {
                    return Err(Fault::Refused(name));
                }
            }
        }
        Ok(())
    }

    /// Tells it from all other instances.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The module that it is an instance of.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// What it can be used as.
    pub fn kinds(&self) -> Kinds {
        self.module.kinds()
    }

    /// How often it wants [`tick`](Self::tick) to be called.
    pub fn period(&self) -> Option<Duration> {
        self.store.data().tick
    }

    /// The calls that it wants made, since this was asked last.
    pub fn callouts(&mut self) -> Vec<Callout> {
        std::mem::take(&mut self.store.data_mut().callouts)
    }

    /// Whether it looks at heads in this direction.
    pub fn wants_head(&self, direction: Direction) -> bool {
        self.exports.head[direction as usize].is_some()
    }

    /// Whether it looks at bodies or trailers in this direction.
    pub fn wants_body(&self, direction: Direction) -> bool {
        self.exports.body[direction as usize].is_some() || self.exports.trailers[direction as usize].is_some()
    }

    /// Begins an exchange, and gives the context that it has in this instance.
    pub fn open(&mut self, shared: &Arc<Shared>) -> Result<u32, Fault> {
        self.last_context = self.last_context.checked_add(1).unwrap_or(ROOT + 1);
        let context = self.last_context;
        self.store.data_mut().contexts.insert(context, shared.clone());
        if let Some(create) = self.exports.context_create.clone() {
            self.in_context(context);
            self.run("proxy_on_context_create", &create, (context as i32, ROOT as i32), Budget::CALLBACK)?;
        }
        Ok(context)
    }

    /// Shows a head. True if it wants the exchange to wait.
    pub fn head(&mut self, context: u32, direction: Direction, end: bool) -> Result<bool, Fault> {
        const NAMES: [&str; 2] = ["proxy_on_request_headers", "proxy_on_response_headers"];
        let (name, id) = (NAMES[direction as usize], context as i32);
        self.in_context(context);
        let size = abi::map_size(self.store.data(), direction, false);
        let action = match &self.exports.head[direction as usize] {
            None => return Ok(false),
            Some(Head::Short(head)) => {
                let head = head.clone();
                self.run(name, &head, (id, size), Budget::CALLBACK)?
            }
            Some(Head::Long(head)) => {
                let head = head.clone();
                self.run(name, &head, (id, size, i32::from(end)), Budget::CALLBACK)?
            }
        };
        self.settle()?;
        Ok(action != 0)
    }

    /// Shows what there is of a body. True if it wants more, or time.
    pub fn body(&mut self, context: u32, direction: Direction, size: usize, end: bool) -> Result<bool, Fault> {
        const NAMES: [&str; 2] = ["proxy_on_request_body", "proxy_on_response_body"];
        let Some(body) = self.exports.body[direction as usize].clone() else { return Ok(false) };
        self.in_context(context);
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        let arguments = (context as i32, size, i32::from(end));
        let action = self.run(NAMES[direction as usize], &body, arguments, Budget::CALLBACK)?;
        self.settle()?;
        Ok(action != 0)
    }

    /// Shows trailers. True if it wants time.
    pub fn trailers(&mut self, context: u32, direction: Direction) -> Result<bool, Fault> {
        const NAMES: [&str; 2] = ["proxy_on_request_trailers", "proxy_on_response_trailers"];
        let Some(trailers) = self.exports.trailers[direction as usize].clone() else { return Ok(false) };
        self.in_context(context);
        let size = abi::map_size(self.store.data(), direction, true);
        let action = self.run(NAMES[direction as usize], &trailers, (context as i32, size), Budget::CALLBACK)?;
        self.settle()?;
        Ok(action != 0)
    }

    /// Ends an exchange.
    pub fn close(&mut self, context: u32) -> Result<(), Fault> {
        self.in_context(context);
        if let Some(done) = self.exports.done.clone()
            && self.run("proxy_on_done", &done, context as i32, Budget::CALLBACK)? == 0
            && !self.store.data().done.contains(&context)
        {
            self.unfinished.insert(context);
            return self.settle();
        }
        self.forget(context)?;
        self.settle()
    }

    fn forget(&mut self, context: u32) -> Result<(), Fault> {
        self.in_context(context);
        if let Some(log) = self.exports.log.clone() {
            self.run("proxy_on_log", &log, context as i32, Budget::CALLBACK)?;
        }
        if let Some(delete) = self.exports.delete.clone() {
            self.run("proxy_on_delete", &delete, context as i32, Budget::CALLBACK)?;
        }
        self.store.data_mut().contexts.remove(&context);
        Ok(())
    }

    /// Calls what it wants to be called from time to time.
    pub fn tick(&mut self) -> Result<(), Fault> {
        if let Some(tick) = self.exports.tick.clone() {
            self.in_context(ROOT);
            self.run("proxy_on_tick", &tick, ROOT as i32, Budget::CALLBACK)?;
        }
        self.settle()
    }

    /// Says what came of a call that it wanted made; `None` for nothing.
    pub fn reply(&mut self, callout: &Callout, reply: Option<Reply>) -> Result<(), Fault> {
        let token = callout.token as i32;
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let failed = reply.is_none();
        let reply = reply.unwrap_or_else(|| Reply { grpc: (14, "no answer".to_owned()), ..Reply::default() });
        let (headers, body, trailers) =
            (count(reply.headers.len() + 1), count(reply.body.len()), count(reply.trailers.len()));
        let grpc_status = reply.grpc.0 as i32;
        self.in_context(ROOT);
        self.store.data_mut().reply = Some(reply);
        let root = ROOT as i32;
        if !callout.grpc {
            if let Some(done) = self.exports.http_reply.clone() {
                let (headers, body, trailers) = if failed { (0, 0, 0) } else { (headers, body, trailers) };
                self.run(
                    "proxy_on_http_call_response",
                    &done,
                    (root, token, headers, body, trailers),
                    Budget::CALLBACK,
                )?;
            }
        } else if grpc_status == 0 {
            if let Some(done) = self.exports.grpc_reply.clone() {
                self.run("proxy_on_grpc_receive", &done, (root, token, body), Budget::CALLBACK)?;
            }
        } else if let Some(done) = self.exports.grpc_close.clone() {
            self.run("proxy_on_grpc_close", &done, (root, token, grpc_status), Budget::CALLBACK)?;
        }
        self.store.data_mut().reply = None;
        self.settle()
    }

    /// Finishes contexts that it said it is done with.
    fn settle(&mut self) -> Result<(), Fault> {
        while let Some(context) = self.store.data_mut().done.pop() {
            if self.unfinished.remove(&context) {
                self.forget(context)?;
            }
        }
        Ok(())
    }

    /// Wakes all who wait for this instance, for it will not answer any more.
    pub(super) fn abandon(&mut self) {
        for shared in self.store.data().contexts.values() {
            shared.wake(Direction::Request);
            shared.wake(Direction::Response);
        }
    }

    /// The bytes that its memory has.
    pub fn memory(&mut self) -> usize {
        let memory = self.store.data().memory;
        memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    fn in_context(&mut self, context: u32) {
        let host = self.store.data_mut();
        host.context = context;
        host.current = host.contexts.get(&context).cloned();
    }

    fn run<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &'static str,
        function: &TypedFunc<P, R>,
        arguments: P,
        budget: Budget,
    ) -> Result<R, Fault> {
        arm(&mut self.store, budget);
        function.call(&mut self.store, arguments).map_err(|error| fault(name, &error))
    }

    /// Copies data to where the module's allocator gives room.
    fn put(&mut self, data: &[u8]) -> Result<(i32, i32), Fault> {
        let refused = Fault::Allocator(data.len());
        let allocator = self.store.data().allocator.clone().ok_or(refused.clone())?;
        let at = self.run("allocator", &allocator, data.len() as i32, Budget::CALLBACK)?;
        let memory = self.store.data().memory.ok_or(refused.clone())?;
        let start = at as u32 as usize;
        let place = memory.data_mut(&mut self.store).get_mut(start..start.saturating_add(data.len()));
        place.filter(|_| at != 0).ok_or(refused)?.copy_from_slice(data);
        Ok((at, data.len() as i32))
    }
}

/// What policies are asked.
impl Vm {
    /// Gives it the endpoints, encoded.
    pub(super) fn endpoints(
        &mut self,
        data: &[u8],
        states: Vec<Arc<crate::table::EndpointState>>,
    ) -> Result<(), Fault> {
        self.store.data_mut().endpoints = states;
        let Some(endpoints) = self.exports.endpoints.clone() else { return Ok(()) };
        self.in_context(ROOT);
        let (at, len) = self.put(data)?;
        self.run("waypost_endpoints", &endpoints, (ROOT as i32, at, len), Budget::CALLBACK)
    }

    /// Asks it for an endpoint; `None` if it leaves that to others.
    pub fn pick(&mut self, hash: u64, random: u64, attempt: u32, tried: &[u32]) -> Result<Option<u32>, Fault> {
        const NAME: &str = "waypost_pick";
        let Some(pick) = &self.exports.pick else { return Ok(None) };
        let host = self.store.data_mut();
        host.tried.clear();
        host.tried.extend_from_slice(tried);
        arm(&mut self.store, Budget::PICK);
        let index = pick
            .call(&mut self.store, (ROOT as i32, hash as i64, random as i64, attempt as i32))
            .map_err(|error| fault(NAME, &error))?;
        let wrong = |why: String| Err(Fault::Answer { callback: NAME, why });
        match u32::try_from(index) {
            Ok(index) if tried.contains(&index) => wrong(format!("the call has been at endpoint {index} already")),
            Ok(index) if (index as usize) < self.store.data().endpoints.len() => Ok(Some(index)),
            Err(_) if index == -1 => Ok(None),
            _ => wrong(format!("there is no endpoint {index}")),
        }
    }

    /// Tells it how a call ended.
    pub fn result(&mut self, index: u32, status: i32, took: Duration) -> Result<(), Fault> {
        let Some(result) = self.exports.result.clone() else { return Ok(()) };
        let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        self.run("waypost_result", &result, (ROOT as i32, index as i32, status, micros), Budget::PICK)
    }

    /// Asks it for a number for each endpoint: weights, or verdicts.
    pub fn judge(&mut self, snapshot: &[u8], health: bool) -> Result<Option<Vec<u32>>, Fault> {
        let name = if health { "waypost_health" } else { "waypost_weights" };
        let function = if health { &self.exports.health } else { &self.exports.weights };
        let Some(function) = function.clone() else { return Ok(None) };
        self.store.data_mut().reasons.clear();
        self.in_context(ROOT);
        let (at, len) = self.put(snapshot)?;
        let answer = self.run(name, &function, (ROOT as i32, at, len), Budget::CALLBACK)?;
        if answer == 0 {
            return Ok(None);
        }
        let count = self.store.data().endpoints.len();
        let memory = self.store.data().memory.map(|memory| memory.data(&self.store));
        let start = answer as u32 as usize;
        let bytes = memory.and_then(|memory| memory.get(start..start.saturating_add(count * 4)));
        let wrong =
            || Fault::Answer { callback: name, why: format!("{count} numbers at {start} are not in its memory") };
        let numbers = bytes.ok_or_else(wrong)?.chunks_exact(4);
        Ok(Some(numbers.map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]])).collect()))
    }

    /// Why it judged an endpoint as it did.
    pub fn reason(&mut self, index: u32) -> Option<String> {
        self.store.data_mut().reasons.remove(&index)
    }
}

fn arm(store: &mut Store<Host>, budget: Budget) {
    let host = store.data_mut();
    host.budget = budget;
    host.since = None;
    store.set_epoch_deadline(budget.ticks());
}

fn fault(callback: &'static str, error: &wasmtime::Error) -> Fault {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return Fault::Exit { callback, exit: exit.to_string() };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Fault::Time(callback),
        Some(trap) => Fault::Trap { callback, why: trap.to_string() },
        None => Fault::Trap { callback, why: error.root_cause().to_string() },
    }
}

/// An export of that type; none if there is none of that name.
fn export<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &'static str,
) -> Result<Call<P, R>, Fault> {
    let Some(function) = instance.get_func(store.as_context_mut(), name) else { return Ok(None) };
    function.typed(store).map(Some).map_err(|error| Fault::Export(name, error.root_cause().to_string()))
}

impl Exports {
    fn of(instance: &Instance, store: &mut Store<Host>) -> Result<Exports, Fault> {
        let mut head = |name| {
            let long = export(instance, store, name);
            match long {
                Ok(long) => Ok(long.map(Head::Long)),
                Err(fault) => export(instance, store, name).map(|short| short.map(Head::Short)).map_err(|_| fault),
            }
        };
        let head = [head("proxy_on_request_headers")?, head("proxy_on_response_headers")?];
        Ok(Exports {
            context_create: export(instance, store, "proxy_on_context_create")?,
            tick: export(instance, store, "proxy_on_tick")?,
            done: export(instance, store, "proxy_on_done")?,
            log: export(instance, store, "proxy_on_log")?,
            delete: export(instance, store, "proxy_on_delete")?,
            head,
            body: [
                export(instance, store, "proxy_on_request_body")?,
                export(instance, store, "proxy_on_response_body")?,
            ],
            trailers: [
                export(instance, store, "proxy_on_request_trailers")?,
                export(instance, store, "proxy_on_response_trailers")?,
            ],
            http_reply: export(instance, store, "proxy_on_http_call_response")?,
            grpc_reply: export(instance, store, "proxy_on_grpc_receive")?,
            grpc_close: export(instance, store, "proxy_on_grpc_close")?,
            endpoints: export(instance, store, "waypost_endpoints")?,
            pick: export(instance, store, "waypost_pick")?,
            result: export(instance, store, "waypost_result")?,
            weights: export(instance, store, "waypost_weights")?,
            health: export(instance, store, "waypost_health")?,
        })
    }
}
