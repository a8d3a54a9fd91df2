//! Which instances are wanted.

use std::collections::BTreeMap;

use crate::registry::Instance;

/// Which instances are wanted: those that are all that is said here. The default lets all through.
///
/// ```
/// use waypost::discovery::Filter;
///
/// let filter = Filter::default().version("1.4").zone("a").tag("canary").metadata("team", "blue");
/// assert!(filter != Filter::default());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    version: Option<String>,
    zone: Option<String>,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
}

impl Filter {
    /// Of this version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// In this zone.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.to_owned());
        self
    }

    /// With this tag, and with those given before.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// With this value in its metadata, and with those given before.
    #[must_use]
    pub fn metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Whether it lets an instance through.
    pub fn lets(&self, instance: &Instance) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        is(&self.version, &instance.version)
            && is(&self.zone, &instance.zone)
            && self.tags.iter().all(|tag| instance.tags.contains(tag))
            && self.metadata.iter().all(|(name, value)| instance.metadata.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wanted_must_be_so() {
        let instance = Instance {
            service: "s".into(),
            id: "i".into(),
            address: "a:1".parse().unwrap(),
            weight: 1,
            version: "1".into(),
            zone: "z".into(),
            tags: vec!["x".into(), "y".into()],
            protocol: None,
            tls: None,
            metadata: BTreeMap::from([("k".into(), "v".into())]),
        };
        let any = Filter::default;
        for (filter, lets) in [
            (any(), true),
            (any().version("1").zone("z").tag("x").tag("y").metadata("k", "v"), true),
            (any().version("2"), false),
            (any().zone(""), false),
            (any().tag("x").tag("w"), false),
            (any().metadata("k", "w"), false),
            (any().metadata("l", ""), false),
        ] {
            assert_eq!(filter.lets(&instance), lets, "{filter:?}");
        }
    }
}
