//! The whole configuration, typed. Each module reads its own section; what concerns two of them is checked here.

use std::net::SocketAddr;

use crate::admin;
use crate::config::Section;
use crate::telemetry::LogConfig;

/// Keys that a running process does not take over, each with all below it: sockets, threads and connections to etcd
/// are made when it starts.
const FIXED: &[&str] = &["proxy", "admin", "etcd", "prefixes", "table", "log.format"];

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Section `admin`.
    pub admin: admin::Config,
    /// Section `log`.
    pub log: LogConfig,
}

impl Settings {
    /// Reads the root of the configuration.
    pub fn read(section: &mut Section<'_>) -> Settings {
        let admin = section.section("admin", admin::Config::read);
        Settings { admin, log: section.section("log", LogConfig::read) }
    }

    /// What it amounts to, in one line.
    pub(super) fn summary(&self) -> String {
        format!("admin on {}", self.admin.listen)
    }
}

/// Whether a change of this key waits for a restart.
pub(super) fn is_fixed(key: &str) -> bool {
    FIXED
        .iter()
        .any(|fixed| key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
}

/// Whether two listeners cannot both have what they ask for.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
