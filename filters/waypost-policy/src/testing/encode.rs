//! Writes what the proxy would write into a module's memory.

use crate::{Endpoint, Probes, Snapshot};

/// The data of `waypost_endpoints`.
#[must_use]
pub fn encode_endpoints(endpoints: &[Endpoint]) -> Vec<u8> {
    let mut data = Vec::new();
    number(&mut data, endpoints.len());
    for endpoint in endpoints {
        for field in [endpoint.id, endpoint.weight, endpoint.share, endpoint.flags] {
            data.extend(field.to_le_bytes());
        }
        for field in [&endpoint.address, &endpoint.instance, &endpoint.version, &endpoint.zone] {
            text(&mut data, field);
        }
        number(&mut data, endpoint.tags.len());
        endpoint.tags.iter().for_each(|tag| text(&mut data, tag));
        number(&mut data, endpoint.metadata.len());
        for (name, value) in &endpoint.metadata {
            text(&mut data, name);
            text(&mut data, value);
        }
    }
    data
}

/// The data of `waypost_weights` and `waypost_health`.
#[must_use]
pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut data = Vec::new();
    number(&mut data, snapshot.loads.len());
    number(&mut data, snapshot.elapsed.as_millis() as usize);
    for load in &snapshot.loads {
        let probes = match load.probes {
            Probes::Unknown => 0,
            Probes::Succeed => 1,
            Probes::Fail => 2,
        };
        for field in [load.id, load.in_flight, probes, u32::from(load.unreachable)] {
            data.extend(field.to_le_bytes());
        }
        let counters = [load.calls, load.took.as_micros() as u64].into_iter().chain(load.grpc).chain(load.http);
        counters.for_each(|counter| data.extend(counter.to_le_bytes()));
    }
    data
}

fn number(data: &mut Vec<u8>, number: usize) {
    data.extend((number as u32).to_le_bytes());
}

fn text(data: &mut Vec<u8>, text: &str) {
    number(data, text.len());
    data.extend(text.as_bytes());
}
