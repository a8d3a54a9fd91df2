//! A real etcd that a test may stop, freeze, restart, and rob of its data.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use etcd_client::{Client, PutOptions, Txn, TxnOp};

/// The etcd to run: `WAYPOST_TEST_ETCD`, or the one on the path.
fn binary() -> PathBuf {
    std::env::var_os("WAYPOST_TEST_ETCD").unwrap_or_else(|| "etcd".into()).into()
}

/// An etcd of one member on the loopback interface. It ends with this handle.
pub struct Server {
    child: Child,
    folder: PathBuf,
    client: u16,
    peer: u16,
    arguments: Vec<String>,
}

impl Server {
    pub async fn start() -> Self {
        Server::with(&[]).await
    }

    /// Starts one with further arguments.
    pub async fn with(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waypost-etcd-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let (client, peer) = (free_port(), free_port());
        let child = spawn(&folder, client, peer, &arguments);
        let server = Server { child, folder, client, peer, arguments };
        server.answers().await;
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// A client of the test's own.
    pub async fn raw(&self) -> Client {
        Client::connect([self.url()], None).await.unwrap()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, with its data.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.folder, self.client, self.peer, &self.arguments);
        self.answers().await;
    }

    /// Loses its data. It must not be running.
    pub fn lose_data(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// Has it stand still, connections and all.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Writes so many services `s0`, `s1`, .. with so many instances each.
    pub async fn fill(&self, prefix: &str, services: u32, instances: u32) {
        let mut client = self.raw().await;
        for service in 0..services {
            let key = |i| format!("{prefix}s{service}/{i}");
            let put = |i| TxnOp::put(key(i), super::address(service << 8 | i), None);
            client.txn(Txn::new().and_then((0..instances).map(put).collect::<Vec<_>>())).await.unwrap();
        }
    }

    /// Writes a key on a new lease of so many seconds, which nobody keeps alive. Returns the lease.
    pub async fn put_leased(&self, key: &str, value: &str, ttl: i64) -> i64 {
        let mut client = self.raw().await;
        let lease = client.lease_grant(ttl, None).await.unwrap().id();
        client.put(key, value, Some(PutOptions::new().with_lease(lease))).await.unwrap();
        lease
    }

    async fn answers(&self) {
        for _ in 0..300 {
            let asked = async { self.raw().await.status().await };
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), asked).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("etcd does not answer at {}; is {} an etcd?", self.url(), binary().display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &std::path::Path, client: u16, peer: u16, arguments: &[String]) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    Command::new(binary())
        .arg("--data-dir")
        .arg(folder)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd cannot be run; `make tools` installs it, or set WAYPOST_TEST_ETCD")
}

/// A port that is free now. It must be known before etcd starts, so that etcd comes back at the same.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
