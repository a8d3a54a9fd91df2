//! Defaults for kinds of surroundings. Every other layer counts before them.

use crate::config::Argument;

/// Defaults for a kind of surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// A program that is being worked on, beside a local etcd: what was left behind by a crash goes soon, and everything
    /// is logged.
    Development,
    /// Many programs and an etcd that may be slow: leases outlast the election of a leader, and more is tried.
    Production,
    /// An automatic test: nothing takes long, and failures are told at once.
    Test,
}

impl Preset {
    /// The values, each under its key.
    fn values(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Preset::Development => &[("registry.ttl", "5s"), ("registry.retry.max", "2"), ("log.level", "debug")],
            Preset::Production => &[
                ("etcd.dial_timeout", "5s"),
                ("etcd.call_timeout", "10s"),
                ("registry.ttl", "15s"),
                ("registry.retry.max", "10"),
                ("registry.retry.longest", "30s"),
            ],
            Preset::Test => &[
                ("etcd.dial_timeout", "500ms"),
                ("etcd.call_timeout", "2s"),
                ("registry.ttl", "2s"),
                ("registry.health_interval", "200ms"),
                ("registry.health_timeout", "500ms"),
                ("registry.retry.max", "0"),
                ("registry.retry.initial", "20ms"),
                ("registry.retry.longest", "200ms"),
            ],
        }
    }

    pub(super) fn arguments(self) -> Vec<Argument> {
        let value = |(key, value): &(&str, &str)| Argument {
            flag: format!("the preset {self:?}"),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        self.values().iter().map(value).collect()
    }
}
