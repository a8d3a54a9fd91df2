//! By chance, in proportion to the weights.

use super::candidates::{Spare, candidates};
use super::shares::Shares;
use super::{Call, NoPick, Picker};
use crate::table::Endpoints;

#[derive(Debug)]
pub(super) struct Random {
    shares: Shares,
    spare: Spare,
    random: fastrand::Rng,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random { shares: Shares::default(), spare: Spare::default(), random: fastrand::Rng::with_seed(seed) }
    }
}

impl Picker for Random {
    fn update(&mut self, endpoints: &Endpoints) {
        let (candidates, spare) = candidates(endpoints);
        self.shares = Shares::new(candidates);
        self.spare = spare;
    }

    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        let drawn = if call.tried.is_empty() {
            self.shares.draw(&mut self.random)
        } else {
            self.shares.draw_untried(&mut self.random, call)
        };
        drawn.map_or_else(|| self.spare.pick(call), |c| Ok(c.position))
    }
}
