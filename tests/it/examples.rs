//! The programs in `examples/`, as a reader of them would start them.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tokio::process::Command;

use crate::harness::{
    Etcd, PATIENCE, Version, eventually,
    process::{Process, run},
    tools::Folder,
};

fn example(name: &str, etcd: &Etcd, folder: &Folder) -> Command {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_waypost")).with_file_name("examples").join(name);
    assert!(program.exists(), "{} is missing: `cargo test` builds it, or `cargo build --examples`", program.display());
    let mut command = Command::new(program);
    command.env("WAYPOST_ETCD_ENDPOINTS", format!("http://{}", etcd.address(0))).current_dir(folder.path());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_registers_itself_and_a_client_knows_only_the_name() {
    let (etcd, folder) = (Etcd::start(Version::Wheel).await, Folder::new("greeter"));
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        let server = Process::start(name, example("greeter_server", &etcd, &folder).arg(name));
        eventually(name, async || {
            let log = server.log();
            if log.iter().any(|line| line.contains("is registered as /services/greeter/")) { Ok(()) } else { Err(log) }
        })
        .await;
        servers.push(server);
    }
    let said = run("client", PATIENCE, example("greeter_client", &etcd, &folder).args(["you", "4"])).await;
    let lines: BTreeSet<_> = said.lines().collect();
    assert_eq!(lines, BTreeSet::from(["hello you, I am one", "hello you, I am two"]), "{said}");
    for mut server in servers {
        server.signal("TERM").await;
        assert!(server.ended(PATIENCE).await.success());
        assert!(server.log().contains(&"no longer registered".to_owned()), "{:?}", server.log());
    }
    assert_eq!(etcd.ctl(&["get", "--prefix", "/", "--keys-only"]).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_jobs_under_one_lock_one_works_at_a_time() {
    let (etcd, folder) = (Etcd::start(Version::Wheel).await, Folder::new("job"));
    let job = || Process::start("job", example("nightly_job", &etcd, &folder).arg("report.txt"));
    for mut job in [job(), job(), job()] {
        assert!(job.ended(PATIENCE).await.success());
    }
    let report = fs::read_to_string(folder.path().join("report.txt")).unwrap();
    let lines: Vec<Vec<_>> = report.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 9, "{report}");
    let mut last = 0;
    for steps in lines.chunks(3) {
        // All steps of one holder, in order, with a token greater than those before.
        let token = steps[0][0].parse::<i64>().unwrap();
        assert!(steps.iter().enumerate().all(|(n, step)| step[..2] == steps[0][..2] && step[3] == (n + 1).to_string()));
        assert!(token > last, "{report}");
        last = token;
    }
}
