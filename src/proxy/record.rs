//! The last step of every exchange: counters and the access record. It is a guard, so that it runs whatever happened.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, Method, StatusCode, Uri, request};
use tokio::time::Instant;

use super::headers;
use super::respond::GRPC_STATUS;
use super::service::{Picked, Service};
use super::stats::ServiceStats;
use crate::balance::Outcome;
use crate::health::Outlier;

/// What is known of one exchange so far. When it is dropped, the exchange is over.
pub(super) struct Record {
    pub(super) started: Instant,
    pub(super) grpc: bool,
    stats: Arc<ServiceStats>,
    /// The endpoint of the last attempt.
    endpoint: Option<Picked>,
    status: StatusCode,
    grpc_status: Option<u32>,
    /// A dropped record that nobody ended means that the client went away.
    outcome: &'static str,
    access: Option<Box<Access>>,
    /// Whoever wants to hear how it ended.
    listener: Option<Rc<Service>>,
}

/// What the access log says beyond the counters.
struct Access {
    client: Rc<str>,
    method: Method,
    authority: Box<str>,
    uri: Uri,
    service: Option<Arc<str>>,
}

impl Record {
    /// Begins an exchange. `unknown` counts it until its service is known.
    pub(super) fn begin(head: &request::Parts, unknown: &Arc<ServiceStats>, access: Option<&Rc<str>>) -> Self {
        Record {
            started: Instant::now(),
            grpc: headers::is_grpc(&head.headers),
            stats: unknown.clone(),
            endpoint: None,
            status: StatusCode::OK,
            grpc_status: None,
            outcome: "cancelled",
            listener: None,
            access: access.map(|client| {
                let (method, uri) = (head.method.clone(), head.uri.clone());
                let authority = headers::authority(head).unwrap_or_default().into();
                Box::new(Access { client: client.clone(), method, authority, uri, service: None })
            }),
        }
    }

    /// The service is known.
    pub(super) fn routed(&mut self, service: &Rc<Service>) {
        self.stats = service.stats.clone();
        self.listener = service.wants_results().then(|| service.clone());
        let service = service.slot.service();
        if let Some(access) = &mut self.access {
            access.service = Some(service.clone());
        }
    }

    /// An attempt at this endpoint begins, and any earlier one is over.
    pub(super) fn attempt(&mut self, endpoint: Picked) {
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(earlier) = self.endpoint.replace(endpoint) {
            earlier.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The endpoint answered with this head.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = status;
        self.status_in(headers);
    }

    /// Takes note of a `grpc-status` in a head or in trailers.
    pub(super) fn status_in(&mut self, headers: &HeaderMap) {
        if self.grpc
            && let Some(status) = headers.get(GRPC_STATUS)
        {
            self.grpc_status = status.to_str().ok().and_then(|status| status.parse().ok()).or(Some(2));
        }
    }

    /// Whether the head of the answer is a failure of the endpoint: a gRPC status that counts as one, or 502, 503, 504.
    pub(super) fn is_failure(&self, outlier: &Outlier) -> bool {
        match self.grpc_status {
            Some(status) => outlier.is_failure(status),
            None => matches!(self.status.as_u16(), 502..=504),
        }
    }

    /// The gRPC status, if one came.
    pub(super) fn grpc_status(&self) -> Option<u32> {
        self.grpc_status
    }

    /// The endpoint at which the exchange is.
    pub(super) fn endpoint(&self) -> Option<&Picked> {
        self.endpoint.as_ref()
    }

    /// The exchange came to this end.
    pub(super) fn end(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    /// The proxy answered this itself.
    pub(super) fn refused(&mut self, outcome: &'static str, status: StatusCode) {
        self.outcome = outcome;
        self.status = status;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.stats.count(self.outcome);
        self.stats.latency.record(took);
        if let Some(endpoint) = &self.endpoint {
            endpoint.state.in_flight.fetch_sub(1, Ordering::Relaxed);
            match self.grpc_status {
                Some(status) => endpoint.state.statuses.record_grpc(status),
                None if self.outcome == "answered" => endpoint.state.statuses.record_http(self.status),
                None => {}
            }
            if let Some(listener) = &self.listener {
                let status = match self.grpc_status {
                    Some(status) => i32::try_from(status).unwrap_or(2),
                    None if self.outcome == "answered" => i32::from(self.status.as_u16()),
                    None => -1,
                };
                listener.result(endpoint, &Outcome { status, took });
            }
        }
        if let Some(access) = &self.access {
            tracing::info!(
                target: "waypost::access",
                client = %access.client,
                method = %access.method,
                authority = &*access.authority,
                path = access.uri.path(),
                service = access.service.as_deref().unwrap_or_default(),
                endpoint = self.endpoint.as_ref().map_or("", |e| &*e.label),
                status = self.status.as_u16(),
                grpc_status = self.grpc_status,
                outcome = self.outcome,
                took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            );
        }
    }
}
