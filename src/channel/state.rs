//! What the calls of a channel share, under one lock that is never held across a wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::Instant;

use crate::balance::{Balancer, Call, NoPick, Picker};
use crate::http2::RequestHead;
use crate::registry::Protocol;
use crate::table::{Endpoint, EndpointId, EndpointState, Endpoints, Slot, Table};
use crate::upstream::{self, Connecting, Pool, Ready, Sent, Trials};

/// Picker, connections and trials of one channel.
pub(super) struct State {
    balancer: Balancer,
    config: Arc<upstream::Config>,
    view: Option<View>,
    pool: Pool<Full<Bytes>>,
    trials: Trials,
}

/// The service as it was at one generation of its slot.
struct View {
    slot: Arc<Slot>,
    seen: u64,
    endpoints: Arc<Endpoints>,
    picker: Box<dyn Picker>,
}

/// How a call goes on.
pub(super) enum Next {
    /// Its stream is open.
    Sent(Box<Sent>),
    /// The connection ended just now.
    Ended(String),
    /// A connection is being made: wait, then ask again.
    Connecting(upstream::SharedConnecting),
}

impl State {
    pub(super) fn new(balancer: Balancer, config: upstream::Config) -> Self {
        State { balancer, config: Arc::new(config), view: None, pool: Pool::new(), trials: Trials::default() }
    }

    /// The endpoint for a call that has been tried at `tried` already; or why there is none, for the caller.
    pub(super) fn pick(&mut self, table: &Table, service: &str, tried: &[EndpointId]) -> Result<Endpoint, String> {
        self.refresh(table, service);
        let Some(view) = &mut self.view else {
            return Err(match table.ready() {
                true => format!("unknown service `{service}`: nothing is registered under that name"),
                false => format!("service `{service}` is not known yet: the registry has not been read"),
            });
        };
        let place = |id: &EndpointId| view.endpoints.binary_search_by_key(id, |endpoint| endpoint.id).ok();
        let positions: Vec<_> = tried.iter().filter_map(place).filter_map(|at| u32::try_from(at).ok()).collect();
        match view.picker.pick(&Call { tried: &positions, ..Call::default() }) {
            Ok(at) => Ok(view.endpoints[at as usize].clone()),
            Err(NoPick) => Err(format!("service `{service}` has no instances now: all registrations are gone")),
        }
    }

    /// Takes over what changed, and lets go of connections to what left.
    fn refresh(&mut self, table: &Table, service: &str) {
        let slot = table.slot(service);
        let is_current = |view: &View| slot.as_ref().is_some_and(|slot| Arc::ptr_eq(slot, &view.slot));
        if let Some(gone) = self.view.take_if(|view| !is_current(view)) {
            gone.endpoints.iter().for_each(|endpoint| self.pool.remove(endpoint.id));
        }
        let Some(slot) = slot else { return };
        let balancer = self.balancer;
        let view = self.view.get_or_insert_with(|| {
            let picker = balancer.picker(fastrand::u64(..));
            View { slot, seen: 0, endpoints: Arc::default(), picker }
        });
        // The generation first: then a change in between is seen again rather than missed.
        let generation = view.slot.generation();
        if view.seen != generation {
            view.seen = generation;
            let endpoints = view.slot.endpoints();
            view.picker.update(&endpoints);
            let old = std::mem::replace(&mut view.endpoints, endpoints);
            for endpoint in old.iter().filter(|endpoint| view.endpoints.get(endpoint.id).is_none()) {
                self.pool.remove(endpoint.id);
            }
        }
    }

    pub(super) fn sweep(&mut self, table: &Table, service: &str) {
        self.refresh(table, service);
        self.pool.sweep(Instant::now());
    }

    pub(super) fn wants_tls(&self, endpoint: &Endpoint) -> bool {
        self.config.wants_tls(endpoint)
    }

    /// Opens a stream to an endpoint, or says what to wait for.
    pub(super) fn next(&mut self, endpoint: &Endpoint, request: impl FnOnce() -> Request<()>, end: bool) -> Next {
        match self.pool.ready(endpoint, Protocol::Http2, &self.config) {
            Ready::Http2(connection) => match connection.send(&RequestHead::of(&request()), end) {
                Ok(sent) => Next::Sent(Box::new(sent)),
                Err(error) => Next::Ended(format!("its connection was ending: {error}")),
            },
            Ready::Connecting(Connecting::Http2(connecting)) => Next::Connecting(connecting),
            Ready::Connecting(Connecting::Http1(_)) | Ready::Http1(_) => {
                Next::Ended("it was connected to over HTTP/1.1, which gRPC cannot use".to_owned())
            }
        }
    }

    pub(super) fn connected(&self, endpoint: &Endpoint) {
        if let Some(view) = &self.view {
            Trials::connected(endpoint, &view.slot);
        }
    }

    pub(super) fn connect_failed(&mut self, endpoint: &Endpoint) {
        endpoint.state.call_failed(false);
        if let Some(view) = &self.view {
            self.trials.connect_failed(endpoint, &view.slot, &self.config, Some(Protocol::Http2));
        }
    }
}

/// Counts a call for as long as it runs.
pub(super) struct InFlight(Arc<EndpointState>);

impl InFlight {
    pub(super) fn new(state: Arc<EndpointState>) -> Self {
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(state)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
