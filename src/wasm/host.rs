//! What stands behind an instance: everything that the host's functions work on. Nothing here is shared but what
//! [`Env`] holds for all instances of a module.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use wasmtime::{Memory, StoreLimits, TypedFunc};

use super::abi::{GuestMetrics, Metrics, SharedData};
use super::catalog::Telemetry;
use super::engine::Budget;
use super::exchange::{Asked, Exchange, Shared};
use super::fault::Fault;
use super::meter::Meters;
use crate::registry::Protocol;
use crate::table::{Endpoint, EndpointState, Table};
use crate::upstream::{self, Pool, ask_with, detect};

/// The most that is read of the answer to a call that a module makes, in bytes.
const MOST_OF_ANSWER: usize = 4 << 20;

/// What all instances of a module have in common, whatever version of its file they run.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) module: Arc<str>,
    pub(super) shared: SharedData,
    pub(super) metrics: Metrics,
    pub(super) meters: Meters,
    pub(super) table: Table,
    /// The most that is kept of a body while a filter waits.
    pub(super) buffer_limit: usize,
    pub(super) memory_limit: usize,
    pub(super) telemetry: Telemetry,
}

impl Env {
    pub(super) fn new(
        module: &str,
        metrics: Arc<GuestMetrics>,
        table: Table,
        buffer_limit: usize,
        memory_limit: usize,
    ) -> Self {
        let module: Arc<str> = module.into();
        let metrics = Metrics::new(module.clone(), metrics);
        let (shared, meters, telemetry) = Default::default();
        Env { module, shared, metrics, meters, table, buffer_limit, memory_limit, telemetry }
    }
}

/// A call that a module wants made to a service.
#[derive(Debug, Clone)]
pub struct Callout {
    /// The instance that wants it made.
    pub(super) instance: u64,
    /// Names the call towards the module.
    pub(super) token: u32,
    /// The service.
    pub service: String,
    /// What to send, with an absolute URI.
    pub request: Request<Bytes>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it is a gRPC call.
    pub grpc: bool,
}

impl Callout {
    /// Makes the call at this endpoint; `None` for no answer in time. Must run in a tokio runtime.
    pub async fn carry<B>(
        self,
        endpoint: &Endpoint,
        config: &Arc<upstream::Config>,
        pool: &RefCell<Pool<B>>,
    ) -> Option<Reply>
    where
        B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Callout { request, grpc, timeout, .. } = self;
        let call = async {
            let protocol = match config.protocol.or(endpoint.protocol()) {
                Some(protocol) => protocol,
                None if grpc => Protocol::Http2,
                None => detect(endpoint, config).await.map_err(|error| error.to_string())?,
            };
            ask_with(pool, endpoint, protocol, config, request, MOST_OF_ANSWER).await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(timeout, call).await.ok()? {
            Ok(answer) => Some(Reply::of(answer, grpc)),
            Err(why) => {
                tracing::debug!(service = self.service, why, "a module's call brought no answer");
                None
            }
        }
    }
}

/// What came of a [`Callout`].
#[derive(Debug, Default)]
pub struct Reply {
    /// Its HTTP status; none for gRPC.
    pub status: Option<StatusCode>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or the one message of a gRPC response.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// The gRPC status with its message.
    pub grpc: (u32, String),
}

impl Reply {
    /// What an answer is to a module. Of a gRPC response it is the first message.
    pub fn of(answer: Response<(Bytes, HeaderMap)>, grpc: bool) -> Reply {
        let (head, (body, trailers)) = answer.into_parts();
        if !grpc {
            return Reply { status: Some(head.status), headers: head.headers, body, trailers, ..Reply::default() };
        }
        let field = |name: &str| trailers.get(name).or_else(|| head.headers.get(name))?.to_str().ok();
        let status = field("grpc-status").and_then(|status| status.parse().ok()).unwrap_or(2);
        let message = field("grpc-message").unwrap_or_default().to_owned();
        // What stands before a message is whether it is compressed, and its length.
        let len = body.get(1..5).and_then(|len| len.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
        let body = match body.len() >= 5 + len && status == 0 && body.len() >= 5 {
            true => body.slice(5..5 + len),
            false => Bytes::new(),
        };
        Reply { status: None, headers: head.headers, body, trailers, grpc: (status, message) }
    }
}

/// The host of one instance.
pub(super) struct Host {
    /// Tells the instance from all others.
    pub(super) id: u64,
    pub(super) limits: StoreLimits,
    /// What the call that runs may take, and what the thread's clock showed when that was first asked.
    pub(super) budget: Budget,
    pub(super) since: Option<Duration>,
    /// The module's allocator trapped while the module was in a function of the host.
    pub(super) broken: Option<wasmtime::Error>,
    /// The module's allocator gave no room for so many bytes that the module asked for.
    pub(super) no_room: Option<usize>,
    /// The module gave an answer to an exchange that cannot be sent.
    pub(super) wrong: Option<Fault>,
    pub(super) memory: Option<Memory>,
    pub(super) allocator: Option<TypedFunc<i32, i32>>,
    pub(super) env: Arc<Env>,
    pub(super) config: Bytes,
    /// The context that functions work on: that of the callback, unless the module set another one.
    pub(super) context: u32,
    pub(super) current: Option<Arc<Shared>>,
    /// The exchanges of all contexts.
    pub(super) contexts: HashMap<u32, Arc<Shared>>,
    /// How often the module wants to be woken.
    pub(super) tick: Option<Duration>,
    /// Calls to be made when the module has returned.
    pub(super) callouts: Vec<Callout>,
    pub(super) last_callout: u32,
    /// Those that were made, or are to be, and have had no reply yet.
    pub(super) calls_open: usize,
    /// What came of the call that is being answered.
    pub(super) reply: Option<Reply>,
    /// Contexts that the module said it is done with, later than when it was asked.
    pub(super) done: Vec<u32>,
    /// The arguments and the answer of a function that is neither: kept for `proxy_get_buffer_bytes`.
    pub(super) arguments: Bytes,
    /// For policies: the endpoints in the order of the list.
    pub(super) endpoints: Vec<Arc<EndpointState>>,
    /// For picks: where the call has been.
    pub(super) tried: Vec<u32>,
    /// For verdicts: why.
    pub(super) reasons: HashMap<u32, String>,
}

impl Host {
    pub(super) fn new(id: u64, env: Arc<Env>, config: Bytes, limits: StoreLimits) -> Self {
        Host {
            id,
            limits,
            budget: Budget::START,
            since: None,
            broken: None,
            no_room: None,
            wrong: None,
            memory: None,
            allocator: None,
            env,
            config,
            context: 0,
            current: None,
            contexts: HashMap::new(),
            tick: None,
            callouts: Vec::new(),
            last_callout: 0,
            calls_open: 0,
            reply: None,
            done: Vec::new(),
            arguments: Bytes::new(),
            endpoints: Vec::new(),
            tried: Vec::new(),
            reasons: HashMap::new(),
        }
    }

    /// Who asks, as the exchange of the context knows it.
    pub(super) fn asked(&self) -> Asked {
        Asked { instance: self.id, context: self.context }
    }

    /// Shows the exchange of the context to `look`; `None` if it has none.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Exchange) -> T) -> Option<T> {
        self.current.as_ref().map(|shared| look(&mut shared.lock()))
    }
}
