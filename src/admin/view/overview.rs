//! The first page: what needs attention, how etcd is, and how much is going on.

use serde::Serialize;

use super::attention::Attention;
use super::events::Event;
use super::services::ServiceRow;
use super::{Facts, Level, locks, services};
use crate::admin::history::Steps;
use crate::admin::show::{Rate, Seconds};
use crate::registry::clip;

/// Events that it has.
const EVENTS: usize = 8;
/// Services and locks that it has of each.
const TOP: usize = 6;
/// Waiters that are named of each.
const WAITERS: usize = 3;

/// The first page.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Overview<'a> {
    pub(in crate::admin) attention: Vec<Attention>,
    pub(in crate::admin) members: Vec<Member>,
    pub(in crate::admin) prefixes: Vec<Prefix<'a>>,
    /// The last of them.
    pub(in crate::admin) events: Vec<Event>,
    /// Services, the worst and then the busiest first.
    pub(in crate::admin) top_services: Vec<ServiceRow<'a>>,
    /// Locks and elections, those that most wait for first.
    pub(in crate::admin) top_locks: Vec<Lock>,
    /// Services that have instances.
    pub(in crate::admin) services: usize,
    pub(in crate::admin) instances: usize,
    /// Locks and elections, and how many wait for one.
    pub(in crate::admin) locks: usize,
    pub(in crate::admin) waiting: usize,
    /// What is held is not known everywhere.
    #[serde(skip)]
    pub(in crate::admin) unknown: bool,
    pub(in crate::admin) calls: Rate,
    pub(in crate::admin) failures: Rate,
    pub(in crate::admin) history: &'a Steps,
    pub(in crate::admin) uptime: Seconds,
    pub(in crate::admin) version: &'static str,
}

/// A lock or an election in short.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Lock {
    pub(in crate::admin) name: String,
    pub(in crate::admin) kind: &'static str,
    /// Who holds it, by name or else by key; nobody if it is blocked.
    pub(in crate::admin) holder: Option<String>,
    pub(in crate::admin) waiting: usize,
    /// The first who wait, in order.
    pub(in crate::admin) waiters: Vec<String>,
}

/// A member of an etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::admin) struct Member {
    pub(in crate::admin) client: String,
    pub(in crate::admin) url: String,
    pub(in crate::admin) level: Level,
    /// What it is, or why it does not answer.
    pub(in crate::admin) state: String,
    pub(in crate::admin) version: String,
    pub(in crate::admin) revision: i64,
    /// Bytes on its disk.
    pub(in crate::admin) size: u64,
}

/// A watched prefix.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Prefix<'a> {
    pub(in crate::admin) client: &'a str,
    pub(in crate::admin) prefix: &'a str,
    pub(in crate::admin) revision: i64,
    pub(in crate::admin) age: Seconds,
    pub(in crate::admin) level: Level,
    pub(in crate::admin) state: String,
    pub(in crate::admin) instances: usize,
    pub(in crate::admin) doubted: usize,
    pub(in crate::admin) unreadable: usize,
}

impl Member {
    pub(in crate::admin) fn kib(&self) -> u64 {
        self.size / 1024
    }
}

impl Lock {
    fn new(mut queue: locks::Queue) -> Self {
        queue.waiters.truncate(WAITERS);
        Lock {
            kind: queue.kind,
            holder: queue.blocked_by.is_none().then(|| queue.holder.who()),
            waiting: queue.waiting,
            waiters: queue.waiters.iter().map(locks::Contender::who).collect(),
            name: queue.name,
        }
    }

    pub(in crate::admin) fn shown(&self) -> String {
        clip(&self.name)
    }

    pub(in crate::admin) fn link(&self) -> String {
        locks::link(&self.name)
    }
}

impl Prefix<'_> {
    pub(in crate::admin) fn shown(&self) -> String {
        clip(self.prefix)
    }
}

pub(in crate::admin) fn overview<'a>(
    facts: &'a Facts<'_>,
    attention: Vec<Attention>,
    members: Vec<Member>,
    events: Vec<Event>,
) -> Overview<'a> {
    let prefixes = facts.prefixes.iter().map(|status| {
        let (level, state) = match (&status.error, status.listed) {
            (Some(error), _) => (Level::Bad, error.clone()),
            (None, false) => (Level::Bad, "not listed yet".to_owned()),
            (None, true) if facts.is_stale(status) => (Level::Bad, "nothing heard for long".to_owned()),
            (None, true) => (Level::Good, "followed".to_owned()),
        };
        Prefix {
            client: &status.client,
            prefix: &status.prefix,
            revision: status.revision,
            age: facts.age(status),
            level,
            state,
            instances: status.instances,
            doubted: status.doubted,
            unreadable: status.unreadable.len(),
        }
    });
    let total = facts.history.total();
    let mut top_services: Vec<_> = facts.services.iter().map(|(name, _)| services::row(facts, name)).collect();
    top_services.sort_by(|a, b| a.level.cmp(&b.level).then(b.calls.0.total_cmp(&a.calls.0)));
    top_services.truncate(TOP);
    Overview {
        top_services,
        top_locks: locks::top(facts, TOP).into_iter().map(Lock::new).collect(),
        attention,
        members,
        prefixes: prefixes.collect(),
        events: events.into_iter().take(EVENTS).collect(),
        services: facts.services.iter().filter(|(_, endpoints)| !endpoints.is_empty()).count(),
        instances: facts.services.iter().map(|(_, endpoints)| endpoints.len()).sum(),
        locks: facts.queues.len(),
        waiting: facts.queues.iter().map(|queue| queue.contenders.len() - 1).sum(),
        unknown: !facts.unread_locks.is_empty(),
        calls: total.calls(),
        failures: total.failures(),
        history: total,
        uptime: facts.in_force.uptime(facts.now),
        version: env!("CARGO_PKG_VERSION"),
    }
}
