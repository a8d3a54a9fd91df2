//! The settings of the table, and which prefixes it holds.

use std::time::Duration;

use crate::config::{self, Section};
use crate::registry::format::{Decoder, FormatName, Layout};

/// How the table is kept current.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How often each prefix is listed anew although its watch seems well, jittered by a fifth: a safety net for what a
    /// server failed to tell. Default 5 min, from 5 s to 1 d.
    pub relist: Duration,
    /// After this long without a word from etcd a watch is given up; a third of it is waited before etcd is asked for a
    /// sign of life. Default 15 s, from 3 s to 10 min.
    pub silence: Duration,
    /// How long after a disturbance of etcd (a reconnect, a new leader, other data) a prefix that loses more than half
    /// of its instances is doubted. It should be the longest TTL of a registration plus 60 s; which that is cannot be
    /// seen from here. Default 2 min, from 0 s (never) to 1 h.
    pub doubt_window: Duration,
    /// How long a doubted instance is kept if nothing proves it dead. Default 5 min, from 1 s to 1 d.
    pub doubt_limit: Duration,
    /// How long a service is remembered after its last instance left. Until then calls are told that it has none, later
    /// that it is unknown. Default 1 h, from 1 s to 30 d.
    pub forget: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

impl Config {
    /// Reads the `table` section.
    pub fn read(section: &mut Section<'_>) -> Self {
        Config {
            relist: section.duration("relist", 300 * SECOND, 5 * SECOND..=DAY),
            silence: section.duration("silence", 15 * SECOND, 3 * SECOND..=600 * SECOND),
            doubt_window: section.duration("doubt_window", 120 * SECOND, Duration::ZERO..=3600 * SECOND),
            doubt_limit: section.duration("doubt_limit", 300 * SECOND, SECOND..=DAY),
            forget: section.duration("forget", 3600 * SECOND, SECOND..=30 * DAY),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        config::defaults(Config::read)
    }
}

/// Where instances are registered, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefix {
    /// The name of the etcd client. Default `default`.
    pub client: String,
    /// The format of its values. Default: told by their looks.
    pub format: FormatName,
    /// What the parts of its keys mean. Default: told by their looks.
    pub layout: Layout,
    /// If set, everything under the prefix registers instances of this service.
    pub service: Option<String>,
    path: String,
}

impl Prefix {
    /// A prefix of that client. It gets the slash at its end that it may lack, for without it `/foo` would hold the keys
    /// of `/foo-bar/` as well.
    pub fn new(client: &str, path: &str) -> Self {
        let slash = if path.ends_with('/') { "" } else { "/" };
        Prefix {
            client: client.to_owned(),
            format: FormatName::Auto,
            layout: Layout::Auto,
            service: None,
            path: format!("{path}{slash}"),
        }
    }

    /// Reads an item of `prefixes`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let client = section.string("client", "default");
        let path = section.string("prefix", "/services/");
        let format = section.choice("format", FormatName::ALL, FormatName::Auto);
        let layout = section.choice("layout", Layout::ALL, Layout::Auto);
        let service = section.optional("service");
        if path.is_empty() {
            section.error("prefix", "must not be empty: it would hold all of etcd; write `/` for what begins with one");
        }
        if service.as_deref() == Some("") {
            section.error("service", "must not be empty; leave it away to read the service from each key");
        }
        Prefix { format, layout, service, ..Prefix::new(&client, &path) }
    }

    /// The prefix, with a slash at its end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads the keys below it.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(&self.path, self.format, self.service.clone()).with_layout(self.layout)
    }

    /// Whether both hold the same keys of the same client, however these are read.
    pub(super) fn is_at(&self, other: &Prefix) -> bool {
        self.client == other.client && self.path == other.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_in_one_slash() {
        for (text, path) in [("/services", "/services/"), ("/services/", "/services/"), ("a", "a/"), ("/", "/")] {
            let prefix = config::parse(&format!("prefix: {text}"), Prefix::read).unwrap();
            assert_eq!(prefix, Prefix::new("default", path));
            assert_eq!(prefix.path(), path);
        }
    }

    #[test]
    fn what_cannot_work_says_why() {
        for (text, why) in [("prefix: ''", "all of etcd"), ("service: ''", "read the service from each key")] {
            let error = config::parse(text, Prefix::read).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let error = config::parse("relist: 1s", Config::read).unwrap_err().to_string();
        assert!(error.contains("relist"), "{error}");
    }
}
