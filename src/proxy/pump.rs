//! Carries a body into an HTTP/2 stream, as fast as its receiver takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::body::BodyError;

/// Pieces up to this size are joined, up to the size of a frame: a frame costs more than the copy of so few bytes.
const SMALL: usize = 1 << 10;
const JOINED: usize = 16 << 10;

/// A first chunk up to this size goes into a stream that is not open yet, without being asked for. Such a stream has room for
/// nothing before its connection had its turn, and waiting for that costs a call another turn of its own and a write.
const FIRST: usize = 16 << 10;

/// A body on its way into an HTTP/2 stream. Dropping it before its end resets the stream.
pub(super) struct Pump<B> {
    pub(super) body: B,
    stream: SendStream<Bytes>,
    chunk: Bytes,
    /// The stream is not open yet.
    opening: bool,
    /// A chunk has gone out. Most bodies have only one, and looking for more would cost those something.
    begun: bool,
    /// What came after the chunk and could not be joined to it.
    next: Option<Next>,
    /// Runs while the receiver takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    stall_timeout: Duration,
}

/// What a body gives: a frame, an error, or its end.
type Next = Option<Result<Frame<Bytes>, BodyError>>;

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum PumpError {
    #[error("the sender broke off: {0}")]
    Source(#[from] BodyError),
    #[error("the receiver broke off: {0}")]
    Sink(h2::Error),
    #[error("the receiver reset the stream: {0}")]
    Reset(Reason),
    #[error("the receiver took nothing for {0:?}")]
    Stalled(Duration),
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Pump<B> {
    pub(super) fn new(body: B, stream: SendStream<Bytes>, stall_timeout: Duration) -> Self {
        let (chunk, opening, begun) = (Bytes::new(), false, false);
        Pump { body, stream, chunk, opening, begun, next: None, stalled: None, stall_timeout }
    }

    /// The same into a stream that was begun just now.
    pub(super) fn opening(body: B, stream: SendStream<Bytes>, stall_timeout: Duration) -> Self {
        Pump { opening: true, ..Pump::new(body, stream, stall_timeout) }
    }

    /// Carries on; ready when all of it, or an error, has been sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        loop {
            while !self.chunk.is_empty() {
                let at_once = std::mem::take(&mut self.opening) && self.chunk.len() <= FIRST;
                let room = if at_once { self.chunk.len() } else { ready!(self.poll_room(cx))? };
                let last = room >= self.chunk.len() && self.is_end();
                let part = self.chunk.split_to(room.min(self.chunk.len()));
                self.stream.send_data(part, last).map_err(PumpError::Sink)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            let Poll::Ready(frame) = self.poll_next(cx) else {
                let reset = ready!(self.stream.poll_reset(cx));
                return Poll::Ready(Err(reset.map_or_else(PumpError::Sink, PumpError::Reset)));
            };
            match frame.transpose()? {
                None => return Poll::Ready(self.stream.send_data(Bytes::new(), true).map_err(PumpError::Sink)),
                Some(frame) => match frame.into_data() {
                    Ok(data) if data.is_empty() && self.body.is_end_stream() => {
                        return Poll::Ready(self.stream.send_data(data, true).map_err(PumpError::Sink));
                    }
                    Ok(data) => {
                        self.chunk = data;
                        if std::mem::replace(&mut self.begun, true) {
                            self.join(cx);
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(self.stream.send_trailers(trailers).map_err(PumpError::Sink));
                    }
                },
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.next.take() {
            Some(next) => Poll::Ready(next),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    /// Nothing comes after the chunk.
    fn is_end(&self) -> bool {
        self.next.as_ref().map_or_else(|| self.body.is_end_stream(), Option::is_none)
    }

    /// Adds to the chunk the small pieces that are there already, so that they go out in one frame. Waits for none.
    fn join(&mut self, cx: &mut Context<'_>) {
        let mut joined = BytesMut::new();
        let mut length = self.chunk.len();
        let fits = |length, joined: &BytesMut| length <= if joined.is_empty() { SMALL } else { JOINED - SMALL };
        while fits(length, &joined) && !self.body.is_end_stream() {
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            match next {
                Some(Ok(frame)) if frame.data_ref().is_some_and(|data| data.len() <= SMALL) => {
                    if joined.is_empty() {
                        joined.extend_from_slice(&self.chunk);
                    }
                    joined.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                    length = joined.len();
                }
                next => {
                    self.next = Some(next);
                    break;
                }
            }
        }
        if !joined.is_empty() {
            self.chunk = joined.freeze();
        }
    }

    /// How many bytes the receiver takes now; pending while it takes none, for so long as that is allowed.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, PumpError>> {
        self.stream.reserve_capacity(self.chunk.len());
        let room = self.stream.capacity();
        if room > 0 {
            self.stalled = None;
            return Poll::Ready(Ok(room));
        }
        match self.stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(room))) if room > 0 => {
                self.stalled = None;
                return Poll::Ready(Ok(room));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(PumpError::Sink(error))),
            Poll::Ready(None) => {
                let reset = ready!(self.stream.poll_reset(cx));
                return Poll::Ready(Err(reset.map_or_else(PumpError::Sink, PumpError::Reset)));
            }
            // Room for nothing: ask again when there is some.
            Poll::Ready(Some(Ok(_))) => return self.poll_room(cx),
            Poll::Pending => {}
        }
        let timeout = self.stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(PumpError::Stalled(timeout)))
    }

    /// Ends the stream with an error.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Takes the body back, to send it elsewhere. The stream is reset unless it has ended.
    pub(super) fn into_body(self) -> B {
        self.body
    }
}

#[cfg(test)]
mod tests;
