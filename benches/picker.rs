//! What a pick and an update cost: a pick is paid by every call, an update by every change of a service, per worker.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use waypost::balance::{Balancer, Call};
use waypost::registry::Instance;
use waypost::table::{Endpoint, EndpointId, EndpointState, Endpoints};

fn endpoints(count: u32) -> Endpoints {
    let endpoint = |id: u32| {
        let address = format!("10.{}.{}.{}:8080", id >> 16, id >> 8 & 255, id & 255);
        Endpoint {
            id: EndpointId(id),
            label: address.as_str().into(),
            instance: Arc::new(Instance {
                service: "pay".into(),
                id: id.to_string(),
                address: address.parse().expect("an address"),
                weight: id % 7 + 1,
                version: String::new(),
                zone: String::new(),
                tags: Vec::new(),
                protocol: None,
                tls: None,
                metadata: BTreeMap::new(),
            }),
            lease: 0,
            revision: 0,
            doubted: false,
            state: Arc::new(EndpointState::default()),
        }
    };
    Endpoints::new((0..count).map(endpoint).collect())
}

fn pick(c: &mut Criterion) {
    for (name, balancer) in Balancer::ALL {
        let mut group = c.benchmark_group(format!("pick/{name}"));
        for count in [3, 64, 1024] {
            let mut picker = balancer.picker(1);
            picker.update(&endpoints(count));
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| picker.pick(black_box(&Call::default())));
            });
        }
        group.bench_function("64, two tried", |b| {
            let mut picker = balancer.picker(1);
            picker.update(&endpoints(64));
            b.iter(|| picker.pick(black_box(&Call { tried: &[7, 21] })));
        });
    }
}

fn update(c: &mut Criterion) {
    for (name, balancer) in Balancer::ALL {
        let endpoints = endpoints(10_000);
        let mut picker = balancer.picker(1);
        c.bench_function(&format!("update/{name}/10000"), |b| b.iter(|| picker.update(black_box(&endpoints))));
    }
}

criterion_group!(benches, pick, update);
criterion_main!(benches);
