//! One request and its response: each step has its line here.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{HOST, HeaderValue};
use http::{Method, Response, request};

use super::body::RequestBody;
use super::record::Record;
use super::respond::{Code, Failure};
use super::response::ResponseBody;
use super::upstream_call::{self, Target};
use super::worker::Worker;
use super::{Settings, deadline, headers};

/// What is known of a client, for as long as its connection lasts.
pub(super) struct Client {
    /// Its address, as text.
    pub(super) address: Rc<str>,
    /// The same as a header's value.
    pub(super) header: HeaderValue,
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
    let settings = worker.settings();
    let access = settings.access_log.then_some(&client.address);
    let mut record = Record::begin(head, &worker.unknown, access);
    let is_head = head.method == Method::HEAD;
    match carry(worker, &settings, head, body, client, &mut record).await {
        Ok((answer, timer)) => {
            let (head, (source, upstream)) = answer.into_parts();
            Response::from_parts(head, ResponseBody::new(source, record, timer, upstream))
        }
        Err(failure) => {
            let (response, text) = failure.answer(record.grpc);
            record.refused(failure.label(), response.status());
            tracing::debug!(client = %client.address, %failure, "call not carried");
            response.map(|()| ResponseBody::text(if is_head { bytes::Bytes::new() } else { text }))
        }
    }
}

async fn carry(
    worker: &Rc<Worker>,
    settings: &Settings,
    head: &mut request::Parts,
    body: &mut RequestBody,
    client: &Client,
    record: &mut Record,
) -> Result<(upstream_call::Answer, upstream_call::Timer), Failure> {
    check(head, settings)?;
    let authority = headers::authority(head);
    let matched = settings.router.route(authority, head.uri.path(), &head.headers)?;
    let service = worker.service(matched.service).or_else(|failure| match matched.lower_case() {
        Some(name) => worker.service(&name),
        None => Err(failure),
    })?;
    record.routed(service.slot.service(), &service.stats);
    let limit = matched.timeout.or(service.settings.timeout);
    let by = deadline::of(&head.headers, limit, record.started)
        .map_err(|_| Failure::BadRequest("`grpc-timeout` must be 1 to 8 digits and one of H, M, S, m, u, n"))?;
    let subset = matched.subset.and_then(|id| settings.router.subset(id));
    headers::to_upstream(head, &client.header);
    let target = Target { worker, settings, service: &service, subset, by };
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

fn check(head: &request::Parts, settings: &Settings) -> Result<(), Failure> {
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
