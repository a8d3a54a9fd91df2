//! A peer that speaks in bytes, and knows nothing of the code under test.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GO_AWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const WHOLE: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

pub(super) const MAX_STREAMS: u16 = 3;
pub(super) const WINDOW: u16 = 4;

pub(super) struct Peer(pub(super) DuplexStream);

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
}

/// In few words, such as `RESET 5 code 1`.
impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { kind, flags, id, payload } = self;
        let code = || u32::from_be_bytes(*payload.last_chunk().expect("four bytes"));
        let end = if flags & END == 0 { "" } else { " end" };
        match *kind {
            DATA => write!(f, "DATA {id} of {}{end}", payload.len()),
            HEADERS => write!(f, "HEADERS {id}{end}"),
            RESET => write!(f, "RESET {id} code {}", code()),
            GO_AWAY => {
                let last = u32::from_be_bytes(*payload.first_chunk().expect("four bytes"));
                write!(f, "GOAWAY last {last} code {}", code())
            }
            WINDOW_UPDATE => write!(f, "WINDOW_UPDATE {id} by {}", code()),
            SETTINGS => write!(f, "SETTINGS flags {flags}"),
            PING => write!(f, "PING flags {flags} {payload:?}"),
            _ => write!(f, "kind {kind} flags {flags} stream {id}"),
        }
    }
}

impl Peer {
    /// Reads what a client says first.
    pub(super) async fn preface(&mut self) {
        let mut preface = [0; 24];
        self.0.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }

    /// Exchanges SETTINGS.
    pub(super) async fn greet(&mut self, settings: &[(u16, u32)]) {
        self.write(&[set(settings), frame(SETTINGS, ACK, 0, &[])].concat()).await;
        while self.next().await.is_some_and(|seen| (seen.kind, seen.flags) != (SETTINGS, ACK)) {}
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the connection should be there");
    }

    /// The next frame, or `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Seen { kind, flags, id: u32::from_be_bytes(id), payload })
    }

    /// All frames that come before nothing more happens; at the end of the connection, the last is `None`.
    pub(super) async fn all(&mut self) -> Vec<Option<Seen>> {
        let mut all = Vec::new();
        while let Ok(seen) = timeout(Duration::from_secs(1), self.next()).await {
            all.push(seen);
            if all.last() == Some(&None) {
                break;
            }
        }
        all
    }

    /// The same in words, without what keeps windows open.
    pub(super) async fn words(&mut self) -> String {
        let all = self.all().await;
        let seen = all.iter().filter(|seen| seen.as_ref().is_none_or(|seen| seen.kind != WINDOW_UPDATE));
        let words: Vec<String> =
            seen.map(|seen| seen.as_ref().map_or("end".into(), |seen| format!("{seen:?}"))).collect();
        words.join(", ")
    }

    /// Whether the connection still answers.
    pub(super) async fn is_answered(&mut self) -> bool {
        self.write(&frame(PING, 0, 0, b"12345678")).await;
        self.all().await.iter().flatten().any(|seen| (seen.kind, seen.flags) == (PING, ACK))
    }
}

pub(super) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// A frame whose payload is a number, or two of them.
pub(super) fn numbers(kind: u8, id: u32, payload: &[u32]) -> Vec<u8> {
    frame(kind, 0, id, &payload.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>())
}

pub(super) fn set(settings: &[(u16, u32)]) -> Vec<u8> {
    let entry = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &settings.iter().flat_map(entry).collect::<Vec<u8>>())
}

/// A field as a literal that is not indexed.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| match text.len() {
        short @ ..127 => [&[short as u8], text.as_bytes()].concat(),
        long => {
            let rest = long - 127;
            assert!(rest < 1 << 21, "three bytes of seven bits");
            let digits = [0x7f, (rest & 0x7f | 0x80) as u8, (rest >> 7 & 0x7f | 0x80) as u8, (rest >> 14) as u8];
            [&digits, text.as_bytes()].concat()
        }
    };
    [vec![0], string(name), string(value)].concat()
}

/// A header block, or a part of one.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

pub(super) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")];

/// A request with these fields beside those that each has.
pub(super) fn post(id: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE | flags, id, &[fields(&POST), fields(more)].concat())
}

/// A response with the status 200.
pub(super) fn ok(id: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE | flags, id, &[field(":status", "200"), fields(more)].concat())
}

pub(super) fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, id, payload)
}

pub(super) fn reset(id: u32, code: u32) -> Vec<u8> {
    numbers(RESET, id, &[code])
}
