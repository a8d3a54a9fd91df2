//! Gives fast endpoints more calls and slow ones fewer.
#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use waypost_policy::{Endpoint, Load, Policy, Snapshot, Weights, config, policy};

/// Weights are whole numbers; this many times as large, they have room for fractions.
const SCALE: f64 = 100.0;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    #[serde(deserialize_with = "config::duration")]
    half_life: Duration,
    floor: f64,
    ceiling: f64,
    min_calls: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { half_life: Duration::from_secs(10), floor: 0.2, ceiling: 2.0, min_calls: 10 }
    }
}

struct LatencyWeights {
    config: Config,
    /// By the endpoints' identities, so that a change of the list loses nothing.
    measured: BTreeMap<u32, Measured>,
}

/// Sums over the past, in which a call counts half as much after the half-life.
#[derive(Clone, Copy, Default)]
struct Measured {
    calls: f64,
    seconds: f64,
    failed: f64,
}

impl Measured {
    fn add(&mut self, decay: f64, load: &Load) {
        self.calls = self.calls * decay + load.calls as f64;
        self.seconds = self.seconds * decay + load.took.as_secs_f64();
        self.failed = self.failed * decay + load.failed() as f64;
    }

    /// The mean time of a call, if there were enough of them. Below a microsecond no clock can be trusted.
    fn mean(&self, min_calls: u32) -> Option<f64> {
        (self.calls >= f64::from(min_calls)).then(|| (self.seconds / self.calls).max(1e-6))
    }
}

impl Policy for LatencyWeights {
    fn configure(config: &[u8]) -> Result<Self, String> {
        let config: Config = config::read(config)?;
        config::within("half_life (in seconds)", config.half_life.as_secs_f64(), 1.0..=3600.0)?;
        config::within("floor", config.floor, 0.01..=1.0)?;
        config::within("ceiling", config.ceiling, 1.0..=100.0)?;
        config::within("min_calls", config.min_calls, 1..=1_000_000)?;
        Ok(Self { config, measured: BTreeMap::new() })
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let known = std::mem::take(&mut self.measured);
        let kept = endpoints.iter().map(|at| (at.id, known.get(&at.id).copied().unwrap_or_default()));
        self.measured = kept.collect();
    }
}

impl Weights for LatencyWeights {
    fn weights(&mut self, endpoints: &[Endpoint], snapshot: &Snapshot) -> Option<Vec<u32>> {
        let decay = 0.5_f64.powf(snapshot.elapsed.as_secs_f64() / self.config.half_life.as_secs_f64());
        for load in &snapshot.loads {
            self.measured.entry(load.id).or_default().add(decay, load);
        }
        let means = || self.measured.values().filter_map(|measured| measured.mean(self.config.min_calls));
        // The geometric mean: one endpoint that is very slow does not make all others fast.
        let usual = (means().map(f64::ln).sum::<f64>() / means().count().max(1) as f64).exp();
        Some(endpoints.iter().map(|endpoint| self.weight(endpoint, usual)).collect())
    }
}

impl LatencyWeights {
    fn weight(&self, endpoint: &Endpoint, usual: f64) -> u32 {
        let measured = self.measured.get(&endpoint.id).copied().unwrap_or_default();
        let mut factor = measured.mean(self.config.min_calls).map_or(1.0, |mean| usual / mean);
        if measured.failed >= 1.0 {
            // Failing is quick; it must not look like speed.
            factor = factor.min(1.0) * (1.0 - measured.failed / measured.calls);
        }
        let weight = f64::from(endpoint.weight) * SCALE * factor.clamp(self.config.floor, self.config.ceiling);
        // A cast from a number that is too large gives the largest; only what had no weight gets none.
        (weight.round() as u32).max(u32::from(endpoint.weight > 0))
    }
}

policy!(LatencyWeights: Weights);

#[cfg(test)]
mod tests {
    use waypost_policy::testing::{Bench, endpoint, example, load};

    use super::*;

    /// Endpoints with these identities.
    fn endpoints(ids: &[u32]) -> Vec<Endpoint> {
        ids.iter().map(|id| Endpoint { id: *id, ..endpoint(&format!("10.0.0.{id}:80")) }).collect()
    }

    fn bench(config: &str, ids: &[u32]) -> Bench<LatencyWeights> {
        let mut bench = Bench::new(config).unwrap();
        bench.endpoints(&endpoints(ids));
        bench
    }

    /// The weights after a second in which the endpoints had so many calls that took so many milliseconds each.
    fn tick(bench: &mut Bench<LatencyWeights>, loads: &[(u32, u64, u64)]) -> Vec<u32> {
        let loads =
            loads.iter().map(|(id, calls, millis)| Load { id: *id, ..load(*calls, Duration::from_millis(*millis)) });
        bench.weights(&Snapshot { elapsed: Duration::from_secs(1), loads: loads.collect() }).unwrap()
    }

    #[test]
    fn nothing_measured_changes_nothing() {
        let mut bench = bench("", &[1, 2]);
        assert_eq!(tick(&mut bench, &[(1, 0, 0), (2, 0, 0)]), [100, 100]);
        assert_eq!(tick(&mut bench, &[(1, 9, 10), (2, 9, 90)]), [100, 100], "too few calls");
    }

    #[test]
    fn weights_follow_speed_between_floor_and_ceiling() {
        // The geometric mean of 10 and 40 is 20.
        assert_eq!(tick(&mut bench("", &[1, 2]), &[(1, 100, 10), (2, 100, 40)]), [200, 50]);
        assert_eq!(tick(&mut bench("", &[1, 2]), &[(1, 100, 10), (2, 100, 1000)]), [200, 20]);
        let wide = r#"{"floor": 0.01, "ceiling": 100}"#;
        assert_eq!(tick(&mut bench(wide, &[1, 2]), &[(1, 100, 10), (2, 100, 1000)]), [1000, 10]);
    }

    #[test]
    fn the_registered_weight_is_what_is_multiplied() {
        let mut bench = Bench::<LatencyWeights>::new("").unwrap();
        let mut three = endpoints(&[1, 2, 3]);
        (three[0].weight, three[1].weight, three[2].weight) = (4, 0, u32::MAX);
        bench.endpoints(&three);
        assert_eq!(tick(&mut bench, &[(1, 100, 10), (2, 100, 10), (3, 100, 10)]), [400, 0, u32::MAX]);
    }

    #[test]
    fn the_past_counts_half_after_the_half_life() {
        let mut bench = bench(r#"{"half_life": "1s", "floor": 0.01, "ceiling": 100, "min_calls": 1}"#, &[1, 2]);
        tick(&mut bench, &[(1, 100, 10), (2, 100, 10)]);
        // The second one: 50 of 10 ms and 100 of 40 ms, 30 ms on average; the first one 10 ms.
        let weights = tick(&mut bench, &[(1, 100, 10), (2, 100, 40)]);
        assert_eq!(weights, [173, 58], "√3 and its inverse");
    }

    #[test]
    fn a_slow_endpoint_is_tried_out_when_it_has_no_calls() {
        let mut bench = bench(r#"{"half_life": "1s"}"#, &[1, 2]);
        assert_eq!(tick(&mut bench, &[(1, 100, 10), (2, 15, 1000)])[1], 20);
        assert_eq!(tick(&mut bench, &[(1, 100, 10), (2, 0, 0)]), [100, 100], "7½ calls are too few");
    }

    #[test]
    fn failing_quickly_is_no_speed() {
        let mut bench = bench("", &[1, 2]);
        let mut fails = Load { id: 1, ..load(100, Duration::from_millis(1)) };
        (fails.grpc[0], fails.grpc[14]) = (50, 50);
        let works = Load { id: 2, ..load(100, Duration::from_millis(100)) };
        let snapshot = Snapshot { elapsed: Duration::from_secs(1), loads: vec![fails, works] };
        assert_eq!(bench.weights(&snapshot), Some(vec![50, 20]));
    }

    #[test]
    fn a_change_of_the_list_keeps_what_was_measured() {
        let mut bench = bench("", &[1, 2]);
        tick(&mut bench, &[(1, 100, 10), (2, 100, 40)]);
        bench.endpoints(&endpoints(&[3, 2, 1]));
        assert_eq!(tick(&mut bench, &[(3, 0, 0), (2, 0, 0), (1, 0, 0)]), [100, 50, 200]);
        bench.endpoints(&endpoints(&[3]));
        assert_eq!(bench.policy().measured.len(), 1, "what left is forgotten");
    }

    #[test]
    fn the_example_in_the_readme_is_accepted() {
        assert_eq!(Bench::<LatencyWeights>::new(example(include_str!("../README.md"))).err(), None);
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let cases = [
            (r#"{"half_life": "10ms"}"#, "half_life (in seconds): must be from 1 to 3600, is 0.01"),
            (r#"{"half_life": 10}"#, "invalid type: integer `10`, expected a string"),
            (r#"{"floor": 0}"#, "floor: must be from 0.01 to 1, is 0"),
            (r#"{"ceiling": 0.5}"#, "ceiling: must be from 1 to 100, is 0.5"),
            (r#"{"min_calls": 0}"#, "min_calls: must be from 1"),
        ];
        for (config, reason) in cases {
            let refusal = Bench::<LatencyWeights>::new(config).err().unwrap_or_default();
            assert!(refusal.contains(reason), "{config}: {refusal}");
        }
    }
}
