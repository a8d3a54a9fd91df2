//! What an author writes: a policy, and for each kind of decision one trait with one function.

use proxy_wasm::traits::HttpContext;

use crate::{Call, Endpoint, Outcome, Snapshot};

/// What every policy is: something that is made of its configuration.
///
/// The functions that have a body here are called by the proxy as proxy-wasm describes; a policy that makes calls to
/// services with [`proxy_wasm::hostcalls`] gets the answers by them.
///
/// This one asks a service every ten seconds for the version that calls shall go to, and counts the answers:
///
/// ```
/// use std::time::Duration;
///
/// use waypost_policy::proxy_wasm::hostcalls;
/// use waypost_policy::proxy_wasm::types::{BufferType, MetricType, Status};
/// use waypost_policy::{Call, Endpoint, Pick, Policy, log};
///
/// struct Told {
///     version: Option<String>,
///     answers: u32,
/// }
///
/// impl Policy for Told {
///     fn configure(_: &[u8]) -> Result<Self, String> {
///         let failed = |status: Status| format!("the proxy does not provide what this needs: {status:?}");
///         hostcalls::set_tick_period(Duration::from_secs(10)).map_err(failed)?;
///         let answers = hostcalls::define_metric(MetricType::Counter, "told_answers").map_err(failed)?;
///         Ok(Self { version: None, answers })
///     }
///
///     fn on_tick(&mut self) {
///         let headers = vec![(":method", "GET"), (":path", "/version"), (":authority", "steering")];
///         let call = hostcalls::dispatch_http_call("steering", headers, None, vec![], Duration::from_secs(1));
///         if let Err(status) = call {
///             log::warn!("steering cannot be called: {status:?}");
///         }
///     }
///
///     fn on_http_call_response(&mut self, _: u32, headers: usize, body_size: usize, _: usize) {
///         let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body_size);
///         if let (true, Ok(Some(body))) = (headers > 0, body) {
///             self.version = String::from_utf8(body).ok();
///             let _ = hostcalls::increment_metric(self.answers, 1);
///         }
///     }
/// }
///
/// impl Pick for Told {
///     fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize> {
///         let version = self.version.as_ref()?;
///         (0..endpoints.len()).find(|&at| endpoints[at].version == *version && !call.is_tried(at))
///     }
/// }
///
/// // The test of it.
/// use waypost_policy::testing::{Bench, endpoint, host};
///
/// let mut bench = Bench::<Told>::new("")?;
/// bench.endpoints(&[endpoint("10.0.0.1:80"), Endpoint { version: "2".to_owned(), ..endpoint("10.0.0.2:80") }]);
/// assert_eq!(bench.pick(&Call::default()), None);
/// bench.policy().on_tick();
/// assert_eq!(host(|host| host.calls[0].service.clone()), "steering");
/// host(|host| host.set_buffer(BufferType::HttpCallResponseBody, b"2"));
/// bench.policy().on_http_call_response(0, 1, 1, 0);
/// assert_eq!(bench.pick(&Call::default()), Some(1));
/// assert_eq!(host(|host| host.metrics.clone()), [("told_answers".to_owned(), 1)]);
/// # Ok::<(), String>(())
/// ```
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
