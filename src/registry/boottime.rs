//! A clock that goes on while the machine sleeps. The usual one stands still then, while leases end in the cluster.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The usual clock, by which tokio waits, is compared with this one so often, and so late is a wait that the machine's
/// sleep fell into.
const LOOK: Duration = Duration::from_millis(200);

/// A moment, as the time since the machine was started, with all that it slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    pub(super) fn now() -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
        Moment(Duration::new(tv_sec.unsigned_abs(), u32::try_from(tv_nsec).unwrap_or_default()))
    }

    pub(super) fn plus(self, time: Duration) -> Self {
        Moment(self.0.saturating_add(time))
    }

    /// Since when it is, or nothing if it is still to come.
    pub(super) fn elapsed(self) -> Duration {
        Moment::now().0.saturating_sub(self.0)
    }

    /// For an atomic number: enough for five hundred years.
    pub(super) fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn from_nanos(nanos: u64) -> Self {
        Moment(Duration::from_nanos(nanos))
    }
}

/// Waits until a moment, and not much longer if the machine sleeps meanwhile.
pub(super) async fn sleep_until(moment: Moment) {
    loop {
        match moment.0.saturating_sub(Moment::now().0) {
            Duration::ZERO => return,
            left => tokio::time::sleep(left.min(LOOK)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_until_the_moment_and_not_for_one_that_is_past() {
        let start = Moment::now();
        sleep_until(start).await;
        sleep_until(start.plus(Duration::from_millis(230))).await;
        assert!(start.elapsed() >= Duration::from_millis(230), "{:?}", start.elapsed());
        assert_eq!(Moment::from_nanos(start.nanos()), start);
    }
}
