//! One request and its response: each step has its line here.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body::Body;

use super::body::{RequestBody, Source};
use super::record::Record;
use super::respond::{Code, Failure};
use super::response::ResponseBody;
use super::service::Service;
use super::upstream_call::{self, Target};
use super::worker::{Current, Worker};
use super::{Settings, deadline, filters, headers};
use crate::http2::TooLarge;
use crate::route::{Fallback, SubsetChoice};
use crate::wasm::Chain;

/// What is known of a client, for as long as its connection lasts.
pub(super) struct Client {
    /// Its address, as text.
    pub(super) address: Rc<str>,
    /// The same as a header's value.
    pub(super) header: HeaderValue,
    /// The same with its port.
    pub(super) peer: SocketAddr,
    /// Where it connected to.
    pub(super) local: SocketAddr,
}

/// Carries one request to an endpoint and gives the response, or says why it can't be done. Dropping the future
/// cancels the call at the endpoint at once. The request is lent, not given, because each move of one future into
/// another costs every call a copy of all that it holds.
pub(super) async fn handle(
    worker: &Rc<Worker>,
    head: &mut request::Parts,
    body: &mut RequestBody,
    client: &Client,
) -> Response<ResponseBody> {
    let current = worker.settings();
    let access = current.access_log.then_some(&client.address);
    let mut record = Record::begin(head, &worker.unknown, access);
    let is_head = head.method == Method::HEAD;
    let mut chain = None;
    let carried = carry(worker, &current, head, body, client, &mut record, &mut chain).await;
    if let Err(failure) = &carried {
        tracing::debug!(client = %client.address, %failure, "call not carried");
    }
    if let Some(chain) = chain {
        return Box::pin(filtered(chain, carried, record, is_head)).await;
    }
    match carried {
        Ok((answer, timer)) => {
            let (head, (source, upstream)) = answer.into_parts();
            let source = with_body(is_head, head.status, source);
            Response::from_parts(head, ResponseBody::new(source, record, timer, upstream, None))
        }
        Err(failure) => {
            let (response, text) = failure.answer(record.grpc);
            record.refused(failure.label(), response.status());
            response.map(|()| ResponseBody::own(filters::full(if is_head { Bytes::new() } else { text }), None))
        }
    }
}

async fn carry(
    worker: &Rc<Worker>,
    settings: &Current,
    head: &mut request::Parts,
    body: &mut RequestBody,
    client: &Client,
    record: &mut Record,
    chain: &mut Option<Rc<Chain>>,
) -> Result<(upstream_call::Answer, upstream_call::Timer), Failure> {
    check(head, settings)?;
    if !settings.chains.global.is_empty() {
        let chain = chain.insert(filters::begin(settings, client, record.started.into_std()));
        Box::pin(filters::request(chain, &settings.chains.global, head, body.is_end_stream())).await?;
    }
    let mut routed = route(worker, settings, head, chain.as_deref())?;
    if let Some(own) = routed.chain.and_then(|place| settings.chains.chains.get(place)) {
        let chain = chain.get_or_insert_with(|| filters::begin(settings, client, record.started.into_std()));
        chain.exchange().reroute = false;
        Box::pin(filters::request(chain, own, head, body.is_end_stream())).await?;
        if filters::reroutes(chain) {
            routed = route(worker, settings, head, Some(chain))?;
        }
    }
    let service = routed.service?;
    record.routed(&service);
    if service.via.is_loop(&head.headers) {
        return Err(Failure::Loop(service.slot.service().to_string()));
    }
    let limit = routed.timeout.or(service.settings.timeout);
    let by = deadline::of(&head.headers, limit, record.started)
        .map_err(|_| Failure::BadRequest("`grpc-timeout` must be 1 to 8 digits and one of H, M, S, m, u, n"))?;
    let wishes = chain.as_ref().map(|chain| filters::wishes(chain, &service)).unwrap_or_default();
    let subset = match &wishes.subset {
        Some((id, subset)) => Some(SubsetChoice { id: *id, subset, fallback: Fallback::Any }),
        None => routed.subset.and_then(|id| settings.router.subset(id)),
    };
    let hash = service.settings.hash_header.as_ref().map_or(0, |name| headers::hash(&head.headers, name));
    headers::to_upstream(head, &client.header, &service.via);
    if let Some(chain) = chain {
        filters::request_body(chain, head, body);
    }
    let target = Target { worker, settings, service: &service, subset, by, hash, endpoint: wishes.endpoint };
    let started = record.started;
    let mut timer = by.map(|by| Box::pin(tokio::time::sleep_until(by)));
    let answer = {
        let mut call = pin!(upstream_call::run(target, head, body, record));
        let answer = poll_fn(|cx| match (call.as_mut().poll(cx), &mut timer) {
            (Poll::Pending, Some(timer)) => timer.as_mut().poll(cx).map(|()| Err(Failure::Deadline(started.elapsed()))),
            (answer, _) => answer,
        });
        answer.await
    };
    if let (Err(Failure::Deadline(_)), Some(picked)) = (&answer, record.endpoint())
        && service.settings.health.outlier.is_failure(Code::DeadlineExceeded as u32)
    {
        upstream_call::failed(&service, settings, picked, false);
    }
    Ok((answer?, timer))
}

/// The body, where a response may have one: RFC 9110 section 6.4.1. What an endpoint or a filter sends all the same would be
/// an error over HTTP/2.
fn with_body(is_head: bool, status: StatusCode, source: Source) -> Source {
    let has_none = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none && !source.is_end_stream() { Source::Empty } else { source }
}

/// Where a request goes.
struct Routed {
    service: Result<Rc<Service>, Failure>,
    subset: Option<usize>,
    timeout: Option<Duration>,
    chain: Option<usize>,
}

/// Finds the service: the one that a filter named, or the one that the routes lead to.
fn route(
    worker: &Worker,
    settings: &Settings,
    head: &request::Parts,
    chain: Option<&Chain>,
) -> Result<Routed, Failure> {
    if let Some(name) = chain.and_then(|chain| chain.exchange().service.clone()) {
        return Ok(Routed { service: worker.service(&name), subset: None, timeout: None, chain: None });
    }
    let matched = settings.router.route(headers::authority(head), head.uri.path(), &head.headers)?;
    let service = worker.service(matched.service).or_else(|failure| match matched.lower_case() {
        Some(name) => worker.service(&name),
        None => Err(failure),
    });
    Ok(Routed { service, subset: matched.subset, timeout: matched.timeout, chain: matched.chain })
}

/// Shows the filters what came of it, be it a response or a failure.
async fn filtered(
    chain: Rc<Chain>,
    carried: Result<(upstream_call::Answer, upstream_call::Timer), Failure>,
    mut record: Record,
    is_head: bool,
) -> Response<ResponseBody> {
    let grpc = record.grpc;
    let (head, source, failure, upstream) = match carried {
        Ok((answer, timer)) => {
            if let Some(endpoint) = record.endpoint() {
                chain.exchange().facts.endpoint = endpoint.label.clone();
            }
            let (head, (source, upstream)) = answer.into_parts();
            let (head, source, failure) = filters::response(&chain, head, source, grpc, is_head).await;
            (head, source, failure, Some((upstream, timer)))
        }
        Err(failure) => {
            // That the body broke off is what it looked like from the other side.
            let failure = chain.stopped().map_or(failure, Failure::Filter);
            let (answer, text) = filters::answer(&chain, &failure, grpc);
            let source = filters::full(if is_head { Bytes::new() } else { text });
            let (head, source, second) = filters::response(&chain, answer.into_parts().0, source, grpc, is_head).await;
            (head, source, Some(second.unwrap_or(failure)), None)
        }
    };
    let source = with_body(is_head, head.status, source);
    match (failure, upstream) {
        (None, Some((upstream, timer))) => {
            Response::from_parts(head, ResponseBody::new(source, record, timer, upstream, Some(chain)))
        }
        (failure, _) => {
            let label = failure.map_or("filter", |failure| failure.label());
            record.refused(label, head.status);
            chain.exchange().facts.outcome = label;
            Response::from_parts(head, ResponseBody::own(source, Some(chain)))
        }
    }
}

fn check(head: &request::Parts, settings: &Settings) -> Result<(), Failure> {
    if head.extensions.get::<TooLarge>().is_some() {
        return Err(Failure::TooManyBytes(settings.config.limits.max_header_bytes));
    }
    let most = settings.config.max_header_fields;
    if head.headers.len() > most {
        return Err(Failure::TooManyFields(head.headers.len(), most));
    }
    if head.method == Method::CONNECT {
        return Err(Failure::BadRequest("CONNECT is not carried: call the service by its name instead"));
    }
    // RFC 9112 sections 3.2 and 3.2.3: what could be read in two ways is not read at all.
    if head.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Failure::BadRequest("it has more than one `Host`"));
    }
    if head.uri.authority().is_some() && head.uri.scheme().is_none() {
        return Err(Failure::BadRequest("its target is neither a path nor a whole URL"));
    }
    Ok(())
}
