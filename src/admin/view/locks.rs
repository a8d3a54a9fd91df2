//! Locks and elections: each a queue, who holds at its head.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::attention::{self, encode};
use super::filter::{Rank, Row};
use super::{Facts, Query, Rows};
use crate::admin::locks::{Prefix, Since};
use crate::admin::show::{LeaseId, Seconds, anchor};
use crate::admin::ttl::Ttl;
use crate::registry::clip;
use crate::registry::queue::{self, Kind};

/// Waiters that are shown of one queue.
const WAITERS: usize = 50;

/// The page of locks.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Locks {
    #[serde(skip)]
    pub(in crate::admin) acts: bool,
    pub(in crate::admin) prefixes: Vec<Watched>,
    /// What is held is not known everywhere.
    #[serde(skip)]
    pub(in crate::admin) unknown: bool,
    pub(in crate::admin) locks: Rows<Queue>,
}

/// A prefix below which locks are looked for.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Watched {
    pub(in crate::admin) prefix: String,
    /// What is wrong with it.
    pub(in crate::admin) problem: Option<String>,
}

/// One lock or election.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Queue {
    /// Whether there are actions.
    #[serde(skip)]
    pub(in crate::admin) acts: bool,
    pub(in crate::admin) name: String,
    pub(in crate::admin) kind: &'static str,
    pub(in crate::admin) layout: &'static str,
    pub(in crate::admin) holder: Contender,
    /// In order, the first of them.
    pub(in crate::admin) waiters: Vec<Contender>,
    /// How many wait.
    pub(in crate::admin) waiting: usize,
    /// The deeper name that blocks this one: then nobody here holds.
    pub(in crate::admin) blocked_by: Option<String>,
}

/// Somebody in a queue.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Contender {
    pub(in crate::admin) key: String,
    pub(in crate::admin) lease: Option<LeaseId>,
    pub(in crate::admin) token: i64,
    /// The revision of its key, which guards actions.
    pub(in crate::admin) revision: i64,
    /// Who it is: how it calls itself, what it proposed, or the id of the instance on its lease.
    pub(in crate::admin) name: Option<String>,
    /// Its key is text, so that a form can name it.
    #[serde(skip)]
    pub(in crate::admin) is_text: bool,
    /// What it proposed.
    pub(in crate::admin) value: Option<String>,
    /// For how long it holds, or waits.
    pub(in crate::admin) age: Option<Seconds>,
    /// It held or waited before this proxy looked, so that it is longer than that.
    pub(in crate::admin) at_least: bool,
    /// The registration or proposal that hangs on the same lease.
    pub(in crate::admin) owner: Option<String>,
    /// Where the owner is to be seen.
    #[serde(skip)]
    pub(in crate::admin) link: Option<String>,
    pub(in crate::admin) ttl: Option<Ttl>,
}

/// What else hangs on a lease, and so names the process behind it.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Owner {
    /// The registration or proposal, in words.
    pub(in crate::admin) text: String,
    /// The instance's id, if it is one.
    id: Option<String>,
    link: Option<String>,
}

impl Queue {
    pub(in crate::admin) fn id(&self) -> String {
        anchor('l', &self.name)
    }

    pub(in crate::admin) fn shown(&self) -> String {
        clip(&self.name)
    }

    pub(in crate::admin) fn blocker(&self) -> Option<String> {
        self.blocked_by.as_deref().map(clip)
    }
}

impl Contender {
    pub(in crate::admin) fn shown_key(&self) -> String {
        clip(&self.key)
    }

    pub(in crate::admin) fn shown_name(&self) -> Option<String> {
        self.name.as_deref().map(clip)
    }

    /// In a few words, for where there is no room for more: its name, or else its key.
    pub(in crate::admin) fn who(&self) -> String {
        clip(self.name.as_ref().unwrap_or(&self.key))
    }

    pub(in crate::admin) fn owned_by(&self) -> Option<String> {
        self.owner.as_deref().map(clip)
    }
}

impl Row for Queue {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        field("name", &self.name);
        field("kind", self.kind);
        for contender in std::iter::once(&self.holder).chain(&self.waiters) {
            field("key", &contender.key);
            field("who", contender.name.as_deref().unwrap_or_default());
            field("owner", contender.owner.as_deref().unwrap_or_default());
            field("value", contender.value.as_deref().unwrap_or_default());
        }
        field("state", if self.blocked_by.is_some() { "blocked" } else { "held" });
    }

    fn rank(&self, column: &str) -> Rank<'_> {
        match column {
            "waiting" => Rank::Number(self.waiting as f64),
            _ => Rank::Text(&self.name),
        }
    }
}

/// The address of the page that has this lock.
pub(in crate::admin) fn link(name: &str) -> String {
    format!("/locks?q={}", encode(name))
}

/// Which registration or proposal hangs on each lease: that names the process behind it.
pub(in crate::admin) fn owners(facts: &Facts<'_>) -> BTreeMap<i64, Owner> {
    let endpoints = facts.services.iter().flat_map(|(name, endpoints)| endpoints.iter().map(move |e| (name, e)));
    let registered = endpoints.filter(|(_, e)| e.lease != 0).map(|(name, e)| {
        let text = format!("{name} at {}", e.label);
        (e.lease, Owner { text, id: Some(e.instance.id.clone()), link: Some(attention::link(name)) })
    });
    let elections = facts.queues.iter().filter(|queue| queue.kind == Kind::Election);
    let proposals = elections.flat_map(|queue| queue.contenders.iter().map(move |c| (c.lease, queue.proposal(c))));
    let proposed = proposals
        .filter(|(lease, _)| *lease != 0)
        .filter_map(|(lease, text)| Some((lease, Owner { text: text?, id: None, link: None })));
    // Who is registered says more than what was proposed, and comes last so that it stays.
    proposed.chain(registered).collect()
}

/// Somebody in a queue, without what only etcd knows.
fn contender(
    queue: &queue::Queue,
    contender: &queue::Contender,
    owners: &BTreeMap<i64, Owner>,
    age: Option<(Seconds, bool)>,
) -> Contender {
    let value = queue.proposal(contender);
    let owner = owners.get(&contender.lease).filter(|owner| value.as_ref() != Some(&owner.text));
    Contender {
        name: contender.name().or_else(|| value.clone()).or_else(|| owner?.id.clone()),
        key: String::from_utf8_lossy(&contender.key).into_owned(),
        is_text: std::str::from_utf8(&contender.key).is_ok(),
        lease: (contender.lease != 0).then_some(LeaseId(contender.lease)),
        token: contender.token,
        revision: contender.revision,
        value,
        age: age.map(|(age, _)| age),
        at_least: age.is_none_or(|(_, exact)| !exact),
        owner: owner.map(|owner| owner.text.clone()),
        link: owner.and_then(|owner| owner.link.clone()),
        ttl: None,
    }
}

fn view(facts: &Facts<'_>, queue: &queue::Queue, contender: impl Fn(&queue::Contender) -> Contender) -> Queue {
    Queue {
        acts: facts.in_force.operator.is_some(),
        name: queue.name.clone(),
        kind: if queue.kind == Kind::Lock { "lock" } else { "election" },
        layout: queue.layout.words(),
        holder: contender(&queue.contenders[0]),
        waiters: queue.contenders[1..].iter().take(WAITERS).map(contender).collect(),
        waiting: queue.contenders.len() - 1,
        blocked_by: queue.blocked_by.clone(),
    }
}

/// The locks that most wait for, so many of them, without ages.
pub(in crate::admin) fn top(facts: &Facts<'_>, count: usize) -> Vec<Queue> {
    let owners = owners(facts);
    let mut queues: Vec<_> = facts.queues.iter().collect();
    queues.sort_by_key(|queue| Reverse(queue.contenders.len()));
    queues.truncate(count);
    queues.into_iter().map(|queue| view(facts, queue, |c| contender(queue, c, &owners, None))).collect()
}

pub(in crate::admin) fn locks(
    facts: &Facts<'_>,
    prefixes: Vec<(String, Prefix)>,
    since: &BTreeMap<Vec<u8>, Since>,
    ttl: impl Fn(i64) -> Option<Ttl>,
    query: &Query,
) -> Locks {
    let owners = owners(facts);
    let age = |key: &Vec<u8>| {
        let (since, exact) = since.get(key)?;
        Some((facts.now.saturating_duration_since(*since).into(), *exact))
    };
    let view = |queue| view(facts, queue, |c| contender(queue, c, &owners, age(&c.key)));
    let mut locks = Rows::new(facts.queues.iter().map(view).collect(), query);
    // Asked for what is shown only.
    for queue in &mut locks.rows {
        for contender in std::iter::once(&mut queue.holder).chain(&mut queue.waiters) {
            contender.ttl = contender.lease.and_then(|lease| ttl(lease.0));
        }
    }
    let beyond = |prefix: &Prefix| match prefix.beyond {
        0 => None,
        beyond => Some(format!("there are {beyond} keys more than can be shown")),
    };
    let problem = |prefix: &Prefix| match prefix.unread() {
        Some(why) => Some(format!("what is held is not known now: {why}")),
        None => beyond(prefix),
    };
    let unknown = prefixes.iter().any(|(_, prefix)| prefix.unread().is_some());
    let prefixes = prefixes.into_iter().map(|(name, prefix)| Watched { problem: problem(&prefix), prefix: name });
    Locks { acts: facts.in_force.operator.is_some(), prefixes: prefixes.collect(), unknown, locks }
}
