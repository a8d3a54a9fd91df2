//! The rules that all pickers share, applied at update: who takes calls, and who does only when nobody else is left.

use super::{Call, NoPick};
use crate::table::{Endpoint, EndpointId, EndpointState, Endpoints};

/// An endpoint that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its position in the endpoints.
    pub(super) position: u32,
    /// Its identity over changes.
    pub(super) id: EndpointId,
    /// Its share, never 0.
    pub(super) weight: u32,
    /// The part of its turns that it takes, in thousandths, for pickers that do not look at weights; never 0, and the
    /// whole for one at least.
    pub(super) turns: u32,
}

/// The endpoints that are left out while there are better ones, the best of them first. A call comes to them when it has
/// tried all others.
#[derive(Debug, Default)]
pub(super) struct Spare {
    classes: Vec<Class>,
}

/// Endpoints that are equally bad.
#[derive(Debug)]
struct Class {
    positions: Vec<u32>,
    next: usize,
}

impl Spare {
    /// The next one that the call has not tried, in turn.
    pub(super) fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        self.classes.iter_mut().find_map(|class| class.pick(call)).ok_or(NoPick)
    }
}

impl Class {
    fn pick(&mut self, call: &Call<'_>) -> Option<u32> {
        let count = self.positions.len();
        let turn =
            (self.next..self.next + count).find(|turn| !call.tried.contains(&self.positions[turn % count]))? % count;
        self.next = turn + 1;
        Some(self.positions[turn])
    }
}

/// Weights up to this can be multiplied by a share in thousandths.
const MOST_WEIGHT: u32 = u32::MAX / EndpointState::WHOLE;

/// Sorts out who takes calls, ordered by id: of those with a weight the ones that can be reached and are healthy, the
/// others as spare, unhealthy ones before unreachable ones; or, if there is none of the first kind, the next.
pub(super) fn candidates(endpoints: &Endpoints) -> (Vec<Candidate>, Spare) {
    let all_zero = endpoints.iter().all(|e| e.weight() == 0);
    let mut classes: [Vec<(u32, &Endpoint)>; 3] = Default::default();
    for (e, position) in endpoints.iter().zip(0..).filter(|(e, _)| all_zero || e.weight() > 0) {
        let class = if e.state.is_unreachable() { 2 } else { usize::from(e.state.share() == 0) };
        classes[class].push((position, e));
    }
    let mut classes = classes.into_iter().filter(|class| !class.is_empty());
    let best = classes.next().unwrap_or_default();
    let spare = |class: Vec<(u32, &Endpoint)>| {
        let positions = class.into_iter().map(|(position, _)| position).collect();
        Class { positions, next: 0 }
    };
    (shared_out(&best), Spare { classes: classes.map(spare).collect() })
}

/// The candidates of one class. Shares that grow are parts of weights, so that weights must be made large enough for it.
fn shared_out(class: &[(u32, &Endpoint)]) -> Vec<Candidate> {
    let share = |e: &Endpoint| match e.state.share() {
        0 => EndpointState::WHOLE,
        share => share,
    };
    let most = class.iter().map(|(_, e)| share(e)).max().unwrap_or(EndpointState::WHOLE);
    let whole = class.iter().all(|(_, e)| share(e) == most);
    let candidate = |&(position, e): &(u32, &Endpoint)| {
        let weight = e.weight().max(1);
        let (weight, turns) = match whole {
            true => (weight, EndpointState::WHOLE),
            false => (weight.min(MOST_WEIGHT) * share(e), share(e) * EndpointState::WHOLE / most),
        };
        Candidate { position, id: e.id, weight, turns }
    };
    class.iter().map(candidate).collect()
}
