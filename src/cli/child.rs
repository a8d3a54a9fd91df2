//! A command that runs below ours: signals go through to it, its exit code comes back, and it does not outlive us.
//!
//! A child is told of its parent's death only if it asks for that itself, after the fork. So `waypost` runs itself once
//! more in between, asks, and becomes the command.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, set_parent_process_death_signal,
};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Failure;
use super::connect::exit;
use super::process::Error;

/// Run a command that ends when the process that started it does.
#[derive(Args)]
pub(super) struct Bound {
    /// The process that must be the parent.
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the command.
pub(super) fn bound(arguments: &Bound) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| Failure::Run(Error::Start(error.into())))?;
    // The parent may have ended before we asked.
    if getppid().map(Pid::as_raw_pid) != Some(arguments.parent) {
        return Err(exit(1, "the process that this command was to run under has ended"));
    }
    let name = &arguments.command[0];
    let error = std::process::Command::new(name).args(&arguments.command[1..]).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Err(exit(code, format!("`{}` cannot be run: {error}", name.to_string_lossy())))
}

/// A command under way.
pub(super) struct Child {
    child: tokio::process::Child,
    remote: Remote,
}

/// Sends signals to a command. Not to be used when it has ended.
#[derive(Clone, Copy)]
pub(super) struct Remote {
    pid: Option<Pid>,
    group: bool,
}

impl Child {
    /// Starts it, with these variables besides ours. To be called on the main thread: the child ends with the thread that
    /// started it.
    pub(super) fn start(command: &[OsString], variables: &[(&str, String)]) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Error::from)?;
        let mut bound = Command::new(program);
        bound.args(["exec-bound", "--parent", &getpid().as_raw_pid().to_string(), "--"]).args(command);
        bound.envs(variables.iter().map(|(name, value)| (name, value)));
        // A group of its own, so that what it starts gets our signals as well; but on a terminal it could not read then.
        let group = !io::stdin().is_terminal();
        if group {
            bound.process_group(0);
        }
        let child = bound.kill_on_drop(true).spawn().map_err(Error::from)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Child { child, remote: Remote { pid, group } })
    }

    pub(super) fn remote(&self) -> Remote {
        self.remote
    }

    /// Waits for its end, and gives back its exit code. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Result<u8, Failure> {
        Ok(code(self.child.wait().await.map_err(Error::from)?))
    }

    /// Asks it to end, and ends it when it has not after `grace`.
    pub(super) async fn end(&mut self, grace: Duration) -> Result<u8, Failure> {
        self.remote.signal(Signal::TERM);
        if let Ok(ended) = timeout(grace, self.ended()).await {
            return ended;
        }
        self.remote.signal(Signal::KILL);
        self.ended().await
    }
}

impl Remote {
    pub(super) fn signal(self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        let sent = if self.group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        if let Err(error) = sent {
            tracing::debug!(%error, "a signal did not reach the command");
        }
    }
}

/// What a shell makes of it: the exit code, or 128 and the number of the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Ends a command with its child's exit code: there is nothing more to say.
pub(super) fn with_code(code: u8) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        code => Err(exit(code, "")),
    }
}

/// The signals that we get, for whoever passes them on.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let (sender, signals) = mpsc::channel(16);
        for (kind, number) in [
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::quit(), Signal::QUIT),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
        ] {
            let (mut signal, sender) = (signal(kind).map_err(Error::from)?, sender.clone());
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    if sender.send(number).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Signals(signals))
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => never().await,
        }
    }

    /// Waits for one that asks to stop, and passes the others on, if there is a child. Cancel-safe.
    pub(super) async fn stop(&mut self, child: Option<Remote>) -> Signal {
        loop {
            match self.next().await {
                stop @ (Signal::TERM | Signal::INT) => return stop,
                other => match child {
                    Some(child) => child.signal(other),
                    // Without a child they mean what they always do, which is to end.
                    None if !matches!(other, Signal::USR1 | Signal::USR2) => return other,
                    None => {}
                },
            }
        }
    }
}

async fn never() -> Signal {
    let never: Infallible = std::future::pending().await;
    match never {}
}
