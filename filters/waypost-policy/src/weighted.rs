//! Choosing by chance, in proportion to weights.

/// Places in a list with their weights, ready to be drawn from.
///
/// ```
/// use waypost_policy::Weighted;
///
/// // The places 4 and 7; place 5 has no weight and is never drawn.
/// let weighted = Weighted::new([(4, 1), (5, 0), (7, 3)]);
/// assert_eq!(weighted.total(), 4);
/// assert_eq!(weighted.draw(0), Some(4));
/// assert_eq!(weighted.draw(u64::MAX), Some(7));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    /// Each place with the sum of all weights up to its own.
    places: Vec<(u64, usize)>,
}

impl Weighted {
    /// Of places and weights; those of weight 0 are left out. The sum of the weights must be below 2⁶⁴.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = (usize, u64)>) -> Self {
        let mut sum = 0_u64;
        let places = weights.into_iter().filter(|(_, weight)| *weight > 0).map(|(place, weight)| {
            sum = sum.saturating_add(weight);
            (sum, place)
        });
        Self { places: places.collect() }
    }

    /// The sum of the weights.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.places.last().map_or(0, |(sum, _)| *sum)
    }

    /// Draws a place by a random number that is evenly distributed; `None` if there is none.
    #[must_use]
    pub fn draw(&self, random: u64) -> Option<usize> {
        // The upper half of the product lies evenly in 0..total.
        let point = ((u128::from(random) * u128::from(self.total())) >> 64) as u64;
        let at = self.places.partition_point(|(sum, _)| *sum <= point);
        self.places.get(at).map(|(_, place)| *place)
    }

    /// The places that can be drawn.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|(_, place)| *place)
    }

    /// How many places can be drawn.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none can be drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Another random number made of one: the same for the same one, and evenly distributed if that is.
#[must_use]
pub fn another(random: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mut mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_drawn_by_its_weight_exactly() {
        let weighted = Weighted::new([(0, 1), (1, 0), (2, 2), (9, 5)]);
        let mut drawn = [0; 10];
        // Every eighth of the range once.
        for eighth in 0..8 {
            drawn[weighted.draw(eighth << 61).unwrap()] += 1;
            drawn[weighted.draw(((eighth + 1) << 60 << 1).wrapping_sub(1)).unwrap()] += 1;
        }
        assert_eq!(drawn, [2, 0, 4, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!(weighted.places().collect::<Vec<_>>(), [0, 2, 9]);
    }

    #[test]
    fn none_is_drawn_of_nothing() {
        for nothing in [Weighted::default(), Weighted::new([]), Weighted::new([(0, 0)])] {
            assert!(nothing.is_empty() && nothing.total() == 0);
            assert_eq!(nothing.draw(u64::MAX), None);
        }
    }

    #[test]
    fn another_differs_and_repeats() {
        assert_ne!(another(1), another(2));
        assert_eq!(another(7), another(7));
        // The first output of the published generator with the seed 0.
        assert_eq!(another(0), 0xe220_a839_7b1d_cdaf);
    }
}
