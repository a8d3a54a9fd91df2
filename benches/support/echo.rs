//! A gRPC server that does as little as a server can: it reads each request to its end and answers with an empty
//! message and status OK; but to a health check it says SERVING, to `/bench.Echo/Bytes/N` a message of N bytes, and to
//! `/bench.Echo/Stream/N` N messages of 32 bytes.

use std::io;
use std::iter;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::net::{TcpListener, TcpStream};

/// A gRPC frame with an empty message: not compressed, length 0.
pub(crate) const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; 5]);
/// The same with a HealthCheckResponse.
const SERVING: Bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]);
/// What messages are made of, again and again.
const PIECE: Bytes = Bytes::from_static(&[0; 64 * 1024]);
/// A gRPC frame of 32 bytes.
const SMALL_MESSAGE: Bytes = Bytes::from_static(b"\0\0\0\0\x20abcdefghijklmnopqrstuvwxyz012345");
/// More than any proxy wants, so that none is held up here.
const STREAMS: u32 = 1000;
/// Bytes of book-keeping that small frames may cost before a connection is ended for them. By default that is so little that
/// proxies that cut payloads where a window ends, as HAProxy does, lose connections under load.
const SMALL_FRAMES: usize = 16 << 20;

/// Serves until the listener fails.
pub(crate) async fn run(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that fails is the other side's loss; the next one is served all the same.
        tokio::spawn(async move { serve(stream).await.ok() });
    }
}

async fn serve(stream: TcpStream) -> Result<(), h2::Error> {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(STREAMS).data_frame_budget(SMALL_FRAMES);
    let mut connection = builder.handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(async move { answer(request, respond).await.ok() });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut answer = Response::new(());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(answer, false)?;
    let path = head.uri.path();
    let number = |prefix| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u32>().ok());
    if let Some(length) = number("/bench.Echo/Bytes/") {
        let [a, b, c, d] = length.to_be_bytes();
        send.send_data(Bytes::copy_from_slice(&[0, a, b, c, d]), false)?;
        let mut left = length as usize;
        while left > 0 {
            let piece = PIECE.slice(..left.min(PIECE.len()));
            left -= piece.len();
            send.send_data(piece, false)?;
        }
    } else if let Some(messages) = number("/bench.Echo/Stream/") {
        for message in iter::repeat_n(SMALL_MESSAGE, messages as usize) {
            send.send_data(message, false)?;
        }
    } else {
        let checked = path == "/grpc.health.v1.Health/Check";
        send.send_data(if checked { SERVING } else { EMPTY_MESSAGE }, false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}
