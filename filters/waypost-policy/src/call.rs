//! The call that an endpoint is wanted for, and how it ended.

use std::time::Duration;

use crate::host;

/// A call that an endpoint is wanted for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Call {
    /// Made of what `hash_header` names in the service's configuration; `None` if the request has none of it.
    pub hash: Option<u64>,
    /// A number that is evenly distributed.
    pub random: u64,
    /// 0, then 1 and so on when the call is tried again.
    pub attempt: u32,
}

impl Call {
    /// The exchanges under way at that endpoint, from all workers of this proxy, now. 0 if there is no such endpoint.
    #[must_use]
    pub fn in_flight(&self, index: usize) -> u32 {
        host::in_flight(index)
    }

    /// Whether the call has been at that endpoint already. To pick such a one again is an invalid answer.
    #[must_use]
    pub fn is_tried(&self, index: usize) -> bool {
        self.attempt > 0 && host::is_tried(index)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// What it ended with.
    pub status: Status,
    /// The time from the first attempt to the end.
    pub took: Duration,
}

/// What a call ended with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// A gRPC status, 0 to 16.
    Grpc(u32),
    /// An HTTP status, 100 to 599.
    Http(u32),
    /// There was no response.
    NoResponse,
}

impl Outcome {
    pub(crate) fn new(status: i32, micros: u64) -> Self {
        let status = match u32::try_from(status) {
            Ok(status @ 100..) => Status::Http(status),
            Ok(status) => Status::Grpc(status),
            Err(_) => Status::NoResponse,
        };
        Self { status, took: Duration::from_micros(micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let cases = [
            (0, Status::Grpc(0)),
            (16, Status::Grpc(16)),
            (100, Status::Http(100)),
            (503, Status::Http(503)),
            (-1, Status::NoResponse),
        ];
        for (number, status) in cases {
            assert_eq!(Outcome::new(number, 7), Outcome { status, took: Duration::from_micros(7) });
        }
    }
}
