//! etcdctl says the same of the embedded etcd as of a real one: every command is run against both, and what they print
//! is compared, but for ids and times.

use std::{fmt::Write as _, process::Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::harness::{Etcd, Etcdctl, Version, embedded, eventually, process::Process};

/// What a session of commands printed, without what differs from server to server.
struct Transcript {
    ctl: Etcdctl,
    text: String,
}

impl Transcript {
    /// Runs a command and notes what it printed or complained of.
    async fn run(&mut self, arguments: &[&str]) -> String {
        let said = match self.ctl.run(arguments).await {
            Ok(said) => said,
            // The last line is etcdctl's own; those before it are its log.
            Err(complaint) => complaint.trim_end().lines().last().unwrap_or_default().to_owned() + "\n",
        };
        writeln!(self.text, "$ {}\n{}", without_ids(&arguments.join(" ")), without_ids(&said)).unwrap();
        said
    }

    /// The same with JSON, of which the numbers of the cluster and its member are left out.
    async fn json(&mut self, arguments: &[&str]) -> Value {
        let said = self.ctl.run(&[arguments, &["--write-out=json"]].concat()).await.unwrap();
        let json: Value = serde_json::from_str(&said).unwrap();
        let mut shown = json.clone();
        blank(&mut shown);
        writeln!(self.text, "$ {} (json)\n{shown:#}", without_ids(&arguments.join(" "))).unwrap();
        json
    }

    async fn txn(&mut self, text: &str) {
        let mut command = self.ctl.command(&["txn"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{text}");
        writeln!(self.text, "$ txn {text}\n{}", String::from_utf8(output.stdout).unwrap()).unwrap();
    }

    /// Waits for so many lines of a command that goes on, and notes them.
    async fn lines(&mut self, process: &Process, count: usize) -> Vec<String> {
        let lines = said(process, count).await;
        writeln!(self.text, "{}", without_ids(&lines.join("\n"))).unwrap();
        lines
    }
}

/// What a command that goes on has said, when that is so many lines.
async fn said(process: &Process, count: usize) -> Vec<String> {
    eventually("etcdctl to say more", || async {
        let log = process.log();
        if log.len() >= count { Ok(log) } else { Err(log) }
    })
    .await
}

/// Ids of leases and members, which are 12 to 16 hexadecimal digits.
fn without_ids(text: &str) -> String {
    let is_id = |word: &str| (12..=16).contains(&word.len()) && word.chars().all(|c| c.is_ascii_hexdigit());
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| {
            let id = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if is_id(id) { word.replace(id, "ID") } else { word.to_owned() }
        })
        .collect()
}

/// Overwrites what belongs to one server: ids, the term, the remaining time.
fn blank(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match name.as_str() {
                    "cluster_id" | "member_id" | "raft_term" | "id" | "ID" | "ttl" | "lease" => *value = "…".into(),
                    _ => blank(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(blank),
        _ => {}
    }
}

async fn keys_and_values(of: &mut Transcript) {
    for command in [
        &["put", "/a/1", "one"][..],
        &["put", "/a/2", "two", "--prev-kv"],
        &["put", "/a/1", "three", "--prev-kv"],
        &["put", "/b", "other"],
        &["get", "--prefix", "/a/"],
        &["get", "--prefix", "/a/", "--keys-only"],
        &["get", "--prefix", "", "--order=DESCEND", "--sort-by=MODIFY", "--limit=2"],
        &["get", "--from-key", "/a/2"],
        &["get", "/a/1", "--rev=2"],
        &["get", "/a/1", "--rev=99"],
        &["get", "/nothing"],
        &["del", "/a/2", "--prev-kv"],
        &["del", "/a/2"],
        &["compaction", "4"],
        &["compaction", "4"],
        &["get", "/a/1", "--rev=3"],
    ] {
        of.run(command).await;
    }
    of.json(&["get", "--prefix", ""]).await;
    of.txn("value(\"/a/1\") = \"three\"\nmod(\"/b\") > \"2\"\n\nput /a/4 four\nget --prefix /a/\n\ndel /b\n\n").await;
    of.txn("create(\"/a/4\") = \"0\"\n\nput /a/4 five\n\ndel /a/ --prefix\nget /a/4\n\n").await;
}

async fn leases(of: &mut Transcript) {
    let grant = async |of: &mut Transcript| {
        let said = of.run(&["lease", "grant", "60"]).await;
        said.split_whitespace().nth(1).unwrap().to_owned()
    };
    let (one, two) = (grant(of).await, grant(of).await);
    of.run(&["put", &format!("--lease={one}"), "/l/1", "x"]).await;
    of.run(&["put", &format!("--lease={one}"), "/l/2", "x"]).await;
    of.run(&["put", "/l/2", "detached"]).await;
    of.run(&["lease", "keep-alive", "--once", &one]).await;
    let left = of.json(&["lease", "timetolive", "--keys", &one]).await;
    assert!((50..=60).contains(&left["ttl"].as_i64().unwrap()), "{left}");
    of.run(&["lease", "revoke", &one]).await;
    of.run(&["lease", "revoke", &one]).await;
    of.run(&["lease", "timetolive", &one]).await;
    of.run(&["lease", "keep-alive", "--once", &one]).await;
    of.run(&["put", &format!("--lease={one}"), "/l/3", "x"]).await;
    of.run(&["get", "--prefix", "/l/"]).await;
    let listed = of.run(&["lease", "list"]).await;
    assert!(listed.contains(&two), "{listed}");
    // It is renewed by itself, and says so.
    let short = of.run(&["lease", "grant", "2"]).await;
    let renewing = of.ctl.start(&["lease", "keep-alive", short.split(' ').nth(1).unwrap()]);
    of.lines(&renewing, 3).await;
}

async fn watches(of: &mut Transcript) {
    let past = of.ctl.start(&["watch", "--prefix", "/w/", "--rev=4", "--prev-kv"]);
    let filtered = of.ctl.start(&["watch", "/w/1"]);
    // It is there when it sees a put; those before are not shown.
    eventually("the watch to begin", || async {
        of.ctl.run(&["put", "/w/1", "ready"]).await.unwrap();
        if filtered.log().is_empty() { Err("nothing yet") } else { Ok(()) }
    })
    .await;
    of.run(&["put", "/w/1", "one"]).await;
    of.run(&["put", "/w/2", "two"]).await;
    of.run(&["del", "--prefix", "/w/"]).await;
    eventually("the watches to see the end", || async {
        let ends = |log: Vec<String>| log.iter().filter(|line| *line == "DELETE").count();
        let seen = (ends(past.log()), ends(filtered.log()));
        if seen == (2, 1) { Ok(()) } else { Err(seen) }
    })
    .await;
    // How often "ready" was put before it was seen depends on the moment.
    for process in [past, filtered] {
        let log: Vec<_> = process.log().into_iter().skip_while(|line| line != "one").collect();
        writeln!(of.text, "{}", log.join("\n")).unwrap();
    }
    of.run(&["watch", "/w/", "--rev=2"]).await;
}

/// Two want a lock; the second has it when the first lets go. The same for an election, which others observe.
async fn locks_and_elections(of: &mut Transcript) {
    of.run(&["lock", "/locks/job", "echo", "held"]).await;
    let mut first = of.ctl.start(&["lock", "/locks/job"]);
    let held = said(&first, 1).await[0].clone();
    let second = of.ctl.start(&["lock", "/locks/job"]);
    let queue = eventually("both to stand in the queue", || async {
        let queue = of.ctl.run(&["get", "--prefix", "/locks/job/", "--keys-only", "--sort-by=CREATE"]).await.unwrap();
        let queue: Vec<_> = queue.split_whitespace().map(str::to_owned).collect();
        if queue.len() == 2 { Ok(queue) } else { Err(queue) }
    })
    .await;
    assert_eq!(queue[0], held);
    assert!(second.log().is_empty());
    first.signal("INT").await;
    first.ended(crate::harness::PATIENCE).await;
    assert_eq!(said(&second, 1).await[0], queue[1]);

    let mut leader = of.ctl.start(&["elect", "/elections/boss", "anna"]);
    of.lines(&leader, 2).await;
    let observer = of.ctl.start(&["elect", "--listen", "/elections/boss"]);
    of.lines(&observer, 2).await;
    let candidate = of.ctl.start(&["elect", "/elections/boss", "ben"]);
    leader.signal("INT").await;
    leader.ended(crate::harness::PATIENCE).await;
    of.lines(&candidate, 2).await;
    of.lines(&observer, 4).await;
}

async fn the_server(of: &mut Transcript) {
    let status = of.ctl.run(&["endpoint", "status", "--write-out=json"]).await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let status = &status[0]["Status"];
    assert_eq!(status["leader"], status["header"]["member_id"]);
    assert!(status["version"].as_str().unwrap().starts_with("3."), "{status}");
    let health = of.ctl.run(&["endpoint", "health"]).await.unwrap_or_default();
    // 3.4 says it on standard error.
    assert!(health.is_empty() || health.contains("is healthy"), "{health}");
    of.run(&["alarm", "list"]).await;
    let members = of.ctl.run(&["member", "list"]).await.unwrap();
    assert!(members.contains("started") && members.contains(&of.ctl.server.to_string()), "{members}");
    let hash = of.ctl.run(&["endpoint", "hashkv"]).await.unwrap();
    assert!(hash.contains(&of.ctl.server.to_string()), "{hash}");
    of.run(&["move-leader", "1"]).await;
}

async fn session(version: Version, server: std::net::SocketAddr) -> String {
    let mut of = Transcript { ctl: Etcdctl { version, server }, text: String::new() };
    keys_and_values(&mut of).await;
    leases(&mut of).await;
    watches(&mut of).await;
    locks_and_elections(&mut of).await;
    the_server(&mut of).await;
    of.text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_says_the_same_as_of_a_real_etcd() {
    for version in Version::LOCAL {
        let (real, embedded) = (Etcd::start(version).await, embedded::start().await);
        let expected = session(version, real.address(0)).await;
        let said = session(version, embedded.address()).await;
        for (at, (said, expected)) in said.lines().zip(expected.lines()).enumerate() {
            assert_eq!(said, expected, "{version:?}, line {at} of a session that should be\n{expected}");
        }
        assert_eq!(said.lines().count(), expected.lines().count());
    }
}
