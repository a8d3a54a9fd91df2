//! Pings of our own, and their answers.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::frame;
use super::state::Shared;
use super::stream::{register, wake};

/// What our pings carry, and the one with which a graceful end begins.
pub(super) const OURS: [u8; 8] = *b"waypost?";
pub(super) const CLOSING: [u8; 8] = *b"closing?";

#[derive(Default)]
pub(super) struct Pings {
    state: Asked,
    waker: Option<Waker>,
}

#[derive(Default, PartialEq, Eq)]
enum Asked {
    #[default]
    No,
    Waiting,
    Answered,
    Ended,
}

impl Pings {
    pub(super) fn answered(&mut self) {
        if self.state == Asked::Waiting {
            self.state = Asked::Answered;
            wake(&mut self.waker);
        }
    }

    pub(super) fn end(&mut self) {
        self.state = Asked::Ended;
        wake(&mut self.waker);
    }
}

/// Asks the peer whether it is there; one question at a time.
pub struct PingPong(pub(super) Shared);

impl PingPong {
    /// Waits for the answer, for ever if none can come any more. Cancelled, the answer is not waited for.
    pub async fn ping(&mut self) {
        {
            let mut state = self.0.lock();
            if state.pings.state != Asked::Ended {
                state.pings.state = Asked::Waiting;
                frame::put_ping(state.out.end(), 0, OURS);
                state.wake();
            }
        }
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if !matches!(state.pings.state, Asked::Waiting | Asked::Ended) {
                return Poll::Ready(());
            }
            register(&mut state.pings.waker, cx);
            Poll::Pending
        })
        .await;
    }
}
