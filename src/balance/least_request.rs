//! Of two endpoints drawn by chance, the one with fewer exchanges under way for its weight ("power of two choices").
//! The counters are shared by all workers, so that an endpoint that is slow for one is spared by all.
//!
//! Both are drawn by their shares: drawn evenly, an endpoint with half of all weight among a hundred would be looked at
//! for one call in fifty. Two that are both idle are taken as drawn, for there is nothing to compare, and a small weight
//! would otherwise never be used while little is going on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::candidates::{Candidate, Spare, candidates};
use super::shares::Shares;
use super::{Call, NoPick, Picker};
use crate::table::{EndpointState, Endpoints};

#[derive(Debug)]
pub(super) struct LeastRequest {
    shares: Shares,
    /// What is shared about the endpoint at each position.
    states: Vec<Arc<EndpointState>>,
    spare: Spare,
    random: fastrand::Rng,
}

impl LeastRequest {
    pub(super) fn new(seed: u64) -> Self {
        LeastRequest {
            shares: Shares::default(),
            states: Vec::new(),
            spare: Spare::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn in_flight(&self, candidate: Candidate) -> u64 {
        u64::from(self.states[candidate.position as usize].in_flight.load(Ordering::Relaxed))
    }

    /// Whether the second would carry less than the first, the new call counted: (in_flight + 1) / weight.
    fn is_second_better(&self, first: Candidate, second: Candidate) -> bool {
        let (a, b) = (self.in_flight(first), self.in_flight(second));
        a + b > 0 && (b + 1) * u64::from(first.weight) < (a + 1) * u64::from(second.weight)
    }
}

impl Picker for LeastRequest {
    fn update(&mut self, endpoints: &Endpoints) {
        let (candidates, spare) = candidates(endpoints);
        self.shares = Shares::new(candidates);
        self.spare = spare;
        self.states = endpoints.iter().map(|e| e.state.clone()).collect();
    }

    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        if !call.tried.is_empty() {
            let drawn = self.shares.draw_untried(&mut self.random, call);
            return drawn.map_or_else(|| self.spare.pick(call), |c| Ok(c.position));
        }
        let (first, second) = self.shares.draw_two(&mut self.random).ok_or(NoPick)?;
        Ok(if self.is_second_better(first, second) { second } else { first }.position)
    }
}
