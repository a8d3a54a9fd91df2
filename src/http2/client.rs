//! The side that sends requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::error::Error;
use super::handle::{Receiver, Sender, handles};
use super::head::RequestHead;
use super::ping::PingPong;
use super::state::Shared;
use super::{Role, Settings};

/// Begins streams. When all clones and all streams are gone, the connection ends.
#[derive(Clone)]
pub struct Client(Arc<Beginner>);

struct Beginner(Shared);

impl Drop for Beginner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        state.wake();
    }
}

/// A connection to a server; a future that ends with it. Dropped, it ends, and all its streams with it.
#[must_use = "a connection does nothing unless it is polled"]
pub struct ClientConnection<S: AsyncRead + AsyncWrite + Unpin>(Connection<S>);

/// Begins a connection: says hello, and waits for the server's SETTINGS.
///
/// # Errors
///
/// If the connection ends first.
pub async fn connect<S>(io: S, settings: Settings) -> Result<(Client, ClientConnection<S>), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::new(io, Role::Client, settings);
    let shared = connection.shared.clone();
    poll_fn(|cx| match connection.poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.and(Err(Error::Lost(None)))),
        // An end that comes with the SETTINGS is found again by the first who uses the connection.
        Poll::Pending if shared.lock().peer_max_streams.is_some() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((Client(Arc::new(Beginner(shared))), ClientConnection(connection)))
}

impl Client {
    /// Begins a stream; `end`: without a body. If the server has no room for it, it begins when there is.
    ///
    /// # Errors
    ///
    /// If the connection is ending: nothing was sent then.
    pub fn send(&self, head: &RequestHead<'_>, end: bool) -> Result<(Receiver, Sender), Error> {
        let shared = &self.0.0;
        let key = shared.lock().begin(head, end)?;
        Ok(handles(shared, key, false))
    }

    /// How many streams the server takes at a time; none if the connection is ending.
    pub fn max_streams(&self) -> usize {
        let state = self.0.0.lock();
        if state.is_ending() { 0 } else { state.peer_max_streams.unwrap_or(usize::MAX) }
    }

    /// Whether nothing new can begin on this connection.
    pub fn is_ending(&self) -> bool {
        self.0.0.lock().is_ending()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientConnection<S> {
    /// Pings for this connection. To be taken once.
    pub fn ping_pong(&self) -> PingPong {
        PingPong(self.0.shared.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for ClientConnection<S> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll(cx)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
