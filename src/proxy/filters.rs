//! Filters in this plane: which ones an exchange passes, and how its heads and bodies are shown to them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TE};
use http::{HeaderMap, HeaderValue, Request, Response, request, response};
use http_body::Frame;
use send_wrapper::SendWrapper;

use super::body::{Filtered, Passed, RequestBody, Source};
use super::exchange::Client;
use super::respond::{self, Failure};
use super::service::Service;
use super::worker::Worker;
use super::{Settings, headers};
use crate::balance::Call;
use crate::route::{self, OnError, Subset};
use crate::wasm::{Bound, CallOut, Callout, Chain, Direction, Exchange, Facts, Filter, Prepared, Stop, Use};

/// The subsets that filters ask for, of one service and worker, that are kept at a time.
const SUBSETS: u64 = 64;

/// The filters of one worker.
#[derive(Default)]
pub(super) struct Filters {
    /// Those that every exchange passes.
    pub(super) global: Links,
    /// Those of routes, by their place in the router.
    pub(super) chains: Vec<Links>,
    all: HashMap<*const Bound, Rc<Filter>>,
}

/// Filters in their order, with what becomes of an exchange when one fails.
type Links = Vec<(Rc<Filter>, OnError)>;

impl Filters {
    /// The filters of these settings. Those that were there before are kept.
    pub(super) fn new(settings: &Settings, old: &Filters, worker: &Weak<Worker>) -> Filters {
        let mut all = HashMap::new();
        let mut filter = |wanted: &route::Filter| {
            let bound = bound(&settings.modules, wanted)?;
            let key = Arc::as_ptr(bound);
            let make = || Filter::new(bound.clone(), call_out(worker.clone()));
            let filter = all.entry(key).or_insert_with(|| old.all.get(&key).cloned().unwrap_or_else(make));
            Some((filter.clone(), wanted.on_error))
        };
        let global = settings.filters.iter().filter_map(&mut filter).collect();
        let chains = settings.router.chains();
        let chains = chains.iter().map(|chain| chain.iter().filter_map(&mut filter).collect()).collect();
        Filters { global, chains, all }
    }
}

fn bound<'a>(modules: &'a Prepared, wanted: &route::Filter) -> Option<&'a Arc<Bound>> {
    modules.get(&Use { module: wanted.module.clone(), config: wanted.config.clone() })
}

/// Begins the chain of an exchange.
pub(super) fn begin(settings: &Settings, client: &Client, started: std::time::Instant) -> Rc<Chain> {
    let facts = Facts::new(client.peer, client.local, started);
    Rc::new(Chain::new(Exchange::new(facts), settings.wasm.pause_timeout, settings.wasm.buffer_limit as usize))
}

/// Adds filters to the chain, and shows them the request's head.
pub(super) async fn request(
    chain: &Chain,
    filters: &[(Rc<Filter>, OnError)],
    head: &mut request::Parts,
    end: bool,
) -> Result<(), Stop> {
    let first = chain.len();
    chain.join(filters)?;
    let length = head.headers.get(CONTENT_LENGTH).cloned();
    let empty = Request::new(()).into_parts().0;
    chain.exchange().request = Some(std::mem::replace(head, empty));
    let passed = chain.head(Direction::Request, first, end).await;
    // The filters may want to look at it again when the response comes.
    if let Some(request) = &chain.exchange().request {
        *head = request.clone();
    }
    // `connection` names it, and it is for us to say what becomes of it.
    let te = head.headers.remove(TE);
    frame(&mut head.headers, length);
    if let Some(te) = te {
        head.headers.insert(TE, te);
    }
    passed
}

/// How a body is framed is for the proxy to say: a filter that says otherwise could have two requests made of one.
fn frame(headers: &mut HeaderMap, length: Option<HeaderValue>) {
    headers::strip_hop_by_hop(headers);
    match length {
        Some(length) => drop(headers.insert(CONTENT_LENGTH, length)),
        None => drop(headers.remove(CONTENT_LENGTH)),
    }
}

/// Whether the filters of a route ask for routing to be run again.
pub(super) fn reroutes(chain: &Chain) -> bool {
    let exchange = chain.exchange();
    exchange.reroute || exchange.service.is_some()
}

/// What filters ask for beyond the service.
#[derive(Default)]
pub(super) struct Wishes {
    /// Some of its instances, with a place among subsets.
    pub(super) subset: Option<(usize, Subset)>,
    /// One of them, by its address.
    pub(super) endpoint: Option<String>,
}

/// What the filters asked for.
pub(super) fn wishes(chain: &Chain, service: &Service) -> Wishes {
    let mut exchange = chain.exchange();
    exchange.facts.service = service.slot.service().clone();
    let subset = (exchange.subset != Subset::default()).then(|| exchange.subset.clone());
    let subset = subset.map(|subset| {
        let mut hasher = DefaultHasher::new();
        subset.hash(&mut hasher);
        // Places of the router count from 0. Two that meet in one place take turns in it.
        (usize::MAX - (hasher.finish() % SUBSETS) as usize, subset)
    });
    Wishes { subset, endpoint: exchange.endpoint.clone() }
}

/// Puts the filters between the client and the request's body, if one looks at it.
pub(super) fn request_body(chain: &Rc<Chain>, head: &mut request::Parts, body: &mut RequestBody) {
    use http_body::Body;
    if !body.is_end_stream() && chain.wants_body(Direction::Request) {
        // What comes out may be of another length.
        head.headers.remove(CONTENT_LENGTH);
        body.filter(|source| through(chain.clone(), Direction::Request, source));
    }
}

/// Shows the filters the head of the response, and puts them between its body and the client. What one of them answers
/// takes the response's place.
pub(super) async fn response(
    chain: &Rc<Chain>,
    head: response::Parts,
    source: Source,
    grpc: bool,
    is_head: bool,
) -> (response::Parts, Source, Option<Failure>) {
    let end = source.is_end_stream();
    let length = head.headers.get(CONTENT_LENGTH).cloned();
    chain.exchange().response = Some(head);
    let passed = chain.head(Direction::Response, 0, end).await;
    if let Err(stop) = passed {
        let failure = Failure::Filter(stop);
        let (answer, text) = answer(chain, &failure, grpc);
        return (answer.into_parts().0, full(if is_head { Bytes::new() } else { text }), Some(failure));
    }
    let shown = chain.exchange().response.clone();
    let mut head = shown.unwrap_or_else(|| Response::new(()).into_parts().0);
    frame(&mut head.headers, length);
    if end || !chain.wants_body(Direction::Response) {
        return (head, source, None);
    }
    head.headers.remove(CONTENT_LENGTH);
    (head, through(chain.clone(), Direction::Response, source), None)
}

/// What a caller is told in place of a response.
pub(super) fn answer(chain: &Chain, failure: &Failure, grpc: bool) -> (Response<()>, Bytes) {
    let local = match failure {
        Failure::Filter(Stop::Answered(_)) => chain.exchange().local.take(),
        _ => None,
    };
    local.map_or_else(|| failure.answer(grpc), |local| respond::local(local, grpc))
}

/// A body that is there whole.
pub(super) fn full(text: Bytes) -> Source {
    if text.is_empty() { Source::Empty } else { Source::Full(text) }
}

/// Shows the filters a body as it is read, and gives what they let through.
fn through(chain: Rc<Chain>, direction: Direction, source: Source) -> Source {
    let passed = Passed::default();
    let put = passed.clone();
    let filtered = Filtered::new(passed, async move {
        if let Err(stop) = show(&chain, direction, source, &put).await {
            if direction == Direction::Request {
                chain.stop(stop.clone());
            }
            put.put((Err(stop.into()), true)).await;
        }
    });
    // HTTP/1.1 connections want bodies that could change threads; those of a worker never do.
    Source::Filtered(SendWrapper::new(Box::new(filtered)))
}

async fn show(chain: &Chain, direction: Direction, mut source: Source, passed: &Passed) -> Result<(), Stop> {
    let send = async |frame: Frame<Bytes>, last| passed.put((Ok(frame), last)).await;
    loop {
        let next = poll_fn(|cx| source.poll_frame(cx));
        let frame = tokio::select! {
            biased;
            released = chain.released(direction, false), if chain.holds(direction) => {
                if let Some(data) = released?.filter(|data| !data.is_empty()) {
                    send(Frame::data(data), false).await;
                }
                continue;
            }
            frame = next => frame,
        };
        let (data, end) = match frame {
            None => (Bytes::new(), true),
            Some(Err(error)) => {
                passed.put((Err(error), true)).await;
                return Ok(());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => (data, source.is_end_stream()),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return end_with(chain, direction, trailers, send).await;
                }
            },
        };
        count(chain, direction, data.len());
        let mut out = chain.body(direction, data, end).await?;
        while end && chain.holds(direction) {
            if let Some(data) = out.filter(|data| !data.is_empty()) {
                send(Frame::data(data), false).await;
            }
            out = chain.released(direction, true).await?;
        }
        if end {
            send(Frame::data(out.unwrap_or_default()), true).await;
            return Ok(());
        }
        if let Some(data) = out.filter(|data| !data.is_empty()) {
            send(Frame::data(data), false).await;
        }
    }
}

async fn end_with(
    chain: &Chain,
    direction: Direction,
    trailers: HeaderMap,
    send: impl AsyncFn(Frame<Bytes>, bool),
) -> Result<(), Stop> {
    *place(&mut chain.exchange(), direction) = Some(trailers);
    let data = chain.trailers(direction).await?;
    if !data.is_empty() {
        send(Frame::data(data), false).await;
    }
    let trailers = place(&mut chain.exchange(), direction).clone().unwrap_or_default();
    send(Frame::trailers(trailers), true).await;
    Ok(())
}

fn place(exchange: &mut Exchange, direction: Direction) -> &mut Option<HeaderMap> {
    match direction {
        Direction::Request => &mut exchange.request_trailers,
        Direction::Response => &mut exchange.response_trailers,
    }
}

fn count(chain: &Chain, direction: Direction, bytes: usize) {
    let facts = &mut chain.exchange().facts;
    match direction {
        Direction::Request => facts.request_bytes += bytes as u64,
        Direction::Response => facts.response_bytes += bytes as u64,
    }
}

/// Makes calls for modules: to an endpoint that the service's own picker gives.
fn call_out(worker: Weak<Worker>) -> CallOut {
    Rc::new(move |callout: &Callout| {
        let (callout, worker) = (callout.clone(), worker.clone());
        Box::pin(async move {
            let worker = worker.upgrade()?;
            let service = worker.service(&callout.service).ok()?;
            let picked = service.pick(None, &[], Call::default()).ok()?;
            callout.carry(&picked, &service.settings.upstream, &worker.pool).await
        })
    })
}

/// How often a module that picks is asked what it wants: to be called from time to time, or calls to be made.
const PERIOD: Duration = Duration::from_secs(1);
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

/// Calls a module that picks as often as it wants, and makes its calls, for as long as its service is there.
pub(super) async fn keep_ticking(service: Weak<Service>, worker: Weak<Worker>) {
    let call_out = call_out(worker);
    while let Some(period) = service.upgrade().map(|service| service.period()) {
        tokio::time::sleep(period.unwrap_or(PERIOD).clamp(SHORTEST_PERIOD, PERIOD)).await;
        let Some(ticked) = service.upgrade().map(|service| service.tick()) else { return };
        for (place, callout) in ticked {
            let (reply, service) = (call_out(&callout), service.clone());
            tokio::task::spawn_local(async move {
                let reply = reply.await;
                if let Some(service) = service.upgrade() {
                    service.reply(place, &callout, reply);
                }
            });
        }
    }
}
