//! One request and its response as the filters on their way see and change them. All filters of an exchange share one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, request, response};
use tokio::sync::Notify;

use crate::route::Subset;

/// The two ways through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the endpoint.
    Request,
    /// And back.
    Response,
}

/// What a filter answers in the endpoint's place.
#[derive(Debug, Clone, Default)]
pub struct LocalResponse {
    /// The HTTP status.
    pub status: u16,
    /// Why, for logs.
    pub details: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The gRPC status; `None` if the HTTP status is to tell it.
    pub grpc_status: Option<u32>,
}

/// What is known of an exchange beside its heads and bodies.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
    /// When the request came.
    pub started: Instant,
    /// The same by the calendar.
    pub time: SystemTime,
    /// The service; empty until it is known.
    pub service: Arc<str>,
    /// The endpoint that takes the call; empty before.
    pub endpoint: Arc<str>,
    /// How it ended, as in metrics; empty before.
    pub outcome: &'static str,
    /// Bytes of the request's body so far.
    pub request_bytes: u64,
    /// Bytes of the response's body so far.
    pub response_bytes: u64,
    /// The gRPC status, once it is known.
    pub grpc_status: Option<u32>,
}

impl Facts {
    /// An exchange of which no more is known yet.
    pub fn new(source: SocketAddr, destination: SocketAddr, started: Instant) -> Facts {
        Facts {
            source,
            destination,
            started,
            time: SystemTime::now(),
            service: "".into(),
            endpoint: "".into(),
            outcome: "",
            request_bytes: 0,
            response_bytes: 0,
            grpc_status: None,
        }
    }

    /// Facts of nothing in particular, for trying modules out.
    pub fn example() -> Facts {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        Facts::new(nobody, nobody, tokio::time::Instant::now().into_std())
    }
}

/// What filters see and change.
#[derive(Debug)]
pub struct Exchange {
    /// The request's head.
    pub request: Option<request::Parts>,
    /// The response's, once there is one.
    pub response: Option<response::Parts>,
    /// What ends the request's body.
    pub request_trailers: Option<HeaderMap>,
    /// What ends the response's.
    pub response_trailers: Option<HeaderMap>,
    /// The part of the request's body that is at the filters now.
    pub request_body: BytesMut,
    /// The part of the response's.
    pub response_body: BytesMut,
    /// A filter answered.
    pub local: Option<LocalResponse>,
    /// A filter wants the exchange ended without an answer.
    pub closed: bool,
    /// A filter made more of a body than is kept.
    pub(super) too_large: bool,
    /// Who said to go on, by direction. It counts for a pause of its own only: one filter does not end another's.
    resumed: [Vec<Asked>; 2],
    /// Whose answer was none that can be sent.
    refused: Vec<Asked>,
    /// What filters hold of bodies, by direction.
    held: [Vec<(Asked, BytesMut)>; 2],
    /// Routing is to be run again.
    pub reroute: bool,
    /// The service that a filter named.
    pub service: Option<String>,
    /// The instances that a filter asked for.
    pub subset: Subset,
    /// The endpoint that a filter asked for, as host and port.
    pub endpoint: Option<String>,
    /// Properties that filters set, by path.
    pub(super) properties: HashMap<Vec<u8>, Bytes>,
    /// All else.
    pub facts: Facts,
}

impl Exchange {
    /// An exchange of which nothing but these facts is known.
    pub fn new(facts: Facts) -> Self {
        Exchange {
            request: None,
            response: None,
            request_trailers: None,
            response_trailers: None,
            request_body: BytesMut::new(),
            response_body: BytesMut::new(),
            local: None,
            closed: false,
            too_large: false,
            resumed: Default::default(),
            refused: Vec::new(),
            held: Default::default(),
            reroute: false,
            service: None,
            subset: Subset::default(),
            endpoint: None,
            properties: HashMap::new(),
            facts,
        }
    }
}

impl Exchange {
    /// A filter says to go on.
    pub(super) fn resume(&mut self, direction: Direction, who: Asked) {
        let resumed = &mut self.resumed[direction as usize];
        if !resumed.contains(&who) {
            resumed.push(who);
        }
    }

    /// Whether it did since this was asked last.
    pub(super) fn take_resumed(&mut self, direction: Direction, who: Asked) -> bool {
        let resumed = &mut self.resumed[direction as usize];
        let found = resumed.iter().position(|by| *by == who);
        found.map(|at| resumed.swap_remove(at)).is_some()
    }
}

impl Exchange {
    /// A filter gave an answer that cannot be sent.
    pub(super) fn refuse(&mut self, who: Asked) {
        if !self.refused.contains(&who) {
            self.refused.push(who);
        }
    }

    /// Whether it did since this was asked last.
    pub(super) fn take_refused(&mut self, who: Asked) -> bool {
        let found = self.refused.iter().position(|by| *by == who);
        found.map(|at| self.refused.swap_remove(at)).is_some()
    }
}

impl Exchange {
    /// Keeps what a filter holds of a body.
    pub(super) fn hold(&mut self, direction: Direction, who: Asked, data: BytesMut) {
        self.held[direction as usize].push((who, data));
    }

    /// Takes what it holds, which is nothing if it holds nothing.
    pub(super) fn take_held(&mut self, direction: Direction, who: Asked) -> BytesMut {
        let held = &mut self.held[direction as usize];
        let found = held.iter().position(|(by, _)| *by == who);
        found.map(|at| held.swap_remove(at).1).unwrap_or_default()
    }

    /// The body as that filter sees it: what it holds, or else what is being shown.
    pub(super) fn body(&mut self, direction: Direction, who: Asked) -> &mut BytesMut {
        match self.held[direction as usize].iter().position(|(by, _)| *by == who) {
            Some(at) => &mut self.held[direction as usize][at].1,
            None if direction == Direction::Request => &mut self.request_body,
            None => &mut self.response_body,
        }
    }
}

/// One filter as an exchange meets it: an instance, and the context that the exchange has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) instance: u64,
    pub(super) context: u32,
}

/// An exchange that instances on one thread share. The lock is never contended, and never held while a module runs; it
/// is there because instances are made on other threads than they are used on.
#[derive(Debug)]
pub struct Shared {
    exchange: Mutex<Exchange>,
    woken: [Notify; 2],
}

impl Shared {
    /// Shares an exchange.
    pub fn new(exchange: Exchange) -> Arc<Self> {
        Arc::new(Shared { exchange: Mutex::new(exchange), woken: Default::default() })
    }

    /// Looks at it.
    pub fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever waits in this direction look again.
    pub(super) fn wake(&self, direction: Direction) {
        self.woken[direction as usize].notify_one();
    }

    pub(super) async fn woken(&self, direction: Direction) {
        self.woken[direction as usize].notified().await;
    }
}
