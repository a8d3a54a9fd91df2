//! One client connection, HTTP/2 or HTTP/1.1, and gRPC calls over it.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, Request, Response, request};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn,
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::AbortHandle,
};

use super::grpc::{self, ECHO, text};

/// What a request carries.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A body that is there at once.
pub fn full(data: impl Into<Bytes>) -> Body {
    Full::new(data.into()).map_err(|never| match never {}).boxed()
}

/// A body that is sent as the sender of the pair says; dropping the sender ends it.
pub fn channel() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, mut receiver) = mpsc::channel::<Frame<Bytes>>(1);
    let frames: Pin<Box<dyn Stream<Item = _> + Send + Sync>> =
        Box::pin(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context).map(|frame| frame.map(Ok))));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

enum Sender {
    /// One call at a time.
    Http1(Mutex<conn::http1::SendRequest<Body>>),
    Http2(conn::http2::SendRequest<Body>),
}

/// A connection, cut on drop, with whatever goes on over it.
pub struct Client {
    sender: Sender,
    tasks: Tasks,
}

/// Holds what hyper spawns: its HTTP/2 connection is a task of its own, which would outlive everything else.
#[derive(Clone, Default)]
struct Tasks(Arc<std::sync::Mutex<Vec<AbortHandle>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap().push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in self.tasks.0.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

/// A gRPC response, whole.
#[derive(Debug)]
pub struct Reply {
    /// The grpc-status, wherever it came.
    pub status: u32,
    /// The grpc-message as it came, or nothing.
    pub message: String,
    /// The response's headers.
    pub headers: HeaderMap,
    /// Its trailers; empty when all came in the headers.
    pub trailers: HeaderMap,
    /// Its messages.
    pub messages: Vec<Bytes>,
}

impl Reply {
    /// The instance that answered, as it names itself.
    pub fn instance(&self) -> &str {
        text(&self.headers, "x-instance").unwrap_or_else(|| panic!("no instance answered: {self:?}"))
    }
}

impl Client {
    /// HTTP/2 by prior knowledge.
    pub async fn h2(address: SocketAddr) -> Self {
        let stream = connect(address).await;
        let tasks = Tasks::default();
        let mut http = conn::http2::Builder::new(tasks.clone());
        http.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (sender, connection) = http.handshake(stream).await.unwrap();
        tasks.execute(connection);
        Self { sender: Sender::Http2(sender), tasks }
    }

    /// HTTP/1.1.
    pub async fn h1(address: SocketAddr) -> Self {
        let (sender, connection) = conn::http1::handshake(connect(address).await).await.unwrap();
        let tasks = Tasks::default();
        tasks.execute(connection);
        Self { sender: Sender::Http1(Mutex::new(sender)), tasks }
    }

    /// Sends a request as it is. Over HTTP/1.1 the authority goes to Host.
    pub async fn send(&self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &self.sender {
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http1(sender) => {
                if let Some(authority) = request.uri().authority() {
                    let host = authority.as_str().parse().unwrap();
                    request.headers_mut().entry(http::header::HOST).or_insert(host);
                    *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
                }
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a gRPC call with its messages all at once, and waits for the whole reply.
    pub async fn grpc(
        &self,
        service: &str,
        method: &str,
        headers: &[(&str, &str)],
        messages: &[&[u8]],
    ) -> Result<Reply, String> {
        let body: BytesMut = messages.iter().flat_map(|message| grpc::frame(message)).collect();
        let request = grpc_request(service, method, headers).body(full(body.freeze())).unwrap();
        let response = self.send(request).await.map_err(|error| format!("{error:?}"))?;
        reply(response).await
    }

    /// A unary call without ceremony.
    pub async fn unary(&self, service: &str) -> Result<Reply, String> {
        self.grpc(service, "Unary", &[], &[b"hello"]).await
    }

    /// A plain request, its answer whole.
    pub async fn http(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body).unwrap()).await.unwrap();
        Answer::read(response).await.unwrap()
    }
}

/// A plain HTTP response, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers, empty when there were none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Self { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The head of a gRPC request to the test service.
pub fn grpc_request(service: &str, method: &str, headers: &[(&str, &str)]) -> request::Builder {
    let mut request = Request::post(format!("http://{service}{ECHO}{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

/// Reads a gRPC response to its end.
pub async fn reply(response: Response<Incoming>) -> Result<Reply, String> {
    let answer = Answer::read(response).await.map_err(|error| format!("{error:?}"))?;
    if answer.status != 200 {
        return Err(format!("HTTP {}: {}", answer.status, answer.text()));
    }
    let last = if answer.trailers.is_empty() { &answer.headers } else { &answer.trailers };
    let status = grpc::number(last, "grpc-status").ok_or("no grpc-status")?;
    Ok(Reply {
        status: u32::try_from(status).map_err(|error| error.to_string())?,
        message: text(last, "grpc-message").unwrap_or("").to_owned(),
        messages: grpc::messages(&answer.body),
        headers: answer.headers,
        trailers: answer.trailers,
    })
}

/// A GET over a connection of its own; `None` when nobody listens or answers.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let ask = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(async { drop(connection.await) });
        let request = Request::get(path).header("host", address.to_string()).body(full("")).ok()?;
        let answer = Answer::read(sender.send_request(request).await.ok()?).await.ok()?;
        Some((answer.status, answer.text()))
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.ok()?
}

async fn connect(address: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_nodelay(true).unwrap();
    TokioIo::new(stream)
}
