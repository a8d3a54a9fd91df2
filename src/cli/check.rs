//! `waypost config check`: is this file right?

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, Sources};

/// Check a file and report every error at once.
///
/// Reads the file alone, without the environment. Prints each error as `file:line:column: key: message` on standard
/// error, and exits with 2 if there is one.
#[derive(Args)]
#[command(after_help = "Example:\n  waypost config check waypost.yaml")]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (settings, _) = Sources::file(&arguments.file).load()?;
    writeln!(out, "{}: ok\n{}", arguments.file.display(), settings.summary())?;
    Ok(())
}
