//! What the tests stand on: processes that end with the test, backends that count, a load that is counted by the client.
//!
//! Nothing here sleeps to wait for something: [`eventually`] asks again until it is so, and says what it waited for.

pub mod backend;
pub mod client;
pub mod demo;
pub mod embedded;
pub mod etcd;
pub mod etcdctl;
pub mod grpc;
pub mod load;
pub mod modules;
pub mod process;
pub mod scene;
pub mod tools;
pub mod waypost;

use std::{fmt::Debug, future::Future, time::Duration};

pub use backend::Backend;
pub use client::Client;
pub use demo::Demo;
pub use etcd::{Etcd, Version};
pub use etcdctl::Etcdctl;
pub use load::{Load, Rate, STEADY};
pub use scene::Scene;
pub use waypost::Waypost;

use tokio::time::{Instant, sleep};

/// How long anything may take that should be quick, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `probe` again and again until it is `Ok`; panics with the last `Err` when [`PATIENCE`] has passed.
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(error) => assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}: {error:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `is_so` holds.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || std::future::ready(if is_so() { Ok(()) } else { Err("not yet") })).await;
}
