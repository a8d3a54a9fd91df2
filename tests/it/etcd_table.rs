//! The etcd client and the table against real etcd servers: list and watch, and each way in which that breaks.

mod faults;
mod members;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;
use waypost::etcd::{self, Client};
use waypost::table::{self, Config, Endpoints, Prefix, PrefixStatus, Source, Table, Tasks};

use super::harness::{Etcd, PATIENCE, Version};

/// Where a member is, as configured.
fn url(etcd: &Etcd, at: usize) -> String {
    format!("http://{}", etcd.address(at))
}

/// A client whose calls don't wait long.
fn client(etcd: &Etcd) -> Client {
    let endpoints = (0..etcd.size()).map(|at| url(etcd, at)).collect();
    configured(etcd::Config { endpoints, ..etcd::Config::default() })
}

pub fn configured(config: etcd::Config) -> Client {
    let quick = etcd::Config { call_timeout: Duration::from_secs(2), ..config };
    Client::new("default", quick, etcd::Metrics::default())
}

/// Settings under which silence is noticed soon.
pub fn quick() -> Config {
    Config { silence: Duration::from_secs(3), ..Config::default() }
}

fn source(client: &Client, prefix: &str) -> Source {
    Source { prefix: Prefix::new("default", prefix), client: client.clone() }
}

/// A table of one prefix, when it has been listed and is being watched.
pub async fn start(client: &Client, prefix: &str, config: Config) -> (Table, Tasks) {
    let (table, tasks) = table::start(vec![source(client, prefix)], config).await;
    until(&table, |table| table.ready() && state(table).watching).await;
    (table, tasks)
}

/// Waits until the table is as wanted. It is looked at when it changes, and now and then for what changes unannounced.
#[track_caller]
pub fn until(table: &Table, is: impl Fn(&Table) -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let mut changes = table.subscribe();
        let waited = timeout(2 * PATIENCE, async {
            while !is(table) {
                let _ = timeout(Duration::from_millis(20), changes.changed()).await;
            }
        });
        assert!(waited.await.is_ok(), "{caller}: the table did not become as wanted: {:?}", table.prefixes());
    }
}

/// The one prefix.
pub fn state(table: &Table) -> PrefixStatus {
    table.prefixes().remove(0)
}

/// How many endpoints a service has, 0 if it is not known.
pub fn count(table: &Table, service: &str) -> usize {
    table.slot(service).map_or(0, |slot| slot.endpoints().len())
}

fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let mut addresses: Vec<_> = endpoints.iter().map(|e| e.address().to_string()).collect();
    addresses.sort();
    addresses
}

pub async fn put(client: &Client, key: &str, value: &str) {
    client.put(key.as_bytes(), value.as_bytes(), 0).await.unwrap();
}

async fn delete(client: &Client, key: &str) {
    client.delete(key.as_bytes()).await.unwrap();
}

/// An address nobody listens at; the table does not care.
fn address(n: u32) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 80)).to_string()
}

/// Writes so many services `s0`, `s1`, .. with so many instances each.
async fn fill(etcd: &Etcd, prefix: &str, services: u32, instances: u32) {
    use etcd_client::{Txn, TxnOp};
    let mut raw = raw(etcd).await;
    for service in 0..services {
        let put = |i| TxnOp::put(format!("{prefix}s{service}/{i}"), address(service << 8 | i), None);
        raw.txn(Txn::new().and_then((0..instances).map(put).collect::<Vec<_>>())).await.unwrap();
    }
}

/// A client that is not ours, to do what ours never does.
async fn raw(etcd: &Etcd) -> etcd_client::Client {
    etcd_client::Client::connect([url(etcd, 0)], None).await.unwrap()
}

#[tokio::test]
async fn five_thousand_keys_are_listed_in_pages_and_then_followed() {
    for version in Version::LOCAL {
        let etcd = Etcd::start(version).await;
        let client = client(&etcd);
        fill(&etcd, "/services/", 50, 100).await;
        let (table, _tasks) = start(&client, "/services/", quick()).await;

        assert_eq!(state(&table).instances, 5_000);
        assert_eq!((table.slots().len(), table.rebuilds()), (50, 50));
        let before: Vec<_> = table.slots().iter().map(|(name, slot)| (name.clone(), slot.generation())).collect();

        put(&client, "/services/s7/new", "10.9.9.9:1").await;
        until(&table, |table| count(table, "s7") == 101).await;
        delete(&client, "/services/s7/new").await;
        until(&table, |table| count(table, "s7") == 100).await;
        assert_eq!(table.rebuilds(), 52, "a change to one service rebuilds that service");
        for (name, generation) in before {
            let changed = table.slot(&name).unwrap().generation() != generation;
            assert_eq!(changed, &*name == "s7", "{name}");
        }
    }
}

#[tokio::test]
async fn all_pages_are_of_the_first_ones_revision() {
    let etcd = Etcd::start(Version::LOCAL[0]).await;
    let client = client(&etcd);
    fill(&etcd, "/services/", 20, 100).await;
    // Somebody writes without pause while it is listed; in each list, revisions tell that it was one moment.
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            for n in 0.. {
                put(&client, &format!("/services/s0/{}", n % 100), &address(n)).await;
                put(&client, &format!("/services/s9/{}", n % 100), &address(n)).await;
            }
        }
    });
    for _ in 0..10 {
        let listing = client.list(b"/services/").await.unwrap();
        assert_eq!(listing.keys.len(), 2_000);
        assert!(listing.keys.windows(2).all(|pair| pair[0].key < pair[1].key));
        let newest = listing.keys.iter().map(|kv| kv.mod_revision).max().unwrap();
        assert!(newest <= listing.header.revision, "{newest} is newer than {}", listing.header.revision);
    }
    writer.abort();
}

#[tokio::test]
async fn a_prefix_does_not_hold_its_neighbours() {
    let etcd = Etcd::start(Version::LOCAL[0]).await;
    let client = client(&etcd);
    put(&client, "/foo/a/1", "10.0.0.1:1").await;
    put(&client, "/foo-bar/a/1", "10.0.0.2:1").await;
    put(&client, "/foo", "10.0.0.3:1").await;
    // The slash that is missing is added.
    let (table, _tasks) = start(&client, "/foo", quick()).await;
    put(&client, "/foo-bar/a/2", "10.0.0.4:1").await;
    put(&client, "/foo/a/2", "10.0.0.5:1").await;
    until(&table, |table| count(table, "a") >= 2).await;
    assert_eq!(addresses(&table.slot("a").unwrap().endpoints()), ["10.0.0.1:1", "10.0.0.5:1"]);
    assert_eq!(table.slots().len(), 1);
}

#[tokio::test]
async fn what_etcdctl_writes_is_read_as_a_user_means_it() {
    for version in Version::LOCAL {
        let etcd = Etcd::start(version).await;
        let (table, _tasks) = start(&client(&etcd), "/services/", quick()).await;
        etcd.put("/services/greeter/1", "10.0.0.1:1").await;
        etcd.put("/services/greeter/2", "http://10.0.0.2:1").await;
        etcd.put("/services/broken/1", "what is this").await;
        until(&table, |table| count(table, "greeter") == 2 && state(table).unreadable.len() == 1).await;
        let unreadable = state(&table).unreadable;
        assert_eq!(unreadable[0].key, "/services/broken/1");
        etcd.delete("/services/greeter/1").await;
        until(&table, |table| count(table, "greeter") == 1).await;
        // A lease that ends takes its key with it; one that is put again without a lease stays.
        let lease = etcd.grant(1).await;
        etcd.put_leased("/services/greeter/3", "10.0.0.3:1", &lease).await;
        etcd.put_leased("/services/greeter/4", "10.0.0.4:1", &lease).await;
        until(&table, |table| count(table, "greeter") == 3).await;
        assert!(table.slot("greeter").unwrap().endpoints().iter().any(|e| e.lease != 0));
        etcd.put("/services/greeter/4", "10.0.0.4:1").await;
        until(&table, |table| count(table, "greeter") == 2).await;
        let endpoints = table.slot("greeter").unwrap().endpoints();
        assert_eq!(addresses(&endpoints), ["10.0.0.2:1", "10.0.0.4:1"]);
        assert!(endpoints.iter().all(|e| e.lease == 0 && !e.doubted));
    }
}

#[tokio::test]
async fn prefixes_come_and_go_without_disturbing_the_others() {
    let etcd = Etcd::start(Version::LOCAL[0]).await;
    let client = client(&etcd);
    put(&client, "/one/a/1", "10.0.0.1:1").await;
    put(&client, "/two/a/1", "10.0.0.2:1").await;
    put(&client, "/two/b/1", "10.0.0.3:1").await;
    let (one, two) = (source(&client, "/one/"), source(&client, "/two/"));
    let (table, mut tasks) = start(&client, "/one/", quick()).await;
    let listed = |table: &Table| table.prefixes().iter().all(|p| p.listed);

    tasks.reconfigure(vec![two.clone(), one.clone()], quick()).await;
    until(&table, listed).await;
    assert_eq!((count(&table, "a"), count(&table, "b")), (2, 1));
    assert_eq!(table.prefixes().iter().map(|p| p.prefix.to_string()).collect::<Vec<_>>(), ["/two/", "/one/"]);

    // The same prefix through another client, as when its password changed.
    let other = source(&self::client(&etcd), "/two/");
    let rebuilds = table.rebuilds();
    tasks.reconfigure(vec![one.clone(), other.clone()], quick()).await;
    assert_eq!(count(&table, "b"), 1, "what was known stays until it is listed anew");
    until(&table, listed).await;
    assert_eq!(table.rebuilds(), rebuilds, "and that changed nothing");
    put(&client, "/two/b/2", "10.0.0.4:1").await;
    until(&table, |table| count(table, "b") == 2).await;

    tasks.reconfigure(vec![other], quick()).await;
    until(&table, |table| count(table, "a") == 1).await;
    assert!(table.prefixes().iter().all(|p| p.watch_restarts == 0 && p.relists.is_empty()));
}

#[tokio::test]
async fn a_prefix_is_listed_again_now_and_then_and_a_new_setting_acts_at_once() {
    let etcd = Etcd::start(Version::LOCAL[0]).await;
    let client = client(&etcd);
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    let (table, mut tasks) = start(&client, "/services/", quick()).await;
    let often = Config { relist: Duration::from_millis(200), ..quick() };
    tasks.reconfigure(vec![source(&client, "/services/")], often).await;
    until(&table, |table| state(table).relists.values().sum::<u64>() >= 3).await;
    delete(&client, "/services/a/1").await;
    until(&table, |table| count(table, "a") == 0).await;
    let status = state(&table);
    assert_eq!((status.watch_restarts, status.doubted, table.rebuilds()), (0, 0, 2));
}
