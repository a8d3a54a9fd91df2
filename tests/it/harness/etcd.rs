//! Real etcd servers as child processes, alone or as a cluster, and etcdctl as a user would type it.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use tokio::process::Command;

use super::{
    PATIENCE, client,
    etcdctl::Etcdctl,
    eventually,
    process::Process,
    tools::{Folder, tool},
};

/// Which etcd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    /// 3.5.1, from the Python wheel.
    Wheel,
    /// This distribution's: 3.4 on Debian 12 and Ubuntu 24.04.
    Debian,
    /// A current 3.5; `make interop` only.
    Current35,
    /// A current 3.6; `make interop` only.
    Current36,
}

impl Version {
    /// What `make test` runs on.
    pub const LOCAL: [Self; 2] = [Self::Wheel, Self::Debian];

    fn server(self) -> PathBuf {
        match self {
            Self::Wheel => tool("python/bin/etcd", "setup-test"),
            Self::Debian => tool("etcd-debian/etcd", "setup-test"),
            Self::Current35 => tool("etcd-3.5/etcd", "setup-interop"),
            Self::Current36 => tool("etcd-3.6/etcd", "setup-interop"),
        }
    }

    /// Its etcdctl.
    pub fn ctl(self) -> PathBuf {
        match self {
            Self::Debian => tool("etcd-debian/etcdctl", "setup-test"),
            _ => tool("python/bin/etcdctl", "setup-test"),
        }
    }
}

/// One etcd server or a cluster of them. Every process ends, and every folder goes, on drop.
pub struct Etcd {
    version: Version,
    members: Vec<Member>,
    extra: Vec<String>,
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Process>,
    folder: Folder,
}

impl Etcd {
    /// One server, ready.
    pub async fn start(version: Version) -> Self {
        Self::cluster(version, 1, &[]).await
    }

    /// `size` servers, ready, each with `extra` arguments.
    pub async fn cluster(version: Version, size: usize, extra: &[&str]) -> Self {
        let member = |at| Member {
            name: format!("m{at}"),
            client: free_port(),
            peer: free_port(),
            process: None,
            folder: Folder::new("etcd"),
        };
        let members = (0..size).map(member).collect();
        let mut etcd = Self { version, members, extra: extra.iter().map(ToString::to_string).collect() };
        for at in 0..size {
            etcd.launch(at);
        }
        for at in 0..size {
            etcd.ready(at).await;
        }
        etcd
    }

    /// How many members it has.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where a member listens for clients.
    pub fn address(&self, at: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.members[at].client))
    }

    /// The URLs of all members, as a YAML list.
    pub fn endpoints(&self) -> String {
        let urls: Vec<_> = self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client)).collect();
        format!("[{}]", urls.join(", "))
    }

    /// Ends a member at once, as a power cut would.
    pub async fn kill(&mut self, at: usize) {
        self.members[at].process.take().expect("it runs").kill().await;
    }

    /// Stops a member without ending it: it keeps its connections and says nothing.
    pub async fn freeze(&self, at: usize) {
        self.members[at].process.as_ref().expect("it runs").signal("STOP").await;
    }

    /// Lets a frozen member go on.
    pub async fn thaw(&self, at: usize) {
        self.members[at].process.as_ref().expect("it runs").signal("CONT").await;
    }

    /// Starts a killed member again, with its data, and waits until it is well.
    pub async fn restart(&mut self, at: usize) {
        self.launch(at);
        self.ready(at).await;
    }

    /// Forgets all data of a killed member, so that it starts as a new cluster.
    pub fn wipe(&mut self, at: usize) {
        self.members[at].folder = Folder::new("etcd");
    }

    /// The member that leads now.
    pub async fn leader(&self) -> usize {
        eventually("a leader", || async {
            for at in 0..self.size() {
                if self.members[at].process.is_none() {
                    continue;
                }
                let Ok(status) = self.etcdctl(at).run(&["endpoint", "status", "--write-out=json"]).await else {
                    continue;
                };
                let status: serde_json::Value = serde_json::from_str(&status).unwrap();
                let status = &status[0]["Status"];
                if status["leader"] == status["header"]["member_id"] {
                    return Ok(at);
                }
            }
            Err("nobody leads")
        })
        .await
    }

    fn launch(&mut self, at: usize) {
        let cluster: Vec<_> =
            self.members.iter().map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer)).collect();
        let member = &mut self.members[at];
        let (client, peer) =
            (format!("http://127.0.0.1:{}", member.client), format!("http://127.0.0.1:{}", member.peer));
        let mut command = Command::new(self.version.server());
        command
            .args(["--name", &member.name, "--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(","), "--log-level", "warn", "--data-dir"])
            .arg(member.folder.path().join("data"))
            .args(&self.extra);
        if std::env::consts::ARCH != "x86_64" {
            // 3.4 starts on other processors only when told so.
            command.env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"));
        }
        member.process = Some(Process::start(&format!("etcd {}", member.name), &mut command));
    }

    async fn ready(&mut self, at: usize) {
        let address = self.address(at);
        let process = self.members[at].process.as_mut().expect("it was launched");
        let start = tokio::time::Instant::now();
        loop {
            assert!(process.is_running(), "etcd ended:\n{}", process.log().join("\n"));
            // The members of a young cluster are well together, or not yet: any answer but this one is asked again.
            if matches!(client::get(address, "/health").await, Some((200, text)) if text.contains("true")) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "etcd isn't ready:\n{}", process.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// etcdctl for one member.
    pub fn etcdctl(&self, at: usize) -> Etcdctl {
        Etcdctl { version: self.version, server: self.address(at) }
    }

    /// Runs etcdctl on the first member that runs, and returns what it printed.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let at = self.members.iter().position(|member| member.process.is_some()).expect("a member runs");
        self.etcdctl(at).run(arguments).await.unwrap()
    }

    /// Puts a key.
    pub async fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", key, value]).await;
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &str) {
        self.ctl(&["del", key]).await;
    }

    /// Grants a lease of `ttl` seconds, and returns its id as etcdctl writes it.
    pub async fn grant(&self, ttl: u32) -> String {
        let said = self.ctl(&["lease", "grant", &ttl.to_string()]).await;
        said.split_whitespace().nth(1).unwrap_or_else(|| panic!("no lease id in {said:?}")).to_owned()
    }

    /// Puts a key that lives as long as `lease`.
    pub async fn put_leased(&self, key: &str, value: &str, lease: &str) {
        self.ctl(&["put", "--lease", lease, key, value]).await;
    }

    /// Keeps a lease alive until what is returned is dropped.
    pub fn keep_alive(&self, lease: &str) -> Process {
        self.etcdctl(0).start(&["lease", "keep-alive", lease])
    }
}

/// A port that nobody listens on. Below the range that the system deals out by itself, so that no connection of
/// another test can take it before the server does, or while the server is down.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 17_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Every process starts elsewhere; within it, no number comes twice before all have come.
    let offset = u16::try_from(process::id() * 101 % u32::from(COUNT)).unwrap();
    (0..COUNT)
        .map(|_| FIRST + (offset + NEXT.fetch_add(1, Ordering::SeqCst) % COUNT) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
