//! The environment as a layer: which variable belongs to which key, and which variables are nobody's.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, Place};
use super::nearest::nearest;

const PREFIX: &str = "WAYPOST_";
/// Names the file itself; the command line reads it.
const CONFIG: &str = "WAYPOST_CONFIG";

/// The variables that start with `WAYPOST_`, and which of them some key has asked for.
#[derive(Default)]
pub(super) struct Environment {
    values: BTreeMap<String, String>,
    known: BTreeSet<String>,
    /// Starts of names that are somebody else's to read.
    skipped: Vec<String>,
}

impl Environment {
    pub(super) fn new(variables: &[(String, String)]) -> Self {
        let values = variables.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
        Environment {
            values: values.cloned().collect(),
            known: BTreeSet::from([CONFIG.to_owned()]),
            skipped: Vec::new(),
        }
    }

    /// The name and value of the variable for the key at `path`, if it is set.
    pub(super) fn get(&mut self, path: &str) -> Option<(String, String)> {
        let name = variable(path);
        let found = self.values.get(&name).map(|value| (name.clone(), value.clone()));
        self.known.insert(name);
        found
    }

    /// Passes over the variables of all keys below a path.
    pub(super) fn skip(&mut self, path: &str) {
        self.skipped.push(variable(path) + "_");
    }

    /// Notes every variable that no key has asked for.
    pub(super) fn unknown(&self, errors: &mut Vec<Error>) {
        for (name, value) in &self.values {
            let skipped = self.skipped.iter().any(|start| name.starts_with(start));
            if self.known.contains(name) || skipped || is_service_link(name, value) {
                continue;
            }
            let message = match nearest(name, self.known.iter().map(String::as_str)) {
                Some(near) => format!("unknown variable; did you mean `{near}`?"),
                None => {
                    format!("unknown variable; variables are named {PREFIX}SECTION_KEY, after the keys of the file")
                }
            };
            errors.push(Error { place: Place::Variable(name.as_str().into()), key: String::new(), message });
        }
    }
}

/// The variable for the key at `path`: `WAYPOST_PREFIXES_0_CLIENT` for `prefixes[0].client`.
fn variable(path: &str) -> String {
    let letters = path.chars().filter(|c| *c != ']' && *c != '"');
    let name = letters.map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    PREFIX.chars().chain(name).collect()
}

/// Kubernetes sets variables of its own in each pod for each Service of the namespace, and for one that is called
/// `waypost` they start as ours do.
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split_once("_PORT").is_some_and(|(_, rest)| match rest {
            "" => value.contains("://"),
            rest => rest.strip_prefix('_').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit())),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_keys() {
        for (path, name) in [
            ("etcd.password_file", "WAYPOST_ETCD_PASSWORD_FILE"),
            ("prefixes[0].client", "WAYPOST_PREFIXES_0_CLIENT"),
            ("services.named.\"acme.Greeter\".balancer", "WAYPOST_SERVICES_NAMED_ACME_GREETER_BALANCER"),
        ] {
            assert_eq!(variable(path), name);
        }
    }

    #[test]
    fn service_links_of_kubernetes_are_passed_over() {
        for (name, value) in [
            ("WAYPOST_SERVICE_HOST", "10.0.0.1"),
            ("WAYPOST_SERVICE_PORT_GRPC", "8400"),
            ("WAYPOST_PORT", "tcp://10.0.0.1:8400"),
            ("WAYPOST_PORT_8400_TCP_ADDR", "10.0.0.1"),
            ("WAYPOST_ADMIN_PORT_8401_TCP", "tcp://10.0.0.1:8401"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [("WAYPOST_PORT", "8400"), ("WAYPOST_LISTEN", "a:1"), ("WAYPOST_PORTS", "1")] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }
}
