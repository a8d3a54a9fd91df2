//! Filters and policies: the modules in force, what they are used for, and what went wrong with them.

use std::time::SystemTime;

use serde::Serialize;
use tokio::time::Instant;

use super::attention::plural;
use super::filter::{Rank, Row};
use super::{Facts, Level, Query, Rows};
use crate::admin::show::{Micros, Rate, Seconds, anchor};
use crate::registry::clip;
use crate::wasm::{Aside, Failures, Outcome, Status};

/// The state of a module that is not called any more.
const ASIDE: &str = "set aside";

/// The same, by somebody's order.
const ORDERED: &str = "set aside by order";
/// And of one whose instances all failed a moment ago.
const ANEW: &str = "being started anew";

/// The page of filters and policies.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Modules {
    pub(in crate::admin) modules: Rows<Module>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::admin) struct Module {
    pub(in crate::admin) name: String,
    pub(in crate::admin) kind: String,
    pub(in crate::admin) hash: String,
    pub(in crate::admin) level: Level,
    pub(in crate::admin) state: String,
    /// The keys of the configuration that name it.
    pub(in crate::admin) used: Vec<String>,
    /// Since when it is in force.
    pub(in crate::admin) since: Seconds,
    /// Its instances that can be called.
    pub(in crate::admin) instances: usize,
    /// Calls in a second, now.
    pub(in crate::admin) calls: Rate,
    /// What a call takes, by those since it is in force that were timed.
    pub(in crate::admin) mean: Micros,
    /// Traps, overruns and invalid answers since it is in force.
    pub(in crate::admin) failures: u64,
    pub(in crate::admin) last_failure: Option<String>,
    pub(in crate::admin) last_failed: Option<Seconds>,
    /// When its file was read last, and what came of that.
    pub(in crate::admin) last_read: Seconds,
    pub(in crate::admin) read: &'static str,
    /// Why the file as it is now is not in force, if it is not.
    pub(in crate::admin) rejected: Option<String>,
}

impl Module {
    pub(in crate::admin) fn id(&self) -> String {
        anchor('m', &self.name)
    }

    pub(in crate::admin) fn shown(&self) -> String {
        clip(&self.name)
    }

    /// What can be done with it now, by name of the action and of the button.
    pub(in crate::admin) fn actions(&self) -> &'static [(&'static str, &'static str)] {
        match &*self.state {
            ASIDE | ORDERED => &[("reload", "Reload")],
            _ => &[("reload", "Reload"), ("aside", "Set aside")],
        }
    }

    pub(in crate::admin) fn what_failed(&self) -> String {
        clip(self.last_failure.as_deref().unwrap_or_default())
    }

    pub(in crate::admin) fn what_read(&self) -> &'static str {
        if self.read == "same" { "unchanged" } else { self.read }
    }

    pub(in crate::admin) fn why_rejected(&self) -> Option<String> {
        self.rejected.as_deref().map(clip)
    }
}

impl Row for Module {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        field("name", &self.name);
        field("kind", &self.kind);
        field("state", &self.state);
        field("hash", &self.hash);
        self.used.iter().for_each(|key| field("used", key));
    }

    fn rank(&self, column: &str) -> Rank<'_> {
        match column {
            "kind" => Rank::Text(&self.kind),
            "state" => Rank::Number(f64::from(self.level as u8)),
            "failures" => Rank::Number(self.failures as f64),
            "calls" => Rank::Number(self.calls.0),
            "mean" => Rank::Number(self.mean.0.unwrap_or(0.0)),
            _ => Rank::Text(&self.name),
        }
    }
}

/// All modules, as the facts have them.
pub(in crate::admin) fn modules(facts: &Facts<'_>, query: &Query) -> Modules {
    Modules { modules: Rows::new(facts.modules.clone(), query) }
}

/// One module, from what the catalog says of it.
pub(in crate::admin) fn module(status: &Status, calls: Rate, now: Instant, wall: SystemTime) -> Module {
    let Failures { count, last } = status.module.failures();
    let (level, state) = match (status.module.aside(), status.instances, &status.rejected) {
        (Some(Aside::Failed), ..) => (Level::Bad, ASIDE),
        (Some(Aside::Ordered), ..) => (Level::Care, ORDERED),
        (None, 0, _) => (Level::Bad, ANEW),
        (None, _, Some(_)) => (Level::Care, "in force, its new file is no good"),
        (None, _, None) => (Level::Good, "in force"),
    };
    let ago = |then: SystemTime| Seconds::from(wall.duration_since(then).unwrap_or_default());
    let (last_failed, last_failure) = last.unzip();
    Module {
        name: status.name.to_string(),
        kind: status.module.kinds().to_string(),
        hash: format!("{:016x}", status.module.hash()),
        level,
        state: state.to_owned(),
        used: status.keys.clone(),
        since: ago(status.since),
        instances: status.instances,
        calls,
        mean: status.recent.mean().into(),
        failures: count,
        last_failure,
        last_failed: last_failed.map(|then| now.saturating_duration_since(then).into()),
        last_read: ago(status.read.0),
        read: match status.read.1 {
            Outcome::Loaded => "loaded",
            Outcome::Same => "same",
            Outcome::Refused => "refused",
        },
        rejected: status.rejected.clone(),
    }
}

/// What of the modules needs attention, in words, with what to do.
pub(in crate::admin) fn troubles(modules: &[Module]) -> Vec<(Level, String, &'static str)> {
    let mut found = Vec::new();
    for module in modules {
        let name = module.shown();
        if module.state == ASIDE {
            let (n, last) = (module.failures, module.what_failed());
            let times = plural(n as usize, "time", "times");
            let text = format!("module {name} is set aside: it failed {n} {times}, at last with {last}");
            found.push((
                Level::Bad,
                text,
                "Mend it and write its file again, or reload it; until then it is passed over.",
            ));
        }
        if module.state == ORDERED {
            let text = format!("module {name} is set aside by an operator's order");
            found.push((Level::Care, text, "Reload it when it is to be used again; until then it is passed over."));
        }
        if module.state == ANEW {
            let text =
                format!("module {name} has no instance that is up; it failed last with {}", module.what_failed());
            found.push((Level::Bad, text, "It is started anew by itself; if it fails on, write a better file."));
        }
        if let Some(why) = module.why_rejected() {
            let text = format!("module {name}: its changed file is no good ({why})");
            found.push((Level::Care, text, "The old module stays in force; write a good file."));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_modules_is_told() {
        let fine = Module {
            name: "<b>canary".to_owned(),
            kind: "filter".to_owned(),
            hash: "1".to_owned(),
            level: Level::Good,
            state: "in force".to_owned(),
            used: vec!["filters[0]".to_owned()],
            since: Seconds(9),
            instances: 4,
            calls: Rate(0.0),
            mean: Micros(None),
            failures: 0,
            last_failure: None,
            last_failed: None,
            last_read: Seconds(9),
            read: "loaded",
            rejected: None,
        };
        assert_eq!(troubles(std::slice::from_ref(&fine)), []);
        let last_failure = Some("a trap".to_owned());
        let anew = Module { state: ANEW.to_owned(), last_failure: last_failure.clone(), ..fine.clone() };
        let ordered = Module { state: ORDERED.to_owned(), ..fine.clone() };
        let aside = Module { state: ASIDE.to_owned(), failures: 3, last_failure, ..fine.clone() };
        let rejected = Module { rejected: Some("no exports".to_owned()), ..fine };
        let told: Vec<_> =
            troubles(&[aside, rejected, anew, ordered]).into_iter().map(|(level, text, _)| (level, text)).collect();
        assert_eq!(told[0].0, Level::Bad);
        assert_eq!(told[0].1, "module <b>canary is set aside: it failed 3 times, at last with a trap");
        assert_eq!(told[2].1, "module <b>canary has no instance that is up; it failed last with a trap");
        assert_eq!(told[3].1, "module <b>canary is set aside by an operator's order");
        assert_eq!(told[1].1, "module <b>canary: its changed file is no good (no exports)");
    }
}
