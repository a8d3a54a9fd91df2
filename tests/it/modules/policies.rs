//! Modules that pick: who gets which call, and who does when they have no answer.

use std::collections::BTreeMap;

use super::{Modules, call, kit::policy, logged, pairs, reaches};
use crate::harness::{Backend, Client, Scene, eventually, scene::key};

/// Picks by the first byte of the configuration.
pub(super) fn picks(more: &str, body: &str) -> Vec<u8> {
    policy(&format!("{more} (func (export \"waypost_pick\") (param i32 i64 i64 i32) (result i32) {body})"))
}

/// The one with the highest address; addresses are as long as each other.
const LAST: &str = "(i32.sub (global.get $count) (i32.const 1))";
const COUNT: &str = "(global $count (mut i32) (i32.const 0))
    (func (export \"waypost_endpoints\") (param i32 i32 i32) (global.set $count (i32.load (local.get 1))))";

pub(super) async fn counts(client: &Client, count: usize) -> BTreeMap<String, usize> {
    let mut by = BTreeMap::new();
    for _ in 0..count {
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!(reply.status, 0, "{reply:?}");
        *by.entry(reply.instance().to_owned()).or_default() += 1;
    }
    by
}

/// Waits until a policy picks: its instance is made when its service is called first.
pub(super) async fn picked_by(scene: &Scene, instance: &str) {
    let client = scene.client().await;
    eventually(instance, || async {
        let now = counts(&client, 6).await;
        if now.len() == 1 && now.contains_key(instance) { Ok(()) } else { Err(now) }
    })
    .await;
}

fn balance(module: &str) -> String {
    format!("proxy: {{workers: 1}}\nservices: {{default: {{balance: {module}}}}}\n")
}

#[tokio::test]
async fn a_policy_picks_and_follows_the_table() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    let modules = Modules::new(&[("last", picks(COUNT, LAST))]);
    let scene = modules.scene(&[&backends[0]], &balance("last")).await;
    picked_by(&scene, "a").await;
    // Endpoints come in the order in which they were first seen.
    scene.etcd.put(&key("greeter", &backends[1]), &backends[1].url()).await;
    picked_by(&scene, "b").await;
    scene.etcd.delete(&key("greeter", &backends[1])).await;
    picked_by(&scene, "a").await;
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &["last"]).await, 0.0);
}

#[tokio::test]
async fn wrong_answers_cost_no_call() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    for (body, reason) in [
        ("(i32.const 99)", "answer"),
        ("(i32.const -2)", "answer"),
        ("unreachable", "trap"),
        ("(loop $l (br $l)) (i32.const 0)", "time"),
    ] {
        let modules = Modules::new(&[("wrong", picks("", body))]);
        let scene = modules.scene(&backends.each_ref(), &balance("wrong")).await;
        let client = scene.client().await;
        let reason = format!("reason=\"{reason}\"");
        eventually("a failure", || async {
            let by = counts(&client, 20).await;
            // The native balancer deals evenly in its place.
            assert_eq!(by.values().collect::<Vec<_>>(), [&10, &10], "{body}");
            let failures = scene.waypost.metric("waypost_module_failures_total", &["wrong", &reason]).await;
            if failures >= 1.0 { Ok(()) } else { Err(failures) }
        })
        .await;
        assert!(logged(&scene, &["waypost_pick", "wrong"]));
    }
}

#[tokio::test]
async fn a_policy_leaves_calls_to_the_native_balancer() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    let modules = Modules::new(&[("modest", picks("", "(i32.const -1)"))]);
    let scene = modules.scene(&[], &balance("modest")).await;
    for (backend, weight) in backends.iter().zip([1, 3]) {
        let value = format!(r#"{{"Op":0,"Addr":"{}","Metadata":{{"weight":{weight}}}}}"#, backend.address);
        scene.etcd.put(&key("greeter", backend), &value).await;
    }
    scene.knows(2).await;
    let by = counts(&scene.client().await, 80).await;
    assert_eq!(by, [("a".to_owned(), 20), ("b".to_owned(), 60)].into());
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_call_that_is_refused_is_picked_for_again() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    // The first that the call has not been at.
    let body = "(if (i32.eqz (call $is_tried (i32.const 0))) (then (return (i32.const 0))))
        (if (i32.eqz (call $is_tried (i32.const 1))) (then (return (i32.const 1)))) (i32.const 2)";
    let modules = Modules::new(&[("first", picks("", body))]);
    let scene = modules.scene(&[], &balance("first")).await;
    for (n, backend) in backends.iter().enumerate() {
        scene.etcd.put(&key("greeter", backend), &backend.url()).await;
        scene.knows(u32::try_from(n).unwrap() + 1).await;
    }
    picked_by(&scene, "a").await;
    let client = scene.client().await;
    for _ in 0..10 {
        assert_eq!(call(&client, &[("x-refuse", "a")]).await.instance(), "b");
    }
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_hash_of_a_header_keeps_callers_where_they_are() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
    let body = "(if (i64.eqz (local.get 1)) (then (return (i32.const -1))))
        (i32.wrap_i64 (i64.rem_u (local.get 1) (i64.const 3)))";
    let modules = Modules::new(&[("hash", picks("", body))]);
    let more = "proxy: {workers: 2}\nservices: {default: {balance: hash, hash_header: x-user}}\n";
    let scene = modules.scene(&backends.each_ref(), more).await;
    let clients = [scene.client().await, scene.client().await];
    let mut used = std::collections::BTreeSet::new();
    for user in 0..20 {
        let user = format!("user {user}");
        eventually("both workers to agree", || async {
            let mut places = std::collections::BTreeSet::new();
            for client in clients.iter().cycle().take(6) {
                places.insert(call(client, &[("x-user", &user)]).await.instance().to_owned());
            }
            if places.len() == 1 { Ok(()) } else { Err(places) }
        })
        .await;
        used.insert(call(&clients[0], &[("x-user", &user)]).await.instance().to_owned());
    }
    assert_eq!(used.len(), 3, "20 users are not all at one place: {used:?}");
}

#[tokio::test]
async fn a_policy_hears_results_ticks_and_asks_services() {
    let (backend, judge) = (Backend::h2c("a").await, Backend::h2c("judge").await);
    let ask = format!(
        "(drop (call $http_call @\"judge\" @\"{}\" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 2000) (i32.const 8)))",
        pairs(&[(":method", "GET"), (":path", "/")])
    );
    let text = format!(
        "(func (export \"proxy_abi_version_0_2_1\"))
         (func (export \"proxy_on_vm_start\") (param i32 i32) (result i32)
           (drop (call $tick_every (i32.const 20))) (i32.const 1))
         (func (export \"proxy_on_tick\") (param i32) (call $count @\"ticks\") {ask})
         (func (export \"proxy_on_http_call_response\") (param i32 i32 i32 i32 i32)
           (if (local.get 2) (then (call $count @\"answers\"))))
         (func (export \"waypost_result\") (param i32 i32 i32 i64)
           (if (i32.eq (local.get 2) (i32.const 5)) (then (call $count @\"not_found\")))
           (if (i32.eqz (local.get 2)) (then (call $count @\"well\"))))"
    );
    let modules = Modules::new(&[("busy", picks(&text, "(i32.const 0)"))]);
    let scene = modules.scene(&[&backend], &balance("busy")).await;
    scene.etcd.put(&key("judge", &judge), &judge.url()).await;
    scene.knows(2).await;
    let client = scene.client().await;
    eventually("results", || async {
        call(&client, &[("x-status", "5")]).await;
        call(&client, &[]).await;
        let bad = scene.waypost.metric("waypost_guest_not_found_total", &["busy"]).await;
        let good = scene.waypost.metric("waypost_guest_well_total", &["busy"]).await;
        if good >= 3.0 && bad >= 3.0 { Ok(()) } else { Err((good, bad)) }
    })
    .await;
    reaches(&scene, "waypost_guest_ticks_total", &["busy"], 5.0).await;
    reaches(&scene, "waypost_guest_answers_total", &["busy"], 3.0).await;
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0);
}

#[tokio::test]
async fn calls_of_modules_share_connections_over_both_protocols_and_on_both_threads() {
    let (backend, judge, web) = (Backend::h2c("a").await, Backend::h2c("judge").await, Backend::http1("web").await);
    let ask = |service: &str| {
        format!(
            "(drop (call $http_call @\"{service}\" @\"{}\" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 2000) (i32.const 8)))",
            pairs(&[(":method", "GET"), (":path", "/")])
        )
    };
    let (judged, fetched) = (ask("judge"), ask("web"));
    let text = format!(
        "(func (export \"proxy_abi_version_0_2_1\"))
         (func (export \"proxy_on_vm_start\") (param i32 i32) (result i32)
           (drop (call $tick_every (i32.const 20))) (i32.const 1))
         (func (export \"proxy_on_tick\") (param i32) {judged} {fetched})
         (func (export \"proxy_on_http_call_response\") (param i32 i32 i32 i32 i32)
           (if (local.get 2) (then (call $count @\"answers\"))))"
    );
    let judges = format!("{text} (func (export \"waypost_health\") (param i32 i32 i32) (result i32) (i32.const 0))");
    let modules = Modules::new(&[("picking", picks(&text, "(i32.const 0)")), ("judging", policy(&judges))]);
    let more = "proxy: {workers: 1}\nservices: {named: {greeter: {balance: picking, health: {policy: judging}}}}\n";
    let scene = modules.scene(&[&backend], more).await;
    for service in [&judge, &web] {
        scene.etcd.put(&key(&service.name, service), &service.url()).await;
    }
    scene.knows(3).await;
    call(&scene.client().await, &[]).await;
    for module in ["picking", "judging"] {
        reaches(&scene, "waypost_guest_answers_total", &[module], 60.0).await;
    }
    // A connection for each thread, and one to find out what is spoken; over HTTP/1.1 a few where an answer was late.
    let (judge, web) = (judge.seen.connections(), web.seen.connections());
    assert!(judge <= 4 && web <= 12, "{judge} and {web} connections");
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_policy_is_named_dropped_in_and_taken_back_while_calls_run() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    let modules = Modules::new(&[]);
    let plain = modules.config("proxy: {workers: 1}\n");
    let scene = Scene::with("greeter", &backends.each_ref(), &plain).await;
    let client = scene.client().await;
    assert_eq!(counts(&client, 20).await.len(), 2);
    modules.put("first", &picks("", "(i32.const 0)"));
    let etcd = format!("etcd:\n  endpoints: {}\n", scene.etcd.endpoints());
    let named = format!("{etcd}{plain}services: {{named: {{greeter: {{balance: first}}}}}}\n");
    scene.waypost.rewrite(&named);
    let first = eventually("one to get all", || async {
        let now = counts(&client, 10).await;
        if now.len() == 1 { Ok(now.into_keys().next().unwrap()) } else { Err(now) }
    })
    .await;
    let other = if first == "a" { "b" } else { "a" };
    modules.put("first", &picks("", "(i32.const 1)"));
    picked_by(&scene, other).await;
    // Broken: the old one stays. Then as good as the first.
    modules.put("first", b"broken");
    reaches(&scene, "waypost_module_loads_total", &["first", "refused"], 1.0).await;
    picked_by(&scene, other).await;
    modules.put("first", &picks("", "(i32.const 0)"));
    picked_by(&scene, &first).await;
    scene.waypost.rewrite(&format!("{etcd}{plain}"));
    eventually("both to be used", || async {
        let now = counts(&client, 10).await;
        if now.len() == 2 { Ok(()) } else { Err(now) }
    })
    .await;
}
