//! Which instance takes how many calls, exactly.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::harness::{Backend, Client, Scene, scene::key, until};

/// One worker has one picker, whose cycle is exact.
const ONE_WORKER: &str = "proxy: {workers: 1}\n";

#[tokio::test]
async fn round_robin_gives_each_of_three_a_third() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    let scene = Scene::with("greeter", &backends.each_ref(), ONE_WORKER).await;
    let client = scene.client().await;
    // Fifty at a time: exact for picks, whatever order the answers come in.
    assert_eq!(calls(&client, 9_000, 50).await, [("a", 3_000), ("b", 3_000), ("c", 3_000)].into());
}

#[tokio::test]
async fn each_worker_deals_evenly() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    let scene = Scene::with("greeter", &backends.each_ref(), "proxy: {workers: 2}\n").await;
    // Connections go to the worker that has the fewest: one to each. Each then gives exact thirds.
    for client in [scene.client().await, scene.client().await] {
        assert_eq!(calls(&client, 900, 30).await, [("a", 300), ("b", 300), ("c", 300)].into());
    }
}

#[tokio::test]
async fn weights_are_exact_over_whole_cycles() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    let weighted = format!("{ONE_WORKER}services: {{default: {{balance: weighted}}}}\n");
    let scene = Scene::with("greeter", &[], &weighted).await;
    for (backend, weight) in backends.iter().zip([1, 2, 5]) {
        scene.etcd.put(&key("greeter", backend), &weighing(backend, weight)).await;
    }
    scene.knows(3).await;
    let client = scene.client().await;
    assert_eq!(calls(&client, 8_000, 1).await, [("a", 1_000), ("b", 2_000), ("c", 5_000)].into());
    assert_eq!(calls(&client, 8_000, 40).await, [("a", 1_000), ("b", 2_000), ("c", 5_000)].into());

    // In the middle of a cycle another one's weight changes: the others keep their shares.
    calls(&client, 3, 1).await;
    let before = scene.revision().await;
    scene.etcd.put(&key("greeter", &backends[2]), &weighing(&backends[2], 3)).await;
    scene.passes(before).await;
    assert_eq!(calls(&client, 6_000, 1).await, [("a", 1_000), ("b", 2_000), ("c", 3_000)].into());
}

#[tokio::test]
async fn weight_zero_gets_no_new_calls_unless_all_have_it() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    let weighted = format!("{ONE_WORKER}services: {{default: {{balance: weighted}}}}\n");
    let scene = Scene::with("greeter", &[], &weighted).await;
    scene.etcd.put(&key("greeter", &backends[0]), &weighing(&backends[0], 0)).await;
    scene.etcd.put(&key("greeter", &backends[1]), &weighing(&backends[1], 7)).await;
    scene.knows(2).await;
    let client = scene.client().await;
    assert_eq!(calls(&client, 100, 10).await, [("b", 100)].into());
    let before = scene.revision().await;
    scene.etcd.put(&key("greeter", &backends[1]), &weighing(&backends[1], 0)).await;
    scene.passes(before).await;
    assert_eq!(calls(&client, 100, 10).await, [("a", 50), ("b", 50)].into());
}

#[tokio::test]
async fn least_request_prefers_who_has_less_to_do() {
    let backends = [Backend::h2c("busy").await, Backend::h2c("free").await];
    let more = "services: {default: {balance: least_request}}\n";
    let scene = Scene::with("greeter", &[&backends[0]], more).await;
    let holder = scene.client().await;
    let _held = Held(tokio::spawn(async move {
        let held = (0..20).map(|_| holder.grpc("greeter", "Unary", &[("x-delay-ms", "60000")], &[b""]));
        join_all(held).await;
    }));
    until("twenty calls to be held", || backends[0].seen.open() == 20).await;
    scene.etcd.put(&key("greeter", &backends[1]), &backends[1].url()).await;
    scene.reaches("greeter", "free").await;
    let client = scene.client().await;
    assert_eq!(calls(&client, 200, 1).await, [("free", 200)].into());
}

/// Calls that go on until this is dropped.
struct Held(tokio::task::JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn weighing(backend: &Backend, weight: u32) -> String {
    format!(r#"{{"Op":0,"Addr":"{}","Metadata":{{"weight":{weight}}}}}"#, backend.address)
}

/// Makes so many calls, so many at a time, and counts who answered.
async fn calls(client: &Client, count: usize, at_once: usize) -> BTreeMap<&'static str, usize> {
    let names = ["a", "b", "c", "busy", "free"];
    let mut by = BTreeMap::new();
    for _ in 0..count.div_ceil(at_once) {
        for reply in join_all((0..at_once).map(|_| client.unary("greeter"))).await {
            let reply = reply.unwrap();
            assert_eq!(reply.status, 0, "{}", reply.message);
            *by.entry(*names.iter().find(|name| **name == reply.instance()).unwrap()).or_default() += 1;
        }
    }
    by
}
