//! What the pages show, as plain data: made of what table, health and counters say, by functions without I/O and without
//! a clock. The same data is a page and an answer in JSON.

pub(super) mod attention;
pub(super) mod events;
pub(super) mod filter;
pub(super) mod leases;
pub(super) mod locks;
pub(super) mod modules;
pub(super) mod overview;
pub(super) mod routes;
pub(super) mod service;
pub(super) mod services;
pub(super) mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::InForce;
use super::history::History;
use super::show::{Rate, Seconds, Share};
use crate::health::ServiceHealth;
use crate::registry::queue::Queue;
use crate::table::{Endpoints, PrefixStatus};

/// Rows that a page has unless it is asked for more.
const ROWS: usize = 50;
/// The most rows that a page has.
const MOST_ROWS: usize = 10_000;
/// A prefix of which nothing was heard for longer than this is stale. Signs of life come every few seconds.
const STALE: u64 = 30;

/// All that views are made of.
pub(super) struct Facts<'a> {
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
    /// By name.
    pub(super) services: Vec<(Arc<str>, Arc<Endpoints>)>,
    pub(super) prefixes: Vec<PrefixStatus>,
    pub(super) health: BTreeMap<Arc<str>, ServiceHealth>,
    pub(super) in_force: Arc<InForce>,
    /// Locks and elections.
    pub(super) queues: Vec<Queue>,
    /// Prefixes of which it is not known now what is held there, and why.
    pub(super) unread_locks: Vec<(String, String)>,
    /// Keys of orders that cannot be read, and why.
    pub(super) unreadable_orders: Vec<(String, String)>,
    pub(super) modules: Vec<modules::Module>,
    pub(super) history: &'a History,
}

/// What the address of a page asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    /// Whose page it is.
    pub(super) name: String,
    /// Words that rows must have.
    pub(super) q: String,
    /// The column that rows are sorted by.
    pub(super) sort: String,
    /// How many rows there are at most.
    limit: Option<usize>,
    /// The request whose way is asked for.
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: String,
}

impl Query {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(ROWS).clamp(1, MOST_ROWS)
    }

    /// The address that asks for the same, sorted by this column, with that limit.
    pub(super) fn address(&self, sort: &str, limit: Option<usize>) -> String {
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        let parts = [("name", &*self.name), ("q", &*self.q), ("sort", sort), ("limit", &*limit)];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
        let parts: Vec<_> = parts.map(|(name, value)| format!("{name}={}", attention::encode(value))).collect();
        format!("?{}", parts.join("&"))
    }
}

/// Rows of a table, and of how many they are the first.
#[derive(Debug, Serialize)]
pub(super) struct Rows<R> {
    /// How many there are.
    pub(super) all: usize,
    /// How many of them have the words that were asked for.
    pub(super) matching: usize,
    /// The first of these.
    pub(super) rows: Vec<R>,
}

impl<R: filter::Row> Rows<R> {
    pub(super) fn new(mut rows: Vec<R>, query: &Query) -> Self {
        let all = rows.len();
        filter::narrow(&mut rows, &query.q, &query.sort);
        let matching = rows.len();
        rows.truncate(query.limit());
        Rows { all, matching, rows }
    }
}

/// How well something is. Shown as a word and a shape too, never by its colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Bad,
    Care,
    Good,
}

impl Level {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Level::Bad => "bad",
            Level::Care => "care",
            Level::Good => "good",
        }
    }

    pub(super) fn shape(&self) -> &'static str {
        match self {
            Level::Bad => "✖",
            Level::Care => "▲",
            Level::Good => "●",
        }
    }
}

/// The line at the top of every page.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) level: Level,
    /// How etcd is followed, in words.
    pub(super) etcd: String,
    /// The age of the oldest prefix.
    pub(super) age: Seconds,
    pub(super) stale: bool,
    pub(super) calls: Rate,
    pub(super) failures: Share,
    /// How many things need attention.
    pub(super) attention: usize,
}

impl Facts<'_> {
    /// How long ago etcd last said anything of a prefix; before the first word, since the start.
    pub(super) fn age(&self, prefix: &PrefixStatus) -> Seconds {
        prefix.age.map_or(self.in_force.uptime(self.now), Into::into)
    }

    /// Whether what is known of a prefix may be old.
    pub(super) fn is_stale(&self, prefix: &PrefixStatus) -> bool {
        prefix.error.is_some() || self.age(prefix).0 > STALE
    }

    pub(super) fn status(&self, attention: usize) -> Status {
        let age = self.prefixes.iter().map(|prefix| self.age(prefix)).max().unwrap_or_default();
        let stale = self.prefixes.iter().any(|prefix| self.is_stale(prefix));
        let listed = self.prefixes.iter().all(|prefix| prefix.listed);
        let (level, etcd) = match (listed, stale) {
            (true, false) => (Level::Good, "followed"),
            (true, true) => (Level::Bad, "away, what is known stays in use"),
            (false, _) => (Level::Bad, "not read yet"),
        };
        let total = self.history.total();
        let failures = Share::of(total.failures().0, total.calls().0);
        Status { level, etcd: etcd.to_owned(), age, stale, calls: total.calls(), failures, attention }
    }
}
