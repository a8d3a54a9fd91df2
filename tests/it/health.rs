//! Only endpoints that work get calls: probes, ejection, panic, orders, and what all of these say of themselves.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use tokio::{process::Command, time::Instant};

use crate::harness::{
    Backend, Load, PATIENCE, STEADY, Scene, backend::Mood, backend::Speaks, client, eventually, process::run,
    scene::register, until,
};

/// Settings with quick probes of a kind.
fn probing(kind: &str) -> String {
    format!(
        "services: {{default: {{health: {{probe: {{kind: {kind}, interval: 100ms, timeout: 300ms, rise: 2, fall: 2}}}}}}}}\n"
    )
}

/// What `/health` says.
async fn health(scene: &Scene) -> String {
    client::get(scene.waypost.admin, "/health").await.expect("an answer").1
}

/// Waits until the line of this backend has all of it.
async fn says(scene: &Scene, backend: &Backend, parts: &[&str]) {
    says_of(scene, backend.address, parts).await;
}

/// Waits until the line of this address has all of it.
async fn says_of(scene: &Scene, address: SocketAddr, parts: &[&str]) {
    eventually("its health", || async {
        let text = health(scene).await;
        let line = text.lines().find(|line| line.contains(&address.to_string())).unwrap_or_default().to_owned();
        if parts.iter().all(|part| line.contains(part)) { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Makes so many calls, and gives back how many of them `instance` answered. All must end well.
async fn calls(scene: &Scene, count: usize, instance: &str) -> usize {
    let client = scene.client().await;
    let mut answered = 0;
    for _ in 0..count {
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!(reply.status, 0, "{}", reply.message);
        answered += usize::from(reply.instance() == instance);
    }
    answered
}

#[tokio::test]
async fn probes_find_out_who_does_not_work_and_who_does_again() {
    for (kind, mood, why) in [
        ("grpc", Mood::NotServing, "it says NOT_SERVING"),
        ("grpc", Mood::Hangs, "no answer within 300ms"),
        ("grpc", Mood::Slow(1_000), "no answer within 300ms"),
        ("grpc", Mood::Resets, "it reset the stream"),
        ("grpc", Mood::Unavailable, "its health check fails with UNAVAILABLE"),
        ("http", Mood::Hangs, "no answer within 300ms"),
    ] {
        let (one, two, three) = (Backend::h2c("one").await, Backend::h2c("two").await, Backend::h2c("three").await);
        let scene = Scene::with("greeter", &[&one, &two, &three], &probing(kind)).await;
        says(&scene, &one, &[" healthy for ", "its probes succeed"]).await;
        assert!(calls(&scene, 9, "one").await > 0);

        one.is(mood);
        says(&scene, &one, &[" unhealthy for ", "its probes fail", why]).await;
        assert_eq!(calls(&scene, 30, "one").await, 0, "{mood:?}");
        let unhealthy = scene.waypost.metric("waypost_endpoint_unhealthy", &["unhealthy"]).await;
        assert!((unhealthy - 1.0).abs() < f64::EPSILON);

        one.is(Mood::Well);
        says(&scene, &one, &[" healthy for ", "its probes succeed"]).await;
        assert!(calls(&scene, 9, "one").await > 0);
        let logged = scene.waypost.log().iter().filter(|line| line.contains(why)).count();
        assert_eq!(logged, 1, "a transition is logged once");
        for state in ["unhealthy", "healthy"] {
            let label = format!("state=\"{state}\"");
            let count = scene.waypost.metric("waypost_health_transitions_total", &[&label]).await;
            assert!((count - 1.0).abs() < f64::EPSILON, "{state}: {count}");
        }
    }
}

#[tokio::test]
async fn a_port_that_is_closed_is_found_by_a_tcp_probe() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one, &two], &probing("tcp")).await;
    says(&scene, &one, &["its probes succeed"]).await;
    let address = one.stop().await;
    says_of(&scene, address, &[" unhealthy for ", "Connection refused"]).await;
    let back = Backend::start("one", Speaks::H2c, &address.to_string(), 100).await;
    says(&scene, &back, &[" healthy for "]).await;
    assert!(calls(&scene, 10, "one").await > 0);
}

#[tokio::test]
async fn who_flaps_faster_than_it_may_rise_stays_out() {
    let (one, two, three) = (Backend::h2c("one").await, Backend::h2c("two").await, Backend::h2c("three").await);
    let settings = probing("grpc").replace("rise: 2", "rise: 4");
    let scene = Scene::with("greeter", &[&one, &two, &three], &settings).await;
    one.is(Mood::NotServing);
    says(&scene, &one, &[" unhealthy for "]).await;
    for _ in 0..5 {
        let before = one.seen.calls();
        one.is(Mood::Well);
        until("a good probe or two", || one.seen.calls() > before).await;
        one.is(Mood::NotServing);
        let before = one.seen.calls();
        until("bad probes", || one.seen.calls() > before + 1).await;
        assert!(health(&scene).await.contains("NOT_SERVING"));
    }
    let transitions = scene.waypost.metric("waypost_health_transitions_total", &[]).await;
    assert!((transitions - 1.0).abs() < f64::EPSILON, "{transitions}");
}

#[tokio::test]
async fn a_probe_that_asks_wrongly_stops_no_calls_and_says_why() {
    let (one, two) = (Backend::http1("one").await, Backend::http1("two").await);
    let settings = probing("http").replace("kind: http", "kind: http, path: /echo?wrong, statuses: [204]");
    let scene = Scene::with("web", &[&one, &two], &settings).await;
    says(&scene, &one, &[" unhealthy for ", "GET /echo?wrong answers 200"]).await;
    says(&scene, &two, &[" unhealthy for "]).await;
    assert!(health(&scene).await.contains("web (too few are healthy: calls go to all)"));
    assert!((scene.waypost.metric("waypost_service_panic", &["web"]).await - 1.0).abs() < f64::EPSILON);
    let log = scene.waypost.log().join("\n");
    assert!(log.contains("only 0 of 2 endpoints are healthy, less than 50 %: calls go to all of them"), "{log}");
    let client = scene.client().await;
    for _ in 0..10 {
        let reply = client.http("GET", "http://web/", &[], client::full("")).await;
        assert_eq!(reply.status, 200);
    }
    assert!(one.seen.paths.lock().unwrap()["/"] >= 4 && two.seen.paths.lock().unwrap()["/"] >= 4);
}

#[tokio::test]
async fn who_fails_calls_in_a_row_is_ejected_and_comes_back() {
    for (mood, failing) in [(Mood::Unavailable, 14), (Mood::Resets, 0)] {
        let (one, two, three) = (Backend::h2c("one").await, Backend::h2c("two").await, Backend::h2c("three").await);
        let settings = "services: {default: {health: {outlier: {consecutive: 3, base_ejection: 2s}}}}\n";
        let scene = Scene::with("greeter", &[&one, &two, &three], settings).await;
        one.is(mood);
        let client = scene.client().await;
        let mut failed = 0;
        for _ in 0..60 {
            match client.unary("greeter").await {
                Ok(reply) if reply.status == 0 => {}
                Ok(reply) => {
                    assert!(failing == 0 || reply.status == failing, "{reply:?}");
                    failed += 1;
                }
                Err(_) => failed += 1,
            }
        }
        if mood == Mood::Unavailable {
            // Each worker may have a call more under way when the third fails.
            assert!((3..=5).contains(&failed), "{failed} of 60 calls failed");
            says(&scene, &one, &[" ejected for ", "calls in a row failed", "s more"]).await;
            one.is(Mood::Well);
            says(&scene, &one, &[" healthy for "]).await;
            assert!(calls(&scene, 9, "one").await > 0);
        }
    }
}

#[tokio::test]
async fn the_last_endpoint_is_never_ejected() {
    let one = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&one], "").await;
    one.is(Mood::Unavailable);
    let client = scene.client().await;
    for _ in 0..20 {
        assert_eq!(client.unary("greeter").await.unwrap().status, 14);
    }
    assert_eq!(one.seen.calls(), 20);
    assert!(!health(&scene).await.contains("ejected"));
}

/// Arguments of curl for a request that is refused for that.
const WITHOUT_TOKEN: &[&str] = &["-H", "Accept: */*"];

/// Sends an order as an operator does, and gives back the answer with its status.
async fn order(scene: &Scene, document: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "%{http_code}", "-d", document]).args(more);
    if more != WITHOUT_TOKEN {
        command.arg("-H").arg(format!("Authorization: Bearer {}", scene.waypost.token()));
    }
    run("curl", PATIENCE, command.arg(format!("http://{}/health", scene.waypost.admin))).await
}

#[tokio::test]
async fn an_operator_drains_an_endpoint_for_a_while() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one, &two], "").await;
    says(&scene, &one, &[" healthy for "]).await;
    let document = |order: &str, time: &str| {
        format!("{{service: greeter, endpoint: '{}', order: {order}, for: {time}}}", one.address)
    };
    let start = Instant::now();
    assert_eq!(order(&scene, &document("drain", "3s"), &[]).await, "done\n200");
    assert_eq!(calls(&scene, 20, "one").await, 0);
    says(&scene, &one, &[" draining for ", "drained by an operator"]).await;
    assert!(!health(&scene).await.contains("too few"), "a drained endpoint is no reason for panic");
    says(&scene, &one, &[" healthy for "]).await;
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(calls(&scene, 20, "one").await > 0);
    let log = scene.waypost.log().join("\n");
    assert!(log.contains("the order `drain` of an operator has ended: its time is over"), "{log}");

    assert_eq!(order(&scene, &document("unhealthy", "1h"), &[]).await, "done\n200");
    says(&scene, &one, &[" unhealthy for ", "held to be unhealthy by an operator"]).await;
    assert_eq!(order(&scene, &document("none", "1h"), &[]).await, "done\n200");
    says(&scene, &one, &[" healthy for "]).await;

    for (document, answer) in [
        ("{service: greeter}", "order: endpoint: is missing"),
        ("{service: greeter, endpoint: 'x:1', order: stop}", "must be drain, healthy"),
        ("{service: greeter, endpoint: '10.0.0.1:1', order: drain}", "has no endpoint `10.0.0.1:1`"),
        ("{service: nobody, endpoint: '10.0.0.1:1', order: drain}", "service `nobody` has no endpoint"),
    ] {
        let said = order(&scene, document, &[]).await;
        assert!(said.contains(answer) && (said.ends_with("400") || said.ends_with("404")), "{document}: {said}");
    }
    assert!(order(&scene, &document("drain", "1h"), &["-H", "Origin: http://evil.example"]).await.ends_with("403"));
    let without = order(&scene, &document("drain", "1h"), WITHOUT_TOKEN).await;
    assert!(without.contains("admin.token_file") && without.ends_with("401"), "{without}");
}

#[tokio::test]
async fn a_new_endpoint_starts_slowly() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let settings = "services: {default: {health: {slow_start: 10s}}}\n";
    let scene = Scene::with("greeter", &[&one], settings).await;
    assert_eq!(calls(&scene, 10, "one").await, 10, "the first ones have their whole share");
    says(&scene, &one, &[" healthy for 10 s"]).await;
    register(&scene.etcd, "greeter", &two).await;
    says(&scene, &two, &["its share has grown to 10 %"]).await;
    // A tenth of one's calls, or two or three by the time: 1 of 11 to 1 of 4.
    let share = calls(&scene, 220, "two").await;
    assert!((16..=55).contains(&share), "{share} of 220");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_instances_costs_no_call() {
    let mut backends = Vec::new();
    for name in ["one", "two", "three"] {
        backends.push(Backend::h2c(name).await);
    }
    let all: Vec<_> = backends.iter().collect();
    let scene = Scene::with("greeter", &all, &probing("grpc")).await;
    let rate = crate::harness::Rate { streams: 0, ..STEADY };
    let load = Load::start(scene.waypost.data, "greeter", rate).await;
    for at in 0..backends.len() {
        // The registration stays, as when a process is restarted within its lease.
        let old = &backends[at];
        let (name, address) = (old.name.clone(), old.address);
        // As servers with grpc.health.v1 do it: first it says that it will go, then no new calls come, then it goes.
        old.is(Mood::NotServing);
        says(&scene, old, &[" unhealthy for "]).await;
        eventually("no more calls", || async {
            let (mine, all) = (load.counted.by(&name), load.counted.calls.load(Ordering::SeqCst));
            until("two hundred calls", || load.counted.calls.load(Ordering::SeqCst) > all + 200).await;
            if load.counted.by(&name) == mine { Ok(()) } else { Err("still some") }
        })
        .await;
        old.drain();
        until("its connections to end", || old.seen.open_connections() == 0).await;
        backends.remove(at).stop().await;
        let before = load.counted.calls.load(Ordering::SeqCst);
        until("calls elsewhere meanwhile", || load.counted.calls.load(Ordering::SeqCst) > before + 200).await;
        backends.insert(at, Backend::start(&name, Speaks::H2c, &address.to_string(), 1_000).await);
        let before = load.counted.by(&name);
        until("it to take calls again", || load.counted.by(&name) > before + 100).await;
    }
    load.stop(rate).await;
}
