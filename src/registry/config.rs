//! What holds for those who put something into the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Error;
use crate::config::{self, Section};

/// The section `registry`: how programs and people register, lock and lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Below which prefix services are registered, with a slash at its end. Default `/services/`.
    pub prefix: String,
    /// How long a lease lives without being renewed; it is renewed every third of that. Default 10 s, from 2 s to 1 d.
    pub ttl: Duration,
    /// Below which prefix locks are, with a slash at its end. Default `/locks/`.
    pub lock_prefix: String,
    /// Below which prefix elections are, with a slash at its end. Default `/elections/`.
    pub election_prefix: String,
    /// What every registration says besides its own metadata, as `key=value`. Default: nothing.
    pub metadata: BTreeMap<String, String>,
    /// How often a child is asked whether it is well, and etcd by a manager. Default 5 s, from 100 ms to 1 h.
    pub health_interval: Duration,
    /// How long the answer may take. Default 2 s, from 10 ms to 5 min.
    pub health_timeout: Duration,
    /// How what failed is tried again.
    pub retry: Retry,
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_hours(24);

impl Config {
    /// Reads the section.
    pub fn read(section: &mut Section<'_>) -> Self {
        Config {
            prefix: prefix(section, "prefix", "/services/"),
            ttl: section.duration("ttl", 10 * SECOND, 2 * SECOND..=DAY),
            lock_prefix: prefix(section, "lock_prefix", "/locks/"),
            election_prefix: prefix(section, "election_prefix", "/elections/"),
            metadata: pairs(section, "metadata"),
            health_interval: section.duration("health_interval", 5 * SECOND, 100 * MILLISECOND..=3600 * SECOND),
            health_timeout: section.duration("health_timeout", 2 * SECOND, 10 * MILLISECOND..=300 * SECOND),
            retry: section.section("retry", Retry::read),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        config::defaults(Config::read)
    }
}

/// How what failed is tried again: after `initial`, then after `multiplier` times as long, up to `longest`. What is
/// waited is between half of that and all of it, so that not everybody comes back at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// How often something that a caller waits for is tried again. What was registered once is tried for ever. Default
    /// 5, from 0 to 1,000.
    pub max: u32,
    /// The first wait. Default 100 ms, from 1 ms to 1 min.
    pub initial: Duration,
    /// The longest wait. Default 5 s, from 1 ms to 1 h.
    pub longest: Duration,
    /// By what each wait is longer than the one before. Default 2, from 1 to 100.
    pub multiplier: f64,
}

impl Retry {
    fn read(section: &mut Section<'_>) -> Self {
        let retry = Retry {
            max: section.integer("max", 5, 0..=1000),
            initial: section.duration("initial", 100 * MILLISECOND, MILLISECOND..=60 * SECOND),
            longest: section.duration("longest", 5 * SECOND, MILLISECOND..=3600 * SECOND),
            multiplier: section.parsed("multiplier", 2.0),
        };
        if !(1.0..=100.0).contains(&retry.multiplier) {
            section.error("multiplier", format!("must be a number from 1 to 100, is `{}`", retry.multiplier));
        }
        retry
    }

    /// Does something until it is done, or has failed too often, or in a way that trying again does not mend.
    pub(super) async fn attempt<T, F>(&self, mut act: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = 0;
        loop {
            match act().await {
                Err(error) if error.is_retryable() && failures < self.max => {
                    failures += 1;
                    tokio::time::sleep(self.wait(failures, fastrand::f64())).await;
                }
                result => return result,
            }
        }
    }

    /// How long to wait after so many failures, the first being 1; `chance` is from 0 to 1.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        let whole = Duration::try_from_secs_f64(seconds).unwrap_or(self.longest).min(self.longest);
        whole.mul_f64(0.5 + 0.5 * chance)
    }
}

fn prefix(section: &mut Section<'_>, key: &str, default: &str) -> String {
    let text = section.string(key, default);
    if text.is_empty() {
        section.error(key, "must not be empty: it would be all of etcd; write `/` for what begins with one");
    }
    with_slash(text)
}

/// Without the slash `/foo` would hold the keys of `/foo-bar/` as well.
pub(crate) fn with_slash(mut prefix: String) -> String {
    if !prefix.ends_with('/') {
        prefix.push('/');
    }
    prefix
}

fn pairs(section: &mut Section<'_>, key: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for text in section.strings(key, &[]) {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                pairs.insert(name.to_owned(), value.to_owned());
            }
            _ => section.error(key, format!("`{text}` is no pair; write it as key=value")),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_are_shortened_by_half_at_most() {
        let retry = Retry { max: 0, initial: 100 * MILLISECOND, longest: SECOND, multiplier: 3.0 };
        let waits: Vec<_> = [1, 2, 3, 4, 1000, u32::MAX].iter().map(|n| retry.wait(*n, 1.0).as_millis()).collect();
        assert_eq!(waits, [100, 300, 900, 1000, 1000, 1000]);
        assert_eq!(retry.wait(1, 0.0), 50 * MILLISECOND);
    }

    #[test]
    fn what_cannot_work_says_why() {
        for (text, why) in [
            ("prefix: ''", "all of etcd"),
            ("ttl: 1s", "ttl"),
            ("metadata: [a]", "key=value"),
            ("metadata: '=b'", "key=value"),
            ("retry: {multiplier: 0.5}", "from 1 to 100"),
            ("retry: {multiplier: often}", "multiplier"),
            ("lock_prefx: /l", "lock_prefix"),
        ] {
            let error = config::parse(text, Config::read).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let config = config::parse("{prefix: /a, metadata: [b=c=d, e=]}", Config::read).unwrap();
        assert_eq!(config.prefix, "/a/");
        assert_eq!(config.metadata, BTreeMap::from([("b".into(), "c=d".into()), ("e".into(), String::new())]));
    }
}
