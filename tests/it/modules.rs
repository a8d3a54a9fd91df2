//! Filters and policies before the whole proxy: modules written for one test each, and the ones that come with Waypost.

mod bodies;
mod config;
mod filters;
mod guests;
mod interface;
#[path = "../../src/wasm/tests/kit.rs"]
mod kit;
mod lives;
mod orders;
mod ours;
mod policies;

pub use crate::harness::modules::Modules;
use crate::harness::{Client, Scene, client::Reply, eventually};

/// A callback with three parameters and an action.
pub fn on(callback: &str, body: &str) -> String {
    format!("(func (export \"proxy_on_{callback}\") (param i32 i32 i32) (result i32) {body})")
}

/// The header map of a call, or the body's bytes, as a literal.
pub fn literal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Pairs as proxy-wasm has them, as a literal.
pub fn pairs(pairs: &[(&str, &str)]) -> String {
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = number(pairs.len()).to_vec();
    for (key, value) in pairs {
        bytes.extend([number(key.len()), number(value.len())].concat());
    }
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    literal(&bytes)
}

/// A unary call with headers.
pub async fn call(client: &Client, headers: &[(&str, &str)]) -> Reply {
    client.grpc("greeter", "Unary", headers, &[b"hello"]).await.unwrap()
}

/// Waits until a metric has at least this value.
pub async fn reaches(scene: &Scene, name: &str, labels: &[&str], value: f64) {
    eventually(name, || async {
        let now = scene.waypost.metric(name, labels).await;
        if now >= value { Ok(()) } else { Err(now) }
    })
    .await;
}

/// Whether the proxy has logged such a line.
pub fn logged(scene: &Scene, parts: &[&str]) -> bool {
    scene.waypost.log().iter().any(|line| parts.iter().all(|part| line.contains(part)))
}
