//! What every command that serves needs of the process: threads for the control plane, listeners, the signals to stop.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Errors;

/// Threads for all that carries no calls: etcd, the table, the admin server, accepting connections.
const CONTROL_THREADS: usize = 2;

/// Why a command could not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {source}; choose another address with {key}")]
    Listen { key: &'static str, address: SocketAddr, source: io::Error },
    /// The configuration names modules that are no good.
    #[error(transparent)]
    Modules(Errors),
    /// Threads, timers or signals are not to be had.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// Runs a command's main task on threads of its own. What is still open when it is done was given its time.
pub(super) fn run<T>(task: impl Future<Output = T>) -> Result<T, Error> {
    let runtime: Runtime =
        Builder::new_multi_thread().worker_threads(CONTROL_THREADS).thread_name("control").enable_all().build()?;
    let outcome = runtime.block_on(task);
    runtime.shutdown_background();
    Ok(outcome)
}

pub(super) async fn listen(what: &str, key: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { key, address, source })?;
    tracing::info!(what, address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// The signals that ask to stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
