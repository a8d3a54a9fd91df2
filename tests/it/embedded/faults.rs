//! Each fault that the embedded etcd makes on command, as the table that follows it lives through it.

use std::time::Duration;

use tokio::process::Command;
use waypost::embedded::{Code, Config, Server};
use waypost::etcd::{self, Client, Operation};
use waypost::table::Relist;

use crate::{
    etcd_table::{configured, count, put, quick, start, state, until},
    harness::{PATIENCE, embedded, process::run},
};

async fn server() -> (Server, Client) {
    let server = embedded::start().await;
    let client = client(&server);
    (server, client)
}

fn client(server: &Server) -> Client {
    configured(etcd::Config { endpoints: vec![format!("http://{}", server.address())], ..etcd::Config::default() })
}

#[tokio::test]
async fn watches_and_connections_that_are_cut_are_taken_up_where_they_were() {
    let (server, client) = server().await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    for (n, cut) in
        [|server: &Server| server.faults().cut_watches(), |server: &Server| server.faults().cut_connections()]
            .into_iter()
            .enumerate()
    {
        let before = state(&table).watch_restarts;
        cut(&server);
        until(&table, |table| state(table).watch_restarts > before).await;
        put(&client, &format!("/services/a/new{n}"), &format!("10.0.1.{n}:1")).await;
        until(&table, |table| count(table, "a") == n + 2 && state(table).error.is_none()).await;
    }
    assert!(state(&table).relists.is_empty(), "{:?}", state(&table));
}

#[tokio::test]
async fn watches_that_stall_are_noticed_and_nothing_is_missed() {
    let (server, client) = server().await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    server.faults().stall_watches(true);
    put(&client, "/services/a/2", "10.0.0.2:1").await;
    until(&table, |table| state(table).error.is_some()).await;
    assert_eq!(count(&table, "a"), 1);
    server.faults().stall_watches(false);
    until(&table, |table| count(table, "a") == 2 && state(table).error.is_none()).await;
    assert!(state(&table).relists.is_empty(), "{:?}", state(&table));
}

#[tokio::test]
async fn what_is_compacted_meanwhile_is_listed_again() {
    let (server, client) = server().await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    server.faults().stall_watches(true);
    client.delete(b"/services/a/1").await.unwrap();
    put(&client, "/services/a/2", "10.0.0.2:1").await;
    put(&client, "/services/a/3", "10.0.0.3:1").await;
    until(&table, |table| state(table).error.is_some()).await;
    server.faults().compact(None).unwrap();
    let error = server.faults().compact(None).unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: mvcc: required revision has been compacted");
    server.faults().stall_watches(false);
    until(&table, |table| count(table, "a") == 2 && state(table).error.is_none()).await;
    assert_eq!(state(&table).relists.get(&Relist::Compacted), Some(&1));
}

#[tokio::test]
async fn a_lease_ends_on_command() {
    let (server, client) = server().await;
    let lease = client.grant(Duration::from_mins(1)).await.unwrap();
    client.put(b"/services/a/1", b"10.0.0.1:1", lease).await.unwrap();
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    assert!(client.keep_alive(lease).await.unwrap());
    server.faults().expire_lease(lease).unwrap();
    until(&table, |table| count(table, "a") == 0).await;
    assert!(!client.keep_alive(lease).await.unwrap());
    assert!(client.revoke(lease).await.unwrap_err().to_string().contains("lease not found"));
    assert!(server.faults().expire_lease(lease).is_err());
    assert!(client.put(b"/services/a/1", b"10.0.0.1:1", lease).await.is_err());
}

#[tokio::test]
async fn calls_are_refused_so_many_times() {
    let (server, client) = server().await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    server.faults().refuse("Range", Code::ResourceExhausted, 2);
    server.faults().refuse("Watch/Watch", Code::Unavailable, 1);
    for _ in 0..2 {
        let error = client.list(b"/").await.unwrap_err().to_string();
        assert!(error.contains("refused on command"), "{error}");
    }
    client.list(b"/").await.unwrap();
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    until(&table, |table| count(table, "a") == 1 && state(table).error.is_none()).await;
}

#[tokio::test]
async fn calls_are_delayed_until_that_is_over() {
    let (server, client) = server().await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    // Longer than the client waits.
    server.faults().delay(Duration::from_secs(3));
    assert!(matches!(client.list(b"/").await, Err(etcd::Error::Timeout { operation: Operation::Range, .. })));
    server.faults().delay(Duration::ZERO);
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    assert_eq!(count(&table, "a"), 1);
}

#[tokio::test]
async fn a_registry_that_lost_everything_is_doubted_and_then_believed() {
    let (server, client) = server().await;
    for n in 1..=4 {
        put(&client, &format!("/services/a/{n}"), &format!("10.0.0.{n}:1")).await;
    }
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    server.faults().lose_all_data();
    assert_eq!(server.faults().revision(), 1);
    until(&table, |table| state(table).doubted == 4 && state(table).error.is_none()).await;
    assert_eq!(count(&table, "a"), 4, "none of them is given up before it is known to be gone");
    assert_eq!(state(&table).relists.get(&Relist::OtherData), Some(&1));
    put(&client, "/services/a/2", "10.0.0.2:1").await;
    until(&table, |table| state(table).doubted == 3).await;
}

#[tokio::test]
async fn an_earlier_revision_is_other_data() {
    let (server, client) = server().await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    put(&client, "/services/a/2", "10.0.0.2:1").await;
    let backup = server.faults().revision();
    put(&client, "/services/a/3", "10.0.0.3:1").await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    assert_eq!(count(&table, "a"), 3);
    assert!(server.faults().rewind(backup + 2).is_err());
    server.faults().rewind(backup).unwrap();
    until(&table, |table| count(table, "a") == 2 && state(table).error.is_none()).await;
    assert_eq!(state(&table).relists.get(&Relist::OtherData), Some(&1));
    assert_eq!(state(&table).revision, backup);
}

/// What curl is answered at a path, with the status.
async fn curl(server: &Server, path: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "%{http_code}"]).args(arguments).arg(format!("http://{}{path}", server.address()));
    run("curl", PATIENCE, &mut command).await
}

#[tokio::test]
async fn tests_in_any_language_order_faults_over_http() {
    let server = embedded::with(Config { faults_over_http: true, ..Config::default() }).await;
    let client = client(&server);
    let lease = client.grant(Duration::from_mins(1)).await.unwrap();
    client.put(b"/a", b"1", lease).await.unwrap();
    client.put(b"/b", b"1", 0).await.unwrap();
    for (document, answer) in [
        ("refuse: {method: Put, status: RESOURCE_EXHAUSTED, times: 1}", "done\n200"),
        ("{\"delay\": \"1ms\", \"stall_watches\": false}", "done\n200"),
        ("compact: 0", "done\n200"),
        ("compact: 0", "etcdserver: mvcc: required revision has been compacted\n400"),
        ("rewind: 99", "etcdserver: mvcc: required revision is a future revision\n400"),
        (
            "refuse: {method: KV/Nope}",
            "faults:1:10: refuse.method: is no call of the API; write it such as KV/Put, Watch/Watch or Lease/LeaseGrant\n400",
        ),
        ("cut_watchs: true", "faults:1:1: cut_watchs: unknown key; did you mean `cut_watches`?\n400"),
        (
            "expire_lease: xyz",
            "faults:1:1: expire_lease: `xyz` is no lease id; write it in hexadecimal digits, as etcdctl does\n400",
        ),
    ] {
        assert_eq!(curl(&server, "/faults", &["-d", document]).await, answer, "{document}");
    }
    assert!(client.put(b"/b", b"2", 0).await.unwrap_err().to_string().contains("refused on command"));
    client.put(b"/b", b"2", 0).await.unwrap();
    assert_eq!(curl(&server, "/faults", &["-d", &format!("expire_lease: {lease:x}")]).await, "done\n200");
    assert_eq!(client.list(b"/").await.unwrap().keys.len(), 1);
    assert_eq!(curl(&server, "/faults", &["-d", "lose_all_data: true"]).await, "done\n200");
    assert_eq!(server.faults().revision(), 1);

    // A page in a browser, or somebody who only looks, orders nothing.
    for arguments in [&["-d", "cut_watches: true", "-H", "Origin: http://example.com"][..], &[]] {
        assert!(curl(&server, "/faults", arguments).await.ends_with("405"));
    }
    let unasked = embedded::start().await;
    assert!(curl(&unasked, "/faults", &["-d", "cut_watches: true"]).await.ends_with("404"));
}

#[tokio::test]
async fn curl_is_told_what_this_is() {
    let server = embedded::start().await;
    assert_eq!(curl(&server, "/health", &[]).await, "{\"health\":\"true\",\"reason\":\"\"}200");
    assert!(curl(&server, "/version", &[]).await.contains("\"etcdserver\":\"3."));
    assert!(curl(&server, "/v3/kv/range", &["-d", "{}"]).await.contains("there is no JSON gateway"));
}
