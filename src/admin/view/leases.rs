//! Leases: those that registrations, locks and elections hang on.

use std::collections::BTreeMap;

use serde::Serialize;

use super::attention::{encode, link};
use super::filter::{Rank, Row};
use super::{Facts, Query, Rows};
use crate::admin::show::LeaseId;
use crate::admin::ttl::Ttl;
use crate::registry::clip;

/// Keys that are shown of one lease.
const KEYS: usize = 10;

/// The page of leases.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Leases {
    #[serde(skip)]
    pub(in crate::admin) acts: bool,
    pub(in crate::admin) leases: Rows<Lease>,
}

/// One lease.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Lease {
    /// Whether there are actions.
    #[serde(skip)]
    pub(in crate::admin) acts: bool,
    pub(in crate::admin) id: LeaseId,
    pub(in crate::admin) hex: String,
    pub(in crate::admin) state: &'static str,
    pub(in crate::admin) ttl: Option<Ttl>,
    pub(in crate::admin) owner: Option<String>,
    pub(in crate::admin) keys: Vec<Key>,
    /// The newest revision of these keys, which guards actions.
    pub(in crate::admin) revision: i64,
}

/// What hangs on a lease, and where to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::admin) struct Key {
    pub(in crate::admin) text: String,
    pub(in crate::admin) link: Option<String>,
}

impl Key {
    pub(in crate::admin) fn shown(&self) -> String {
        clip(&self.text)
    }
}

impl Lease {
    pub(in crate::admin) fn owned_by(&self) -> Option<String> {
        self.owner.as_deref().map(clip)
    }
}

impl Row for Lease {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        field("id", &self.hex);
        field("decimal", &self.id.0.to_string());
        field("owner", self.owner.as_deref().unwrap_or_default());
        self.keys.iter().for_each(|key| field("key", &key.text));
    }

    fn rank(&self, column: &str) -> Rank<'_> {
        match column {
            "owner" => Rank::Text(self.owner.as_deref().unwrap_or_default()),
            "keys" => Rank::Number(self.keys.len() as f64),
            _ => Rank::Text(&self.hex),
        }
    }
}

pub(in crate::admin) fn leases(facts: &Facts<'_>, ttl: impl Fn(i64) -> Option<Ttl>, query: &Query) -> Leases {
    let mut found: BTreeMap<i64, (Vec<Key>, i64)> = BTreeMap::new();
    let mut add = |lease, key, revision: i64| {
        let (keys, newest) = found.entry(lease).or_default();
        keys.push(key);
        *newest = revision.max(*newest);
    };
    for (name, endpoints) in &facts.services {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.lease != 0) {
            let text = format!("{name} at {}", endpoint.label);
            add(endpoint.lease, Key { text, link: Some(link(name)) }, endpoint.revision);
        }
    }
    for queue in &facts.queues {
        for contender in queue.contenders.iter().filter(|contender| contender.lease != 0) {
            let text = String::from_utf8_lossy(&contender.key).into_owned();
            let link = Some(format!("/locks?q={}", encode(&queue.name)));
            add(contender.lease, Key { text, link }, contender.revision);
        }
    }
    let owners = super::locks::owners(facts);
    let lease = |(id, (keys, revision)): (i64, (Vec<Key>, i64))| Lease {
        acts: facts.in_force.operator.is_some(),
        id: LeaseId(id),
        hex: LeaseId(id).to_string(),
        state: "",
        ttl: None,
        owner: owners.get(&id).map(|owner| owner.text.clone()),
        keys,
        revision,
    };
    let mut leases = Rows::new(found.into_iter().map(lease).collect(), query);
    for lease in &mut leases.rows {
        lease.ttl = ttl(lease.id.0);
        lease.state = match &lease.ttl {
            None => "asked for",
            Some(ttl) if ttl.left <= 0.0 => "ended, or ends now",
            Some(ttl) if ttl.late => "renewal is late",
            Some(_) => "renewed",
        };
        // What hangs on it beside what this proxy follows is known by etcd only.
        let other = lease.ttl.iter().flat_map(|ttl| &ttl.keys).filter(|key| !shows(&lease.keys, key));
        let other: Vec<_> = other.map(|key| Key { text: key.clone(), link: None }).collect();
        lease.keys.extend(other);
        lease.keys.truncate(KEYS);
    }
    Leases { acts: facts.in_force.operator.is_some(), leases }
}

/// Whether a key is among those that are shown already: as it stands, or as the registration that it is.
fn shows(keys: &[Key], key: &str) -> bool {
    let registrations =
        keys.iter().filter(|shown| shown.link.as_deref().is_some_and(|link| link.starts_with("/service")));
    keys.iter().any(|shown| shown.text == key)
        || registrations.filter_map(|shown| shown.text.rsplit_once(" at ")).any(|(name, _)| key.contains(name))
}
