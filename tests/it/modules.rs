//! Filters and policies before the whole proxy: modules written for one test each, and the ones that come with Waypost.

mod bodies;
mod config;
mod filters;
mod guests;
mod interface;
#[path = "../../src/wasm/tests/kit.rs"]
mod kit;
mod lives;
mod ours;
mod policies;

use std::{fs, path::PathBuf};

use crate::harness::{Backend, Client, Scene, client::Reply, eventually, tools::Folder};

/// A folder of modules.
pub struct Modules(Folder);

impl Modules {
    /// With these in it.
    pub fn new(modules: &[(&str, Vec<u8>)]) -> Self {
        let all = Self(Folder::new("modules"));
        for (name, bytes) in modules {
            all.put(name, bytes);
        }
        all
    }

    /// Where a module is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.wasm"))
    }

    /// Puts a module there, as people should: written beside, then renamed.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let beside = self.0.path().join("new");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.file(name)).unwrap();
    }

    /// What the proxy's file says of it, with `more`.
    pub fn config(&self, more: &str) -> String {
        format!("wasm: {{folder: {}, cache: 'off', pause_timeout: 2s}}\n{more}", self.0.path().display())
    }

    /// A proxy with this folder, before `backends` of the service `greeter`.
    pub async fn scene(&self, backends: &[&Backend], more: &str) -> Scene {
        Scene::with("greeter", backends, &self.config(more)).await
    }
}

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
