//! The rules that all pickers share, applied at update: who takes calls, and who does only when nobody else is left.

use super::{Call, NoPick};
use crate::table::{EndpointId, Endpoints};

/// An endpoint that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its position in the endpoints.
    pub(super) position: u32,
    /// Its identity over changes.
    pub(super) id: EndpointId,
    /// Its share, never 0.
    pub(super) weight: u32,
}

/// The unreachable endpoints, while there are reachable ones. A call comes to them when it has tried all others.
#[derive(Debug, Default)]
pub(super) struct Spare {
    positions: Vec<u32>,
    next: usize,
}

impl Spare {
    /// The next one that the call has not tried, in turn.
    pub(super) fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        let count = self.positions.len();
        let turn = (self.next..self.next + count).find(|turn| !call.tried.contains(&self.positions[turn % count]));
        let turn = turn.ok_or(NoPick)? % count;
        self.next = turn + 1;
        Ok(self.positions[turn])
    }
}

/// Sorts out who takes calls, ordered by id: the reachable endpoints with a weight, and the unreachable ones as spare;
/// or, if none is reachable, those.
pub(super) fn candidates(endpoints: &Endpoints) -> (Vec<Candidate>, Spare) {
    let all_zero = endpoints.iter().all(|e| e.weight() == 0);
    let sharing = |unreachable: bool| {
        endpoints
            .iter()
            .zip(0..)
            .filter(move |(e, _)| (all_zero || e.weight() > 0) && e.state.is_unreachable() == unreachable)
            .map(|(e, position)| Candidate { position, id: e.id, weight: e.weight().max(1) })
    };
    let reachable: Vec<_> = sharing(false).collect();
    if reachable.is_empty() {
        (sharing(true).collect(), Spare::default())
    } else {
        (reachable, Spare { positions: sharing(true).map(|c| c.position).collect(), next: 0 })
    }
}
