//! A stream whose small writes go out together, at the end of a turn of what writes to it.
//!
//! The HTTP/2 library hands over every DATA frame of more than 256 bytes by itself, as it meets it. Ten messages of usual
//! size that are there together would be ten system calls, each of which costs more than its message does in all.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is no longer than this waits for more; what is longer goes out at once and uncopied, behind what waited.
const SMALL: usize = 4 << 10;
/// So much waits at most.
const MOST: usize = 32 << 10;

/// A stream that is written to in batches once [`Flush::begin`] was called, and as usual before.
#[derive(Debug)]
pub struct Batched<S>(Arc<Mutex<Inner<S>>>);

/// Ends the batches of a stream. The lock that they share is never waited for: one task has both.
#[derive(Debug)]
pub struct Flush<S>(Arc<Mutex<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    /// What waits, and how much of it has gone out.
    waiting: Vec<u8>,
    written: usize,
    begun: bool,
}

/// Gives a stream that can be written to in batches, and what ends each batch.
pub fn batched<S>(stream: S) -> (Batched<S>, Flush<S>) {
    let inner = Arc::new(Mutex::new(Inner { stream, waiting: Vec::new(), written: 0, begun: false }));
    (Batched(inner.clone()), Flush(inner))
}

fn lock<S>(inner: &Mutex<Inner<S>>) -> MutexGuard<'_, Inner<S>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Flush<S> {
    /// From now on, small writes wait for [`poll`](Self::poll).
    pub fn begin(&self) {
        lock(&self.0).begun = true;
    }

    /// Writes what waits; to be called after each turn of what writes. If the stream takes no more for now, the task is woken
    /// when it does. An error is not told here: the stream tells its own again to whoever uses it next.
    pub fn poll(&self, cx: &mut Context<'_>) {
        let mut inner = lock(&self.0);
        if let Poll::Ready(Err(error)) = inner.poll_flush(cx) {
            tracing::trace!(%error, "writing a batch failed");
            inner.clear();
        }
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn clear(&mut self) {
        // A connection that is idle need not keep what a burst took.
        if self.waiting.capacity() > SMALL {
            self.waiting = Vec::new();
        } else {
            self.waiting.clear();
        }
        self.written = 0;
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.begun && length <= SMALL {
            if self.waiting.len() + length > MOST {
                ready!(self.poll_drain(cx))?;
            }
            bufs.iter().for_each(|buf| self.waiting.extend_from_slice(buf));
            return Poll::Ready(Ok(length));
        }
        // h2 gives two: frames that it joined itself, and a payload.
        if let (false, [first, second]) = (self.waiting.is_empty(), bufs) {
            let waited = self.waiting.len() - self.written;
            let all = [IoSlice::new(&self.waiting[self.written..]), *first, *second];
            let n = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
            self.written += n.min(waited);
            if n > waited {
                self.clear();
                return Poll::Ready(Ok(n - waited));
            }
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Batched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.begun { Poll::Ready(Ok(())) } else { inner.poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
