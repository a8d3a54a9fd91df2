//! What happens to one server: it dies, stands still, forgets, or no longer takes a token.

use std::time::Duration;

use waypost::config::Secret;
use waypost::etcd::{self, Client, Operation};
use waypost::table::{Config, Relist};

use super::super::harness::{Etcd, Version};
use super::{client, count, delete, put, quick, raw, start, state, until, url};

fn relists(table: &waypost::table::Table, reason: Relist) -> u64 {
    state(table).relists.get(&reason).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_followed_from_where_it_was() {
    for version in Version::LOCAL {
        let mut etcd = Etcd::start(version).await;
        let client = client(&etcd);
        put(&client, "/services/a/1", "10.0.0.1:1").await;
        put(&client, "/services/a/2", "10.0.0.2:1").await;
        let (table, _tasks) = start(&client, "/services/", quick()).await;

        etcd.kill(0).await;
        until(&table, |table| state(table).error.is_some()).await;
        assert_eq!(count(&table, "a"), 2, "the last known table goes on serving");
        assert!(table.ready());

        etcd.restart(0).await;
        put(&client, "/services/a/3", "10.0.0.3:1").await;
        until(&table, |table| count(table, "a") == 3 && state(table).error.is_none()).await;
        let status = state(&table);
        assert!(status.watch_restarts > 0);
        assert!(status.relists.is_empty(), "it was resumed, not listed again: {status:?}");
        assert!(status.age.unwrap() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed_although_its_connection_lives() {
    let etcd = Etcd::start(Version::LOCAL[0]).await;
    let client = client(&etcd);
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    until(&table, |table| state(table).age.is_some()).await;

    etcd.freeze(0).await;
    until(&table, |table| state(table).error.is_some()).await;
    let error = state(&table).error.unwrap();
    assert!(error.contains("nothing came") || error.contains("no answer"), "{error}");
    assert!(state(&table).age.unwrap() >= quick().silence);
    assert_eq!(count(&table, "a"), 1);

    etcd.thaw(0).await;
    put(&client, "/services/a/2", "10.0.0.2:1").await;
    until(&table, |table| count(table, "a") == 2 && state(table).error.is_none()).await;
}

#[tokio::test]
async fn a_quiet_prefix_is_not_taken_for_a_dead_one() {
    for version in Version::LOCAL {
        let etcd = Etcd::start(version).await;
        let client = client(&etcd);
        let (table, _tasks) = start(&client, "/services/", quick()).await;
        tokio::time::sleep(quick().silence * 2).await; // the time itself is what is tested
        let status = state(&table);
        assert!(status.age.unwrap() < quick().silence, "{status:?}");
        assert_eq!((status.watch_restarts, status.error), (0, None));
    }
}

#[tokio::test]
async fn history_compacted_while_it_was_away_is_made_good_by_a_list() {
    for version in Version::LOCAL {
        let mut etcd = Etcd::start(version).await;
        let client = client(&etcd);
        put(&client, "/services/a/1", "10.0.0.1:1").await;
        put(&client, "/services/a/2", "10.0.0.2:1").await;
        put(&client, "/services/a/3", "10.0.0.3:1").await;
        // Nobody but the table knows the frozen client: it stands still while the history moves on.
        let gate = Gate::open(url(&etcd, 0)).await;
        let behind = super::configured(etcd::Config { endpoints: vec![gate.url()], ..etcd::Config::default() });
        let (table, _tasks) = start(&behind, "/services/", quick()).await;
        gate.close();
        until(&table, |table| state(table).error.is_some()).await;

        delete(&client, "/services/a/1").await;
        put(&client, "/services/a/4", "10.0.0.4:1").await;
        for n in 0..20 {
            put(&client, "/elsewhere", &n.to_string()).await;
        }
        let revision = client.list(b"/elsewhere").await.unwrap().header.revision;
        raw(&etcd).await.compact(revision, None).await.unwrap();
        // A restart has the server forget what it might still have in memory.
        etcd.kill(0).await;
        etcd.restart(0).await;

        gate.reopen();
        until(&table, |table| count(table, "a") == 3 && state(table).error.is_none()).await;
        assert_eq!(relists(&table, Relist::Compacted), 1, "{:?}", state(&table));
        assert_eq!(super::addresses(&table.slot("a").unwrap().endpoints()), ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"]);
    }
}

#[tokio::test]
async fn lost_data_is_noticed_and_what_was_lost_is_doubted() {
    for version in Version::LOCAL {
        let mut etcd = Etcd::start(version).await;
        let client = client(&etcd);
        for n in 1..=4 {
            put(&client, &format!("/services/a/{n}"), &format!("10.0.0.{n}:1")).await;
        }
        let config = Config { doubt_limit: Duration::from_secs(10), ..quick() };
        let (table, _tasks) = start(&client, "/services/", config).await;

        etcd.kill(0).await;
        etcd.wipe(0);
        etcd.restart(0).await;
        until(&table, |table| state(table).doubted == 4).await;
        assert_eq!(count(&table, "a"), 4, "they may live: they are kept");
        assert!(relists(&table, Relist::OtherData) > 0);
        assert!(state(&table).revision < 5, "the revision is the new store's");

        // One proves dead, one registers again, the others' time ends.
        let endpoints = table.slot("a").unwrap().endpoints();
        endpoints.iter().find(|e| &*e.label == "10.0.0.1:1").unwrap().state.mark_unreachable();
        put(&client, "/services/a/2", "10.0.0.2:1").await;
        until(&table, |table| (state(table).instances, state(table).doubted) == (3, 2)).await;
        until(&table, |table| (state(table).instances, state(table).doubted) == (1, 0)).await;
        assert_eq!(super::addresses(&table.slot("a").unwrap().endpoints()), ["10.0.0.2:1"]);
    }
}

#[tokio::test]
async fn leases_that_end_after_a_restart_are_doubted() {
    let mut etcd = Etcd::start(Version::LOCAL[0]).await;
    let lease = etcd.grant(5).await;
    for n in 1..=3 {
        etcd.put_leased(&format!("/services/a/{n}"), &format!("10.0.0.{n}:1"), &lease).await;
    }
    let keeper = etcd.keep_alive(&lease);
    let (table, _tasks) = start(&client(&etcd), "/services/", quick()).await;
    etcd.kill(0).await;
    drop(keeper);
    etcd.restart(0).await;
    until(&table, |table| state(table).doubted == 3).await;
    assert_eq!(count(&table, "a"), 3);
}

/// Users with a token that lasts two seconds.
async fn with_auth(version: Version) -> (Etcd, Client) {
    let etcd = Etcd::cluster(version, 1, &["--auth-token-ttl", "2"]).await;
    let mut raw = raw(&etcd).await;
    raw.user_add("root", "secret", None).await.unwrap();
    raw.role_add("root").await.unwrap();
    raw.user_grant_role("root", "root").await.unwrap();
    let config = etcd::Config {
        endpoints: vec![url(&etcd, 0)],
        user: Some("root".to_owned()),
        password: Some(Secret::new("secret")),
        ..etcd::Config::default()
    };
    // It logs in before there is anything to log in to, which does no harm.
    let client = super::configured(config);
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    raw.auth_enable().await.unwrap();
    (etcd, client)
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_for_calls_and_watches() {
    for version in Version::LOCAL {
        let (_etcd, client) = with_auth(version).await;
        let (table, _tasks) = start(&client, "/services/", quick()).await;
        tokio::time::sleep(Duration::from_secs(5)).await; // tokens live two seconds
        put(&client, "/services/a/2", "10.0.0.2:1").await;
        until(&table, |table| count(table, "a") == 2).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        delete(&client, "/services/a/1").await;
        until(&table, |table| count(table, "a") == 1).await;
    }
}

#[tokio::test]
async fn a_change_of_users_that_voids_all_tokens_is_survived() {
    for version in Version::LOCAL {
        let (_etcd, client) = with_auth(version).await;
        let (table, _tasks) = start(&client, "/services/", quick()).await;
        let mut root = etcd_client::Client::connect(
            [client.config().endpoints[0].clone()],
            Some(etcd_client::ConnectOptions::new().with_user("root", "secret")),
        )
        .await
        .unwrap();
        for n in 2..5 {
            root.user_add(format!("user{n}"), "x", None).await.unwrap();
            put(&client, &format!("/services/a/{n}"), &format!("10.0.0.{n}:1")).await;
            until(&table, |table| count(table, "a") == n).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_hold_it() {
    let (etcd, _client) = with_auth(Version::LOCAL[0]).await;
    let metrics = etcd::Metrics::default();
    let config = etcd::Config {
        endpoints: vec![url(&etcd, 0)],
        user: Some("root".to_owned()),
        password: Some(Secret::new("hunter2")),
        ..etcd::Config::default()
    };
    assert!(!format!("{config:?}").contains("hunter2"));
    let client = Client::new("default", config, metrics.clone());
    let error = client.list(b"/services/").await.unwrap_err();
    assert!(matches!(error, etcd::Error::Authenticate { .. }), "{error:?}");
    assert!(!error.is_retryable());
    let texts = format!("{error} {error:?}");
    assert!(!texts.contains("hunter2"), "{texts}");
    assert_eq!(metrics.calls(Operation::Authenticate, "INVALID_ARGUMENT"), 1);
    assert_eq!(metrics.calls(Operation::Range, "OK"), 0);
}

#[tokio::test]
async fn a_user_without_rights_is_told_so_and_does_not_loop() {
    let (etcd, client) = with_auth(Version::LOCAL[0]).await;
    let mut root = etcd_client::Client::connect(
        [url(&etcd, 0)],
        Some(etcd_client::ConnectOptions::new().with_user("root", "secret")),
    )
    .await
    .unwrap();
    root.user_add("reader", "x", None).await.unwrap();
    root.role_add("reader").await.unwrap();
    root.user_grant_role("reader", "reader").await.unwrap();
    let metrics = etcd::Metrics::default();
    let config =
        etcd::Config { user: Some("reader".to_owned()), password: Some(Secret::new("x")), ..client.config().clone() };
    let reader = Client::new("default", config, metrics.clone());
    let source = waypost::table::Source { prefix: waypost::table::Prefix::new("default", "/services"), client: reader };
    let (table, _tasks) = waypost::table::start(vec![source], quick()).await;
    until(&table, |table| state(table).error.is_some_and(|error| error.contains("permission denied"))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = metrics.calls(Operation::Range, "PERMISSION_DENIED");
    assert!((1..=10).contains(&calls), "{calls} calls in two seconds");
    assert!(!table.ready());

    // The right is granted: nothing has to be restarted.
    let permission = etcd_client::Permission::read("/services/").with_prefix();
    root.role_grant_permission("reader", permission).await.unwrap();
    until(&table, |table| count(table, "a") == 1 && table.ready()).await;
}

/// A relay before etcd that can be closed without etcd's knowledge.
struct Gate {
    port: u16,
    open: tokio::sync::watch::Sender<bool>,
    _task: tokio::task::JoinHandle<()>,
}

impl Gate {
    async fn open(url: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = tokio::sync::watch::channel(true);
        let target = url.trim_start_matches("http://").to_owned();
        let task = tokio::spawn(async move {
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                let (mut is_open, target) = (is_open.clone(), target.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut to) = tokio::net::TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Gate { port, open, _task: task }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn close(&self) {
        self.open.send_replace(false);
    }

    fn reopen(&self) {
        self.open.send_replace(true);
    }
}
