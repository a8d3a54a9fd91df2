//! The middle of an exchange: pick an endpoint, send the request there, wait for the head of its response. What an
//! endpoint provably did not process is sent to another one; nothing else is.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Response, request};
use tokio::time::{Instant, Sleep};

use super::Settings;
use super::attempt::{self, Setback};
use super::body::{RequestBody, Source};
use super::record::Record;
use super::respond::Failure;
use super::response::Upstream;
use super::service::{MOST_TRIED, NotThere, Nothing, Picked, Service};
use super::worker::Worker;
use crate::balance::Call;
use crate::registry::Protocol;
use crate::route::{Fallback, SubsetChoice};
use crate::table::EndpointId;
use crate::telemetry::add;
use crate::upstream::ConnectError;

/// A response's head, where its body comes from, and what is held of the endpoint meanwhile.
pub(super) type Answer = Response<(Source, Upstream)>;

/// Runs until the deadline of a call, if it has one.
pub(super) type Timer = Option<Pin<Box<Sleep>>>;

/// Where a request is to go.
pub(super) struct Target<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) settings: &'a Settings,
    pub(super) service: &'a Rc<Service>,
    pub(super) subset: Option<SubsetChoice<'a>>,
    pub(super) by: Option<Instant>,
    /// For policies: made of the header that the service's configuration names.
    pub(super) hash: u64,
    /// The endpoint that a filter asked for.
    pub(super) endpoint: Option<String>,
}

/// Sends the request to one endpoint after the other until one has taken it.
pub(super) async fn run(
    target: Target<'_>,
    head: &request::Parts,
    body: &mut RequestBody,
    record: &mut Record,
) -> Result<Answer, Failure> {
    let mut tried = [EndpointId(0); MOST_TRIED];
    let mut count = 0;
    let mut last = None;
    for attempt in 0..MOST_TRIED {
        let picked = match target.pick(&tried[..count], attempt) {
            Ok(picked) => picked,
            // Whoever refused a call for being too many may take it now.
            Err(Nothing::AllTried) if matches!(last, Some(Failure::Refused(_))) => {
                count = 0;
                target.pick(&[], attempt).map_err(|nothing| target.nothing(nothing))?
            }
            Err(Nothing::AllTried) => break,
            Err(nothing) => return Err(target.nothing(nothing)),
        };
        if attempt > 0 {
            add(&target.service.stats.retries, 1);
        }
        record.attempt(picked.clone());
        let failure = match attempt::run(&target, &picked, head, body, record.grpc).await {
            Ok(answer) => {
                record.answered(answer.status(), answer.headers());
                target.judge(&picked, record);
                return Ok(answer);
            }
            Err(Setback::Fatal(failure)) => {
                if failure.is_endpoints_fault() {
                    failed(target.service, target.settings, &picked, false);
                }
                return Err(failure);
            }
            Err(Setback::Closed) => target.refused(),
            Err(Setback::Refused) => {
                tried[count] = picked.id;
                count += 1;
                target.refused()
            }
            Err(Setback::Connect(error)) => {
                tried[count] = picked.id;
                count += 1;
                target.unreachable(&picked, &error, record.grpc)
            }
        };
        if !body.can_rewind() {
            return Err(failure);
        }
        last = Some(failure);
        body.rewind();
    }
    Err(last.unwrap_or_else(|| target.refused()))
}

/// Notes that a call failed through the endpoint's fault, and raises the alarm if it does so again and again.
pub(super) fn failed(service: &Service, settings: &Settings, picked: &Picked, answered: bool) {
    let row = picked.state.call_failed(answered);
    let most = service.settings.health.outlier.consecutive;
    // Again now and then, should it not have been ejected because too many were.
    if most > 0 && row.is_multiple_of(most) {
        settings.health.alarm(service.slot.service());
    }
}

impl Target<'_> {
    pub(super) fn name(&self) -> String {
        self.service.slot.service().to_string()
    }

    fn refused(&self) -> Failure {
        Failure::Refused(self.name())
    }

    fn nothing(&self, nothing: Nothing) -> Failure {
        match nothing {
            Nothing::EmptySubset => Failure::NoSubset(self.name()),
            Nothing::Empty | Nothing::AllTried => Failure::NoInstances(self.name()),
        }
    }

    /// Notes whether the head of an answer speaks against the endpoint.
    fn judge(&self, picked: &Picked, record: &Record) {
        if record.is_failure(&self.service.settings.health.outlier) {
            failed(self.service, self.settings, picked, true);
        } else {
            picked.state.call_went_well();
        }
    }

    /// A connect failed: the endpoint is left out from now on, and the caller learns of it if there is no other.
    fn unreachable(&self, picked: &Picked, error: &Arc<ConnectError>, grpc: bool) -> Failure {
        let Service { slot, settings, .. } = &**self.service;
        tracing::debug!(service = %slot.service(), endpoint = %picked.label, %error, "cannot connect");
        failed(self.service, self.settings, picked, false);
        let known = settings.upstream.protocol.or(picked.protocol()).or(picked.state.detected());
        let may_be_web = matches!(**error, ConnectError::Http1 | ConnectError::Closed);
        match known {
            // Nobody said that it takes gRPC, and to HTTP/2 web servers answer so: for other calls it may be right.
            None | Some(Protocol::Http1) if may_be_web => picked.state.set_detected(Protocol::Http1),
            known => {
                let tried = known.or(grpc.then_some(Protocol::Http2));
                self.worker.trials.borrow_mut().connect_failed(picked, slot, &settings.upstream, tried);
            }
        }
        Failure::unreachable(slot.service(), &picked.label, error, self.settings.config.reveal_addresses)
    }

    fn pick(&self, tried: &[EndpointId], attempt: usize) -> Result<Picked, Nothing> {
        if let (Some(endpoint), 0) = (&self.endpoint, attempt) {
            match self.service.at(endpoint) {
                Ok(picked) => return Ok(picked),
                Err(NotThere) => {
                    add(&self.service.stats.unhonoured, 1);
                    let service = self.service.slot.service();
                    tracing::warn!(%service, endpoint, "a filter asked for an endpoint that is not there; another one is picked");
                }
            }
        }
        let call = Call { hash: self.hash, attempt: u32::try_from(attempt).unwrap_or(u32::MAX), tried: &[] };
        match &self.subset {
            None => self.service.pick(None, tried, call),
            Some(choice) => match self.service.pick(Some((choice.id, choice.subset)), tried, call) {
                Err(Nothing::EmptySubset) if choice.fallback == Fallback::Any => self.service.pick(None, tried, call),
                picked => picked,
            },
        }
    }
}
