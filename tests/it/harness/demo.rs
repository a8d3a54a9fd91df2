//! `waypost demo`, as a user starts it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{PATIENCE, eventually, process::Process, tools::Folder};

/// A running demo, and where it listens.
pub struct Demo {
    process: Process,
    _folder: Folder,
    /// Where calls go.
    pub proxy: SocketAddr,
    /// Where metrics and readiness are.
    pub admin: SocketAddr,
    /// Where etcdctl goes.
    pub registry: SocketAddr,
}

impl Demo {
    /// Starts it, and waits until it has said where it listens.
    pub async fn start() -> Self {
        let folder = Folder::new("demo");
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        let process = Process::start("demo", command.arg("demo").env("XDG_STATE_HOME", folder.path()));
        let addresses = eventually("the demo to introduce itself", || async {
            let address = |what: &str| {
                process.find(|line| {
                    let at = line.trim_start().strip_prefix(what)?.split_whitespace().next()?;
                    at.trim_start_matches("http://").parse::<SocketAddr>().ok()
                })
            };
            Ok::<_, Vec<String>>((
                address("proxy ").ok_or_else(|| process.log())?,
                address("admin ").ok_or_else(|| process.log())?,
                address("registry ").ok_or_else(|| process.log())?,
            ))
        });
        let (proxy, admin, registry) = addresses.await;
        Self { process, _folder: folder, proxy, admin, registry }
    }

    /// The link that logs in to its dashboard.
    pub fn login(&self) -> String {
        let link = |line: &String| Some(line.trim().strip_prefix("log in")?.trim().to_owned());
        self.process.find(link).expect("a login link")
    }

    /// Waits until it has said this.
    pub async fn says(&self, what: &str, within: Duration) {
        let start = Instant::now();
        while self.process.find(|line| line.contains(what).then_some(())).is_none() {
            assert!(start.elapsed() < within, "not within {within:?}: {what:?}\n{}", self.process.log().join("\n"));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it with Ctrl-C, and gives back all that it said.
    pub async fn end(mut self) -> Vec<String> {
        self.process.signal("INT").await;
        let status = self.process.ended(PATIENCE).await;
        assert!(status.success(), "{status}:\n{}", self.process.log().join("\n"));
        self.process.log()
    }
}
