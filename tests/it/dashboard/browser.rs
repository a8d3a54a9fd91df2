//! The dashboard in Debian's chromium, against a real etcd and against the demo. The script prints a line per check.

use std::time::Duration;

use tokio::process::Command;

use crate::harness::{
    Backend, Demo, Etcd, PATIENCE, Version, Waypost,
    process::run,
    tools::{project, tool},
};

/// All checks take this long at most, on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// What each run must have looked at.
const CHECKS: [&str; 14] = [
    "a put appears without a reload, and a delete leaves",
    "a hostile name is text",
    "a lock and its waiter appear and hand over",
    "filter, columns and keys work in place, and the address says so",
    "rows beyond the window come as one scrolls",
    "many tabs share one connection",
    "a hidden page is not followed, and catches up",
    "a page that is not live says so, and comes back by itself",
    "the route of a request is told",
    "who is not logged in is asked to, and the link logs in",
    "drain stops traffic, and undrain brings it back",
    "a stale revision is refused with a clear message",
    "without scripts everything is there",
    "nothing bars anybody, light, dark and narrow",
];

async fn look(name: &str, arguments: &serde_json::Value) -> String {
    tool("browser/node_modules/playwright-core", "setup-test");
    let mut command = Command::new("node");
    command.arg(project("tests/clients/browser/dashboard.js")).arg(arguments.to_string());
    run(name, LIMIT, &mut command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_browser_sees_and_does_what_people_do() {
    let etcd = Etcd::start(Version::Wheel).await;
    let (one, two) = (Backend::http1("one").await, Backend::http1("two").await);
    for backend in [&one, &two] {
        let value = format!("{{\"address\":\"{}\",\"weight\":1,\"protocol\":\"http1\"}}", backend.address);
        etcd.put(&format!("/services/web/{}", backend.name), &value).await;
    }
    let operator = format!("  clients: {{operator: {{endpoints: {}}}}}\n", etcd.endpoints());
    let waypost = Waypost::on(&etcd, &operator).await;
    let shots = std::env::var("SHOTS").ok();
    let said = look(
        "browser",
        &serde_json::json!({
            "admin": waypost.admin,
            "login": format!("http://{}/login#{}", waypost.admin, waypost.token()),
            "proxy": waypost.data,
            "pid": waypost.pid(),
            "etcdctl": [Version::Wheel.ctl(), format!("--endpoints={}", etcd.address(0))],
            "shots": shots,
        }),
    )
    .await;
    for check in CHECKS {
        assert!(said.contains(&format!("{{\"check\":\"{check}\",\"ok\":true")), "{check}\n{said}");
    }
}

#[tokio::test]
async fn the_demo_s_dashboard_shows_services_locks_and_calls() {
    let demo = Demo::start().await;
    demo.says("worker-1 holds /locks/nightly-report", PATIENCE).await;
    let shots = std::env::var("DEMO_SHOTS").ok();
    tool("browser/node_modules/playwright-core", "setup-test");
    let mut command = Command::new("node");
    let arguments = serde_json::json!({ "login": demo.login(), "admin": demo.admin, "shots": shots });
    command.arg(project("tests/clients/browser/demo.js")).arg(arguments.to_string());
    let said = run("demo browser", LIMIT, &mut command).await;
    assert!(said.contains("\"check\":\"the demo in a minute\",\"ok\":true"), "{said}");
    demo.end().await;
}
