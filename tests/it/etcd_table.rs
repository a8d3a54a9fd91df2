//! The etcd client and the table against a real etcd: list and watch, and each way in which that breaks.

mod server;

use std::net::SocketAddr;
use std::time::Duration;

use server::Server;
use tokio::time::timeout;
use waypost::etcd::{self, Client, Operation};
use waypost::table::{self, Config, Endpoints, Prefix, PrefixStatus, Relist, Source, Table, Tasks};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn client(server: &Server) -> Client {
    client_of(etcd::Config { endpoints: vec![server.url()], ..etcd::Config::default() })
}

fn client_of(config: etcd::Config) -> Client {
    let quick = etcd::Config { call_timeout: Duration::from_secs(2), ..config };
    Client::new("default", quick, etcd::Metrics::default())
}

/// Settings under which everything shows soon.
fn quick() -> Config {
    Config { silence: Duration::from_secs(3), ..Config::default() }
}

async fn start(client: &Client, prefix: &str, config: Config) -> (Table, Tasks) {
    let source = Source { prefix: Prefix::new("default", prefix), client: client.clone() };
    let (table, tasks) = table::start(vec![source], config).await;
    until(&table, |table| table.ready()).await;
    (table, tasks)
}

/// Waits until the table is as wanted. It is looked at when it changes, and now and then for what changes unannounced.
async fn until(table: &Table, is: impl Fn(&Table) -> bool) {
    let mut changes = table.subscribe();
    let waited = timeout(PATIENCE, async {
        while !is(table) {
            let _ = timeout(Duration::from_millis(50), changes.changed()).await;
        }
    });
    assert!(waited.await.is_ok(), "the table did not become as wanted: {:?}", table.prefixes());
}

fn prefix(table: &Table) -> PrefixStatus {
    table.prefixes().remove(0)
}

fn count(table: &Table, service: &str) -> usize {
    table.slot(service).map_or(0, |slot| slot.endpoints().len())
}

fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let mut addresses: Vec<_> = endpoints.iter().map(|e| e.address().to_string()).collect();
    addresses.sort();
    addresses
}

async fn put(client: &Client, key: &str, address: &str) {
    client.put(key.as_bytes(), address.as_bytes()).await.unwrap();
}

/// An address nobody listens at; the table does not care.
fn address(n: u32) -> String {
    SocketAddr::from(([10, (n >> 16) as u8, (n >> 8) as u8, n as u8], 80)).to_string()
}

#[tokio::test]
async fn five_thousand_keys_are_listed_in_pages_and_then_followed() {
    let server = Server::start().await;
    let client = client(&server);
    server.fill("/services/", 50, 100).await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;

    assert_eq!(prefix(&table).instances, 5_000);
    assert_eq!(table.slots().len(), 50);
    assert_eq!(table.rebuilds(), 50);
    let before: Vec<_> = table.slots().iter().map(|(name, slot)| (name.clone(), slot.generation())).collect();

    put(&client, "/services/s7/new", "10.9.9.9:1").await;
    until(&table, |table| count(table, "s7") == 101).await;
    client.delete(b"/services/s7/new").await.unwrap();
    until(&table, |table| count(table, "s7") == 100).await;
    assert_eq!(table.rebuilds(), 52, "a change to one service rebuilds that service");
    for (name, generation) in before {
        let changed = table.slot(&name).unwrap().generation() != generation;
        assert_eq!(changed, &*name == "s7", "{name}");
    }
}
