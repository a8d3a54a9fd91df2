use std::collections::VecDeque;
use std::future::poll_fn;

use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt, duplex};

use super::*;
use crate::http2::{PREFACE, Server, Settings};

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

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match self.0.pop_front() {
            None => None,
            Some(Data(length)) => Some(Ok(Frame::data(vec![b'x'; length].into()))),
            Some(Trailers) => {
                let trailers = HeaderMap::from_iter([(http::header::TE, HeaderValue::from_static("trailers"))]);
                Some(Ok(Frame::trailers(trailers)))
            }
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

const SETTINGS: Settings = Settings {
    max_streams: 10,
    max_header_bytes: 1 << 14,
    stream_window: 1 << 16,
    connection_window: 1 << 16,
    max_pending_resets: 10,
    max_error_resets: 10,
};

/// Sends a body of these pieces: how long each frame was that arrived, and how the body ended.
async fn frames<const N: usize>(pieces: [Piece; N]) -> (Vec<usize>, &'static str) {
    let (mut near, far) = duplex(1 << 20);
    let server = tokio::spawn(async move {
        near.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        let mut connection = Server::new(near, SETTINGS);
        let (_, mut sender) = poll_fn(|cx| connection.poll_accept(cx)).await.unwrap().unwrap();
        sender.respond(&Response::new(()), false).unwrap();
        let mut pump = Pump::new(Pieces(pieces.into()), sender, Duration::from_secs(1));
        tokio::spawn(async move {
            if poll_fn(|cx| pump.poll(cx)).await.is_err() {
                pump.reset(Reason::CANCEL);
            }
        });
        while poll_fn(|cx| connection.poll_accept(cx)).await.is_some() {}
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
    server.abort();
    driver.abort();
    (lengths, end)
}

#[tokio::test]
async fn a_body_goes_out_as_it_comes() {
    assert_eq!(frames([Data(5), Trailers]).await, (vec![5], "trailers"));
    assert_eq!(frames([Data(5), Data(7), Pause, Data(9)]).await, (vec![5, 7, 9], "end"));
    assert_eq!(frames([Data(5), Data(0), Pause, Data(2)]).await, (vec![5, 2], "end"));
    // More than a frame holds, and more than the window.
    assert_eq!(frames([Data(50_000)]).await.0.iter().sum::<usize>(), 50_000);
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_in_a_reset() {
    assert_eq!(frames([Data(5), Data(7), BreaksOff]).await.1, "reset");
    assert_eq!(frames([Data(5), Data(7), Pause, BreaksOff]).await.1, "reset");
}
