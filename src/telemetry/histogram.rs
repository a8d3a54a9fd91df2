//! A histogram of durations that costs the recording thread a few nanoseconds: no lock, no float, no search.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// The finest step: 62.5 µs.
const STEP_NANOS: u64 = 62_500;
/// Each exported bucket is kept as this many finer ones, so that a quantile read here is off by an eighth at most,
/// while Prometheus stores no more series than its own estimates need.
const PARTS: usize = 4;
/// Exported bounds: 250 µs, doubling up to 65.536 s. Below it a proxied call does not come over a real network; above
/// it are streams, whose length says nothing of latency. Doubling from 1/4 ms hits 1 ms exactly, and with it the round
/// milliseconds in which people set limits, and makes the bucket's number the length of a number in bits.
const BOUNDS: usize = 19;
/// The bucket of all that is longer.
const OVERFLOW: usize = BOUNDS * PARTS;
const BUCKETS: usize = OVERFLOW + 1;

/// Durations by bucket, for one writer: each worker records into its own, and a scrape adds them up.
///
/// Counting is a relaxed load and store, not an atomic addition. Two writers at once would lose counts, nothing worse.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    /// In microseconds, not nanoseconds, so that ten thousand streams at once need 58 years to overflow it.
    sum_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration. For the one writer only.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        add(&self.counts[bucket(nanos)], 1);
        add(&self.sum_micros, nanos.saturating_add(500) / 1000);
    }

    /// What has been recorded so far. The sum may be ahead of the counts, or behind them, by what is just recorded.
    pub fn distribution(&self) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)),
            sum_micros: self.sum_micros.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a counter that one thread writes at a time, without an atomic addition.
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The bucket whose upper bound, inclusive as Prometheus has it, is the least that is not below.
fn bucket(nanos: u64) -> usize {
    let steps = nanos.saturating_sub(1) / STEP_NANOS;
    // The octave is the number of bits beyond the two that tell the parts of an octave apart; the first bucket's
    // quarters have no leading bit and count as they are.
    let octave = (u64::BITS - steps.leading_zeros()).saturating_sub(PARTS.ilog2() + 1);
    let first = if steps < PARTS as u64 { 0 } else { (octave as usize + 1) * PARTS };
    (first + ((steps >> octave) as usize % PARTS)).min(OVERFLOW)
}

/// The upper bound of a bucket in steps, for all but the overflow.
fn upper(bucket: usize) -> u64 {
    match (bucket / PARTS, bucket % PARTS) {
        (0, part) => part as u64 + 1,
        (exported, part) => ((PARTS + part + 1) as u64) << (exported - 1),
    }
}

/// The upper bounds of the exported buckets in seconds, without the infinite one. For histograms of the control plane,
/// so that all latencies can be compared.
pub fn bounds() -> impl Iterator<Item = f64> {
    (0..BOUNDS).map(|i| upper(i * PARTS + PARTS - 1) as f64 * (STEP_NANOS as f64 / 1e9))
}

/// What histograms held at one moment: plain numbers, to be added, asked and encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Distribution { counts: [0; BUCKETS], sum_micros: 0 }
    }
}

impl Distribution {
    /// Adds what another worker recorded.
    pub fn merge(&mut self, other: &Distribution) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_micros = self.sum_micros.wrapping_add(other.sum_micros);
    }

    /// What was recorded after `earlier`, which these same histograms held then.
    #[must_use]
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i])),
            sum_micros: self.sum_micros.wrapping_sub(earlier.sum_micros),
        }
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// The duration below which the share `q`, from 0 to 1, of all lies, as if they were spread evenly over their
    /// bucket; at most 65.536 s. `None` without any.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let wanted = (q.clamp(0.0, 1.0) * self.count() as f64).max(1.0);
        let mut before = 0;
        for (i, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let through = before + count;
            if through as f64 >= wanted {
                let lower = if i == 0 { 0 } else { upper(i - 1) };
                let width = if i == OVERFLOW { 0 } else { upper(i) - lower };
                let part = (wanted - before as f64) / count as f64;
                let steps = lower as f64 + width as f64 * part;
                return Some(Duration::from_nanos((steps * STEP_NANOS as f64) as u64));
            }
            before = through;
        }
        None
    }

    /// Writes the histogram as Prometheus has it: exported buckets, sum in seconds, count.
    pub fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut buckets = [(f64::INFINITY, 0); BOUNDS + 1];
        for ((place, fine), bound) in
            buckets.iter_mut().zip(self.counts.chunks(PARTS)).zip(bounds().chain([f64::INFINITY]))
        {
            *place = (bound, fine.iter().sum());
        }
        let sum = self.sum_micros as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, self.count(), &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: impl IntoIterator<Item = Duration>) -> Distribution {
        let histogram = Histogram::default();
        durations.into_iter().for_each(|d| histogram.record(d));
        histogram.distribution()
    }

    #[test]
    fn bounds_are_inclusive_and_every_bucket_follows_its_neighbour() {
        for i in 0..OVERFLOW {
            let bound = upper(i) * STEP_NANOS;
            assert_eq!(bucket(bound), i, "{bound} ns");
            assert_eq!(bucket(bound + 1), i + 1, "{bound} ns + 1");
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), OVERFLOW);
    }

    #[test]
    fn exported_bounds_print_as_round_numbers() {
        let printed: Vec<_> = bounds().map(|b| b.to_string()).collect();
        assert_eq!(printed[..6], ["0.00025", "0.0005", "0.001", "0.002", "0.004", "0.008"]);
        assert_eq!(printed[BOUNDS - 2..], ["32.768", "65.536"]);
    }

    #[test]
    fn extremes_are_counted() {
        let seen = of([Duration::ZERO, Duration::from_nanos(400), Duration::from_nanos(600), Duration::MAX]);
        assert_eq!(seen.count(), 4);
        assert_eq!((seen.counts[0], seen.counts[OVERFLOW]), (3, 1));
    }

    #[test]
    fn distributions_add_up() {
        let mut both = of([Duration::from_millis(1), Duration::from_secs(2)]);
        both.merge(&of([Duration::from_millis(1)]));
        assert_eq!(both, of([1, 1, 2000].map(Duration::from_millis)));
        assert_eq!((both.count(), both.sum()), (3, Duration::from_millis(2002)));
        assert_eq!(both.since(&of([Duration::from_secs(2)])), of([1, 1].map(Duration::from_millis)));
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let seen = of((1..=10_000).map(Duration::from_millis));
        for (q, expected) in [(0.0, 1.0), (0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let got = seen.quantile(q).unwrap().as_secs_f64() * 1e3;
            assert!((got - expected).abs() <= expected / 8.0, "{q}: {got} ms");
        }
        assert_eq!(of([]).quantile(0.5), None);
        assert_eq!(of([Duration::from_secs(500)]).quantile(0.5), Some(Duration::from_millis(65_536)));
    }
}
