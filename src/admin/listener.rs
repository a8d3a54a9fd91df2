//! The admin server's connections: not too many, and none that only sits there. Where all are taken, the one that has been
//! idle longest ends for a new one. The server takes its connections from here, and has no clock of its own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Connections at a time. A scraper needs one and a browser six.
const CONNECTIONS: usize = 64;
/// How long a connection may take to end for a new one, before the next is asked to.
const ENDING: Duration = Duration::from_millis(100);
/// From the connect to the first byte of an answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// From one byte of an answer to the next, of this answer or of the next one. Longer than the usual pause between two
/// scrapes, so that a scraper keeps its connection.
const NEXT_ANSWER: Duration = Duration::from_secs(150);

/// A listener that limits how many connections there are and how long they wait.
pub(super) struct Limited {
    listener: TcpListener,
    room: Arc<Semaphore>,
    open: Vec<Weak<Use>>,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Self {
        Limited { listener, room: Arc::new(Semaphore::new(CONNECTIONS)), open: Vec::new() }
    }

    /// Room for one more connection, for which the idlest ends if there is none.
    async fn make_room(&mut self) -> Option<OwnedSemaphorePermit> {
        while self.room.available_permits() == 0 {
            let open = self.open.iter().filter_map(Weak::upgrade);
            if let Some(idlest) = open.filter(|one| !one.is_ended()).min_by_key(|one| *one.last()) {
                idlest.end();
            }
            if let Ok(room) = timeout(ENDING, Arc::clone(&self.room).acquire_owned()).await {
                return room.ok();
            }
        }
        // None only if the semaphore were closed, which nobody does.
        Arc::clone(&self.room).acquire_owned().await.ok()
    }
}

/// What a connection was last used for, and whether it is to end.
#[derive(Debug)]
struct Use {
    /// Whether something was asked that is not answered yet, and when anything was last asked or answered.
    last: Mutex<(bool, Instant)>,
    ended: AtomicBool,
    waker: AtomicWaker,
}

impl Use {
    fn last(&self) -> MutexGuard<'_, (bool, Instant)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Listener for Limited {
    type Io = Connection<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let room = self.make_room().await;
        let connection = Connection::new(stream, room);
        self.open.retain(|open| open.strong_count() > 0);
        self.open.push(Arc::downgrade(&connection.used));
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when nothing was sent on it for too long: its client is idle, sends its request byte by byte,
/// or does not read the answer. One rule for the three, because an answer is only sent to a whole request. So does one that
/// is to end for another.
pub(super) struct Connection<S> {
    stream: S,
    deadline: Pin<Box<Sleep>>,
    used: Arc<Use>,
    _room: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    fn new(stream: S, room: Option<OwnedSemaphorePermit>) -> Self {
        let last = Mutex::new((false, Instant::now()));
        let used = Arc::new(Use { last, ended: AtomicBool::new(false), waker: AtomicWaker::new() });
        Connection { stream, deadline: Box::pin(sleep(FIRST_ANSWER)), used, _room: room }
    }

    fn in_time<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.used.waker.register(context.waker());
        if !self.used.is_ended() {
            ready!(self.deadline.as_mut().poll(context));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn sent<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_pending() {
            return self.in_time(context);
        }
        let now = Instant::now();
        self.deadline.as_mut().reset(now + NEXT_ANSWER);
        *self.used.last() = (false, now);
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The deadline comes first, so that a trickle of bytes does not hide it.
        if let Poll::Ready(late) = self.in_time(context) {
            return Poll::Ready(late);
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            *self.used.last() = (true, Instant::now());
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.sent(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trickle_of_bytes_is_no_excuse() {
        let (mut client, server) = duplex(64);
        let mut server = Connection::new(server, None);
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 10);
        drop(server);
        trickle.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_buys_time_and_an_unread_one_does_not() {
        let (_client, server) = duplex(64);
        let mut server = Connection::new(server, None);
        let start = Instant::now();
        sleep(Duration::from_secs(9)).await;
        server.write_all(b"answer").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 9 + 150);

        let (_client, server) = duplex(64);
        let mut server = Connection::new(server, None);
        assert_eq!(server.write_all(&[0; 65]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
