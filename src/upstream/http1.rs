//! HTTP/1.1 connections to an endpoint: one exchange at a time each, kept for the next one when it is done.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connect::connect;
use super::{Config, ConnectError};
use crate::registry::{Address, Protocol};
use crate::table::Endpoint;

/// Where the idle connections of one endpoint wait.
pub(super) struct Home<B> {
    idle: Mutex<Vec<(Http1Parts<B>, Instant)>>,
    returned: Notify,
    permits: Arc<Semaphore>,
    max_idle: usize,
}

struct Http1Parts<B> {
    send: http1::SendRequest<B>,
    born: Instant,
    _permit: OwnedSemaphorePermit,
}

/// An HTTP/1.1 connection, held for one exchange.
pub struct Http1<B> {
    parts: Http1Parts<B>,
    home: Arc<Home<B>>,
}

impl<B> Home<B> {
    pub(super) fn new(config: &Config) -> Self {
        Home {
            idle: Mutex::default(),
            returned: Notify::new(),
            permits: Arc::new(Semaphore::new(config.max_connections as usize)),
            max_idle: config.max_idle as usize,
        }
    }

    /// An idle connection that is still open, the one used last.
    pub(super) fn take(self: &Arc<Self>) -> Option<Http1<B>> {
        let mut idle = self.idle();
        while let Some((parts, _)) = idle.pop() {
            if parts.send.is_ready() {
                return Some(Http1 { parts, home: self.clone() });
            }
        }
        None
    }

    /// Closes what has been idle for too long or is too old.
    pub(super) fn sweep(&self, now: Instant, idle_timeout: Duration, lifetime: Option<Duration>) {
        self.idle().retain(|(parts, since)| {
            !parts.send.is_closed()
                && now.duration_since(*since) < idle_timeout
                && lifetime.is_none_or(|lifetime| now.duration_since(parts.born) < lifetime)
        });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Http1Parts<B>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Http1<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Waits for a free connection or the right to open one, whichever is first, and opens it.
    pub(super) async fn open(
        home: Arc<Home<B>>,
        address: &Address,
        tls: bool,
        config: &Config,
    ) -> Result<Http1<B>, ConnectError> {
        let permit = loop {
            let returned = home.returned.notified();
            if let Some(connection) = home.take() {
                return Ok(connection);
            }
            tokio::select! {
                permit = home.permits.clone().acquire_owned() => break permit.map_err(|_| ConnectError::Abandoned)?,
                () = returned => {}
            }
        };
        let stream = connect(address, tls, Some(Protocol::Http1), config).await?;
        let (send, connection) = http1::Builder::new()
            .max_buf_size(config.limits.max_header_bytes.max(8 << 10) as usize)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Http(error.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to endpoint ended");
            }
        });
        Ok(Http1 { parts: Http1Parts { send, born: Instant::now(), _permit: permit }, home })
    }

    /// Opens a connection that belongs to no pool.
    ///
    /// # Errors
    ///
    /// If it could not be made.
    pub(super) async fn alone(endpoint: &Endpoint, config: &Config) -> Result<Http1<B>, ConnectError> {
        Http1::open(Arc::new(Home::new(config)), endpoint.address(), config.wants_tls(endpoint), config).await
    }

    /// Sends the request and waits for the head of the response. If nothing of it was sent, the error has it back.
    ///
    /// # Errors
    ///
    /// If the connection ended or the endpoint did not answer with HTTP/1.1.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        self.parts.send.try_send_request(request).await
    }

    /// Keeps the connection for the next exchange, once this one has ended well; must run in a tokio runtime.
    pub fn give_back(mut self) {
        tokio::spawn(async move {
            if self.parts.send.ready().await.is_ok() {
                let mut idle = self.home.idle();
                if idle.len() < self.home.max_idle {
                    idle.push((self.parts, Instant::now()));
                    self.home.returned.notify_one();
                }
            }
        });
    }
}
