//! `waypost demo`: everything at once in one process, with an embedded registry, two services, and a story that goes on
//! until Ctrl-C.

mod greeter;
mod server;
mod story;
mod traffic;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::story::Story;
use super::process::{self, Stop};
use super::{Failure, Reloader, Sources, run};
use crate::admin::token;
use crate::embedded;
use crate::etcd::{self, Client, Metrics};
use crate::telemetry::init_log;

/// Lines that may wait to be printed.
const LINES: usize = 256;

/// Show everything: a registry, services that come and go, calls and locks.
///
/// Needs no etcd: the registry is the embedded one of `waypost etcd`, which is for development; in production it is a
/// real etcd cluster. Takes the usual ports, or others if they are taken.
#[derive(Args)]
pub(super) struct Arguments {
    /// A configuration file, which may change meanwhile. Addresses and the registry are the demo's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What ends the demo before its time.
type Problem = Box<dyn std::error::Error>;

pub(super) fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let start = Instant::now();
    process::run(demo(arguments.config, start, out))?
}

async fn demo(config: Option<PathBuf>, start: Instant, out: &mut dyn Write) -> Result<(), Failure> {
    let mut stop = Stop::new().map_err(process::Error::from)?;
    let registry = free(2379, "the registry", out).await?;
    let data = free(8400, "the proxy", out).await?;
    let admin = free(8401, "the admin server", out).await?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(process::Error::from);
    let (registry_at, data_at, admin_at) = (address(&registry)?, address(&data)?, address(&admin)?);

    let mut values = vec![
        ("proxy.listen", data_at.to_string()),
        ("proxy.grace", "3s".to_owned()),
        ("admin.listen", admin_at.to_string()),
        ("etcd.endpoints", format!("http://{registry_at}")),
        ("etcd.clients.operator.endpoints", format!("http://{registry_at}")),
    ];
    if config.is_none() {
        values.push(("services.named.greeter.balance", "weighted".to_owned()));
        values.push(("log.level", "warn".to_owned()));
    }
    let sources = Sources::with(config, &values);
    let (reloader, settings) = Reloader::start(sources)?;
    let log = init_log(&settings.borrow().log);
    let registry = embedded::Server::start(registry, embedded::Config::default()).map_err(process::Error::from)?;
    let token = token::path(None).and_then(|path| token::read_or_make(&path)).ok();
    introduce(out, registry_at, data_at, admin_at, token.as_deref())?;

    tokio::spawn(end_at_the_second_signal(Stop::new().map_err(process::Error::from)?));
    let (lines, mut said) = mpsc::channel(LINES);
    let client = Client::new("demo", settings.borrow().etcd[etcd::DEFAULT_CLIENT].clone(), Metrics::default());
    let story = Story::new(client, data_at, Say { start, lines });
    let telling = async {
        tokio::select! {
            () = stop.told() => Ok(()),
            outcome = story.tell() => outcome,
        }
    };
    let serving = run::serve(reloader, settings, &log, data, admin);
    let (mut telling, mut serving) = (std::pin::pin!(telling), std::pin::pin!(serving));
    let mut told = false;
    loop {
        tokio::select! {
            Some(line) = said.recv() => writeln!(out, "{line}")?,
            outcome = &mut telling, if !told => {
                told = true;
                outcome.map_err(|problem| Failure::Demo(problem.to_string()))?;
                writeln!(out, "\nending: calls first, then the proxy, then the services and the registry")?;
            }
            outcome = &mut serving => {
                outcome?;
                break;
            }
        }
    }
    drop(registry);
    writeln!(out, "ended; nothing is left behind")?;
    Ok(())
}

/// Ends the process when it is told so twice, also if whoever should read what it prints does not.
async fn end_at_the_second_signal(mut stop: Stop) {
    stop.told().await;
    stop.told().await;
    std::process::exit(1);
}

/// The wanted port, or another one if somebody has it.
async fn free(wanted: u16, what: &str, out: &mut dyn Write) -> Result<TcpListener, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted));
    let listener = match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let other = listener.as_ref().ok().and_then(|listener| listener.local_addr().ok());
            if let Some(other) = other {
                writeln!(out, "port {wanted} is taken: {what} listens on {} instead", other.port())?;
            }
            listener
        }
        result => result,
    };
    let key = "another network configuration: the demo listens on loopback";
    Ok(listener.map_err(|source| process::Error::Listen { key, address, source })?)
}

fn introduce(
    out: &mut dyn Write,
    registry: SocketAddr,
    data: SocketAddr,
    admin: SocketAddr,
    token: Option<&str>,
) -> io::Result<()> {
    let login = token.map(|token| format!("  log in    http://{admin}/login#{token}\n")).unwrap_or_default();
    writeln!(
        out,
        "Waypost {version}, a demonstration. The registry is embedded, for development, and keeps nothing;
in production Waypost follows a real etcd cluster.

  proxy     {data}          calls by service name
  admin     http://{admin}   the dashboard, metrics and readiness
{login}  registry  {registry}          the etcd v3 API

Try in another terminal:

  grpcurl -plaintext -authority greeter -d '{{\"name\": \"you\"}}' {data} waypost.demo.Greeter/Hello
  curl -H 'Host: clock' http://{data}/
  etcdctl --endpoints {registry} get --prefix /

Ctrl-C ends everything.
",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Says what happens, with the time since the start. Never waits: a line that finds the queue full is lost, and only a
/// terminal that has stood still for long is so slow.
#[derive(Clone)]
struct Say {
    start: Instant,
    lines: mpsc::Sender<String>,
}

impl Say {
    fn line(&self, text: impl AsRef<str>) {
        let line = format!("{:6.1} s  {}", self.start.elapsed().as_secs_f64(), text.as_ref());
        // Nobody listens any more when the demo ends.
        let _ = self.lines.try_send(line);
    }
}
