//! `waypost` as people type it: register, look, lease, lock, lead, and plain keys, on a real etcd.

use std::fs;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{
    Etcd, PATIENCE, Version,
    etcd::free_port,
    eventually,
    process::Process,
    tools::{Folder, project, tool},
};

struct Cli {
    etcd: Etcd,
}

/// Exit code, standard output, standard error.
type Said = (i32, String, String);

impl Cli {
    async fn new() -> Self {
        Cli { etcd: Etcd::start(Version::Wheel).await }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        // Behind `--` the command's own arguments begin.
        let at = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        command.args(&arguments[..at]).args(["--etcd", &self.endpoint()]).args(&arguments[at..]);
        command
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.etcd.address(0))
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{arguments:?} still runs")).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments).await).unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&format!("waypost {}", arguments.join(" ")), &mut self.command(arguments))
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let said = self.etcd.ctl(&["get", "--prefix", prefix, "--keys-only"]).await;
        said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// Waits until a process has said something.
async fn says(process: &Process, text: &str) {
    eventually(text, || async {
        let log = process.log();
        if log.iter().any(|line| line.contains(text)) { Ok(()) } else { Err(log) }
    })
    .await;
}

/// A web server for a folder, as the command of a registration.
fn web(port: &str) -> Vec<String> {
    let python = tool("python/bin/python", "setup-test").display().to_string();
    [&python, "-m", "http.server", "--bind", "127.0.0.1", port].map(ToOwned::to_owned).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_registered_seen_and_taken_back() {
    let cli = Cli::new().await;
    let mut one = cli.start(&[
        "register",
        "greeter",
        "--address",
        "10.0.0.7:50051",
        "--id",
        "one",
        "--weight",
        "3",
        "--zone",
        "a",
        "--tag",
        "x",
        "--version",
        "1.4",
        "--metadata",
        "k=v",
        "--protocol",
        "grpc",
        "--ttl",
        "3s",
    ]);
    says(&one, "registered /services/greeter/one").await;
    let _web = cli.start(&["register", "web", "--address", "10.0.0.8:80", "--format", "url", "--protocol", "http1"]);
    says(&_web, "registered /services/web/10.0.0.8:80").await;

    let seen = cli.ok(&["services"]).await;
    assert_eq!(
        seen.lines().collect::<Vec<_>>(),
        [
            "SERVICE  INSTANCE     ADDRESS         WEIGHT  VERSION  ZONE  PROTOCOL  TAGS",
            "greeter  one          10.0.0.7:50051  3       1.4      a     http2     x",
            "web      10.0.0.8:80  10.0.0.8:80     1                      http1",
        ]
    );
    let json = cli.json(&["services", "gre", "--json"]).await;
    assert_eq!((json.as_array().unwrap().len(), &json[0]["metadata"]["k"]), (1, &Value::from("v")));
    assert_eq!(cli.ok(&["resolve", "greeter", "--zone", "a", "--tag", "x"]).await, "10.0.0.7:50051\n");
    for (arguments, why) in [
        (&["resolve", "greeter", "--zone", "b"][..], "no instance of service `greeter` is as wanted"),
        (&["resolve", "greter"], "unknown service `greter`"),
    ] {
        let (code, out, err) = cli.run(arguments).await;
        assert!(code == 3 && out.is_empty() && err.contains(why), "{code} {out}{err}");
    }
    let leases = cli.json(&["leases", "--json"]).await;
    assert!(leases.as_array().unwrap().iter().any(|lease| lease["keys"][0] == "/services/greeter/one"), "{leases}");

    let watching = cli.start(&["services", "--watch"]);
    says(&watching, "joined greeter one 10.0.0.7:50051").await;
    one.signal("TERM").await;
    assert!(one.ended(PATIENCE).await.success());
    says(&watching, "left greeter one 10.0.0.7:50051").await;
    assert_eq!(cli.keys("/services/greeter/").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_registered_when_it_is_healthy_and_ended_in_good_order() {
    let cli = Cli::new().await;
    let port = free_port().to_string();
    let address = format!("127.0.0.1:{port}");
    let web = web(&port);
    let mut arguments = vec!["register", "web", "--address", &address, "--health", "http:/", "--drain", "1s", "--"];
    arguments.extend(web.iter().map(String::as_str));
    let mut process = cli.start(&arguments);
    says(&process, "registered /services/web/").await;
    assert_eq!(reqwest(&address).await, 200);
    process.signal("TERM").await;
    // First the registration goes, and the command still answers.
    eventually("the registration to go", || async {
        let keys = cli.keys("/services/web/").await;
        if keys.is_empty() { Ok(()) } else { Err(keys) }
    })
    .await;
    assert_eq!(reqwest(&address).await, 200);
    let status = process.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(128 + 15), "the command's own end, by SIGTERM");
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}

async fn reqwest(address: &str) -> u16 {
    crate::harness::client::get(address.parse().unwrap(), "/").await.expect("an answer").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_s_exit_code_and_signals_pass_through() {
    let cli = Cli::new().await;
    let sh = |script: &'static str| ["lock", "x", "--ttl", "3s", "--", "sh", "-c", script];
    assert_eq!(cli.run(&sh("exit 7")).await.0, 7);
    assert_eq!(cli.run(&sh("kill -KILL $$")).await.0, 128 + 9);
    let (code, _, err) = cli.run(&["lock", "x", "--", "/no/such/program"]).await;
    assert!(code == 127 && err.contains("`/no/such/program` cannot be run"), "{code} {err}");
    assert_eq!(cli.run(&["lock", "x", "--", "/"]).await.0, 126);
    let said = cli.ok(&sh("echo $LOCK_NAME $LOCK_KEY $LOCK_TOKEN")).await;
    let parts: Vec<_> = said.split_whitespace().collect();
    assert!(parts[0] == "x" && parts[1].starts_with("/locks/x/") && parts[2].parse::<i64>().unwrap() > 0, "{said}");

    let script = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let mut process = cli.start(&sh(script));
    says(&process, "ready").await;
    process.signal("USR1").await;
    says(&process, "usr1").await;
    process.signal("TERM").await;
    assert_eq!(process.ended(PATIENCE).await.code(), Some(3));
    assert!(process.log().contains(&"term".to_owned()), "{:?}", process.log());
    assert_eq!(cli.keys("/locks/").await, [""; 0]);

    // A command that ends before it is healthy was never registered.
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (code, out, err) = cli.run(&["register", "a", "--address", &address, "--", "sh", "-c", "exit 5"]).await;
    assert!(code == 5 && out.is_empty() && err.contains("ended before it was healthy"), "{code} {out}{err}");
    let (code, _, err) = cli.run(&["register", "a", "--address", &address, "--start", "1s", "--", "sleep", "60"]).await;
    assert!(code == 1 && err.contains("was not healthy within 1s"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_leaves_no_orphan_when_waypost_is_killed() {
    let cli = Cli::new().await;
    let folder = Folder::new("orphan");
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 300", file.display());
    let mut process = cli.start(&["lock", "x", "--ttl", "3s", "--", "sh", "-c", &script]);
    let pid = eventually("the command to run", async || match fs::read_to_string(&file) {
        Ok(text) if text.ends_with('\n') => Ok(text.trim().to_owned()),
        other => Err(other),
    })
    .await;
    assert!(fs::exists(format!("/proc/{pid}")).unwrap());
    process.kill().await;
    eventually("the command to end", async || {
        // Whoever takes in orphans may be slow to bury them.
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if status.is_empty() || status.contains(") Z ") { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_seen_waited_for_and_lost() {
    let cli = Cli::new().await;
    let mut holder = cli.start(&["lock", "job", "--ttl", "3s", "--as", "worker-1"]);
    says(&holder, "holding job with the fencing token").await;
    let (code, _, err) = cli.run(&["lock", "job", "--try", "--", "true"]).await;
    assert!(code == 3 && err.contains("somebody else has the lock"), "{err}");
    assert_eq!(cli.run(&["lock", "job", "--timeout", "500ms"]).await.0, 3);
    let mut waiter = cli.start(&["lock", "job", "--ttl", "3s", "--", "sh", "-c", "echo mine; exec sleep 300"]);
    eventually("a waiter", || async {
        let locks = cli.json(&["locks", "--json"]).await;
        if locks[0]["waiters"].as_array().is_some_and(|waiters| waiters.len() == 1) { Ok(()) } else { Err(locks) }
    })
    .await;
    let shown = cli.ok(&["locks", "job"]).await;
    assert!(shown.contains("holds      worker-1") && shown.contains("waits, 1."), "{shown}");
    let locks = cli.json(&["locks", "--json"]).await;
    assert_eq!(locks[0]["holder"]["name"], "worker-1", "{locks}");
    holder.signal("TERM").await;
    assert!(holder.ended(PATIENCE).await.success());
    says(&waiter, "mine").await;

    let locks = cli.json(&["locks", "job", "--json"]).await;
    cli.ok(&["lease", "revoke", locks[0]["holder"]["lease"].as_str().unwrap()]).await;
    assert_eq!(waiter.ended(PATIENCE).await.code(), Some(4));
    let log = waiter.log().join("\n");
    assert!(log.contains("the lock `job` is lost: its key is gone") && log.contains("the command was ended"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_elections_and_keys() {
    let cli = Cli::new().await;
    let lease = cli.ok(&["lease", "grant", "30s"]).await.trim().to_owned();
    cli.ok(&["put", "/config/a", "1", "--lease", &lease]).await;
    let ttl = cli.json(&["lease", "ttl", &lease, "--json"]).await;
    assert_eq!((&ttl["ttl_seconds"], &ttl["keys"][0]), (&Value::from(30), &Value::from("/config/a")));
    let mut keeping = cli.start(&["lease", "keep-alive", &lease]);
    let watching = cli.start(&["watch", "/config/", "--prefix"]);
    eventually("the watch to begin", || async {
        cli.etcd.put("/config/b", "two").await;
        if watching.log().iter().any(|line| line == "put /config/b two") { Ok(()) } else { Err(watching.log()) }
    })
    .await;
    assert_eq!(cli.ok(&["get", "/config/a"]).await, "1\n");
    assert_eq!(cli.ok(&["get", "/config/", "--prefix"]).await, "KEY        VALUE\n/config/a  1\n/config/b  two\n");
    assert_eq!(cli.json(&["get", "/config/a", "--json"]).await["lease"], lease.as_str());
    cli.ok(&["lease", "revoke", &lease]).await;
    says(&watching, "delete /config/a").await;
    assert_eq!(keeping.ended(PATIENCE).await.code(), Some(4));
    for arguments in [["lease", "ttl", &lease], ["lease", "revoke", &lease], ["get", "/config/a", "--json"]] {
        assert_eq!(cli.run(&arguments).await.0, 3, "{arguments:?}");
    }

    assert_eq!(cli.run(&["elect", "boss", "--show"]).await.0, 3);
    let listening = cli.start(&["elect", "boss", "--listen"]);
    says(&listening, "(nobody leads)").await;
    let mut boss = cli.start(&["elect", "boss", "host-7", "--ttl", "3s"]);
    says(&boss, "leading boss with the fencing token").await;
    assert_eq!(cli.ok(&["elect", "boss", "--show"]).await, "host-7\n");
    says(&listening, "host-7").await;
    boss.signal("INT").await;
    assert!(boss.ended(PATIENCE).await.success());
    eventually("nobody to lead", || async { if listening.log().len() == 3 { Ok(()) } else { Err(listening.log()) } })
        .await;
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_is_done() {
    for (arguments, code, why) in [
        (&["register", "a", "--address", "here"][..], 2, "no port"),
        (&["register", "a/", "--address", "a:1", "--etcd", "http://127.0.0.1:1"], 2, "slash"),
        (&["register", "a", "--address", "a:1", "--ttl", "5"], 2, "no unit"),
        (&["register", "a", "--address", "a:1", "--health", "udp", "--", "true"], 2, "http:/path"),
        (
            &["register", "a", "--address", "a:1", "--weight", "2", "--format", "raw", "--etcd", "http://127.0.0.1:1"],
            2,
            "no place",
        ),
        (&["lease", "ttl", "xyz"], 2, "hexadecimal"),
        (&["get", "a", "--client", "other"], 2, "there are only default"),
        (&["get", "a", "--etcd", "http://127.0.0.1:1"], 1, "127.0.0.1:1"),
        (&["services", "--wait", "300ms", "--etcd", "http://127.0.0.1:1"], 1, "could not be read within"),
        (&["exec-bound", "--parent", "1", "--", "true"], 1, "has ended"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_waypost")).args(arguments).output().await.unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && err.contains(why), "{arguments:?}: {} {err}", output.status);
    }
    // Everything that the command line can do stands in its help.
    let help = Command::new(env!("CARGO_BIN_EXE_waypost")).arg("--help").output().await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for command in
        ["register", "services", "resolve", "leases", "lease", "locks", "lock", "elect", "get", "put", "watch"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(!help.contains("exec-bound") && project("README.md").exists());
}
