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
mod random;
mod round_robin;
mod shares;
#[cfg(test)]
mod tests;
mod weighted;

use std::fmt;
use std::str::FromStr;

use self::least_request::LeastRequest;
use self::random::Random;
use self::round_robin::RoundRobin;
use self::weighted::Weighted;
use crate::table::Endpoints;

/// What a picker may know of a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// Positions, in the endpoints of the last `update`, that this call has already tried.
    pub tried: &'a [u32],
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

impl FromStr for Balancer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Balancer::ALL.iter().find(|(name, _)| *name == text).map(|(_, balancer)| *balancer).ok_or_else(|| {
            format!("unknown balancer `{text}`; it is one of round_robin, weighted, random, least_request")
        })
    }
}

impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Balancer::RoundRobin => "round_robin",
            Balancer::Weighted => "weighted",
            Balancer::Random => "random",
            Balancer::LeastRequest => "least_request",
        })
    }
}
