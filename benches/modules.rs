//! What modules cost: a pick beside the native ones, a filter's share of an exchange, an update of ten thousand endpoints,
//! an instance, and loading from the cache.
//!
//!     make filters
//!     cargo bench --bench modules

#[path = "support/endpoints.rs"]
mod endpoints;

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use endpoints::endpoints;
use http::{Request, Response};
use tokio::runtime::{Builder, LocalOptions, Runtime};
use waypost::balance::{Balancer, Call, Picker, Policy};
use waypost::route::OnError;
use waypost::table::Table;
use waypost::telemetry::Registry;
use waypost::wasm::{Bound, Catalog, Chain, Config, Direction, Exchange, Facts, Filter, Need, Role, Use, Vm};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/filters/target/modules");

/// A module with a configuration, as the proxy has it.
fn bound(module: &str, role: Role, config: &str) -> Arc<Bound> {
    assert!(Path::new(FOLDER).is_dir(), "there are no modules; `make filters` builds them");
    let catalog =
        Catalog::new(Config { folder: FOLDER.into(), ..Config::default() }, 1, Table::new(), &Registry::default());
    let used = Use { module: module.to_owned(), config: config.to_owned() };
    let need = Need { key: "bench".to_owned(), role, used: used.clone() };
    let runtime = Runtime::new().expect("a runtime");
    let prepared = runtime.block_on(catalog.prepare(vec![need]));
    prepared.expect("a module of use").remove(&used).expect("the module")
}

fn pick(c: &mut Criterion) {
    let zone = r#"{"zone": "a"}"#;
    for count in [3, 64, 1024] {
        let endpoints = endpoints(count);
        let pickers: [(&str, Box<dyn Picker>); 4] = [
            ("weighted", Balancer::Weighted.picker(1)),
            ("least_request", Balancer::LeastRequest.picker(1)),
            ("zone_aware", Box::new(Policy::new(bound("zone_aware", Role::Balance, zone), 1))),
            ("bounded_hash", Box::new(Policy::new(bound("bounded_hash", Role::Balance, "{}"), 1))),
        ];
        let mut group = c.benchmark_group("pick");
        for (name, mut picker) in pickers {
            picker.update(&endpoints);
            let mut hash = 0u64;
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    picker.pick(black_box(&Call { hash, ..Call::default() }))
                });
            });
        }
    }
}

fn update(c: &mut Criterion) {
    let endpoints = endpoints(10_000);
    let mut picker = Policy::new(bound("zone_aware", Role::Balance, r#"{"zone": "a"}"#), 1);
    c.bench_function("update/zone_aware/10000", |b| {
        b.iter(|| {
            picker.update(black_box(&endpoints));
            picker.pick(&Call::default())
        });
    });
}

fn filter(c: &mut Criterion) {
    let bound = bound("header_auth", Role::Filter, AUTH);
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    runtime.block_on(async {
        let filters = [(Filter::new(bound, Rc::new(|_| Box::pin(async { None }))), OnError::Deny)];
        let head = Request::post("http://greeter/waypost.demo.Greeter/Hello")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "bench")
            .header("authorization", "Bearer bench-bench-bench")
            .body(())
            .expect("a request")
            .into_parts()
            .0;
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let cycle = async || {
            let facts = Facts { source: nobody, ..Facts::example() };
            let chain = Chain::new(Exchange::new(facts), Duration::from_secs(30), 1 << 20);
            chain.join(&filters).expect("a filter that works");
            chain.exchange().request = Some(head.clone());
            chain.head(Direction::Request, 0, false).await.expect("a request that passes");
            let request = chain.exchange().request.clone();
            chain.exchange().response = Some(Response::new(()).into_parts().0);
            chain.head(Direction::Response, 0, false).await.expect("a response that passes");
            request
        };
        // Criterion does not know of this runtime; nothing here ever waits.
        c.bench_function("exchange/header_auth", |b| {
            b.iter(|| futures_util::FutureExt::now_or_never(cycle()).expect("nothing to wait for"));
        });
        c.bench_function("exchange/none", |b| b.iter(|| black_box(head.clone())));
    });
}

const AUTH: &str = r#"{"tokens": [{"name": "bench", "token": "bench-bench-bench"}]}"#;

fn life(c: &mut Criterion) {
    let bound = bound("zone_aware", Role::Balance, r#"{"zone": "a"}"#);
    let config = bytes::Bytes::from_static(br#"{"zone": "a"}"#);
    c.bench_function("instance/zone_aware", |b| b.iter(|| Vm::new(bound.module().clone(), &config)));
    let runtime = Runtime::new().expect("a runtime");
    let catalog =
        Catalog::new(Config { folder: FOLDER.into(), ..Config::default() }, 1, Table::new(), &Registry::default());
    let used = Use { module: "zone_aware".to_owned(), config: r#"{"zone": "a"}"#.to_owned() };
    let need = Need { key: "bench".to_owned(), role: Role::Balance, used };
    // Each round forgets the module, and finds it in the cache again.
    c.bench_function("load/from the cache", |b| {
        b.iter(|| {
            runtime.block_on(catalog.prepare(Vec::new())).expect("nothing");
            runtime.block_on(catalog.prepare(vec![need.clone()])).expect("a module of use")
        });
    });
}

criterion_group!(benches, pick, update, filter, life);
criterion_main!(benches);
