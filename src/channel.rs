//! A channel for tonic's generated clients by a service's name: over our table, with our pickers, so that weights, zones
//! and changes mean what they mean to the proxy.
//!
//! ```no_run
//! # async fn example(manager: waypost::Manager) {
//! let channel = manager.channel("greeter").await;
//! // let mut client = GreeterClient::new(channel);
//! # }
//! ```
//!
//! A call that no endpoint takes is answered with the gRPC status UNAVAILABLE, as a server would: a channel never breaks.
//! What an endpoint provably did not process is sent to another one, as long as no more than 64 KiB of it have gone.

mod state;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, request};
use http_body::Body;
use tokio::time::timeout;
use tower_service::Service;

use self::state::{InFlight, Next, State};
use crate::balance::Balancer;
use crate::table::{Endpoint, Table};
use crate::telemetry::GRPC_STATUSES;
use crate::upstream::{self, Answer, Unanswered, Upload, carry};

/// The most endpoints that one call is tried at.
const MOST_TRIED: usize = 8;
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How a channel behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// How the endpoints share the calls. Default: by their weights.
    pub balancer: Balancer,
    /// How they are connected to. gRPC needs HTTP/2, so its `protocol` is not asked.
    pub upstream: upstream::Config,
    /// How long the first call may wait until the registry has been read. Default 5 s.
    pub wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { balancer: Balancer::Weighted, upstream: Default::default(), wait: Duration::from_secs(5) }
    }
}

/// Carries calls to the instances of one service. Cheap to clone; clones share connections, which are made when they are
/// needed and end with the last clone.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    service: Arc<str>,
    table: Table,
    wait: Duration,
    state: Mutex<State>,
}

/// A response's body.
pub type ResponseBody<B> = Answer<B>;

impl Channel {
    /// A channel to that service of the table. Nothing is connected to yet. To be called in a tokio runtime.
    pub fn new(table: Table, service: &str, config: Config) -> Self {
        let Config { balancer, upstream, wait } = config;
        let state = Mutex::new(State::new(balancer, upstream));
        let shared = Arc::new(Shared { service: service.into(), table, wait, state });
        tokio::spawn(tend(Arc::downgrade(&shared), shared.table.clone()));
        Channel { shared }
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.shared.service
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("service", &self.shared.service).finish_non_exhaustive()
    }
}

/// Lets go of connections to what left, and of those that are idle or too old, until the channel is gone.
async fn tend(shared: std::sync::Weak<Shared>, table: Table) {
    let mut changes = table.subscribe();
    drop(table);
    loop {
        // A look each second; a change is a reason to look at once.
        let _ = timeout(Duration::from_secs(1), changes.changed()).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.state().sweep(&shared.table, &shared.service);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<B>(&self, request: Request<B>) -> Response<Answer<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (head, body) = request.into_parts();
        let limit = head.headers.get(GRPC_TIMEOUT).and_then(|value| grpc_timeout(value.to_str().ok()?));
        let carrying = self.carry(&head, Upload::new(body));
        let answer = match limit {
            None => carrying.await,
            Some(limit) => timeout(limit, carrying).await.unwrap_or_else(|_| {
                Err(Failure { code: DEADLINE_EXCEEDED, why: format!("no answer within {limit:?}") })
            }),
        };
        answer.unwrap_or_else(Failure::answer)
    }

    async fn carry<B>(&self, head: &request::Parts, mut body: Upload<B>) -> Result<Response<Answer<B>>, Failure>
    where
        B: Body<Data = Bytes>,
    {
        if !self.table.ready() {
            let mut changes = self.table.subscribe();
            // Whether it is ready then, the slot will tell.
            let _ = timeout(self.wait, changes.wait_for(|_| self.table.ready())).await;
        }
        let mut tried = Vec::new();
        let mut last = None;
        while tried.len() < MOST_TRIED {
            let endpoint = self.state().pick(&self.table, &self.service, &tried).map_err(Failure::unavailable);
            let endpoint = match (endpoint, last.take()) {
                (Ok(endpoint), _) => endpoint,
                // All have been tried: what went wrong last says more.
                (Err(_), Some(why)) => return Err(Failure::unavailable(why)),
                (Err(nothing), None) => return Err(nothing),
            };
            tried.push(endpoint.id);
            let in_flight = InFlight::new(endpoint.state.clone());
            let sent = match self.send(head, &endpoint, body.is_empty()).await {
                Ok(sent) => sent,
                Err(why) => {
                    last = Some(format!("service `{}`: {}: {why}", self.service, endpoint.label));
                    continue;
                }
            };
            match carry(sent, body).await {
                Ok(answer) => {
                    endpoint.state.call_went_well();
                    return Ok(answer.map(|body| body.holding(in_flight)));
                }
                Err((why, unsent)) => {
                    endpoint.state.call_failed(false);
                    last = Some(format!("service `{}`: {}: {why}", self.service, endpoint.label));
                    body = unsent;
                    if why != Unanswered::Refused || !body.rewind() {
                        break;
                    }
                }
            }
        }
        Err(Failure::unavailable(last.unwrap_or_default()))
    }

    /// Opens a stream, on a new connection if there is none with room.
    async fn send(&self, head: &request::Parts, endpoint: &Endpoint, end: bool) -> Result<upstream::Sent, String> {
        loop {
            let next = {
                let mut state = self.state();
                let tls = state.wants_tls(endpoint);
                state.next(endpoint, || for_endpoint(head, &self.service, tls), end)
            };
            match next {
                Next::Sent(sent) => return Ok(*sent),
                Next::Ended(why) => return Err(why),
                Next::Connecting(connecting) => match connecting.done().await {
                    Ok(()) => self.state().connected(endpoint),
                    Err(error) => {
                        self.state().connect_failed(endpoint);
                        return Err(error.to_string());
                    }
                },
            }
        }
    }
}

/// The head as an endpoint gets it: for the service, and with nothing that belongs to HTTP/1.1.
fn for_endpoint(head: &request::Parts, service: &str, tls: bool) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = service.parse::<Authority>().ok().or(Some(Authority::from_static("service")));
    uri.path_and_query = head.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    let headers = request.headers_mut();
    for name in ["connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
    let agent = HeaderValue::from_static(concat!("waypost/", env!("CARGO_PKG_VERSION")));
    headers.entry(USER_AGENT).or_insert(agent);
    request
}

/// Reads `100m` and its like; more than 8 digits is no time.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

const DEADLINE_EXCEEDED: usize = 4;
const UNAVAILABLE: usize = 14;

/// A call that no endpoint has answered.
struct Failure {
    code: usize,
    why: String,
}

impl Failure {
    fn unavailable(why: String) -> Self {
        Failure { code: UNAVAILABLE, why }
    }

    /// As a server would say it: a response that is only trailers.
    fn answer<B>(self) -> Response<Answer<B>> {
        tracing::debug!(status = GRPC_STATUSES[self.code], why = self.why, "a call failed in its channel");
        let mut response = Response::new(Answer::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(self.code));
        let message: String =
            self.why.chars().map(|c| if c.is_ascii_graphic() && c != '%' { c } else { ' ' }).collect();
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

impl<B> Service<Request<B>> for Channel
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move { Ok(shared.call(request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, time) in [
            ("100m", Some(Duration::from_millis(100))),
            ("2S", Some(Duration::from_secs(2))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("1u", Some(Duration::from_micros(1))),
            ("7n", Some(Duration::from_nanos(7))),
            ("3M", Some(Duration::from_secs(180))),
            ("100000000S", None),
            ("5", None),
            ("S", None),
            ("", None),
            ("1é", None),
        ] {
            assert_eq!(grpc_timeout(text), time, "{text}");
        }
    }
}
