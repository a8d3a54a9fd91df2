//! The one task that judges: it hears of changed tables, answers of probes, failing calls and orders, and gives each
//! endpoint its share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep_until};

use super::Settings;
use super::policy::Opinion;
use super::prober::{Answer, Prober, Shared};
use super::report::{Event, Report};
use super::verdict::{Order, State};
use super::watched::{Probing, Watched};
use crate::table::{EndpointId, Table};

/// First probes that are begun in a second.
const FIRST_PROBES: f64 = 1_000.0;
/// How long changes of the table are gathered. Workers follow them at once; what is judged can wait.
const GATHER: Duration = Duration::from_millis(50);
/// How often it is looked whether a state ends by itself.
const LOOK: Duration = Duration::from_millis(250);
/// Answers that may wait for the monitor; probes wait when it is full.
const ANSWERS: usize = 256;

/// What the monitor is asked for by others.
pub(super) enum Command {
    /// Other settings hold.
    Reconfigure(Settings),
    /// What a policy holds of a service's endpoints.
    Opinions { service: Arc<str>, opinions: Vec<(EndpointId, Opinion)> },
    /// Order something for an endpoint of a service, or take an order back; the answer is whether there is such an
    /// endpoint.
    Order { service: String, address: String, order: Option<(Order, Instant)>, done: oneshot::Sender<bool> },
}

pub(super) struct Monitor {
    table: Table,
    settings: Settings,
    services: HashMap<Arc<str>, Watched>,
    shared: Shared,
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
        let mut changes = table.subscribe();
        let mut monitor = Monitor { table, settings, services: HashMap::new(), shared: Shared::new(answers, report) };
        monitor.sync();
        let mut changed_at: Option<Instant> = None;
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => drop(changed_at.get_or_insert_with(Instant::now)),
                    Err(_) => return,
                },
                () = sleep_until(changed_at.unwrap_or_else(Instant::now) + GATHER), if changed_at.is_some() => {
                    changed_at = None;
                    monitor.sync();
                }
                Some(Answer { service, endpoint, answer }) = answered.recv() => {
                    let watched = monitor.services.get_mut(&service);
                    if watched.is_some_and(|watched| watched.answered(endpoint, answer)) {
                        monitor.judge(&service);
                    }
                }
                Some(service) = alarms.recv() => {
                    // It may be so new that its change is still being gathered.
                    if changed_at.take().is_some() {
                        monitor.sync();
                    }
                    monitor.judge(&service);
                }
                command = commands.recv() => match command {
                    Some(command) => {
                        // What it is about may be so new that its change is still being gathered.
                        changed_at = None;
                        monitor.sync();
                        monitor.take(command);
                    }
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
            Command::Opinions { service, opinions } => {
                let watched = self.services.get_mut(&service);
                if watched.is_some_and(|watched| watched.take_opinions(opinions)) {
                    self.judge(&service);
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
            let all = watched.resettle(settings);
            for &id in &all {
                self.probe(service, id, all.len());
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
                self.shared.report.forget(name);
            }
            kept
        });
        // The first endpoints of all services are asked soon, and not all at once.
        let unseen = slots.iter().filter(|(name, _)| !self.services.contains_key(*name));
        let among: usize = unseen.map(|(_, slot)| slot.endpoints().len()).sum();
        for (name, slot) in slots.iter() {
            let seen = slot.endpoints();
            if self.services.get(name).is_some_and(|watched| Arc::ptr_eq(&watched.seen, &seen)) {
                continue;
            }
            let settings = &self.settings;
            let watched = self
                .services
                .entry(name.clone())
                .or_insert_with(|| Watched::new(slot.clone(), (settings.of)(name), now));
            for id in watched.take_over(seen, now) {
                self.probe(name, id, among);
            }
            self.judge(name);
        }
    }

    /// Starts to probe an endpoint, if its service asks for it; `among` so many that are asked for the first time.
    fn probe(&mut self, service: &Arc<str>, id: EndpointId, among: usize) {
        let Some(watched) = self.services.get_mut(service) else { return };
        let Some(probe) = watched.settings.health.probe.clone() else { return };
        let (settings, room) = (watched.settings.clone(), watched.room.clone());
        let Some((endpoint, tracked)) = watched.tracked(id) else { return };
        let endpoint = endpoint.clone();
        let first = Duration::from_secs_f64(among as f64 / FIRST_PROBES * fastrand::f64()).min(probe.interval);
        let prober = Prober { service: service.clone(), endpoint, probe, settings, room, shared: self.shared.clone() };
        tracked.prober = Some(Probing(tokio::spawn(prober.run(first)).abort_handle()));
    }

    fn judge(&mut self, service: &str) {
        let now = Instant::now();
        let Some(watched) = self.services.get_mut(service) else { return };
        let panic_before = watched.panic;
        let name = watched.slot.service().clone();
        for (endpoint, order) in watched.end_orders(now) {
            let text = format!("the order `{}` of an operator has ended: its time is over", order.name());
            tracing::info!(service = %name, %endpoint, "{text}");
            let (at, service) = (SystemTime::now(), name.clone());
            self.shared.report.event(Event { at, service, endpoint: Some(endpoint), state: None, text });
        }
        for transition in watched.judge(now) {
            let (endpoint, state, reason) =
                (&transition.endpoint, transition.verdict.state, &transition.verdict.reason);
            match state {
                State::Healthy => {
                    tracing::info!(service = %name, %endpoint, from = %transition.from, "endpoint is healthy: {reason}");
                }
                _ => tracing::warn!(service = %name, %endpoint, "endpoint is {state}: {reason}"),
            }
            self.shared.report.event(Event {
                at: SystemTime::now(),
                service: name.clone(),
                endpoint: Some(endpoint.clone()),
                state: Some(state),
                text: reason.to_string(),
            });
        }
        if watched.panic != panic_before && !watched.endpoints.is_empty() {
            let states = || watched.judged.iter().map(|judged| judged.verdict.state);
            let healthy = states().filter(|state| *state == State::Healthy).count();
            let all = states().filter(|state| *state != State::Draining).count();
            let threshold = watched.settings.health.panic_threshold;
            let text = if watched.panic {
                let text = format!(
                    "only {healthy} of {all} endpoints are healthy, less than {threshold} %: calls go to all of them"
                );
                tracing::warn!(service = %name, "{text}");
                text
            } else {
                let text = format!("{healthy} of {all} endpoints are healthy: calls go to these only");
                tracing::info!(service = %name, "{text}");
                text
            };
            let at = SystemTime::now();
            self.shared.report.event(Event { at, service: name.clone(), endpoint: None, state: None, text });
        }
        self.shared.report.update(&name, watched);
    }

    fn judge_due(&mut self, now: Instant) {
        let due = self.services.iter().filter(|(_, watched)| watched.due.is_some_and(|due| due <= now));
        for service in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.judge(&service);
        }
    }
}
