//! What whoever carries a message holds of its stream: one handle to read, one to write.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;

use super::error::{Error, Reason};
use super::state::{Key, Shared};
use super::stream::{Side, register};

/// The message that comes. When both handles of a stream are dropped before its end, it is reset.
pub struct Receiver {
    shared: Shared,
    key: Key,
    /// All of it was read, as far as is known without asking.
    ended: bool,
}

/// The message that goes.
pub struct Sender {
    shared: Shared,
    key: Key,
}

/// Both handles of a stream, of which there is no other. `ended`: there is nothing to read.
pub(super) fn handles(shared: &Shared, key: Key, ended: bool) -> (Receiver, Sender) {
    (Receiver { shared: shared.clone(), key, ended }, Sender { shared: shared.clone(), key })
}

impl Receiver {
    /// The head of the response, to a client. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// Why none comes.
    pub fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Error>> {
        let mut state = self.shared.lock();
        let stream = &mut state.streams[self.key];
        if let Some(response) = stream.response.take() {
            self.ended = stream.is_read();
            return Poll::Ready(Ok(response));
        }
        if let Some(error) = &stream.error {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut stream.receiver, cx);
        Poll::Pending
    }

    /// The next part of the body, or the trailers. The peer may send as much again at once. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// Why it breaks off: after all that came before.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.shared.lock();
        let stream = &mut state.streams[self.key];
        if let Some(data) = stream.pop() {
            self.ended = stream.is_read();
            state.release_stream(self.key, data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = stream.trailers.take() {
            self.ended = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if stream.receiving == Side::Ended {
            self.ended = true;
            return Poll::Ready(None);
        }
        if let Some(error) = &stream.error {
            return Poll::Ready(Some(Err(error.clone())));
        }
        register(&mut stream.receiver, cx);
        Poll::Pending
    }

    /// All of the message was read, as was seen when its head or the last part of it was taken: its end may come by itself,
    /// and is then told by the next poll.
    pub fn is_end_stream(&self) -> bool {
        self.ended
    }

    /// Whether all that `content-length` says was read, or all that there is.
    pub fn is_complete(&self) -> bool {
        let state = self.shared.lock();
        let stream = &state.streams[self.key];
        self.ended || (stream.length_left == Some(0) && stream.error.is_none() && !stream.is_behind())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let stream = &mut state.streams[self.key];
        stream.deaf = true;
        let unread = stream.discard();
        if unread > 0 {
            state.release(unread);
        }
        state.let_go(self.key);
    }
}

impl Sender {
    /// Answers, as a server; `end`: without a body. Informational heads may come before.
    ///
    /// # Errors
    ///
    /// If the stream is over.
    pub fn respond(&mut self, head: &Response<()>, end: bool) -> Result<(), Error> {
        self.shared.lock().respond(self.key, head, end)
    }

    /// Sends as much of `data` as the peer takes, and leaves the rest in it; ready when that is all. `end` ends the message
    /// with it. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// If the stream is over.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes, end: bool) -> Poll<Result<(), Error>> {
        match self.shared.lock().send(self.key, data, end, cx) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    ///
    /// If the stream is over.
    pub fn send_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Error> {
        self.shared.lock().send_trailers(self.key, trailers)
    }

    /// Ends the stream with an error.
    pub fn reset(&mut self, reason: Reason) {
        self.shared.lock().reset(self.key, reason, Error::GivenUp(reason));
    }

    /// Ready when the stream has ended before its time. Cancellation-safe.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut state = self.shared.lock();
        let stream = &mut state.streams[self.key];
        if let Some(error) = &stream.error {
            return Poll::Ready(error.clone());
        }
        register(&mut stream.sender, cx);
        Poll::Pending
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.lock().let_go(self.key);
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}
