//! Ends of all kinds, with the `h2` crate at the other side.

use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use tokio::io::AsyncReadExt;

use super::*;
use crate::http2::PREFACE;

/// A server of ours and a client of theirs.
async fn from_theirs(settings: Settings) -> (SendRequest<Bytes>, Serving<DuplexStream>, JoinHandle<()>) {
    let (mut near, far) = duplex(ROOMY);
    let (client, connection) = h2::client::Builder::new().handshake(far).await.unwrap();
    let task = tokio::spawn(async move { connection.await.unwrap() });
    soon(near.read_exact(&mut [0; PREFACE.len()])).await.unwrap();
    (client, Serving::new(near, settings), task)
}

type Taken = (Request<RecvStream>, SendResponse<Bytes>);

/// A client of ours and a server of theirs, of which the test gets the requests.
async fn to_theirs(max_streams: u32) -> (Dialled, mpsc::Receiver<Taken>, mpsc::Sender<()>) {
    let (near, far) = duplex(ROOMY);
    let (accept, accepted) = mpsc::channel(2_000);
    let (shut_down, mut shutting_down) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut builder = h2::server::Builder::new();
        let mut connection = builder.max_concurrent_streams(max_streams).handshake(far).await.unwrap();
        loop {
            tokio::select! {
                Some(()) = shutting_down.recv() => connection.graceful_shutdown(),
                next = connection.accept() => match next {
                    Some(taken) => accept.send(taken.unwrap()).await.unwrap(),
                    None => return,
                },
            }
        }
    });
    (Dialled::new(near, OURS).await, accepted, shut_down)
}

fn call(client: &mut SendRequest<Bytes>, end: bool) -> (ResponseFuture, h2::SendStream<Bytes>) {
    client.send_request(request(Method::POST, "http://x/"), end).unwrap()
}

/// How far a call has come when it is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Sending,
    Sent,
    Answered,
    Answering,
}
use Stage::{Answered, Answering, Begun, Sending, Sent};

const STAGES: [Stage; 5] = [Begun, Sending, Sent, Answered, Answering];

#[tokio::test(start_paused = true)]
async fn their_server_learns_that_our_client_breaks_off() {
    for stage in STAGES {
        for is_dropped in [false, true] {
            let (dialled, mut accepted, _shut_down) = to_theirs(10).await;
            let (mut receiver, mut sender) = dialled.begin(false);
            let (request, mut respond) = soon(accepted.recv()).await.unwrap();
            let (mut body, mut response) = (request.into_body(), None);
            if stage != Begun {
                send(&mut sender, Bytes::from("abc"), stage != Sending).await.unwrap();
                assert_eq!(soon(body.data()).await.unwrap().unwrap(), "abc");
            }
            if [Answered, Answering].contains(&stage) {
                response = Some(respond.send_response(Response::new(()), false).unwrap());
                respond_to(&mut receiver).await.unwrap();
            }
            if let (Answering, Some(response)) = (stage, &mut response) {
                response.send_data(Bytes::from("def"), false).unwrap();
                assert_eq!(part(&mut receiver).await, "def");
            }
            if is_dropped {
                drop((receiver, sender));
            } else {
                sender.reset(Reason::CANCEL);
                assert_eq!(name(&read(&mut receiver).await.1.unwrap_err()), name(&Error::GivenUp(Reason::CANCEL)));
            }
            let reset = match &mut response {
                Some(response) => soon(poll_fn(|cx| response.poll_reset(cx))).await,
                None => soon(poll_fn(|cx| respond.poll_reset(cx))).await,
            };
            assert_eq!(reset.unwrap(), h2::Reason::CANCEL, "{stage:?}");
            if [Begun, Sending].contains(&stage) {
                assert_eq!(soon(body.data()).await.unwrap().unwrap_err().reason(), Some(h2::Reason::CANCEL));
            }
            assert_eq!(dialled.has_streams(), !is_dropped);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn our_client_learns_that_their_server_breaks_off() {
    for stage in STAGES {
        let (dialled, mut accepted, _shut_down) = to_theirs(10).await;
        let (mut receiver, mut sender) = dialled.begin(false);
        let (_request, mut respond) = soon(accepted.recv()).await.unwrap();
        if stage != Begun {
            send(&mut sender, Bytes::from("abc"), stage != Sending).await.unwrap();
        }
        let expected = by_reset(Reason::INTERNAL_ERROR, true);
        if [Answered, Answering].contains(&stage) {
            let mut response = respond.send_response(Response::new(()), false).unwrap();
            if stage == Answering {
                response.send_data(Bytes::from("def"), false).unwrap();
                settle().await;
            }
            respond_to(&mut receiver).await.unwrap();
            response.send_reset(h2::Reason::INTERNAL_ERROR);
            let (body, end) = read(&mut receiver).await;
            assert_eq!(body, if stage == Answering { &b"def"[..] } else { b"" });
            assert_eq!(name(&end.unwrap_err()), expected);
        } else {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            assert_eq!(name(&respond_to(&mut receiver).await.unwrap_err()), expected, "{stage:?}");
        }
        assert_eq!(name(&ended(&mut sender).await), expected, "{stage:?}");
        drop((receiver, sender));
        assert!(!dialled.has_streams());
    }
}

#[tokio::test(start_paused = true)]
async fn our_server_learns_that_their_client_breaks_off() {
    for stage in STAGES {
        let (mut client, mut serving, _task) = from_theirs(OURS).await;
        let (response, mut upload) = call(&mut client, false);
        let (mut receiver, mut sender) = serving.stream().await;
        if stage != Begun {
            upload.send_data(Bytes::from("abc"), stage != Sending).unwrap();
            settle().await;
        }
        let mut kept = None;
        if [Answered, Answering].contains(&stage) {
            sender.respond(&Response::new(()), false).unwrap();
            kept = Some(soon(response).await.unwrap().into_body());
        } else {
            drop(response);
        }
        if let (Answering, Some(body)) = (stage, &mut kept) {
            send(&mut sender, Bytes::from("def"), false).await.unwrap();
            assert_eq!(soon(body.data()).await.unwrap().unwrap(), "def");
        }
        upload.send_reset(h2::Reason::CANCEL);
        assert_eq!(name(&ended(&mut sender).await), by_reset(Reason::CANCEL, true), "{stage:?}");
        let (body, end) = read(&mut receiver).await;
        assert_eq!(body, if stage == Begun { &b""[..] } else { b"abc" });
        assert_eq!(end.is_ok(), stage != Begun && stage != Sending, "{stage:?}");
        drop((receiver, sender));
        assert!(!serving.has_streams());
    }
}

#[tokio::test(start_paused = true)]
async fn their_client_learns_that_our_server_breaks_off() {
    for stage in STAGES {
        for is_dropped in [false, true] {
            let (mut client, mut serving, _task) = from_theirs(OURS).await;
            let (response, mut upload) = call(&mut client, false);
            let (receiver, mut sender) = serving.stream().await;
            if stage != Begun {
                upload.send_data(Bytes::from("abc"), stage != Sending).unwrap();
            }
            let is_answered = [Answered, Answering].contains(&stage);
            if is_answered {
                sender.respond(&Response::new(()), false).unwrap();
            }
            if stage == Answering {
                send(&mut sender, Bytes::from("def"), false).await.unwrap();
            }
            settle().await;
            let code = if is_dropped {
                drop((receiver, sender));
                h2::Reason::CANCEL
            } else {
                sender.reset(Reason::INTERNAL_ERROR);
                h2::Reason::INTERNAL_ERROR
            };
            let response = soon(response).await;
            if is_answered {
                let mut body = response.unwrap().into_body();
                if stage == Answering {
                    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "def");
                }
                assert_eq!(soon(body.data()).await.unwrap().unwrap_err().reason(), Some(code), "{stage:?}");
            } else {
                assert_eq!(response.unwrap_err().reason(), Some(code), "{stage:?}");
            }
            assert_eq!(soon(poll_fn(|cx| upload.poll_reset(cx))).await.unwrap(), code, "{stage:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_request_stands() {
    let (mut client, mut serving, _task) = from_theirs(OURS).await;
    let (response, mut upload) = call(&mut client, false);
    let (_, mut sender) = serving.stream().await;
    sender.respond(&Response::new(()), false).unwrap();
    send(&mut sender, Bytes::from("abc"), true).await.unwrap();
    drop(sender);
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "abc");
    assert_eq!(soon(poll_fn(|cx| upload.poll_reset(cx))).await.unwrap(), h2::Reason::NO_ERROR);
}

#[tokio::test(start_paused = true)]
async fn calls_over_their_limit_wait_for_their_turn() {
    let (dialled, mut accepted, _shut_down) = to_theirs(2).await;
    let calls: Vec<_> = (0..20).map(|_| dialled.begin(true)).collect();
    let answers = calls.into_iter().map(|(mut receiver, sender)| {
        tokio::spawn(async move {
            respond_to(&mut receiver).await.unwrap();
            drop(sender);
            whole(&mut receiver).await.0
        })
    });
    let answers: Vec<_> = answers.collect();
    for _ in 0..10 {
        settle().await;
        assert_eq!(accepted.len(), 2);
        for _ in 0..2 {
            let (_, mut respond) = accepted.try_recv().unwrap();
            respond.send_response(Response::new(()), false).unwrap().send_data(Bytes::from("abc"), true).unwrap();
        }
    }
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap(), b"abc");
    }
    assert!(!dialled.has_streams());
}

#[tokio::test(start_paused = true)]
async fn our_server_ends_gracefully() {
    let (mut client, mut serving, task) = from_theirs(OURS).await;
    let (response, mut upload) = call(&mut client, false);
    let (mut receiver, mut sender) = serving.stream().await;
    serving.server.lock().unwrap().shut_down();
    settle().await;
    assert!(poll_fn(|cx| client.poll_ready(cx)).await.is_err());
    assert!(!serving.task.is_finished());
    upload.send_data(Bytes::from("abc"), true).unwrap();
    assert_eq!(whole(&mut receiver).await.0, b"abc");
    sender.respond(&Response::new(()), false).unwrap();
    send(&mut sender, Bytes::from("def"), true).await.unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "def");
    serving.end().await.unwrap();
    drop((client, upload, body));
    soon(task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn their_server_ends_gracefully() {
    let (dialled, mut accepted, shut_down) = to_theirs(1).await;
    let (mut receiver, mut sender) = dialled.begin(false);
    let (mut waiting, _sender) = dialled.begin(true);
    let (request, mut respond) = soon(accepted.recv()).await.unwrap();
    shut_down.send(()).await.unwrap();
    assert!(respond_to(&mut waiting).await.unwrap_err().is_go_away());
    let refused = dialled.try_begin(true).map(|_| ()).unwrap_err();
    assert!(refused.is_go_away() && refused.is_remote());
    assert!(!dialled.task.is_finished());
    send(&mut sender, Bytes::from("abc"), true).await.unwrap();
    assert_eq!(soon(request.into_body().data()).await.unwrap().unwrap(), "abc");
    respond.send_response(Response::new(()), false).unwrap().send_data(Bytes::from("def"), true).unwrap();
    respond_to(&mut receiver).await.unwrap();
    assert_eq!(whole(&mut receiver).await.0, b"def");
    soon(dialled.task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn both_sides_answer_pings() {
    let (_client, serving, _task) = from_theirs(OURS).await;
    let mut pings = serving.server.lock().unwrap().ping_pong();
    let (near, far) = duplex(ROOMY);
    let theirs = tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        soon(pings.ping(h2::Ping::opaque())).await.unwrap();
    });
    let (_ours, connection) = soon(connect(near, OURS)).await.unwrap();
    let mut more = connection.ping_pong();
    let task = tokio::spawn(connection);
    soon(theirs).await.unwrap();
    for _ in 0..3 {
        soon(pings.ping()).await;
        soon(more.ping()).await;
    }
    // An answer, and not the end.
    assert!(!serving.task.is_finished() && !task.is_finished());
}
