//! What is to be written: frames as bytes, and large payloads beside them, uncopied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// A payload up to this size is copied: to write it from where it lies costs more.
const COPIED: usize = 2 << 10;
/// An idle connection keeps no more than this.
const KEPT: usize = 4 << 10;
/// Pieces that go out in one system call.
const PIECES: usize = 32;

/// Bytes on their way out, in order.
#[derive(Default)]
pub(super) struct Out {
    bytes: BytesMut,
    /// How many of the bytes have gone out.
    written: usize,
    /// Payloads, each with the place in the bytes that it stands behind.
    payloads: VecDeque<(usize, Bytes)>,
    /// The length of all payloads.
    payload_length: usize,
}

impl Out {
    /// The end, to write frames to.
    pub(super) fn end(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Adds a payload behind the head that was written last.
    pub(super) fn payload(&mut self, payload: Bytes) {
        if payload.len() <= COPIED {
            self.bytes.extend_from_slice(&payload);
        } else {
            self.payload_length += payload.len();
            self.payloads.push_back((self.bytes.len(), payload));
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written + self.payload_length
    }

    /// Writes until nothing waits, or the stream takes no more.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let n = if self.payloads.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.bytes[self.written..]))?
            } else {
                let mut pieces = [IoSlice::new(&[]); PIECES];
                let count = self.pieces(&mut pieces);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &pieces[..count]))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        if self.bytes.capacity() > KEPT {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES]) -> usize {
        let (mut count, mut from) = (0, self.written);
        for (place, payload) in self.payloads.iter().take(PIECES / 2 - 1) {
            if *place > from {
                pieces[count] = IoSlice::new(&self.bytes[from..*place]);
                count += 1;
                from = *place;
            }
            pieces[count] = IoSlice::new(payload);
            count += 1;
        }
        if self.payloads.len() < PIECES / 2 && from < self.bytes.len() {
            pieces[count] = IoSlice::new(&self.bytes[from..]);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let place = self.payloads.front().map_or(self.bytes.len(), |(place, _)| *place);
            let plain = n.min(place - self.written);
            self.written += plain;
            n -= plain;
            if n > 0
                && let Some((_, payload)) = self.payloads.front_mut()
            {
                let part = n.min(payload.len());
                payload.advance(part);
                self.payload_length -= part;
                n -= part;
                if payload.is_empty() {
                    self.payloads.pop_front();
                }
            }
        }
        // A connection that is never done must not keep all that it ever wrote.
        if self.written >= KEPT {
            self.bytes.advance(self.written);
            self.payloads.iter_mut().for_each(|(place, _)| *place -= self.written);
            self.written = 0;
        }
    }
}
