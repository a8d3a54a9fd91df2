//! One call over an HTTP/2 connection, for callers whose bodies are any: the request's body goes out while the response
//! comes in, and what was sent can be sent again elsewhere as long as little of it has gone.

use std::any::Any;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};

use super::{Sent, StreamPermit};
use crate::http2::{Error, Reason, Receiver, Sender};

/// So many bytes of a request's body are kept, by reference, to be sent again.
const KEPT: usize = 64 << 10;

/// A request's body, of which the beginning can be read again.
pub struct Upload<B> {
    body: Pin<Box<B>>,
    kept: Vec<Bytes>,
    size: usize,
    /// The next of the kept parts to be read.
    next: usize,
    /// More was read than is kept.
    forgotten: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes>,
{
    /// The body, unread.
    pub fn new(body: B) -> Self {
        let ended = body.is_end_stream();
        let body = Box::pin(body);
        Upload { body, kept: Vec::new(), size: 0, next: 0, forgotten: false, trailers: None, ended }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.ended && self.trailers.is_none() && self.next == self.kept.len()
    }

    /// Begins anew; false if that is no longer possible.
    pub fn rewind(&mut self) -> bool {
        self.next = 0;
        !self.forgotten
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(part) = self.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        if self.ended {
            return Poll::Ready(self.trailers.clone().map(Frame::trailers).map(Ok));
        }
        let frame = ready!(self.body.as_mut().poll_frame(cx)).transpose();
        Poll::Ready(match frame {
            Err(error) => Some(Err(error)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                } else {
                    (self.trailers, self.ended) = (frame.trailers_ref().cloned(), true);
                }
                Some(Ok(frame))
            }
        })
    }

    fn keep(&mut self, data: &Bytes) {
        self.size += data.len();
        if self.size > KEPT {
            self.forgotten = true;
            self.kept.clear();
        }
        if !self.forgotten {
            self.kept.push(data.clone());
        }
        self.next = self.kept.len();
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It was provably not processed: the connection was ending, or the endpoint refused the stream.
    #[error("the endpoint refused it")]
    Refused,
    /// The request's body broke off.
    #[error("the request's body broke off")]
    Broken,
    /// The endpoint may have processed it.
    #[error("{0}")]
    Lost(String),
}

/// Sends the body and waits for the head of the response. Dropped, it resets the stream.
///
/// # Errors
///
/// Why there is none, and the body, to be sent elsewhere.
pub async fn carry<B>(sent: Sent, upload: Upload<B>) -> Result<Response<Answer<B>>, (Unanswered, Upload<B>)>
where
    B: Body<Data = Bytes>,
{
    let (mut receiver, sender, permit) = sent;
    let mut uploading = !upload.is_empty();
    let mut pump = Pump { upload, sender, chunk: Bytes::new() };
    let mut broken = false;
    let answer = poll_fn(|cx| {
        if uploading && let Poll::Ready(whole) = pump.poll(cx) {
            (uploading, broken) = (false, !whole);
        }
        receiver.poll_response(cx)
    });
    match answer.await {
        Ok(response) => Ok(response.map(|()| Answer {
            receiver: Some(receiver),
            pump: uploading.then_some(pump),
            _permit: Some(permit),
            held: None,
        })),
        Err(error) => {
            let why = match error.reason() {
                _ if broken => Unanswered::Broken,
                Some(Reason::REFUSED_STREAM) if error.is_remote() => Unanswered::Refused,
                Some(_) if error.is_go_away() && error.is_remote() => Unanswered::Refused,
                Some(reason) if error.is_remote() => Unanswered::Lost(format!("it reset the stream: {reason}")),
                Some(_) => Unanswered::Lost("it answered with something that is not HTTP/2".to_owned()),
                None => Unanswered::Lost(format!("the connection was lost: {error}")),
            };
            Err((why, pump.upload))
        }
    }
}

/// A body on its way.
struct Pump<B> {
    upload: Upload<B>,
    sender: Sender,
    chunk: Bytes,
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes>,
{
    /// Ready when all is sent, or the other side wants no more: true; or the body broke off: false.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if !self.chunk.is_empty() && ready!(self.sender.poll_send(cx, &mut self.chunk, false)).is_err() {
                return Poll::Ready(true);
            }
            let Poll::Ready(frame) = self.upload.poll(cx) else {
                ready!(self.sender.poll_ended(cx));
                return Poll::Ready(true);
            };
            let sent = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.chunk = data;
                        continue;
                    }
                    Err(frame) => self.sender.send_trailers(&frame.into_trailers().unwrap_or_default()),
                },
                Some(Err(_)) => {
                    self.sender.reset(Reason::CANCEL);
                    return Poll::Ready(false);
                }
                None => self.sender.send_trailers(&HeaderMap::new()),
            };
            // Who wants no more has said so, and the response says why.
            sent.ok();
            return Poll::Ready(true);
        }
    }
}

/// The body of a response; what is left of the request goes out while it is read. Dropping it ends the call.
pub struct Answer<B> {
    receiver: Option<Receiver>,
    pump: Option<Pump<B>>,
    _permit: Option<StreamPermit>,
    held: Option<Box<dyn Any + Send>>,
}

impl<B> Answer<B> {
    /// A body without anything in it.
    pub fn empty() -> Self {
        Answer { receiver: None, pump: None, _permit: None, held: None }
    }

    /// The same, which lets go of something when it is dropped.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send) -> Self {
        self.held = Some(Box::new(held));
        self
    }
}

impl<B> std::fmt::Debug for Answer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// A response broke off.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off: {0}")]
pub struct BrokeOff(#[source] Error);

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = &mut *self;
        if this.pump.as_mut().is_some_and(|pump| pump.poll(cx).is_ready()) {
            this.pump = None;
        }
        let Some(receiver) = &mut this.receiver else { return Poll::Ready(None) };
        let frame = ready!(receiver.poll_frame(cx));
        if frame.is_none() {
            this.receiver = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BrokeOff)))
    }

    fn is_end_stream(&self) -> bool {
        self.receiver.as_ref().is_none_or(Receiver::is_end_stream)
    }
}
