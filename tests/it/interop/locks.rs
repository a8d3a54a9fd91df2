//! etcd's own Go client and we exclude one another from locks, both ways, on current servers.

use std::time::Duration;

use tokio::{process::Command, time::timeout};
use waypost::{Manager, manager::Preset};

use crate::harness::{Etcd, PATIENCE, Version, eventually, process::Process, tools::tool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_and_we_exclude_one_another() {
    for version in [Version::Current35, Version::Current36] {
        let etcd = Etcd::start(version).await;
        let endpoint = format!("http://{}", etcd.address(0));
        let alone = Manager::builder().preset(Preset::Test).folder("/").environment([("HOME", "/")]);
        let manager = alone.endpoints([&endpoint]).connect().unwrap();
        let locks = manager.locks();
        let go = || {
            let mut command = Command::new(tool("bin/go-lock", "setup-interop"));
            Process::start("go-lock", command.args([&endpoint, "/locks/x"]))
        };
        let holds = async |process: &Process| {
            eventually("Go to hold the lock", || async {
                let log = process.log();
                if log.iter().any(|line| line.starts_with("holding /locks/x/")) { Ok(()) } else { Err(log) }
            })
            .await;
        };

        // It holds, we wait.
        let mut first = go();
        holds(&first).await;
        assert!(locks.try_lock("x").await.unwrap().is_none());
        let waiting = tokio::spawn({
            let locks = locks.clone();
            async move { locks.lock("x").await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished());
        first.signal("TERM").await;
        assert!(first.ended(PATIENCE).await.success());
        let ours = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();

        // We hold, it waits.
        let mut second = go();
        eventually("Go to wait", || async {
            let queue = locks.status("x").await.unwrap().queue.len();
            if queue == 2 { Ok(()) } else { Err(queue) }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(second.is_running() && second.log().is_empty(), "{:?}", second.log());
        ours.unlock().await.unwrap();
        holds(&second).await;
        assert_eq!(locks.status("x").await.unwrap().queue.len(), 1);
        second.signal("TERM").await;
        assert!(second.ended(PATIENCE).await.success());
        manager.close().await;
    }
}
