use std::collections::VecDeque;
use std::future::poll_fn;

use http::{HeaderMap, Request, Response};
use tokio::io::duplex;

use super::*;

enum Piece {
    Data(usize),
    /// What follows is not there yet when it is asked for.
    Pause,
    Trailers,
    BreaksOff,
}
use Piece::{BreaksOff, Data, Pause, Trailers};

struct Pieces(VecDeque<Piece>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        Poll::Ready(match self.0.pop_front() {
            None => None,
            Some(Data(length)) => Some(Ok(Frame::data(vec![b'x'; length].into()))),
            Some(Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(BreaksOff) => Some(Err(BodyError::Deadline)),
            Some(Pause) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// Sends a body of these pieces: how long each frame was that arrived, and how the body ended.
async fn frames<const N: usize>(pieces: [Piece; N]) -> (Vec<usize>, &'static str) {
    let (near, far) = duplex(1 << 20);
    let sender = tokio::spawn(async move {
        let mut connection = h2::server::handshake(near).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let stream = respond.send_response(Response::new(()), false).unwrap();
        let mut pump = Pump::new(Pieces(pieces.into()), stream, Duration::from_secs(1));
        tokio::spawn(async move {
            if poll_fn(|cx| pump.poll(cx)).await.is_err() {
                pump.reset(Reason::CANCEL);
            }
        });
        while connection.accept().await.is_some() {}
    });
    let (client, connection) = h2::client::handshake(far).await.unwrap();
    let driver = tokio::spawn(connection);
    let (response, _) = client.ready().await.unwrap().send_request(Request::new(()), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut lengths = Vec::new();
    let end = loop {
        match body.data().await {
            Some(Ok(data)) => lengths.push(data.len()),
            Some(Err(_)) => break "reset",
            None if body.trailers().await.unwrap().is_some() => break "trailers",
            None => break "end",
        }
    };
    sender.abort();
    driver.abort();
    (lengths, end)
}

#[tokio::test]
async fn small_pieces_that_are_there_go_out_as_one_after_the_first() {
    assert_eq!(frames([Data(5), Trailers]).await, (vec![5], "trailers"));
    assert_eq!(frames([Data(5), Data(7), Data(9)]).await, (vec![5, 16], "end"));
    assert_eq!(frames([Data(5), Data(7), Data(9), Trailers]).await, (vec![5, 16], "trailers"));
    // None waits for those behind it.
    assert_eq!(
        frames([Data(1), Data(5), Data(7), Pause, Data(9), Pause, Trailers]).await,
        (vec![1, 12, 9], "trailers")
    );
    assert_eq!(frames([Data(1), Pause, Data(0), Data(5), Data(0), Pause, Data(2)]).await, (vec![1, 5, 2], "end"));
}

#[tokio::test]
async fn large_pieces_are_not_copied() {
    assert_eq!(frames([Data(2000), Data(2000), Data(2000)]).await, (vec![2000, 2000, 2000], "end"));
    assert_eq!(frames([Data(1), Data(5), Data(2000), Data(5), Data(5)]).await, (vec![1, 5, 2000, 10], "end"));
    let (lengths, end) = frames([const { Data(1000) }; 50]).await;
    assert_eq!((lengths.iter().sum(), end), (50_000, "end"));
    assert!(lengths.iter().all(|length| *length <= JOINED), "{lengths:?}");
    assert!(lengths.len() <= 5, "{lengths:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_in_a_reset() {
    assert_eq!(frames([Data(5), Data(7), BreaksOff]).await.1, "reset");
    assert_eq!(frames([Data(5), Data(7), Pause, BreaksOff]).await.1, "reset");
}

#[tokio::test]
async fn a_small_body_does_not_wait_until_its_stream_is_open() {
    let (near, far) = duplex(1 << 20);
    let (arrived, mut lengths) = tokio::sync::mpsc::channel(2);
    let server = tokio::spawn(async move {
        let mut connection = h2::server::handshake(near).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let arrived = arrived.clone();
            tokio::spawn(async move {
                let (mut body, mut length) = (request.into_body(), 0);
                while let Some(Ok(data)) = body.data().await {
                    length += data.len();
                }
                drop(respond);
                arrived.send(length).await.unwrap();
            });
        }
    });
    let (client, connection) = h2::client::handshake(far).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    for (length, at_once) in [(FIRST, true), (FIRST + 1, false)] {
        // Nothing is awaited between these, so the connection has no turn.
        let (_response, stream) = client.send_request(Request::new(()), false).unwrap();
        let mut pump = Pump::opening(Pieces([Data(length)].into()), stream, Duration::from_secs(1));
        assert_eq!(poll_fn(|cx| Poll::Ready(pump.poll(cx).is_ready())).await, at_once, "{length} bytes");
        if !at_once {
            poll_fn(|cx| pump.poll(cx)).await.unwrap();
        }
        assert_eq!(lengths.recv().await, Some(length));
        client = client.ready().await.unwrap();
    }
    server.abort();
    driver.abort();
}
