//! Which endpoint takes a call. A picker belongs to one worker and one service: it never awaits, locks or allocates
//! while it picks.
//!
//! Rules that every picker keeps:
//!
//! * An endpoint of weight 0 takes no new calls; if all weights are 0, all endpoints have equal shares.
//! * An unreachable or unhealthy endpoint is picked only when no other is left that the call has not tried; then an
//!   unhealthy one before an unreachable one.
//! * An endpoint whose share grows gets a part of its calls, those of others apart.
//! * Two workers start at different places, by their seeds, so that they do not all begin with the same endpoint.
//! * What a picker remembers, it remembers by endpoint: a change of one endpoint does not start the others anew.

mod candidates;
mod least_request;
#[cfg(feature = "wasm")]
mod policy;
mod random;
mod round_robin;
mod shares;
#[cfg(test)]
mod tests;
mod weighted;

use std::fmt;
use std::time::Duration;

use self::least_request::LeastRequest;
#[cfg(feature = "wasm")]
pub use self::policy::{Balance, Policy};
use self::random::Random;
use self::round_robin::RoundRobin;
use self::weighted::Weighted;
use crate::table::Endpoints;
#[cfg(feature = "wasm")]
use crate::wasm::{Callout, Reply};

/// What a picker may know of a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// Positions, in the endpoints of the last `update`, that this call has already tried.
    pub tried: &'a [u32],
    /// Made of the header that the service's configuration names; 0 if there is none.
    pub hash: u64,
    /// 0, then 1 and so on when it is tried again.
    pub attempt: u32,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The gRPC status, 0 to 16, or the HTTP status, 100 to 599; -1 if there was no response.
    pub status: i32,
    /// From the first attempt to the end.
    pub took: Duration,
}

/// There is no endpoint to pick: none is there, or all have been tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint is left to pick")]
pub struct NoPick;

/// Picks the endpoint for each call of one service in one worker.
pub trait Picker: Send {
    /// Takes over new endpoints, at first and whenever the slot's generation changes. State is carried over by
    /// [`EndpointId`](crate::table::EndpointId).
    fn update(&mut self, endpoints: &Endpoints);

    /// The position, in the endpoints of the last `update`, of the one that takes this call.
    ///
    /// # Errors
    ///
    /// [`NoPick`] if there is no endpoint, or the call has tried all that may be picked.
    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick>;

    /// Hears how a call ended, whoever picked for it, if it [wants to](Self::wants_results); with the position in the
    /// endpoints of the last `update`.
    fn result(&mut self, _position: u32, _outcome: &Outcome) {}

    /// Whether it wants to hear how calls end.
    fn wants_results(&self) -> bool {
        false
    }

    /// How often it wants [`tick`](Self::tick) to be called.
    fn period(&mut self) -> Option<Duration> {
        None
    }

    /// Does what is due from time to time, and gives the calls to services that it wants made.
    #[cfg(feature = "wasm")]
    fn tick(&mut self) -> Vec<Callout> {
        Vec::new()
    }

    /// Hears what came of such a call.
    #[cfg(feature = "wasm")]
    fn reply(&mut self, _callout: &Callout, _reply: Option<Reply>) {}
}

/// How the endpoints of a service share its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balancer {
    /// Each in its turn, weights but 0 ignored.
    #[default]
    RoundRobin,
    /// Each by its weight, exactly over a cycle and evenly spread within it.
    Weighted,
    /// By chance, in proportion to the weights.
    Random,
    /// Of two drawn by chance, the one with fewer exchanges under way for its weight.
    LeastRequest,
}

impl Balancer {
    /// Every balancer with the name that the configuration gives it.
    pub const ALL: &[(&str, Balancer)] = &[
        ("round_robin", Balancer::RoundRobin),
        ("weighted", Balancer::Weighted),
        ("random", Balancer::Random),
        ("least_request", Balancer::LeastRequest),
    ];

    /// A picker without endpoints. `seed` decides where it starts and what it draws; give each worker another.
    /// Boxed, for an enum in its place was measured and is no faster.
    pub fn picker(self, seed: u64) -> Box<dyn Picker> {
        match self {
            Balancer::RoundRobin => Box::new(RoundRobin::new(seed)),
            Balancer::Weighted => Box::new(Weighted::new(seed)),
            Balancer::Random => Box::new(Random::new(seed)),
            Balancer::LeastRequest => Box::new(LeastRequest::new(seed)),
        }
    }
}

impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Balancer::ALL.iter().find(|(_, balancer)| balancer == self).map_or("", |(name, _)| name))
    }
}
