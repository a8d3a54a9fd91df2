//! `bench-load ADDRESS CALLS-PER-SECOND SECONDS`: unary calls at a fixed rate, over eight HTTP/2 connections.
//!
//! A call's latency runs from the moment at which it was due, so that a call which had to wait because those before it
//! were slow counts its wait too; measured from when it was sent, a proxy that stops would look like one that does not.
//! Prints p50, p99, p99.9 and the longest, in microseconds.

#![allow(clippy::print_stdout, reason = "the result")]

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CONNECTIONS: usize = 8;
/// A gRPC frame: not compressed, 32 bytes of message.
const MESSAGE: Bytes = Bytes::from_static(b"\0\0\0\0\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, rate, seconds] = &arguments[..] else {
        return Err("bench-load ADDRESS CALLS-PER-SECOND SECONDS".into());
    };
    let (rate, seconds): (u32, u32) = (rate.parse()?, seconds.parse()?);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (client, connection) = client::handshake(stream).await?;
        tokio::spawn(connection);
        connections.push(client);
    }
    // Connections that the proxy has yet to make are not what is measured.
    for client in &connections {
        call(client.clone()).await?;
    }
    let mut due = schedule(Duration::from_secs(1) / rate, rate * seconds);
    let mut calls = JoinSet::new();
    while let Some(at) = due.recv().await {
        let client = connections[calls.len() % CONNECTIONS].clone();
        calls.spawn(async move { call(client).await.map(|()| at.elapsed()) });
    }
    let mut latencies = calls.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    latencies.sort_unstable();
    let [p50, p99, p999, longest] =
        [500, 990, 999, 1000].map(|part| latencies[latencies.len() * part / 1000 - 1].as_micros());
    println!("{p50} {p99} {p999} {longest}");
    Ok(())
}

/// The moments at which calls are due. A thread of its own, because the runtime's timer counts whole milliseconds.
fn schedule(interval: Duration, calls: u32) -> mpsc::Receiver<Instant> {
    let (send, receive) = mpsc::channel(calls as usize);
    let start = Instant::now();
    thread::spawn(move || {
        for number in 1..=calls {
            let at = start + interval * number;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // Nobody listens: the run has failed, and says why.
            if send.try_send(at).is_err() {
                return;
            }
        }
    });
    receive
}

async fn call(client: SendRequest<Bytes>) -> Result<(), Failure> {
    let mut client = client.ready().await?;
    let request = Request::post("http://echo/bench.Echo/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut send) = client.send_request(request, false)?;
    send.send_data(MESSAGE, true)?;
    let mut body = response.await?.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes += data.len();
    }
    // A proxy's own error has no message.
    if bytes == 5 { Ok(()) } else { Err("a call was not answered by the server".into()) }
}
