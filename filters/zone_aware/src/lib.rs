//! Prefers the endpoints of its own zone, and goes elsewhere while these are too few or too busy.
#![doc = include_str!("../README.md")]

use serde::Deserialize;
use waypost_policy::{Call, Endpoint, Pick, Policy, Weighted, another, config, log, policy};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    zone: String,
    #[serde(default = "default_spill_at")]
    spill_at: u32,
    #[serde(default = "default_min_healthy")]
    min_healthy: f64,
}

fn default_spill_at() -> u32 {
    32
}

fn default_min_healthy() -> f64 {
    70.0
}

struct ZoneAware {
    config: Config,
    /// The endpoints of its own zone, and all others, by what they can carry.
    near: Weighted,
    far: Weighted,
    /// Of all random numbers, those below this keep a call in the zone.
    stays: u64,
    /// What an endpoint can carry on average.
    mean: u64,
}

impl Policy for ZoneAware {
    fn configure(config: &[u8]) -> Result<Self, String> {
        let config: Config = config::read(config)?;
        if config.zone.is_empty() {
            return Err("zone: must not be empty; name the zone that this proxy is in".to_owned());
        }
        config::within("spill_at", config.spill_at, 1..=1_000_000)?;
        config::within("min_healthy", config.min_healthy, 1.0..=100.0)?;
        Ok(Self { config, near: Weighted::default(), far: Weighted::default(), stays: u64::MAX, mean: 1 })
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let is_near = |endpoint: &Endpoint| endpoint.zone == self.config.zone;
        let all = || endpoints.iter().enumerate().map(|(index, endpoint)| (index, endpoint.capacity()));
        self.near = Weighted::new(all().filter(|(index, _)| is_near(&endpoints[*index])));
        self.far = Weighted::new(all().filter(|(index, _)| !is_near(&endpoints[*index])));
        let usable = (self.near.len() + self.far.len()).max(1) as u64;
        self.mean = ((self.near.total() + self.far.total()) / usable).max(1);
        // What the zone would carry if all of it were well.
        let whole: u64 = endpoints.iter().filter(|e| is_near(e)).map(|e| u64::from(e.weight) * 1000).sum();
        if whole == 0 {
            log::warn!("no endpoint with a weight is in the zone {:?}: all calls leave it", self.config.zone);
        }
        let healthy = self.near.total() as f64 / whole.max(1) as f64 * 100.0;
        // A cast from a number that is too large gives the largest.
        self.stays = (healthy / self.config.min_healthy * 2_f64.powi(64)) as u64;
    }
}

impl Pick for ZoneAware {
    fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize> {
        let pick = Choice { endpoints, call, mean: self.mean };
        let random = another(call.random);
        if random >= self.stays {
            return pick
                .of(&self.far, call.random)
                .or_else(|| pick.of(&self.near, call.random))
                .map(|(index, _)| index);
        }
        let Some((near, load)) = pick.of(&self.near, call.random) else {
            return pick.of(&self.far, call.random).map(|(index, _)| index);
        };
        if load < f64::from(self.config.spill_at) {
            return Some(near);
        }
        // Elsewhere only if it is better there: all zones may be busy.
        Some(pick.of(&self.far, random).filter(|(_, other)| *other < load).map_or(near, |(far, _)| far))
    }
}

/// What a choice is made with.
struct Choice<'a> {
    endpoints: &'a [Endpoint],
    call: &'a Call,
    mean: u64,
}

impl Choice<'_> {
    /// Of two endpoints drawn, the one with less under way for what it can carry; and how much that is.
    fn of(&self, among: &Weighted, random: u64) -> Option<(usize, f64)> {
        let two = [among.draw(random)?, among.draw(another(!random))?];
        let fresh = |index: &usize| !self.call.is_tried(*index);
        let drawn = two.into_iter().filter(fresh).map(|index| (index, self.load(index)));
        drawn.min_by(|a, b| a.1.total_cmp(&b.1)).or_else(|| {
            let untried = among.places().find(fresh)?;
            Some((untried, self.load(untried)))
        })
    }

    /// What is under way, as it would be at an endpoint that can carry as much as the average.
    fn load(&self, index: usize) -> f64 {
        f64::from(self.call.in_flight(index)) * self.mean as f64 / self.endpoints[index].capacity().max(1) as f64
    }
}

policy!(ZoneAware: Pick);

#[cfg(test)]
mod tests {
    use waypost_policy::testing::{Bench, endpoint, example, host};

    use super::*;

    /// Two endpoints in zone a, then two in zone b.
    fn four() -> Vec<Endpoint> {
        let zones = ["a", "a", "b", "b"].into_iter().enumerate();
        zones.map(|(n, zone)| Endpoint { zone: zone.to_owned(), ..endpoint(&format!("10.0.0.{n}:80")) }).collect()
    }

    fn bench(config: &str, endpoints: &[Endpoint]) -> Bench<ZoneAware> {
        let mut bench = Bench::new(config).unwrap();
        bench.endpoints(endpoints);
        bench
    }

    /// How many of a thousand calls each endpoint gets.
    fn spread(bench: &mut Bench<ZoneAware>) -> [u32; 4] {
        let mut counts = [0; 4];
        for n in 0..1000 {
            let call = Call { random: another(n), ..Call::default() };
            counts[bench.pick(&call).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn calls_stay_in_the_zone() {
        let [a, b, c, d] = spread(&mut bench(r#"{"zone": "a"}"#, &four()));
        assert!(a > 400 && b > 400 && c == 0 && d == 0, "{a} {b} {c} {d}");
        let [a, b, c, d] = spread(&mut bench(r#"{"zone": "b"}"#, &four()));
        assert!(c > 400 && d > 400 && a == 0 && b == 0, "{a} {b} {c} {d}");
    }

    #[test]
    fn calls_leave_a_busy_zone_for_one_that_is_less_busy() {
        let mut bench = bench(r#"{"zone": "a", "spill_at": 10}"#, &four());
        let mut far = |loads: [u32; 4]| {
            host(|host| host.in_flight = loads.to_vec());
            spread(&mut bench)[2..].iter().sum::<u32>()
        };
        assert_eq!(far([9, 9, 0, 0]), 0, "not busy yet");
        assert_eq!(far([10, 10, 0, 0]), 1000);
        assert_eq!(far([10, 10, 10, 10]), 0, "no better elsewhere");
        let few = far([10, 0, 0, 0]);
        // Only if the busy one was drawn twice.
        assert!((200..300).contains(&few), "{few}");
    }

    #[test]
    fn what_is_busy_depends_on_the_weight() {
        let mut endpoints = four();
        endpoints[0].weight = 5;
        endpoints[1].share = 0;
        let mut bench = bench(r#"{"zone": "a", "spill_at": 10, "min_healthy": 50}"#, &endpoints);
        // The mean of 5, 1 and 1 is 2⅓, and ten at that are 21 at 5.
        for (load, far) in [(21, 0), (22, 1000)] {
            host(|host| host.in_flight = vec![load, 0, 0, 0]);
            assert_eq!(spread(&mut bench)[2..].iter().sum::<u32>(), far, "{load}");
        }
    }

    #[test]
    fn an_unhealthy_zone_keeps_what_it_can_carry() {
        let mut endpoints = four();
        endpoints[1].share = 0;
        // Half of the zone is well, of 70 %: five calls of seven stay.
        let [a, b, _, _] = spread(&mut bench(r#"{"zone": "a"}"#, &endpoints));
        assert!(b == 0 && (680..750).contains(&a), "{a} {b}");
        let [a, ..] = spread(&mut bench(r#"{"zone": "a", "min_healthy": 50}"#, &endpoints));
        assert_eq!(a, 1000);
        endpoints[0].flags = Endpoint::UNREACHABLE;
        let [a, b, c, d] = spread(&mut bench(r#"{"zone": "a"}"#, &endpoints));
        assert!(a == 0 && b == 0 && c > 400 && d > 400, "{a} {b} {c} {d}");
    }

    #[test]
    fn a_call_that_is_tried_again_goes_elsewhere() {
        let mut bench = bench(r#"{"zone": "a"}"#, &four());
        for random in (0..100).map(another) {
            let call = Call { random, ..Call::default() };
            assert_eq!(bench.pick_again(&call, &[0]), Some(1));
            assert!(bench.pick_again(&call, &[0, 1]).is_some_and(|index| index > 1));
            assert_eq!(bench.pick_again(&call, &[0, 1, 2]), Some(3));
            assert_eq!(bench.pick_again(&call, &[0, 1, 2, 3]), None);
        }
    }

    #[test]
    fn nothing_usable_is_left_to_the_native_balancer() {
        assert_eq!(bench(r#"{"zone": "a"}"#, &[]).pick(&Call::default()), None);
        let none = four().into_iter().map(|endpoint| Endpoint { share: 0, ..endpoint }).collect::<Vec<_>>();
        assert_eq!(bench(r#"{"zone": "a"}"#, &none).pick(&Call::default()), None);
    }

    #[test]
    fn the_example_in_the_readme_is_accepted() {
        assert_eq!(Bench::<ZoneAware>::new(example(include_str!("../README.md"))).err(), None);
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let cases = [
            ("", "missing field `zone`"),
            (r#"{"zone": ""}"#, "zone: must not be empty"),
            (r#"{"zone": "a", "spill_at": 0}"#, "spill_at: must be from 1 to 1000000, is 0"),
            (r#"{"zone": "a", "min_healthy": 0}"#, "min_healthy: must be from 1 to 100, is 0"),
            (r#"{"zone": "a", "spil_at": 1}"#, "unknown field `spil_at`"),
        ];
        for (config, reason) in cases {
            let refusal = Bench::<ZoneAware>::new(config).err().unwrap_or_default();
            assert!(refusal.contains(reason), "{config}: {refusal}");
        }
    }
}
