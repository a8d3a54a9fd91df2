//! The registry of metrics, as a handle that everybody may hold.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::registry::Metric;

/// Where metrics are registered at start and read at each scrape. Cheap to clone.
///
/// The lock is taken to register and to scrape, never to count: whoever counts keeps a handle of the metric itself.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<prometheus_client::registry::Registry>>);

impl Registry {
    /// Adds a metric under a name of [`names`](super::names). A name may be registered once: what comes in several, as
    /// per etcd client, is one `Family` with a label.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.lock().register(name, help, metric);
    }

    /// Adds a collector, which is asked at each scrape. See [`Families`](super::Families) for what it does then.
    pub fn register_collector(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    /// All metrics in the OpenMetrics text format, version 1.0.0.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        if let Err(fmt::Error) = text::encode(&mut page, &self.lock()) {
            // The closing mark is missing then, so that a scraper refuses the page and does not take half for all.
            tracing::error!("a metric could not be encoded; the page of metrics ends early");
        }
        page
    }

    fn lock(&self) -> MutexGuard<'_, prometheus_client::registry::Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn what_is_counted_through_a_handle_is_on_the_page() {
        let registry = Registry::default();
        let calls: Counter = Counter::default();
        registry.clone().register("calls", "Calls", calls.clone());
        calls.inc_by(3);
        assert_eq!(registry.encode(), "# HELP calls Calls.\n# TYPE calls counter\ncalls_total 3\n# EOF\n");
    }
}
