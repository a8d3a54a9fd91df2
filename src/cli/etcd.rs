//! `waypost etcd`: the embedded development registry alone.

use std::net::SocketAddr;

use clap::Args;

use super::Failure;
use super::process::{self, Error, Stop, listen};
use crate::config::parse_listen;
use crate::embedded::{Config, Server};
use crate::telemetry::{LogConfig, init_log};

/// Run an etcd for development, in memory, until SIGTERM or Ctrl-C.
///
/// It speaks the v3 API of etcd, for etcdctl and every client. It keeps nothing on disk and has no users: in production
/// the registry is a real etcd cluster.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost etcd
  waypost etcd --listen 127.0.0.1:12379
  etcdctl --endpoints 127.0.0.1:2379 put /services/greeter/one 127.0.0.1:50051
  waypost etcd --faults
  curl -d 'refuse: {method: KV/Put, status: UNAVAILABLE, times: 3}' http://127.0.0.1:2379/faults")]
pub(super) struct Arguments {
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2379", value_parser = parse_listen)]
    listen: SocketAddr,
    /// Let --listen be an address that others than this machine can reach: whoever reaches it can read and write all.
    #[arg(long)]
    allow_remote: bool,
    /// Let tests order faults: a POST to /faults with a document of cut_watches, cut_connections and lose_all_data
    /// (true), stall_watches (true or false), compact (a revision, or 0 for the current one), rewind (a revision),
    /// expire_lease (its id), delay (such as 200ms), refuse (method, status, times).
    #[arg(long)]
    faults: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { listen, allow_remote, faults } = *arguments;
    if !listen.ip().is_loopback() && !allow_remote {
        return Err(Failure::Usage(format!(
            "--listen {listen} can be reached by others than this machine, and anyone who reaches it can read and write \
             all; add --allow-remote if that is wanted"
        )));
    }
    init_log(&LogConfig::default());
    process::run(serve(listen, Config { faults_over_http: faults, ..Config::default() }))??;
    Ok(())
}

async fn serve(address: SocketAddr, config: Config) -> Result<(), Error> {
    let mut stop = Stop::new()?;
    let server = Server::start(listen("development etcd", "--listen", address).await?, config)?;
    tracing::warn!("nothing is kept on disk: all data is gone when this process ends");
    stop.told().await;
    drop(server);
    tracing::info!("stopped");
    Ok(())
}
