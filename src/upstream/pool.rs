//! The connections that one worker has to endpoints. Nothing here waits: what has to wait is given out.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::http1::Home;
use super::{Config, ConnectError, Http1, Http2};
use crate::registry::Protocol;
use crate::table::{Endpoint, EndpointId};

/// The connections of one worker, by endpoint. `B` is the body of requests over HTTP/1.1.
pub struct Pool<B> {
    endpoints: HashMap<EndpointId, Connections<B>>,
}

struct Connections<B> {
    config: Arc<Config>,
    http2: Vec<Shared>,
    /// The connection that is being made, if one is; all who need one wait for it.
    pending: Option<watch::Receiver<Option<Opened>>>,
    http1: Arc<Home<B>>,
}

struct Shared {
    connection: Http2,
    idle_since: Option<Instant>,
    lifetime: Option<Duration>,
}

type Opened = Result<Http2, Arc<ConnectError>>;

/// What a pool has for a call.
pub enum Ready<'a, B> {
    /// A connection with room for a stream.
    Http2(&'a mut Http2),
    /// An idle connection.
    Http1(Http1<B>),
    /// A connection is being made: wait, then ask again.
    Connecting(Connecting<B>),
}

/// A connection being made. Dropping it gives up an HTTP/1.1 connection; one that is shared is made all the same.
pub enum Connecting<B> {
    /// Shared with all who wait for it; ask the pool again afterwards.
    Http2(SharedConnecting),
    /// For this call alone.
    Http1(OwnConnecting<B>),
}

/// Waits for a shared connection.
pub struct SharedConnecting(watch::Receiver<Option<Opened>>);

/// Opens a connection for one call.
pub struct OwnConnecting<B> {
    home: Arc<Home<B>>,
    endpoint: Endpoint,
    config: Arc<Config>,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// A pool without connections.
    pub fn new() -> Self {
        Pool { endpoints: HashMap::new() }
    }

    /// What there is for a call to this endpoint. Must run in a tokio runtime.
    pub fn ready(&mut self, endpoint: &Endpoint, protocol: Protocol, config: &Arc<Config>) -> Ready<'_, B> {
        let connections = self.endpoints.entry(endpoint.id).or_insert_with(|| Connections {
            config: config.clone(),
            http2: Vec::new(),
            pending: None,
            http1: Arc::new(Home::new(config)),
        });
        match protocol {
            Protocol::Http2 => connections.http2(endpoint),
            Protocol::Http1 => match connections.http1.take() {
                Some(idle) => Ready::Http1(idle),
                None => Ready::Connecting(Connecting::Http1(OwnConnecting {
                    home: connections.http1.clone(),
                    endpoint: endpoint.clone(),
                    config: connections.config.clone(),
                })),
            },
        }
    }

    /// Lets go of an endpoint: calls under way finish, then its connections close.
    pub fn remove(&mut self, endpoint: EndpointId) {
        self.endpoints.remove(&endpoint);
    }

    /// Lets go of all endpoints but those to keep.
    pub fn retain(&mut self, mut keep: impl FnMut(EndpointId) -> bool) {
        self.endpoints.retain(|endpoint, _| keep(*endpoint));
    }

    /// Closes what has been idle for too long, and lets go of what is too old. To be called every second or so.
    pub fn sweep(&mut self, now: Instant) {
        for connections in self.endpoints.values_mut() {
            let Connections { config, http2, http1, .. } = connections;
            http2.retain_mut(|shared| shared.keep(now, config.idle_timeout));
            http1.sweep(now, config.idle_timeout, config.lifetime);
        }
    }
}

impl<B> Default for Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn default() -> Self {
        Pool::new()
    }
}

impl<B> Connections<B> {
    fn http2(&mut self, endpoint: &Endpoint) -> Ready<'_, B> {
        if let Some(pending) = &mut self.pending {
            let opened = pending.borrow_and_update().clone();
            match opened {
                Some(Ok(connection)) => {
                    let lifetime = self.config.lifetime.map(jittered);
                    self.http2.push(Shared { connection, idle_since: None, lifetime });
                    self.pending = None;
                }
                Some(Err(_)) => self.pending = None,
                None if pending.has_changed().is_err() => self.pending = None,
                None => {}
            }
        }
        let mut free = self.http2.iter().position(|shared| shared.connection.has_room());
        if free.is_none() {
            self.http2.retain(|shared| !shared.connection.is_closed());
            // One that takes nothing although it has nothing says that another would not either: it waits for its turn there.
            free = self.http2.iter().position(|shared| shared.connection.streams() == 0);
            if free.is_none() && self.http2.len() >= self.config.max_connections as usize {
                free = (0..self.http2.len()).min_by_key(|&i| self.http2[i].connection.streams());
            }
        }
        match free {
            Some(free) => Ready::Http2(&mut self.http2[free].connection),
            None => {
                let config = &self.config;
                let pending = self.pending.get_or_insert_with(|| open(endpoint.clone(), config.clone()));
                Ready::Connecting(Connecting::Http2(SharedConnecting(pending.clone())))
            }
        }
    }
}

impl Shared {
    fn keep(&mut self, now: Instant, idle_timeout: Duration) -> bool {
        if self.connection.was_used() {
            self.idle_since = None;
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        let age = now.duration_since(self.connection.born);
        !self.connection.is_closed()
            && now.duration_since(idle_since) < idle_timeout
            && self.lifetime.is_none_or(|lifetime| age < lifetime)
    }
}

fn open(endpoint: Endpoint, config: Arc<Config>) -> watch::Receiver<Option<Opened>> {
    let (done, opened) = watch::channel(None);
    tokio::spawn(async move {
        let connection = Http2::open(endpoint.address(), config.wants_tls(&endpoint), &config).await;
        done.send_replace(Some(connection.map_err(Arc::new)));
    });
    opened
}

/// A tenth more or less, so that connections made together do not end together.
fn jittered(lifetime: Duration) -> Duration {
    lifetime.mul_f64(0.9 + 0.2 * fastrand::f64())
}

impl SharedConnecting {
    /// Waits until the connection is made; then ask the pool again. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// If it could not be made.
    pub async fn done(mut self) -> Result<(), Arc<ConnectError>> {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(error))) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Arc::new(ConnectError::Abandoned)),
        }
    }
}

impl<B> OwnConnecting<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// The connection. Dropping the future closes what was opened.
    ///
    /// # Errors
    ///
    /// If it could not be made.
    pub async fn done(self) -> Result<Http1<B>, Arc<ConnectError>> {
        let tls = self.config.wants_tls(&self.endpoint);
        Http1::open(self.home, self.endpoint.address(), tls, &self.config).await.map_err(Arc::new)
    }
}
