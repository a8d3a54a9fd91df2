//! The task that probes one endpoint again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
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
                // None only if a semaphore were closed, which nobody does. Its own service's room comes first.
                let _room = room.acquire().await.ok();
                let _permit = shared.permits.acquire().await.ok();
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
