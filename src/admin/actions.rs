//! What an operator can do: each action is shown first, in a sentence that says what will happen, to whom, for how long
//! and how to undo it, and then done by a form that carries the revision or hash which was shown. What changed since is not done.

mod act;
mod modules;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use self::act::Act;
use self::unread::{Address, Form};
use super::Running;
use super::dashboard::Dashboard;
use super::log::Kind;
use super::page::{document, render};
use super::show::Seconds;
use super::view::attention::{encode, link};
use super::view::locks;
use crate::etcd::Client;
use crate::health::Order;
use crate::registry::clip;

/// How long orders may hold, in minutes; the second is what is offered first.
const TIMES: [u64; 6] = [5, 10, 30, 60, 360, 1_440];
/// The longest that an order may hold, in minutes, as a form may say it.
const LONGEST: u64 = 10_080;

/// What a form asks for.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Wish {
    #[serde(rename = "do")]
    act: Act,
    #[serde(default)]
    service: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    lease: i64,
    #[serde(default)]
    module: String,
    /// What the page showed: of a module the hash, of all else the revision.
    #[serde(default)]
    hash: String,
    #[serde(default)]
    revision: i64,
    /// The revision of the order that stands, which the form carries.
    #[serde(default)]
    order: Option<i64>,
    #[serde(default)]
    minutes: Option<u64>,
    #[serde(default)]
    weight: Option<u32>,
    /// Only in the form.
    #[serde(default)]
    mark: String,
}

/// Why something is not done.
struct Refusal(StatusCode, String);

#[derive(Template)]
#[template(path = "action.html")]
struct Preview<'a> {
    wish: &'a Wish,
    act: &'a str,
    verb: &'a str,
    what: String,
    undo: &'a str,
    back: String,
    keys: Vec<String>,
    standing: Option<String>,
    times: &'a [(u64, Seconds)],
    weighs: bool,
    mark: &'a str,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'a> {
    why: &'a str,
    back: &'a str,
}

impl Wish {
    /// The page to which it belongs.
    fn back(&self, running: &Running) -> String {
        match self.act {
            Act::Revoke => "/leases".to_owned(),
            Act::Release => {
                let queues = running.dashboard.locks.queues().0;
                let mut queues = queues.iter();
                let of = queues.find(|queue| queue.contenders.iter().any(|c| c.key == self.key.as_bytes()));
                of.map_or_else(|| "/locks".to_owned(), |queue| locks::link(&queue.name))
            }
            Act::Reload | Act::Aside => format!("/filters?q={}", encode(&self.module)),
            _ => link(&self.service),
        }
    }

    fn subject(&self) -> String {
        match self.act {
            Act::Revoke => format!("{:x}", self.lease),
            Act::Release => self.key.clone(),
            Act::Reload | Act::Aside => self.module.clone(),
            _ => self.service.clone(),
        }
    }

    fn what(&self) -> String {
        let endpoint = format!("{} of {}", clip(&self.endpoint), clip(&self.service));
        match self.act {
            Act::Drain => format!(
                "{endpoint} gets no new calls. Calls under way finish. If no other endpoint is left, it gets calls all the same."
            ),
            Act::Healthy => format!("{endpoint} gets its share of calls, whatever its probes and calls say."),
            Act::Unhealthy => format!("{endpoint} gets calls only if no healthy endpoint is left."),
            Act::Weight => format!("{endpoint} gets calls by this weight instead of the registered one."),
            Act::Restore => {
                format!("{endpoint} is judged by its probes and calls again, and has its registered weight.")
            }
            Act::Revoke => format!(
                "The lease {:x} ends, and with it all keys that hang on it: instances leave, locks are let go.",
                self.lease
            ),
            Act::Release => format!(
                "The key {} is deleted, so that the next in line holds. Whoever holds now is not told: see that it has stopped.",
                clip(&self.key)
            ),
            Act::Reload | Act::Aside => modules::what(self),
        }
    }

    /// What must be as the page showed it.
    fn guard(&self) -> String {
        match self.act.is_of_modules() {
            true => format!("the hash {}", clip(&self.hash)),
            false => format!("revision {}", self.revision),
        }
    }

    fn time(&self) -> Result<Duration, Refusal> {
        match self.minutes {
            Some(minutes @ 1..=LONGEST) => Ok(Duration::from_secs(minutes * 60)),
            _ => Err(Refusal::bad(format!("The time must be from 1 to {LONGEST} minutes."))),
        }
    }
}

impl Refusal {
    fn bad(why: impl Into<String>) -> Self {
        Refusal(StatusCode::BAD_REQUEST, why.into())
    }

    fn changed(what: &str) -> Self {
        let text = format!("{what} changed since the page was shown, so nothing was done. Look again, then decide.");
        Refusal(StatusCode::CONFLICT, text)
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Refusal(StatusCode::BAD_GATEWAY, format!("etcd did not do it: {error}"))
    }

    fn page(&self, back: &str, is_in: bool) -> Response {
        let main = render(&Refused { why: &self.1, back });
        (self.0, Html(document("Not done", "", "", "", &main, is_in))).into_response()
    }
}

/// The page that says what would happen.
pub(super) async fn preview(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    Address(mut wish): Address<Wish>,
) -> Response {
    let Some(mark) = running.sessions.mark(&headers) else { return Redirect::to("/login").into_response() };
    let keys = match look(&running, &mut wish).await {
        Ok(keys) => keys,
        Err(refusal) => return refusal.page(&wish.back(&running), true),
    };
    let times = TIMES.map(|minutes| (minutes, Seconds(minutes * 60)));
    let main = render(&Preview {
        act: wish.act.word(),
        verb: wish.act.verb(),
        what: wish.what(),
        undo: wish.act.undo(),
        back: wish.back(&running),
        keys: keys.iter().map(|key| clip(key)).collect(),
        times: if wish.act.lasts() { &times } else { &[] },
        weighs: wish.act == Act::Weight,
        standing: running.dashboard.orders.standing(&wish.service, &wish.endpoint).1,
        wish: &wish,
        mark: &mark,
    });
    Html(document(wish.act.verb(), "", "", "", &main, true)).into_response()
}

/// Does it.
pub(super) async fn act(State(running): State<Arc<Running>>, headers: HeaderMap, Form(wish): Form<Wish>) -> Response {
    if !running.sessions.is_genuine(&headers, &wish.mark) {
        return Refusal(StatusCode::FORBIDDEN, "This form is not of your session. Log in again.".to_owned())
            .page(&wish.back(&running), running.sessions.mark(&headers).is_some());
    }
    // What began is done and written down, also if the browser leaves.
    let done = tokio::spawn(done(running, wish)).await;
    done.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn done(running: Arc<Running>, mut wish: Wish) -> Response {
    // Where the lock is: afterwards its key may be gone.
    let back = wish.back(&running);
    match act_on(&running, &mut wish).await {
        Ok(text) => {
            tracing::info!(action = wish.act.word(), subject = clip(&wish.subject()), "an operator acted: {text}");
            running.dashboard.log.add(Kind::Action, &wish.subject(), text);
            Redirect::to(&back).into_response()
        }
        Err(refusal) => {
            let text = format!("refused: {}: {}", wish.act.verb(), refusal.1);
            running.dashboard.log.add(Kind::Refused, &wish.subject(), text);
            refusal.page(&back, true)
        }
    }
}

fn operator(running: &Running) -> Result<Client, Refusal> {
    let none = || Refusal::bad("There is no etcd client of the name `operator`; add it to etcd.clients.");
    running.dashboard.sources.in_force.borrow().operator.clone().ok_or_else(none)
}

/// Whether what the page showed still stands. Gives the keys that it is about; the revision of a lease becomes the one at
/// which these were read.
async fn look(running: &Running, wish: &mut Wish) -> Result<Vec<String>, Refusal> {
    if wish.act.is_of_modules() {
        return modules::look(running, wish);
    }
    let operator = operator(running)?;
    match wish.act {
        Act::Revoke => {
            let keys = attached(&operator, wish.lease).await?;
            wish.revision = keys.1;
            Ok(keys.0.into_iter().map(|(key, _)| key).collect())
        }
        Act::Release => {
            must_be_lock(running, &wish.key)?;
            let listing = operator.list(wish.key.as_bytes()).await.map_err(Refusal::failed)?;
            let is_same =
                listing.keys.iter().any(|kv| kv.key == wish.key.as_bytes() && kv.mod_revision == wish.revision);
            if is_same {
                Ok(vec![wish.key.clone()])
            } else {
                Err(Refusal::changed(&format!("The key {}", clip(&wish.key))))
            }
        }
        _ => {
            let slot = running.dashboard.sources.table.slot(&wish.service);
            let endpoints = slot.map(|slot| slot.endpoints()).unwrap_or_default();
            let endpoint = endpoints.iter().find(|endpoint| *endpoint.label == *wish.endpoint);
            match endpoint {
                Some(endpoint) if endpoint.revision == wish.revision => {
                    let stands = running.dashboard.orders.standing(&wish.service, &wish.endpoint).0;
                    match wish.order.replace(stands) {
                        Some(shown) if shown != stands => {
                            Err(Refusal::changed(&format!("The order for {}", clip(&wish.endpoint))))
                        }
                        _ => Ok(vec![wish.endpoint.clone()]),
                    }
                }
                Some(_) => Err(Refusal::changed(&format!("The registration of {}", clip(&wish.endpoint)))),
                None => Err(Refusal::changed(&format!("{} has left: its registration", clip(&wish.endpoint)))),
            }
        }
    }
}

/// What is released by deleting its key must be a lock, and not any key that somebody writes into the form.
fn must_be_lock(running: &Running, key: &str) -> Result<(), Refusal> {
    match running.dashboard.sources.lock_prefixes.iter().any(|prefix| key.starts_with(prefix.as_str())) {
        true => Ok(()),
        false => Err(Refusal::bad("Only keys below admin.locks.prefixes are locks and can be released here.")),
    }
}

/// The keys that hang on a lease, each with its newest revision, and the revision at which they were read.
async fn attached(operator: &Client, lease: i64) -> Result<(Vec<(String, i64)>, i64), Refusal> {
    let gone = || Refusal(StatusCode::CONFLICT, format!("The lease {lease:x} has ended already; nothing was done."));
    let found = operator.time_to_live(lease, true).await.map_err(Refusal::failed)?.ok_or_else(gone)?;
    let (mut keys, mut read_at) = (Vec::new(), 0);
    for key in found.keys {
        let listing = operator.list(&key).await.map_err(Refusal::failed)?;
        read_at = listing.header.revision.max(read_at);
        let newest = listing.keys.iter().find(|kv| kv.key == key).map_or(0, |kv| kv.mod_revision);
        keys.push((String::from_utf8_lossy(&key).into_owned(), newest));
    }
    Ok((keys, read_at))
}

async fn act_on(running: &Running, wish: &mut Wish) -> Result<String, Refusal> {
    if wish.act.is_of_modules() {
        return modules::act(running, wish).await;
    }
    let operator = operator(running)?;
    match wish.act {
        Act::Revoke => {
            let (keys, _) = attached(&operator, wish.lease).await?;
            if keys.iter().any(|(_, newest)| *newest > wish.revision) {
                return Err(Refusal::changed("What hangs on the lease"));
            }
            operator.revoke(wish.lease).await.map_err(Refusal::failed)?;
            Ok(format!("the lease {:x} was revoked, and with it {} keys", wish.lease, keys.len()))
        }
        Act::Release => {
            must_be_lock(running, &wish.key)?;
            match operator.delete_at(wish.key.as_bytes(), wish.revision).await {
                Ok(true) => Ok("the lock was released by deleting its holder's key".to_owned()),
                Ok(false) => Err(Refusal::changed(&format!("The key {}", clip(&wish.key)))),
                Err(error) => Err(Refusal::failed(error)),
            }
        }
        act => {
            look(running, wish).await?;
            let order = match act {
                Act::Restore => None,
                Act::Drain => Some((Order::Drain, wish.time()?)),
                Act::Healthy => Some((Order::ForceHealthy, wish.time()?)),
                Act::Weight => {
                    let weight =
                        wish.weight.ok_or_else(|| Refusal::bad("The weight must be a whole number from 0."))?;
                    Some((Order::Weight(weight), wish.time()?))
                }
                _ => Some((Order::ForceUnhealthy, wish.time()?)),
            };
            let (service, endpoint) = (&*wish.service, &*wish.endpoint);
            let place_of = wish.order.unwrap_or_default();
            let Dashboard { orders, sources, .. } = &*running.dashboard;
            let reach = orders.give(&sources.health, &operator, (service, endpoint), order, place_of);
            let reach = reach.await.map_err(|why| Refusal(StatusCode::CONFLICT, why))?;
            let time = order.map(|(_, time)| format!(" for {}", Seconds::from(time))).unwrap_or_default();
            let weight =
                wish.weight.filter(|_| act == Act::Weight).map(|weight| format!(" {weight}")).unwrap_or_default();
            Ok(format!("{endpoint}: {}{weight}{time}, {reach}", act.word()))
        }
    }
}
