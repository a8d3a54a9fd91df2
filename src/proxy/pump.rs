//! Carries a body into an HTTP/2 stream, as fast as its receiver takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::body::BodyError;
use crate::http2::{Error, Reason, Sender};

/// A body on its way into an HTTP/2 stream. Dropping it before its end resets the stream.
pub(super) struct Pump<B> {
    pub(super) body: B,
    sender: Sender,
    chunk: Bytes,
    /// Runs while the receiver takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    stall_timeout: Duration,
}

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum PumpError {
    #[error("the sender broke off: {0}")]
    Source(#[from] BodyError),
    #[error("the receiver broke off: {0}")]
    Sink(#[from] Error),
    #[error("the receiver took nothing for {0:?}")]
    Stalled(Duration),
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Pump<B> {
    pub(super) fn new(body: B, sender: Sender, stall_timeout: Duration) -> Self {
        Pump { body, sender, chunk: Bytes::new(), stalled: None, stall_timeout }
    }

    /// Carries on; ready when all of it, or an error, has been sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        loop {
            if !self.chunk.is_empty() {
                let last = self.body.is_end_stream();
                ready!(self.poll_send(cx, last))?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.sender.poll_ended(cx).map(|error| Err(error.into()));
            };
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.chunk = data,
                Some(Err(frame)) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(Ok(self.sender.send_trailers(&trailers)?));
                }
                None => return self.poll_send(cx, true),
            }
        }
    }

    /// Sends the chunk, or waits until the receiver takes more of it, for so long as that is allowed.
    fn poll_send(&mut self, cx: &mut Context<'_>, last: bool) -> Poll<Result<(), PumpError>> {
        let before = self.chunk.len();
        let sent = self.sender.poll_send(cx, &mut self.chunk, last);
        if sent.is_ready() || self.chunk.len() < before {
            self.stalled = None;
        }
        if let Poll::Ready(sent) = sent {
            return Poll::Ready(Ok(sent?));
        }
        let timeout = self.stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(PumpError::Stalled(timeout)))
    }

    /// Ends the stream with an error.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.sender.reset(reason);
    }

    /// Takes the body back, to send it elsewhere. The stream is reset unless it has ended.
    pub(super) fn into_body(self) -> B {
        self.body
    }
}

#[cfg(test)]
mod tests;
