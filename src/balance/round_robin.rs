//! Each endpoint in its turn. The turn is remembered by id, and the endpoints are ordered by id: whatever comes, goes or
//! comes back, the next call goes to the one after the last.

use super::candidates::{Candidate, Spare, candidates};
use super::{Call, NoPick, Picker};
use crate::table::{EndpointId, EndpointState, Endpoints};

#[derive(Debug)]
pub(super) struct RoundRobin {
    candidates: Vec<Candidate>,
    /// What each candidate has saved up of turns that it takes in part.
    saved: Vec<u32>,
    spare: Spare,
    /// The candidate whose turn it is; may be just past the end.
    next: usize,
    /// Whose turn was the last before the update.
    last: Option<EndpointId>,
    seed: u64,
}

impl RoundRobin {
    pub(super) fn new(seed: u64) -> Self {
        RoundRobin { candidates: Vec::new(), saved: Vec::new(), spare: Spare::default(), next: 0, last: None, seed }
    }
}

impl RoundRobin {
    /// Whether a candidate that takes a part of its turns, in thousandths, takes this one.
    fn takes_turn(&mut self, at: usize, part: u32) -> bool {
        self.saved[at] += part;
        let takes = self.saved[at] >= EndpointState::WHOLE;
        if takes {
            self.saved[at] -= EndpointState::WHOLE;
        }
        takes
    }
}

impl Picker for RoundRobin {
    fn update(&mut self, endpoints: &Endpoints) {
        let before = std::mem::take(&mut self.candidates);
        (self.candidates, self.spare) = candidates(endpoints);
        let saved = |c: &Candidate| before.binary_search_by_key(&c.id, |c| c.id).map_or(0, |at| self.saved[at]);
        self.saved = self.candidates.iter().map(saved).collect();
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
            let takes = candidate.turns == EndpointState::WHOLE || self.takes_turn(self.next, candidate.turns);
            self.next += 1;
            // Who was tried elsewhere takes whom it finds.
            if (takes || !call.tried.is_empty()) && !call.tried.contains(&candidate.position) {
                self.last = Some(candidate.id);
                return Ok(candidate.position);
            }
        }
        self.spare.pick(call)
    }
}
