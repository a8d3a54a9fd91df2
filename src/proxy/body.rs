//! Bodies on their way through: never collected, never copied.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use send_wrapper::SendWrapper;
use tokio::time::{Instant, Sleep};

use crate::http2::{self, Receiver};
use crate::wasm::Stop;

/// Bytes of a request body that are kept, by reference, so that it can be sent again.
const KEPT: usize = 64 << 10;

/// A body as it comes from either side.
#[derive(Default)]
pub(super) enum Source {
    #[default]
    Empty,
    Http2(Receiver),
    Http1(Incoming),
    /// What an HTTP/1.1 client sends.
    Upload(Box<Upload>),
    /// What is there whole.
    Full(Bytes),
    /// What filters let through.
    Filtered(SendWrapper<Box<Filtered>>),
}

/// The body of a request over HTTP/1.1. A client that sends half of it and then nothing would hold its call for ever, for
/// there is no ping that would find it out.
pub(super) struct Upload {
    body: Incoming,
    limit: Duration,
    /// Since when the rest is waited for.
    waiting: Option<Instant>,
    /// Runs while, and maybe after, the rest is waited for: it is not set anew for each part.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http1)));
        }
        let by = *self.waiting.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(by)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= by {
                return Poll::Ready(Some(Err(BodyError::Stalled(self.limit))));
            }
            timer.as_mut().reset(by);
        }
        Poll::Pending
    }
}

/// A body that filters look at, whenever a part of it is read.
pub(super) struct Filtered {
    /// Shows them one part after the other; `None` when that is over.
    showing: Option<Pin<Box<dyn Future<Output = ()>>>>,
    next: Rc<Cell<Option<Part>>>,
    ended: bool,
}

/// A part of a body, and whether it is the last.
pub(super) type Part = (Result<Frame<Bytes>, BodyError>, bool);

/// Where what filters let through is put, one part after the other.
#[derive(Clone, Default)]
pub(super) struct Passed(Rc<Cell<Option<Part>>>);

impl Passed {
    /// Passes a part on, and waits until it was read.
    pub(super) async fn put(&self, part: Part) {
        self.0.set(Some(part));
        // Whoever takes it is who polls this.
        poll_fn(|_| {
            let part = self.0.take();
            let is_taken = part.is_none();
            self.0.set(part);
            if is_taken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Filtered {
    /// A body of what `showing` puts into `passed`.
    pub(super) fn new(passed: Passed, showing: impl Future<Output = ()> + 'static) -> Filtered {
        Filtered { showing: Some(Box::pin(showing)), next: passed.0, ended: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.showing.as_mut().is_some_and(|showing| showing.as_mut().poll(cx).is_ready()) {
            self.showing = None;
        }
        match self.next.take() {
            Some((frame, last)) => {
                self.ended = last;
                Poll::Ready(Some(frame))
            }
            None if self.showing.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("{0}")]
    Http2(#[from] http2::Error),
    #[error("{0}")]
    Http1(#[from] hyper::Error),
    #[error("the deadline passed")]
    Deadline,
    #[error("nothing of it came for {0:?}")]
    Stalled(Duration),
    #[error("{0}")]
    Filter(#[from] Stop),
}

impl Source {
    /// The body of a request over HTTP/1.1, which breaks off when nothing of it comes for `limit`.
    pub(super) fn upload(body: Incoming, limit: Duration) -> Source {
        if body.is_end_stream() {
            return Source::Empty;
        }
        Source::Upload(Box::new(Upload { body, limit, waiting: None, timer: None }))
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                *self = Source::Empty;
                Poll::Ready(Some(Ok(frame)))
            }
            Source::Filtered(filtered) => filtered.poll_frame(cx),
            Source::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http1),
            Source::Upload(upload) => upload.poll_frame(cx),
            Source::Http2(receiver) => receiver.poll_frame(cx).map_err(BodyError::Http2),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Source::Empty => true,
            Source::Full(_) => false,
            Source::Filtered(filtered) => filtered.ended,
            Source::Http1(body) => body.is_end_stream(),
            Source::Upload(upload) => upload.body.is_end_stream(),
            Source::Http2(receiver) => receiver.is_end_stream(),
        }
    }

    /// Whether all that was announced has been read, if something was.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Source::Http2(receiver) => receiver.is_complete(),
            _ => self.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Source::Empty => SizeHint::with_exact(0),
            Source::Http1(body) => body.size_hint(),
            Source::Upload(upload) => upload.body.size_hint(),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Http2(_) | Source::Filtered(_) => SizeHint::default(),
        }
    }
}

/// The body of a request. Its beginning is kept until a response comes, so that it can be sent to another endpoint.
#[derive(Default)]
pub(super) struct RequestBody {
    source: Source,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<Box<HeaderMap>>,
    /// How many of the kept chunks have been given out in this attempt.
    replayed: usize,
    /// The beginning was given up: it grew too long, or a response came.
    incomplete: bool,
}

impl RequestBody {
    pub(super) fn new(source: Source) -> Self {
        RequestBody { source, ..RequestBody::default() }
    }

    /// Puts something between the client and what is read from here. For a body of which nothing has been read.
    pub(super) fn filter(&mut self, through: impl FnOnce(Source) -> Source) {
        self.source = through(std::mem::take(&mut self.source));
    }

    /// Whether all that was given out can be given out again.
    pub(super) fn can_rewind(&self) -> bool {
        !self.incomplete
    }

    /// Starts from the beginning again; see [`can_rewind`](Self::can_rewind).
    pub(super) fn rewind(&mut self) {
        self.replayed = 0;
    }

    /// A response came, so the beginning is not needed any more.
    pub(super) fn forget(&mut self) {
        self.incomplete = true;
        self.kept.drain(..self.replayed);
        self.replayed = 0;
    }

    /// Reads on without use, until the end or until it is too much to be worth it.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.kept_bytes <= KEPT {
            match ready!(self.source.poll_frame(cx)) {
                Some(Ok(frame)) => self.kept_bytes += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
        Poll::Ready(())
    }

    fn keep(&mut self, data: &Bytes) {
        if self.incomplete {
            return;
        }
        self.kept_bytes += data.len();
        if self.kept_bytes > KEPT {
            self.forget();
        } else {
            self.kept.push(data.clone());
            self.replayed = self.kept.len();
        }
    }
}

impl From<Bytes> for RequestBody {
    /// A body that is there whole.
    fn from(bytes: Bytes) -> Self {
        RequestBody::new(if bytes.is_empty() { Source::Empty } else { Source::Full(bytes) })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.kept.get(self.replayed) {
            let chunk = chunk.clone();
            self.replayed += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(trailers) = &self.trailers {
            // What reads a body stops at its trailers, so they need no place in the count.
            return Poll::Ready(Some(Ok(Frame::trailers((**trailers).clone()))));
        }
        let frame = ready!(self.source.poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            if let Some(data) = frame.data_ref() {
                self.keep(data);
            } else if !self.incomplete {
                self.trailers = frame.trailers_ref().cloned().map(Box::new);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.replayed >= self.kept.len() && self.trailers.is_none() && self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.kept.is_empty() { self.source.size_hint() } else { SizeHint::default() }
    }
}
