//! Each endpoint in its turn. The turn is remembered by id, and the endpoints are ordered by id: whatever comes, goes or
//! comes back, the next call goes to the one after the last.

use super::candidates::{Candidate, Spare, candidates};
use super::{Call, NoPick, Picker};
use crate::table::{EndpointId, Endpoints};

#[derive(Debug)]
pub(super) struct RoundRobin {
    candidates: Vec<Candidate>,
    spare: Spare,
    /// The candidate whose turn it is; may be just past the end.
    next: usize,
    /// Whose turn was the last before the update.
    last: Option<EndpointId>,
    seed: u64,
}

impl RoundRobin {
    pub(super) fn new(seed: u64) -> Self {
        RoundRobin { candidates: Vec::new(), spare: Spare::default(), next: 0, last: None, seed }
    }
}

impl Picker for RoundRobin {
    fn update(&mut self, endpoints: &Endpoints) {
        (self.candidates, self.spare) = candidates(endpoints);
        self.next = match self.last {
            Some(last) => self.candidates.partition_point(|c| c.id <= last),
            None => fastrand::Rng::with_seed(self.seed).usize(..self.candidates.len().max(1)),
        };
    }

    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        for _ in 0..self.candidates.len() {
            if self.next >= self.candidates.len() {
                self.next = 0;
            }
            let candidate = self.candidates[self.next];
            self.next += 1;
            if !call.tried.contains(&candidate.position) {
                self.last = Some(candidate.id);
                return Ok(candidate.position);
            }
        }
        self.spare.pick(call)
    }
}
