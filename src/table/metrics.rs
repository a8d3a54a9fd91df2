//! The table's metrics, read from it at each scrape: register the [`Table`] itself as a collector.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{PrefixStatus, Table};
use crate::telemetry::{Families, names};

impl Collector for Table {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let prefixes = self.prefixes();
        let labels = |p: &PrefixStatus| [("client", p.client.to_string()), ("prefix", p.prefix.to_string())];
        let mut families = Families::new(encoder);
        let mut gauge = |name, help, value: fn(&PrefixStatus) -> usize| {
            families.gauges(
                name,
                help,
                prefixes.iter().map(|p| (labels(p), i64::try_from(value(p)).unwrap_or(i64::MAX))),
            )
        };
        gauge(names::TABLE_INSTANCES, "Instances in the table", |p| p.instances)?;
        gauge(names::TABLE_DOUBTED, "Instances kept although their keys vanished", |p| p.doubted)?;
        gauge(names::TABLE_UNREADABLE, "Keys whose value can't be read", |p| p.unreadable.len())?;
        let revisions = prefixes.iter().map(|p| (labels(p), p.revision));
        families.gauges(names::TABLE_REVISION, "The etcd revision that the table stands at", revisions)?;
        let ages = prefixes.iter().filter_map(|p| Some((labels(p), p.age?.as_secs_f64())));
        families.gauges(names::TABLE_AGE, "Time since etcd last said anything", ages)?;
        let restarts = prefixes.iter().map(|p| (labels(p), p.watch_restarts));
        families.counters(names::TABLE_WATCH_RESTARTS, "Watches that ended and were started again", restarts)?;
        let relists = prefixes.iter().flat_map(|p| {
            p.relists.iter().map(move |(reason, count)| {
                let [client, prefix] = labels(p);
                ([client, prefix, ("reason", reason.to_string())], *count)
            })
        });
        families.counters(names::TABLE_RELISTS, "Complete lists read after the first", relists)?;
        let changes = [([("", ""); 0], self.rebuilds())];
        families.counters(names::TABLE_SLOT_CHANGES, "Services whose endpoints were replaced", changes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::table::Relist;
    use crate::table::status::Shared;
    use crate::telemetry::Registry;

    #[test]
    fn each_prefix_has_its_series() {
        let table = Table::new();
        let prefix = Shared::new("default".into(), "/services/".into());
        prefix.change(|status| {
            status.revision = 7;
            status.instances = 3;
            status.relists.insert(Relist::Compacted, 2);
        });
        table.set_prefixes(vec![Arc::new(prefix)]);
        table.count_rebuild();
        let registry = Registry::default();
        registry.register_collector(table);
        let page = registry.encode();
        for line in [
            "waypost_table_revision{client=\"default\",prefix=\"/services/\"} 7\n",
            "waypost_table_instances{client=\"default\",prefix=\"/services/\"} 3\n",
            "waypost_table_relists_total{client=\"default\",prefix=\"/services/\",reason=\"compacted\"} 2\n",
            "waypost_table_slot_changes_total{} 1\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("waypost_table_age_seconds{"), "nothing came yet, so there is no age\n{page}");
    }
}
