//! The proxy itself, as a user starts it: a process with a file.

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitStatus, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::Instant};

use super::{Etcd, PATIENCE, client, eventually, process::Process, tools::Folder};

/// A running proxy, on ports of its own.
pub struct Waypost {
    process: Process,
    folder: Folder,
    /// Where calls go.
    pub data: SocketAddr,
    /// Where metrics and readiness are.
    pub admin: SocketAddr,
}

impl Waypost {
    /// Starts it with the file `config`, to which both ports are added, and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        let waypost = Self::launch(config).await;
        waypost.ready().await;
        waypost
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        eventually("waypost to be ready", || async {
            match client::get(self.admin, "/readyz").await {
                Some((200, _)) => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// The status of `/readyz`.
    pub async fn readiness(&self) -> u16 {
        client::get(self.admin, "/readyz").await.expect("an answer").0
    }

    /// Starts it on the default prefix of `etcd`, with `more` added to the file, and waits until it is ready.
    pub async fn on(etcd: &Etcd, more: &str) -> Self {
        Self::start(&format!("etcd:\n  endpoints: {}\n{more}", etcd.endpoints())).await
    }

    /// Starts it, and waits until it listens.
    pub async fn launch(config: &str) -> Self {
        Self::launch_with(config, &[]).await
    }

    /// The same with these variables.
    pub async fn launch_with(config: &str, variables: &[(&str, &str)]) -> Self {
        let folder = Folder::new("waypost");
        let file = folder.path().join("waypost.yaml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        command.arg("run").arg("--config").arg(&file);
        command.env("WAYPOST_PROXY_LISTEN", "127.0.0.1:0").env("WAYPOST_ADMIN_LISTEN", "127.0.0.1:0");
        command.env("WAYPOST_LOG_FORMAT", "json").env("WAYPOST_ADMIN_TOKEN_FILE", folder.path().join("token"));
        command.envs(variables.iter().copied());
        let mut process = Process::start("waypost", &mut command);
        let start = Instant::now();
        loop {
            if let (Some(data), Some(admin)) = (process.find(listens("proxy")), process.find(listens("admin"))) {
                return Self { process, folder, data, admin };
            }
            assert!(process.is_running(), "waypost ended:\n{}", process.log().join("\n"));
            assert!(start.elapsed() < PATIENCE, "waypost doesn't listen:\n{}", process.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The token that actions need.
    pub fn token(&self) -> String {
        fs::read_to_string(self.folder.path().join("token")).unwrap().trim().to_owned()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("waypost.yaml")
    }

    /// Replaces its configuration file, as editors do: written beside, then renamed.
    pub fn rewrite(&self, config: &str) {
        let beside = self.folder.path().join("waypost.yaml.new");
        fs::write(&beside, config).unwrap();
        fs::rename(beside, self.file()).unwrap();
    }

    /// Sends it a signal: `TERM`, `HUP`, `INT`.
    pub async fn signal(&self, signal: &str) {
        self.process.signal(signal).await;
    }

    /// Waits for its end.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        self.process.ended(within).await
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// Its resident memory, in bytes.
    pub fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/statm", self.process.id())).unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
    }

    /// All metrics as it shows them.
    pub async fn metrics(&self) -> String {
        let (status, text) = client::get(self.admin, "/metrics").await.expect("metrics");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// The sum of a metric over all its samples whose labels contain every one of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics().await;
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, with) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.iter().all(|label| with.contains(label))).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }
}

/// Reads the address from the log line that says that `what` listens.
fn listens(what: &str) -> impl Fn(&String) -> Option<SocketAddr> {
    move |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line["message"].as_str()?.starts_with("listening") && line["what"] == what;
        is_it.then(|| line["address"].as_str()?.parse().ok())?
    }
}
