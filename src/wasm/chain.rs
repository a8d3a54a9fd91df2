//! The filters that one exchange passes: from the first to the last with its request, back from the last to the first with
//! its response. Everything here belongs to one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::exchange::{Asked, Direction, Exchange, Shared};
use super::fault::Fault;
use super::filter::Filter;
use super::vm::Vm;
use crate::route::OnError;

/// Why an exchange does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A filter answered: [`Exchange::local`] is what it said.
    #[error("filter `{0}` answered")]
    Answered(Arc<str>),
    /// A filter wants it ended without an answer.
    #[error("filter `{0}` ended the call")]
    Closed(Arc<str>),
    /// A filter does not work, and nothing may pass without it.
    #[error("filter `{0}` does not work, and the call may not go on without it; the proxy's log says why")]
    Failed(Arc<str>),
    /// A filter gave an answer that is none, and nothing may pass without it.
    #[error("filter `{0}` gave an answer that cannot be sent; the proxy's log says why")]
    Invalid(Arc<str>),
    /// A filter held it for too long.
    #[error("filter `{0}` held the call for longer than it may (wasm.pause_timeout)")]
    Held(Arc<str>),
    /// A filter wanted more of a body than may be kept.
    #[error("filter `{0}` waits for more of the body, or makes more of it, than is kept (wasm.buffer_limit)")]
    TooLarge(Arc<str>),
}

/// The filters of one exchange. When it is dropped, they are told that the exchange is over.
pub struct Chain {
    shared: Arc<Shared>,
    pub(super) links: RefCell<Vec<Link>>,
    pause_timeout: Duration,
    buffer_limit: usize,
    /// What stopped it while the request's body was on its way.
    stopped: RefCell<Option<Stop>>,
}

pub(super) struct Link {
    pub(super) filter: Rc<Filter>,
    on_error: OnError,
    /// The instance, and the context that the exchange has in it.
    asked: Asked,
    /// It failed, and the exchange goes on without it.
    skipped: Cell<bool>,
    /// It has seen the request: only then is it shown the response.
    started: Cell<bool>,
    /// Since when it holds a part of a body, by direction.
    holds: [Cell<Option<Instant>>; 2],
}

impl Chain {
    /// A chain without filters.
    pub fn new(exchange: Exchange, pause_timeout: Duration, buffer_limit: usize) -> Self {
        let (links, stopped) = Default::default();
        Chain { shared: Shared::new(exchange), links, pause_timeout, buffer_limit, stopped }
    }

    /// The exchange as its filters see it.
    pub fn exchange(&self) -> std::sync::MutexGuard<'_, Exchange> {
        self.shared.lock()
    }

    /// Notes what stopped the exchange while others are at work on it.
    pub fn stop(&self, stop: Stop) {
        self.stopped.replace(Some(stop));
    }

    /// What was noted.
    pub fn stopped(&self) -> Option<Stop> {
        self.stopped.borrow().clone()
    }

    /// How many filters it has.
    pub fn len(&self) -> usize {
        self.links.borrow().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.links.borrow().is_empty()
    }

    /// Adds filters at the end.
    ///
    /// # Errors
    ///
    /// If one does not work and must.
    pub fn join(&self, filters: &[(Rc<Filter>, OnError)]) -> Result<(), Stop> {
        for (filter, on_error) in filters {
            let opened = filter.with(|vm| Ok(Asked { instance: vm.id(), context: vm.open(&self.shared)? }));
            let Some(asked) = opened else {
                match on_error {
                    OnError::Skip => continue,
                    OnError::Deny => return Err(Stop::Failed(filter.name())),
                }
            };
            self.links.borrow_mut().push(Link {
                filter: filter.clone(),
                on_error: *on_error,
                asked,
                skipped: Cell::new(false),
                started: Cell::new(false),
                holds: Default::default(),
            });
        }
        Ok(())
    }

    /// Shows the filters from `first` on a head: the request's in order, the response's in reverse.
    ///
    /// # Errors
    ///
    /// If the exchange does not go on.
    pub async fn head(&self, direction: Direction, first: usize, end: bool) -> Result<(), Stop> {
        for at in self.order(direction).skip(first) {
            match direction {
                Direction::Request => self.links.borrow()[at].started.set(true),
                Direction::Response if !self.links.borrow()[at].started.get() => continue,
                Direction::Response => {}
            }
            let paused = self.ask(at, direction, |vm, context| vm.head(context, direction, end))?;
            if paused {
                self.resumed(at, direction).await?;
            }
        }
        Ok(())
    }

    /// Whether a filter looks at bodies or trailers in this direction.
    pub fn wants_body(&self, direction: Direction) -> bool {
        self.links.borrow().iter().any(|link| {
            link.started.get()
                && link.is_alive()
                && link.filter.live.borrow_mut().vm().is_some_and(|vm| vm.wants_body(direction))
        })
    }

    /// Shows the filters a part of a body, and gives what comes out at the other end of the chain. An `end` comes out
    /// with the last part, or is held with it.
    ///
    /// # Errors
    ///
    /// If the exchange does not go on.
    pub async fn body(&self, direction: Direction, data: Bytes, end: bool) -> Result<Option<Bytes>, Stop> {
        self.pass(direction, 0, data, end).await
    }

    /// Whether a filter holds a part of a body.
    pub fn holds(&self, direction: Direction) -> bool {
        self.links.borrow().iter().any(|link| link.holds(direction).is_some())
    }

    /// Waits until a filter that holds a part of a body lets it go, and gives what comes out. `end` is whether the first
    /// that holds one has all of the body. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// If the exchange does not go on.
    pub async fn released(&self, direction: Direction, end: bool) -> Result<Option<Bytes>, Stop> {
        loop {
            let (mut first, mut by) = (true, None);
            for (place, at) in self.order(direction).enumerate() {
                let Some(since) = self.links.borrow()[at].holds(direction) else { continue };
                if self.lets_go(at, direction, since)? {
                    let held = self.release(at, direction).freeze();
                    return self.pass(direction, place + 1, held, end && first).await;
                }
                first = false;
                by = Some(by.map_or(since, |by: Instant| by.min(since)));
            }
            let Some(by) = by else { return Ok(None) };
            self.woken(direction, by).await;
        }
    }

    /// Shows the filters the trailers, which are in the exchange. What a filter held comes out before them.
    ///
    /// # Errors
    ///
    /// If the exchange does not go on.
    pub async fn trailers(&self, direction: Direction) -> Result<Bytes, Stop> {
        let mut out = BytesMut::new();
        for (place, at) in self.order(direction).enumerate() {
            let held = self.release(at, direction);
            self.show_body(direction, held);
            let paused = self.ask(at, direction, |vm, context| vm.trailers(context, direction))?;
            if paused {
                self.resumed(at, direction).await?;
            }
            let shown = self.take_body(direction);
            if let Some(data) = self.pass(direction, place + 1, shown.freeze(), false).await? {
                out.extend_from_slice(&data);
            }
        }
        Ok(out.freeze())
    }

    /// The filters that are passed first come first.
    fn order(&self, direction: Direction) -> impl Iterator<Item = usize> + use<> {
        let count = self.len();
        (0..count).map(move |place| match direction {
            Direction::Request => place,
            Direction::Response => count - 1 - place,
        })
    }

    async fn pass(&self, direction: Direction, from: usize, data: Bytes, end: bool) -> Result<Option<Bytes>, Stop> {
        let mut data = data;
        for at in self.order(direction).skip(from) {
            if data.is_empty() && !end {
                break;
            }
            let asked = self.links.borrow()[at].asked;
            let mut whole = self.shared.lock().take_held(direction, asked);
            whole.extend_from_slice(&data);
            let size = whole.len();
            self.show_body(direction, whole);
            let paused = self.ask(at, direction, |vm, context| vm.body(context, direction, size, end));
            let shown = self.take_body(direction);
            let paused = paused?;
            let links = self.links.borrow();
            let link = &links[at];
            let place = &link.holds[direction as usize];
            if paused && !self.shared.lock().take_resumed(direction, asked) {
                place.set(place.get().or_else(|| Some(Instant::now())));
                let too_large = shown.len() > self.buffer_limit;
                self.shared.lock().hold(direction, asked, shown);
                if too_large {
                    return Err(Stop::TooLarge(link.filter.name()));
                }
                return Ok(None);
            }
            place.set(None);
            data = shown.freeze();
        }
        Ok(Some(data))
    }

    /// Takes what a filter holds.
    fn release(&self, at: usize, direction: Direction) -> BytesMut {
        let links = self.links.borrow();
        links[at].holds[direction as usize].set(None);
        self.shared.lock().take_held(direction, links[at].asked)
    }

    fn show_body(&self, direction: Direction, data: BytesMut) {
        let mut exchange = self.shared.lock();
        match direction {
            Direction::Request => exchange.request_body = data,
            Direction::Response => exchange.response_body = data,
        }
    }

    fn take_body(&self, direction: Direction) -> BytesMut {
        let mut exchange = self.shared.lock();
        match direction {
            Direction::Request => std::mem::take(&mut exchange.request_body),
            Direction::Response => std::mem::take(&mut exchange.response_body),
        }
    }

    /// Asks one filter. One that fails is skipped, or stops the exchange.
    fn ask(
        &self,
        at: usize,
        direction: Direction,
        ask: impl FnOnce(&mut Vm, u32) -> Result<bool, Fault>,
    ) -> Result<bool, Stop> {
        let links = self.links.borrow();
        let link = &links[at];
        if link.skipped.get() || !link.started.get() {
            return Ok(false);
        }
        {
            let mut exchange = self.shared.lock();
            exchange.take_resumed(direction, link.asked);
            exchange.take_refused(link.asked);
        }
        let answer = match link.is_alive() {
            true => link.filter.with(|vm| ask(vm, link.asked.context)),
            false => None,
        };
        let refused = self.ended(link)?;
        match answer {
            Some(_) if refused => lost(link, Stop::Invalid).map(|()| false),
            Some(paused) => Ok(paused),
            None => lost(link, Stop::Failed).map(|()| false),
        }
    }

    /// Whether this filter gave an answer that cannot be sent, if the exchange was not ended by one.
    fn ended(&self, link: &Link) -> Result<bool, Stop> {
        let exchange = &mut *self.shared.lock();
        // Each is said once: what comes of it is shown to the filters like any response.
        let name = || link.filter.name();
        if std::mem::take(&mut exchange.too_large) {
            return Err(Stop::TooLarge(name()));
        }
        if std::mem::take(&mut exchange.closed) {
            return Err(Stop::Closed(name()));
        }
        let refused = exchange.take_refused(link.asked);
        if exchange.local.is_some() { Err(Stop::Answered(name())) } else { Ok(refused) }
    }

    /// Waits until a filter lets the exchange go on.
    async fn resumed(&self, at: usize, direction: Direction) -> Result<(), Stop> {
        let since = Instant::now();
        while !self.lets_go(at, direction, since)? {
            self.woken(direction, since).await;
        }
        Ok(())
    }

    /// Whether a filter that has held the exchange since then does so no longer.
    fn lets_go(&self, at: usize, direction: Direction, since: Instant) -> Result<bool, Stop> {
        let links = self.links.borrow();
        let link = &links[at];
        let refused = self.ended(link)?;
        if self.shared.lock().take_resumed(direction, link.asked) {
            return Ok(true);
        }
        if refused {
            return lost(link, Stop::Invalid).map(|()| true);
        }
        if !link.is_alive() {
            return lost(link, Stop::Failed).map(|()| true);
        }
        if since.elapsed() >= self.pause_timeout {
            return Err(Stop::Held(link.filter.name()));
        }
        Ok(false)
    }

    /// Waits for a reason to look again, be it that the time is up.
    async fn woken(&self, direction: Direction, since: Instant) {
        tokio::select! {
            () = self.shared.woken(direction) => {}
            () = tokio::time::sleep_until(since + self.pause_timeout) => {}
        }
    }
}

/// A filter is lost to the exchange, which goes on without it or not at all.
fn lost(link: &Link, stop: fn(Arc<str>) -> Stop) -> Result<(), Stop> {
    link.skipped.set(true);
    match link.on_error {
        OnError::Skip => Ok(()),
        OnError::Deny => Err(stop(link.filter.name())),
    }
}

impl Link {
    /// Whether its instance is the one that knows the context.
    fn is_alive(&self) -> bool {
        self.filter.live.borrow_mut().vm().is_some_and(|vm| vm.id() == self.asked.instance)
    }

    fn holds(&self, direction: Direction) -> Option<Instant> {
        self.holds[direction as usize].get()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for link in self.links.borrow().iter().filter(|link| link.is_alive()) {
            link.filter.with(|vm| vm.close(link.asked.context));
        }
    }
}
