//! Layouts of other systems that are recognised but not read yet, so that their keys are listed under their name and
//! are not taken for something else.

use serde_json::{Map, Value};

use crate::registry::Address;

/// The reason under which such a key is listed.
pub(super) fn reason(system: &str) -> String {
    format!("it looks like a registration by {system}, whose format is not read yet")
}

/// The system whose layout this key has.
pub(super) fn by_key(key: &str) -> Option<&'static str> {
    let mut parts = key.rsplit('/');
    let last = parts.next().unwrap_or_default();
    let parent = parts.next().unwrap_or_default();
    if parent == "providers" && last.contains("%3A%2F%2F") {
        return Some("Dubbo");
    }
    if matches!(last, "url" | "address" | "weight") && parts.next() == Some("servers") {
        return Some("Traefik");
    }
    let (network, address) = last.split_once('@')?;
    (network.bytes().all(|b| b.is_ascii_alphanumeric()) && address.parse::<Address>().is_ok()).then_some("rpcx")
}

/// The system whose fields these are, the most telling sets first. A null counts as present.
pub(super) fn by_fields(fields: &Map<String, Value>) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().all(|name| fields.contains_key(*name));
    let urls = |value: &Value| {
        value.as_array().is_some_and(|list| list.iter().any(|url| url.as_str().is_some_and(|url| url.contains("://"))))
    };
    if has(&["ServiceName", "Host", "Port"])
        || (has(&["serviceName", "host", "port"]) && (has(&["enabled"]) || has(&["healthy"])))
    {
        Some("Dubbo")
    } else if has(&["serviceName", "serviceHost", "servicePort"]) {
        Some("a Java RPC framework")
    } else if has(&["name"]) && fields.get("nodes").is_some_and(|nodes| nodes.pointer("/0/address").is_some()) {
        Some("go-micro")
    } else if has(&["nodes"]) || fields.get("upstream").is_some_and(|upstream| upstream.get("nodes").is_some()) {
        Some("APISIX")
    } else if has(&["id", "name"]) && fields.get("endpoints").is_some_and(urls) {
        Some("Kratos")
    } else if has(&["network", "address"]) {
        Some("Kitex or Hertz")
    } else if has(&["sender", "instanceID"]) {
        Some("Moleculer")
    } else {
        None
    }
}
