//! HTTP/2 (RFC 9113) for whoever carries messages on: as server and as client, over any byte stream.
//!
//! Made for a proxy's path. Frames are read where they lie and written when a turn is over, all in one; a stream is a place in
//! its connection's slab, and each operation on it takes one short lock; what waits to be read is joined, so that a thousand
//! small frames cost no more than their bytes. A header block is written from where the head is, without a copy of it. There
//! are no pushes and no priorities, and no tasks or timers: whoever polls a connection decides how long it waits.
//!
//! What a peer can make us hold is bounded: by the windows and the limits of [`Settings`], by 4 times the limit for a header
//! list that is on its way, and by half a mebibyte of answers that it does not read.

mod client;
mod connection;
mod error;
mod frame;
mod handle;
mod head;
mod hpack;
mod out;
mod ping;
mod receive;
mod send;
mod server;
mod state;
mod stream;

pub use client::{Client, ClientConnection, connect};
pub use error::{Error, Reason};
pub use handle::{Receiver, Sender};
pub use head::{RequestHead, TooLarge};
pub use ping::PingPong;
pub use server::{Accepted, Server};

/// What a client says first: RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is accepted from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most streams at a time that a client may begin.
    pub max_streams: u32,
    /// Most bytes of one header list: RFC 9113 section 6.5.2.
    pub max_header_bytes: u32,
    /// Bytes that a stream may have under way.
    pub stream_window: u32,
    /// Bytes that all streams together may have under way.
    pub connection_window: u32,
    /// Most requests of one turn that a client may reset before they were seen; more end the connection.
    pub max_pending_resets: usize,
    /// Most streams that are reset for the peer's errors; more end the connection.
    pub max_error_resets: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

#[cfg(test)]
mod tests;
