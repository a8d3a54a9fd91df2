//! The body of a response on its way to the client, with all that lives exactly as long as it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use super::attempt;
use super::body::{BodyError, RequestBody, Source};
use super::pump::Pump;
use super::record::Record;
use super::respond::{self, Code, Failure};
use crate::http2::{Error, Reason};
use crate::upstream::{Http1, StreamPermit};
use crate::wasm::Chain;

/// The body of a response. When it is dropped the exchange is over.
pub(super) struct ResponseBody {
    source: Source,
    record: Option<Record>,
    timer: Option<Pin<Box<Sleep>>>,
    upstream: Option<Upstream>,
    /// Its filters, which hear at its end how it went.
    chain: Option<Rc<Chain>>,
}

/// What an exchange holds of its endpoint while the response runs.
pub(super) enum Upstream {
    Http2 {
        #[expect(dead_code, reason = "held for its drop, which counts the stream down")]
        permit: StreamPermit,
        /// Dropped when the endpoint no longer wants it.
        upload: Option<Upload>,
    },
    Http1(Box<Http1<RequestBody>>),
}

/// The task that carries the rest of a request's body while the response runs. Dropping it ends the upload.
pub(super) struct Upload {
    task: AbortHandle,
    failure: Rc<Cell<Option<Failure>>>,
}

impl Upload {
    pub(super) fn new(mut pump: Pump<RequestBody>) -> Upload {
        let failure = Rc::<Cell<_>>::default();
        let told = failure.clone();
        let task = tokio::task::spawn_local(async move {
            let done = poll_fn(|cx| pump.poll(cx)).await;
            if let Some(failure) = done.err().as_ref().and_then(attempt::not_carried) {
                told.set(Some(failure));
                pump.reset(Reason::CANCEL);
            }
        });
        Upload { task: task.abort_handle(), failure }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ResponseBody {
    /// A body that comes from an endpoint.
    pub(super) fn new(
        source: Source,
        record: Record,
        timer: Option<Pin<Box<Sleep>>>,
        upstream: Upstream,
        chain: Option<Rc<Chain>>,
    ) -> Self {
        let mut body = ResponseBody { source, record: Some(record), timer, upstream: Some(upstream), chain };
        if body.source.is_end_stream() {
            body.finish("answered");
        }
        body
    }

    /// An answer of the proxy's own; the exchange is over.
    pub(super) fn own(source: Source, chain: Option<Rc<Chain>>) -> Self {
        ResponseBody { source, record: None, timer: None, upstream: None, chain }
    }

    /// The exchange came to this end.
    pub(super) fn finish(&mut self, outcome: &'static str) {
        if let Some(mut record) = self.record.take() {
            record.end(outcome);
            if let Some(chain) = &self.chain {
                let mut exchange = chain.exchange();
                exchange.facts.outcome = outcome;
                exchange.facts.grpc_status = record.grpc_status();
            }
        }
        if let Some(Upstream::Http1(connection)) = self.upstream.take()
            && outcome == "answered"
        {
            connection.give_back();
        }
    }

    /// Ready when the deadline has passed; the exchange is over then.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) if self.record.is_some() => ready!(timer.as_mut().poll(cx)),
            _ => return Poll::Pending,
        }
        self.finish("deadline");
        self.source = Source::Empty;
        Poll::Ready(())
    }

    /// It breaks off. A gRPC caller learns why, unless the endpoint itself reset the call: then so do we.
    fn fail(&mut self, error: BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        let (outcome, trailers) = match &error {
            BodyError::Deadline => {
                ("deadline", Some(respond::trailers(Code::DeadlineExceeded, "the deadline of the call passed")))
            }
            BodyError::Http2(Error::GivenUp(_)) => {
                let failure = match &self.upstream {
                    Some(Upstream::Http2 { upload: Some(upload), .. }) => upload.failure.take(),
                    _ => None,
                };
                let failure = failure.unwrap_or(Failure::Gone);
                (failure.label(), Some(failure.trailers()))
            }
            BodyError::Http2(error) if error.is_reset() && error.is_remote() => ("reset", None),
            BodyError::Http2(error) if error.is_reset() => {
                let why = error.reason().map(respond::rejected).unwrap_or_default();
                let text = format!("the rest of the instance's answer cannot be passed on: {why}");
                ("bad_answer", Some(respond::trailers(Code::Internal, &text)))
            }
            BodyError::Filter(stop) => {
                let failure = Failure::Filter(stop.clone());
                let local = self.chain.as_ref().and_then(|chain| chain.exchange().local.take());
                // The head is gone: of what a filter answers the status can still be told.
                let said = local.map(respond::local_trailers);
                (failure.label(), Some(said.unwrap_or_else(|| failure.trailers())))
            }
            BodyError::Http2(_) | BodyError::Http1(_) | BodyError::Stalled(_) => {
                let text = "the connection to the instance was lost in the middle of its response";
                ("connection_lost", Some(respond::trailers(Code::Unavailable, text)))
            }
        };
        let grpc = self.record.as_ref().is_some_and(|record| record.grpc);
        self.finish(outcome);
        self.source = Source::Empty;
        match trailers {
            Some(trailers) if grpc => Some(Ok(Frame::trailers(trailers))),
            _ => Some(Err(error)),
        }
    }
}

impl Drop for ResponseBody {
    /// Whoever has all that `content-length` says need not wait for the end to be told by itself.
    fn drop(&mut self) {
        if self.record.is_some() && self.source.is_complete() {
            self.finish("answered");
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.record.is_some()
            && let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(self.fail(BodyError::Deadline));
        }
        match ready!(self.source.poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(record) = &mut self.record {
                        record.status_in(trailers);
                    }
                    self.finish("answered");
                } else if self.source.is_end_stream() {
                    self.finish("answered");
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(self.fail(error)),
            None => {
                self.finish("answered");
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}
