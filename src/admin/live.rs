//! Open pages are kept current by server-sent events: each tells the pieces of a page that changed. A page that several
//! look at is made once. Nothing queues up: who reads slowly misses what was in between and gets what is now.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::select_all;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at, sleep};

use super::Running;
use super::assets::BUILD;
use super::dashboard::{Dashboard, Target, Wanted};
use super::page::{Page, Piece};

/// Streams at a time. A browser needs one, whatever its tabs.
const STREAMS: usize = 32;
/// Pages that one stream may follow.
const TOPICS: usize = 16;
/// A page whose data does not change by itself is made anew this often.
const EVERY: Duration = Duration::from_secs(1);
/// From making a page to making it again at the soonest; ten times as long as it took, if that is longer, so that a large
/// page takes a tenth of a core at most.
const GAP: Duration = Duration::from_millis(50);
/// Changes are gathered for so long.
const GATHER: Duration = Duration::from_millis(5);
/// How often a stream gives a sign of life.
const BEAT: Duration = Duration::from_secs(5);

/// The pages that are followed.
#[derive(Debug)]
pub(super) struct Hub {
    topics: Mutex<HashMap<String, Weak<Topic>>>,
    room: Arc<Semaphore>,
}

/// A page that is followed, as long as anybody does.
#[derive(Debug)]
struct Topic {
    shown: watch::Receiver<Arc<Shown>>,
    making: JoinHandle<()>,
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.making.abort();
    }
}

/// A page at one moment.
#[derive(Debug, Default)]
struct Shown {
    pieces: Vec<Piece>,
    rows: Vec<Piece>,
    has_rows: bool,
    missing: bool,
}

/// What a stream has told of a page.
struct Told {
    name: String,
    _topic: Arc<Topic>,
    shown: watch::Receiver<Arc<Shown>>,
    pieces: HashMap<String, u64>,
    order: u64,
}

/// What a stream follows.
#[derive(Deserialize)]
pub(super) struct Wish {
    /// Addresses of pages, a line each.
    topics: String,
}

impl Default for Hub {
    fn default() -> Self {
        Hub { topics: Mutex::default(), room: Arc::new(Semaphore::new(STREAMS)) }
    }
}

impl Hub {
    /// The topic of that address, which is made if nobody follows it yet.
    fn topic(&self, dashboard: &Arc<Dashboard>, name: &str) -> Option<Arc<Topic>> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, topic| topic.strong_count() > 0);
        if let Some(topic) = topics.get(name).and_then(Weak::upgrade) {
            return Some(topic);
        }
        let target = Target::of(&name.parse().ok()?)?;
        let first = make(dashboard, &target)?;
        let (sender, shown) = watch::channel(Arc::new(first));
        let making = tokio::spawn(keep(Arc::downgrade(dashboard), target, sender));
        let topic = Arc::new(Topic { shown, making });
        topics.insert(name.to_owned(), Arc::downgrade(&topic));
        Some(topic)
    }
}

fn make(dashboard: &Dashboard, target: &Target) -> Option<Shown> {
    let mut page = Page::default();
    let status = dashboard.view(target, Wanted::Page(&mut page))?;
    let has_rows = page.table.is_some();
    let mut pieces = page.before;
    pieces.extend(page.after);
    pieces.push(status);
    // What somebody types into is not replaced under their hands.
    pieces.retain(|piece| piece.id != "form");
    Some(Shown { pieces, rows: page.rows, has_rows, missing: page.missing })
}

/// Makes a page again whenever something changed, for as long as anybody follows it.
async fn keep(dashboard: Weak<Dashboard>, target: Target, sender: watch::Sender<Arc<Shown>>) {
    let Some(strong) = dashboard.upgrade() else { return };
    let (mut table, mut locks) = (strong.sources.table.subscribe(), strong.locks.subscribe());
    let mut in_force = strong.sources.in_force.clone();
    drop(strong);
    let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Ok(()) = table.changed() => {}
            Ok(()) = locks.changed() => {}
            Ok(()) = in_force.changed() => {}
            _ = ticks.tick() => {}
        }
        sleep(GATHER).await;
        table.mark_unchanged();
        locks.mark_unchanged();
        let start = Instant::now();
        let Some(shown) = dashboard.upgrade().and_then(|dashboard| make(&dashboard, &target)) else { return };
        sender.send_replace(Arc::new(shown));
        sleep(GAP.max(start.elapsed() * 10)).await;
    }
}

/// A stream of what changes on these pages.
pub(super) async fn stream(State(running): State<Arc<Running>>, Query(wish): Query<Wish>) -> Response {
    let names: Vec<&str> = wish.topics.lines().take(TOPICS + 1).collect();
    if names.is_empty() || names.len() > TOPICS {
        return (StatusCode::BAD_REQUEST, "Name 1 to 16 pages in `topics`, a line each.\n").into_response();
    }
    let Ok(room) = running.hub.room.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many live pages are open; close some.\n").into_response();
    };
    let mut told = Vec::new();
    for name in names {
        let Some(topic) = running.hub.topic(&running.dashboard, name) else {
            return (StatusCode::NOT_FOUND, "One of these is no page that can be followed.\n").into_response();
        };
        let mut shown = topic.shown.clone();
        shown.mark_changed();
        let name = name.to_owned();
        told.push(Told { name, _topic: topic, shown, pieces: HashMap::new(), order: 0 });
    }
    let state = Streaming { told, beat: interval(BEAT), ended: running.ended.clone(), _room: room };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    Sse::new(events).into_response()
}

struct Streaming {
    told: Vec<Told>,
    beat: Interval,
    ended: watch::Receiver<()>,
    _room: OwnedSemaphorePermit,
}

impl Streaming {
    /// The next event; none when the server ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let changed = self.told.iter_mut().map(|told| Box::pin(told.shown.changed()));
            let at = tokio::select! {
                (result, at, _) = select_all(changed) => {
                    // A page that can no longer be made is no longer followed; the browser will ask again.
                    result.ok()?;
                    at
                }
                _ = self.beat.tick() => {
                    return Some(Event::default().data(serde_json::json!({ "build": *BUILD }).to_string()));
                }
                _ = self.ended.changed() => return None,
            };
            if let Some(message) = self.told[at].difference() {
                return Some(Event::default().data(message.to_string()));
            }
        }
    }
}

impl Told {
    /// What is other than was told; none if nothing is.
    fn difference(&mut self) -> Option<serde_json::Value> {
        let shown = self.shown.borrow_and_update().clone();
        let mut set = Vec::new();
        let mut known = HashMap::with_capacity(self.pieces.len());
        for (piece, is_row) in shown.pieces.iter().map(|p| (p, false)).chain(shown.rows.iter().map(|p| (p, true))) {
            let hash = hash(&piece.html);
            if self.pieces.get(&piece.id) != Some(&hash) {
                set.push(serde_json::json!([piece.id, piece.html, is_row]));
            }
            known.insert(piece.id.clone(), hash);
        }
        self.pieces = known;
        let ids: Vec<&str> = shown.rows.iter().map(|piece| piece.id.as_str()).collect();
        let order = hash(&ids);
        let is_new = std::mem::replace(&mut self.order, order) != order;
        if set.is_empty() && !is_new {
            return None;
        }
        let mut message = serde_json::json!({ "topic": self.name, "set": set, "missing": shown.missing });
        if is_new && shown.has_rows {
            message["order"] = ids.into();
        }
        Some(message)
    }
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
