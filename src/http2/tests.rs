//! Tests of connections as a whole: against bytes, against the `h2` crate, and against each other.

mod accounts;
mod breaches;
mod calls;
mod handles;
mod limits;
mod messages;
mod model;
mod other;
mod peer;
mod queue;
mod windows;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::state::Shared;
use super::{Client, Error, Reason, Receiver, RequestHead, Sender, Server, Settings, connect};
use peer::Peer;

const OURS: Settings = Settings {
    max_streams: 10,
    max_header_bytes: 1 << 14,
    stream_window: 1 << 16,
    connection_window: 1 << 17,
    max_pending_resets: 10,
    max_error_resets: 100,
};

/// More than any test writes at a time.
const ROOMY: usize = 16 << 20;

/// Waits, but not for ever: in paused time this fails as soon as nothing happens any more.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let by = Instant::now() + Duration::from_secs(3_600);
    let done = timeout_at(by, what).await.expect("it should happen soon");
    // What nobody wakes is polled once more when its time is over.
    assert!(Instant::now() < by, "nobody woke it");
    done
}

/// Lets everything happen that can happen.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

type Accepted = (Request<Receiver>, Sender);

/// A server of ours that runs in a task.
struct Serving<S: AsyncRead + AsyncWrite + Unpin> {
    server: Arc<Mutex<Server<S>>>,
    accepted: mpsc::Receiver<Accepted>,
    task: JoinHandle<Result<(), Error>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Serving<S> {
    fn new(io: S, settings: Settings) -> Serving<S> {
        let server = Arc::new(Mutex::new(Server::new(io, settings)));
        let (accept, accepted) = mpsc::channel(2_000);
        let polled = server.clone();
        let task = tokio::spawn(async move {
            while let Some(request) = poll_fn(|cx| polled.lock().unwrap().poll_accept(cx)).await {
                // A test that looks at frames alone takes no requests.
                let _ = accept.try_send(request?);
            }
            Ok(())
        });
        Serving { server, accepted, task }
    }

    async fn accept(&mut self) -> Accepted {
        soon(self.accepted.recv()).await.expect("a request")
    }

    /// The same, split into its parts.
    async fn stream(&mut self) -> (Receiver, Sender) {
        let (request, sender) = self.accept().await;
        (request.into_body(), sender)
    }

    fn has_streams(&self) -> bool {
        self.server.lock().unwrap().has_streams()
    }

    async fn end(self) -> Result<(), Error> {
        soon(self.task).await.unwrap()
    }
}

/// A server of ours, and a client that speaks in bytes and has said hello.
async fn serve(settings: Settings) -> (Peer, Serving<DuplexStream>) {
    let (near, far) = duplex(ROOMY);
    let serving = Serving::new(near, settings);
    let mut peer = Peer(far);
    peer.greet(&[]).await;
    (peer, serving)
}

/// A client of ours, and a server that speaks in bytes.
struct Dialled {
    client: Client,
    shared: Shared,
    task: JoinHandle<Result<(), Error>>,
}

async fn dial(settings: Settings, peer_settings: &[(u16, u32)]) -> (Peer, Dialled) {
    let (near, far) = duplex(ROOMY);
    let mut peer = Peer(far);
    let greeting = async {
        peer.preface().await;
        peer.greet(peer_settings).await;
    };
    let (dialled, ()) = tokio::join!(Dialled::new(near, settings), greeting);
    (peer, dialled)
}

impl Dialled {
    async fn new<S>(io: S, settings: Settings) -> Dialled
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, connection) = soon(connect(io, settings)).await.unwrap();
        let shared = connection.ping_pong().0;
        Dialled { client, shared, task: tokio::spawn(connection) }
    }

    fn begin(&self, end: bool) -> (Receiver, Sender) {
        self.try_begin(end).unwrap()
    }

    fn try_begin(&self, end: bool) -> Result<(Receiver, Sender), Error> {
        self.client.send(&RequestHead::of(&request(Method::POST, "http://x/")), end)
    }

    fn has_streams(&self) -> bool {
        !self.shared.lock().streams.is_empty()
    }
}

fn request(method: Method, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

fn header(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
}

/// Bytes of which no two parts are alike.
fn pattern(seed: usize, length: usize) -> Bytes {
    (0..length).map(|i| ((seed * 31 + i) % 251) as u8).collect()
}

async fn respond_to(receiver: &mut Receiver) -> Result<Response<()>, Error> {
    soon(poll_fn(|cx| receiver.poll_response(cx))).await
}

async fn send(sender: &mut Sender, mut data: Bytes, end: bool) -> Result<(), Error> {
    soon(poll_fn(|cx| sender.poll_send(cx, &mut data, end))).await
}

async fn ended(sender: &mut Sender) -> Error {
    soon(poll_fn(|cx| sender.poll_ended(cx))).await
}

/// All that comes, and how it ends.
async fn read(receiver: &mut Receiver) -> (Vec<u8>, Result<Option<HeaderMap>, Error>) {
    let (mut body, mut trailers) = (Vec::new(), None);
    loop {
        match soon(poll_fn(|cx| receiver.poll_frame(cx))).await {
            None => return (body, Ok(trailers)),
            Some(Err(error)) => return (body, Err(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// All of a message that ends well.
async fn whole(receiver: &mut Receiver) -> (Vec<u8>, Option<HeaderMap>) {
    let (body, end) = read(receiver).await;
    (body, end.expect("a whole message"))
}

/// A part of what comes.
async fn part(receiver: &mut Receiver) -> Bytes {
    let frame = soon(poll_fn(|cx| receiver.poll_frame(cx))).await.expect("not the end").expect("no error");
    frame.into_data().expect("data")
}

fn by_reset(reason: Reason, remote: bool) -> String {
    format!("{:?}", Error::Reset { reason, remote })
}

/// An error, to be compared.
fn name(error: &Error) -> String {
    format!("{error:?}")
}
