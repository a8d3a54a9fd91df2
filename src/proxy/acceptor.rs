//! Takes client connections and deals each to the worker that has the fewest: gRPC clients open few and long ones, and
//! the kernel would often put them all on one core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Phase;

/// A client connection that a worker is to serve.
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) permit: OwnedSemaphorePermit,
    /// Counts the connections of the worker that got it; whoever serves it counts it down.
    pub(super) open: OpenConnections,
}

/// One worker's count of open connections.
pub(super) struct OpenConnections {
    all: Arc<[AtomicU64]>,
    worker: usize,
}

impl std::ops::Deref for OpenConnections {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.all[self.worker]
    }
}

/// Accepts until the order to stop.
pub(super) async fn run(
    listener: TcpListener,
    workers: Vec<mpsc::Sender<Accepted>>,
    open: Arc<[AtomicU64]>,
    max_connections: usize,
    mut phase: watch::Receiver<Phase>,
) {
    let permits = Arc::new(Semaphore::new(max_connections));
    let stopped = async { drop(phase.wait_for(|phase| *phase != Phase::Running).await) };
    let accepting = async {
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match accept(&listener).await {
                Ok((stream, peer)) => deal(stream, peer, permit, &workers, &open).await,
                Err(error) => {
                    // Out of file descriptors, usually: waiting frees some, trying at once does not.
                    tracing::warn!(%error, "cannot accept a client connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        () = stopped => {}
        () = accepting => {}
    }
}

async fn accept(listener: &TcpListener) -> std::io::Result<(std::net::TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let keep_alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    Ok((stream.into_std()?, peer))
}

async fn deal(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    workers: &[mpsc::Sender<Accepted>],
    open: &Arc<[AtomicU64]>,
) {
    let Some(worker) = (0..workers.len()).min_by_key(|&w| open[w].load(Ordering::Relaxed)) else { return };
    let open = OpenConnections { all: open.clone(), worker };
    open.fetch_add(1, Ordering::Relaxed);
    if workers[worker].send(Accepted { stream, peer, permit, open }).await.is_err() {
        tracing::debug!("a client connected while the proxy was stopping");
    }
}
