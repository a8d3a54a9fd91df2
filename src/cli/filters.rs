//! `waypost filters check`: is this module of use?

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::settings::taken;
use crate::balance::Balancer;
use crate::telemetry::{LogConfig, init_log};
use crate::wasm::{self, Trial};

/// Load a module as the proxy would, and say what it is and what a call of it costs.
///
/// Prints its kind, its imports, and the time and memory that it takes; exits with 2 if the proxy would refuse it or its
/// configuration, and with 1 if one of its calls fails.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost filters check filters/target/modules/zone_aware.wasm --config '{\"zone\": \"a\"}'
  waypost filters check header_auth.wasm --config-file auth.json")]
pub(super) struct Arguments {
    /// The module.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The configuration that it is given, as text.
    #[arg(long, value_name = "TEXT", conflicts_with = "config_file")]
    config: Option<String>,
    /// The file that its configuration is in.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
}

pub(super) fn check(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { file, config, config_file } = arguments;
    let config = match (config, config_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?,
        (None, None) => String::new(),
    };
    // What the module says of itself goes where the proxy's log goes.
    let _log = init_log(&LogConfig::default());
    let trial = wasm::try_out(file, &config, &wasm::Config::default())
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let Trial { module, load, start, memory, calls } = trial;
    writeln!(out, "{}: a {}, {:016x}", module.name(), module.kinds(), module.hash())?;
    if Balancer::ALL.iter().any(|(name, _)| **name == **module.name()) {
        writeln!(out, "  name             cannot be used: {}", taken(module.name()))?;
    }
    writeln!(out, "  compiled in      {}", time(load))?;
    writeln!(out, "  started in       {}", time(start))?;
    writeln!(out, "  memory           {} KiB an instance", memory >> 10)?;
    let mut failed = None;
    for (name, took) in calls {
        match took {
            Ok(took) => writeln!(out, "  {name:16} {}", time(took))?,
            Err(fault) => {
                writeln!(out, "  {name:16} fails: {fault}")?;
                failed = Some(fault);
            }
        }
    }
    writeln!(out, "  imports          {}", module.imports().join("\n                   "))?;
    match failed {
        None => Ok(()),
        Some(fault) => Err(Failure::Module(fault)),
    }
}

fn time(time: Duration) -> String {
    match time.as_nanos() {
        nanos if nanos < 10_000 => format!("{:.3} µs", nanos as f64 / 1e3),
        nanos if nanos < 10_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        nanos => format!("{:.1} ms", nanos as f64 / 1e6),
    }
}
