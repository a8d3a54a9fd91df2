//! An instance of a module, and all that can be asked of it. Each question has its budget; after a trap or an overrun the
//! instance is of no use any more, and whoever owns it drops it.

mod policies;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{Instance, Store, StoreLimitsBuilder, TypedFunc, WasmParams, WasmResults};

use super::abi::{self, Exit};
use super::engine::Budget;
use super::exchange::{Direction, Shared};
use super::exports::{Exports, Head, export};
use super::fault::Fault;
use super::host::{Callout, Host, Reply};
use super::meter::Meter;
use super::module::{Kinds, Module};

/// The root context: the module itself, and not an exchange.
const ROOT: u32 = 1;
/// Elements of a module's tables.
const TABLE: usize = 100_000;
/// The most exchanges that are over and that a module may want to be waited for; beyond that it has waited long enough.
const MOST_UNFINISHED: usize = 1_000;
/// The next instance's id; 0 is none.
static IDS: AtomicU64 = AtomicU64::new(1);

/// An instance.
pub struct Vm {
    store: Store<Host>,
    exports: Exports,
    meter: Meter,
    last_context: u32,
    /// Contexts that asked to be waited for.
    unfinished: VecDeque<u32>,
    #[cfg(test)]
    instance: Instance,
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
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let host = Host::new(id, module.env.clone(), config.clone(), limits);
        let mut store = Store::new(module.pre.module().engine(), host);
        store.limiter(|host| &mut host.limits);
        store.epoch_deadline_callback(|mut context| {
            let host = context.data_mut();
            Ok(host.budget.look(&mut host.since))
        });
        arm(&mut store, Budget::START);
        let instance = module.pre.instantiate(&mut store).map_err(|error| Fault::of_making(&error))?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let allocator = match export(&instance, &mut store, "proxy_on_memory_allocate")? {
            Some(allocator) => Some(allocator),
            None => export(&instance, &mut store, "malloc")?,
        };
        store.data_mut().allocator = allocator;
        let exports = Exports::of(&instance, &mut store)?;
        let mut vm = Vm {
            store,
            exports,
            meter: Meter::new(module),
            last_context: ROOT,
            unfinished: VecDeque::new(),
            #[cfg(test)]
            instance,
        };
        vm.start(&instance, config)?;
        vm.meter.ready();
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
                ended => ended.map_err(|error| Fault::of("_start", &error))?,
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
        self.store.data().id
    }

    /// The module that it is an instance of.
    pub fn module(&self) -> &Arc<Module> {
        &self.meter.module
    }

    /// What it can be used as.
    pub fn kinds(&self) -> Kinds {
        self.module().kinds()
    }

    /// How often it wants [`tick`](Self::tick) to be called.
    pub fn period(&self) -> Option<Duration> {
        self.store.data().tick
    }

    /// The calls that it wants made, since this was asked last.
    pub fn callouts(&mut self) -> Vec<Callout> {
        std::mem::take(&mut self.store.data_mut().callouts)
    }

    /// The last answer of it that cannot be sent, since this was asked last.
    pub(super) fn wrong(&mut self) -> Option<Fault> {
        self.store.data_mut().wrong.take()
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
            self.unfinished.push_back(context);
            if self.unfinished.len() > MOST_UNFINISHED
                && let Some(oldest) = self.unfinished.pop_front()
            {
                self.forget(oldest)?;
            }
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

    /// Says what came of a call that it wanted made; `None` for nothing. What an instance before it wanted is no concern
    /// of this one.
    pub fn reply(&mut self, callout: &Callout, reply: Option<Reply>) -> Result<(), Fault> {
        if callout.instance != self.id() {
            return Ok(());
        }
        let host = self.store.data_mut();
        host.calls_open = host.calls_open.saturating_sub(1);
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
            if let Some(at) = self.unfinished.iter().position(|unfinished| *unfinished == context) {
                self.unfinished.remove(at);
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
        enter(&mut self.store, &mut self.meter, name, function, arguments, budget)
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

/// Calls into a module: the one way in, but for `_start`, which may end itself.
fn enter<P: WasmParams, R: WasmResults>(
    store: &mut Store<Host>,
    meter: &mut Meter,
    name: &'static str,
    function: &TypedFunc<P, R>,
    arguments: P,
    budget: Budget,
) -> Result<R, Fault> {
    arm(store, budget);
    let begun = meter.begin();
    let answer = function.call(&mut *store, arguments);
    meter.end(begun);
    let host = store.data_mut();
    if let Some(len) = host.no_room.take() {
        meter.wrong(&Fault::NoRoom(name, len));
    }
    let broken = host.broken.take();
    answer.and_then(|answer| broken.map_or(Ok(answer), Err)).map_err(|error| Fault::of(name, &error))
}

fn arm(store: &mut Store<Host>, budget: Budget) {
    let host = store.data_mut();
    host.budget = budget;
    host.since = budget.begin();
    store.set_epoch_deadline(budget.ticks());
}

/// What tests do that no module's owner may: call any export, and look into the memory.
#[cfg(test)]
impl Vm {
    pub(super) fn call(&mut self, name: &str, arguments: &[wasmtime::Val]) -> wasmtime::Result<Option<wasmtime::Val>> {
        arm(&mut self.store, Budget::CALLBACK);
        let instance = self.instance;
        let function = instance.get_func(&mut self.store, name).unwrap_or_else(|| panic!("no export {name}"));
        let mut results = vec![wasmtime::Val::I32(0); function.ty(&self.store).results().len()];
        function.call(&mut self.store, arguments, &mut results)?;
        Ok(results.pop())
    }

    pub(super) fn memory_mut(&mut self) -> &mut [u8] {
        self.store.data().memory.unwrap().data_mut(&mut self.store)
    }

    pub(super) fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    pub(super) fn enter(&mut self, context: u32) {
        self.in_context(context);
    }
}
