//! Each endpoint by its weight: exactly over a cycle, evenly spread within it, and undisturbed by changes of others.
//!
//! Virtual time runs in cycles. An endpoint of weight w has w turns in each, 1/w of a cycle apart, at (k + phase) / w for
//! k from 0 to w - 1, and the endpoint with the earliest turn is picked (earliest deadline first; the phase is a half at
//! first, which centres the turns). So any stretch of one cycle, wherever it starts, gives each endpoint its weight in
//! picks. No endpoint's turns depend on another's.
//!
//! Turns are whole numbers, the cycle and a 32-bit fraction of it, computed from k each time, so nothing adds up to a
//! drift. Turns that coincide are taken in the order of ids, beginning at an anchor.
//!
//! When a weight changes, the endpoint keeps the part of the way to its next turn that it has behind it. So weights that
//! change all the time neither starve it nor have it picked in a burst. A new endpoint joins at the first of its turns
//! that is not over.

use super::candidates::{Candidate, Spare, candidates};
use super::{Call, NoPick, Picker};
use crate::table::{EndpointId, Endpoints};

#[derive(Debug)]
pub(super) struct Weighted {
    /// Ordered by id.
    lines: Vec<Line>,
    /// A binary heap, the earliest turn on top: one entry per line, made by [`Weighted::entry`].
    heap: Vec<u128>,
    /// The line that is first among coinciding turns.
    start: usize,
    /// The endpoint from whose id on lines come first, chosen once.
    anchor: Option<EndpointId>,
    spare: Spare,
    now: Moment,
    seed: u64,
}

/// A point of virtual time: the cycle, and the fraction of it in 1/2³².
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    cycle: u64,
    fraction: u32,
}

/// The turns of one endpoint, and which of them is next.
#[derive(Debug, Clone, Copy)]
struct Line {
    candidate: Candidate,
    cycle: u64,
    /// Turns taken in this cycle, below the weight.
    taken: u32,
    /// How far all turns are shifted, in 1/2³² of the distance between two.
    phase: u32,
}

impl Line {
    const HALF: u32 = 1 << 31;

    /// Its next turn.
    fn turn(&self) -> Moment {
        let along = (u64::from(self.taken) << 32) + u64::from(self.phase);
        // Less than a whole cycle, for `taken` is below the weight.
        Moment { cycle: self.cycle, fraction: (along / u64::from(self.candidate.weight)) as u32 }
    }

    fn advance(&mut self) {
        self.taken += 1;
        if self.taken == self.candidate.weight {
            self.taken = 0;
            self.cycle += 1;
        }
    }

    /// The line of a new endpoint: its first turn that is not before `now`.
    fn join(candidate: Candidate, now: Moment) -> Self {
        let along = u64::from(now.fraction) * u64::from(candidate.weight);
        let taken = (along + u64::from(Self::HALF - 1)) >> 32;
        Line::at(candidate, now.cycle, (u128::from(taken) << 32) + u128::from(Self::HALF))
    }

    /// The line of an endpoint whose weight changed: as far from its next turn as before, in turns.
    fn reweigh(&self, candidate: Candidate, now: Moment) -> Self {
        let along_now = |weight: u32| u128::from(now.fraction) * u128::from(weight);
        let cycles = u128::from(self.cycle.saturating_sub(now.cycle));
        let next =
            ((cycles * u128::from(self.candidate.weight) + u128::from(self.taken)) << 32) + u128::from(self.phase);
        let remaining = next.saturating_sub(along_now(self.candidate.weight));
        Line::at(candidate, now.cycle, along_now(candidate.weight) + remaining)
    }

    /// The line whose next turn is so far `along` the turns since the cycle's start, in 1/2³² of a turn.
    fn at(candidate: Candidate, cycle: u64, along: u128) -> Self {
        let turns = along >> 32;
        let weight = u128::from(candidate.weight);
        Line { candidate, cycle: cycle + (turns / weight) as u64, taken: (turns % weight) as u32, phase: along as u32 }
    }
}

impl Weighted {
    pub(super) fn new(seed: u64) -> Self {
        let fraction = fastrand::Rng::with_seed(seed).u32(..);
        Weighted {
            lines: Vec::new(),
            heap: Vec::new(),
            start: 0,
            anchor: None,
            spare: Spare::default(),
            now: Moment { cycle: 0, fraction },
            seed,
        }
    }

    /// What the heap holds for a line: its next turn, then its rank among coinciding ones.
    fn entry(&self, line: usize) -> u128 {
        let Moment { cycle, fraction } = self.lines[line].turn();
        let rank = if line >= self.start { line - self.start } else { line + self.lines.len() - self.start };
        u128::from(cycle) << 64 | u128::from(fraction) << 32 | rank as u128
    }

    /// The line that an entry of the heap stands for.
    fn line(&self, entry: u128) -> usize {
        let line = entry as u32 as usize + self.start;
        if line >= self.lines.len() { line - self.lines.len() } else { line }
    }

    /// Restores the heap below an entry that became later.
    fn sift_down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let Some(mut child) = (left < self.heap.len()).then_some(left) else { return };
            if self.heap.get(left + 1).is_some_and(|right| *right < self.heap[left]) {
                child = left + 1;
            }
            if self.heap[at] <= self.heap[child] {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    fn tried(&self, entry: u128, call: &Call<'_>) -> bool {
        call.tried.contains(&self.lines[self.line(entry)].candidate.position)
    }
}

impl Picker for Weighted {
    fn update(&mut self, endpoints: &Endpoints) {
        if let Some(top) = self.heap.first() {
            self.now = Moment { cycle: (top >> 64) as u64, fraction: (top >> 32) as u32 };
        }
        let (candidates, spare) = candidates(endpoints);
        self.spare = spare;
        let now = self.now;
        // Both are ordered by id.
        let mut before = std::mem::take(&mut self.lines).into_iter().peekable();
        self.lines.extend(candidates.into_iter().map(|candidate| {
            while before.next_if(|line| line.candidate.id < candidate.id).is_some() {}
            match before.next_if(|line| line.candidate.id == candidate.id) {
                Some(line) if line.candidate.weight == candidate.weight => Line { candidate, ..line },
                Some(line) => line.reweigh(candidate, now),
                None => Line::join(candidate, now),
            }
        }));
        if self.anchor.is_none() && !self.lines.is_empty() {
            let any = fastrand::Rng::with_seed(self.seed).usize(..self.lines.len());
            self.anchor = Some(self.lines[any].candidate.id);
        }
        self.start = self.lines.partition_point(|line| Some(line.candidate.id) < self.anchor) % self.lines.len().max(1);
        self.heap = (0..self.lines.len()).map(|line| self.entry(line)).collect();
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
    }

    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        let at = if call.tried.is_empty() {
            0
        } else {
            // The earliest turn of those that are left; it is taken before its time.
            let untried = self.heap.iter().zip(0..).filter(|(entry, _)| !self.tried(**entry, call));
            match untried.min() {
                Some((_, at)) => at,
                None => return self.spare.pick(call),
            }
        };
        let line = self.line(*self.heap.get(at).ok_or(NoPick)?);
        self.lines[line].advance();
        self.heap[at] = self.entry(line);
        self.sift_down(at);
        Ok(self.lines[line].candidate.position)
    }
}
