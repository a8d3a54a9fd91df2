//! When an endpoint of a service counts as healthy.

use std::time::Duration;

use crate::config::Section;
use crate::telemetry::GRPC_STATUSES;
use crate::wasm::Use;

/// How the health of one service's endpoints is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What endpoints are asked. Unset (`kind: off`): nothing.
    pub probe: Option<Probe>,
    /// What calls tell of an endpoint.
    pub outlier: Outlier,
    /// With a smaller share of healthy endpoints than this, in percent, all are used. 50; 0 to 100, 0 for never.
    pub panic_threshold: u8,
    /// How long the share of a new or returned endpoint grows from a tenth to the whole. Unset (`off`): it has the whole
    /// at once; 1 s to 1 h.
    pub slow_start: Option<Duration>,
    /// The module that judges endpoints. Unset: none.
    pub policy: Option<Use>,
}

/// What endpoints are asked, and what their answers mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The question.
    pub kind: Kind,
    /// From one probe of an endpoint to the next. 10 s; 100 ms to 1 h.
    pub interval: Duration,
    /// How much longer or shorter an interval may be, in percent, so that probes spread. 20; 0 to 90.
    pub jitter: u8,
    /// From the first packet to the answer. 1 s; 10 ms to 1 min.
    pub timeout: Duration,
    /// So many good answers in a row make an unhealthy endpoint healthy. 2; 1 to 100.
    pub rise: u32,
    /// So many bad answers in a row, or none in time, make a healthy endpoint unhealthy. 3; 1 to 100. The first answer
    /// of an endpoint counts by itself.
    pub fall: u32,
}

/// The question of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `grpc.health.v1.Health/Check`, which must answer SERVING.
    Grpc {
        /// Whose health is asked for; empty is the server's as a whole.
        service: String,
    },
    /// A GET.
    Http {
        /// The path, with its query.
        path: String,
        /// The host that it names. Empty: the service's name.
        host: String,
        /// The statuses that are good, as first and last.
        statuses: Vec<(u16, u16)>,
    },
    /// Whether a TCP connection comes about.
    Tcp,
}

/// What calls tell of an endpoint: one that fails where others do not is ejected for a while. The names, figures and
/// formulas are those of gRPC's proposal A50.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlier {
    /// So many gateway failures in a row eject an endpoint at once: connects that failed, streams that were reset or
    /// lost, answers of one of `statuses`. 5; 0 to 1,000, 0 for never.
    pub consecutive: u32,
    /// The gRPC statuses that are failures, by number. `UNAVAILABLE`. With `DEADLINE_EXCEEDED` among them, calls that
    /// the proxy ends at their deadline before an answer count too. Of other answers 502, 503 and 504 count.
    pub statuses: Vec<u32>,
    /// How often success rates and failure percentages are looked at, and over which time. 10 s; 1 s to 1 h.
    pub interval: Duration,
    /// How long the first ejection lasts; each further one lasts as much longer. 30 s; 1 s to 1 h.
    pub base_ejection: Duration,
    /// The longest ejection. 5 min; 1 s to 1 d.
    pub max_ejection: Duration,
    /// The largest share of a service's endpoints that may be ejected at a time, in percent; one may always, the last
    /// never. 10; 0 to 100, 0 for none at all.
    pub max_share: u8,
    /// Eject by success rate: so many thousandths of a standard deviation below the mean. 1,900; 0 to 10,000, 0 for never,
    /// which is the default.
    pub success_rate_deviation: u32,
    /// Eject by failure percentage: above so many percent of failed calls. 0 to 100, 0 for never, which is the default.
    pub failure_percentage: u8,
    /// Endpoints that must have had `min_calls` for either of the two. 5; 1 to 10,000.
    pub min_endpoints: u32,
    /// Calls in an interval that an endpoint must have had to be looked at by either. 100; 1 to 1,000,000.
    pub min_calls: u32,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_mins(60);

impl Config {
    /// Reads the section `health` of a service.
    pub fn read(section: &mut Section<'_>) -> Self {
        Config {
            probe: section.section("probe", Probe::read),
            outlier: section.section("outlier", Outlier::read),
            panic_threshold: section.integer("panic_threshold", 50, 0..=100),
            slow_start: section.optional_duration("slow_start", None, SECOND..=HOUR),
            policy: policy(section),
        }
    }
}

fn policy(section: &mut Section<'_>) -> Option<Use> {
    let module = section.optional("policy");
    let config = section.document("policy_config");
    match module {
        None if !config.is_empty() => {
            section.error("policy_config", "there is no `policy` that it could be for");
            None
        }
        module => module.map(|module| Use { module, config }),
    }
}

impl Default for Config {
    fn default() -> Self {
        crate::config::defaults(Config::read)
    }
}

impl Probe {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let kind =
            section.choice("kind", &[("off", None), ("grpc", Some(0)), ("http", Some(1)), ("tcp", Some(2))], None);
        let service = section.string("service", "");
        let path = section.string("path", "/");
        if !path.starts_with('/') {
            section.error("path", format!("must begin with a slash, is `{path}`"));
        }
        let host = section.string("host", "");
        if path.starts_with('/') && format!("http://service{path}").parse::<http::Uri>().is_err() {
            section.error("path", format!("`{}` cannot stand in a URL", path.escape_debug()));
        }
        if !host.is_empty() && host.parse::<http::uri::Authority>().is_err() {
            section.error("host", format!("`{}` is no host", host.escape_debug()));
        }
        let written = section.strings("statuses", &["200-299"]);
        let statuses: Option<Vec<_>> = written.iter().map(|text| statuses(text)).collect();
        if statuses.as_ref().is_none_or(Vec::is_empty) {
            section.error("statuses", "must be statuses or ranges of them, such as [200, 300-399]");
        }
        let probe = Probe {
            kind: match kind {
                Some(0) => Kind::Grpc { service },
                Some(1) => Kind::Http { path, host, statuses: statuses.unwrap_or_default() },
                _ => Kind::Tcp,
            },
            interval: section.duration("interval", 10 * SECOND, Duration::from_millis(100)..=HOUR),
            jitter: section.integer("jitter", 20, 0..=90),
            timeout: section.duration("timeout", SECOND, Duration::from_millis(10)..=MINUTE),
            rise: section.integer("rise", 2, 1..=100),
            fall: section.integer("fall", 3, 1..=100),
        };
        if section.has_any() && !section.has("kind") {
            section.error("", "asks for no probe without `kind`: add it, as one of grpc, http, tcp, or off");
        }
        kind.map(|_| probe)
    }
}

/// `204`, or `200-299`.
fn statuses(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (100..=last).contains(&first).then_some((first, last)).filter(|_| last <= 999)
}

impl Outlier {
    fn read(section: &mut Section<'_>) -> Self {
        let names = section.strings("statuses", &["UNAVAILABLE"]);
        let number = |name: &String| GRPC_STATUSES.iter().position(|status| status == name);
        let numbers: Option<Vec<_>> = names.iter().map(|name| number(name).filter(|&number| number > 0)).collect();
        if numbers.is_none() {
            section.error("statuses", "must be names of gRPC statuses but OK, such as [UNAVAILABLE, INTERNAL]");
        }
        let base_ejection = section.duration("base_ejection", 30 * SECOND, SECOND..=HOUR);
        let max_ejection = section.duration("max_ejection", 5 * MINUTE, SECOND..=24 * HOUR);
        if max_ejection < base_ejection {
            section.error("max_ejection", "must not be shorter than base_ejection");
        }
        Outlier {
            consecutive: section.integer("consecutive", 5, 0..=1_000),
            statuses: numbers.unwrap_or_default().into_iter().map(|number| number as u32).collect(),
            interval: section.duration("interval", 10 * SECOND, SECOND..=HOUR),
            base_ejection,
            max_ejection,
            max_share: section.integer("max_share", 10, 0..=100),
            success_rate_deviation: section.integer("success_rate_deviation", 0, 0..=10_000),
            failure_percentage: section.integer("failure_percentage", 0, 0..=100),
            min_endpoints: section.integer("min_endpoints", 5, 1..=10_000),
            min_calls: section.integer("min_calls", 100, 1..=1_000_000),
        }
    }

    /// Whether this gRPC status is a failure.
    pub fn is_failure(&self, status: u32) -> bool {
        self.statuses.contains(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("probe: {kind: icmp}", "must be one of"),
            (
                "probe: {interval: 1s}",
                "probe: asks for no probe without `kind`: add it, as one of grpc, http, tcp, or off",
            ),
            ("probe: {kind: http, path: health}", "must begin with a slash"),
            ("probe: {kind: http, path: '/a b'}", "cannot stand in a URL"),
            ("probe: {host: 'bad host'}", "is no host"),
            ("outlier: {base_ejection: 10m}", "must not be shorter than base_ejection"),
            ("probe: {statuses: [299-200]}", "such as [200, 300-399]"),
            ("probe: {statuses: []}", "such as [200, 300-399]"),
            ("outlier: {statuses: [OK]}", "gRPC statuses but OK"),
            ("outlier: {statuses: [14]}", "gRPC statuses but OK"),
            ("probe: {interval: 1ms}", "interval"),
        ] {
            let errors = config::parse(text, Config::read).unwrap_err().to_string();
            assert!(errors.contains(expected), "{text}: {errors}");
        }
    }

    #[test]
    fn statuses_are_read_as_ranges() {
        let text = "probe: {kind: http, statuses: [204, 300-399]}";
        let Kind::Http { statuses, .. } = config::parse(text, Config::read).unwrap().probe.unwrap().kind else {
            panic!()
        };
        assert_eq!(statuses, [(204, 204), (300, 399)]);
        assert!(Config::default().probe.is_none());
        for off in ["probe: {}", "probe: {kind: 'off', interval: 1s}"] {
            assert!(config::parse(off, Config::read).unwrap().probe.is_none(), "{off}");
        }
    }
}
