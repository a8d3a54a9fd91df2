//! Least-privilege roles on a real etcd that asks who one is: made by `waypost auth init`, and enough for what their
//! holders do. And what `waypost doctor` says of such a cluster.

use std::fs;

use tokio::process::Command;
use waypost::{
    Error, Manager,
    discovery::Filter,
    etcd::{self, Access, Client, Metrics, Permission},
    manager::Preset,
    registry::{Config, Registry, Role, Status},
};

use crate::{
    dashboard::{Browser, actions::preview, shows, view},
    harness::{Backend, Client as Caller, Etcd, PATIENCE, Version, Waypost, client as http, eventually, tools::Folder},
    registering::{client, stands},
};

struct Cluster {
    etcd: Etcd,
    folder: Folder,
}

impl Cluster {
    /// Everything through the command: roles, users, and then that users are asked for.
    async fn new() -> Self {
        let cluster = Cluster { etcd: Etcd::start(Version::Wheel).await, folder: Folder::new("roles") };
        let planned = cluster.waypost(&["auth", "init", "--service", "greeter", "--dry-run"], "").await;
        assert_eq!(
            planned.lines().collect::<Vec<_>>(),
            [
                "role add waypost-proxy",
                "role grant-permission waypost-proxy read /locks/ --prefix",
                "role grant-permission waypost-proxy read /services/ --prefix",
                "role add waypost-operator",
                "role grant-permission waypost-operator readwrite /elections/ --prefix",
                "role grant-permission waypost-operator readwrite /locks/ --prefix",
                "role grant-permission waypost-operator readwrite /services/ --prefix",
                "role grant-permission waypost-operator readwrite /waypost/orders/ --prefix",
                "role add waypost-registrant-greeter",
                "role grant-permission waypost-registrant-greeter readwrite /services/greeter/ --prefix",
                "# nothing was done",
            ]
        );
        assert_eq!(cluster.etcd.ctl(&["role", "list"]).await, "", "a dry run does nothing");
        let done = cluster.waypost(&["auth", "init", "--service", "greeter"], "").await;
        assert!(done.ends_with("# done, 10 steps\n"), "{done}");
        let again = cluster.waypost(&["auth", "init", "--service", "greeter"], "").await;
        assert_eq!(again, "# all roles are as they should be\n");
        // What somebody added by hand is told, and stays.
        cluster.etcd.ctl(&["role", "grant-permission", "waypost-proxy", "read", "/other/", "--prefix"]).await;
        let more = cluster.waypost(&["auth", "init"], "").await;
        assert!(
            more.starts_with("# waypost-proxy may do more than is planned") && more.contains("read /other/ --prefix"),
            "{more}"
        );
        cluster.etcd.ctl(&["role", "revoke-permission", "waypost-proxy", "/other/", "--prefix"]).await;

        let password = cluster.folder.path().join("password");
        fs::write(&password, "secret\nnot this\n").unwrap();
        let file = password.to_str().unwrap();
        for (user, role) in [
            ("root", "root"),
            ("proxy", "waypost-proxy"),
            ("greeter", "waypost-registrant-greeter"),
            ("operator", "waypost-operator"),
        ] {
            if role == "root" {
                cluster.etcd.ctl(&["role", "add", "root"]).await;
            }
            cluster.waypost(&["auth", "user-add", user, "--password-file", file, "--role", role], "").await;
        }
        client(&cluster.endpoint()).auth_enable().await.unwrap();
        cluster
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.etcd.address(0))
    }

    /// Runs a command as that user; empty is nobody.
    async fn waypost(&self, arguments: &[&str], user: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        command.args(arguments).args(["--etcd", &self.endpoint()]);
        if !user.is_empty() {
            command.env("WAYPOST_ETCD_USER", user).env("WAYPOST_ETCD_PASSWORD", "secret");
        }
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn manager(&self, user: &str) -> Manager {
        let alone = Manager::builder().preset(Preset::Test).folder("/").environment([("HOME", "/")]);
        alone.endpoints([self.endpoint()]).auth(user, "secret").connect().unwrap()
    }

    fn root(&self) -> Client {
        let config = etcd::Config {
            endpoints: vec![self.endpoint()],
            user: Some("root".to_owned()),
            password: Some(waypost::config::Secret::new("secret")),
            ..etcd::Config::default()
        };
        Client::new("root", config, Metrics::default())
    }
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Etcd(error) if error.is_denied()) && !error.is_retryable()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_is_enough_for_its_holder_and_no_more() {
    let cluster = Cluster::new().await;
    let (registrant, operator, root) = (cluster.manager("greeter"), cluster.manager("operator"), cluster.root());

    // A registrant writes its own service, and sees and mends what becomes of it.
    let backend = Backend::h2c("one").await;
    let address = backend.address.to_string();
    let mut registration = registrant.registry().register("greeter", "one", &address).await.unwrap();
    let key = "/services/greeter/one";
    root.delete(key.as_bytes()).await.unwrap();
    eventually("the key to come back", async || {
        let found = root.get(key.as_bytes()).await.unwrap();
        found.map(drop).ok_or("not yet")
    })
    .await;
    root.put(key.as_bytes(), b"10.0.0.9:1", 0).await.unwrap();
    stands(&registration, "a conflict", |status| matches!(status, Status::Conflict { .. })).await;
    root.delete(key.as_bytes()).await.unwrap();
    stands(&registration, "no conflict", |status| matches!(status, Status::Registered { .. })).await;
    registration.update(|instance| instance.weight = 2).await.unwrap();
    let other = registrant.registry().register("web", "one", &address).await.unwrap_err();
    assert!(is_denied(&other), "{other}");
    let lock = registrant.locks().lock("a").await.unwrap_err();
    assert!(is_denied(&lock), "{lock}");

    // A proxy reads, and carries a call.
    let user = |name| format!("endpoints: '{}', user: {name}, password: secret", cluster.endpoint());
    let config = format!("etcd: {{{}, clients: {{operator: {{{}}}}}}}\n", user("proxy"), user("operator"));
    let proxy = Waypost::start(&config).await;
    let caller = Caller::h2(proxy.data).await;
    eventually("a call", async || {
        let reply = caller.unary("greeter").await?;
        if reply.status == 0 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert_eq!(http::get(proxy.admin, "/readyz").await.unwrap().0, 200);
    let reading = cluster.manager("proxy");
    let discovery = reading.discovery().await;
    discovery.ready(PATIENCE).await.unwrap();
    assert_eq!(discovery.resolve("greeter", &Filter::default()).unwrap().weight, 2);
    let write = reading.registry().register("greeter", "two", &address).await.unwrap_err();
    assert!(is_denied(&write), "{write}");

    // An operator locks, leads, and sees who does.
    let held = operator.locks().lock("deploy").await.unwrap();
    assert!(operator.locks().try_lock("deploy").await.unwrap().is_none());
    assert_eq!(operator.locks().status("deploy").await.unwrap().queue.len(), 1);
    // The proxy's page shows it, and what is ordered there reaches etcd.
    shows(&proxy, "locks", "/locks/rows/0/name", "/locks/deploy").await;
    let browser = Browser::logged_in(&proxy).await;
    let revision = view(&proxy, "service?name=greeter").await["endpoints"]["rows"][0]["revision"].clone();
    let drain = format!("/action?do=drain&service=greeter&endpoint={address}&revision={revision}");
    let (form, _) = preview(&browser, &drain).await;
    assert_eq!(browser.post("/action", &format!("{form}&minutes=5"), &[]).await.0, 303);
    assert_eq!(root.list(b"/waypost/orders/").await.unwrap().keys.len(), 1);
    let leader = operator.elections().campaign("boss", "me").await.unwrap();
    leader.proclaim("still me").await.unwrap();
    leader.resign().await.unwrap();
    held.unlock().await.unwrap();
    let foreign = operator.centre().put("/secret", "x").await.unwrap_err();
    assert!(is_denied(&foreign), "{foreign}");

    registration.deregister().await.unwrap();
    assert_eq!(root.get(key.as_bytes()).await.unwrap(), None);
    let shown = cluster.waypost(&["auth", "show"], "root").await;
    assert!(shown.contains("greeter   waypost-registrant-greeter"), "{shown}");
    // Whoever may administrate can take it all back.
    let administration = Registry::new(root.clone(), Config::default());
    let role = Role { name: "auditor".to_owned(), ..Role::proxy(["/services/"]) };
    for step in administration.plan(std::slice::from_ref(&role)).await.unwrap() {
        administration.take(&step).await.unwrap();
    }
    assert!(administration.plan(&[role]).await.unwrap().is_empty());
    root.user_revoke("greeter", "waypost-registrant-greeter").await.unwrap();
    root.role_revoke("waypost-proxy", &Permission::prefix(Access::Read, "/services/")).await.unwrap();
    root.role_delete("waypost-registrant-greeter").await.unwrap();
    root.user_password("greeter", "other").await.unwrap();
    cluster.waypost(&["auth", "user-delete", "greeter"], "root").await;
    assert_eq!(root.users().await.unwrap().len(), 3);
    root.auth_disable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_is_wrong() {
    let mut etcd = Etcd::cluster(Version::Wheel, 3, &["--quota-backend-bytes", "1048576"]).await;
    etcd.put("/services/greeter/one", "127.0.0.1:1").await;
    etcd.put("/services/greeter/two", "127.0.0.1").await;
    let lease = etcd.grant(60).await;
    etcd.put_leased("/services/web/one", "{\"Addr\": \"127.0.0.1:2\"}", &lease).await;
    etcd.put_leased(&format!("/services/web/{}", lease.trim_start_matches('0')), "", &lease).await;
    let endpoints: Vec<_> = (0..3).map(|at| format!("http://{}", etcd.address(at))).collect();
    let doctor = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        let output = command.args(["doctor", "--etcd", &endpoints.join(",")]).args(more).output().await.unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, err) = doctor(&[]).await;
    for line in [
        format!("ok       {}: etcd 3.5.1, it ", endpoints[0]),
        format!("warning  {}: a delete event can be lost around a compaction", endpoints[1]),
        format!("ok       {}: its clock agrees with ours", endpoints[2]),
        " of 1 MiB, ".to_owned(),
        "ok       alarms: none".to_owned(),
        "ok       members: 3".to_owned(),
        "ok       /services/: 4 keys: 1 a contender for a lock, 1 instances as go, 1 instances as raw".to_owned(),
        "warning  /services/: 1 have no lease, and stay when their processes end: /services/greeter/one".to_owned(),
        "wrong    /services/: 1 cannot be read, or only in part: /services/greeter/two: `127.0.0.1` has no port"
            .to_owned(),
    ] {
        assert!(out.lines().any(|found| found.contains(&line)), "{line}\n{out}");
    }
    assert!(code == 1 && err.contains("one thing is wrong"), "{code} {err}");
    assert_eq!(out.matches("it leads").count(), 1, "{out}");

    let registry = Registry::new(client(&endpoints[0]), Config::default());
    assert_eq!(registry.client().status().await.unwrap().version, "3.5.1");
    assert_eq!(registry.client().member_list().await.unwrap().len(), 3);
    assert!(registry.client().alarms().await.unwrap().is_empty());

    // Filled until it refuses to write, and one member gone.
    let value = "x".repeat(100_000);
    while etcd.etcdctl(0).run(&["put", "/filler", &value]).await.is_ok() {}
    etcd.kill(2).await;
    eventually("a leader again", async || etcd.etcdctl(0).run(&["get", "/filler", "--keys-only"]).await).await;
    let (code, out, _) = doctor(&["--json", "--wait", "1s"]).await;
    let found: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let wrong: Vec<_> = found.iter().filter(|found| found["grade"] == "wrong").collect();
    assert!(wrong.iter().any(|found| found["text"].as_str().unwrap().contains("NOSPACE")), "{wrong:#?}");
    assert!(wrong.iter().any(|found| found["about"] == *endpoints[2] && found["text"].as_str().unwrap().contains("does not answer")));
    assert_eq!(code, 1);
}

#[tokio::test]
async fn shells_learn_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_waypost")).args(["completions", shell]).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("register") && text.contains("keep-alive"), "{shell}");
    }
}
