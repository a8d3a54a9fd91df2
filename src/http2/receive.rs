//! What each frame that comes does: RFC 9113 sections 5 and 6.

use super::Role;
use super::error::{Error, Reason};
use super::frame::{self, Head, MAX_FRAME, MAX_WINDOW};
use super::head::{Block, TooLarge};
use super::ping::{CLOSING, OURS};
use super::state::{Closing, Key, State};
use super::stream::Side;

/// The peer broke a rule that ends the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken(pub(super) Reason);

pub(super) type Received = Result<(), Broken>;

const PROTOCOL: Broken = Broken(Reason::PROTOCOL_ERROR);
const FRAME_SIZE: Broken = Broken(Reason::FRAME_SIZE_ERROR);
const FLOW_CONTROL: Broken = Broken(Reason::FLOW_CONTROL_ERROR);
const CALM: Broken = Broken(Reason::ENHANCE_YOUR_CALM);

/// What an identifier stands for.
enum Known {
    Open(Key),
    /// It was open once.
    Closed,
    /// Never used.
    Idle,
}

impl State {
    fn known(&self, id: u32) -> Known {
        match self.ids.get(&id) {
            Some(key) => Known::Open(*key),
            None if self.was_used(id) => Known::Closed,
            None => Known::Idle,
        }
    }

    fn was_used(&self, id: u32) -> bool {
        match self.role {
            // Behind the last one that is taken, none begins: what comes of them is thrown away.
            Role::Server => id % 2 == 1 && (id <= self.last_id || self.closing == Closing::Last),
            Role::Client => id % 2 == 1 && id < self.next_id(),
        }
    }

    /// Resets a stream for an error of the peer's. Too many of them end the connection.
    fn reject(&mut self, key: Key, reason: Reason) -> Received {
        self.drop_incoming(key);
        self.reset(key, reason, Error::Reset { reason, remote: false });
        self.count_error()
    }

    fn count_error(&mut self) -> Received {
        self.error_resets += 1;
        if self.error_resets > self.ours.max_error_resets { Err(CALM) } else { Ok(()) }
    }

    /// Forgets a request that nobody has seen yet. True if there was one.
    fn drop_incoming(&mut self, key: Key) -> bool {
        let before = self.incoming.len();
        self.incoming.retain(|(_, incoming)| *incoming != key);
        self.incoming.len() < before
    }

    /// A DATA frame has come. `padding` counts the byte that tells its length.
    pub(super) fn on_data(&mut self, head: Head, padding: usize) -> Received {
        let length = head.length as i64;
        if length > self.receive_window {
            return Err(FLOW_CONTROL);
        }
        self.receive_window -= length;
        let key = match self.known(head.stream) {
            Known::Open(key) => key,
            Known::Idle => return Err(PROTOCOL),
            Known::Closed => {
                self.release(padding);
                if self.is_remembered(head.stream) {
                    return Ok(());
                }
                self.turn_away(head.stream, Reason::STREAM_CLOSED);
                return self.count_error();
            }
        };
        let body = (head.length - padding) as u64;
        let stream = &mut self.streams[key];
        let wrong = match stream.receiving {
            Side::Ended => Some(Reason::STREAM_CLOSED),
            Side::Head if self.role == Role::Client => Some(Reason::PROTOCOL_ERROR),
            _ if length > stream.receive_window => Some(Reason::FLOW_CONTROL_ERROR),
            _ if stream.length_left.is_some_and(|left| left < body) => Some(Reason::PROTOCOL_ERROR),
            _ => None,
        };
        if let Some(reason) = wrong {
            self.release(padding);
            return self.reject(key, reason);
        }
        stream.receive_window -= length;
        stream.length_left = stream.length_left.map(|left| left - body);
        if padding > 0 {
            self.release_stream(key, padding);
        }
        Ok(())
    }

    /// The open stream that a payload is for; whatever is for none is thrown away by [`release`](Self::release).
    pub(super) fn stream_of(&self, id: u32) -> Option<Key> {
        self.ids.get(&id).copied()
    }

    /// All of a message has come.
    pub(super) fn on_end(&mut self, key: Key) -> Received {
        let stream = &mut self.streams[key];
        if stream.length_left.is_some_and(|left| left > 0) {
            return self.reject(key, Reason::PROTOCOL_ERROR);
        }
        stream.receiving = Side::Ended;
        stream.wake_receiver();
        self.settle(key);
        Ok(())
    }

    /// Whether a header block may begin here, before it is decoded.
    pub(super) fn before_headers(&self, id: u32) -> Received {
        match (self.known(id), self.role) {
            (Known::Idle, Role::Server) if id % 2 == 1 => Ok(()),
            (Known::Idle, _) => Err(PROTOCOL),
            (Known::Closed, _) if !self.is_remembered(id) => Err(Broken(Reason::STREAM_CLOSED)),
            _ => Ok(()),
        }
    }

    /// A whole header block has come.
    pub(super) fn on_headers(&mut self, id: u32, end: bool, block: Block) -> Received {
        match (self.known(id), self.role) {
            (Known::Open(key), _) => self.on_more_headers(key, end, block),
            (Known::Idle, Role::Server) => self.on_request(id, end, block),
            _ => Ok(()),
        }
    }

    fn on_request(&mut self, id: u32, end: bool, block: Block) -> Received {
        if self.closing == Closing::Last {
            return Ok(());
        }
        self.last_id = id;
        if self.ids.len() >= self.ours.max_streams as usize {
            self.turn_away(id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        let is_too_large = block.is_too_large;
        let (mut request, length) = match block.into_request() {
            Ok((request, length)) if !end || length.unwrap_or(0) == 0 => (request, length),
            // What is missing may be what did not fit.
            Err(_) if is_too_large => {
                let headers = http::HeaderMap::new();
                self.writer().response(id, http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &headers, true);
                if !end {
                    self.turn_away(id, Reason::NO_ERROR);
                }
                return Ok(());
            }
            _ => {
                self.turn_away(id, Reason::PROTOCOL_ERROR);
                return self.count_error();
            }
        };
        if is_too_large {
            request.extensions_mut().insert(TooLarge);
        }
        let key = self.insert(id);
        let stream = &mut self.streams[key];
        stream.length_left = length;
        stream.receiving = if end { Side::Ended } else { Side::Body };
        self.incoming.push_back((request, key));
        Ok(())
    }

    /// Ends a stream that is not taken in.
    fn turn_away(&mut self, id: u32, reason: Reason) {
        frame::put_reset(self.out.end(), id, reason);
        self.remember(id);
        self.wake();
    }

    fn on_more_headers(&mut self, key: Key, end: bool, block: Block) -> Received {
        let stream = &mut self.streams[key];
        match stream.receiving {
            Side::Ended => self.reject(key, Reason::STREAM_CLOSED),
            Side::Head => {
                let is_head = stream.is_head;
                let too_large = block.is_too_large;
                let Ok((response, length)) = block.into_response() else {
                    return self.reject(key, Reason::PROTOCOL_ERROR);
                };
                if too_large {
                    // RFC 9113 section 10.5.1: a client may discard what it cannot process.
                    return self.reject(key, Reason::CANCEL);
                }
                if end && response.status().is_informational() {
                    return self.reject(key, Reason::PROTOCOL_ERROR);
                }
                if response.status().is_informational() {
                    return Ok(());
                }
                let has_none = is_head || matches!(response.status().as_u16(), 204 | 304);
                stream.length_left = if has_none { Some(0) } else { length };
                stream.response = Some(response);
                stream.receiving = Side::Body;
                if end {
                    return self.on_end(key);
                }
                stream.wake_receiver();
                Ok(())
            }
            Side::Body => {
                let too_large = block.is_too_large;
                match block.into_trailers() {
                    Ok(trailers) if end && stream.length_left.is_none_or(|left| left == 0) => {
                        stream.trailers = Some(trailers);
                        self.on_end(key)
                    }
                    _ if too_large => self.reject(key, Reason::CANCEL),
                    _ => self.reject(key, Reason::PROTOCOL_ERROR),
                }
            }
        }
    }

    /// Every other frame but CONTINUATION.
    pub(super) fn on_frame(&mut self, head: Head, payload: &[u8]) -> Received {
        match head.kind {
            frame::PRIORITY => self.on_priority(head, payload),
            frame::RST_STREAM => self.on_reset(head, payload),
            frame::SETTINGS => self.on_settings(head, payload),
            frame::PING => self.on_ping(head, payload),
            frame::GOAWAY => self.on_go_away(head, payload),
            frame::WINDOW_UPDATE => self.on_window_update(head, payload),
            frame::PUSH_PROMISE | frame::CONTINUATION => Err(PROTOCOL),
            // RFC 9113 section 4.1: unknown kinds are ignored.
            _ => Ok(()),
        }
    }

    fn on_priority(&mut self, head: Head, payload: &[u8]) -> Received {
        let [a, b, c, d, _] = *payload else {
            return if head.stream == 0 { Err(PROTOCOL) } else { self.wrong_size(head.stream) };
        };
        self.depends(head.stream, [a, b, c, d])
    }

    fn wrong_size(&mut self, id: u32) -> Received {
        match self.stream_of(id) {
            Some(key) => self.reject(key, Reason::FRAME_SIZE_ERROR),
            None => Err(FRAME_SIZE),
        }
    }

    /// Priorities are not used, but a stream must not depend on itself: RFC 7540 section 5.3.1.
    pub(super) fn depends(&mut self, id: u32, on: [u8; 4]) -> Received {
        match (id, self.known(id)) {
            (0, _) => Err(PROTOCOL),
            (id, _) if frame::number(on) & frame::MAX_ID != id => Ok(()),
            (_, Known::Open(key)) => self.reject(key, Reason::PROTOCOL_ERROR),
            (_, Known::Closed) => self.count_error(),
            (_, Known::Idle) => Err(PROTOCOL),
        }
    }

    fn on_reset(&mut self, head: Head, payload: &[u8]) -> Received {
        let Ok(code) = payload.try_into() else { return Err(FRAME_SIZE) };
        match self.known(head.stream) {
            Known::Idle => Err(PROTOCOL),
            Known::Closed => Ok(()),
            Known::Open(key) => {
                let early = self.drop_incoming(key);
                self.fail(key, Error::Reset { reason: Reason(frame::number(code)), remote: true });
                self.reset_early += usize::from(early);
                if self.reset_early > self.ours.max_pending_resets { Err(CALM) } else { Ok(()) }
            }
        }
    }

    fn on_ping(&mut self, head: Head, payload: &[u8]) -> Received {
        let Ok(payload) = <[u8; 8]>::try_from(payload) else { return Err(FRAME_SIZE) };
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        if !head.has(frame::ACK) {
            frame::put_ping(self.out.end(), frame::ACK, payload);
            self.wake();
        } else if payload == OURS {
            self.pings.answered();
        } else if payload == CLOSING && self.closing == Closing::Announced {
            self.close_last();
        }
        Ok(())
    }

    /// Begins a graceful end: RFC 9113 section 6.8.
    pub(super) fn announce_closing(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Announced;
            frame::put_go_away(self.out.end(), frame::MAX_ID, Reason::NO_ERROR);
            frame::put_ping(self.out.end(), 0, CLOSING);
            self.wake();
        }
    }

    fn close_last(&mut self) {
        self.closing = Closing::Last;
        let last = self.last_id;
        frame::put_go_away(self.out.end(), last, Reason::NO_ERROR);
        self.wake();
    }

    fn on_go_away(&mut self, head: Head, payload: &[u8]) -> Received {
        let [a, b, c, d, e, f, g, h, ..] = *payload else { return Err(FRAME_SIZE) };
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        if self.role == Role::Client {
            let last = frame::number([a, b, c, d]) & frame::MAX_ID;
            let reason = Reason(frame::number([e, f, g, h]));
            if reason != Reason::NO_ERROR {
                let detail = String::from_utf8_lossy(payload.get(8..72.min(payload.len())).unwrap_or_default());
                tracing::debug!(%reason, ?detail, "endpoint ends the connection");
            }
            self.closing = Closing::Last;
            // They are among those that fail, and none of them may begin because another one fails before it.
            self.waiting.clear();
            let error = Error::GoAway { reason, remote: true };
            self.fail_where(&error, |stream| stream.id == 0 || stream.id > last);
            self.wake();
        }
        Ok(())
    }

    fn on_window_update(&mut self, head: Head, payload: &[u8]) -> Received {
        let Ok(increment) = payload.try_into() else { return Err(FRAME_SIZE) };
        let increment = i64::from(frame::number(increment) & frame::MAX_ID);
        if head.stream == 0 {
            self.send_window += increment;
            match increment {
                0 => return Err(PROTOCOL),
                _ if self.send_window > MAX_WINDOW => return Err(FLOW_CONTROL),
                _ => {}
            }
        } else {
            match self.known(head.stream) {
                Known::Idle => return Err(PROTOCOL),
                Known::Closed => return Ok(()),
                Known::Open(key) if increment == 0 => return self.reject(key, Reason::PROTOCOL_ERROR),
                Known::Open(key) => {
                    let stream = &mut self.streams[key];
                    stream.send_window += increment;
                    if stream.send_window > MAX_WINDOW {
                        return self.reject(key, Reason::FLOW_CONTROL_ERROR);
                    }
                }
            }
        }
        Ok(())
    }

    fn on_settings(&mut self, head: Head, payload: &[u8]) -> Received {
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        if head.has(frame::ACK) {
            if !payload.is_empty() {
                return Err(FRAME_SIZE);
            }
            self.on_acknowledged();
            return Ok(());
        }
        if !payload.len().is_multiple_of(6) {
            return Err(FRAME_SIZE);
        }
        // Each change of the windows is a walk over all streams: only the last one counts.
        let mut window = None;
        for setting in payload.chunks_exact(6) {
            let [a, b, c, d, e, f] = *setting else { continue };
            match (u16::from_be_bytes([a, b]), frame::number([c, d, e, f])) {
                (frame::INITIAL_WINDOW_SIZE, value) if i64::from(value) <= MAX_WINDOW => window = Some(value),
                (name, value) => self.on_setting(name, value)?,
            }
        }
        if let Some(value) = window.filter(|value| *value != self.peer_window) {
            self.on_setting(frame::INITIAL_WINDOW_SIZE, value)?;
        }
        self.peer_max_streams.get_or_insert(usize::MAX);
        frame::put_settings_ack(self.out.end());
        self.begin_waiting();
        self.wake();
        Ok(())
    }

    fn on_setting(&mut self, name: u16, value: u32) -> Received {
        match name {
            frame::HEADER_TABLE_SIZE => self.encoder.set_limit(value as usize),
            frame::ENABLE_PUSH if value > 1 || (value == 1 && self.role == Role::Client) => return Err(PROTOCOL),
            frame::MAX_CONCURRENT_STREAMS => self.peer_max_streams = Some(value as usize),
            frame::INITIAL_WINDOW_SIZE => {
                if i64::from(value) > MAX_WINDOW {
                    return Err(FLOW_CONTROL);
                }
                let change = i64::from(value) - i64::from(self.peer_window);
                self.peer_window = value;
                for (_, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.open) {
                    stream.send_window += change;
                    if stream.send_window > MAX_WINDOW {
                        return Err(FLOW_CONTROL);
                    }
                }
            }
            frame::MAX_FRAME_SIZE => {
                let size = value as usize;
                if !(MAX_FRAME..1 << 24).contains(&size) {
                    return Err(PROTOCOL);
                }
                self.peer_max_frame = size;
            }
            _ => {}
        }
        Ok(())
    }

    /// The peer has our settings: what it had of each stream's window before counts too.
    fn on_acknowledged(&mut self) {
        if self.acknowledged {
            return;
        }
        let before = i64::from(self.first_window());
        self.acknowledged = true;
        let change = i64::from(self.first_window()) - before;
        for (_, stream) in &mut self.streams {
            stream.receive_window += change;
        }
    }
}
