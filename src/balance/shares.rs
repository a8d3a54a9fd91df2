//! Drawing a candidate by chance, in proportion to its weight.

use super::Call;
use super::candidates::Candidate;

/// Candidates with the sums of their weights.
#[derive(Debug, Default)]
pub(super) struct Shares {
    candidates: Vec<Candidate>,
    /// For each candidate, the sum of the weights up to and with it.
    sums: Vec<u64>,
}

impl Shares {
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        let sums = candidates.iter().scan(0, |sum, c| {
            *sum += u64::from(c.weight);
            Some(*sum)
        });
        Shares { sums: sums.collect(), candidates }
    }

    fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The candidate on whose share the point lies, as an index. The point is below the total.
    fn at(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }

    /// Draws one.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Option<Candidate> {
        let total = self.total();
        (total > 0).then(|| self.candidates[self.at(random.u64(..total))])
    }

    /// Draws two different ones, each by its share; the same twice if there is but one.
    pub(super) fn draw_two(&self, random: &mut fastrand::Rng) -> Option<(Candidate, Candidate)> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let first = self.at(random.u64(..total));
        let end = self.sums[first];
        let weight = u64::from(self.candidates[first].weight);
        if weight == total {
            return Some((self.candidates[first], self.candidates[first]));
        }
        // The first one's share is cut out of the line.
        let point = random.u64(..total - weight);
        let second = self.at(if point < end - weight { point } else { point + weight });
        Some((self.candidates[first], self.candidates[second]))
    }

    /// Draws one that the call has not tried.
    pub(super) fn draw_untried(&self, random: &mut fastrand::Rng, call: &Call<'_>) -> Option<Candidate> {
        let untried = || self.candidates.iter().filter(|c| !call.tried.contains(&c.position));
        let total: u64 = untried().map(|c| u64::from(c.weight)).sum();
        let mut point = (total > 0).then(|| random.u64(..total))?;
        untried()
            .find(|c| {
                let here = point < u64::from(c.weight);
                point = point.saturating_sub(u64::from(c.weight));
                here
            })
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::EndpointId;

    #[test]
    fn every_point_belongs_to_the_share_around_it() {
        let weights = [3, 1, 4, 2];
        let candidates = weights.iter().zip(0..).map(|(weight, n)| Candidate {
            position: n,
            id: EndpointId(n),
            weight: *weight,
            turns: 1_000,
        });
        let shares = Shares::new(candidates.collect());
        let points: Vec<usize> = (0..10).map(|point| shares.at(point)).collect();
        assert_eq!(points, [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]);
        let mut random = fastrand::Rng::with_seed(1);
        let mut drawn = [0; 4];
        for _ in 0..1000 {
            let (first, second) = shares.draw_two(&mut random).unwrap();
            assert_ne!(first, second);
            drawn[second.position as usize] += 1;
        }
        assert!(drawn.iter().all(|n| *n > 50), "{drawn:?}");
    }
}
