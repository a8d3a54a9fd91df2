//! What policies are given: the lists and snapshots of `filters/ABI.md`, encoded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fault::Fault;
use super::vm::Vm;
use crate::registry::Instance;
use crate::table::{Endpoint, EndpointState, Endpoints};

/// Endpoints, as an instance is told them.
#[derive(Debug, Default)]
pub struct EndpointList {
    encoded: Vec<u8>,
    states: Vec<Arc<EndpointState>>,
}

impl EndpointList {
    /// The list of these endpoints, in their order.
    pub fn new(endpoints: &Endpoints) -> Self {
        let mut out = Encoder(Vec::with_capacity(4 + 96 * endpoints.len()));
        out.number(endpoints.len());
        for endpoint in endpoints.iter() {
            encode(&mut out, endpoint);
        }
        EndpointList { encoded: out.0, states: endpoints.iter().map(|e| e.state.clone()).collect() }
    }

    /// Tells them to an instance, unless that is the one that was told last.
    pub fn tell(&self, vm: &mut Vm, told: &mut u64) -> Result<(), Fault> {
        if *told == vm.id() {
            return Ok(());
        }
        vm.endpoints(&self.encoded, self.states.clone())?;
        *told = vm.id();
        Ok(())
    }
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn number(&mut self, n: impl TryInto<u32>) {
        self.0.extend_from_slice(&n.try_into().unwrap_or(u32::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

fn encode(out: &mut Encoder, endpoint: &Endpoint) {
    let Instance { id, version, zone, tags, metadata, .. } = &*endpoint.instance;
    out.number(endpoint.id.0);
    // The registered one: what a policy made of it is no news to it.
    out.number(endpoint.instance.weight);
    out.number(endpoint.state.share());
    out.number(u32::from(endpoint.state.is_unreachable()));
    out.text(&endpoint.label);
    for text in [id, version, zone] {
        out.text(text);
    }
    out.number(tags.len());
    tags.iter().for_each(|tag| out.text(tag));
    out.number(metadata.len());
    for (key, value) in metadata {
        out.text(key);
        out.text(value);
    }
}

/// What an endpoint did since the last tick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its probes: 0 none or no answer yet, 1 succeed, 2 fail.
    pub probes: u32,
    /// Calls that ended.
    pub calls: u64,
    /// Microseconds that these took in all.
    pub micros: u64,
    /// Of these, by gRPC status, the last for any other number.
    pub grpc: [u64; 18],
    /// Of these, by HTTP class, the last for no response.
    pub http: [u64; 6],
}

impl Sample {
    /// What was added since then.
    pub fn since(&self, then: &Sample) -> Sample {
        let less = |now: &[u64], then: &[u64], place: &mut [u64]| {
            for ((place, now), then) in place.iter_mut().zip(now).zip(then) {
                *place = now.saturating_sub(*then);
            }
        };
        let mut since = Sample {
            probes: self.probes,
            calls: self.calls.saturating_sub(then.calls),
            micros: self.micros.saturating_sub(then.micros),
            ..Sample::default()
        };
        less(&self.grpc, &then.grpc, &mut since.grpc);
        less(&self.http, &then.http, &mut since.http);
        since
    }
}

/// A snapshot of all endpoints, in the order of the list.
pub fn snapshot(endpoints: &Endpoints, millis: u32, samples: &[Sample]) -> Vec<u8> {
    let mut out = Encoder(Vec::with_capacity(8 + 224 * endpoints.len()));
    out.number(endpoints.len());
    out.number(millis);
    for (endpoint, sample) in endpoints.iter().zip(samples) {
        out.number(endpoint.id.0);
        out.number(endpoint.state.in_flight.load(Ordering::Relaxed));
        out.number(sample.probes);
        out.number(u32::from(endpoint.state.is_unreachable()));
        let counts = [sample.calls, sample.micros].into_iter().chain(sample.grpc).chain(sample.http);
        counts.for_each(|n| out.0.extend_from_slice(&n.to_le_bytes()));
    }
    out.0
}
