//! Windows of both sides, as they grow and shrink.

use std::task::Poll;

use super::peer::*;
use super::*;

/// How many bytes of bodies come before nothing more does, and the longest frame of them.
async fn bytes(peer: &mut Peer) -> (usize, usize) {
    let seen = peer.all().await;
    let lengths = seen.iter().flatten().filter(|seen| seen.kind == DATA).map(|seen| seen.payload.len());
    (lengths.clone().sum(), lengths.max().unwrap_or_default())
}

/// Sends in a task of its own.
fn sending(mut sender: Sender, data: Bytes) -> JoinHandle<Result<(), Error>> {
    tokio::spawn(async move { send(&mut sender, data, true).await })
}

#[tokio::test(start_paused = true)]
async fn a_window_grows_and_shrinks_while_a_body_waits() {
    let (mut peer, dialled) = dial(OURS, &[(WINDOW, 10)]).await;
    let (_receiver, sender) = dialled.begin(false);
    let task = sending(sender, pattern(1, 100));
    assert_eq!(bytes(&mut peer).await, (10, 10));
    peer.write(&set(&[(WINDOW, 30)])).await;
    assert_eq!(bytes(&mut peer).await, (20, 20));
    // It has 25 less than none.
    peer.write(&set(&[(WINDOW, 5)])).await;
    assert_eq!(bytes(&mut peer).await.0, 0);
    peer.write(&numbers(WINDOW_UPDATE, 1, &[25])).await;
    assert_eq!(bytes(&mut peer).await.0, 0);
    peer.write(&numbers(WINDOW_UPDATE, 1, &[1])).await;
    assert_eq!(bytes(&mut peer).await.0, 1);
    peer.write(&set(&[(WINDOW, 0), (WINDOW, 1_000)])).await;
    assert_eq!(bytes(&mut peer).await.0, 69);
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn streams_share_the_window_of_their_connection() {
    let (mut peer, dialled) = dial(OURS, &[(WINDOW, 1 << 20)]).await;
    let streams: Vec<_> = (0..5).map(|_| dialled.begin(false)).collect();
    let (_receivers, senders): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
    let tasks: Vec<_> = senders.into_iter().map(|sender| sending(sender, pattern(1, 50_000))).collect();
    assert_eq!(bytes(&mut peer).await, (65_535, 16_384));
    // A frame of a byte is not worth it, where more will come.
    peer.write(&numbers(WINDOW_UPDATE, 0, &[1])).await;
    assert_eq!(bytes(&mut peer).await.0, 0);
    peer.write(&numbers(WINDOW_UPDATE, 0, &[1 << 20])).await;
    assert_eq!(bytes(&mut peer).await.0, 250_000 - 65_535);
    for task in tasks {
        soon(task).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_use_its_turn_holds_nobody_up() {
    let (mut peer, dialled) = dial(OURS, &[(WINDOW, 1 << 20)]).await;
    let (_receiver, mut lazy) = dialled.begin(false);
    let mut body = pattern(1, 65_535 + 1_000);
    assert!(poll_fn(|cx| Poll::Ready(lazy.poll_send(cx, &mut body, true).is_pending())).await);
    let (_receiver, busy) = dialled.begin(false);
    let task = sending(busy, pattern(2, 500));
    assert_eq!(bytes(&mut peer).await.0, 65_535);
    peer.write(&numbers(WINDOW_UPDATE, 0, &[1_000])).await;
    assert_eq!(bytes(&mut peer).await.0, 500);
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn frames_are_as_long_as_the_peer_allows() {
    let (mut peer, dialled) = dial(OURS, &[(WINDOW, 1 << 20), (5, 20_000)]).await;
    let (_receiver, sender) = dialled.begin(false);
    let task = sending(sender, pattern(1, 65_000));
    assert_eq!(bytes(&mut peer).await, (65_000, 20_000));
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_longer_than_a_frame_goes_on_in_others() {
    let (mut peer, dialled) = dial(OURS, &[]).await;
    let mut head = request(Method::POST, "http://x/");
    let long = "x".repeat(40_000);
    head.headers_mut().insert("long", long.parse().unwrap());
    let _handles = dialled.client.send(&RequestHead::of(&head), true).unwrap();
    let seen: Vec<Seen> = peer.all().await.into_iter().flatten().collect();
    let parts: Vec<_> =
        seen.iter().map(|seen| (seen.kind, seen.flags, seen.id, seen.payload.len() == 16_384)).collect();
    assert_eq!(parts, [(HEADERS, END, 1, true), (CONTINUATION, 0, 1, true), (CONTINUATION, WHOLE, 1, false)]);
    let block: Vec<u8> = seen.into_iter().flat_map(|seen| seen.payload).collect();
    assert!(block.windows(long.len()).any(|part| part == long.as_bytes()));
}

/// A server whose SETTINGS the client has not acknowledged yet, with an open stream.
async fn unacknowledged(stream_window: u32) -> (Peer, Serving<DuplexStream>) {
    let (near, far) = duplex(ROOMY);
    let settings = Settings { stream_window, connection_window: 1 << 24, ..OURS };
    let (mut peer, serving) = (Peer(far), Serving::new(near, settings));
    peer.write(&[set(&[]), post(1, 0, &[])].concat()).await;
    assert_eq!(peer.words().await, "SETTINGS flags 0, SETTINGS flags 1");
    (peer, serving)
}

fn long(id: u32, length: usize) -> Vec<u8> {
    pattern(1, length).chunks(16_384).flat_map(|part| data(id, 0, part)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_larger_window_of_ours_counts_from_its_acknowledgement_on() {
    let (mut peer, _serving) = unacknowledged(100_000).await;
    peer.write(&long(1, 65_536)).await;
    assert_eq!(peer.words().await, "RESET 1 code 3");

    let (mut peer, _serving) = unacknowledged(100_000).await;
    peer.write(&[long(1, 65_535), frame(SETTINGS, ACK, 0, &[]), long(1, 100_000 - 65_535)].concat()).await;
    peer.write(&[post(3, 0, &[]), long(3, 100_000)].concat()).await;
    assert_eq!(peer.words().await, "");
    peer.write(&[data(1, 0, b"x"), data(3, 0, b"x")].concat()).await;
    assert_eq!(peer.words().await, "RESET 1 code 3, RESET 3 code 3");
}

#[tokio::test(start_paused = true)]
async fn a_smaller_window_of_ours_counts_from_its_acknowledgement_on() {
    let (mut peer, mut serving) = unacknowledged(100).await;
    peer.write(&[long(1, 65_535), frame(SETTINGS, ACK, 0, &[]), post(3, 0, &[]), long(3, 100)].concat()).await;
    assert_eq!(peer.words().await, "");
    let (mut first, _sender) = serving.stream().await;
    // 65,435 less than none: what was read must bring it back to 100.
    let mut length = 0;
    while length < 65_535 {
        length += part(&mut first).await.len();
    }
    let seen = peer.all().await;
    let updates = seen.iter().flatten().filter(|seen| (seen.kind, seen.id) == (WINDOW_UPDATE, 1));
    let window: u32 = updates.map(|seen| u32::from_be_bytes(*seen.payload.first_chunk().unwrap())).sum();
    assert!((65_535 - 50..=65_535).contains(&window), "{window}");
    peer.write(&long(3, 1)).await;
    assert_eq!(peer.words().await, "RESET 3 code 3");
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_the_first_window_even_if_ours_is_smaller() {
    let (mut peer, mut serving) = serve(Settings { connection_window: 1_000, ..OURS }).await;
    peer.write(&[post(1, 0, &[]), long(1, 60_000)].concat()).await;
    assert_eq!(peer.words().await, "");
    let (mut receiver, _sender) = serving.stream().await;
    peer.write(&data(1, END, &[])).await;
    assert_eq!(whole(&mut receiver).await.0, pattern(1, 60_000));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_ended_gets_no_window() {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&[post(1, 0, &[]), long(1, 60_000), data(1, END, &[])].concat()).await;
    let (mut receiver, _sender) = serving.stream().await;
    assert_eq!(whole(&mut receiver).await.0.len(), 60_000);
    assert_eq!(peer.all().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_never_starves() {
    let (mut peer, mut serving) = serve(Settings { stream_window: 10, ..OURS }).await;
    peer.write(&post(1, 0, &[])).await;
    let (mut receiver, _sender) = serving.stream().await;
    let reader = tokio::spawn(async move { whole(&mut receiver).await.0 });
    let (body, mut window, mut sent) = (pattern(3, 5_000), 10, 0);
    while sent < body.len() {
        let next = body.len().min(sent + window);
        peer.write(&data(1, if next == body.len() { END } else { 0 }, &body[sent..next])).await;
        window -= next - sent;
        sent = next;
        while window == 0 && sent < body.len() {
            let seen = soon(peer.next()).await.expect("a frame");
            if (seen.kind, seen.id) == (WINDOW_UPDATE, 1) {
                window += u32::from_be_bytes(*seen.payload.first_chunk().unwrap()) as usize;
            }
        }
    }
    assert_eq!(soon(reader).await.unwrap(), body);
}
