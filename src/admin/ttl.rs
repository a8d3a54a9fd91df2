//! The time that leases have left. etcd tells of no renewal, so it must be asked; and it is asked only for what somebody
//! looks at, at most twenty times a second. In between, time runs down by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::InForce;

/// Between two questions: twenty a second.
const PACE: Duration = Duration::from_millis(50);
/// After this long without anybody who looks, a lease is not asked for.
const LOOKED_AT: Duration = Duration::from_secs(3);
/// Between two answers the time runs down in such steps, and smoothly only on the page, so that a row that did not change
/// is not sent again each second.
const STEP: u64 = 5;
/// An answer is taken to hold for so long.
const FRESH: Duration = Duration::from_secs(1);
/// What nobody has looked at for so long is forgotten.
const FORGET: Duration = Duration::from_mins(1);

/// What is known of a lease's time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ttl {
    /// Seconds that it was granted for.
    pub(super) granted: i64,
    /// Seconds that are left, by what etcd said last and the time since then.
    pub(super) left: f64,
    /// Less than half is left: clients renew after a third, so that whoever should renew it is late or does not.
    pub(super) late: bool,
    /// The keys that hang on it.
    pub(super) keys: Vec<String>,
}

impl Ttl {
    /// What etcd says: whole seconds, rounded down. Renewals since then are not known, so that time which only seems to
    /// have run down makes nobody late.
    fn new(granted: i64, left: i64, keys: Vec<String>) -> Self {
        Ttl { granted, left: left as f64, late: (left + 1) * 2 < granted, keys }
    }

    pub(super) fn whole(&self) -> u64 {
        self.left.ceil() as u64
    }
}

/// The leases that somebody looks at.
#[derive(Debug, Default)]
pub(super) struct Ttls(Mutex<HashMap<i64, Asked>>);

#[derive(Debug)]
struct Asked {
    looked: Instant,
    asked: Option<Instant>,
    answer: Option<(Instant, Ttl)>,
}

impl Ttls {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a lease; that somebody looks has it asked for.
    pub(super) fn of(&self, lease: i64, now: Instant) -> Option<Ttl> {
        let mut known = self.lock();
        let asked = known.entry(lease).or_insert(Asked { looked: now, asked: None, answer: None });
        // What was known when somebody looked last has run on unseen: it may have been renewed since.
        if now > asked.looked + LOOKED_AT {
            asked.answer = None;
        }
        asked.looked = now;
        let (at, ttl) = asked.answer.as_ref()?;
        let passed = now.saturating_duration_since(*at).as_secs() / STEP * STEP;
        let left = (ttl.left - passed as f64).max(0.0);
        Some(Ttl { left, ..ttl.clone() })
    }

    /// The lease to ask for next: of those that are looked at and have no fresh answer, the one not asked for the longest.
    fn next(&self, now: Instant) -> Option<i64> {
        let mut known = self.lock();
        known.retain(|_, asked| now < asked.looked + FORGET);
        let due = known.iter().filter(|(_, asked)| {
            now < asked.looked + LOOKED_AT && asked.asked.is_none_or(|asked| now >= asked + FRESH)
        });
        let lease = due.min_by_key(|(_, asked)| asked.asked).map(|(lease, _)| *lease)?;
        if let Some(asked) = known.get_mut(&lease) {
            asked.asked = Some(now);
        }
        Some(lease)
    }

    fn answer(&self, lease: i64, answer: Option<Ttl>) {
        if let Some(asked) = self.lock().get_mut(&lease) {
            asked.answer = answer.map(|ttl| (Instant::now(), ttl));
        }
    }

    /// Asks, for ever.
    pub(super) async fn run(self: Arc<Self>, in_force: watch::Receiver<Arc<InForce>>) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let Some(lease) = self.next(Instant::now()) else { continue };
            // Which cluster a lease is of is not known here; where it is not, the answer says so.
            let clients = in_force.borrow().all_clients();
            for client in clients {
                match client.time_to_live(lease, true).await {
                    Ok(Some(found)) => {
                        let keys = found.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
                        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                        self.answer(lease, Some(Ttl::new(seconds(found.granted), seconds(found.remaining), keys)));
                        break;
                    }
                    Ok(None) => self.answer(lease, None),
                    Err(error) => tracing::debug!(lease, %error, "etcd does not say what is left of a lease"),
                }
                pace.tick().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_looked_at_is_asked_for_the_oldest_first_and_time_runs_down() {
        let ttls = Ttls::default();
        let start = Instant::now() + Duration::from_secs(100);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(ttls.next(start), None);
        assert_eq!(ttls.of(1, start), None);
        assert_eq!(ttls.next(at(50)), Some(1));
        assert_eq!(ttls.next(at(100)), None, "it was just asked for");
        ttls.of(2, at(500));
        assert_eq!(ttls.next(at(2_000)), Some(2), "the one that was never asked for comes first");
        assert_eq!(ttls.next(at(2_050)), Some(1));
        assert_eq!(ttls.next(at(3_400)), Some(2));
        assert_eq!(ttls.next(at(3_450)), None, "nobody looks at 1 any more");

        ttls.answer(2, Some(Ttl::new(10, 9, Vec::new())));
        let now = Instant::now();
        let ttl = ttls.of(2, now + Duration::from_secs(6)).unwrap();
        assert!(!ttl.late && ttl.whole() == 4, "{ttl:?}");
        let last = (8..=60).step_by(2).filter_map(|seconds| ttls.of(2, now + Duration::from_secs(seconds))).last();
        assert_eq!(last.unwrap().whole(), 0);
        assert_eq!(ttls.of(2, now + Duration::from_secs(70)), None, "nobody looked, and it may have been renewed");
        // Of 5 s, 2 may be 2.9; clients renew at two thirds, so that 2.5 are left at least.
        assert_eq!([1, 2, 3].map(|left| Ttl::new(5, left, Vec::new()).late), [true, false, false]);
    }
}
