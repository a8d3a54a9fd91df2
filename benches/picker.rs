//! What a pick and an update cost: a pick is paid by every call, an update by every change of a service, per worker.

#[path = "support/endpoints.rs"]
mod endpoints;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use endpoints::endpoints;
use waypost::balance::{Balancer, Call};

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
            b.iter(|| picker.pick(black_box(&Call { tried: &[7, 21], ..Call::default() })));
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
