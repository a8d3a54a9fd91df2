//! Filters and policies: the modules in force, what they are used for, and what went wrong with them.

use serde::Serialize;

use super::attention::plural;
use super::filter::{Rank, Row};
use super::{Facts, Level, Query, Rows};
use crate::admin::show::{Seconds, anchor};
use crate::registry::clip;
use crate::wasm::Status;

/// The page of filters and policies.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Modules {
    pub(in crate::admin) modules: Rows<Module>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// Traps, overruns and invalid answers.
    pub(in crate::admin) failures: u32,
    pub(in crate::admin) last_failure: Option<String>,
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

    pub(in crate::admin) fn what_failed(&self) -> String {
        clip(self.last_failure.as_deref().unwrap_or_default())
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
            "failures" => Rank::Number(f64::from(self.failures)),
            _ => Rank::Text(&self.name),
        }
    }
}

/// All modules, as the facts have them.
pub(in crate::admin) fn modules(facts: &Facts<'_>, query: &Query) -> Modules {
    Modules { modules: Rows::new(facts.modules.clone(), query) }
}

/// One module, from what the catalog says of it.
pub(in crate::admin) fn module(status: &Status, now: std::time::SystemTime) -> Module {
    let (failures, last) = status.module.failures();
    let (level, state) = match (status.module.is_aside(), &status.rejected) {
        (true, _) => (Level::Bad, "set aside"),
        (false, Some(_)) => (Level::Care, "in force, its new file is no good"),
        (false, None) => (Level::Good, "in force"),
    };
    Module {
        name: status.name.to_string(),
        kind: status.module.kinds().to_string(),
        hash: format!("{:016x}", status.module.hash()),
        level,
        state: state.to_owned(),
        used: status.keys.clone(),
        since: now.duration_since(status.since).unwrap_or_default().into(),
        failures,
        last_failure: (failures > 0).then_some(last),
        rejected: status.rejected.clone(),
    }
}

/// What of the modules needs attention, in words, with what to do.
pub(in crate::admin) fn troubles(modules: &[Module]) -> Vec<(Level, String, &'static str)> {
    let mut found = Vec::new();
    for module in modules {
        let name = module.shown();
        if module.level == Level::Bad {
            let (n, last) = (module.failures, module.what_failed());
            let times = plural(n as usize, "time", "times");
            let text = format!("module {name} is set aside: it failed {n} {times}, at last with {last}");
            found.push((Level::Bad, text, "Mend it and write its file again; until then it is passed over."));
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
            failures: 0,
            last_failure: None,
            rejected: None,
        };
        assert_eq!(troubles(std::slice::from_ref(&fine)), []);
        let last_failure = Some("a trap".to_owned());
        let aside = Module { level: Level::Bad, failures: 3, last_failure, ..fine.clone() };
        let rejected = Module { rejected: Some("no exports".to_owned()), ..fine };
        let told: Vec<_> = troubles(&[aside, rejected]).into_iter().map(|(level, text, _)| (level, text)).collect();
        assert_eq!(told[0].0, Level::Bad);
        assert_eq!(told[0].1, "module <b>canary is set aside: it failed 3 times, at last with a trap");
        assert_eq!(told[1].1, "module <b>canary: its changed file is no good (no exports)");
    }
}
