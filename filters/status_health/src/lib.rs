//! Takes endpoints out that fail or are slow, by what their calls ended with.
#![doc = include_str!("../README.md")]

mod config;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use waypost_policy::{Endpoint, Health, Load, Policy, Snapshot, Verdict, policy};

use config::Config;

struct StatusHealth {
    config: Config,
    /// The time that all ticks together lasted.
    now: Duration,
    /// By the endpoints' identities, so that a change of the list loses nothing.
    watched: BTreeMap<u32, Watched>,
}

/// What is known of one endpoint.
#[derive(Default)]
struct Watched {
    /// What happened in the window, the oldest tick first.
    ticks: VecDeque<Counts>,
    out: Option<Out>,
    /// How often it was taken out without a good time in between, and when it came back last.
    times: u32,
    back: Duration,
}

/// An endpoint that was taken out: until when, and why.
struct Out {
    until: Duration,
    reason: String,
}

/// What happened in a time.
#[derive(Clone, Copy, Default)]
struct Counts {
    lasted: Duration,
    calls: u64,
    failed: u64,
    took: Duration,
}

impl Policy for StatusHealth {
    fn configure(config: &[u8]) -> Result<Self, String> {
        Ok(Self { config: Config::read(config)?, now: Duration::ZERO, watched: BTreeMap::new() })
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let mut known = std::mem::take(&mut self.watched);
        self.watched = endpoints.iter().map(|at| (at.id, known.remove(&at.id).unwrap_or_default())).collect();
    }
}

impl Health for StatusHealth {
    fn health(&mut self, endpoints: &[Endpoint], snapshot: &Snapshot) -> Option<Vec<Verdict>> {
        self.now += snapshot.elapsed;
        let mut bad = Vec::new();
        for load in &snapshot.loads {
            let watched = self.watched.entry(load.id).or_default();
            watched.note(&self.config, snapshot.elapsed, load);
            if let Some((how_bad, reason)) = watched.judge(&self.config, self.now) {
                bad.push((how_bad, load.id, reason));
            }
        }
        // The worst first: not all may be taken out.
        bad.sort_by(|a, b| b.0.total_cmp(&a.0));
        let out = self.watched.values().filter(|watched| watched.out.is_some()).count();
        let most = (endpoints.len() as f64 * self.config.max_ejected / 100.0) as usize;
        for (_, id, reason) in bad.into_iter().take(most.saturating_sub(out)) {
            if let Some(watched) = self.watched.get_mut(&id) {
                watched.take_out(&self.config, self.now, &reason);
            }
        }
        let verdict =
            |endpoint: &Endpoint| match self.watched.get(&endpoint.id).and_then(|watched| watched.out.as_ref()) {
                Some(out) => Verdict::Unhealthy(out.reason.clone()),
                None => Verdict::NoOpinion,
            };
        Some(endpoints.iter().map(verdict).collect())
    }
}

impl Watched {
    /// Adds a tick to the window and drops those that are too old.
    fn note(&mut self, config: &Config, lasted: Duration, load: &Load) {
        let failed = load.failed_with(&config.statuses);
        self.ticks.push_back(Counts { lasted, calls: load.calls, failed, took: load.took });
        while self.ticks.len() > 1 && self.sum().lasted > config.window {
            self.ticks.pop_front();
        }
    }

    fn sum(&self) -> Counts {
        self.ticks.iter().fold(Counts::default(), |sum, tick| Counts {
            lasted: sum.lasted + tick.lasted,
            calls: sum.calls + tick.calls,
            failed: sum.failed + tick.failed,
            took: sum.took + tick.took,
        })
    }

    /// How bad it is, and in what way, if it should be taken out. Ends the time out of one whose time it is.
    fn judge(&mut self, config: &Config, now: Duration) -> Option<(f64, String)> {
        if let Some(out) = &self.out {
            if now >= out.until {
                // What ended meanwhile says nothing about how it does now.
                (self.out, self.back) = (None, now);
                self.ticks.clear();
            }
            return None;
        }
        let sum = self.sum();
        if sum.calls < config.min_calls {
            return None;
        }
        let share = sum.failed as f64 / sum.calls as f64;
        if share * 100.0 >= config.max_failed {
            return Some((1.0 + share, format!("{} of {} calls failed", sum.failed, sum.calls)));
        }
        let mean = sum.took.div_f64(sum.calls as f64);
        if let Some(most) = config.max_latency.filter(|most| mean > *most) {
            let reason = format!("calls took {} ms on average, {} are allowed", mean.as_millis(), most.as_millis());
            return Some((1.0 - most.as_secs_f64() / mean.as_secs_f64(), reason));
        }
        if now - self.back >= config.ejection {
            self.times = 0;
        }
        None
    }

    /// Takes it out, each time for longer.
    fn take_out(&mut self, config: &Config, now: Duration, reason: &str) {
        self.times = self.times.saturating_add(1);
        let time = config.ejection.saturating_mul(self.times).min(config.max_ejection);
        let reason = format!("{reason}; out for {} s", time.as_secs());
        self.out = Some(Out { until: now + time, reason });
    }
}

policy!(StatusHealth: Health);

#[cfg(test)]
mod tests;
