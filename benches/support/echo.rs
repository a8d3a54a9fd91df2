//! A gRPC server that does as little as a server can: it reads each request to its end and answers with an empty
//! message and status OK; but to a health check it says SERVING.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Response, header};
use tokio::net::{TcpListener, TcpStream};

/// A gRPC frame with an empty message: not compressed, length 0.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; 5]);
/// The same with a HealthCheckResponse.
const SERVING: Bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]);
/// More than any proxy wants, so that none is held up here.
const STREAMS: u32 = 1000;

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
    let mut connection = server::Builder::new().max_concurrent_streams(STREAMS).handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let message = if request.uri().path() == "/grpc.health.v1.Health/Check" { SERVING } else { EMPTY_MESSAGE };
        tokio::spawn(async move { answer(request.into_body(), respond, message).await.ok() });
    }
    Ok(())
}

async fn answer(mut body: RecvStream, mut respond: SendResponse<Bytes>, message: Bytes) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(head, false)?;
    send.send_data(message, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}
