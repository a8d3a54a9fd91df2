//! Modules that fail, are started anew, are set aside, and are replaced while calls run.

use std::{fs, time::Duration};

use super::{Modules, call, kit::filter, logged, on, reaches};
use crate::harness::{Backend, Client, Load, Scene, client::full, eventually, load::Rate, until};

/// Says who it is in a header of the response, and traps if the request says so.
pub(super) fn named(name: &str) -> Vec<u8> {
    let request = "(if (i32.eqz (call $get (i32.const 0) @\"x-trap\")) (then unreachable))
        (if (i32.eqz (call $get (i32.const 0) @\"x-loop\")) (then (loop $l (br $l)))) (i32.const 0)";
    let response = format!("(call $set (i32.const 2) @\"x-module\" @\"{name}\") (i32.const 0)");
    filter(&(on("request_headers", request) + &on("response_headers", &response)))
}

/// Who put its name on the response of a call.
async fn module(client: &Client) -> String {
    let reply = call(client, &[]).await;
    reply.headers.get("x-module").map_or_else(|| reply.message.clone(), |name| name.to_str().unwrap().to_owned())
}

/// Waits until calls are answered through this module.
async fn answers(scene: &Scene, name: &str) {
    let client = scene.client().await;
    eventually(name, || async {
        let now = module(&client).await;
        if now == name { Ok(()) } else { Err(now) }
    })
    .await;
}

/// Waits until the proxy logs this.
async fn says(scene: &Scene, what: &str) {
    eventually(what, || async { if logged(scene, &[what]) { Ok(()) } else { Err(scene.waypost.log()) } }).await;
}

const ONE_WORKER: &str = "proxy: {workers: 1}\n";

#[tokio::test]
async fn a_filter_that_fails_denies_or_is_skipped_and_comes_back() {
    let backend = Backend::h2c("one").await;
    let modules = Modules::new(&[("must", named("must")), ("may", named("may")), ("other", named("other"))]);
    let more = format!(
        "{ONE_WORKER}routing:
  routes:
  - {{match: {{path_prefix: /must}}, service: greeter, filters: [{{module: must}}]}}
  - {{match: {{path_prefix: /may}}, service: greeter, filters: [{{module: may, on_error: skip}}]}}
  - {{match: {{path_prefix: /other}}, service: greeter, filters: [{{module: other}}]}}\n"
    );
    let scene = modules.scene(&[&backend], &more).await;
    let client = scene.client().await;
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let answer = client.http("GET", &format!("http://greeter{path}"), headers, full("")).await;
        (answer.status, answer.text())
    };
    for how in ["x-trap", "x-loop"] {
        let (status, text) = get("/must", &[(how, "1")]).await;
        assert_eq!(status, 503, "{text}");
        assert!(text.starts_with("filter `must` does not work"), "{text}");
        assert_eq!(get("/must", &[]).await.0, 503, "until the next instance is there");
        assert_eq!((get("/may", &[(how, "1")]).await.0, get("/may", &[]).await.0), (200, 200));
        assert_eq!(get("/other", &[]).await.0, 200, "others are not touched");
        for path in ["must", "may"] {
            eventually("the module to come back", || async {
                let answer = client.http("GET", &format!("http://greeter/{path}"), &[], full("")).await;
                if answer.headers.get("x-module").is_some_and(|name| name == path) { Ok(()) } else { Err(answer) }
            })
            .await;
        }
    }
    for (module, reason) in [("must", "trap"), ("must", "time"), ("may", "trap"), ("may", "time")] {
        let labels = [&*format!("module=\"{module}\""), &*format!("reason=\"{reason}\"")];
        assert_eq!(scene.waypost.metric("waypost_module_failures_total", &labels).await, 1.0, "{labels:?}");
    }
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &["module=\"other\""]).await, 0.0);
    let reply = call(&client, &[]).await;
    assert_eq!(reply.status, 0);
}

#[tokio::test]
async fn a_module_that_fails_on_is_set_aside_until_its_file_is_replaced() {
    let backend = Backend::h2c("one").await;
    let modules = Modules::new(&[("picky", named("first"))]);
    // Many instances of one module, so that ten can fail at once: a global filter and a worker for each.
    let more = "proxy: {workers: 10}\nfilters: [{module: picky, on_error: skip}]\n";
    let scene = modules.scene(&[&backend], more).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(scene.client().await);
    }
    for client in &clients {
        assert_eq!(call(client, &[("x-trap", "1")]).await.status, 0);
    }
    reaches(&scene, "waypost_module_failures_total", &["picky", "trap"], 10.0).await;
    assert_eq!(scene.waypost.metric("waypost_module_up", &["picky"]).await, 0.0);
    assert!(logged(&scene, &["set aside until it is reloaded or its file is replaced", "picky"]));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(call(&clients[9], &[]).await.headers.get("x-module").is_none(), "it is not used");
    modules.put("picky", &named("second"));
    answers(&scene, "second").await;
    for client in &clients {
        eventually("every worker to have it", || async {
            let now = module(client).await;
            if now == "second" { Ok(()) } else { Err(now) }
        })
        .await;
    }
    assert_eq!(scene.waypost.metric("waypost_module_up", &["picky"]).await, 1.0);
}

#[tokio::test]
async fn a_bad_file_leaves_the_old_module_in_force_and_says_why() {
    let backend = Backend::h2c("one").await;
    let modules = Modules::new(&[("swapped", named("first"))]);
    let scene = modules.scene(&[&backend], "filters: [{module: swapped}]\n").await;
    answers(&scene, "first").await;
    let refuses = filter("(func (export \"proxy_on_configure\") (param i32 i32) (result i32) (i32.const 0))");
    let good = named("second");
    let bad: [(&str, &[u8]); 4] = [
        ("no WebAssembly module", b"nonsense"),
        ("`proxy_on_configure` answered that it refuses", &refuses),
        ("no WebAssembly module", &good[..good.len() / 2]),
        ("a module may have", &vec![0; 50 << 20]),
    ];
    let refused = ["swapped", "refused"];
    for (n, (why, bytes)) in bad.into_iter().enumerate() {
        modules.put("swapped", bytes);
        reaches(&scene, "waypost_module_loads_total", &refused, (n + 1) as f64).await;
        assert!(logged(&scene, &["the old module stays in force", why]), "{why}: {:?}", scene.waypost.log());
        answers(&scene, "first").await;
    }
    fs::remove_file(modules.file("swapped")).unwrap();
    reaches(&scene, "waypost_module_loads_total", &refused, 5.0).await;
    let folder = modules.folder().display();
    assert!(logged(
        &scene,
        &["the old module stays in force", &format!("no file swapped.wasm in the folder {folder}")]
    ));
    // Nor is what is no file: a pipe must not keep whoever looks.
    fs::create_dir(modules.file("swapped")).unwrap();
    says(&scene, "it is a folder, and no file").await;
    fs::remove_dir(modules.file("swapped")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, modules.file("swapped"), rustix::fs::Mode::RUSR).unwrap();
    says(&scene, "it is a pipe or a device, and no file").await;
    answers(&scene, "first").await;
    modules.put("swapped", &good);
    answers(&scene, "second").await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_read_when_it_is_whole() {
    use std::io::Write;
    let backend = Backend::h2c("one").await;
    let modules = Modules::new(&[("slow", named("first"))]);
    let scene = modules.scene(&[&backend], "filters: [{module: slow}]\n").await;
    let bytes = named("second");
    let mut file = fs::File::create(modules.file("slow")).unwrap();
    for part in bytes.chunks(bytes.len().div_ceil(30)) {
        file.write_all(part).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(file);
    answers(&scene, "second").await;
    assert_eq!(scene.waypost.metric("waypost_module_loads_total", &["slow", "refused"]).await, 0.0);
}

#[tokio::test]
async fn a_hundred_swaps_under_load_cost_no_call() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    let versions: Vec<_> = (0..4).map(|n| named(&format!("version {n}"))).collect();
    let modules = Modules::new(&[("swapped", versions[0].clone())]);
    let scene = modules.scene(&backends.each_ref(), "filters: [{module: swapped}]\n").await;
    let rate = Rate { per_second: 500, at_once: 40, streams: 4 };
    let load = Load::start(scene.waypost.data, "greeter", rate).await;
    let loads = ["swapped", "\"loaded\""];
    for swap in 1..=100_u32 {
        modules.put("swapped", &versions[swap as usize % versions.len()]);
        reaches(&scene, "waypost_module_loads_total", &loads, f64::from(swap) + 1.0).await;
    }
    let counted = load.stop(rate).await;
    answers(&scene, "version 0").await;
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &["swapped"]).await, 0.0);
    assert!(counted.by("a") > 0 && counted.by("b") > 0);
}

#[tokio::test]
async fn calls_under_way_finish_on_the_old_module() {
    let backend = Backend::h2c("one").await;
    let modules = Modules::new(&[("swapped", named("first"))]);
    let scene = modules.scene(&[&backend], "filters: [{module: swapped}]\n").await;
    let client = scene.client().await;
    let slow = call(&client, &[("x-delay-ms", "6000")]);
    let swap = async {
        until("the call to be under way", || backend.seen.open() == 1).await;
        modules.put("swapped", &named("second"));
        answers(&scene, "second").await;
        assert_eq!(backend.seen.open(), 1);
    };
    let (reply, ()) = tokio::join!(slow, swap);
    assert_eq!(reply.headers["x-module"], "first");
}

#[tokio::test]
async fn a_hundred_thousand_hostile_calls_cost_the_proxy_no_memory() {
    let backend = Backend::h2c("one").await;
    let hostile = on(
        "request_headers",
        "(drop (call $property_set (local.get 0) (i32.const 1000) (i32.const 65536) (i32.const 60000)))
         (drop (call $shared_set (local.get 0) (i32.const 1000) (i32.const 65536) (i32.const 60000) (i32.const 0)))
         (drop (call $map_get (i32.const 0) (i32.const -1) (i32.const 9) (i32.const 0) (i32.const 4)))
         (call $respond (i32.const 403) (i32.const 65536) (i32.const 1000) (i32.const -1)) (i32.const 1)",
    ) + "(func (export \"proxy_on_done\") (param i32) (result i32) (i32.const 0))";
    let traps = on("request_headers", "unreachable");
    let modules = Modules::new(&[("hostile", filter(&hostile)), ("traps", filter(&traps))]);
    let more = "filters: [{module: traps, on_error: skip}, {module: hostile}]\n";
    let scene = modules.scene(&[&backend], more).await;
    let calls = async |count: usize| {
        let each = async || {
            let client = scene.client().await;
            for _ in 0..count / 500 {
                let all = (0..50).map(|_| client.unary("greeter"));
                for reply in futures_util::future::join_all(all).await {
                    assert_eq!(reply.unwrap().status, 7);
                }
            }
        };
        futures_util::future::join_all((0..10).map(|_| each())).await;
    };
    // What they may keep is full: 16 MiB of shared data, 1,000 exchanges that are not done, in each worker.
    calls(20_000).await;
    let before = scene.waypost.resident();
    calls(100_000).await;
    let grown = scene.waypost.resident().saturating_sub(before);
    assert!(grown <= 10 << 20, "{grown} bytes more");
}
