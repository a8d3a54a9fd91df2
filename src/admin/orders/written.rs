//! An order as it stands in etcd: read and written, without I/O and without a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::admin::ORDERS;
use crate::admin::view::attention::encode;
use crate::etcd::KeyValue;
use crate::health::Order;

/// The longest that one may hold: what is to stay belongs into the registry.
pub(in crate::admin) const LONGEST: Duration = Duration::from_hours(7 * 24);
/// So much may another machine's clock be ahead of ours.
const SKEW: Duration = Duration::from_mins(10);

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) service: String,
    pub(super) endpoint: String,
    order: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    weight: Option<u32>,
    /// When it ends, in milliseconds since 1970.
    until: u64,
}

/// Where an order stands: the prefix, the service, the endpoint.
pub(super) fn key(service: &str, endpoint: &str) -> String {
    format!("{ORDERS}{}/{}", encode(service), encode(endpoint))
}

fn millis(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Written {
    pub(super) fn new(service: &str, endpoint: &str, order: Order, until: SystemTime) -> Self {
        let (word, weight) = match order {
            Order::Weight(weight) => ("weight", Some(weight)),
            order => (Order::ALL.iter().find(|(_, other)| *other == order).map_or("drain", |(word, _)| word), None),
        };
        let (service, endpoint) = (service.to_owned(), endpoint.to_owned());
        Written { service, endpoint, order: word.to_owned(), weight, until: millis(until) }
    }

    /// What a key orders, or why it cannot be followed.
    pub(super) fn read(kv: &KeyValue, now: SystemTime) -> Result<(Written, Order), String> {
        let written: Written = serde_json::from_slice(&kv.value).map_err(|error| format!("it is no order: {error}"))?;
        let named = names(&kv.key);
        if named.is_none_or(|(service, endpoint)| service != written.service || endpoint != written.endpoint) {
            return Err("its key is not that of the service and the endpoint that it names".to_owned());
        }
        let order = match (&*written.order, written.weight) {
            ("weight", Some(weight)) => Order::Weight(weight),
            ("weight", None) => return Err("it orders a weight and names none".to_owned()),
            (word, _) => match Order::ALL.iter().find(|(other, _)| *other == word) {
                Some((_, order)) => *order,
                None => return Err("it orders none of drain, healthy, unhealthy and weight".to_owned()),
            },
        };
        if written.left(now) > LONGEST + SKEW {
            return Err("it holds for longer than seven days".to_owned());
        }
        Ok((written, order))
    }

    /// How long it still holds.
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        Duration::from_millis(self.until.saturating_sub(millis(now)))
    }

    pub(super) fn value(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// In words, without for how long.
    pub(super) fn words(&self) -> String {
        let weight = self.weight.map(|weight| format!(" {weight}")).unwrap_or_default();
        format!("{}{weight}", self.order)
    }
}

/// Service and endpoint of a key.
pub(super) fn names(key: &[u8]) -> Option<(String, String)> {
    let (service, endpoint) = std::str::from_utf8(key).ok()?.strip_prefix(ORDERS)?.split_once('/')?;
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

    fn kv(key: &str, value: Vec<u8>) -> KeyValue {
        KeyValue { key: key.into(), value, lease: 0, mod_revision: 1, create_revision: 1 }
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        let now = SystemTime::now();
        for order in [Order::Drain, Order::ForceHealthy, Order::ForceUnhealthy, Order::Weight(0), Order::Weight(7)] {
            let written = Written::new("team/pay ments", "[::1]:80", order, now + LONGEST);
            let kv = kv(&key("team/pay ments", "[::1]:80"), written.value());
            assert_eq!(Written::read(&kv, now), Ok((written, order)));
        }
        let key = key("team/pay %ments", "[::1]:80");
        assert_eq!(key, "/waypost/orders/team%2Fpay%20%25ments/%5B%3A%3A1%5D%3A80");
        assert_eq!(names(key.as_bytes()), Some(("team/pay %ments".to_owned(), "[::1]:80".to_owned())));
        assert_eq!(names(b"/waypost/orders/a"), None);
    }

    #[test]
    fn what_is_no_order_of_ours_is_refused_with_its_reason() {
        let now = UNIX_EPOCH + Duration::from_hours(24 * 365 * 50);
        let check = |more: &str, until: SystemTime, expected: &str| {
            let value = format!(r#"{{"service":"a","endpoint":"b:1",{more},"until":{}}}"#, millis(until));
            let refused = Written::read(&kv("/waypost/orders/a/b%3A1", value.into()), now).unwrap_err();
            assert!(refused.contains(expected), "{more}: {refused}");
        };
        check(r#""order":"explode""#, now, "it orders none of");
        check(r#""order":"weight""#, now, "names none");
        check(r#""order":"weight","weight":-1"#, now, "it is no order: ");
        check(r#""order":"drain""#, now + LONGEST + SKEW * 2, "longer than seven days");
        let written = Written::new("a", "b:1", Order::Drain, now).value();
        let elsewhere = Written::read(&kv("/waypost/orders/c/b%3A1", written), now).unwrap_err();
        assert!(elsewhere.contains("its key is not"), "{elsewhere}");
    }
}
