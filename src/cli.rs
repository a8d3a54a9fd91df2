//! The command line: one file per command. It reads arguments, environment and file into [`Settings`], puts the rooms
//! of the house together, and turns what goes wrong into an exit code.

mod auth;
mod check;
mod child;
mod connect;
mod dashboard;
mod demo;
mod doctor;
mod elect;
mod etcd;
mod filters;
mod keys;
mod leases;
mod lock;
mod print;
mod process;
mod register;
mod reload;
mod run;
mod services;
mod settings;
mod show;
mod sources;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Errors;
use crate::registry;
use crate::wasm::Fault;

pub use reload::{Outcome, Reloader};
pub use settings::Settings;
pub use sources::Sources;

const EXIT_CODES: &str = "Exit codes:
  0    all went well, or it was asked to stop
  1    it failed while running, such as an address that is in use, or an etcd out of reach
  2    the arguments or the configuration are wrong
  3    what was asked for is not there, or somebody else has the lock
  4    the lock or the leadership was lost
  126  the command that follows -- cannot be run, 127 it was not found
  Else, where a command follows --, its exit code, or 128 and the number of the signal that ended it.

Examples:
  waypost demo
  waypost run --config waypost.yaml
  waypost register greeter --address 10.0.0.7:50051 -- ./greeter
  waypost lock nightly-report -- ./report.sh
  waypost services --watch";

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
    Register(register::Arguments),
    Services(services::Services),
    Resolve(services::Resolve),
    Leases(leases::Leases),
    /// Grant, end and look at leases.
    #[command(subcommand)]
    Lease(leases::Lease),
    Locks(lock::Locks),
    Lock(lock::Arguments),
    Elect(elect::Arguments),
    Get(keys::Get),
    Put(keys::Put),
    Watch(keys::Watch),
    Doctor(doctor::Arguments),
    /// Administrate users and roles of etcd.
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Print what a shell needs to complete commands and arguments.
    #[command(after_help = "Example:\n  waypost completions bash > /etc/bash_completion.d/waypost")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    #[command(hide = true)]
    ExecBound(child::Bound),
    Dashboard(dashboard::Arguments),
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
    /// There is no token to log in with.
    #[error("{0}; `waypost run` makes one at its first start")]
    Token(String),
    /// What was asked for could not run.
    #[error(transparent)]
    Run(#[from] process::Error),
    /// The registry did not do as it was asked.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// It ends with this code; what there is to say may have been said by a child.
    #[error("{message}")]
    Exit { code: u8, message: String },
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Usage(_) | Failure::Run(process::Error::Modules(_)) => 2,
            // Who closes the pipe, such as `head`, has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(_) | Failure::Run(_) | Failure::Demo(_) | Failure::Module(_) | Failure::Token(_) => 1,
            Failure::Registry(error) => match error {
                registry::Error::Config(_) | registry::Error::Invalid { .. } => 2,
                registry::Error::Missing(_) => 3,
                registry::Error::Lost { .. } => 4,
                _ => 1,
            },
            Failure::Exit { code, .. } => *code,
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
        Command::Register(arguments) => register::run(arguments, environment, out),
        Command::Services(arguments) => services::list(arguments, environment, out),
        Command::Resolve(arguments) => services::resolve(arguments, environment, out),
        Command::Leases(arguments) => leases::list(arguments, environment, out),
        Command::Lease(command) => leases::run(command, environment, out),
        Command::Locks(arguments) => lock::list(arguments, environment, out),
        Command::Lock(arguments) => lock::run(arguments, environment, out),
        Command::Elect(arguments) => elect::run(arguments, environment, out),
        Command::Get(arguments) => keys::get(arguments, environment, out),
        Command::Put(arguments) => keys::put(arguments, environment, out),
        Command::Watch(arguments) => keys::watch(arguments, environment, out),
        Command::Doctor(arguments) => doctor::run(arguments, environment, out),
        Command::Auth(command) => auth::run(command, environment, out),
        Command::Completions { shell } => {
            // Into memory first: it panics where a pipe is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "waypost", &mut script);
            out.write_all(&script).map_err(Failure::from)
        }
        Command::ExecBound(arguments) => child::bound(&arguments),
        Command::Dashboard(arguments) => dashboard::run(arguments, environment, out),
        Command::Config(Config::Check(arguments)) => check::run(&arguments, out),
        Command::Config(Config::Print(arguments)) => print::run(arguments, environment, out),
        Command::Filters(Filters::Check(arguments)) => filters::check(&arguments, out),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            let (code, message) = (failure.exit_code(), failure.to_string());
            if code != 0 && !message.is_empty() {
                let _ = writeln!(err, "{message}");
            }
            code
        }
    }
}

#[cfg(test)]
mod tests;
