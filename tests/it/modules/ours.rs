//! The modules that come with Waypost, each in the whole proxy.

use std::collections::BTreeMap;

use super::{Modules, call};
use crate::harness::{
    Backend, Client, Scene,
    backend::Mood,
    client::{self, full},
    eventually,
    grpc::text,
    scene::key,
    tools::project,
};

/// A folder with one of the modules that `make filters` builds.
fn built(name: &str) -> Modules {
    let path = project("filters/target/modules").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make filters`", path.display()));
    Modules::new(&[(name, bytes)])
}

/// Registers an instance with more than its address.
async fn register(scene: &Scene, backend: &Backend, metadata: &str) {
    let value = format!(r#"{{"Op":0,"Addr":"{}","Metadata":{{{metadata}}}}}"#, backend.address);
    scene.etcd.put(&key("greeter", backend), &value).await;
}

async fn counts(client: &Client, count: usize, headers: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let mut by = BTreeMap::new();
    for _ in 0..count {
        let reply = call(client, headers).await;
        if reply.headers.contains_key("x-instance") {
            *by.entry(reply.instance().to_owned()).or_default() += 1;
        }
    }
    by
}

async fn no_failures(scene: &Scene) {
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0, "{:?}", scene.waypost.log());
}

#[tokio::test]
async fn zone_aware() {
    let (near, far) = (Backend::h2c("near").await, Backend::h2c("far").await);
    let modules = built("zone_aware");
    let more = "services: {default: {balance: zone_aware, balance_config: {zone: a, spill_at: 4}}}\n";
    let scene = modules.scene(&[], more).await;
    register(&scene, &near, r#""zone":"a""#).await;
    register(&scene, &far, r#""zone":"b""#).await;
    scene.knows(2).await;
    let client = scene.client().await;
    eventually("all calls to stay in the zone", || async {
        let by = counts(&client, 20, &[]).await;
        if by.len() == 1 && by.contains_key("near") { Ok(()) } else { Err(by) }
    })
    .await;
    // Busy: what the zone does not carry goes elsewhere.
    near.is(Mood::Slow(500));
    let replies = futures_util::future::join_all((0..20).map(|_| call(&client, &[]))).await;
    assert!(replies.iter().any(|reply| reply.instance() == "far"));
    near.is(Mood::Well);
    scene.etcd.delete(&key("greeter", &near)).await;
    scene.reaches("greeter", "far").await;
    no_failures(&scene).await;
}

#[tokio::test]
async fn bounded_hash() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    let modules = built("bounded_hash");
    let more = "services: {default: {balance: bounded_hash, hash_header: x-user}}\n";
    let scene = modules.scene(&backends.each_ref(), more).await;
    let clients = [scene.client().await, scene.client().await];
    let mut used = BTreeMap::new();
    for user in 0..30 {
        let user = format!("user {user}");
        let place = eventually("one place for a user, in all workers", || async {
            let mut by = counts(&clients[0], 3, &[("x-user", &user)]).await;
            by.extend(counts(&clients[1], 3, &[("x-user", &user)]).await);
            if by.len() == 1 { Ok(by.into_keys().next().unwrap()) } else { Err(by) }
        });
        *used.entry(place.await).or_insert(0) += 1;
    }
    assert_eq!(used.len(), 3, "{used:?}");
    // One user calls too much for one endpoint.
    let busy = (0..30).map(|_| call(&clients[0], &[("x-user", "user 1"), ("x-delay-ms", "300")]));
    let replies = futures_util::future::join_all(busy).await;
    let places: std::collections::BTreeSet<_> = replies.iter().map(client::Reply::instance).collect();
    assert!(places.len() > 1, "{places:?}");
    no_failures(&scene).await;
}

#[tokio::test]
async fn latency_weights() {
    let (fast, slow) = (Backend::h2c("fast").await, Backend::h2c("slow").await);
    slow.is(Mood::Slow(20));
    let modules = built("latency_weights");
    let more = "services: {default: {balance: latency_weights, balance_config: {half_life: 1s, min_calls: 3}}}\n";
    let scene = modules.scene(&[&fast, &slow], more).await;
    let client = scene.client().await;
    eventually("the fast one to get more", || async {
        let by = counts(&client, 40, &[]).await;
        let of = |name: &str| by.get(name).copied().unwrap_or_default();
        if of("fast") >= 3 * of("slow") && of("slow") > 0 { Ok(()) } else { Err(by) }
    })
    .await;
    no_failures(&scene).await;
}

#[tokio::test]
async fn status_health() {
    let (good, bad) = (Backend::h2c("good").await, Backend::h2c("bad").await);
    bad.is(Mood::Unavailable);
    let modules = built("status_health");
    let more = "services: {default: {health: {policy: status_health, outlier: {consecutive: 0}, \
                policy_config: {min_calls: 10, ejection: 2s, window: 2s}}}}\n";
    let scene = modules.scene(&[&good, &bad], more).await;
    let client = scene.client().await;
    let failed = async |count: usize| {
        let mut failed = 0;
        for _ in 0..count {
            failed += usize::from(call(&client, &[]).await.status != 0);
        }
        failed
    };
    eventually("the bad one to be out", || async {
        let failed = failed(20).await;
        if failed == 0 { Ok(()) } else { Err(failed) }
    })
    .await;
    let health = client::get(scene.waypost.admin, "/health").await.unwrap().1;
    assert!(health.contains("unhealthy for"), "{health}");
    bad.is(Mood::Well);
    eventually("it to come back", || async {
        let by = counts(&client, 10, &[]).await;
        if by.len() == 2 { Ok(()) } else { Err(by) }
    })
    .await;
    no_failures(&scene).await;
}

#[tokio::test]
async fn sticky_canary() {
    let (old, new) = (Backend::h2c("old").await, Backend::h2c("new").await);
    let modules = built("sticky_canary");
    let more = "filters: [{module: sticky_canary, config: {percent: 30, header: x-user-id, version: v2}}]\n";
    let scene = modules.scene(&[], more).await;
    register(&scene, &old, r#""version":"v1""#).await;
    register(&scene, &new, r#""version":"v2""#).await;
    scene.knows(2).await;
    let clients = [scene.client().await, scene.client().await];
    let mut chosen = 0;
    for user in 0..200 {
        let user = format!("user-{user}");
        let by = counts(&clients[user.len() % 2], 4, &[("x-user-id", &user)]).await;
        // Who is chosen is always there; the others are dealt as ever.
        chosen += usize::from(by.get("new") == Some(&4));
    }
    // 30 % of 200, and a few of the others by chance: each has four calls in turn over both.
    assert!((35..=90).contains(&chosen), "{chosen} of 200");
    no_failures(&scene).await;
}

#[tokio::test]
async fn header_auth() {
    let backend = Backend::h2c("one").await;
    let modules = built("header_auth");
    let more = "filters:\n- module: header_auth\n  config:\n    tokens: [{name: billing, token: b1lling-0f-shared-s3cret}]\n    caller_header: x-echo-caller\n";
    let scene = modules.scene(&[&backend], more).await;
    let token = ("authorization", "Bearer b1lling-0f-shared-s3cret");
    for client in [Client::h1(scene.waypost.data).await, scene.client().await] {
        for headers in [&[][..], &[("authorization", "Bearer wrong-token-of-length")], &[token, token]] {
            assert_eq!(client.http("GET", "http://greeter/", headers, full("")).await.status, 401, "{headers:?}");
        }
        let answer = client.http("GET", "http://greeter/", &[token, ("x-echo-caller", "root")], full("")).await;
        assert_eq!((answer.status, text(&answer.headers, "x-echo-caller")), (200, Some("billing")));
        assert!(!answer.text().contains("s3cret"), "the endpoint does not see the token: {}", answer.text());
    }
    let client = scene.client().await;
    assert_eq!(call(&client, &[]).await.status, 16);
    assert_eq!(call(&client, &[token]).await.status, 0);
    no_failures(&scene).await;
}
