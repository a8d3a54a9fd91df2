//! The side that accepts requests.

use std::task::{Context, Poll};

use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::error::Error;
use super::handle::{Receiver, Sender, handles};
use super::ping::PingPong;
use super::{Role, Settings};

/// A request, and where its response goes.
pub type Accepted = (Request<Receiver>, Sender);

/// A client's connection, behind the preface. Dropped, it ends, and all its streams with it.
pub struct Server<S: AsyncRead + AsyncWrite + Unpin>(Connection<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// Must be polled to say or do anything.
    pub fn new(io: S, settings: Settings) -> Server<S> {
        Server(Connection::new(io, Role::Server, settings))
    }

    /// The next request; carries on with all others meanwhile. `None`: the connection is over. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// What the connection ended by.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, Error>>> {
        loop {
            {
                let mut state = self.0.shared.lock();
                if let Some((request, key)) = state.incoming.pop_front() {
                    let stream = &mut state.streams[key];
                    stream.handles = 2;
                    let (receiver, sender) = handles(&self.0.shared, key, stream.is_read());
                    return Poll::Ready(Some(Ok((request.map(|()| receiver), sender))));
                }
                state.reset_early = 0;
            }
            match self.0.poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(None),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending if self.0.shared.lock().incoming.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Tells the client to begin nothing new here; what it began finishes.
    pub fn shut_down(&mut self) {
        self.0.shared.lock().announce_closing();
    }

    /// Whether a request is under way.
    pub fn has_streams(&self) -> bool {
        !self.0.shared.lock().streams.is_empty()
    }

    /// Pings for this connection. To be taken once.
    pub fn ping_pong(&self) -> PingPong {
        PingPong(self.0.shared.clone())
    }
}
