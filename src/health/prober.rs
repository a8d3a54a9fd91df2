//! The task that probes one endpoint again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::sleep;

use super::report::Report;
use super::{Probe, ServiceSettings, probe};
use crate::table::{Endpoint, EndpointId};

/// Probes under way at a time, over all services.
const PROBES: usize = 1_024;
/// The same for one service, so that endpoints that hang hold up their own service's probes and no other's.
pub(super) const PROBES_OF_SERVICE: usize = 64;
/// So many probes in a row that find the endpoint just ending its connections are no accident.
const NOTHINGS: u32 = 3;

/// The answer of a probe.
pub(super) struct Answer {
    pub(super) service: Arc<str>,
    pub(super) endpoint: EndpointId,
    pub(super) answer: Result<(), String>,
}

/// What all probers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) answers: mpsc::Sender<Answer>,
    pub(super) report: Arc<Report>,
    permits: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(answers: mpsc::Sender<Answer>, report: Arc<Report>) -> Self {
        Shared { answers, report, permits: Arc::new(Semaphore::new(PROBES)) }
    }
}

/// Probes one endpoint.
pub(super) struct Prober {
    pub(super) service: Arc<str>,
    pub(super) endpoint: Endpoint,
    pub(super) probe: Probe,
    pub(super) settings: ServiceSettings,
    /// The room that its service has for probes.
    pub(super) room: Arc<Semaphore>,
    pub(super) shared: Shared,
}

impl Prober {
    /// Probes until nobody wants the answers, after a `first` wait.
    pub(super) async fn run(self, first: Duration) {
        let Prober { service, endpoint, probe, settings, room, shared } = self;
        let mut nothings = 0;
        sleep(first).await;
        loop {
            let answer = {
                // Its own service's room comes first.
                let [own, all] = &shared.report.overdue;
                let _room = turn(&room, own).await;
                let _permit = turn(&shared.permits, all).await;
                // Boxed, so that an endpoint that waits for its turn is small.
                Box::pin(probe::run(&probe, &service, &endpoint, &settings.upstream)).await
            };
            shared.report.probed(answer.as_ref());
            nothings = if answer.is_none() { nothings + 1 } else { 0 };
            let ending = || Err("it ends every connection with a GOAWAY before it answers".to_owned());
            if let Some(answer) = answer.or_else(|| (nothings >= NOTHINGS).then(ending)) {
                let answer = Answer { service: service.clone(), endpoint: endpoint.id, answer };
                if shared.answers.send(answer).await.is_err() {
                    return;
                }
            }
            let spread = f64::from(probe.jitter) / 100.0 * (2.0 * fastrand::f64() - 1.0);
            sleep(probe.interval.mul_f64(1.0 + spread)).await;
        }
    }
}

/// Waits for a probe's turn, and is counted in `overdue` meanwhile. None only if the semaphore were closed, which nobody
/// does.
async fn turn<'a>(room: &'a Semaphore, overdue: &AtomicU64) -> Option<SemaphorePermit<'a>> {
    if let Ok(permit) = room.try_acquire() {
        return Some(permit);
    }
    let _overdue = Counted::new(overdue);
    room.acquire().await.ok()
}

/// One more, until it is dropped: whoever waits may be ended.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_waits_for_its_turn_is_overdue() {
        let (room, overdue) = (Semaphore::new(1), AtomicU64::new(0));
        let count = || overdue.load(Ordering::Relaxed);
        let mut cx = Context::from_waker(Waker::noop());
        let mut turns = [0; 3].map(|_| Some(Box::pin(turn(&room, &overdue))));
        let mut poll = |at: usize| turns[at].as_mut().unwrap().as_mut().poll(&mut cx);
        let Poll::Ready(Some(permit)) = poll(0) else { panic!("there is room") };
        assert_eq!(count(), 0);
        assert!(poll(1).is_pending() && poll(2).is_pending());
        assert_eq!(count(), 2);
        drop(permit);
        assert!(matches!(poll(1), Poll::Ready(Some(_))));
        assert_eq!(count(), 1);
        turns[2] = None;
        assert_eq!(count(), 0);
    }
}
