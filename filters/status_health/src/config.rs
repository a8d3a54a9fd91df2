//! The configuration, as it is written and as it is needed.

use std::time::Duration;

use serde::Deserialize;
use waypost_policy::config;

/// gRPC's statuses, each at the place of its number.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What an endpoint is judged by. Percentages are from 0 to 100.
pub(super) struct Config {
    pub(super) statuses: Vec<usize>,
    pub(super) max_failed: f64,
    pub(super) max_latency: Option<Duration>,
    pub(super) min_calls: u64,
    pub(super) window: Duration,
    pub(super) ejection: Duration,
    pub(super) max_ejection: Duration,
    pub(super) max_ejected: f64,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    statuses: Vec<String>,
    max_failed: f64,
    max_latency: Option<Time>,
    min_calls: u64,
    window: Time,
    ejection: Time,
    max_ejection: Time,
    max_ejected: f64,
}

#[derive(Deserialize)]
struct Time(#[serde(deserialize_with = "config::duration")] Duration);

impl Default for Written {
    fn default() -> Self {
        let seconds = |seconds| Time(Duration::from_secs(seconds));
        Self {
            statuses: ["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"].map(str::to_owned).to_vec(),
            max_failed: 50.0,
            max_latency: None,
            min_calls: 20,
            window: seconds(10),
            ejection: seconds(30),
            max_ejection: seconds(300),
            max_ejected: 50.0,
        }
    }
}

impl Config {
    pub(super) fn read(config: &[u8]) -> Result<Self, String> {
        let written: Written = config::read(config)?;
        config::within("max_failed", written.max_failed, 1.0..=100.0)?;
        config::within("min_calls", written.min_calls, 1..=1_000_000)?;
        config::within("max_ejected", written.max_ejected, 0.0..=100.0)?;
        let time = |key: &str, time: Time| {
            config::within(&format!("{key} (in seconds)"), time.0.as_secs_f64(), 1.0..=3600.0).map(|()| time.0)
        };
        let ejection = time("ejection", written.ejection)?;
        let max_ejection = time("max_ejection", written.max_ejection)?;
        if max_ejection < ejection {
            return Err("max_ejection: must not be shorter than ejection".to_owned());
        }
        if written.max_latency.as_ref().is_some_and(|latency| latency.0.is_zero()) {
            return Err("max_latency: must not be 0; leave it out if latency shall not matter".to_owned());
        }
        Ok(Self {
            statuses: written.statuses.iter().map(|name| number(name)).collect::<Result<_, _>>()?,
            max_failed: written.max_failed,
            max_latency: written.max_latency.map(|latency| latency.0),
            min_calls: written.min_calls,
            window: time("window", written.window)?,
            ejection,
            max_ejection,
            max_ejected: written.max_ejected,
        })
    }
}

/// The number of a status that can be a failure.
fn number(name: &str) -> Result<usize, String> {
    let number = STATUSES.iter().position(|status| *status == name).filter(|number| *number > 0);
    number.ok_or_else(|| {
        format!("statuses: {name:?} is no failure that gRPC knows; these are {}", STATUSES[1..].join(", "))
    })
}
