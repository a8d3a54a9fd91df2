//! The contract of etcd's API on current servers: the same cases as on those at hand.

use crate::{
    contract::{self, Failures, Target},
    harness::Version,
};

async fn on_current(area: impl AsyncFn(&Target) -> Failures) {
    contract::none(&contract::on_real([Version::Current35, Version::Current36], &area).await);
}

contract::tests!(on_current);
