//! Sends calls of the same hash to the same endpoint, unless that has more under way than its share.
#![doc = include_str!("../README.md")]

use serde::Deserialize;
use waypost_policy::share::hash;
use waypost_policy::{Call, Endpoint, Loads, Pick, Policy, another, config, policy};

/// More points would take too long to sort when endpoints change.
const MOST_POINTS: usize = 65_536;
/// Endpoints that are asked for what is under way there, at each call.
const LOOKS: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "default_bound")]
    bound: f64,
    #[serde(default = "default_points")]
    points: u32,
}

fn default_bound() -> f64 {
    1.25
}

fn default_points() -> u32 {
    64
}

struct BoundedHash {
    config: Config,
    /// Points on the circle of hashes and the endpoints they stand for, in order.
    circle: Vec<(u64, u32)>,
    /// What all endpoints can carry.
    capacity: u64,
    loads: Loads,
    /// The number of the call that last looked at each endpoint, and the number of this call.
    seen: Vec<u32>,
    now: u32,
}

impl Policy for BoundedHash {
    fn configure(config: &[u8]) -> Result<Self, String> {
        let config: Config = config::read(config)?;
        config::within("bound", config.bound, 1.0..=100.0)?;
        config::within("points", config.points, 1..=1000)?;
        Ok(Self { config, circle: Vec::new(), capacity: 0, loads: Loads::default(), seen: Vec::new(), now: 0 })
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let heaviest = endpoints.iter().map(|endpoint| endpoint.weight).max().unwrap_or(0).max(1);
        let most = (self.config.points as usize).min(MOST_POINTS / endpoints.len().max(1)).max(1);
        self.circle.clear();
        for (index, endpoint) in (0..).zip(endpoints) {
            // By weight and not by share: who is ill for a while gets its place back. By address, which all proxies know.
            let points = (most as f64 * f64::from(endpoint.weight) / f64::from(heaviest)).ceil() as u64;
            let start = hash(endpoint.address.as_bytes(), 0);
            self.circle.extend((0..points).map(|point| (another(start.wrapping_add(point)), index)));
        }
        self.circle.sort_unstable();
        self.capacity = endpoints.iter().map(Endpoint::capacity).sum();
        self.loads = Loads::new(endpoints.len());
        (self.seen, self.now) = (vec![0; endpoints.len()], 0);
    }
}

impl Pick for BoundedHash {
    fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize> {
        let hash = call.hash?;
        self.loads.look(call, LOOKS);
        if self.now == u32::MAX {
            (self.now, self.seen) = (0, vec![0; endpoints.len()]);
        }
        self.now += 1;
        let from = self.circle.partition_point(|(point, _)| *point < hash);
        let mut first = None;
        for step in 0..self.circle.len() {
            let at = from + step;
            let index = self.circle[if at < self.circle.len() { at } else { at - self.circle.len() }].1 as usize;
            if std::mem::replace(&mut self.seen[index], self.now) == self.now
                || endpoints[index].capacity() == 0
                || call.is_tried(index)
            {
                continue;
            }
            if f64::from(self.loads.now(call, index)) < self.room(&endpoints[index]) {
                return Some(index);
            }
            first = first.or(Some(index));
        }
        first
    }
}

impl BoundedHash {
    /// How much may be under way at an endpoint, this call included: its part of all, times the bound, rounded up
    /// ("Consistent Hashing with Bounded Loads", Mirrokni, Thorup, Zadimoghaddam 2016).
    fn room(&self, endpoint: &Endpoint) -> f64 {
        let part = endpoint.capacity() as f64 / self.capacity.max(1) as f64;
        (self.config.bound * (self.loads.total() + 1) as f64 * part).ceil()
    }
}

policy!(BoundedHash: Pick);

#[cfg(test)]
mod tests;
