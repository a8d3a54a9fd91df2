//! The server behind the proxies when they are compared. It listens on free ports, prints them, for HTTP/2 and for
//! HTTP/1.1, and runs until it is ended. Every address in 127.0.0.0/8 reaches it, so that it is as many endpoints as
//! are wanted; nothing else than the loopback device does.

#![allow(clippy::print_stdout, reason = "whoever starts it reads the ports there")]

#[path = "../support/echo.rs"]
mod echo;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// Clients that connect at once.
const BACKLOG: i32 = 4096;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (http2, http1) = (listen()?, listen()?);
    println!("{} {}", http2.local_addr()?.port(), http1.local_addr()?.port());
    tokio::try_join!(echo::run(http2), run_http1(http1))?;
    Ok(())
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind_device(Some(b"lo"))?;
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// The same answer as `echo::run` gives, without what only HTTP/2 has.
async fn run_http1(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        // A connection that fails is the other side's loss; the next one is served all the same.
        tokio::spawn(async move { connection.await.ok() });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Full::new(echo::EMPTY_MESSAGE)))
}
