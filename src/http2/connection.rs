//! Reads frames and writes what the streams have to say, in turns: what came together is answered together.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::error::{Error, Reason};
use super::frame::{self, FIRST_WINDOW, HEAD, Head, MAX_FRAME};
use super::head::Block;
use super::hpack::Decoder;
use super::receive::{Broken, Received};
use super::state::{Closing, Shared, State};
use super::stream::{HALF, SMALL, register};
use super::{Role, Settings};

/// Bytes that one read asks for, at first and at most.
const FIRST_READ: usize = 4 << 10;
/// What follows is read into memory that is still in the processor's cache.
const LARGEST_READ: usize = 16 << 10;
/// From this length on, payloads are read whole, so many at once. Whoever keeps one keeps the memory of all.
const LARGE: usize = 4 << 10;
const TOGETHER: usize = 4;
/// Reads before others get their turn.
const READS: usize = 4;
/// If so much waits to be written, nothing more is read that would have to be answered.
pub(super) const UNANSWERED: usize = 512 << 10;
/// CONTINUATION frames of one header block.
const MAX_PARTS: usize = 64;

/// A connection's own side: its bytes, and what of them is not understood yet.
pub(super) struct Connection<S> {
    io: S,
    pub(super) shared: Shared,
    decoder: Decoder,
    input: BytesMut,
    /// Bytes that the next read asks for.
    wanted: usize,
    /// The peer's SETTINGS have come.
    greeted: bool,
    block: Option<Unfinished>,
}

/// A header block of which parts are to come.
struct Unfinished {
    id: u32,
    end: bool,
    malformed: bool,
    bytes: Vec<u8>,
    parts: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(io: S, role: Role, settings: Settings) -> Connection<S> {
        let shared = Shared::new(role, settings);
        greet(&mut shared.lock());
        let (input, wanted) = (BytesMut::new(), FIRST_READ);
        Connection { io, shared, decoder: Decoder::new(), input, wanted, greeted: false, block: None }
    }

    /// Carries on; ready when the connection is over, well or not.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // What is said from here on is written below.
        self.shared.lock().task = None;
        let mut paused = false;
        for turn in 0.. {
            let state = self.shared.lock();
            paused = state.out.len() > UNANSWERED;
            if state.ended.is_some() || paused {
                break;
            }
            drop(state);
            if turn == READS {
                cx.waker().wake_by_ref();
                break;
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.lost(None)),
                Poll::Ready(Ok(_)) => {
                    if let Err(Broken(reason)) = self.parse() {
                        self.break_off(reason);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.lost(Some(error.kind()))),
                Poll::Pending => break,
            }
        }
        let written = self.poll_write(cx);
        // Nobody waits for what comes, and now there is room to answer it.
        if paused && written.is_pending() && self.shared.lock().out.len() <= UNANSWERED {
            cx.waker().wake_by_ref();
        }
        written
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let rest = self.rest_of_payload();
        self.input.reserve(rest.unwrap_or(self.wanted));
        let room = rest.unwrap_or_else(|| self.input.capacity() - self.input.len());
        let read = pin!(self.io.read_buf(&mut (&mut self.input).limit(room))).poll(cx);
        match read {
            _ if rest.is_some() => {}
            Poll::Ready(Ok(n)) if n == room => self.wanted = (self.wanted * 4).min(LARGEST_READ),
            Poll::Ready(Ok(n)) if n < self.wanted / 2 => self.wanted = (self.wanted / 2).max(FIRST_READ),
            // Nothing is kept for as long as nothing comes.
            Poll::Pending if self.input.is_empty() => self.input = BytesMut::new(),
            _ => {}
        }
        read
    }

    /// Of a large payload that has begun to come, what is missing, with the head behind it, and some more of its kind.
    /// Nothing else is read then: the beginning of a payload would have to be copied to where there is room for the whole.
    fn rest_of_payload(&self) -> Option<usize> {
        let head = Head::read(&self.input).filter(|head| head.kind == frame::DATA && head.length >= LARGE)?;
        let whole = HEAD + head.length;
        whole.checked_sub(self.input.len()).map(|rest| rest + (TOGETHER - 1) * whole + HEAD)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.shared.lock();
        let written = state.out.poll_write(&mut self.io, cx);
        register(&mut state.task, cx);
        state.unblock();
        state.begin_waiting();
        if let Err(error) = ready!(written) {
            drop(state);
            return Poll::Ready(self.lost(Some(error.kind())));
        }
        let ended = state.ended.clone();
        if ended.is_none() && !state.is_done() {
            // TLS keeps what the socket did not take.
            return match ready!(Pin::new(&mut self.io).poll_flush(cx)) {
                Ok(()) => Poll::Pending,
                Err(error) => {
                    drop(state);
                    Poll::Ready(self.lost(Some(error.kind())))
                }
            };
        }
        drop(state);
        // The peer may be gone, and what there was to say has been said.
        let _ = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        Poll::Ready(ended.map_or(Ok(()), Err))
    }

    /// The peer broke the rules.
    fn break_off(&mut self, reason: Reason) {
        let mut state = self.shared.lock();
        let last = if state.role == Role::Server { state.last_id } else { 0 };
        frame::put_go_away(state.out.end(), last, reason);
        state.end(&Error::GoAway { reason, remote: false });
    }

    /// The connection is gone, which is well where nobody needs it.
    fn lost(&mut self, kind: Option<io::ErrorKind>) -> Result<(), Error> {
        let mut state = self.shared.lock();
        let is_needed = !state.is_idle();
        state.end(&Error::Lost(kind));
        if kind.is_none() && !is_needed { Ok(()) } else { Err(Error::Lost(kind)) }
    }

    fn parse(&mut self) -> Received {
        let Connection { shared, decoder, input, greeted, block, .. } = self;
        let state = &mut *shared.lock();
        loop {
            let Some(head) = Head::read(input) else { return Ok(()) };
            if head.length > MAX_FRAME {
                return Err(Broken(Reason::FRAME_SIZE_ERROR));
            }
            let is_expected = match block {
                Some(block) => head.kind == frame::CONTINUATION && head.stream == block.id,
                None => *greeted || (head.kind == frame::SETTINGS && !head.has(frame::ACK)),
            };
            if !is_expected {
                return Err(Broken(Reason::PROTOCOL_ERROR));
            }
            *greeted = true;
            let Some(payload) = input.get(HEAD..HEAD + head.length) else { return Ok(()) };
            match head.kind {
                frame::DATA => {
                    data(head, input, state)?;
                    continue;
                }
                frame::HEADERS => {
                    let (fragment, malformed) = fragment(head, payload)?;
                    state.before_headers(head.stream)?;
                    let end = head.has(frame::END_STREAM);
                    if head.has(frame::END_HEADERS) {
                        decode(decoder, state, head.stream, end, malformed, fragment)?;
                    } else {
                        let (id, bytes) = (head.stream, fragment.to_vec());
                        *block = Some(Unfinished { id, end, malformed, bytes, parts: 0 });
                    }
                }
                frame::CONTINUATION => {
                    let Some(unfinished) = block else { return Err(Broken(Reason::PROTOCOL_ERROR)) };
                    unfinished.bytes.extend_from_slice(payload);
                    unfinished.parts += 1;
                    let most = 4 * state.ours.max_header_bytes as usize;
                    if unfinished.bytes.len() > most || unfinished.parts > MAX_PARTS {
                        return Err(Broken(Reason::ENHANCE_YOUR_CALM));
                    }
                    if head.has(frame::END_HEADERS) {
                        let Unfinished { id, end, malformed, ref bytes, .. } = *unfinished;
                        decode(decoder, state, id, end, malformed, bytes)?;
                        *block = None;
                    }
                }
                _ => state.on_frame(head, payload)?,
            }
            input.advance(HEAD + head.length);
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.shared.lock().end(&Error::Lost(None));
    }
}

impl State {
    /// Nothing is under way, and nothing will come.
    fn is_done(&self) -> bool {
        self.is_idle() && (self.closing == Closing::Last || self.abandoned)
    }
}

/// Passes a DATA frame on to its stream.
fn data(head: Head, input: &mut BytesMut, state: &mut State) -> Received {
    let padding = match (head.has(frame::PADDED), head.length) {
        _ if head.stream == 0 => return Err(Broken(Reason::PROTOCOL_ERROR)),
        (false, _) => 0,
        (true, 0) => return Err(Broken(Reason::FRAME_SIZE_ERROR)),
        (true, _) => usize::from(input[HEAD]) + 1,
    };
    let length = head.length.checked_sub(padding).ok_or(Broken(Reason::PROTOCOL_ERROR))?;
    state.on_data(head, padding)?;
    let before = usize::from(padding > 0);
    input.advance(HEAD + before);
    let key = state.stream_of(head.stream);
    if let Some(key) = key.filter(|key| length > 0 && !state.streams[*key].deaf) {
        let stream = &mut state.streams[key];
        if length <= SMALL || (stream.is_behind() && length <= HALF) {
            stream.push_small(&input[..length]);
            input.advance(length);
        } else {
            stream.push(input.split_to(length).freeze());
        }
        stream.wake_receiver();
    } else {
        input.advance(length);
        state.release(length);
    }
    input.advance(padding - before);
    match key {
        Some(key) if head.has(frame::END_STREAM) => state.on_end(key),
        _ => Ok(()),
    }
}

/// What a HEADERS frame has of a block: without padding and priority. Also whether it depends on itself.
fn fragment(head: Head, payload: &[u8]) -> Result<(&[u8], bool), Broken> {
    let short = Broken(Reason::FRAME_SIZE_ERROR);
    if head.stream == 0 {
        return Err(Broken(Reason::PROTOCOL_ERROR));
    }
    let (mut payload, mut malformed) = (payload, false);
    if head.has(frame::PADDED) {
        let (length, rest) = payload.split_first().ok_or(short)?;
        let end = rest.len().checked_sub((*length).into()).ok_or(Broken(Reason::PROTOCOL_ERROR))?;
        payload = &rest[..end];
    }
    if head.has(frame::WITH_PRIORITY) {
        let ([a, b, c, d, _], rest) = payload.split_first_chunk::<5>().ok_or(short)?;
        malformed = frame::number([*a, *b, *c, *d]) & frame::MAX_ID == head.stream;
        payload = rest;
    }
    Ok((payload, malformed))
}

fn decode(
    decoder: &mut Decoder,
    state: &mut State,
    id: u32,
    end: bool,
    malformed: bool,
    bytes: &[u8],
) -> Result<(), Broken> {
    let mut block = Block::new(state.ours.max_header_bytes as usize);
    block.is_malformed = malformed;
    let decoded = decoder.decode(bytes, &mut |field, size| block.take(field, size));
    decoded.map_err(|_| Broken(Reason::COMPRESSION_ERROR))?;
    state.on_headers(id, end, block)
}

/// Says first what we take.
fn greet(state: &mut State) {
    let Settings { max_streams, stream_window, connection_window, max_header_bytes, .. } = state.ours;
    let role = match state.role {
        Role::Client => (frame::ENABLE_PUSH, 0),
        Role::Server => (frame::MAX_CONCURRENT_STREAMS, max_streams),
    };
    if state.role == Role::Client {
        state.out.end().extend_from_slice(super::PREFACE);
    }
    let rest = [(frame::INITIAL_WINDOW_SIZE, stream_window), (frame::MAX_HEADER_LIST_SIZE, max_header_bytes)];
    frame::put_settings(state.out.end(), &[role, rest[0], rest[1]]);
    if connection_window > FIRST_WINDOW {
        frame::put_window_update(state.out.end(), 0, connection_window - FIRST_WINDOW);
    }
}
