//! What an author writes: a policy, and for each kind of decision one trait with one function.

use proxy_wasm::traits::HttpContext;

use crate::{Call, Endpoint, Outcome, Snapshot};

/// What every policy is: something that is made of its configuration.
///
/// The functions that have a body here are called by the proxy as proxy-wasm describes; a policy that makes calls to
/// services with [`proxy_wasm::hostcalls`] gets the answers by them.
#[expect(unused_variables, reason = "the names of arguments are documentation here")]
pub trait Policy: Sized + 'static {
    /// Makes the policy of its configuration, which is as the operator wrote it, in JSON; [`config::read`] reads it.
    /// Called again when the configuration changes.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, and what to do about it, in words for the operator. The module is then not
    /// put to use.
    ///
    /// [`config::read`]: crate::config::read
    fn configure(config: &[u8]) -> Result<Self, String>;

    /// The endpoints of the service have changed. Called before any decision, and where to prepare what is dear.
    /// 10 ms are allowed.
    fn endpoints(&mut self, endpoints: &[Endpoint]) {}

    /// A tick; the period is set by [`proxy_wasm::hostcalls::set_tick_period`].
    fn on_tick(&mut self) {}

    /// The end of a call that was made by [`proxy_wasm::hostcalls::dispatch_http_call`]. No headers: it failed.
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, trailers: usize) {}

    /// The end of a call that was made by [`proxy_wasm::hostcalls::dispatch_grpc_call`].
    fn on_grpc_call_response(&mut self, token: u32, status: u32, body_size: usize) {}
}

/// Picks an endpoint for each call.
pub trait Pick: Policy {
    /// The place in the list of the endpoint that the call shall go to, or `None` to leave this one to the native
    /// balancer. 1 ms is allowed; what is allocated here is paid for by every call.
    fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize>;
}

/// Learns how the calls ended that it picked for.
pub trait Results: Policy {
    /// A call has ended that went to `endpoints[index]`. 1 ms is allowed.
    fn result(&mut self, endpoints: &[Endpoint], index: usize, outcome: &Outcome);
}

/// Gives endpoints weights, on each tick. The native balancer `weighted` picks by them.
pub trait Weights: Policy {
    /// A weight for each endpoint, in the order of the list, or `None` to leave them as they are. 0 takes an endpoint
    /// out. 10 ms are allowed.
    fn weights(&mut self, endpoints: &[Endpoint], snapshot: &Snapshot) -> Option<Vec<u32>>;
}

/// Judges the health of endpoints, on each tick.
pub trait Health: Policy {
    /// A verdict for each endpoint, in the order of the list, or `None` to have no opinion on any. 10 ms are allowed.
    fn health(&mut self, endpoints: &[Endpoint], snapshot: &Snapshot) -> Option<Vec<Verdict>>;
}

/// Is a filter as well: stands in the way of requests and responses. The instances that filter are others than those
/// that decide, so nothing that one knows is known to the other, but for proxy-wasm's shared data.
pub trait Filter: Policy {
    /// Makes what accompanies one exchange.
    fn exchange(&self, context: u32) -> Box<dyn HttpContext>;
}

/// A verdict on the health of an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The native verdict holds.
    NoOpinion,
    /// It is healthy, whatever its probes say.
    Healthy,
    /// It is unhealthy, with the reason for people; at most 200 bytes of it are kept.
    Unhealthy(String),
}
