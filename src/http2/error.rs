//! Why a stream or a connection ended.

use std::fmt;
use std::io;

/// An error code of RFC 9113 section 7, or one that the peer made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing is wrong.
    pub const NO_ERROR: Reason = Reason(0);
    /// A rule was broken.
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    /// Something failed that is not the peer's fault.
    pub const INTERNAL_ERROR: Reason = Reason(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: Reason = Reason(5);
    /// A frame has a length that its kind cannot have.
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    /// The stream was not processed in any way.
    pub const REFUSED_STREAM: Reason = Reason(7);
    /// The stream is not needed any more.
    pub const CANCEL: Reason = Reason(8);
    /// A header block cannot be decoded, nor any after it.
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    /// The peer does too much of something.
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no error",
            1 => "protocol error",
            2 => "internal error",
            3 => "flow-control error",
            4 => "settings not acknowledged in time",
            5 => "frame for a closed stream",
            6 => "frame of a wrong size",
            7 => "refused before it was processed",
            8 => "cancelled",
            9 => "header compression error",
            10 => "connection of CONNECT ended",
            11 => "enhance your calm: too much of something",
            12 => "security not sufficient",
            13 => "HTTP/1.1 required",
            code => return write!(f, "error {code}"),
        })
    }
}

/// Why a stream, or a whole connection, ended before its time.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// RST_STREAM, received, or sent because what came cannot be taken.
    #[error("the stream was reset: {reason}")]
    Reset {
        /// Why.
        reason: Reason,
        /// The peer sent it.
        remote: bool,
    },
    /// RST_STREAM, sent because whoever wrote to the stream gave it up.
    #[error("the stream was given up: {0}")]
    GivenUp(Reason),
    /// GOAWAY, sent or received. Received: the stream was provably not processed, or not begun.
    #[error("the connection was ended: {reason}")]
    GoAway {
        /// Why.
        reason: Reason,
        /// The peer sent it.
        remote: bool,
    },
    /// The connection is gone.
    #[error("{}", .0.map_or_else(|| "it was closed".to_owned(), |kind| io::Error::from(kind).to_string()))]
    Lost(Option<io::ErrorKind>),
}

impl Error {
    /// The error code, where one was sent.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Reset { reason, .. } | Error::GivenUp(reason) | Error::GoAway { reason, .. } => Some(*reason),
            Error::Lost(_) => None,
        }
    }

    /// The stream ended, and not the connection.
    pub fn is_reset(&self) -> bool {
        matches!(self, Error::Reset { .. } | Error::GivenUp(_))
    }

    /// The connection ended, or begins nothing new, by a GOAWAY.
    pub fn is_go_away(&self) -> bool {
        matches!(self, Error::GoAway { .. })
    }

    /// The peer said so.
    pub fn is_remote(&self) -> bool {
        matches!(self, Error::Reset { remote: true, .. } | Error::GoAway { remote: true, .. })
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Lost(Some(error.kind()))
    }
}
