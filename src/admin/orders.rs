//! Orders for endpoints, shared with other proxies through etcd: a key each below our own prefix, on a lease that ends
//! with the order. What is ordered holds here at once and is then shared; while etcd is away, when it is back. An order takes
//! the place of the one that its giver saw, and of no other.

mod state;
mod written;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use self::state::{Stage, Standing, State, Waiting};
pub(super) use self::written::LONGEST;
use self::written::{Written, key, names};
use super::show::Seconds;
use super::{InForce, ORDERS};
use crate::etcd::{Action, Client, Condition, Error, Event, KeyValue, Txn};
use crate::health::{Health, Order};
use crate::registry::clip;

/// From one attempt to follow or to share orders to the next, and how long may pass without a sign of life.
const AGAIN: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(30);
/// How long a new order may wait for a member of etcd before it holds here only.
const AT_ONCE: Duration = Duration::from_secs(2);

/// What is known of orders.
#[derive(Debug, Default)]
pub(super) struct Orders {
    state: Mutex<State>,
    /// There is something to share.
    due: Notify,
}

/// What came of sharing.
enum Shared {
    /// It stands, at this revision; 0: none stands.
    Done(i64),
    /// Something else stands there, or nothing any more.
    Changed(Option<KeyValue>),
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells the order that stands here for an endpoint from others, 0 if none does, and the order in words.
    pub(super) fn standing(&self, service: &str, endpoint: &str) -> (i64, Option<String>) {
        let state = self.lock();
        let (id, written) = state.standing(&key(service, endpoint));
        let left = |written: &Written| Seconds::from(written.left(SystemTime::now()));
        (id, written.map(|written| format!("{}, for {} more", written.words(), left(written))))
    }

    /// The keys that cannot be read, with why, in their order.
    pub(super) fn unreadable(&self) -> Vec<(String, String)> {
        let state = self.lock();
        let unread = state.known.iter().filter_map(|(key, standing)| Some((key, standing.read.as_ref().err()?)));
        let mut unread: Vec<_> =
            unread.map(|(key, why)| (String::from_utf8_lossy(key).into_owned(), why.clone())).collect();
        unread.sort_unstable();
        unread
    }

    /// Orders something for an endpoint in the place of what stands: here at once, then through etcd for all. While etcd
    /// is away it is shared later. The text says how far it reaches. `Err` says why it is not done.
    pub(super) async fn give(
        &self,
        health: &Health,
        operator: &Client,
        (service, endpoint): (&str, &str),
        order: Option<(Order, Duration)>,
        place_of: i64,
    ) -> Result<String, String> {
        let key = key(service, endpoint);
        let changed = || {
            let what = format!("The order for {}", clip(endpoint));
            format!("{what} changed since the page was shown, so nothing was done. Look again, then decide.")
        };
        let written = order.map(|(order, time)| Written::new(service, endpoint, order, SystemTime::now() + time));
        let waiting = self.lock().begin(&key, written, place_of).ok_or_else(changed)?;
        if !health.order(service, endpoint, order).await {
            self.lock().settle(&key, &waiting, None);
            return Err(format!("service {service} has no endpoint {endpoint} now"));
        }
        match share(&operator.within(AT_ONCE), &key, &waiting).await {
            Ok(Shared::Done(revision)) => {
                let mut state = self.lock();
                state.settle(&key, &waiting, None);
                state.stands(key.into_bytes(), revision, waiting.written);
                Ok("in all proxies that follow these orders".to_owned())
            }
            Ok(Shared::Changed(found)) => {
                self.give_way(health, &key, &waiting, found).await;
                Err(changed())
            }
            Err(error) if error.is_retryable() => {
                self.lock().settle(&key, &waiting, Some(Stage::Later));
                self.due.notify_one();
                Ok(format!("in this proxy only until etcd is back: {error}"))
            }
            Err(error) => {
                self.lock().settle(&key, &waiting, waiting.alone());
                Ok(format!("in this proxy only, for it could not be shared: {error}"))
            }
        }
    }

    /// Lets hold here again what stands in etcd, instead of what was given here.
    async fn give_way(&self, health: &Health, key: &str, waiting: &Waiting, found: Option<KeyValue>) {
        {
            let mut state = self.lock();
            state.settle(key, waiting, None);
            let at = found.as_ref().map_or(waiting.place_of, |kv| kv.mod_revision);
            // What was given or came since was done since.
            let is_newer = |standing: &Standing| standing.revision > at;
            if state.waiting.contains_key(key) || state.known.get(key.as_bytes()).is_some_and(is_newer) {
                return;
            }
            state.known.remove(key.as_bytes());
        }
        match (found, names(key.as_bytes())) {
            (Some(kv), _) => self.take(health, kv).await,
            (None, Some((service, endpoint))) => {
                health.order(&service, &endpoint, None).await;
            }
            (None, None) => {}
        }
    }

    /// Follows the orders of all proxies and shares our own, for ever, with the client `operator`. Tells what becomes of an
    /// order that had to wait, by its service.
    pub(super) async fn run(
        self: Arc<Self>,
        health: Health,
        in_force: watch::Receiver<Arc<InForce>>,
        tell: impl Fn(&str, String),
    ) {
        tokio::join!(self.follow(&health, in_force.clone()), self.share(&health, in_force, tell));
    }

    async fn share(&self, health: &Health, in_force: watch::Receiver<Arc<InForce>>, tell: impl Fn(&str, String)) {
        loop {
            self.due.notified().await;
            while !self.lock().later().is_empty() {
                sleep(AGAIN).await;
                let operator = in_force.borrow().operator.clone();
                let later = self.lock().later();
                for (key, waiting) in later {
                    let Some(operator) = &operator else { break };
                    let Some(text) = self.share_late(health, operator, &key, &waiting).await else { break };
                    let (service, endpoint) = names(key.as_bytes()).unwrap_or_default();
                    tracing::info!(service = clip(&service), endpoint = clip(&endpoint), "{text}");
                    tell(&service, format!("{endpoint}: {text}"));
                }
            }
        }
    }

    /// Shares what had to wait; what came of it, or none if etcd is still away.
    async fn share_late(&self, health: &Health, operator: &Client, key: &str, waiting: &Waiting) -> Option<String> {
        let is_over = waiting.is_over();
        let shared = match is_over {
            true => Ok(Shared::Done(0)),
            false => match share(operator, key, waiting).await {
                // What it was to take the place of has ended by itself.
                Ok(Shared::Changed(None)) => share(operator, key, &Waiting { place_of: 0, ..waiting.clone() }).await,
                shared => shared,
            },
        };
        let text = match &shared {
            Err(error) if error.is_retryable() => return None,
            Err(error) => format!("what was ordered here could not be shared: {error}"),
            Ok(Shared::Done(_)) if is_over => "what was ordered here was over before it could be shared".to_owned(),
            Ok(Shared::Done(_)) => "what was ordered here is shared with all proxies now".to_owned(),
            Ok(Shared::Changed(_)) => "what was ordered here gives way to an order of another proxy".to_owned(),
        };
        match shared {
            Ok(Shared::Done(revision)) => {
                let mut state = self.lock();
                state.settle(key, waiting, None);
                if !is_over {
                    state.stands(key.as_bytes().to_vec(), revision, waiting.written.clone());
                }
            }
            Ok(Shared::Changed(found)) => self.give_way(health, key, waiting, found).await,
            Err(_) => self.lock().settle(key, waiting, waiting.alone()),
        }
        Some(text)
    }

    async fn follow(&self, health: &Health, mut in_force: watch::Receiver<Arc<InForce>>) {
        loop {
            let operator = in_force.borrow_and_update().operator.clone();
            let Some(operator) = operator else {
                // Without a client there is nothing to follow.
                if in_force.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if let Err(error) = self.watch(health, &operator).await {
                tracing::debug!(%error, "the orders of other proxies cannot be followed");
            }
            sleep(AGAIN).await;
        }
    }

    async fn watch(&self, health: &Health, operator: &Client) -> Result<(), Error> {
        let before = self.lock().known.clone();
        let listing = operator.list(ORDERS.as_bytes()).await?;
        let revision = listing.header.revision;
        // The cluster is another one, or has lost what was last written: its revisions are not to be compared.
        let is_new = before.values().any(|standing| standing.revision > revision);
        for key in before.keys().filter(|key| !listing.keys.iter().any(|kv| kv.key == **key)) {
            self.take_back(health, key, if is_new { i64::MAX } else { revision }).await;
        }
        if is_new {
            self.lock().known.clear();
        }
        for kv in listing.keys {
            self.take(health, kv).await;
        }
        let mut watch = operator.watch(ORDERS.as_bytes(), revision + 1).await?;
        loop {
            let response = match timeout(SILENCE / 3, watch.next()).await {
                Ok(response) => response?,
                Err(_) => {
                    watch.request_progress().await?;
                    match timeout(SILENCE, watch.next()).await {
                        Ok(response) => response?,
                        Err(_) => break,
                    }
                }
            };
            for event in response.events {
                match event {
                    Event::Put(kv) => self.take(health, kv).await,
                    Event::Delete { key, mod_revision } => self.take_back(health, &key, mod_revision).await,
                }
            }
        }
        watch.leave();
        Ok(())
    }

    /// Does what a key orders. What cannot be read is not done, and what it replaced holds on. What is as it was is not
    /// done again: somebody may have taken it back here while etcd was away.
    async fn take(&self, health: &Health, kv: KeyValue) {
        if self.lock().known.get(&kv.key).is_some_and(|standing| standing.revision >= kv.mod_revision) {
            return;
        }
        let now = SystemTime::now();
        let read = Written::read(&kv, now);
        if let Err(why) = &read {
            tracing::warn!(key = clip(&String::from_utf8_lossy(&kv.key)), why, "an order cannot be followed");
        }
        if let Ok((Written { service, endpoint, .. }, order)) = &read {
            let left = read.as_ref().map(|(written, _)| written.left(now)).unwrap_or_default();
            if !left.is_zero() {
                health.order(service, endpoint, Some((*order, left))).await;
            }
        }
        let standing = Standing { revision: kv.mod_revision, read: read.map(|(written, _)| written) };
        let mut state = self.lock();
        state.waiting.retain(|key, waiting| waiting.stage != Stage::Here || key.as_bytes() != kv.key);
        state.known.insert(kv.key, standing);
    }

    /// Takes back what a key ordered that went at this revision, unless it came again since.
    async fn take_back(&self, health: &Health, key: &[u8], revision: i64) {
        let is_ours_now = {
            let mut state = self.lock();
            if state.known.get(key).is_some_and(|standing| standing.revision > revision) {
                return;
            }
            state.known.remove(key);
            let ours = std::str::from_utf8(key).ok().and_then(|key| state.waiting.get(key));
            ours.is_some_and(|waiting| !waiting.is_over())
        };
        if let Some((service, endpoint)) = names(key).filter(|_| !is_ours_now) {
            health.order(&service, &endpoint, None).await;
        }
    }
}

async fn share(operator: &Client, key: &str, Waiting { written, place_of, .. }: &Waiting) -> Result<Shared, Error> {
    let key = key.as_bytes().to_vec();
    let value = written.as_ref().map(Written::value);
    let lease = match written {
        Some(written) => operator.grant(written.left(SystemTime::now()).max(Duration::from_secs(5))).await?,
        None => 0,
    };
    let action = match &value {
        Some(value) => Action::Put(key.clone(), value.clone(), lease),
        None => Action::Delete(key.clone()),
    };
    let when = vec![Condition::Modified(key.clone(), *place_of)];
    let done = operator.txn(Txn { when, then: vec![action], or_else: vec![Action::Get(key)] }).await?;
    if done.held {
        return Ok(Shared::Done(done.header.revision));
    }
    let found = done.found.into_iter().next().flatten();
    match found {
        // Done already, and the first answer got lost.
        Some(kv) if Some(&kv.value) == value.as_ref() => Ok(Shared::Done(kv.mod_revision)),
        None if value.is_none() => Ok(Shared::Done(0)),
        found => {
            if lease != 0 {
                // Else it ends by itself.
                let _ = operator.revoke(lease).await;
            }
            Ok(Shared::Changed(found))
        }
    }
}
