//! Modules in the whole proxy: a folder of them, and guests that others wrote, each mode of one behind a route of its own.

use std::{fmt::Write, fs, path::PathBuf};

use super::{
    Backend, Client, Scene,
    client::{Answer, full},
    grpc::text,
    scene::key,
    tools::{Folder, tool},
};

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

    /// Where they are.
    pub fn folder(&self) -> &std::path::Path {
        self.0.path()
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
        let (folder, cache) = (self.0.path().display(), env!("CARGO_TARGET_TMPDIR"));
        format!("wasm: {{folder: {folder}, cache: {cache}/waypost, pause_timeout: 2s}}\n{more}")
    }

    /// A proxy with this folder, before `backends` of the service `greeter`.
    pub async fn scene(&self, backends: &[&Backend], more: &str) -> Scene {
        Scene::with("greeter", backends, &self.config(more)).await
    }
}

/// A module that `make setup-test`, or `setup-interop` for those in Go, put there.
pub fn guest(name: &str) -> Vec<u8> {
    std::fs::read(tool(&format!("guests/{name}.wasm"), "setup-test")).unwrap()
}

/// A proxy with a route for each mode of a guest: the first case is at `/0`, and so on. Before them a service `judge`.
pub struct Guests {
    /// The proxy.
    pub scene: Scene,
    _modules: Modules,
    /// `one` behind the routes, and the services `judge` and `httpbin`.
    pub backends: Vec<Backend>,
}

impl Guests {
    /// Starts it.
    pub async fn new(name: &str, modes: &[&str]) -> Self {
        let modules = Modules::new(&[(name, guest(name))]);
        let mut routes = "routing:\n  routes:\n".to_owned();
        for (n, mode) in modes.iter().enumerate() {
            let mode = mode.replace('\'', "''");
            writeln!(
                routes,
                "  - {{match: {{path_prefix: /{n}}}, service: greeter, filters: [{{module: {name}, config: '{mode}'}}]}}"
            )
            .unwrap();
        }
        let backends = vec![Backend::h2c("one").await, Backend::h2c("judge").await, Backend::http1("httpbin").await];
        let scene = modules.scene(&[&backends[0]], &routes).await;
        for service in [&backends[1], &backends[2]] {
            scene.etcd.put(&key(&service.name, service), &service.url()).await;
        }
        scene.knows(3).await;
        Self { scene, _modules: modules, backends }
    }

    /// What comes of a request to the route of that number.
    pub async fn ask(&self, at: usize, headers: &[(&str, &str)], body: &str) -> Answer {
        let client = Client::h1(self.scene.waypost.data).await;
        let method = if body.is_empty() { "GET" } else { "POST" };
        client.http(method, &format!("http://greeter/{at}"), headers, full(body.to_owned())).await
    }

    /// Nothing has failed.
    pub async fn sound(&self) {
        let failures = self.scene.waypost.metric("waypost_module_failures_total", &[]).await;
        assert_eq!(failures, 0.0, "{:?}", self.scene.waypost.log());
    }
}

/// A header of an answer.
pub fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    text(&answer.headers, name).unwrap_or_else(|| panic!("no {name}: {answer:?}"))
}

/// The value of a header as the endpoint got it.
pub fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let described = answer.json();
    let pairs = described["headers"].as_array().unwrap();
    pairs.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}
