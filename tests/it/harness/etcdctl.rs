//! etcdctl as a user would type it.

use std::net::SocketAddr;

use tokio::process::Command;

use super::{PATIENCE, Version, process::Process};

/// etcdctl of a version, for the server at an address.
#[derive(Clone, Copy)]
pub struct Etcdctl {
    pub version: Version,
    pub server: SocketAddr,
}

impl Etcdctl {
    /// The command, not yet run.
    pub fn command(self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.version.ctl());
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.server)).args(arguments);
        command.kill_on_drop(true);
        command
    }

    /// Runs it: what it printed, or why it failed.
    pub async fn run(self, arguments: &[&str]) -> Result<String, String> {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output());
        let output = output.await.map_err(|_| format!("etcdctl {arguments:?} is still running"))?.unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Starts one that runs until it is dropped or told to stop.
    pub fn start(self, arguments: &[&str]) -> Process {
        Process::start(&format!("etcdctl {}", arguments.join(" ")), &mut self.command(arguments))
    }
}
