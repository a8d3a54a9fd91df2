//! Handles in odd orders.

use std::task::{Context, Poll, Waker};

use super::peer::*;
use super::*;

/// What a server's handles do, in words of one letter: drop the receiver, drop the sender, answer, end the answer.
async fn server_handles(bytes: &[u8], order: &str) -> String {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(bytes).await;
    let (receiver, sender) = serving.stream().await;
    let (mut receiver, mut sender) = (Some(receiver), Some(sender));
    let mut words = Vec::new();
    for act in order.chars() {
        match act {
            'r' => receiver = None,
            's' => sender = None,
            'a' => sender.as_mut().unwrap().respond(&Response::new(()), false).unwrap(),
            'A' => sender.as_mut().unwrap().respond(&Response::new(()), true).unwrap(),
            'e' => send(sender.as_mut().unwrap(), Bytes::new(), true).await.unwrap(),
            _ => unreachable!(),
        }
        words.push(peer.words().await);
    }
    assert_eq!(serving.has_streams(), receiver.is_some() || sender.is_some() || words.iter().all(String::is_empty));
    assert!(peer.is_answered().await);
    words.join("; ")
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_server_ends_with_its_last_handle() {
    let (open, ended) = (post(1, 0, &[]), post(1, END, &[]));
    let unread = [post(1, 0, &[]), data(1, 0, b"abc")].concat();
    let cases = [
        (&open, "rs", "; RESET 1 code 8"),
        (&open, "sr", "; RESET 1 code 8"),
        (&unread, "rs", "; RESET 1 code 8"),
        (&unread, "sr", "; RESET 1 code 8"),
        (&ended, "rs", "; RESET 1 code 8"),
        (&open, "ars", "HEADERS 1; ; RESET 1 code 8"),
        (&open, "asr", "HEADERS 1; ; RESET 1 code 8"),
        (&ended, "asr", "HEADERS 1; ; RESET 1 code 8"),
        (&open, "Ars", "HEADERS 1 end; ; RESET 1 code 0"),
        (&open, "Asr", "HEADERS 1 end; ; RESET 1 code 0"),
        (&open, "aers", "HEADERS 1; DATA 1 of 0 end; ; RESET 1 code 0"),
        (&unread, "raes", "; HEADERS 1; DATA 1 of 0 end; RESET 1 code 0"),
        (&ended, "Ars", "HEADERS 1 end; ; "),
        (&ended, "rAs", "; HEADERS 1 end; "),
    ];
    for (bytes, order, expected) in cases {
        assert_eq!(server_handles(bytes, order).await, expected, "{order}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_client_ends_with_its_last_handle() {
    for (answer, end, expected) in [
        (vec![], false, "RESET 1 code 8"),
        (vec![], true, "RESET 1 code 8"),
        (ok(1, 0, &[]), true, "RESET 1 code 8"),
        ([ok(1, 0, &[]), data(1, 0, b"x")].concat(), true, "RESET 1 code 8"),
        (ok(1, END, &[]), false, "RESET 1 code 8"),
        (ok(1, END, &[]), true, ""),
    ] {
        for receiver_first in [false, true] {
            let (mut peer, dialled) = dial(OURS, &[]).await;
            let (receiver, sender) = dialled.begin(end);
            peer.write(&answer).await;
            peer.all().await;
            let (mut receiver, mut sender) = (Some(receiver), Some(sender));
            if receiver_first {
                receiver = None;
            } else {
                sender = None;
            }
            assert_eq!(peer.words().await, "");
            drop((receiver.take(), sender.take()));
            assert_eq!(peer.words().await, expected);
            assert!(!dialled.has_streams());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_sent_after_a_reset() {
    for remote in [false, true] {
        let (mut peer, mut serving) = serve(OURS).await;
        peer.write(&post(1, 0, &[])).await;
        let (mut receiver, mut sender) = serving.stream().await;
        if remote {
            peer.write(&reset(1, 8)).await;
        } else {
            sender.reset(Reason::CANCEL);
        }
        let expected = if remote { by_reset(Reason::CANCEL, true) } else { name(&Error::GivenUp(Reason::CANCEL)) };
        assert_eq!(name(&ended(&mut sender).await), expected);
        peer.all().await;
        assert_eq!(name(&sender.respond(&Response::new(()), false).unwrap_err()), expected);
        assert_eq!(name(&send(&mut sender, Bytes::from("x"), false).await.unwrap_err()), expected);
        assert_eq!(name(&send(&mut sender, Bytes::new(), true).await.unwrap_err()), expected);
        assert_eq!(name(&sender.send_trailers(&HeaderMap::new()).unwrap_err()), expected);
        sender.reset(Reason::INTERNAL_ERROR);
        for _ in 0..2 {
            assert_eq!(name(&read(&mut receiver).await.1.unwrap_err()), expected);
        }
        drop((receiver, sender));
        assert_eq!(peer.words().await, "");
        assert!(!serving.has_streams());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_to_a_stream_that_was_reset_is_ignored() {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&[1, 3].map(|id| post(id, 0, &[])).concat()).await;
    let streams = [serving.stream().await, serving.stream().await];
    drop(streams);
    assert_eq!(peer.words().await, "RESET 1 code 8, RESET 3 code 8");
    let trailers = frame(HEADERS, WHOLE | END, 1, &field("a", "b"));
    let window = numbers(WINDOW_UPDATE, 1, &[0]);
    peer.write(&[data(1, 0, b"abc"), window, trailers, data(3, END, b"abc"), reset(3, 8)].concat()).await;
    assert_eq!(peer.words().await, "");
    assert!(peer.is_answered().await);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_learns_of_a_reset() {
    let (mut peer, dialled) = dial(OURS, &[(WINDOW, 0)]).await;
    let (_receiver, mut sender) = dialled.begin(false);
    let task = tokio::spawn(async move { send(&mut sender, Bytes::from("x"), true).await });
    settle().await;
    peer.write(&reset(1, 11)).await;
    assert_eq!(name(&soon(task).await.unwrap().unwrap_err()), by_reset(Reason::ENHANCE_YOUR_CALM, true));
}

#[tokio::test(start_paused = true)]
async fn the_end_stays_the_end() {
    let (mut peer, mut serving) = serve(OURS).await;
    let trailers = frame(HEADERS, WHOLE | END, 1, &field("a", "b"));
    peer.write(&[post(1, 0, &[]), data(1, 0, b"abc")].concat()).await;
    let (mut receiver, _sender) = serving.stream().await;
    assert!(!receiver.is_end_stream());
    peer.write(&trailers).await;
    settle().await;
    assert!(!receiver.is_end_stream());
    assert_eq!(whole(&mut receiver).await, (b"abc".to_vec(), Some(header("a", "b"))));
    assert!(receiver.is_end_stream());
    for _ in 0..3 {
        assert_eq!(whole(&mut receiver).await, (vec![], None));
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_lives_is_woken_when_the_connection_is_gone() {
    for is_dropped in [false, true] {
        let (peer, dialled) = dial(OURS, &[(WINDOW, 0), (MAX_STREAMS, 3)]).await;
        let streams: Vec<_> = (0..4).map(|_| dialled.begin(false)).collect();
        let mut tasks = Vec::new();
        for (i, (mut receiver, mut sender)) in streams.into_iter().enumerate() {
            // The last waits for the server to have room: it was provably not processed.
            let expected = if i < 3 { "Lost(None)" } else { "GoAway { reason: Reason(0), remote: true }" };
            let task = tokio::spawn(async move { respond_to(&mut receiver).await.map(|_| ()) });
            tasks.push((task, expected));
            let task = tokio::spawn(async move {
                if i == 0 { Err(ended(&mut sender).await) } else { send(&mut sender, Bytes::from("x"), true).await }
            });
            tasks.push((task, expected));
        }
        settle().await;
        let mut peer = Some(peer);
        if is_dropped {
            dialled.task.abort();
        } else {
            peer = None;
        }
        for (task, expected) in tasks {
            assert_eq!(name(&soon(task).await.unwrap().unwrap_err()), expected);
        }
        settle().await;
        assert_eq!(name(&dialled.try_begin(true).map(|_| ()).unwrap_err()), "Lost(None)");
        assert!(!dialled.has_streams());
        drop(peer);
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_a_server_that_is_dropped_is_lost() {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&[post(1, 0, &[]), post(3, END, &[])].concat()).await;
    let (mut receiver, mut sender) = serving.stream().await;
    let (mut whole_receiver, mut other_sender) = serving.stream().await;
    let reader = tokio::spawn(async move { read(&mut receiver).await.1.map(|_| ()) });
    settle().await;
    serving.task.abort();
    drop(serving);
    assert_eq!(name(&soon(reader).await.unwrap().unwrap_err()), "Lost(None)");
    assert_eq!(name(&ended(&mut sender).await), "Lost(None)");
    assert_eq!(name(&other_sender.respond(&Response::new(()), true).unwrap_err()), "Lost(None)");
    assert_eq!(whole(&mut whole_receiver).await, (vec![], None));
    assert_eq!(peer.words().await, "end");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_with_its_clients() {
    let (mut peer, Dialled { client, task, .. }) = dial(OURS, &[]).await;
    settle().await;
    assert!(!task.is_finished());
    drop(client);
    assert_eq!(peer.words().await, "end");
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_last_stream_when_its_clients_are_gone() {
    let (mut peer, Dialled { client, shared, task }) = dial(OURS, &[]).await;
    let other = client.clone();
    drop(client);
    let head = request(Method::GET, "http://x/");
    let (mut receiver, _sender) = other.send(&RequestHead::of(&head), true).unwrap();
    drop(other);
    assert_eq!(peer.words().await, "HEADERS 1 end");
    peer.write(&[ok(1, 0, &[]), data(1, 0, b"abc")].concat()).await;
    assert_eq!(peer.words().await, "");
    assert!(!task.is_finished());
    peer.write(&data(1, END, b"def")).await;
    assert_eq!(peer.words().await, "end");
    soon(task).await.unwrap().unwrap();
    // What has come can still be read.
    respond_to(&mut receiver).await.unwrap();
    assert_eq!(whole(&mut receiver).await.0, b"abcdef");
    drop((receiver, _sender));
    assert!(shared.lock().streams.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_is_an_error_only_while_a_stream_is_open() {
    let cases = [
        (post(1, END, &[]), true, "Ok(())"),
        ([post(1, END, &[]), reset(1, 8)].concat(), false, "Ok(())"),
        (post(1, END, &[]), false, "Err(Lost(None))"),
    ];
    for (bytes, answers, expected) in cases {
        let (mut peer, mut serving) = serve(OURS).await;
        peer.write(&bytes[..post(1, END, &[]).len()]).await;
        let (_receiver, mut sender) = serving.stream().await;
        if answers {
            sender.respond(&Response::new(()), true).unwrap();
        }
        peer.write(&bytes[post(1, END, &[]).len()..]).await;
        settle().await;
        drop(peer);
        assert_eq!(format!("{:?}", serving.end().await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_response_outlives_a_reset() {
    let (mut peer, dialled) = dial(OURS, &[]).await;
    let (mut receiver, mut sender) = dialled.begin(false);
    let trailers = frame(HEADERS, WHOLE | END, 1, &field("a", "b"));
    peer.write(&[ok(1, 0, &[]), data(1, 0, b"abc"), trailers, reset(1, 0)].concat()).await;
    assert_eq!(name(&ended(&mut sender).await), by_reset(Reason::NO_ERROR, true));
    assert_eq!(respond_to(&mut receiver).await.unwrap().status(), 200);
    assert_eq!(whole(&mut receiver).await, (b"abc".to_vec(), Some(header("a", "b"))));
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_reset_is_delivered_before_it() {
    let (mut peer, dialled) = dial(OURS, &[]).await;
    let (mut receiver, _sender) = dialled.begin(true);
    peer.write(&[ok(1, 0, &[]), data(1, 0, b"abc"), data(1, 0, &[7; 3_000]), reset(1, 2)].concat()).await;
    settle().await;
    respond_to(&mut receiver).await.unwrap();
    let (body, end) = read(&mut receiver).await;
    assert_eq!((body.len(), name(&end.unwrap_err())), (3_003, by_reset(Reason::INTERNAL_ERROR, true)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_accepts_nothing_more() {
    let (near, far) = duplex(ROOMY);
    let mut server = Server::new(near, OURS);
    let mut peer = Peer(far);
    peer.write(&[set(&[]), post(1, END, &[])].concat()).await;
    let mut poll = || server.poll_accept(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Some(Ok(handles))) = poll() else { panic!("a request") };
    assert!(poll().is_pending());
    drop(handles);
    drop(peer);
    assert!(matches!(poll(), Poll::Ready(None)));
    assert!(matches!(poll(), Poll::Ready(None | Some(Err(_)))));
    assert!(!server.has_streams());
}
