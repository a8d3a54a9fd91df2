//! What each message that goes does, as far as both windows allow: RFC 9113 section 5.2.

use std::task::Context;

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::error::{Error, Reason};
use super::frame;
use super::state::{Key, State};
use super::stream::{Side, register};

/// When so many bytes wait to be written, more must wait in their streams.
const BUFFER: usize = 128 << 10;
/// What is left of a payload that is cut has at least this length. There are servers that end a connection for too many
/// frames of less, and a payload that does not fit into their window by a byte would leave one in each call.
const REST: usize = 256;
/// How much of a payload goes first, where `most` may.
fn cut(length: usize, most: usize) -> usize {
    if length > most && most > 2 * REST { most.min(length - REST) } else { most.min(length) }
}

impl State {
    /// Answers as a server.
    pub(super) fn respond(&mut self, key: Key, head: &Response<()>, end: bool) -> Result<(), Error> {
        self.check(key)?;
        let stream = &mut self.streams[key];
        if !head.status().is_informational() {
            stream.sending = if end { Side::Ended } else { Side::Body };
        }
        let id = stream.id;
        self.writer().response(id, head.status(), head.headers(), end);
        self.wake();
        self.settle(key);
        Ok(())
    }

    pub(super) fn send_trailers(&mut self, key: Key, trailers: &HeaderMap) -> Result<(), Error> {
        self.check(key)?;
        let stream = &mut self.streams[key];
        stream.sending = Side::Ended;
        if let Some(waiting) = &mut stream.waiting {
            waiting.end_with(trailers);
            return Ok(());
        }
        let id = stream.id;
        if trailers.is_empty() {
            frame::put_head(self.out.end(), 0, frame::DATA, frame::END_STREAM, id);
        } else {
            self.writer().trailers(id, trailers);
        }
        self.wake();
        self.settle(key);
        Ok(())
    }

    /// How many bytes a stream may send now.
    fn room(&self, key: Key) -> usize {
        let stream = &self.streams[key];
        if stream.id == 0 {
            return 0;
        }
        let window = stream.send_window.min(self.send_window);
        // No body, however large its parts, fills more than this: others are not held up, and answers are still read.
        let space = if self.out.len() < BUFFER { 2 * BUFFER - self.out.len() } else { 0 };
        usize::try_from(window).unwrap_or(0).min(space)
    }

    /// Sends what there is room for. False if that was not all.
    pub(super) fn send(&mut self, key: Key, data: &mut Bytes, end: bool, cx: &Context<'_>) -> Result<bool, Error> {
        self.check(key)?;
        let room = self.room(key);
        let whole = room >= data.len() && self.streams[key].id > 0;
        if whole || !self.is_low(room as i64) {
            self.send_part(key, data.split_to(cut(data.len(), room)), whole && end);
        }
        if whole {
            self.settle(key);
            return Ok(true);
        }
        let stream = &mut self.streams[key];
        register(&mut stream.sender, cx);
        stream.wanted = data.len();
        // One that has not begun is woken when it does.
        if stream.id > 0 && !std::mem::replace(&mut stream.blocked, true) {
            self.blocked.push_back(key);
        }
        Ok(false)
    }

    fn send_part(&mut self, key: Key, mut part: Bytes, end: bool) {
        let stream = &mut self.streams[key];
        stream.send_window -= part.len() as i64;
        self.send_window -= part.len() as i64;
        let id = stream.id;
        while part.len() > self.peer_max_frame {
            let first = part.split_to(cut(part.len(), self.peer_max_frame));
            frame::put_head(self.out.end(), first.len(), frame::DATA, 0, id);
            self.out.payload(first);
        }
        if end {
            stream.sending = Side::Ended;
        }
        frame::put_head(self.out.end(), part.len(), frame::DATA, if end { frame::END_STREAM } else { 0 }, id);
        self.out.payload(part);
        self.wake();
    }

    /// Whether a stream may still say something.
    fn check(&self, key: Key) -> Result<(), Error> {
        let stream = &self.streams[key];
        match &stream.error {
            Some(error) => Err(error.clone()),
            None if stream.sending == Side::Ended => Err(Error::Reset { reason: Reason::STREAM_CLOSED, remote: false }),
            None => Ok(()),
        }
    }

    /// A window of so little is not worth a frame that is not the last. Whoever gave a larger one gives more when it has read.
    fn is_low(&self, window: i64) -> bool {
        window <= 0 || (window < REST as i64 && self.peer_window as usize >= 2 * REST)
    }

    /// Lets those go on that waited for room, as many as it is enough for. The others get their turn after these, who may not
    /// use theirs.
    pub(super) fn unblock(&mut self) {
        if self.blocked.is_empty() || self.is_low(self.send_window) || self.out.len() > BUFFER / 2 {
            return;
        }
        let mut room = self.send_window.min((2 * BUFFER - self.out.len()) as i64);
        for _ in 0..self.blocked.len() {
            if room <= 0 {
                return self.wake();
            }
            let Some(key) = self.blocked.pop_front() else { return };
            let Some(window) = self.streams.get(key).map(|stream| stream.send_window) else { continue };
            if self.is_low(window) {
                self.blocked.push_back(key);
                continue;
            }
            let stream = &mut self.streams[key];
            room -= window.min(stream.wanted as i64);
            stream.blocked = false;
            stream.wake_sender();
        }
    }
}
