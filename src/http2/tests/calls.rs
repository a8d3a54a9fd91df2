//! Calls between our client, our server, and those of the `h2` crate.

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::*;
use crate::http2::PREFACE;

#[derive(Clone)]
enum Caller {
    Ours(Client),
    Other(h2::client::SendRequest<Bytes>),
}

/// Windows of one side, for a stream and for the connection.
type Windows = (u32, u32);

/// The other side takes as many small frames as it gets; by default it ends a connection over some hundreds that wait.
const SMALL_FRAMES: usize = 1 << 30;

type Answer = (Vec<u8>, Option<HeaderMap>);

fn settings((stream_window, connection_window): Windows) -> Settings {
    Settings { max_streams: 100, stream_window, connection_window, ..OURS }
}

/// An echo of ours.
async fn our_echo(mut io: DuplexStream, windows: Windows) -> Result<(), Error> {
    io.read_exact(&mut [0; PREFACE.len()]).await?;
    let mut serving = Serving::new(io, settings(windows));
    while let Some((request, mut sender)) = serving.accepted.recv().await {
        tokio::spawn(async move {
            let mut receiver = request.into_body();
            let ends = receiver.is_end_stream();
            sender.respond(&Response::new(()), ends).unwrap();
            while let Some(frame) = poll_fn(|cx| receiver.poll_frame(cx)).await {
                match frame.unwrap().into_data() {
                    Ok(data) => send(&mut sender, data, false).await.unwrap(),
                    Err(trailers) => return sender.send_trailers(&trailers.into_trailers().unwrap()).unwrap(),
                }
            }
            if !ends {
                send(&mut sender, Bytes::new(), true).await.unwrap();
            }
        });
    }
    serving.task.await.unwrap()
}

async fn their_echo(io: DuplexStream, (stream_window, connection_window): Windows) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(stream_window).initial_connection_window_size(connection_window);
    builder.data_frame_budget(SMALL_FRAMES);
    let mut connection = builder.max_concurrent_streams(100).handshake::<_, Bytes>(io).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let mut body = request.into_body();
        let ends = body.is_end_stream();
        let mut sender = respond.send_response(Response::new(()), ends).unwrap();
        tokio::spawn(async move {
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                their_send(&mut sender, data).await;
            }
            match body.trailers().await.unwrap() {
                Some(trailers) => sender.send_trailers(trailers).unwrap(),
                None if ends => {}
                None => sender.send_data(Bytes::new(), true).unwrap(),
            }
        });
    }
}

async fn their_send(sender: &mut h2::SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        sender.reserve_capacity(data.len());
        let room = poll_fn(|cx| sender.poll_capacity(cx)).await.unwrap().unwrap();
        sender.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

impl Caller {
    async fn ours(io: DuplexStream, windows: Windows) -> Caller {
        Caller::Ours(Dialled::new(io, settings(windows)).await.client)
    }

    async fn theirs(io: DuplexStream, (stream_window, connection_window): Windows) -> Caller {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(stream_window).initial_connection_window_size(connection_window);
        builder.data_frame_budget(SMALL_FRAMES);
        let (client, connection) = builder.handshake(io).await.unwrap();
        tokio::spawn(connection);
        Caller::Other(client)
    }

    /// Sends all of it, in chunks, and reads the answer meanwhile.
    async fn call(self, body: Bytes, chunk: usize, trailers: Option<HeaderMap>) -> Answer {
        let head = request(Method::POST, "http://x/");
        let ends = body.is_empty() && trailers.is_none();
        match self {
            Caller::Ours(client) => {
                let (mut receiver, mut sender) = client.send(&RequestHead::of(&head), ends).unwrap();
                let sending = async {
                    for part in body.chunks(chunk) {
                        send(&mut sender, body.slice_ref(part), false).await.unwrap();
                    }
                    match trailers {
                        Some(trailers) => sender.send_trailers(&trailers).unwrap(),
                        None if ends => {}
                        None => send(&mut sender, Bytes::new(), true).await.unwrap(),
                    }
                };
                let reading = async {
                    assert_eq!(respond_to(&mut receiver).await.unwrap().status(), 200);
                    whole(&mut receiver).await
                };
                tokio::join!(sending, reading).1
            }
            Caller::Other(client) => {
                let (response, mut sender) = client.ready().await.unwrap().send_request(head, ends).unwrap();
                let sending = async {
                    for part in body.chunks(chunk) {
                        their_send(&mut sender, body.slice_ref(part)).await;
                    }
                    match trailers {
                        Some(trailers) => sender.send_trailers(trailers).unwrap(),
                        None if ends => {}
                        None => sender.send_data(Bytes::new(), true).unwrap(),
                    }
                };
                let reading = async {
                    let mut body = response.await.unwrap().into_body();
                    let mut read = Vec::new();
                    while let Some(data) = body.data().await {
                        let data = data.unwrap();
                        body.flow_control().release_capacity(data.len()).unwrap();
                        read.extend_from_slice(&data);
                    }
                    (read, body.trailers().await.unwrap())
                };
                tokio::join!(sending, reading).1
            }
        }
    }
}

/// Our client against theirs, theirs against ours, and ours against ours.
async fn pairs(client: Windows, server: Windows, buffer: usize) -> [(&'static str, Caller); 3] {
    let ends = || duplex(buffer);
    let [(a, b), (c, d), (e, f)] = [ends(), ends(), ends()];
    tokio::spawn(their_echo(b, server));
    tokio::spawn(our_echo(d, server));
    tokio::spawn(our_echo(f, server));
    [
        ("to theirs", Caller::ours(a, client).await),
        ("from theirs", Caller::theirs(c, client).await),
        ("between ours", Caller::ours(e, client).await),
    ]
}

#[tokio::test(start_paused = true)]
async fn bodies_of_all_sizes_arrive_under_all_windows() {
    let first = 65_535;
    for (windows, size) in [
        ((first, first), 1_000_000),
        ((1, first), 300),
        ((100, first), 20_000),
        ((5_000, first), 300_000),
        ((16_385, first), 300_000),
        ((1 << 20, first), 1_000_000),
        ((1 << 20, 1 << 20), 3_000_000),
        ((1_000, 1 << 20), 100_000),
    ] {
        for (client, server) in [(windows, (first, first)), ((first, first), windows), (windows, windows)] {
            for (name, caller) in pairs(client, server, 64 << 10).await {
                for trailers in [None, Some(header("grpc-status", "0"))] {
                    let body = pattern(size, size);
                    let answer = soon(caller.clone().call(body.clone(), 100_000, trailers.clone())).await;
                    assert!(answer == (body.to_vec(), trailers), "{name} {client:?} {server:?} {}", answer.0.len());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_of_all_chunks_arrive() {
    for buffer in [100, 5_000, 1 << 20] {
        for (name, caller) in pairs((65_535, 65_535), (65_535, 65_535), buffer).await {
            for (size, chunk) in
                [(0, 1), (1, 1), (1_000, 1), (9_000, 1_023), (9_000, 1_024), (9_000, 2_049), (50_000, 16_384)]
            {
                for trailers in [None, Some(header("grpc-status", "0"))] {
                    let body = pattern(size, size);
                    let answer = soon(caller.clone().call(body.clone(), chunk, trailers.clone())).await;
                    assert!(answer == (body.to_vec(), trailers), "{name} {buffer} {size} {chunk}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_at_a_time_keep_apart() {
    let mut random = fastrand::Rng::with_seed(1);
    for (name, caller) in pairs((20_000, 100_000), (20_000, 100_000), 30_000).await {
        let mut sizes: Vec<usize> = (0..1_000).map(|i| i * 41).collect();
        random.shuffle(&mut sizes);
        let mut calls = JoinSet::new();
        for (i, size) in sizes.into_iter().enumerate() {
            let (caller, body, chunk) = (caller.clone(), pattern(i, size), random.usize(1..20_000));
            let trailers = (i % 3 == 0).then(|| header("grpc-status", "0"));
            calls.spawn(async move {
                let answer = caller.call(body.clone(), chunk, trailers.clone()).await;
                assert!(answer == (body.to_vec(), trailers), "{name} {i}");
            });
        }
        soon(calls.join_all()).await;
    }
}
