//! The contract of etcd's API on the servers at hand and on the embedded one: `make interop` runs it on current ones.

use crate::{
    contract::{self, Failures, Target},
    harness::{Version, embedded},
};

/// Runs an area on every server that has to keep the contract, each time on a fresh one.
async fn everywhere(area: impl AsyncFn(&Target) -> Failures) {
    let mut failures = contract::on_real(Version::LOCAL, &area).await;
    let embedded = embedded::start().await;
    failures.extend(area(&Target::new("embedded", embedded.address())).await);
    contract::none(&failures);
}

contract::tests!(everywhere);
