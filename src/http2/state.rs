//! What a connection and the handles on its streams share: the streams, both sides' windows, and what is to be written.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use http::Method;
use slab::Slab;

use super::connection::UNANSWERED;
use super::error::{Error, Reason};
use super::frame::{self, FIRST_WINDOW, MAX_FRAME, MAX_ID};
use super::head::{OwnedRequest, RequestHead, Writer};
use super::hpack::Encoder;
use super::out::Out;
use super::ping::Pings;
use super::stream::{Side, Stream, wake};
use super::{Role, Settings};

/// Streams that were reset here and that the peer may not know of yet.
const REMEMBERED: usize = 1_000;

/// A stream's place among those of its connection.
pub(super) type Key = usize;

#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) role: Role,
    pub(super) ours: Settings,
    /// The peer knows our settings.
    pub(super) acknowledged: bool,
    pub(super) out: Out,
    pub(super) encoder: Encoder,
    pub(super) streams: Slab<Stream>,
    /// Open streams, by their identifiers.
    pub(super) ids: HashMap<u32, Key, BuildHasherDefault<IdHasher>>,
    /// Requests that nobody has accepted yet, with the places of their streams.
    pub(super) incoming: VecDeque<(http::Request<()>, Key)>,
    /// Of those, how many the client has reset.
    pub(super) reset_early: usize,
    /// Resets that the peer's errors caused.
    pub(super) error_resets: usize,
    /// Resets that the peer may not have seen.
    resets: VecDeque<u32>,
    reset_ids: HashSet<u32, BuildHasherDefault<IdHasher>>,

    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    released: u32,
    /// Streams that wait for room, in their order.
    pub(super) blocked: VecDeque<Key>,

    pub(super) peer_window: u32,
    pub(super) peer_max_frame: usize,
    /// Unset as long as the peer's SETTINGS have not come.
    pub(super) peer_max_streams: Option<usize>,
    /// Streams that wait until the peer has room for one more.
    pub(super) waiting: VecDeque<Key>,
    next_id: u32,
    /// The last stream that the peer began.
    pub(super) last_id: u32,

    pub(super) pings: Pings,
    pub(super) closing: Closing,
    /// The handles that could begin a stream are gone.
    pub(super) abandoned: bool,
    /// Why it ended. Frames may still wait to be written.
    pub(super) ended: Option<Error>,
    /// The connection's task, unless it was woken already.
    pub(super) task: Option<Waker>,
}

/// How far a graceful end has come: RFC 9113 section 6.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    /// The peer was told, and may not know yet. New streams are still taken.
    Announced,
    /// No new streams.
    Last,
}

/// Identifiers are counted up by whoever begins a stream: the multiplication spreads them.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((*byte).into()));
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

impl Shared {
    pub(super) fn new(role: Role, ours: Settings) -> Shared {
        Shared(Arc::new(Mutex::new(State {
            role,
            acknowledged: false,
            out: Out::default(),
            encoder: Encoder::new(),
            streams: Slab::new(),
            ids: HashMap::default(),
            incoming: VecDeque::new(),
            reset_early: 0,
            error_resets: 0,
            resets: VecDeque::new(),
            reset_ids: HashSet::default(),
            send_window: FIRST_WINDOW.into(),
            receive_window: ours.connection_window.max(FIRST_WINDOW).into(),
            released: 0,
            blocked: VecDeque::new(),
            peer_window: FIRST_WINDOW,
            peer_max_frame: MAX_FRAME,
            peer_max_streams: None,
            waiting: VecDeque::new(),
            next_id: 1,
            last_id: 0,
            pings: Pings::default(),
            closing: Closing::No,
            abandoned: false,
            ended: None,
            task: None,
            ours,
        })))
    }

    /// Never held across a wait; the connection's own task and those of its streams take turns.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sees to it that what waits is written.
    pub(super) fn wake(&mut self) {
        wake(&mut self.task);
    }

    pub(super) fn writer(&mut self) -> Writer<'_> {
        Writer { encoder: &mut self.encoder, out: self.out.end(), max_frame: self.peer_max_frame }
    }

    /// The window that a stream of the peer has: ours counts when the peer has acknowledged it.
    pub(super) fn first_window(&self) -> u32 {
        if self.acknowledged { self.ours.stream_window } else { FIRST_WINDOW }
    }

    /// Takes a new stream in.
    pub(super) fn insert(&mut self, id: u32) -> Key {
        let key = self.streams.insert(Stream::new());
        if id > 0 {
            self.opened(key, id);
        }
        key
    }

    fn opened(&mut self, key: Key, id: u32) {
        self.ids.insert(id, key);
        let (receive, send) = (self.first_window(), self.peer_window);
        let stream = &mut self.streams[key];
        (stream.id, stream.open) = (id, true);
        (stream.receive_window, stream.send_window) = (receive.into(), send.into());
    }

    /// Begins a stream as a client, or queues it if the peer has no room.
    pub(super) fn begin(&mut self, head: &RequestHead<'_>, end: bool) -> Result<Key, Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.is_ending() {
            return Err(Error::GoAway { reason: Reason::NO_ERROR, remote: true });
        }
        let has_room = self.waiting.is_empty() && self.has_room();
        let key = if has_room {
            let id = self.take_id();
            let key = self.insert(id);
            self.writer().request(id, head, end);
            self.wake();
            key
        } else {
            let key = self.insert(0);
            self.streams[key].waiting = Some(Box::new(OwnedRequest::new(head, end)));
            self.waiting.push_back(key);
            key
        };
        let stream = &mut self.streams[key];
        stream.handles = 2;
        stream.is_head = head.method == Method::HEAD;
        stream.sending = if end { Side::Ended } else { Side::Body };
        Ok(key)
    }

    /// Whether the peer takes another stream, and what we said before.
    fn has_room(&self) -> bool {
        self.peer_max_streams.is_none_or(|most| self.ids.len() < most) && self.out.len() <= UNANSWERED
    }

    /// Streams that never began may begin elsewhere.
    fn fail_waiting(&mut self) {
        self.waiting.clear();
        self.fail_where(&Error::GoAway { reason: Reason::NO_ERROR, remote: true }, |stream| stream.id == 0);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ended.is_some() || self.closing != Closing::No || self.next_id > MAX_ID
    }

    /// No message is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.ids.is_empty() && self.incoming.is_empty() && self.waiting.is_empty()
    }

    /// The identifier that our next stream gets.
    pub(super) fn next_id(&self) -> u32 {
        self.next_id
    }

    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        id
    }

    /// Begins streams that waited, as many as the peer has room for now.
    pub(super) fn begin_waiting(&mut self) {
        if self.next_id > MAX_ID {
            return self.fail_waiting();
        }
        while self.has_room() && self.next_id <= MAX_ID {
            let Some(key) = self.waiting.pop_front() else { return };
            let Some(request) = self.streams[key].waiting.take() else { continue };
            let id = self.take_id();
            self.opened(key, id);
            self.writer().request(id, &request.head(), request.end);
            if let Some(trailers) = &request.trailers {
                self.writer().trailers(id, trailers);
            }
            self.streams[key].wake_sender();
            self.wake();
        }
    }

    /// Bytes of the connection's window were read or thrown away: the peer may send as many again.
    pub(super) fn release(&mut self, length: usize) {
        self.released += length as u32;
        if self.released >= self.ours.connection_window / 2 {
            let increment = std::mem::take(&mut self.released);
            self.receive_window += i64::from(increment);
            frame::put_window_update(self.out.end(), 0, increment);
            self.wake();
        }
    }

    /// The same for bytes of a stream, as long as more may come.
    pub(super) fn release_stream(&mut self, key: Key, length: usize) {
        self.release(length);
        let window = self.ours.stream_window;
        let stream = &mut self.streams[key];
        if stream.receiving == Side::Ended || !stream.open {
            return;
        }
        stream.released += length as u32;
        if stream.released >= window / 2 {
            let increment = std::mem::take(&mut stream.released);
            stream.receive_window += i64::from(increment);
            let id = stream.id;
            frame::put_window_update(self.out.end(), id, increment);
            self.wake();
        }
    }

    /// Ends a stream that is over on both sides, and forgets one that nobody has a handle on.
    pub(super) fn settle(&mut self, key: Key) {
        let stream = &self.streams[key];
        if stream.open && stream.sending == Side::Ended && stream.receiving == Side::Ended {
            self.close(key);
        }
        self.forget(key);
    }

    fn close(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        stream.open = false;
        let id = stream.id;
        self.ids.remove(&id);
        if !self.waiting.is_empty() {
            self.begin_waiting();
        }
        if self.is_idle() && (self.closing != Closing::No || self.abandoned) {
            self.wake();
        }
    }

    fn forget(&mut self, key: Key) {
        let stream = &self.streams[key];
        if stream.handles > 0 || stream.open {
            return;
        }
        let mut stream = self.streams.remove(key);
        if stream.blocked {
            self.blocked.retain(|blocked| *blocked != key);
        }
        if stream.waiting.is_some() {
            self.waiting.retain(|waiting| *waiting != key);
            self.wake();
        }
        let unread = stream.discard();
        if unread > 0 {
            self.release(unread);
        }
    }

    /// Tells the peer that a stream ends here.
    pub(super) fn reset(&mut self, key: Key, reason: Reason, error: Error) {
        let stream = &self.streams[key];
        if stream.open {
            let id = stream.id;
            frame::put_reset(self.out.end(), id, reason);
            self.wake();
            self.remember(id);
        }
        self.fail(key, error);
    }

    /// Frames of a stream that was reset here may be on their way still.
    pub(super) fn remember(&mut self, id: u32) {
        if self.role == Role::Server {
            if self.resets.len() == REMEMBERED
                && let Some(oldest) = self.resets.pop_front()
            {
                self.reset_ids.remove(&oldest);
            }
            self.resets.push_back(id);
            self.reset_ids.insert(id);
        }
    }

    /// Whether frames of this closed stream are to be expected.
    pub(super) fn is_remembered(&self, id: u32) -> bool {
        let is_past = self.closing == Closing::Last && id > self.last_id;
        self.role == Role::Client || is_past || self.reset_ids.contains(&id)
    }

    /// Ends a stream with an error.
    pub(super) fn fail(&mut self, key: Key, error: Error) {
        let stream = &mut self.streams[key];
        if stream.error.is_none() {
            stream.error = Some(error);
        }
        stream.wake_receiver();
        stream.wake_sender();
        if stream.waiting.take().is_some() {
            self.waiting.retain(|waiting| *waiting != key);
            self.wake();
        }
        if self.streams[key].open {
            self.close(key);
        }
        self.forget(key);
    }

    /// Ends the connection: all streams with it.
    pub(super) fn end(&mut self, error: &Error) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error.clone());
        self.incoming.clear();
        self.fail_waiting();
        self.fail_where(error, |_| true);
        self.pings.end();
        self.wake();
    }

    pub(super) fn fail_where(&mut self, error: &Error, which: impl Fn(&Stream) -> bool) {
        let over = |stream: &Stream| stream.sending == Side::Ended && stream.receiving == Side::Ended;
        let keys: Vec<Key> =
            self.streams.iter().filter(|(_, stream)| !over(stream) && which(stream)).map(|(key, _)| key).collect();
        for key in keys {
            if self.streams.contains(key) {
                self.fail(key, error.clone());
            }
        }
    }

    /// A handle was dropped.
    pub(super) fn let_go(&mut self, key: Key) {
        let role = self.role;
        let stream = &mut self.streams[key];
        stream.handles -= 1;
        if stream.handles > 0 {
            return;
        }
        if stream.open {
            // A server that has said all needs no more of the request: RFC 9113 section 8.1.
            let answered = role == Role::Server && stream.sending == Side::Ended;
            let reason = if answered { Reason::NO_ERROR } else { Reason::CANCEL };
            self.reset(key, reason, Error::GivenUp(reason));
        } else {
            self.forget(key);
        }
    }
}
