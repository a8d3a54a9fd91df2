//! One module that weighs or judges the endpoints of one service: what it is shown on each tick, and what is made of its
//! answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Health;
use crate::table::{Endpoint, EndpointId, Endpoints, Slot};
use crate::wasm::{Bound, Callout, EndpointList, Fault, Live, Reply, Sample, Vm, snapshot};

/// What a policy holds of an endpoint: whether it is healthy, and why.
pub(super) type Opinion = (bool, String);

pub(super) struct Runner {
    slot: Arc<Slot>,
    live: Live,
    weighs: bool,
    judges: bool,
    health: Health,
    list: EndpointList,
    /// The instance that has been told the list.
    told: u64,
    generation: u64,
    endpoints: Arc<Endpoints>,
    /// What endpoints' counters showed at the last tick.
    base: HashMap<EndpointId, Sample>,
    last: Instant,
    /// It has said something that is to be taken back at the end.
    opined: bool,
}

impl Runner {
    pub(super) fn new(slot: Arc<Slot>, bound: Arc<Bound>, weighs: bool, judges: bool, health: Health) -> Self {
        let mut runner = Runner {
            slot,
            live: Live::new(bound),
            weighs,
            judges,
            health,
            list: EndpointList::default(),
            told: 0,
            generation: 0,
            endpoints: Arc::default(),
            base: HashMap::new(),
            last: Instant::now(),
            opined: false,
        };
        runner.refresh();
        runner.base = runner.totals();
        runner
    }

    /// How often the module wants to be asked.
    pub(super) fn period(&mut self) -> Option<Duration> {
        self.live.vm().and_then(|vm| vm.period())
    }

    /// The calls that it wants made.
    pub(super) fn callouts(&mut self) -> Vec<Callout> {
        self.live.vm().map(Vm::callouts).unwrap_or_default()
    }

    /// Says what came of one.
    pub(super) fn reply(&mut self, callout: &Callout, reply: Option<Reply>) {
        let answer = self.live.vm().map(|vm| vm.reply(callout, reply));
        self.note(answer);
    }

    /// Asks it.
    pub(super) fn tick(&mut self, now: Instant) {
        self.refresh();
        let totals = self.totals();
        let none = Sample::default();
        let samples: Vec<Sample> = self
            .endpoints
            .iter()
            .map(|e| totals.get(&e.id).unwrap_or(&none).since(self.base.get(&e.id).unwrap_or(&none)))
            .collect();
        let millis = u32::try_from(now.duration_since(self.last).as_millis()).unwrap_or(u32::MAX);
        (self.base, self.last) = (totals, now);
        let seen = snapshot(&self.endpoints, millis, &samples);
        let told = match self.live.vm() {
            Some(vm) => self.list.tell(vm, &mut self.told).and_then(|()| vm.tick()),
            None => return self.retract(),
        };
        if self.note(Some(told)).is_none() {
            return self.retract();
        }
        if self.weighs {
            let answer = self.live.vm().map(|vm| vm.judge(&seen, false));
            match self.note(answer) {
                Some(Some(weights)) => self.weigh(weights.into_iter().map(Some)),
                // It leaves them as they are.
                Some(None) => {}
                None => self.weigh(std::iter::repeat(None)),
            }
        }
        if self.judges {
            let answer = self.live.vm().map(|vm| vm.judge(&seen, true).and_then(check));
            let verdicts = self.note(answer).flatten();
            self.judge(&verdicts.unwrap_or_default());
        }
    }

    /// Takes over what changed in the slot.
    fn refresh(&mut self) {
        let generation = self.slot.generation();
        if self.generation != generation {
            self.generation = generation;
            self.endpoints = self.slot.endpoints();
            self.list = EndpointList::new(&self.endpoints);
            self.told = 0;
        }
    }

    fn totals(&self) -> HashMap<EndpointId, Sample> {
        self.endpoints.iter().map(|e| (e.id, total(e))).collect()
    }

    /// What was answered; none if it failed, which is noted.
    fn note<T>(&mut self, answer: Option<Result<T, Fault>>) -> Option<T> {
        match answer? {
            Ok(answer) => Some(answer),
            Err(fault) => {
                self.live.failed(&fault);
                None
            }
        }
    }

    fn weigh(&self, weights: impl Iterator<Item = Option<u32>>) {
        let changes = self.endpoints.iter().zip(weights).filter(|(e, weight)| e.state.set_policy_weight(*weight));
        if changes.count() > 0 {
            self.slot.touch();
        }
    }

    fn judge(&mut self, verdicts: &[u32]) {
        let mut opinions = Vec::new();
        let module = self.live.bound().module().name().clone();
        for ((endpoint, verdict), index) in self.endpoints.iter().zip(verdicts).zip(0..) {
            let healthy = match verdict {
                1 => true,
                2 => false,
                _ => continue,
            };
            let reason = self.live.vm().and_then(|vm| vm.reason(index));
            let reason = reason.map_or_else(|| format!("policy {module}"), |why| format!("policy {module}: {why}"));
            opinions.push((endpoint.id, (healthy, reason)));
        }
        if self.opined || !opinions.is_empty() {
            self.opined = !opinions.is_empty();
            self.health.opine(self.slot.service(), opinions);
        }
    }

    /// Takes back all that it said.
    fn retract(&mut self) {
        if self.weighs {
            self.weigh(std::iter::repeat(None));
        }
        if self.judges {
            self.judge(&[]);
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.retract();
    }
}

fn total(endpoint: &Endpoint) -> Sample {
    let state = &endpoint.state;
    let (calls, micros) = state.ended();
    let (grpc, http) = state.statuses.counts();
    let mut sample = Sample { probes: state.probes(), calls, micros, grpc, ..Sample::default() };
    sample.http[..5].copy_from_slice(&http);
    sample.http[5] = state.unanswered();
    sample
}

/// 0 is no opinion, 1 healthy, 2 unhealthy.
fn check(verdicts: Option<Vec<u32>>) -> Result<Option<Vec<u32>>, Fault> {
    match verdicts.iter().flatten().find(|verdict| **verdict > 2) {
        Some(wrong) => Err(Fault::Answer { callback: "waypost_health", why: format!("{wrong} is not 0, 1 or 2") }),
        None => Ok(verdicts),
    }
}
