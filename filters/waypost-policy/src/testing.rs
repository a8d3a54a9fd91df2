//! Tests of policies and filters on the machine that builds them, without a proxy.
//!
//! A [`Bench`] carries a policy as the proxy would: what it hands over is encoded and read again, and an answer that the
//! proxy would not accept is a panic. Beneath it, each test thread has a [`Host`] of its own, which answers all that
//! proxy-wasm's functions ask for: headers, properties, the log, metrics, shared data. Filters are tested with that alone,
//! by calling their functions.
//!
//! ```
//! use waypost_policy::testing::{Bench, endpoint};
//! use waypost_policy::{Call, Endpoint, Pick, Policy};
//!
//! struct First;
//! impl Policy for First {
//!     fn configure(_: &[u8]) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//! }
//! impl Pick for First {
//!     fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize> {
//!         (0..endpoints.len()).find(|&index| !call.is_tried(index))
//!     }
//! }
//!
//! let mut bench = Bench::<First>::new("")?;
//! bench.endpoints(&[endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")]);
//! assert_eq!(bench.pick(&Call::default()), Some(0));
//! assert_eq!(bench.pick_again(&Call::default(), &[0]), Some(1));
//! # Ok::<(), String>(())
//! ```

mod encode;
mod host;
mod symbols;

use std::time::Duration;

pub use encode::{encode_endpoints, encode_snapshot};
pub use host::{Answered, Called, Host, host};
pub(crate) use host::{in_flight, is_tried, set_reason};

use crate::{Call, Endpoint, Health, Load, Outcome, Pick, Policy, Results, Snapshot, Verdict, Weights};

/// An endpoint with this address, of weight 1 and in full health; change what a test is about.
#[must_use]
pub fn endpoint(address: &str) -> Endpoint {
    Endpoint { weight: 1, share: 1000, address: address.to_owned(), ..Endpoint::default() }
}

/// What an endpoint did if so many calls ended with the gRPC status OK and took so long each.
#[must_use]
pub fn load(calls: u64, each: Duration) -> Load {
    let mut load = Load { calls, took: each * u32::try_from(calls).unwrap_or(u32::MAX), ..Load::default() };
    load.grpc[0] = calls;
    load
}

/// A policy under test.
#[derive(Debug)]
pub struct Bench<P> {
    policy: P,
    endpoints: Vec<Endpoint>,
}

impl<P: Policy> Bench<P> {
    /// Makes the policy, beneath it a new [`Host`] for this thread.
    ///
    /// # Errors
    ///
    /// The reason why the policy refuses the configuration.
    pub fn new(config: &str) -> Result<Self, String> {
        host(|host| *host = Host::default());
        Ok(Self { policy: P::configure(config.as_bytes())?, endpoints: Vec::new() })
    }

    /// The policy itself.
    pub fn policy(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Gives it endpoints, at which nothing is under way.
    ///
    /// # Panics
    ///
    /// If they can't be read, which would be a mistake in this crate.
    pub fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let read = Endpoint::read_all(&encode_endpoints(endpoints));
        self.endpoints = read.unwrap_or_else(|malformed| panic!("{malformed}"));
        host(|host| host.in_flight = vec![0; endpoints.len()]);
        self.policy.endpoints(&self.endpoints);
    }

    fn carried(snapshot: &Snapshot) -> Snapshot {
        Snapshot::read(&encode_snapshot(snapshot)).unwrap_or_else(|malformed| panic!("{malformed}"))
    }
}

impl<P: Pick> Bench<P> {
    /// Picks for a first attempt.
    ///
    /// # Panics
    ///
    /// If the answer is out of range.
    pub fn pick(&mut self, call: &Call) -> Option<usize> {
        self.pick_again(&Call { attempt: 0, ..*call }, &[])
    }

    /// Picks for a call that has been at these endpoints already.
    ///
    /// # Panics
    ///
    /// If the answer is out of range, or one of these endpoints.
    pub fn pick_again(&mut self, call: &Call, tried: &[usize]) -> Option<usize> {
        host(|host| host.tried = tried.to_vec());
        let attempt = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        let picked = self.policy.pick(&self.endpoints, &Call { attempt, ..*call });
        if let Some(index) = picked {
            assert!(index < self.endpoints.len(), "picked {index} of {} endpoints", self.endpoints.len());
            assert!(!tried.contains(&index), "picked {index}, where the call has been already");
        }
        picked
    }
}

impl<P: Results> Bench<P> {
    /// A call has ended.
    pub fn result(&mut self, index: usize, outcome: &Outcome) {
        self.policy.result(&self.endpoints, index, outcome);
    }
}

impl<P: Weights> Bench<P> {
    /// The weights after a tick.
    ///
    /// # Panics
    ///
    /// If there are not as many as endpoints.
    pub fn weights(&mut self, snapshot: &Snapshot) -> Option<Vec<u32>> {
        let weights = self.policy.weights(&self.endpoints, &Self::carried(snapshot));
        assert!(weights.as_ref().is_none_or(|weights| weights.len() == self.endpoints.len()), "{weights:?}");
        weights
    }
}

impl<P: Health> Bench<P> {
    /// The verdicts after a tick.
    ///
    /// # Panics
    ///
    /// If there are not as many as endpoints.
    pub fn health(&mut self, snapshot: &Snapshot) -> Option<Vec<Verdict>> {
        let verdicts = self.policy.health(&self.endpoints, &Self::carried(snapshot));
        assert!(verdicts.as_ref().is_none_or(|verdicts| verdicts.len() == self.endpoints.len()), "{verdicts:?}");
        verdicts
    }
}

/// The full example of configuration in the README of a module: its first block of JSON.
///
/// # Panics
///
/// If there is none, or if its keys are not those that the first table of the README explains.
#[must_use]
pub fn example(readme: &str) -> &str {
    let after = |start| readme.split_once(start).map(|(_, after)| after);
    let example = after("\n```json\n").and_then(|rest| rest.split_once("\n```")).map(|(example, _)| example);
    let example = example.unwrap_or_else(|| panic!("the README has no example in JSON"));
    let keys: std::collections::BTreeMap<&str, serde::de::IgnoredAny> =
        serde_json::from_str(example).unwrap_or_else(|error| panic!("{example}: {error}"));
    let mut rows: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).collect();
    rows.sort_unstable();
    assert!(keys.keys().copied().eq(rows.iter().map(|(key, _)| *key)), "{keys:?} are not the keys of {rows:?}");
    example
}
