//! What is to be thought of an endpoint: a pure function of what is known. No clock, no I/O.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Config;

/// Whether an endpoint gets calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It gets its share.
    Healthy,
    /// Its probes fail, or an operator says so: it gets calls only if there is nobody else.
    Unhealthy,
    /// Calls to it failed, so it gets none for a while, unless there is nobody else.
    Ejected,
    /// An operator takes it out: as unhealthy, but not for its faults, so that it does not count for the panic threshold.
    Draining,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Healthy => "healthy",
            State::Unhealthy => "unhealthy",
            State::Ejected => "ejected",
            State::Draining => "draining",
        })
    }
}

/// A state, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it gets calls.
    pub state: State,
    /// Why, in words.
    pub reason: Cow<'static, str>,
    /// When that ends by itself, if it does.
    pub until: Option<Instant>,
}

/// The answers of one endpoint's probes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probes {
    /// What is held to be true: None before the first answer.
    healthy: Option<bool>,
    /// Answers in a row that say the opposite, or the same if there is nothing to change.
    good: u32,
    bad: u32,
    /// The last bad answer, in words.
    last: String,
}

impl Probes {
    /// No answers yet.
    pub const NONE: Probes = Probes { healthy: None, good: 0, bad: 0, last: String::new() };

    /// What is held to be true; none before the first answer.
    pub fn healthy(&self) -> Option<bool> {
        self.healthy
    }

    /// Takes an answer: `Err` says what was wrong. True if that changes what is held to be true, or why.
    pub fn take(&mut self, answer: Result<(), String>, rise: u32, fall: u32) -> bool {
        let before = self.healthy;
        let mut other_reason = false;
        match answer {
            Ok(()) => {
                self.good = self.good.saturating_add(1);
                self.bad = 0;
                if self.healthy.is_none() || self.good >= rise {
                    self.healthy = Some(true);
                }
            }
            Err(why) => {
                self.bad = self.bad.saturating_add(1);
                self.good = 0;
                other_reason = self.last != why;
                self.last = why;
                if self.healthy.is_none() || self.bad >= fall {
                    self.healthy = Some(false);
                }
            }
        }
        self.healthy != before || self.healthy == Some(false) && other_reason
    }
}

/// An endpoint that calls have told something of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// When it ends.
    pub until: Instant,
    /// Why it began, in words.
    pub reason: String,
}

/// What an operator orders for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// No new calls.
    Drain,
    /// Healthy, whatever probes and calls say.
    ForceHealthy,
    /// Unhealthy, whatever probes and calls say.
    ForceUnhealthy,
    /// This weight instead of the registered one; it is judged as without an order.
    Weight(u32),
}

impl Order {
    /// Every order that is a word.
    pub const ALL: [(&str, Order); 3] =
        [("drain", Order::Drain), ("healthy", Order::ForceHealthy), ("unhealthy", Order::ForceUnhealthy)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Order::ALL.iter().find(|(_, order)| *order == self).map_or("", |(name, _)| name)
    }
}

/// All that is known of one endpoint.
#[derive(Debug, Default)]
pub struct Facts {
    /// What its probes answered.
    pub probes: Probes,
    /// Its ejection, also one that is over.
    pub ejection: Option<Ejection>,
    /// An order, and when it ends.
    pub order: Option<(Order, Instant)>,
    /// What a policy holds of it: whether it is healthy, and why.
    pub opinion: Option<(bool, String)>,
}

/// Judges an endpoint. An order counts before all else, then a policy, then an ejection, then the probes.
pub fn judge(facts: &Facts, config: &Config, now: Instant) -> Verdict {
    if let Some((order, until)) = facts.order.filter(|(_, until)| now < *until) {
        let verdict = |state, what: &'static str| Verdict { state, reason: what.into(), until: Some(until) };
        match order {
            Order::Drain => return verdict(State::Draining, "drained by an operator"),
            Order::ForceHealthy => return verdict(State::Healthy, "held to be healthy by an operator"),
            Order::ForceUnhealthy => return verdict(State::Unhealthy, "held to be unhealthy by an operator"),
            Order::Weight(_) => {}
        }
    }
    if let Some((healthy, reason)) = &facts.opinion {
        let state = if *healthy { State::Healthy } else { State::Unhealthy };
        return Verdict { state, reason: reason.clone().into(), until: None };
    }
    if let Some(Ejection { until, reason }) = facts.ejection.as_ref().filter(|ejection| now < ejection.until) {
        return Verdict { state: State::Ejected, reason: reason.clone().into(), until: Some(*until) };
    }
    let verdict = |state, reason| Verdict { state, reason, until: None };
    let probes = &facts.probes;
    match (&config.probe, probes.healthy) {
        (None, _) => verdict(State::Healthy, "not probed, and no calls speak against it".into()),
        (Some(_), None) => verdict(State::Healthy, "not probed yet".into()),
        (Some(_), Some(true)) => verdict(State::Healthy, "its probes succeed".into()),
        (Some(_), Some(false)) => verdict(State::Unhealthy, format!("its probes fail: {}", probes.last).into()),
    }
}

/// The share, in thousandths, of an endpoint that has been healthy for so long.
pub(super) fn ramp(healthy_for: Duration, slow_start: Option<Duration>) -> u32 {
    match slow_start {
        Some(window) if healthy_for < window => {
            // In tenths, the first one at once: a picker is not built anew for less.
            let tenths = (healthy_for.as_secs_f64() / window.as_secs_f64() * 10.0) as u32;
            (tenths + 1) * 100
        }
        _ => 1_000,
    }
}

/// Whether so few endpoints are healthy that all are used. Those that are drained do not count.
pub(super) fn is_panic(states: impl Iterator<Item = State>, threshold: u8) -> bool {
    let (mut all, mut healthy) = (0u64, 0u64);
    for state in states.filter(|state| *state != State::Draining) {
        all += 1;
        healthy += u64::from(state == State::Healthy);
    }
    healthy * 100 < all * u64::from(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn probed() -> Config {
        crate::config::parse("probe: {kind: tcp}", Config::read).unwrap()
    }

    #[test]
    fn probes_change_a_state_after_so_many_in_a_row_and_the_first_at_once() {
        // Each letter is an answer; what is held after it stands below.
        for (answers, held) in
            [("ggb", "HHH"), ("gbbgbbb", "HHHHHHU"), ("bgbgg", "UUUUH"), ("bb", "UU"), ("gbbb", "HHHU")]
        {
            let mut facts = Facts::default();
            for (answer, held) in answers.chars().zip(held.chars()) {
                let answer = if answer == 'g' { Ok(()) } else { Err("refused".to_owned()) };
                facts.probes.take(answer, 2, 3);
                let state = judge(&facts, &probed(), Instant::now()).state;
                assert_eq!(state == State::Healthy, held == 'H', "{answers}: {:?}", facts.probes);
            }
        }
    }

    #[test]
    fn an_order_counts_before_an_ejection_and_that_before_probes() {
        let (now, config) = (Instant::now(), probed());
        let mut facts = Facts::default();
        let check = |facts: &Facts, at, state, reason: &str, until| {
            let verdict = judge(facts, &config, at);
            assert_eq!((verdict.state, verdict.until), (state, until), "{verdict:?}");
            assert!(verdict.reason.contains(reason), "{verdict:?}");
        };
        check(&facts, now, State::Healthy, "not probed yet", None);
        facts.probes.take(Err("no answer".to_owned()), 2, 3);
        check(&facts, now, State::Unhealthy, "no answer", None);
        let until = now + 5 * SECOND;
        facts.ejection = Some(Ejection { until, reason: "5 calls in a row failed".to_owned() });
        check(&facts, now, State::Ejected, "5 calls in a row", Some(until));
        let end = now + 2 * SECOND;
        for (order, state) in [
            (Order::Drain, State::Draining),
            (Order::ForceHealthy, State::Healthy),
            (Order::ForceUnhealthy, State::Unhealthy),
        ] {
            facts.order = Some((order, end));
            check(&facts, now, state, "by an operator", Some(end));
            check(&facts, end, State::Ejected, "5 calls in a row", Some(until));
            check(&facts, until, State::Unhealthy, "no answer", None);
        }
        let unprobed = judge(&Facts { order: None, ejection: None, ..facts }, &Config::default(), now);
        assert_eq!(unprobed.state, State::Healthy);
    }

    #[test]
    fn a_share_grows_in_tenths() {
        let at = |seconds: u32| ramp(seconds * SECOND, Some(10 * SECOND));
        assert_eq!([0, 1, 5, 9, 10, 11].map(at), [100, 200, 600, 1_000, 1_000, 1_000]);
        assert_eq!(ramp(Duration::ZERO, None), 1_000);
    }

    #[test]
    fn panic_begins_below_the_threshold() {
        use State::{Draining, Ejected, Healthy, Unhealthy};
        for (states, threshold, expected) in [
            (&[Healthy, Unhealthy][..], 50, false),
            (&[Healthy, Unhealthy, Ejected], 50, true),
            (&[Healthy, Unhealthy, Draining], 50, false),
            (&[Unhealthy, Unhealthy], 50, true),
            (&[Unhealthy], 0, false),
            (&[Healthy, Unhealthy], 100, true),
            (&[], 50, false),
            (&[Draining], 50, false),
        ] {
            assert_eq!(is_panic(states.iter().copied(), threshold), expected, "{states:?} {threshold}");
        }
    }
}
