//! Registrations and leases of the library, on real etcd servers and the embedded one.

use std::time::Duration;

use tokio::time::Instant;
use waypost::{
    etcd::{self, Client, Metrics},
    registry::{Config, Entry, Error, Loss, Registration, Registry, Retry, Status, format::FormatName},
};

use crate::harness::{Etcd, PATIENCE, Version, embedded, eventually};

const TTL: Duration = Duration::from_secs(3);

pub fn client(endpoint: &str) -> Client {
    let config = etcd::Config { endpoints: vec![endpoint.to_owned()], ..etcd::Config::default() };
    Client::new("default", config, Metrics::default())
}

fn registry(endpoint: &str) -> Registry {
    let retry =
        Retry { initial: Duration::from_millis(50), longest: Duration::from_millis(500), ..Config::default().retry };
    Registry::new(client(endpoint), Config { ttl: TTL, retry, ..Config::default() })
}

/// Waits until a registration stands as it should.
pub async fn stands(registration: &Registration, what: &str, is_it: impl Fn(&Status) -> bool) {
    let mut status = registration.status();
    let waited = tokio::time::timeout(PATIENCE, status.wait_for(|status| is_it(status))).await;
    assert!(waited.is_ok(), "{what}: {:?}", registration.status().borrow());
    waited.unwrap().unwrap();
}

fn is_registered(status: &Status) -> bool {
    matches!(status, Status::Registered { .. })
}

fn lease(registration: &Registration) -> i64 {
    match *registration.status().borrow() {
        Status::Registered { lease } => lease,
        ref other => panic!("{other:?}"),
    }
}

async fn value(client: &Client, key: &str) -> Option<String> {
    client.get(key.as_bytes()).await.unwrap().map(|kv| String::from_utf8(kv.value).unwrap())
}

async fn becomes(client: &Client, key: &str, expected: Option<&str>) {
    eventually(key, || async {
        let value = value(client, key).await;
        if value.as_deref() == expected { Ok(()) } else { Err(value) }
    })
    .await;
}

/// Runs a test on the embedded etcd and on each real one at hand.
pub async fn everywhere(test: impl AsyncFn(String)) {
    let server = embedded::start().await;
    test(format!("http://{}", server.address())).await;
    for version in Version::LOCAL {
        let etcd = Etcd::start(version).await;
        test(format!("http://{}", etcd.address(0))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_registered_changed_and_taken_back() {
    everywhere(async |endpoint| {
        let registry = registry(&endpoint);
        let client = client(&endpoint);
        let mut registration = registry
            .register("team/greeter", "one", "10.0.0.7:50051")
            .weight(3)
            .zone("a")
            .tag("x")
            .metadata("k", "v")
            .await
            .unwrap();
        assert_eq!(registration.keys(), ["/services/team/greeter/one"]);
        let stored = client.get(b"/services/team/greeter/one").await.unwrap().unwrap();
        assert_eq!(stored.lease, lease(&registration));
        let text = String::from_utf8(stored.value).unwrap();
        assert!(text.contains(r#""Addr":"10.0.0.7:50051""#) && text.contains(r#"\"weight\":3"#), "{text}");

        registration.update(|instance| instance.weight = 5).await.unwrap();
        let changed = client.get(b"/services/team/greeter/one").await.unwrap().unwrap();
        assert!(String::from_utf8(changed.value).unwrap().contains(r#"\"weight\":5"#));
        assert_eq!((changed.lease, changed.create_revision), (stored.lease, stored.create_revision));
        let moved = registration.update(|instance| instance.id = "two".to_owned()).await;
        assert!(matches!(moved, Err(Error::Invalid { .. })), "{moved:?}");

        registration.deregister().await.unwrap();
        assert_eq!(value(&client, "/services/team/greeter/one").await, None);
        assert_eq!(client.time_to_live(stored.lease, false).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_is_taken_back_and_what_is_abandoned_runs_out() {
    everywhere(async |endpoint| {
        let (registry, client) = (registry(&endpoint), client(&endpoint));
        let dropped = registry.register_at("/raw/a", "x").await.unwrap();
        let abandoned = registry.register_at("/raw/b", "y").await.unwrap();
        let id = lease(&abandoned);
        drop(dropped);
        becomes(&client, "/raw/a", None).await;
        abandoned.abandon().await;
        assert_eq!(value(&client, "/raw/b").await.as_deref(), Some("y"));
        let left = client.time_to_live(id, true).await.unwrap().unwrap();
        assert_eq!((left.granted, left.keys), (TTL, vec![b"/raw/b".to_vec()]));
        becomes(&client, "/raw/b", None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_ends_deletes_or_detaches_comes_back() {
    everywhere(async |endpoint| {
        let (registry, client) = (registry(&endpoint), client(&endpoint));
        let registration = registry.register("greeter", "one", "10.0.0.7:1").format(FormatName::Raw).await.unwrap();
        let key = "/services/greeter/one";
        let first = lease(&registration);

        client.delete(key.as_bytes()).await.unwrap();
        let start = Instant::now();
        becomes(&client, key, Some("10.0.0.7:1")).await;
        assert!(start.elapsed() < TTL, "{:?}", start.elapsed());
        assert_eq!(lease(&registration), first);

        client.revoke(first).await.unwrap();
        let start = Instant::now();
        becomes(&client, key, Some("10.0.0.7:1")).await;
        assert!(start.elapsed() < TTL, "{:?}", start.elapsed());
        stands(
            &registration,
            "a new lease",
            |status| matches!(status, Status::Registered { lease } if *lease != first),
        )
        .await;

        assert!(is_registered(&registration.status().borrow()));

        // Somebody else's value stays until it is gone, and its owner's key stays when we leave.
        client.put(key.as_bytes(), b"10.0.0.8:1", 0).await.unwrap();
        stands(&registration, "a conflict", |status| *status == Status::Conflict { keys: vec![key.to_owned()] }).await;
        tokio::time::sleep(TTL).await;
        assert_eq!(value(&client, key).await.as_deref(), Some("10.0.0.8:1"));
        client.delete(key.as_bytes()).await.unwrap();
        stands(&registration, "no conflict", is_registered).await;
        assert_eq!(value(&client, key).await.as_deref(), Some("10.0.0.7:1"));
        client.put(key.as_bytes(), b"10.0.0.9:1", 0).await.unwrap();
        registration.deregister().await.unwrap();
        assert_eq!(value(&client, key).await.as_deref(), Some("10.0.0.9:1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_one_name_neither_removes_the_other_s_key() {
    everywhere(async |endpoint| {
        let (one, two, client) = (registry(&endpoint), registry(&endpoint), client(&endpoint));
        let first = one.register("greeter", "one", "10.0.0.1:1").format(FormatName::Raw).await.unwrap();
        let second = two.register("greeter", "one", "10.0.0.2:1").format(FormatName::Raw).await.unwrap();
        let key = "/services/greeter/one";
        stands(&first, "a conflict", |status| matches!(status, Status::Conflict { .. })).await;
        first.deregister().await.unwrap();
        assert_eq!(value(&client, key).await.as_deref(), Some("10.0.0.2:1"));
        let third = one.register("greeter", "one", "10.0.0.3:1").format(FormatName::Raw).await.unwrap();
        stands(&second, "a conflict", |status| matches!(status, Status::Conflict { .. })).await;
        drop(second);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(value(&client, key).await.as_deref(), Some("10.0.0.3:1"));
        assert!(is_registered(&third.status().borrow()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_killed_with_its_data_lost_has_every_registration_back_within_one_ttl() {
    let mut etcd = Etcd::start(Version::Wheel).await;
    let endpoint = format!("http://{}", etcd.address(0));
    let registry = registry(&endpoint);
    let mut registrations = Vec::new();
    for n in 0..20 {
        let address = format!("10.0.0.{}:80", n + 1);
        registrations.push(registry.register("greeter", &n.to_string(), &address).await.unwrap());
    }
    let many = (0..300).map(|n| Entry { key: format!("/many/{n:03}"), value: b"x".to_vec() });
    registrations.push(registry.register_all(many, TTL).await.unwrap());
    etcd.kill(0).await;
    for registration in &registrations {
        stands(registration, "it is away", |status| matches!(status, Status::Away { .. })).await;
    }
    etcd.wipe(0);
    etcd.restart(0).await;
    let start = Instant::now();
    let client = client(&endpoint);
    eventually("all to be back", || async {
        let services = client.list(b"/services/greeter/").await.unwrap().keys.len();
        let many = client.list(b"/many/").await.unwrap().keys.len();
        if (services, many) == (20, 300) { Ok(()) } else { Err((services, many)) }
    })
    .await;
    let took = start.elapsed();
    assert!(took < TTL, "{took:?}");
    eprintln!("all 320 keys were back {took:?} after etcd was well again");
    for registration in registrations {
        stands(&registration, "registered", is_registered).await;
        registration.deregister().await.unwrap();
    }
    assert!(client.list(b"/").await.unwrap().keys.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_come_heal_and_go_together() {
    everywhere(async |endpoint| {
        let (registry, client) = (registry(&endpoint), client(&endpoint));
        let entries = (0..300).map(|n| Entry { key: format!("/many/{n:03}"), value: n.to_string().into_bytes() });
        let mut registration = registry.register_all(entries, TTL).await.unwrap();
        let stored = client.list(b"/many/").await.unwrap().keys;
        assert_eq!(stored.len(), 300);
        let mut revisions: Vec<_> = stored.iter().map(|kv| kv.mod_revision).collect();
        revisions.dedup();
        assert_eq!(revisions.len(), 3, "transactions of 128 at most");
        registration.update_value("/many/007", "bond").await.unwrap();
        assert_eq!(value(&client, "/many/007").await.as_deref(), Some("bond"));
        client.revoke(lease(&registration)).await.unwrap();
        eventually("all to be back", || async {
            let count = client.list(b"/many/").await.unwrap().keys.len();
            if count == 300 { Ok(()) } else { Err(count) }
        })
        .await;
        assert_eq!(value(&client, "/many/007").await.as_deref(), Some("bond"));
        stands(&registration, "registered", is_registered).await;
        registration.deregister().await.unwrap();
        assert!(client.list(b"/many/").await.unwrap().keys.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_registered_says_why() {
    let registry = registry("http://127.0.0.1:1");
    let of = |service: &str, id: &str, address: &str| registry.register(service, id, address);
    for (registering, why) in [
        (of("a", "b", "10.0.0.1"), "no port"),
        (of("", "b", "a:1"), "the service cannot be used: it is empty"),
        (of("a", "b/c", "a:1"), "slash"),
        (of("a/", "b", "a:1"), "slash"),
        (of("a", "b\n", "a:1"), "control characters"),
        (of("a", "b", "a:1").weight(2).format(FormatName::Raw), "`raw` has no place"),
        (of("a", "b", "a:1").ttl(Duration::from_secs(1)), "etcd's shortest"),
    ] {
        let error = registering.await.unwrap_err();
        assert!(error.to_string().contains(why) && !error.is_retryable(), "{error}");
    }
    for entries in [vec![], vec!["/a", "/a"], vec![""]] {
        let entries = entries.into_iter().map(|key| Entry { key: key.to_owned(), value: Vec::new() });
        assert!(matches!(registry.register_all(entries, TTL).await, Err(Error::Invalid { .. })));
    }
    // Nobody is there: after the attempts that the settings say, the caller learns of it.
    let error = of("a", "b", "a:1").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_granted_kept_alive_listed_and_their_loss_is_told() {
    everywhere(async |endpoint| {
        let (leases, client) = (registry(&endpoint).leases(), client(&endpoint));
        let id = leases.grant(Duration::from_secs(2)).await.unwrap();
        client.put(b"/mine", b"", id).await.unwrap();
        let status = leases.time_to_live(id).await.unwrap().unwrap();
        assert_eq!((status.granted, status.keys), (Duration::from_secs(2), vec![b"/mine".to_vec()]));
        let kept = leases.keep_alive(id).await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!((kept.loss(), kept.id()), (None, id));
        assert!(leases.list().await.unwrap().iter().any(|lease| lease.id == id && lease.keys.len() == 1));

        assert!(leases.revoke(id).await.unwrap());
        assert!(!leases.revoke(id).await.unwrap());
        assert_eq!(tokio::time::timeout(PATIENCE, kept.lost()).await.unwrap(), Loss::LeaseEnded);
        assert_eq!(leases.time_to_live(id).await.unwrap(), None);
        assert!(matches!(leases.keep_alive(id).await, Err(Error::Lost { loss: Loss::LeaseEnded, .. })));
        assert_eq!(value(&client, "/mine").await, None);
        // One that is let go lives on for its time.
        let id = leases.grant(Duration::from_secs(2)).await.unwrap();
        drop(leases.keep_alive(id).await.unwrap());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(leases.time_to_live(id).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_given_up_before_the_cluster_could_end_it() {
    let etcd = Etcd::start(Version::Wheel).await;
    let leases = registry(&format!("http://{}", etcd.address(0))).leases();
    let id = leases.grant(TTL).await.unwrap();
    let kept = leases.keep_alive(id).await.unwrap();
    etcd.freeze(0).await;
    let start = Instant::now();
    assert_eq!(tokio::time::timeout(PATIENCE, kept.lost()).await.unwrap(), Loss::Expired(TTL));
    assert!(start.elapsed() < TTL, "{:?}", start.elapsed());
    etcd.thaw(0).await;
}
