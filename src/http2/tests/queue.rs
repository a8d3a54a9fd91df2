//! Streams for which the server has no room, GOAWAY, graceful ends, and pings.

use super::peer::*;
use super::*;

fn go_away(last: u32, code: u32) -> Vec<u8> {
    numbers(GO_AWAY, 0, &[last, code])
}

#[tokio::test(start_paused = true)]
async fn streams_over_the_limit_begin_when_there_is_room() {
    let (mut peer, dialled) = dial(OURS, &[(MAX_STREAMS, 1)]).await;
    assert_eq!(dialled.client.max_streams(), 1);
    let mut streams: Vec<_> = (0..5).map(|_| dialled.begin(true)).collect();
    assert_eq!(peer.words().await, "HEADERS 1 end");
    peer.write(&ok(1, END, &[])).await;
    assert_eq!(peer.words().await, "HEADERS 3 end");
    // The one that is dropped while it waits never begins.
    streams.remove(2);
    streams.remove(1);
    assert_eq!(peer.words().await, "RESET 3 code 8, HEADERS 5 end");
    peer.write(&reset(5, 7)).await;
    assert_eq!(peer.words().await, "HEADERS 7 end");
    let late = dialled.begin(true);
    peer.write(&set(&[(MAX_STREAMS, 5)])).await;
    assert_eq!(peer.words().await, "SETTINGS flags 1, HEADERS 9 end");
    drop((streams, late));
    assert_eq!(peer.words().await, "RESET 7 code 8, RESET 9 code 8");
    assert!(!dialled.has_streams());
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_with_its_stream() {
    let trailers = header("a", "b");
    for (body, has_trailers, expected) in [
        ("abc", false, "HEADERS 3, DATA 3 of 3 end"),
        ("", false, "HEADERS 3, DATA 3 of 0 end"),
        ("", true, "HEADERS 3, HEADERS 3 end"),
        ("abc", true, "HEADERS 3, DATA 3 of 3, HEADERS 3 end"),
    ] {
        let (mut peer, dialled) = dial(OURS, &[(MAX_STREAMS, 1)]).await;
        let _first = dialled.begin(true);
        let (_receiver, mut sender) = dialled.begin(false);
        let trailers = trailers.clone();
        let task = tokio::spawn(async move {
            if !(has_trailers && body.is_empty()) {
                send(&mut sender, Bytes::from(body), !has_trailers).await.unwrap();
            }
            if has_trailers {
                sender.send_trailers(&trailers).unwrap();
            }
            sender
        });
        assert_eq!(peer.words().await, "HEADERS 1 end", "{body} {has_trailers}");
        peer.write(&ok(1, END, &[])).await;
        assert_eq!(peer.words().await, expected);
        soon(task).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_empty_body_needs_no_window() {
    let (mut peer, dialled) = dial(OURS, &[(MAX_STREAMS, 1), (WINDOW, 0)]).await;
    let first = dialled.begin(true);
    let (_receiver, mut sender) = dialled.begin(false);
    let task = tokio::spawn(async move { send(&mut sender, Bytes::new(), true).await.map(|()| sender) });
    assert_eq!(peer.words().await, "HEADERS 1 end");
    drop(first);
    assert_eq!(peer.words().await, "RESET 1 code 8, HEADERS 3, DATA 3 of 0 end");
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_can_be_reset() {
    let (mut peer, dialled) = dial(OURS, &[(MAX_STREAMS, 0)]).await;
    let (mut receiver, mut sender) = dialled.begin(false);
    sender.reset(Reason::CANCEL);
    assert_eq!(name(&respond_to(&mut receiver).await.unwrap_err()), name(&Error::GivenUp(Reason::CANCEL)));
    peer.write(&set(&[(MAX_STREAMS, 9)])).await;
    assert_eq!(peer.words().await, "SETTINGS flags 1");
    drop((receiver, sender));
    assert!(!dialled.has_streams());
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_clients_are_gone_still_begins_what_waits() {
    let (mut peer, Dialled { client, task, .. }) = dial(OURS, &[(MAX_STREAMS, 0)]).await;
    let head = request(Method::POST, "http://x/");
    let (mut receiver, _sender) = client.send(&RequestHead::of(&head), true).unwrap();
    drop(client);
    assert_eq!(peer.words().await, "");
    peer.write(&[set(&[(MAX_STREAMS, 1)]), ok(1, END, &[])].concat()).await;
    respond_to(&mut receiver).await.unwrap();
    assert_eq!(peer.words().await, "SETTINGS flags 1, HEADERS 1 end, end");
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_what_waits_is_dropped_after_its_clients() {
    let (mut peer, Dialled { client, task, .. }) = dial(OURS, &[(MAX_STREAMS, 0)]).await;
    let head = request(Method::POST, "http://x/");
    let handles = client.send(&RequestHead::of(&head), true).unwrap();
    drop(client);
    settle().await;
    drop(handles);
    assert_eq!(peer.words().await, "end");
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn go_away_fails_what_the_server_did_not_take_and_nothing_else() {
    let (mut peer, dialled) = dial(OURS, &[(MAX_STREAMS, 3)]).await;
    let mut streams: Vec<_> = (0..5).map(|_| dialled.begin(true)).collect();
    assert_eq!(peer.words().await, "HEADERS 1 end, HEADERS 3 end, HEADERS 5 end");
    peer.write(&go_away(3, 2)).await;
    for (receiver, sender) in &mut streams[2..] {
        let error = respond_to(receiver).await.unwrap_err();
        assert!(error.is_go_away() && error.is_remote() && !error.is_reset());
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        assert!(ended(sender).await.is_go_away());
    }
    let refused = dialled.try_begin(true).map(|_| ()).unwrap_err();
    assert!(refused.is_go_away() && refused.is_remote());
    // Nothing begins any more.
    assert_eq!(peer.words().await, "");
    peer.write(&[ok(1, END, &[]), ok(3, 0, &[]), data(3, END, b"abc")].concat()).await;
    for (i, body) in [(0, &b""[..]), (1, b"abc")] {
        respond_to(&mut streams[i].0).await.unwrap();
        assert_eq!(whole(&mut streams[i].0).await.0, body);
    }
    assert_eq!(peer.words().await, "end");
    soon(dialled.task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_may_say_twice_that_it_ends() {
    let (mut peer, dialled) = dial(OURS, &[]).await;
    let mut streams = [dialled.begin(true), dialled.begin(true)];
    peer.write(&go_away(i32::MAX as u32, 0)).await;
    assert_eq!(peer.words().await, "HEADERS 1 end, HEADERS 3 end");
    assert!(!dialled.task.is_finished());
    peer.write(&[go_away(1, 0), ok(1, END, &[])].concat()).await;
    assert!(respond_to(&mut streams[1].0).await.unwrap_err().is_go_away());
    respond_to(&mut streams[0].0).await.unwrap();
    soon(dialled.task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_shuts_down_takes_what_comes_before_the_client_knows() {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&post(1, END, &[])).await;
    let (_first, mut first) = serving.stream().await;
    for _ in 0..2 {
        serving.server.lock().unwrap().shut_down();
    }
    let seen: Vec<Seen> = peer.all().await.into_iter().flatten().collect();
    let [said, ping] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(format!("{said:?}"), "GOAWAY last 2147483647 code 0");
    peer.write(&post(3, END, &[])).await;
    let (_second, mut second) = serving.stream().await;
    peer.write(&[frame(PING, ACK, 0, &ping.payload), post(5, END, &[])].concat()).await;
    assert_eq!(peer.words().await, "GOAWAY last 3 code 0");
    assert!(serving.accepted.is_empty());
    first.respond(&Response::new(()), true).unwrap();
    assert_eq!(peer.words().await, "HEADERS 1 end");
    second.respond(&Response::new(()), false).unwrap();
    second.send_trailers(&header("a", "b")).unwrap();
    assert_eq!(peer.words().await, "HEADERS 3, HEADERS 3 end, end");
    serving.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_a_stream_that_came_too_late_is_ignored() {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&post(1, END, &[])).await;
    let _open = serving.stream().await;
    serving.server.lock().unwrap().shut_down();
    let ping = peer.all().await.into_iter().flatten().find(|seen| seen.kind == PING).unwrap();
    peer.write(&frame(PING, ACK, 0, &ping.payload)).await;
    assert_eq!(peer.words().await, "GOAWAY last 1 code 0");
    peer.write(&[post(3, 0, &[]), data(3, 0, b"abc"), numbers(WINDOW_UPDATE, 3, &[1]), reset(3, 8)].concat()).await;
    assert_eq!(peer.words().await, "");
    assert!(peer.is_answered().await);
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_its_answer() {
    let (mut peer, serving) = serve(OURS).await;
    let mut pings = serving.server.lock().unwrap().ping_pong();
    let task = tokio::spawn(async move {
        pings.ping().await;
        pings
    });
    let asked = soon(peer.next()).await.unwrap();
    assert_eq!((asked.kind, asked.flags), (PING, 0));
    peer.write(&frame(PING, ACK, 0, b"another!")).await;
    settle().await;
    assert!(!task.is_finished());
    peer.write(&frame(PING, ACK, 0, &asked.payload)).await;
    let mut pings = soon(task).await.unwrap();
    // A connection that has ended gives none: whoever waits for one cuts it.
    let task = tokio::spawn(async move { pings.ping().await });
    drop(peer);
    settle().await;
    assert!(!task.is_finished());
    task.abort();
    serving.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_says_hello_is_no_connection() {
    let (near, far) = duplex(ROOMY);
    drop(far);
    assert!(matches!(soon(connect(near, OURS)).await.map(|_| ()), Err(Error::Lost(_))));

    let (near, far) = duplex(ROOMY);
    let mut peer = Peer(far);
    peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(soon(connect(near, OURS)).await.is_err());
}
