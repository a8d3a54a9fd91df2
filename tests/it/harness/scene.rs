//! The usual scene: an etcd, the proxy on it, and instances registered as a user would with etcdctl.

use super::{Backend, Client, Etcd, Version, Waypost, eventually};

/// An etcd and a proxy that reads its default prefix.
pub struct Scene {
    /// The proxy. Dropped before its etcd.
    pub waypost: Waypost,
    /// The registry.
    pub etcd: Etcd,
}

impl Scene {
    /// Starts both, the proxy with `more` added to its file.
    pub async fn new(more: &str) -> Self {
        Self::with("none", &[], more).await
    }

    /// Starts both, with `backends` registered before the proxy starts: its first call knows all of them.
    pub async fn with(service: &str, backends: &[&Backend], more: &str) -> Self {
        Self::of(Version::Wheel, service, backends, more).await
    }

    /// The same on a certain version of etcd.
    pub async fn of(version: Version, service: &str, backends: &[&Backend], more: &str) -> Self {
        let etcd = Etcd::start(version).await;
        for backend in backends {
            register(&etcd, service, backend).await;
        }
        let waypost = Waypost::on(&etcd, more).await;
        Self { waypost, etcd }
    }

    /// Waits until a call reaches the instance of this name.
    pub async fn reaches(&self, service: &str, instance: &str) {
        let client = self.client().await;
        eventually(instance, || async {
            let reply = client.unary(service).await?;
            if reply.status == 0 && reply.instance() == instance { Ok(()) } else { Err(format!("{reply:?}")) }
        })
        .await;
    }

    /// Waits until the proxy knows of so many instances, without calling any.
    pub async fn knows(&self, instances: u32) {
        eventually("the instances to be known", || async {
            let known = self.waypost.metric("waypost_table_instances", &[]).await;
            if known == f64::from(instances) { Ok(()) } else { Err(known) }
        })
        .await;
    }

    /// The revision that the proxy has read, without calling any instance.
    pub async fn revision(&self) -> f64 {
        self.waypost.metric("waypost_table_revision", &[]).await
    }

    /// Waits until the proxy has read past `revision`.
    pub async fn passes(&self, revision: f64) {
        eventually("the change to be read", || async {
            let now = self.revision().await;
            if now > revision { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// A new HTTP/2 connection to the proxy.
    pub async fn client(&self) -> Client {
        Client::h2(self.waypost.data).await
    }
}

/// The key under which `backend` is registered.
pub fn key(service: &str, backend: &Backend) -> String {
    format!("/services/{service}/{}", backend.name)
}

/// Registers `backend` as the simplest that a user can type: its address. A web server says so in a URL.
pub async fn register(etcd: &Etcd, service: &str, backend: &Backend) {
    etcd.put(&key(service, backend), &backend.url()).await;
}
