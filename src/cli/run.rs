//! `waypost run`: puts the rooms of the house together and runs until it is told to stop.

use clap::Args;

use super::sources::Given;
use super::{Failure, Sources};

/// Run the proxy until SIGTERM or Ctrl-C.
///
/// For each setting, arguments count first, then variables (WAYPOST_PROXY_LISTEN for proxy.listen, WAYPOST_CONFIG for
/// the file), then the file, then defaults. The file is read again when it changes, and on SIGHUP.
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
