//! `waypost config print`: what holds in the end, and why.

use std::io::Write;

use clap::Args;

use super::sources::Given;
use super::{Failure, Sources};

/// Print the configuration in effect, and where its values come from.
///
/// Prints all of it as YAML, with a comment at each value that is not the default: the argument, the variable, or the
/// line of the file that it comes from. Secrets are masked.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost config print
  WAYPOST_PROXY_WORKERS=2 waypost config print --config waypost.yaml --listen 0.0.0.0:8400")]
pub(super) struct Arguments {
    #[command(flatten)]
    given: Given,
}

pub(super) fn run(
    arguments: Arguments,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (_, effective) = Sources::new(arguments.given, environment).load()?;
    write!(out, "{effective}")?;
    Ok(())
}
