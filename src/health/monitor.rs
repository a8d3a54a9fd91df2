//! The one task that judges: it hears of changed tables, answers of probes, failing calls and orders, and gives each
//! endpoint its share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep};

use super::report::{Event, Report};
use super::verdict::{Order, State};
use super::watched::{Prober, Watched};
use super::{Probe, ServiceSettings, Settings, probe};
use crate::table::{Endpoint, EndpointId, Table};

/// Probes under way at a time, over all services.
const PROBES: usize = 64;
/// How often it is looked whether a state ends by itself.
const LOOK: Duration = Duration::from_millis(250);
/// Answers that may wait for the monitor; probes wait when it is full.
const ANSWERS: usize = 256;

/// The answer of a probe.
struct Answer {
    service: Arc<str>,
    endpoint: EndpointId,
    answer: Result<(), String>,
}

/// What the monitor is asked for by others.
pub(super) enum Command {
    /// Other settings hold.
    Reconfigure(Settings),
    /// Order something for an endpoint of a service, or take an order back; the answer is whether there is such an
    /// endpoint.
    Order { service: String, address: String, order: Option<(Order, Instant)>, done: oneshot::Sender<bool> },
}

pub(super) struct Monitor {
    table: Table,
    settings: Settings,
    services: HashMap<Arc<str>, Watched>,
    answers: mpsc::Sender<Answer>,
    permits: Arc<Semaphore>,
    report: Arc<Report>,
}

impl Monitor {
    pub(super) async fn run(
        table: Table,
        settings: Settings,
        report: Arc<Report>,
        mut commands: mpsc::Receiver<Command>,
        mut alarms: mpsc::Receiver<Arc<str>>,
    ) {
        let (answers, mut answered) = mpsc::channel(ANSWERS);
        let permits = Arc::new(Semaphore::new(PROBES));
        let mut changes = table.subscribe();
        let mut monitor = Monitor { table, settings, services: HashMap::new(), answers, permits, report };
        monitor.sync();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => monitor.sync(),
                    Err(_) => return,
                },
                Some(Answer { service, endpoint, answer }) = answered.recv() => {
                    let watched = monitor.services.get_mut(&service);
                    if watched.is_some_and(|watched| watched.answered(endpoint, answer)) {
                        monitor.judge(&service);
                    }
                }
                Some(service) = alarms.recv() => monitor.judge(&service),
                command = commands.recv() => match command {
                    Some(command) => monitor.take(command),
                    None => return,
                },
                now = ticks.tick() => monitor.judge_due(now),
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Reconfigure(settings) => {
                self.settings = settings;
                for name in self.services.keys().cloned().collect::<Vec<_>>() {
                    self.resettle(&name);
                }
            }
            Command::Order { service, address, order, done } => {
                let watched = self.services.get_mut(&*service);
                let found = watched.is_some_and(|watched| watched.order(&address, order));
                if found {
                    self.judge(&service);
                }
                // Whoever asked may have gone.
                let _ = done.send(found);
            }
        }
    }

    /// Takes over a service's settings, if they changed.
    fn resettle(&mut self, service: &Arc<str>) {
        let settings = (self.settings.of)(service);
        let Some(watched) = self.services.get_mut(service) else { return };
        if settings != watched.settings {
            for id in watched.resettle(settings) {
                self.probe(service, id, true);
            }
            self.judge(service);
        }
    }

    /// Takes over what changed in the table.
    fn sync(&mut self) {
        let now = Instant::now();
        let slots = self.table.slots();
        self.services.retain(|name, watched| {
            let kept = slots.get(name).is_some_and(|slot| Arc::ptr_eq(slot, &watched.slot));
            if !kept {
                self.report.forget(name);
            }
            kept
        });
        for (name, slot) in slots.iter() {
            let seen = slot.endpoints();
            if self.services.get(name).is_some_and(|watched| Arc::ptr_eq(&watched.seen, &seen)) {
                continue;
            }
            let is_new = !self.services.contains_key(name);
            let settings = &self.settings;
            let watched = self
                .services
                .entry(name.clone())
                .or_insert_with(|| Watched::new(slot.clone(), (settings.of)(name), now));
            for id in watched.take_over(seen, now) {
                self.probe(name, id, is_new);
            }
            self.judge(name);
        }
    }

    /// Starts to probe an endpoint, if its service asks for it. The first endpoints of a service are spread over an
    /// interval; one that comes later is asked at once.
    fn probe(&mut self, service: &Arc<str>, id: EndpointId, spread: bool) {
        let Some(watched) = self.services.get_mut(service) else { return };
        let Some(probe) = watched.settings.health.probe.clone() else { return };
        let Some(tracked) = watched.endpoints.get_mut(&id) else { return };
        let first =
            if spread { probe.interval.min(Duration::from_secs(10)).mul_f64(fastrand::f64()) } else { Duration::ZERO };
        let prober = keep_probing(
            service.clone(),
            tracked.endpoint.clone(),
            probe,
            watched.settings.clone(),
            first,
            self.permits.clone(),
            self.answers.clone(),
            self.report.clone(),
        );
        tracked.prober = Some(Prober(tokio::spawn(prober).abort_handle()));
    }

    fn judge(&mut self, service: &str) {
        let now = Instant::now();
        let Some(watched) = self.services.get_mut(service) else { return };
        let panic_before = watched.panic;
        let name = watched.slot.service().clone();
        for transition in watched.judge(now) {
            let (endpoint, state, reason) =
                (&transition.endpoint, transition.verdict.state, &transition.verdict.reason);
            match state {
                State::Healthy => {
                    tracing::info!(service = %name, %endpoint, from = %transition.from, "endpoint is healthy: {reason}");
                }
                _ => tracing::warn!(service = %name, %endpoint, "endpoint is {state}: {reason}"),
            }
            self.report.event(Event {
                at: SystemTime::now(),
                service: name.clone(),
                endpoint: Some(endpoint.clone()),
                state: Some(state),
                text: reason.to_string(),
            });
        }
        if watched.panic != panic_before {
            let healthy = watched.endpoints.values().filter(|t| t.verdict.state == State::Healthy).count();
            let (all, threshold) = (watched.endpoints.len(), watched.settings.health.panic_threshold);
            let text = match watched.panic {
                true => format!(
                    "only {healthy} of {all} endpoints are healthy, less than {threshold} %: calls go to all of them"
                ),
                false => format!("{healthy} of {all} endpoints are healthy again: calls go to these only"),
            };
            tracing::warn!(service = %name, "{text}");
            self.report.event(Event {
                at: SystemTime::now(),
                service: name.clone(),
                endpoint: None,
                state: None,
                text,
            });
        }
        self.report.update(&name, watched);
    }

    fn judge_due(&mut self, now: Instant) {
        let due = self.services.iter().filter(|(_, watched)| watched.due.is_some_and(|due| due <= now));
        for service in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.judge(&service);
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "a task owns what it needs")]
async fn keep_probing(
    service: Arc<str>,
    endpoint: Endpoint,
    probe: Probe,
    settings: ServiceSettings,
    first: Duration,
    permits: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
    report: Arc<Report>,
) {
    sleep(first).await;
    loop {
        let answer = {
            // None only if the semaphore were closed, which nobody does.
            let _permit = permits.acquire().await.ok();
            // Boxed, so that an endpoint that waits for its turn is small.
            Box::pin(probe::run(&probe, &service, &endpoint, &settings.upstream)).await
        };
        report.probed(answer.as_ref());
        if let Some(answer) = answer {
            let answer = Answer { service: service.clone(), endpoint: endpoint.id, answer };
            if answers.send(answer).await.is_err() {
                return;
            }
        }
        let spread = f64::from(probe.jitter) / 100.0 * (2.0 * fastrand::f64() - 1.0);
        sleep(probe.interval.mul_f64(1.0 + spread)).await;
    }
}
