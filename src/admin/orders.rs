//! Orders for endpoints, shared with other proxies through etcd: a key each below our own prefix, on a lease that ends
//! with the order. What is ordered here holds here at once, also while etcd is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::InForce;
use super::view::attention::encode;
use crate::etcd::{Client, Error, Event, KeyValue};
use crate::health::{Health, Order};

/// Below this orders stand: the prefix, the service, the endpoint.
const PREFIX: &str = "/waypost/orders/";
/// From one attempt to follow orders to the next, and how long may pass without a sign of life.
const AGAIN: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(30);

/// Keys that were acted upon, with their revisions.
type Known = HashMap<Vec<u8>, i64>;

/// An order as it stands in etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    service: String,
    endpoint: String,
    order: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    weight: Option<u32>,
    /// When it ends, in milliseconds since 1970.
    until: u64,
}

fn key(service: &str, endpoint: &str) -> String {
    format!("{PREFIX}{}/{}", encode(service), encode(endpoint))
}

fn millis(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The order as it is written; `None` for a value that is none of ours.
fn write(service: &str, endpoint: &str, order: Order, until: SystemTime) -> Written {
    let (word, weight) = match order {
        Order::Weight(weight) => ("weight", Some(weight)),
        order => (Order::ALL.iter().find(|(_, other)| *other == order).map_or("drain", |(word, _)| word), None),
    };
    let (service, endpoint) = (service.to_owned(), endpoint.to_owned());
    Written { service, endpoint, order: word.to_owned(), weight, until: millis(until) }
}

impl Written {
    fn order(&self) -> Option<Order> {
        match (&*self.order, self.weight) {
            ("weight", weight) => weight.map(Order::Weight),
            (word, _) => Order::ALL.iter().find(|(other, _)| *other == word).map(|(_, order)| *order),
        }
    }
}

/// Orders something for an endpoint: here, and then through etcd for all. The text says how far it reaches. `Err` if the
/// service has no such endpoint.
pub(super) async fn give(
    health: &Health,
    operator: &Client,
    service: &str,
    endpoint: &str,
    order: Option<(Order, Duration)>,
) -> Result<String, String> {
    if !health.order(service, endpoint, order).await {
        return Err(format!("service {service} has no endpoint {endpoint} now"));
    }
    let key = key(service, endpoint);
    let shared = match order {
        Some((order, time)) => {
            let written = write(service, endpoint, order, SystemTime::now() + time);
            share(operator, &key, &written, time).await
        }
        None => operator.delete(key.as_bytes()).await.map(drop),
    };
    Ok(match shared {
        Ok(()) => "in all proxies that follow these orders".to_owned(),
        Err(error) => format!("in this proxy only, for it could not be shared: {error}"),
    })
}

async fn share(operator: &Client, key: &str, written: &Written, time: Duration) -> Result<(), Error> {
    let lease = operator.grant(time.max(Duration::from_secs(5))).await?;
    let value = serde_json::to_vec(written).unwrap_or_default();
    operator.put(key.as_bytes(), &value, lease).await.map(drop)
}

/// Follows the orders of all proxies, for ever, with the client `operator`; without one there is nothing to follow.
pub(super) async fn follow(health: Health, mut in_force: watch::Receiver<Arc<InForce>>) {
    let mut known = Known::new();
    loop {
        let operator = in_force.borrow_and_update().operator.clone();
        let Some(operator) = operator else {
            if in_force.changed().await.is_err() {
                return;
            }
            continue;
        };
        if let Err(error) = watch(&health, &operator, &mut known).await {
            tracing::debug!(%error, "the orders of other proxies cannot be followed");
        }
        sleep(AGAIN).await;
    }
}

async fn watch(health: &Health, operator: &Client, known: &mut Known) -> Result<(), Error> {
    let listing = operator.list(PREFIX.as_bytes()).await?;
    // What is as it was is not done again: somebody may have taken it back here while etcd was away.
    let before = std::mem::take(known);
    for kv in &listing.keys {
        known.insert(kv.key.clone(), kv.mod_revision);
        if before.get(&kv.key) != Some(&kv.mod_revision) {
            take(health, kv).await;
        }
    }
    for key in before.keys().filter(|key| !known.contains_key(*key)) {
        take_back(health, key).await;
    }
    let mut watch = operator.watch(PREFIX.as_bytes(), listing.header.revision + 1).await?;
    loop {
        let response = match timeout(SILENCE / 3, watch.next()).await {
            Ok(response) => response?,
            Err(_) => {
                watch.request_progress().await?;
                match timeout(SILENCE, watch.next()).await {
                    Ok(response) => response?,
                    Err(_) => break,
                }
            }
        };
        for event in response.events {
            match event {
                Event::Put(kv) => {
                    take(health, &kv).await;
                    known.insert(kv.key, kv.mod_revision);
                }
                Event::Delete { key, .. } => {
                    take_back(health, &key).await;
                    known.remove(&key);
                }
            }
        }
    }
    watch.leave();
    Ok(())
}

/// Does what a key orders. What cannot be read is passed over: whoever wrote it is not one of us.
async fn take(health: &Health, kv: &KeyValue) {
    let Ok(written) = serde_json::from_slice::<Written>(&kv.value) else { return };
    let left = Duration::from_millis(written.until.saturating_sub(millis(SystemTime::now())));
    if let Some(order) = written.order().filter(|_| !left.is_zero()) {
        health.order(&written.service, &written.endpoint, Some((order, left))).await;
    }
}

async fn take_back(health: &Health, key: &[u8]) {
    if let Some((service, endpoint)) = names(key) {
        health.order(&service, &endpoint, None).await;
    }
}

/// Service and endpoint of a key.
fn names(key: &[u8]) -> Option<(String, String)> {
    let (service, endpoint) = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.split_once('/')?;
    Some((decode(service)?, decode(endpoint)?))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        (bytes, rest) = match (first, tail) {
            (b'%', [a, b, tail @ ..]) => {
                let hex = [*a, *b];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
                (bytes, tail)
            }
            (byte, tail) => {
                bytes.push(*byte);
                (bytes, tail)
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        for order in [Order::Drain, Order::ForceHealthy, Order::ForceUnhealthy, Order::Weight(0), Order::Weight(7)] {
            let written = write("team/pay ments", "[::1]:80", order, SystemTime::now());
            let read: Written = serde_json::from_slice(&serde_json::to_vec(&written).unwrap()).unwrap();
            assert_eq!((read.order(), &read), (Some(order), &written));
        }
        let key = key("team/pay %ments", "[::1]:80");
        assert_eq!(key, "/waypost/orders/team%2Fpay%20%25ments/%5B%3A%3A1%5D%3A80");
        assert_eq!(names(key.as_bytes()), Some(("team/pay %ments".to_owned(), "[::1]:80".to_owned())));
        assert_eq!(names(b"/waypost/orders/a"), None);
    }
}
