//! What stands between the exports of a module and the traits. Only [`policy!`](crate::policy!) uses it.
#![expect(unsafe_code, reason = "what the proxy writes into memory arrives as a pointer and a size")]

use std::cell::RefCell;
use std::thread::LocalKey;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use proxy_wasm::{hostcalls, set_log_level, set_root_context};

use crate::read::Malformed;
use crate::{Call, Endpoint, Filter, Health, Outcome, Pick, Policy, Results, Snapshot, Verdict, Weights, host};

/// A policy that has its place in this module's memory.
pub trait Held: Policy {
    fn held() -> &'static LocalKey<RefCell<Option<Self>>>;
}

thread_local! {
    static ENDPOINTS: RefCell<Vec<Endpoint>> = const { RefCell::new(Vec::new()) };
    /// What the proxy reads after a call has returned a pointer to it.
    static ANSWER: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Calls the policy with the endpoints; `None` if it has no configuration yet.
fn decide<P: Held, R>(decision: impl FnOnce(&mut P, &[Endpoint]) -> R) -> Option<R> {
    P::held().with_borrow_mut(|held| ENDPOINTS.with_borrow(|endpoints| Some(decision(held.as_mut()?, endpoints))))
}

pub fn pick<P: Held + Pick>(hash: u64, random: u64, attempt: u32) -> i32 {
    let call = Call { hash: (hash != 0).then_some(hash), random, attempt };
    let picked = decide(|policy: &mut P, endpoints| policy.pick(endpoints, &call));
    // An index that is too large for the interface is out of range as well, and the proxy says so.
    picked.flatten().map_or(-1, |index| i32::try_from(index).unwrap_or(i32::MAX))
}

pub fn result<P: Held + Results>(index: u32, status: i32, micros: u64) {
    let (index, outcome) = (index as usize, Outcome::new(status, micros));
    decide(|policy: &mut P, endpoints| {
        if index < endpoints.len() {
            policy.result(endpoints, index, &outcome);
        }
    });
}

/// # Safety
///
/// As for `take`.
pub unsafe fn weights<P: Held + Weights>(data: *mut u8, size: usize) -> *const u32 {
    // SAFETY: what the caller keeps.
    let snapshot = understood(Snapshot::read(&unsafe { take(data, size) }));
    let weights = decide(|policy: &mut P, endpoints| {
        let weights = policy.weights(endpoints, &snapshot)?;
        assert_eq!(weights.len(), endpoints.len(), "there must be as many weights as endpoints");
        Some(weights)
    });
    answer(weights.flatten())
}

/// # Safety
///
/// As for `take`.
pub unsafe fn health<P: Held + Health>(data: *mut u8, size: usize) -> *const u32 {
    // SAFETY: what the caller keeps.
    let snapshot = understood(Snapshot::read(&unsafe { take(data, size) }));
    let verdicts = decide(|policy: &mut P, endpoints| {
        let verdicts = policy.health(endpoints, &snapshot)?;
        assert_eq!(verdicts.len(), endpoints.len(), "there must be as many verdicts as endpoints");
        Some(verdicts.iter().enumerate().map(|(index, verdict)| spoken(index, verdict)).collect())
    });
    answer(verdicts.flatten())
}

fn spoken(index: usize, verdict: &Verdict) -> u32 {
    match verdict {
        Verdict::NoOpinion => 0,
        Verdict::Healthy => 1,
        Verdict::Unhealthy(reason) => {
            host::set_reason(index, reason);
            2
        }
    }
}

fn answer(numbers: Option<Vec<u32>>) -> *const u32 {
    numbers.map_or(std::ptr::null(), |numbers| {
        ANSWER.with_borrow_mut(|answer| {
            *answer = numbers;
            answer.as_ptr()
        })
    })
}

/// # Safety
///
/// As for `take`.
pub unsafe fn endpoints(data: *mut u8, size: usize, hooks: &[Hooks]) {
    // SAFETY: what the caller keeps.
    let endpoints = understood(Endpoint::read_all(&unsafe { take(data, size) }));
    ENDPOINTS.set(endpoints);
    for hook in hooks {
        (hook.endpoints)();
    }
}

/// What the proxy wrote into memory that it got from the allocator of this module.
///
/// # Safety
///
/// `data` points to `size` bytes that this module's allocator gave out as such, and that nobody else owns.
unsafe fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() || size == 0 {
        return Vec::new();
    }
    // SAFETY: the allocator makes a boxed slice of exactly this size, and the interface hands it over to the module.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// A module and a proxy that do not understand each other must not go on.
fn understood<T>(read: Result<T, Malformed>) -> T {
    match read {
        Ok(read) => read,
        Err(malformed) => panic!("what the proxy handed over can't be read: {malformed}"),
    }
}

/// The functions of one policy that are called whatever its kinds are.
pub struct Hooks {
    configure: fn(&[u8]) -> Result<(), String>,
    endpoints: fn(),
    tick: fn(),
    http: fn(u32, usize, usize, usize),
    grpc: fn(u32, u32, usize),
}

impl Hooks {
    #[must_use]
    pub const fn of<P: Held>() -> Self {
        Self {
            configure: |config| {
                let mut policy = P::configure(config)?;
                // A new configuration does not bring the endpoints again.
                ENDPOINTS.with_borrow(|known| {
                    if !known.is_empty() {
                        policy.endpoints(known);
                    }
                });
                P::held().set(Some(policy));
                Ok(())
            },
            endpoints: || {
                decide(|policy: &mut P, endpoints| policy.endpoints(endpoints));
            },
            tick: || {
                decide(|policy: &mut P, _| policy.on_tick());
            },
            http: |token, headers, body, trailers| {
                decide(|policy: &mut P, _| policy.on_http_call_response(token, headers, body, trailers));
            },
            grpc: |token, status, body| {
                decide(|policy: &mut P, _| policy.on_grpc_call_response(token, status, body));
            },
        }
    }
}

/// Makes what accompanies one exchange.
pub type Exchange = fn(u32) -> Box<dyn HttpContext>;

#[must_use]
pub fn exchange<P: Held + Filter>(context: u32) -> Box<dyn HttpContext> {
    // The proxy configures before it filters.
    decide(|policy: &mut P, _| policy.exchange(context)).unwrap_or_else(|| panic!("a filter without configuration"))
}

/// The root context of proxy-wasm, for all policies of the module.
pub struct Root {
    pub hooks: &'static [Hooks],
    pub exchange: Option<Exchange>,
}

impl Root {
    /// What the module does when it is started.
    pub fn start(new: fn(u32) -> Box<dyn RootContext>) {
        set_log_level(LogLevel::Info);
        set_root_context(new);
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        for hook in self.hooks {
            (hook.http)(token, headers, body, trailers);
        }
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, body: usize) {
        for hook in self.hooks {
            (hook.grpc)(token, status, body);
        }
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, _: usize) -> bool {
        // What the proxy would drop need not be put into words.
        if let Ok(level) = hostcalls::get_log_level() {
            set_log_level(level);
        }
        true
    }

    fn on_configure(&mut self, _: usize) -> bool {
        let config = self.get_plugin_configuration().unwrap_or_default();
        let refusals = self.hooks.iter().filter_map(|hook| (hook.configure)(&config).err());
        let refusals: Vec<_> = refusals.inspect(|refusal| log::error!("{refusal}")).collect();
        refusals.is_empty()
    }

    fn on_tick(&mut self) {
        for hook in self.hooks {
            (hook.tick)();
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        self.exchange.map(|exchange| exchange(context))
    }

    fn get_type(&self) -> Option<ContextType> {
        self.exchange.map(|_| ContextType::HttpContext)
    }
}

#[cfg(test)]
mod tests;
