use proxy_wasm::types::{BufferType, LogLevel};

use super::*;
use crate::testing::{Host, encode_endpoints, encode_snapshot, endpoint, host};
use crate::{Load, config};

/// Picks the last endpoint, learns how long calls took, and is a filter.
struct Last {
    took: u128,
}

impl Policy for Last {
    fn configure(config: &[u8]) -> Result<Self, String> {
        config::read::<serde_json::Map<_, _>>(config).map(|_| Self { took: 0 })
    }

    fn on_tick(&mut self) {
        log::info!("{} µs", self.took);
    }
}

impl Pick for Last {
    fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize> {
        call.hash.map(|_| endpoints.len() - 1)
    }
}

impl Results for Last {
    fn result(&mut self, _: &[Endpoint], _: usize, outcome: &Outcome) {
        self.took += outcome.took.as_micros();
    }
}

struct Pass;
impl Context for Pass {}
impl HttpContext for Pass {}

impl Filter for Last {
    fn exchange(&self, _: u32) -> Box<dyn HttpContext> {
        Box::new(Pass)
    }
}

/// Weighs by what is under way, and finds the first endpoint unhealthy.
struct Judge;

impl Policy for Judge {
    fn configure(config: &[u8]) -> Result<Self, String> {
        if config == b"[]" { Err("a list is not for me".to_owned()) } else { Ok(Self) }
    }
}

impl Weights for Judge {
    fn weights(&mut self, _: &[Endpoint], snapshot: &Snapshot) -> Option<Vec<u32>> {
        Some(snapshot.loads.iter().map(|load| load.in_flight).collect())
    }
}

impl Health for Judge {
    fn health(&mut self, endpoints: &[Endpoint], _: &Snapshot) -> Option<Vec<Verdict>> {
        let mut verdicts = vec![Verdict::NoOpinion; endpoints.len()];
        *verdicts.first_mut()? = Verdict::Unhealthy("it is the first".to_owned());
        *verdicts.last_mut()? = Verdict::Healthy;
        Some(verdicts)
    }
}

crate::policy!(Last: Pick + Results + Filter, Judge: Weights + Health);

const HOOKS: &[Hooks] = &[Hooks::of::<Last>(), Hooks::of::<Judge>()];

fn root(config: &str) -> Root {
    host(|host| {
        *host = Host::default();
        host.set_buffer(BufferType::PluginConfiguration, config.as_bytes());
    });
    Root { hooks: HOOKS, exchange: Some(exchange::<Last>) }
}

/// What the proxy writes: memory of exactly that size, the module's from then on.
fn given(bytes: Vec<u8>) -> (*mut u8, usize) {
    let bytes = Box::leak(bytes.into_boxed_slice());
    (bytes.as_mut_ptr(), bytes.len())
}

fn three() {
    let (data, size) = given(encode_endpoints(&[endpoint("a:1"), endpoint("b:1"), endpoint("c:1")]));
    // SAFETY: the memory is the module's.
    unsafe { endpoints(data, size, HOOKS) };
}

fn read(numbers: *const u32) -> Vec<u32> {
    assert!(!numbers.is_null());
    // SAFETY: the answer is as long as the list of endpoints.
    unsafe { std::slice::from_raw_parts(numbers, 3) }.to_vec()
}

#[test]
fn a_module_is_configured_then_decides() {
    assert_eq!(pick::<Last>(1, 2, 0), -1, "without a configuration");
    assert!(root("{}").on_configure(2));
    three();
    assert_eq!((pick::<Last>(1, 2, 0), pick::<Last>(0, 2, 0)), (2, -1));
    result::<Last>(1, 0, 30);
    result::<Last>(2, 503, 12);
    result::<Last>(3, 0, 1_000);
    let mut root = Root { hooks: HOOKS, exchange: None };
    root.on_tick();
    assert_eq!(decide(|last: &mut Last, _| last.took), Some(42), "the one out of range is not told");
    assert!(root.get_type().is_none() && root.create_http_context(2).is_none());
}

#[test]
fn decisions_of_the_control_plane_are_pointers() {
    assert!(root("{}").on_configure(2));
    let snapshot = || {
        let loads = [7, 8, 9].map(|in_flight| Load { in_flight, ..Load::default() }).to_vec();
        given(encode_snapshot(&Snapshot { loads, ..Snapshot::default() }))
    };
    three();
    let (data, size) = snapshot();
    // SAFETY: the memory is the module's, here and below.
    assert_eq!(read(unsafe { weights::<Judge>(data, size) }), [7, 8, 9]);
    let (data, size) = snapshot();
    assert_eq!(read(unsafe { health::<Judge>(data, size) }), [2, 0, 1]);
    assert_eq!(host(|host| host.reasons[&0].clone()), "it is the first");
}

#[test]
fn each_policy_may_refuse_and_says_why() {
    for (config, reason) in [("[]", "a list is not for me"), ("{", "the configuration can't be read")] {
        assert!(root("").on_vm_start(0));
        assert!(!root(config).on_configure(config.len()), "{config}");
        let log = host(|host| host.log.clone());
        let said = |(level, line): &(LogLevel, String)| *level == LogLevel::Error && line.contains(reason);
        assert!(log.iter().any(said), "{log:?}");
    }
}

#[test]
fn a_module_may_be_a_filter_too() {
    let mut root = root("{}");
    assert!(root.on_configure(2));
    assert!(root.get_type() == Some(ContextType::HttpContext) && root.create_http_context(2).is_some());
}

#[test]
fn what_cannot_be_read_ends_the_instance() {
    assert!(root("{}").on_configure(2));
    let broken = std::panic::catch_unwind(|| {
        let (data, size) = given(vec![1, 0, 0, 0]);
        // SAFETY: the memory is the module's.
        unsafe { endpoints(data, size, HOOKS) };
    });
    assert!(broken.is_err());
}
