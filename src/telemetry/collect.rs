//! Encodes plain numbers as families of metrics, for collectors that gather them from elsewhere at each scrape.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::Distribution;

/// What a collector writes into: one family after the other, each with all its samples at once, because the format
/// wants a family in one piece. Labels may be borrowed: `[("service", name), ("outcome", "answered")]`. A family
/// without samples leaves no trace.
///
/// ```
/// use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
/// use waypost::telemetry::{Families, Registry};
///
/// #[derive(Debug)]
/// struct Doors;
///
/// impl Collector for Doors {
///     fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
///         let mut families = Families::new(encoder);
///         families.counters("door_openings", "Times a door was opened", [([("door", "front")], 7u64)])?;
///         families.gauges("doors", "Doors", [([("floor", "1"), ("wing", "east")], 2u32)])
///     }
/// }
///
/// let registry = Registry::default();
/// registry.register_collector(Doors);
/// assert!(registry.encode().contains("door_openings_total{door=\"front\"} 7\n"));
/// ```
#[derive(Debug)]
pub struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    /// Takes what a collector is given.
    pub fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Families(encoder)
    }

    /// A family of counters, of whole numbers or `f64`; `_total` is added to the name.
    pub fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |value, mut encoder| {
            encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    /// A family of gauges, of whole numbers or `f64`.
    pub fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |value, mut encoder| encoder.encode_gauge(value))
    }

    /// A family of histograms.
    pub fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, Distribution)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, Distribution::encode)
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, V)>,
        encode: impl Fn(&V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        // The full stop is what registered metrics get, too.
        let mut family = self.0.encode_descriptor(name, &format!("{help}."), None, kind)?;
        samples.try_for_each(|(labels, value)| encode(&value, family.encode_family(&labels)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::collector::Collector;

    use super::*;
    use crate::telemetry::{Histogram, Registry};

    #[derive(Debug)]
    struct Sample;

    impl Collector for Sample {
        fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
            let histogram = Histogram::default();
            histogram.record(Duration::from_millis(3));
            histogram.record(Duration::from_secs(100));
            let mut families = Families::new(encoder);
            families.counters("calls", "Calls", [([("to", "a\"b")], 1u64), ([("to", "c\nd")], 2)])?;
            families.gauges("none", "Not there", Vec::<([(&str, &str); 1], u32)>::new())?;
            families.gauges("age_seconds", "Age", [([("prefix", "/services/")], 0.5)])?;
            families.counters("busy_seconds", "Time", [([("to", "a")], 1.5)])?;
            families.histograms("took_seconds", "Time", [([("service", "greeter")], histogram.distribution())])
        }
    }

    #[test]
    fn families_are_encoded_in_one_piece_with_labels_escaped() {
        let registry = Registry::default();
        registry.register_collector(Sample);
        let page = registry.encode();
        let expected = "\
            # HELP calls Calls.\n\
            # TYPE calls counter\n\
            calls_total{to=\"a\\\"b\"} 1\n\
            calls_total{to=\"c\\nd\"} 2\n\
            # HELP age_seconds Age.\n\
            # TYPE age_seconds gauge\n\
            age_seconds{prefix=\"/services/\"} 0.5\n\
            # HELP busy_seconds Time.\n\
            # TYPE busy_seconds counter\n\
            busy_seconds_total{to=\"a\"} 1.5\n\
            # HELP took_seconds Time.\n\
            # TYPE took_seconds histogram\n\
            took_seconds_sum{service=\"greeter\"} 100.003\n\
            took_seconds_count{service=\"greeter\"} 2\n\
            took_seconds_bucket{le=\"0.00025\",service=\"greeter\"} 0\n";
        assert!(page.starts_with(expected), "{page}");
        assert!(page.contains("took_seconds_bucket{le=\"0.004\",service=\"greeter\"} 1\n"), "{page}");
        assert!(page.contains("took_seconds_bucket{le=\"65.536\",service=\"greeter\"} 1\n"), "{page}");
        assert!(page.ends_with("took_seconds_bucket{le=\"+Inf\",service=\"greeter\"} 2\n# EOF\n"), "{page}");
    }
}
