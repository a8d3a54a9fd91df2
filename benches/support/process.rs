//! A real etcd, and other processes, that end with the benchmark.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use etcd_client::{Txn, TxnOp};
use tokio::time::{Instant, sleep};

/// A folder of this process's own, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("waypost-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed when dropped. What it says goes to a file in the folder.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(
        folder: &Folder,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self, Box<dyn Error>> {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program);
        let log = folder.path().join(name).with_extension("log");
        let file = File::create(&log)?;
        let child = Command::new(program).args(args).stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Process { child: child.map_err(|error| format!("{}: {error}", program.display()))?, log })
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with what the process said, before the folder goes.
    pub(crate) fn failed(&self, error: &dyn Error) -> Box<dyn Error> {
        format!("{error}\n{}", fs::read_to_string(&self.log).unwrap_or_default()).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address that is free now.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// An etcd with nothing in it, and a client of it.
pub(crate) struct Etcd {
    pub(crate) url: String,
    pub(crate) client: etcd_client::Client,
    _process: Process,
}

impl Etcd {
    /// Starts the `etcd` on the path (Debian: etcd-server).
    pub(crate) async fn start(folder: &Folder) -> Result<Self, Box<dyn Error>> {
        let (url, peer) = (format!("http://{}", free_address()?), format!("http://{}", free_address()?));
        let data = folder.path().join("etcd");
        let args = [
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        let process = Process::start(folder, "etcd", args)?;
        let client = until("etcd answers", async || {
            let mut client = etcd_client::Client::connect([&url], None).await.ok()?;
            client.get("/", None).await.ok()?;
            Some(client)
        })
        .await?;
        Ok(Etcd { url, client, _process: process })
    }

    /// Registers services, each with an instance at each of these addresses, of which there are `INSTANCES` at most.
    pub(crate) async fn fill(
        &mut self,
        services: Range<usize>,
        addresses: &[SocketAddr],
    ) -> Result<(), Box<dyn Error>> {
        for service in services {
            // A transaction takes 128 operations.
            let puts = addresses.iter().take(INSTANCES).enumerate().map(|(instance, address)| {
                let (key, value) = registration(service, instance, *address, 1);
                TxnOp::put(key, value, None)
            });
            self.client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await?;
        }
        Ok(())
    }
}

/// Instances of each service that `fill` registers.
pub(crate) const INSTANCES: usize = 50;

/// Key and value of an instance, in the layout of etcd's Go naming package.
pub(crate) fn registration(service: usize, instance: usize, address: SocketAddr, weight: usize) -> (String, String) {
    let metadata = format!(r#"{{"weight":{weight},"version":"v1.4.2","zone":"eu-central-1a"}}"#);
    let value = format!(r#"{{"Op":0,"Addr":"{address}","Metadata":{metadata}}}"#);
    (format!("/services/s{service}/i{instance}"), value)
}

/// Tries until it works, for half a minute.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> Result<T, Box<dyn Error>> {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return Ok(done);
        }
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("not within 30 s: {what}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}
