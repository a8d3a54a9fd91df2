//! The last five minutes of calls and failures. Counters are looked at every few seconds; nobody who carries calls does
//! anything for it. No clock and no I/O: what is looked at, and when, comes from outside.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::show::{Millis, Rate};
use crate::table::{EndpointId, Endpoints};
use crate::telemetry::Distribution;

/// How often counters are looked at.
pub(super) const STEP: Duration = Duration::from_secs(5);
/// Steps that are kept: five minutes.
const STEPS: usize = 60;
/// Steps after which quantiles begin anew. They are of one to two such spans, so that they follow and do not jump.
const SPAN: usize = 6;
/// Answers that are failures for those who look: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS, and 5xx.
const FAILURES: [u32; 5] = [2, 4, 13, 14, 15];

/// What was counted for a service since the process started.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// How long exchanges took.
    pub latency: Distribution,
    /// Exchanges that came to an end.
    pub ended: u64,
    /// Those of them that no endpoint answered, other than by their client's will.
    pub unanswered: u64,
}

/// Calls and failures of each step, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Steps(VecDeque<(u32, u32)>);

/// One thing that is called.
#[derive(Debug, Default)]
pub(super) struct Track {
    steps: Steps,
    seen: [u64; 3],
}

/// A service.
#[derive(Debug, Default)]
struct Service {
    track: Track,
    latency: Distribution,
    /// What was recorded when the span before this one began, and when this one did.
    spans: (Distribution, Distribution),
    age: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct History {
    services: HashMap<Arc<str>, Service>,
    endpoints: HashMap<EndpointId, Track>,
    modules: HashMap<Arc<str>, Track>,
    total: Steps,
}

/// What is shown of a thing that was never called.
static NEVER: Steps = Steps(VecDeque::new());

impl Steps {
    fn push(&mut self, step: (u64, u64)) {
        if self.0.len() == STEPS {
            self.0.pop_front();
        }
        let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.0.push_back((short(step.0), short(step.1)));
    }

    /// Calls in a second, now.
    pub(super) fn calls(&self) -> Rate {
        Rate(self.0.back().map_or(0.0, |step| f64::from(step.0)) / STEP.as_secs_f64())
    }

    /// Failures in a second, now.
    pub(super) fn failures(&self) -> Rate {
        Rate(self.0.back().map_or(0.0, |step| f64::from(step.1)) / STEP.as_secs_f64())
    }

    /// Calls of the last minute.
    pub(super) fn minute(&self) -> f64 {
        self.0.iter().rev().take(12).map(|step| f64::from(step.0)).sum()
    }

    /// A line for the calls and one for the failures, as an SVG of 120 by 20.
    pub(super) fn svg(&self) -> String {
        let most = self.0.iter().map(|step| step.0.max(step.1)).max().unwrap_or(0);
        if most == 0 {
            return String::new();
        }
        let mut svg = String::from("<svg class=\"spark\" viewBox=\"0 0 120 20\" aria-hidden=\"true\">");
        let mut line = |class: &str, of: &dyn Fn(&(u32, u32)) -> u32| {
            let _ = write!(svg, "<polyline class=\"{class}\" points=\"");
            for (step, x) in self.0.iter().zip(STEPS - self.0.len()..) {
                let y = 19.0 - 18.0 * f64::from(of(step)) / f64::from(most);
                let _ = write!(svg, "{},{y:.0} ", x * 2);
            }
            svg.push_str("\"/>");
        };
        line("calls", &|step| step.0);
        if self.0.iter().any(|step| step.1 > 0) {
            line("failures", &|step| step.1);
        }
        svg.push_str("</svg>");
        svg
    }
}

impl fmt::Display for Steps {
    /// For those who do not see the picture.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&(u32, u32)) -> u32| self.0.iter().map(|step| u64::from(of(step))).sum::<u64>();
        write!(f, "{} calls and {} failures in the last 5 min", sum(|step| step.0), sum(|step| step.1))
    }
}

impl Track {
    /// Takes what was counted so far, and gives back what came since the last time. Counters never go back; if a thing is
    /// counted anew, that is a start.
    fn take(&mut self, counted: [u64; 3]) -> [u64; 3] {
        let before = std::mem::replace(&mut self.seen, counted);
        std::array::from_fn(|i| counted[i].saturating_sub(before[i]))
    }
}

impl History {
    /// Takes what all counters show now.
    pub(super) fn sample<'a>(
        &mut self,
        calls: &BTreeMap<Arc<str>, Calls>,
        services: impl Iterator<Item = (&'a Arc<str>, Arc<Endpoints>)>,
    ) {
        let mut failed: HashMap<&str, u64> = HashMap::new();
        let mut known = std::mem::take(&mut self.endpoints);
        for (name, endpoints) in services {
            for endpoint in endpoints.iter() {
                let (answered, failures) = endpoint.state.statuses.totals(&FAILURES);
                let unanswered = endpoint.state.unanswered();
                if answered + unanswered == 0 {
                    continue;
                }
                let mut track = known.remove(&endpoint.id).unwrap_or_default();
                let [answered, failures, unanswered] = track.take([answered, failures, unanswered]);
                track.steps.push((answered + unanswered, failures + unanswered));
                self.endpoints.insert(endpoint.id, track);
                // A call that got no answer here may have got one elsewhere; the service counts those that got none.
                *failed.entry(name).or_default() += failures;
            }
        }
        let mut all = (0, 0);
        self.services.retain(|name, _| calls.contains_key(name));
        for (name, calls) in calls {
            let service = self.services.entry(name.clone()).or_default();
            let [ended, unanswered, _] = service.track.take([calls.ended, calls.unanswered, 0]);
            let step = (ended, (unanswered + failed.get(&**name).copied().unwrap_or(0)).min(ended));
            service.track.steps.push(step);
            service.latency = calls.latency.clone();
            if service.age.is_multiple_of(SPAN) {
                service.spans = (std::mem::take(&mut service.spans.1), calls.latency.clone());
            }
            service.age += 1;
            all = (all.0 + step.0, all.1 + step.1);
        }
        self.total.push(all);
    }

    /// Takes how often each module was called so far.
    pub(super) fn sample_modules(&mut self, modules: impl Iterator<Item = (Arc<str>, u64)>) {
        let mut known = std::mem::take(&mut self.modules);
        for (name, calls) in modules {
            let mut track = known.remove(&name).unwrap_or_default();
            let [calls, ..] = track.take([calls, 0, 0]);
            track.steps.push((calls, 0));
            self.modules.insert(name, track);
        }
    }

    /// One module.
    pub(super) fn module(&self, name: &str) -> &Steps {
        self.modules.get(name).map_or(&NEVER, |track| &track.steps)
    }

    /// All services together.
    pub(super) fn total(&self) -> &Steps {
        &self.total
    }

    /// One service.
    pub(super) fn service(&self, name: &str) -> &Steps {
        self.services.get(name).map_or(&NEVER, |service| &service.track.steps)
    }

    /// One endpoint.
    pub(super) fn endpoint(&self, id: EndpointId) -> &Steps {
        self.endpoints.get(&id).map_or(&NEVER, |track| &track.steps)
    }

    /// The times below which half and 99 of 100 exchanges of a service took, of the last half to whole minute.
    pub(super) fn quantiles(&self, name: &str) -> (Millis, Millis) {
        let Some(service) = self.services.get(name) else { return Default::default() };
        let recent = service.latency.since(&service.spans.0);
        (recent.quantile(0.5).into(), recent.quantile(0.99).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Endpoint, EndpointId};

    fn endpoint() -> Endpoint {
        let decoder = crate::registry::format::Decoder::new("/s/", crate::registry::format::FormatName::Raw, None);
        let kv = crate::etcd::KeyValue {
            key: b"/s/a/1".to_vec(),
            value: b"127.0.0.1:1".to_vec(),
            lease: 0,
            mod_revision: 1,
            create_revision: 1,
        };
        let crate::registry::format::Decoded::Instances(mut instances) = decoder.decode(&kv) else { panic!() };
        let instance = Arc::new(instances.remove(0));
        let label = instance.address.to_string().into();
        Endpoint { id: EndpointId(1), instance, label, lease: 0, revision: 1, doubted: false, state: Arc::default() }
    }

    #[test]
    fn steps_hold_what_came_between_two_looks() {
        let endpoint = endpoint();
        let name: Arc<str> = "a".into();
        let mut history = History::default();
        let mut look = |ended, unanswered| {
            let calls = Calls { ended, unanswered, ..Calls::default() };
            let endpoints = Arc::new(Endpoints::new(vec![endpoint.clone()]));
            history.sample(&BTreeMap::from([(name.clone(), calls)]), [(&name, endpoints)].into_iter());
            let of = |steps: &Steps| steps.0.back().copied();
            (of(history.service("a")), of(history.endpoint(EndpointId(1))), of(history.total()))
        };
        assert_eq!(look(0, 0), (Some((0, 0)), None, Some((0, 0))));
        (0..9).for_each(|_| endpoint.state.statuses.record_grpc(0));
        endpoint.state.statuses.record_grpc(14);
        assert_eq!(look(12, 2), (Some((12, 3)), Some((10, 1)), Some((12, 3))));
        assert_eq!(look(12, 2), (Some((0, 0)), Some((0, 0)), Some((0, 0))));
        // A call that got no answer here and one elsewhere is a failure of the endpoint only.
        endpoint.state.call_failed(false);
        endpoint.state.statuses.record_grpc(0);
        assert_eq!(look(13, 2), (Some((1, 0)), Some((2, 1)), Some((1, 0))));
        for _ in 0..100 {
            look(13, 2);
        }
        assert_eq!((history.total().0.len(), history.total().calls()), (STEPS, Rate(0.0)));
    }
}
