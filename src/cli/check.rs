//! `waypost config check`: is this file right?

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, Settings, Sources, process, run};
use crate::config::{Effective, Errors};
use crate::table::Table;
use crate::telemetry::{Registry, init_log};
use crate::wasm::Catalog;

/// Check a file and report every error at once.
///
/// Reads the file alone, without the environment, and tries out the modules that it names. Prints each error as
/// `file:line:column: key: message` on standard error, and exits with 2 if there is one.
#[derive(Args)]
#[command(after_help = "Example:\n  waypost config check waypost.yaml")]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (settings, effective) = Sources::file(&arguments.file).load()?;
    // What modules say of themselves goes where the proxy's log goes.
    init_log(&settings.log);
    process::run(try_out(&settings, &effective))??;
    writeln!(out, "{}: ok\n{}", arguments.file.display(), settings.summary())?;
    Ok(())
}

/// Loads the modules as `waypost run` does.
async fn try_out(settings: &Settings, effective: &Effective) -> Result<(), Errors> {
    let catalog = Catalog::new(settings.wasm.clone(), 1, Table::new(), &Registry::default());
    run::prepare(&catalog, settings, effective).await.map(drop)
}
