//! Numbers as people read them. Each is a plain number in JSON, and short text on a page.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::Serialize;

/// A time in whole seconds: `41 s`, `3 min`, `5 h`, `2 d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Seconds(pub(super) u64);

/// So many in a second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Rate(pub(super) f64);

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Share(pub(super) f64);

/// A time in milliseconds, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Millis(pub(super) Option<f64>);

/// A time in microseconds, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Micros(pub(super) Option<f64>);

/// A number of a lease: decimal in JSON, as text, for it does not fit into the numbers of JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LeaseId(pub(super) i64);

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Seconds(duration.as_secs())
    }
}

impl From<Option<Duration>> for Millis {
    fn from(duration: Option<Duration>) -> Self {
        // A tenth of a millisecond is finer than the buckets that it comes from.
        Millis(duration.map(|duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0))
    }
}

impl From<Option<Duration>> for Micros {
    fn from(duration: Option<Duration>) -> Self {
        Micros(duration.map(|duration| (duration.as_secs_f64() * 1e8).round() / 100.0))
    }
}

impl Share {
    /// `part` of `whole`; of nothing, nothing.
    pub(super) fn of(part: f64, whole: f64) -> Self {
        Share(if whole > 0.0 { part / whole } else { 0.0 })
    }

    /// For attributes that take a number from 0 to 1000.
    pub(super) fn thousandths(&self) -> u32 {
        (self.0 * 1_000.0).round() as u32
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ ..120 => write!(f, "{n} s"),
            n @ ..7_200 => write!(f, "{} min", n / 60),
            n @ ..172_800 => write!(f, "{} h", n / 3_600),
            n => write!(f, "{} d", n / 86_400),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n <= 0.0 => f.write_str("0"),
            n if n < 100.0 => write!(f, "{n:.1}"),
            n if n < 10_000.0 => write!(f, "{n:.0}"),
            n if n < 1_000_000.0 => write!(f, "{:.1}k", n / 1e3),
            n => write!(f, "{:.1}M", n / 1e6),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 * 100.0 {
            n if n <= 0.0 => f.write_str("0 %"),
            n if n < 0.1 => f.write_str("<0.1 %"),
            n if n < 9.95 => write!(f, "{n:.1} %"),
            n => write!(f, "{n:.0} %"),
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(n) if n < 100.0 => write!(f, "{n:.1}"),
            Some(n) => write!(f, "{n:.0}"),
        }
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(n) if n < 10.0 => write!(f, "{n:.2}"),
            Some(n) => write!(f, "{n:.0}"),
        }
    }
}

impl fmt::Display for LeaseId {
    /// As etcdctl prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for LeaseId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The id of an element for a name that anybody may have chosen. The same for the same name as long as the process runs.
pub(super) fn anchor(kind: char, name: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    format!("{kind}{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        for (rate, text) in [(0.0, "0"), (0.2, "0.2"), (99.96, "100.0"), (1_234.0, "1234"), (12_345.0, "12.3k")] {
            assert_eq!(Rate(rate).to_string(), text);
        }
        for (share, text) in [(0.0, "0 %"), (0.0004, "<0.1 %"), (0.031, "3.1 %"), (0.4, "40 %"), (1.0, "100 %")] {
            assert_eq!(Share(share).to_string(), text);
        }
        assert_eq!(Millis::from(None).to_string(), "–");
        assert_eq!(Millis::from(Some(Duration::from_micros(1_260))).to_string(), "1.3");
        for (nanos, text) in [(84, "0.08"), (1_236, "1.24"), (12_700, "13")] {
            assert_eq!(Micros::from(Some(Duration::from_nanos(nanos))).to_string(), text);
        }
        assert_eq!(LeaseId(-1).to_string(), "ffffffffffffffff");
        assert_eq!(serde_json::to_string(&LeaseId(i64::MAX)).unwrap(), "\"9223372036854775807\"");
    }
}
