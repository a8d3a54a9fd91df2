//! The fenced counter: processes that are stopped for longer than their lock lasts, killed, and robbed of their leases
//! raise one counter, and no write of somebody who no longer holds the lock is accepted.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    harness::{Etcd, Version, process::Process, tools::Folder},
    registering::client,
};

const ROUNDS: u64 = 1000;
const WORKERS: usize = 4;
/// The shortest that etcd grants.
const TTL: &str = "2s";
/// Longer than that, and than etcd takes to notice.
const STOP: Duration = Duration::from_millis(3500);
/// On a busy machine.
const LIMIT: Duration = Duration::from_secs(400);

/// A store that knows fencing tokens.
#[derive(Default)]
struct Store {
    value: u64,
    token: i64,
    /// Who read last, with which token.
    holder: Option<(usize, i64)>,
    refused: u64,
    /// Writes that were accepted although somebody else had written since their author read.
    stale: u64,
}

impl Store {
    fn answer(&mut self, question: &str) -> String {
        let words: Vec<_> = question.split_whitespace().collect();
        let token: i64 = words[2].parse().unwrap();
        if token < self.token {
            self.refused += 1;
            return "refused\n".to_owned();
        }
        self.token = token;
        match words[0] {
            "read" => self.holder = Some((words[1].parse().unwrap(), token)),
            _ => {
                let value = words[3].parse().unwrap();
                self.stale += u64::from(value != self.value + 1);
                self.value = value;
            }
        }
        format!("{}\n", self.value)
    }
}

async fn serve(stream: TcpStream, store: Arc<Mutex<Store>>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A worker that was killed leaves a broken connection, and perhaps half a line.
    while stream.read_line(&mut line).await.is_ok() && line.ends_with('\n') {
        let answer = store.lock().unwrap().answer(&line);
        line.clear();
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stale_write_is_accepted_whatever_becomes_of_the_holders() {
    let etcd = Etcd::start(Version::Wheel).await;
    let endpoint = format!("http://{}", etcd.address(0));
    let folder = Folder::new("fencing");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let store: Arc<Mutex<Store>> = Arc::default();
    let serving = store.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, serving.clone()));
        }
    });
    let program = PathBuf::from(env!("CARGO_BIN_EXE_waypost")).with_file_name("examples").join("fenced_counter");
    assert!(program.exists(), "{} is missing: `cargo test` builds it, or `cargo build --examples`", program.display());
    let worker = |name: usize| {
        let mut command = Command::new(&program);
        command.args([&name.to_string(), &address]).current_dir(folder.path());
        command.env("WAYPOST_ETCD_ENDPOINTS", &endpoint).env("WAYPOST_REGISTRY_TTL", TTL);
        Process::start(&format!("worker {name}"), &mut command)
    };
    let mut workers: Vec<_> = (0..WORKERS).map(worker).collect();
    let client = client(&endpoint);

    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let (mut stops, mut kills, mut revokes) = (0, 0, 0);
    loop {
        sleep(Duration::from_millis(random.u64(100..700))).await;
        let (rounds, holder) = {
            let store = store.lock().unwrap();
            (store.value, store.holder)
        };
        if rounds >= ROUNDS && stops >= 5 && kills >= 5 && revokes >= 5 {
            break;
        }
        assert!(start.elapsed() < LIMIT, "{rounds} rounds, {stops} stops, {kills} kills, {revokes} revokes");
        let Some((name, token)) = holder else { continue };
        match random.u8(..3) {
            0 => {
                workers[name].signal("STOP").await;
                sleep(STOP).await;
                workers[name].signal("CONT").await;
                stops += 1;
            }
            1 => {
                workers[name].kill().await;
                workers[name] = worker(name);
                kills += 1;
            }
            _ => {
                let keys = client.list(b"/locks/counter/").await.unwrap().keys;
                // Whoever holds it now, if it is not yet another one.
                if let Some(held) = keys.iter().find(|kv| kv.create_revision >= token) {
                    revokes += u32::from(client.revoke(held.lease).await.is_ok());
                }
            }
        }
    }
    let Store { value, refused, stale, .. } = &*store.lock().unwrap();
    eprintln!(
        "{value} rounds in {:?}: {stops} stops of {STOP:?}, {kills} kills, {revokes} revokes; the store refused {refused}",
        start.elapsed()
    );
    let lost = workers.iter().flat_map(Process::log).filter(|line| line.contains("is lost")).count();
    eprintln!("token() or lock() said {lost} times that the lock is lost");
    assert_eq!(*stale, 0, "seed {seed}");
    assert!(lost > 0, "nobody noticed anything");
}
