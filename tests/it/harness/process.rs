//! A child process: its output is kept, and it ends with its owner, by its own id.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`; what it prints is kept.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        let lines = Arc::default();
        let readers = vec![keep(child.stdout.take().unwrap(), &lines), keep(child.stderr.take().unwrap(), &lines)];
        Self { name: name.to_owned(), child, lines, readers }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// What it has printed so far, a line each.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The first line that `find` makes something of.
    pub fn find<T>(&self, find: impl FnMut(&String) -> Option<T>) -> Option<T> {
        self.lines.lock().unwrap().iter().find_map(find)
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`, `HUP`.
    pub async fn signal(&self, signal: &str) {
        let id = self.id();
        // The shell's own kill, because a small machine may lack the program of that name.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{signal} {id}")).status().await.unwrap();
        assert!(status.success(), "kill -{signal} {}", self.name);
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, and for its last words, unless a child of its own could still say something.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let Ok(status) = timeout(within, self.child.wait()).await else {
            panic!("{} still runs after {within:?}; it said:\n{}", self.name, self.log().join("\n"));
        };
        for reader in self.readers.drain(..) {
            let _ = timeout(Duration::from_secs(1), reader).await;
        }
        status.unwrap()
    }

    /// Ends it at once, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last = log.len().saturating_sub(60);
            eprintln!("--- {}, its last lines:\n{}\n---", self.name, log[last..].join("\n"));
        }
    }
}

fn keep(output: impl AsyncRead + Send + Unpin + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            lines.lock().unwrap().push(line);
        }
    })
}

/// Runs `command` to its end and returns what it printed; panics with all of it when it fails or takes too long.
pub async fn run(name: &str, within: Duration, command: &mut Command) -> String {
    let ended = timeout(within, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{name} still runs after {within:?}"));
    let output = output.unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{printed}\n{complaints}", output.status);
    printed
}
