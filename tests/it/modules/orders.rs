//! What operators order for modules, while calls run.

use super::{
    Modules, call,
    lives::named,
    policies::{counts, picked_by, picks},
    reaches,
};
use crate::dashboard::{Browser, actions::preview, view};
use crate::harness::{Backend, Load, Scene, eventually, load::Rate};

/// Looks at the page of modules, and presses a button at a row, and the one of the preview.
async fn order(scene: &Scene, browser: &Browser, act: &str, module: &str) {
    let rows = view(&scene.waypost, &format!("filters?q=name:{module}")).await;
    let hash = rows["modules"]["rows"][0]["hash"].as_str().unwrap().to_owned();
    let (form, _) = preview(browser, &format!("/action?do={act}&module={module}&hash={hash}")).await;
    let (status, head, page) = browser.post("/action", &form, &[]).await;
    assert_eq!(status, 303, "{head}{page}");
}

#[tokio::test]
async fn modules_are_set_aside_and_reloaded_while_calls_run() {
    let backends = [Backend::h2c("a").await, Backend::h2c("b").await];
    let modules = Modules::new(&[("first", picks("", "(i32.const 0)")), ("named", named("named"))]);
    let more = "proxy: {workers: 1}
filters: [{module: named, on_error: skip}]
services: {default: {balance: first}}\n";
    let scene = modules.scene(&backends.each_ref(), more).await;
    let client = scene.client().await;
    let one = eventually("one to get all", || async {
        let now = counts(&client, 6).await;
        if now.len() == 1 { Ok(now.into_keys().next().unwrap()) } else { Err(now) }
    })
    .await;
    // Each call is a pick, and a few callbacks of the filter.
    reaches(&scene, "waypost_module_calls_total", &["first"], 6.0).await;
    reaches(&scene, "waypost_module_calls_total", &["named"], 12.0).await;
    reaches(&scene, "waypost_module_timed_calls_total", &["named"], 1.0).await;
    assert!(scene.waypost.metric("waypost_module_timed_seconds_total", &["named"]).await > 0.0);

    let browser = Browser::logged_in(&scene.waypost).await;
    let rate = Rate { per_second: 200, at_once: 40, streams: 2 };
    let load = Load::start(scene.waypost.data, "greeter", rate).await;
    order(&scene, &browser, "aside", "first").await;
    eventually("both to be used", || async {
        let now = counts(&client, 10).await;
        if now.len() == 2 { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(scene.waypost.metric("waypost_module_up", &["first"]).await, 0.0);
    order(&scene, &browser, "aside", "named").await;
    assert!(!call(&client, &[]).await.headers.contains_key("x-module"), "calls go on without it");
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0, "an order is no failure");

    order(&scene, &browser, "reload", "first").await;
    picked_by(&scene, &one).await;
    order(&scene, &browser, "reload", "named").await;
    eventually("the filter to be back", || async {
        let reply = call(&client, &[]).await;
        if reply.headers.contains_key("x-module") { Ok(()) } else { Err(reply) }
    })
    .await;
    assert_eq!(scene.waypost.metric("waypost_module_up", &["first"]).await, 1.0);
    load.stop(rate).await;
}
