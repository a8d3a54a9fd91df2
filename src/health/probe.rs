//! Asking an endpoint how it is, on a connection of its own, so that no call waits for a probe and no probe is told apart
//! by the state of the calls' connections.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request};
use prost::Message;

use super::config::{Kind, Probe};
use crate::registry::Protocol;
use crate::table::Endpoint;
use crate::telemetry::GRPC_STATUSES;
use crate::upstream::{self, AskError, ask, detect, reach};

/// The largest answer that is read.
const MOST: usize = 64 << 10;

/// The messages of grpc.health.v1.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
/// The names of the statuses, each at its number.
const SERVING_STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks once. None: the endpoint was just ending its connections, which says nothing.
pub(super) async fn run(
    probe: &Probe,
    service: &str,
    endpoint: &Endpoint,
    config: &upstream::Config,
) -> Option<Result<(), String>> {
    let asking = async {
        match &probe.kind {
            Kind::Grpc { service: asked } => grpc(service, asked, endpoint, config).await,
            Kind::Http { path, host, statuses } => {
                let host = if host.is_empty() { service } else { host };
                http(host, path, statuses, endpoint, config).await
            }
            Kind::Tcp => reach(endpoint, config).await.map_err(|error| Wrong::Said(error.to_string())),
        }
    };
    match tokio::time::timeout(probe.timeout, asking).await {
        Ok(Ok(())) => Some(Ok(())),
        Ok(Err(Wrong::Nothing)) => None,
        Ok(Err(Wrong::Said(why))) => Some(Err(why)),
        Err(_) => Some(Err(format!("no answer within {:?}", probe.timeout))),
    }
}

/// Why an answer is not good.
enum Wrong {
    Said(String),
    /// It says nothing of the endpoint's health.
    Nothing,
}

impl From<AskError> for Wrong {
    fn from(error: AskError) -> Self {
        match error {
            AskError::GoAway => Wrong::Nothing,
            error => Wrong::Said(error.to_string()),
        }
    }
}

async fn grpc(service: &str, asked: &str, endpoint: &Endpoint, config: &upstream::Config) -> Result<(), Wrong> {
    let message = HealthCheckRequest { service: asked.to_owned() };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.encoded_len() as u32);
    body.put_slice(&message.encode_to_vec());
    let request = Request::post(format!("{}://{service}/grpc.health.v1.Health/Check", scheme(endpoint, config)))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", USER_AGENT)
        .body(body.freeze());
    let request = request.map_err(|error| Wrong::Said(error.to_string()))?;
    let response = ask(endpoint, Protocol::Http2, config, request, MOST).await?;
    if !response.status().is_success() {
        return Err(Wrong::Said(format!(
            "it answers with HTTP status {}, and not as gRPC does",
            response.status().as_u16()
        )));
    }
    let (head, (body, trailers)) = response.into_parts();
    match status(&trailers).or_else(|| status(&head.headers)) {
        Some(0) => {}
        Some(12) => return Err(Wrong::Said("it has no service grpc.health.v1.Health (UNIMPLEMENTED)".to_owned())),
        Some(5) => return Err(Wrong::Said(format!("it knows no health of a service `{asked}` (NOT_FOUND)"))),
        Some(other) => return Err(Wrong::Said(format!("its health check fails with {}", name(&GRPC_STATUSES, other)))),
        None => return Err(Wrong::Said("its answer has no grpc-status".to_owned())),
    }
    match body.get(5..).map(HealthCheckResponse::decode) {
        Some(Ok(HealthCheckResponse { status: SERVING })) => Ok(()),
        Some(Ok(HealthCheckResponse { status })) => {
            Err(Wrong::Said(format!("it says {}", name(&SERVING_STATUSES, status as u32))))
        }
        _ => Err(Wrong::Said("its answer is no HealthCheckResponse".to_owned())),
    }
}

fn scheme(endpoint: &Endpoint, config: &upstream::Config) -> &'static str {
    if config.wants_tls(endpoint) { "https" } else { "http" }
}

const USER_AGENT: &str = concat!("waypost-probe/", env!("CARGO_PKG_VERSION"));

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn name(names: &[&str], number: u32) -> String {
    names.get(number as usize).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

async fn http(
    host: &str,
    path: &str,
    statuses: &[(u16, u16)],
    endpoint: &Endpoint,
    config: &upstream::Config,
) -> Result<(), Wrong> {
    let protocol = match config.protocol.or(endpoint.protocol()) {
        Some(protocol) => protocol,
        None => detect(endpoint, config).await.map_err(|error| Wrong::Said(error.to_string()))?,
    };
    let uri = format!("{}://{host}{path}", scheme(endpoint, config));
    let request = Request::builder().method(Method::GET).uri(uri);
    let request = request.header("user-agent", USER_AGENT).body(Bytes::new());
    let request = request.map_err(|error| Wrong::Said(format!("`{host}{path}` cannot be asked for: {error}")))?;
    let status = ask(endpoint, protocol, config, request, MOST).await?.status().as_u16();
    match statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        true => Ok(()),
        false => Err(Wrong::Said(format!("GET {path} answers {status}"))),
    }
}
