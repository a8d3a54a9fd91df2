//! What needs attention: sentences, the worst first, each with since when and what to do.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Facts, Level};
use crate::admin::show::Seconds;
use crate::health::{EndpointHealth, ServiceHealth, State};
use crate::registry::clip;

/// One thing that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::admin) struct Attention {
    pub(in crate::admin) level: Level,
    pub(in crate::admin) text: String,
    /// Where to look.
    pub(in crate::admin) link: String,
    pub(in crate::admin) since: Option<Seconds>,
    pub(in crate::admin) todo: String,
}

/// The address of a service's page.
pub(in crate::admin) fn link(service: &str) -> String {
    format!("/service?name={}", encode(service))
}

/// Text as a value in an address.
pub(in crate::admin) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            // Formatting into a String does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

/// All of it.
pub(in crate::admin) fn attention(facts: &Facts<'_>) -> Vec<Attention> {
    let mut found = prefixes(facts);
    for (name, endpoints) in &facts.services {
        let (shown, link) = (clip(name), link(name));
        let item = |level, text: String, since, todo: &str| Attention {
            level,
            text: format!("{shown}: {text}"),
            link: link.clone(),
            since,
            todo: todo.to_owned(),
        };
        if endpoints.is_empty() {
            let todo = "Start an instance, or wait until the service is forgotten.";
            found.push(item(Level::Care, "no instances; all registrations are gone".to_owned(), None, todo));
            continue;
        }
        let unreachable = endpoints.iter().filter(|e| e.state.is_unreachable()).count();
        if unreachable > 0 {
            let all = endpoints.len();
            let level = if unreachable == all { Level::Bad } else { Level::Care };
            let text = format!("{unreachable} of {all} endpoints cannot be connected to");
            found.push(item(level, text, None, "See that they run, and that this machine reaches them."));
        }
        if let Some(health) = facts.health.get(name) {
            states(facts, health, |level, text, since, todo| found.push(item(level, text, since, todo)));
        }
    }
    let more = |level, text, link: &str, todo: &str| Attention {
        level,
        text,
        link: link.to_owned(),
        since: None,
        todo: todo.to_owned(),
    };
    for queue in &facts.queues {
        let Some(by) = &queue.blocked_by else { continue };
        let text = format!("nobody holds {}: it waits for {}, whose name lies within it", clip(&queue.name), clip(by));
        let link = format!("/locks?q={}", encode(&queue.name));
        found.push(more(Level::Care, text, &link, "Give one of the two locks another name."));
    }
    for (prefix, why) in &facts.unread_locks {
        let text = format!("{}: who holds what is not known ({why})", clip(prefix));
        let todo = "What is shown of it may be old. See that etcd can be reached, and that its user may read there: \
                    `waypost auth init` gives that right.";
        found.push(more(Level::Care, text, "/locks", todo));
    }
    let orders = facts.unreadable_orders.len();
    if orders > 0 {
        let text = format!("{orders} {} an operator cannot be read", plural(orders, "order of", "orders of"));
        found.push(more(Level::Care, text, "/services", "Their reasons are at the end of the page of services."));
    }
    let troubles = super::modules::troubles(&facts.modules);
    found.extend(troubles.into_iter().map(|(level, text, todo)| more(level, text, "/filters", todo)));
    found.sort_by_key(|item| item.level);
    found
}

fn prefixes(facts: &Facts<'_>) -> Vec<Attention> {
    let mut found = Vec::new();
    for prefix in &facts.prefixes {
        let age = facts.age(prefix);
        let mut item = |level, text: String, since, todo: &str| {
            let text = format!("{}: {text}", clip(&prefix.prefix));
            found.push(Attention { level, text, link: "/services".to_owned(), since, todo: todo.to_owned() });
        };
        let why = prefix.error.as_deref().map(|error| format!(" ({error})")).unwrap_or_default();
        if !prefix.listed {
            let todo = "Until then calls are refused. See that etcd runs and that its endpoints are right.";
            item(Level::Bad, format!("the registry has not been read yet{why}"), Some(age), todo);
        } else if facts.is_stale(prefix) {
            let todo =
                "Calls go on to the instances that are known; changes are not seen. See that etcd can be reached.";
            item(Level::Bad, format!("etcd cannot be followed, the table is old{why}"), Some(age), todo);
        }
        if prefix.doubted > 0 {
            let text = format!("{} of {} instances vanished at once and are kept", prefix.doubted, prefix.instances);
            item(Level::Bad, text, None, "They go when a connect to them fails. See whether etcd lost data.");
        }
        let unreadable = prefix.unreadable.len();
        if unreadable > 0 {
            let text = format!("{unreadable} {} cannot be read, or only in part", plural(unreadable, "key", "keys"));
            item(Level::Care, text, None, "Their reasons are at the end of the page of services.");
        }
    }
    found
}

fn states(
    facts: &Facts<'_>,
    health: &ServiceHealth,
    mut found: impl FnMut(Level, String, Option<Seconds>, &'static str),
) {
    let all = health.endpoints.len();
    if health.panic {
        let healthy = health.endpoints.iter().filter(|endpoint| endpoint.state == State::Healthy).count();
        let text = format!("only {healthy} of {all} endpoints are healthy, so calls go to all of them");
        found(Level::Bad, text, None, "See what the endpoints have in common, or whether the check is wrong.");
    }
    for (state, todo) in [
        (State::Ejected, "They come back by themselves; see why their calls fail."),
        (State::Unhealthy, "See why their probes fail."),
        (State::Draining, "An operator ordered it; take the order back if it is done."),
    ] {
        let of: Vec<&EndpointHealth> = health.endpoints.iter().filter(|endpoint| endpoint.state == state).collect();
        let Some(newest) = of.iter().max_by_key(|endpoint| endpoint.since) else { continue };
        let level = if of.len() == all && state != State::Draining { Level::Bad } else { Level::Care };
        let text = format!("{} of {all} endpoints {state} ({})", of.len(), clip(&newest.reason));
        found(level, text, Some(facts.now.saturating_duration_since(newest.since).into()), todo);
    }
}

/// The word for so many.
pub(in crate::admin) fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}
