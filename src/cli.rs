//! The command line: one file per command. It reads arguments, environment and file into [`Settings`], puts the rooms
//! of the house together, and turns what goes wrong into an exit code.

mod check;
mod demo;
mod etcd;
mod filters;
mod print;
mod process;
mod reload;
mod run;
mod settings;
mod sources;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Parser, Subcommand};

use crate::config::Errors;
use crate::wasm::Fault;

pub use reload::{Outcome, Reloader};
pub use settings::Settings;
pub use sources::Sources;

const EXIT_CODES: &str = "Exit codes:
  0  all went well, or the proxy was asked to stop
  1  it failed while running, such as an address that is in use
  2  the arguments or the configuration are wrong

Examples:
  waypost demo
  waypost run
  waypost run --config waypost.yaml
  waypost config check waypost.yaml";

/// Carries gRPC and HTTP calls to services that are registered in etcd.
#[derive(Parser)]
#[command(name = "waypost", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Demo(demo::Arguments),
    Etcd(etcd::Arguments),
    /// Check or print the configuration.
    #[command(subcommand)]
    Config(Config),
    /// Check a module.
    #[command(subcommand)]
    Filters(Filters),
}

#[derive(Subcommand)]
enum Filters {
    Check(filters::Arguments),
}

#[derive(Subcommand)]
enum Config {
    Check(check::Arguments),
    Print(print::Arguments),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Errors),
    /// The answer could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The demo could not go on.
    #[error("the demo cannot go on: {0}")]
    Demo(String),
    /// A module does not work.
    #[error("a call of the module failed: {0}")]
    Module(Fault),
    /// What was asked for could not run.
    #[error(transparent)]
    Run(#[from] process::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Usage(_) => 2,
            // Who closes the pipe, such as `head`, has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(_) | Failure::Run(_) | Failure::Demo(_) | Failure::Module(_) => 1,
        }
    }
}

/// Runs one command. Answers go to `out`, what is wrong goes to `err`; gives back the exit code.
pub fn main<'a>(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Vec<(String, String)>,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
) -> u8 {
    let command = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(usage) => {
            let stream = if usage.use_stderr() { err } else { out };
            // There is nobody left to tell that this failed.
            let _ = write!(stream, "{}", usage.render());
            return if usage.use_stderr() { 2 } else { 0 };
        }
    };
    let result = match command {
        Command::Run(arguments) => run::run(arguments, environment),
        Command::Demo(arguments) => demo::run(arguments, out),
        Command::Etcd(arguments) => etcd::run(&arguments),
        Command::Config(Config::Check(arguments)) => check::run(&arguments, out),
        Command::Config(Config::Print(arguments)) => print::run(arguments, environment, out),
        Command::Filters(Filters::Check(arguments)) => filters::check(&arguments, out),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 {
                let _ = writeln!(err, "{failure}");
            }
            code
        }
    }
}

#[cfg(test)]
mod tests;
