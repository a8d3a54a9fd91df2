//! What a program needs of the configuration: the proxy's own sections for etcd and what is registered there, read by the
//! same code, so that one file serves both.

use std::collections::BTreeMap;

use crate::config::Section;
use crate::registry;
use crate::table::{self, Prefix};
use crate::telemetry::LogConfig;
use crate::{config, etcd};

/// The settings of a [`Manager`](super::Manager).
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Section `etcd`, which is the client `default`, and the further clients in its section `clients`.
    pub etcd: BTreeMap<String, etcd::Config>,
    /// Section `registry`.
    pub registry: registry::Config,
    /// List `prefixes`: where instances are looked for. Default: where they are registered, by the default client.
    pub prefixes: Vec<Prefix>,
    /// Section `table`.
    pub table: table::Config,
    /// Section `log`. For the program to make something of; a library sets up no log.
    pub log: LogConfig,
}

/// Sections of the proxy's, which say nothing to a program.
const OTHERS: [&str; 4] = ["proxy", "admin", "routing", "services"];

impl Settings {
    /// Reads the root of the configuration.
    pub fn read(section: &mut Section<'_>) -> Self {
        let etcd = section.section("etcd", etcd::read_clients);
        let registry = section.section("registry", registry::Config::read);
        let mut prefixes = section.list("prefixes", |section| {
            let prefix = Prefix::read(section);
            if !etcd.contains_key(&prefix.client) {
                let known: Vec<_> = etcd.keys().map(String::as_str).collect();
                let message = format!("`{}` is no etcd client; there are {}", prefix.client, known.join(", "));
                section.error("client", message);
            }
            prefix
        });
        if prefixes.is_empty() {
            prefixes.push(Prefix::new(etcd::DEFAULT_CLIENT, &registry.prefix));
        }
        OTHERS.iter().for_each(|other| section.skip(other));
        let table = section.section("table", table::Config::read);
        Settings { etcd, registry, prefixes, table, log: section.section("log", LogConfig::read) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        config::defaults(Settings::read)
    }
}
