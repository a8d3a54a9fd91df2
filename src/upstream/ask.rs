//! One question to an endpoint, on a connection of its own: for those who are not carrying a call.

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};

use super::{Config, ConnectError, Http1, Http2};
use crate::registry::Protocol;
use crate::table::Endpoint;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The endpoint sent a GOAWAY before it processed the request: it says nothing of the matter, ask again.
    #[error("it is ending its connections")]
    GoAway,
    /// The connection broke, or what came was no HTTP.
    #[error("{0}")]
    Http(String),
    /// The body is longer than what was wanted.
    #[error("its answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// Sends one request and reads the whole answer, with a body of `most` bytes at the most and its trailers. The request
/// must have an absolute URI; the connection is closed afterwards. Must run in a tokio runtime; dropping the future
/// cancels everything.
///
/// # Errors
///
/// If there is no whole answer.
pub async fn ask(
    endpoint: &Endpoint,
    protocol: Protocol,
    config: &Config,
    request: Request<Bytes>,
    most: usize,
) -> Result<Response<(Bytes, HeaderMap)>, AskError> {
    match protocol {
        Protocol::Http2 => over_http2(endpoint, config, request, most).await,
        Protocol::Http1 => over_http1(endpoint, config, request, most).await,
    }
}

async fn over_http2(
    endpoint: &Endpoint,
    config: &Config,
    request: Request<Bytes>,
    most: usize,
) -> Result<Response<(Bytes, HeaderMap)>, AskError> {
    let mut connection = Http2::open(endpoint.address(), config.wants_tls(endpoint), config).await?;
    let (head, body) = request.into_parts();
    let (response, mut stream, _permit) =
        connection.send(Request::from_parts(head, ()), body.is_empty()).map_err(|error| broken(&error))?;
    if !body.is_empty() {
        // What is wrong with the stream, the response says as well.
        let _ = stream.send_data(body, true);
    }
    let (head, mut body) = response.await.map_err(|error| broken(&error))?.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| broken(&error))?;
        let _ = body.flow_control().release_capacity(data.len());
        if bytes.len() + data.len() > most {
            return Err(AskError::TooLarge(most));
        }
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(|error| broken(&error))?.unwrap_or_default();
    Ok(Response::from_parts(head, (bytes.freeze(), trailers)))
}

fn broken(error: &h2::Error) -> AskError {
    match error.reason() {
        Some(Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => AskError::GoAway,
        Some(reason) if error.is_reset() && error.is_remote() => {
            AskError::Http(format!("it reset the stream: {reason}"))
        }
        Some(reason) if error.is_remote() => AskError::Http(format!("it ended the connection: {reason}")),
        Some(reason) => AskError::Http(format!("it breaks the rules of HTTP/2: {reason}")),
        None => AskError::Http(format!("the connection was lost: {error}")),
    }
}

async fn over_http1(
    endpoint: &Endpoint,
    config: &Config,
    request: Request<Bytes>,
    most: usize,
) -> Result<Response<(Bytes, HeaderMap)>, AskError> {
    let mut connection = Http1::alone(endpoint, config).await?;
    let (mut head, body) = request.into_parts();
    if let Some(host) = head.uri.authority() {
        let host = http::HeaderValue::from_str(host.as_str()).map_err(|error| AskError::Http(error.to_string()))?;
        head.headers.insert(http::header::HOST, host);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(|error: http::uri::InvalidUri| AskError::Http(error.to_string()))?;
    let sent = connection.send(Request::from_parts(head, Full::new(body))).await;
    let (head, body) = sent
        .map_err(|error| match error.into_error() {
            error if error.is_parse() => AskError::Http("it answers with something that is not HTTP/1.1".to_owned()),
            error => AskError::Http(format!("the connection was lost: {error}")),
        })?
        .into_parts();
    let body = http_body_util::Limited::new(body, most).collect().await;
    let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => AskError::TooLarge(most),
        false => AskError::Http(error.to_string()),
    })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Response::from_parts(head, (body.to_bytes(), trailers)))
}
