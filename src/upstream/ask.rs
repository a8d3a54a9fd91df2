//! One question to an endpoint, on a connection of its own or of a pool: for those who are not carrying a call.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};

use super::{Config, ConnectError, Connecting, Http1, Http2, Pool, Ready, Sent};
use crate::http2::{Error, Reason, RequestHead};
use crate::registry::Protocol;
use crate::table::Endpoint;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection came about.
    #[error("{0}")]
    Connect(#[from] Arc<ConnectError>),
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
        Protocol::Http2 => {
            let opened = Http2::open(endpoint.address(), config.wants_tls(endpoint), config).await;
            let sent = send(&mut opened.map_err(Arc::new)?, &request).map_err(|error| broken(&error))?;
            over_http2(sent, request.into_body(), most).await
        }
        Protocol::Http1 => {
            let mut connection = Http1::<Full<Bytes>>::alone(endpoint, config).await.map_err(Arc::new)?;
            over_http1(&mut connection, &request, most).await.map_err(Missed::into_error)
        }
    }
}

/// The same over connections that are kept. If one had ended before it took the request, another one is taken. The pool is
/// never held across a wait.
///
/// # Errors
///
/// If there is no whole answer.
pub async fn ask_with<B>(
    pool: &RefCell<Pool<B>>,
    endpoint: &Endpoint,
    protocol: Protocol,
    config: &Arc<Config>,
    request: Request<Bytes>,
    most: usize,
) -> Result<Response<(Bytes, HeaderMap)>, AskError>
where
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    for _ in 0..=config.max_connections {
        let start = match pool.borrow_mut().ready(endpoint, protocol, config) {
            Ready::Http2(connection) => Start::Http2(send(connection, &request)),
            Ready::Http1(connection) => Start::Http1(connection),
            Ready::Connecting(connecting) => Start::Connecting(connecting),
        };
        let mut connection = match start {
            Start::Http2(Ok(sent)) => match over_http2(sent, request.body().clone(), most).await {
                Err(AskError::GoAway) => continue,
                answer => return answer,
            },
            Start::Http2(Err(_)) => continue,
            Start::Connecting(Connecting::Http2(connecting)) => {
                connecting.done().await?;
                continue;
            }
            Start::Http1(connection) => connection,
            Start::Connecting(Connecting::Http1(connecting)) => connecting.done().await?,
        };
        match over_http1(&mut connection, &request, most).await {
            Ok(answer) => {
                connection.give_back();
                return Ok(answer);
            }
            Err(Missed::Unsent(_)) => {}
            Err(Missed::Failed(error)) => return Err(error),
        }
    }
    Err(AskError::GoAway)
}

/// How a question begins.
enum Start<B> {
    Http2(Result<Sent, Error>),
    Http1(Http1<B>),
    Connecting(Connecting<B>),
}

/// Why a connection of HTTP/1.1 brought no answer.
enum Missed {
    /// It had ended before the request was sent.
    Unsent(AskError),
    Failed(AskError),
}

impl Missed {
    fn into_error(self) -> AskError {
        let (Missed::Unsent(error) | Missed::Failed(error)) = self;
        error
    }
}

/// Begins a stream for a request.
fn send(connection: &mut Http2, request: &Request<Bytes>) -> Result<Sent, Error> {
    connection.send(&RequestHead::of(request), request.body().is_empty())
}

async fn over_http2(
    (mut receiver, mut sender, _permit): Sent,
    mut body: Bytes,
    most: usize,
) -> Result<Response<(Bytes, HeaderMap)>, AskError> {
    let head = poll_fn(|cx| {
        // What is wrong with the stream, the response says as well.
        if !body.is_empty() {
            let _ = sender.poll_send(cx, &mut body, true);
        }
        receiver.poll_response(cx)
    });
    let (head, ()) = head.await.map_err(|error| broken(&error))?.into_parts();
    let (mut bytes, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|cx| receiver.poll_frame(cx)).await {
        match frame.map_err(|error| broken(&error))?.into_data() {
            Ok(data) if bytes.len() + data.len() > most => return Err(AskError::TooLarge(most)),
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(Response::from_parts(head, (bytes.freeze(), trailers)))
}

fn broken(error: &Error) -> AskError {
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

async fn over_http1<B>(
    connection: &mut Http1<B>,
    request: &Request<Bytes>,
    most: usize,
) -> Result<Response<(Bytes, HeaderMap)>, Missed>
where
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let wrong = |text: String| Missed::Failed(AskError::Http(text));
    let mut head = request.clone().map(B::from);
    if let Some(host) = request.uri().authority() {
        let host = http::HeaderValue::from_str(host.as_str()).map_err(|error| wrong(error.to_string()))?;
        head.headers_mut().insert(http::header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *head.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    let sent = connection.send(head).await.map_err(|mut error| {
        let unsent = error.take_message().is_some();
        let error = match error.into_error() {
            error if error.is_parse() => AskError::Http("it answers with something that is not HTTP/1.1".to_owned()),
            error => AskError::Http(format!("the connection was lost: {error}")),
        };
        if unsent { Missed::Unsent(error) } else { Missed::Failed(error) }
    });
    let (head, body) = sent?.into_parts();
    let body = http_body_util::Limited::new(body, most).collect().await;
    let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => Missed::Failed(AskError::TooLarge(most)),
        false => wrong(error.to_string()),
    })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Response::from_parts(head, (body.to_bytes(), trailers)))
}
