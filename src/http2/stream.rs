//! One stream, as its connection keeps it.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};

use super::error::Error;
use super::head::OwnedRequest;

/// A payload up to this size is copied and joined to its neighbours, so that a small frame never keeps the whole buffer that
/// it was read into, and frames that wait cost no more than their bytes.
pub(super) const SMALL: usize = 1 << 10;
/// Of what waits, more is copied: a reader that is behind must not keep much more memory than it has bytes to read.
pub(super) const HALF: usize = 8 << 10;
/// So much is joined at most.
const JOINED: usize = 16 << 10;

/// How far one direction of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The head is still to come.
    Head,
    Body,
    /// END_STREAM has gone by.
    Ended,
}

pub(super) struct Stream {
    /// 0 as long as the peer has no room for it.
    pub(super) id: u32,
    /// Handles on it.
    pub(super) handles: u8,
    /// It is, for both sides, among the open streams.
    pub(super) open: bool,
    /// Its request was HEAD.
    pub(super) is_head: bool,
    /// Why it ended before its time.
    pub(super) error: Option<Error>,

    pub(super) receiving: Side,
    pub(super) response: Option<Response<()>>,
    pub(super) trailers: Option<HeaderMap>,
    /// What is left of `content-length`.
    pub(super) length_left: Option<u64>,
    /// What the peer may still send.
    pub(super) receive_window: i64,
    /// What was read since the peer was told of it last.
    pub(super) released: u32,
    pub(super) receiver: Option<Waker>,
    /// Nobody reads what comes.
    pub(super) deaf: bool,
    data: VecDeque<Bytes>,
    /// Small payloads behind the data.
    joined: BytesMut,

    pub(super) sending: Side,
    pub(super) send_window: i64,
    /// It is among those that wait for room,
    pub(super) blocked: bool,
    /// for so many bytes.
    pub(super) wanted: usize,
    pub(super) sender: Option<Waker>,
    /// The request, as long as the peer has no room for it.
    pub(super) waiting: Option<Box<OwnedRequest>>,
}

impl Stream {
    /// A stream that has not begun: it has no windows yet.
    pub(super) fn new() -> Stream {
        Stream {
            id: 0,
            handles: 0,
            open: false,
            is_head: false,
            error: None,
            receiving: Side::Head,
            response: None,
            trailers: None,
            length_left: None,
            receive_window: 0,
            released: 0,
            receiver: None,
            deaf: false,
            data: VecDeque::new(),
            joined: BytesMut::new(),
            sending: Side::Head,
            send_window: 0,
            blocked: false,
            wanted: 0,
            sender: None,
            waiting: None,
        }
    }

    /// Keeps a small payload, a copy of it.
    pub(super) fn push_small(&mut self, payload: &[u8]) {
        if self.joined.len() + payload.len() > JOINED {
            self.data.push_back(self.joined.split().freeze());
        }
        self.joined.extend_from_slice(payload);
    }

    pub(super) fn push(&mut self, payload: Bytes) {
        if !self.joined.is_empty() {
            self.data.push_back(std::mem::take(&mut self.joined).freeze());
        }
        self.data.push_back(payload);
    }

    /// The next part of the body that has come.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        match self.data.pop_front() {
            None if self.joined.is_empty() => None,
            None => Some(std::mem::take(&mut self.joined).freeze()),
            some => some,
        }
    }

    /// Throws away what nobody will read, and tells how much that is.
    pub(super) fn discard(&mut self) -> usize {
        let mut length = std::mem::take(&mut self.joined).len();
        length += self.data.drain(..).map(|data| data.len()).sum::<usize>();
        length
    }

    /// Something waits to be read.
    pub(super) fn is_behind(&self) -> bool {
        !self.data.is_empty() || !self.joined.is_empty()
    }

    /// All of the peer's message was read.
    pub(super) fn is_read(&self) -> bool {
        self.receiving == Side::Ended && self.trailers.is_none() && self.data.is_empty() && self.joined.is_empty()
    }

    pub(super) fn wake_receiver(&mut self) {
        wake(&mut self.receiver);
    }

    pub(super) fn wake_sender(&mut self) {
        wake(&mut self.sender);
    }
}

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

pub(super) fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}
