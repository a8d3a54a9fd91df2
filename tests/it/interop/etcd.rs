//! Current etcd servers, and an outage as long as the README promises.

use std::time::Duration;

use crate::{harness::Version, scenarios};

const CURRENT: [Version; 2] = [Version::Current35, Version::Current36];

#[tokio::test]
async fn puts_deletes_and_leases_of_current_servers() {
    for version in CURRENT {
        scenarios::puts_and_deletes(version).await;
        scenarios::a_lease(version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_clusters_lose_members() {
    for version in CURRENT {
        scenarios::a_cluster_loses_members(version, Duration::from_secs(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_minutes_without_etcd() {
    scenarios::etcd_gone(Version::Current36, Duration::from_secs(300)).await;
}
