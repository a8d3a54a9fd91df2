//! A module that picks. Where it has no answer, or a wrong one, `weighted` picks in its place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::weighted::Weighted;
use super::{Balancer, Call, NoPick, Outcome, Picker};
use crate::table::Endpoints;
use crate::wasm::{Bound, Callout, EndpointList, Live, Reply, Use};

/// Who says which endpoint takes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// One that is built in.
    Native(Balancer),
    /// A module.
    Module(Use),
}

impl Balance {
    /// Who picks where a module leaves it to others.
    pub fn native(&self) -> Balancer {
        match self {
            Balance::Native(balancer) => *balancer,
            Balance::Module(_) => Balancer::Weighted,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Balance::Native(balancer) => balancer.fmt(f),
            Balance::Module(used) => f.write_str(&used.module),
        }
    }
}

impl Default for Balance {
    fn default() -> Self {
        Balance::Native(Balancer::default())
    }
}

/// The picker of a policy: an instance of its own for each worker and service.
pub struct Policy {
    live: Live,
    endpoints: EndpointList,
    /// The instance that has been told the endpoints.
    told: u64,
    /// When it was called last because it wanted to be from time to time.
    ticked: Instant,
    native: Weighted,
    random: fastrand::Rng,
}

impl Policy {
    /// A picker without endpoints.
    pub fn new(bound: Arc<Bound>, seed: u64) -> Self {
        Policy {
            live: Live::new(bound),
            endpoints: EndpointList::default(),
            told: 0,
            ticked: Instant::now(),
            native: Weighted::new(seed),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn ask(&mut self, call: &Call<'_>) -> Option<u32> {
        let random = self.random.u64(..);
        let vm = self.live.vm()?;
        // The instance is another one only if there has been none in between.
        let picked =
            self.endpoints.tell(vm, &mut self.told).and_then(|()| vm.pick(call.hash, random, call.attempt, call.tried));
        picked.unwrap_or_else(|fault| {
            self.live.failed(&fault);
            None
        })
    }
}

impl Picker for Policy {
    fn update(&mut self, endpoints: &Endpoints) {
        self.native.update(endpoints);
        self.endpoints = EndpointList::new(endpoints);
        self.told = 0;
    }

    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick> {
        match self.ask(call) {
            Some(position) => Ok(position),
            None => self.native.pick(call),
        }
    }

    fn result(&mut self, position: u32, outcome: &Outcome) {
        let Some(vm) = self.live.vm() else { return };
        let heard =
            self.endpoints.tell(vm, &mut self.told).and_then(|()| vm.result(position, outcome.status, outcome.took));
        if let Err(fault) = heard {
            self.live.failed(&fault);
        }
    }

    fn wants_results(&self) -> bool {
        self.live.bound().module().kinds().results
    }

    fn period(&mut self) -> Option<Duration> {
        self.live.vm()?.period()
    }

    fn tick(&mut self) -> Vec<Callout> {
        let Some(vm) = self.live.vm() else { return Vec::new() };
        let mut ticked = self.endpoints.tell(vm, &mut self.told);
        if ticked.is_ok() && vm.period().is_some_and(|period| self.ticked.elapsed() >= period) {
            self.ticked = Instant::now();
            ticked = vm.tick();
        }
        let callouts = vm.callouts();
        if let Err(fault) = ticked {
            self.live.failed(&fault);
        }
        callouts
    }

    fn reply(&mut self, callout: &Callout, reply: Option<Reply>) {
        let Some(vm) = self.live.vm() else { return };
        let heard = self.endpoints.tell(vm, &mut self.told).and_then(|()| vm.reply(callout, reply));
        if let Err(fault) = heard {
            self.live.failed(&fault);
        }
    }
}
