//! What a peer can make us hold, and do.

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::peer::*;
use super::*;
use crate::http2::TooLarge;

/// Fields that fill a header list up to so many bytes, as RFC 9113 section 6.5.2 counts them.
fn filled(bytes: usize) -> Vec<u8> {
    let size = |(name, value): &(&str, &str)| name.len() + value.len() + 32;
    let rest = bytes - POST.iter().map(size).sum::<usize>() - 32 - "filler".len();
    [fields(&POST), field("filler", &"x".repeat(rest))].concat()
}

/// A header block in frames of so many bytes.
fn parts(id: u32, block: &[u8], size: usize) -> Vec<u8> {
    let last = block.len().div_ceil(size) - 1;
    let part = |(i, part): (usize, &[u8])| {
        let whole = if i == last { WHOLE } else { 0 };
        if i == 0 { frame(HEADERS, END | whole, id, part) } else { frame(CONTINUATION, whole, id, part) }
    };
    block.chunks(size).enumerate().flat_map(part).collect()
}

#[tokio::test(start_paused = true)]
async fn a_header_list_that_is_too_large_is_marked_or_answered_and_the_connection_goes_on() {
    let (mut peer, mut serving) = serve(OURS).await;
    let limit = OURS.max_header_bytes as usize;
    peer.write(&parts(1, &filled(limit), 10_000)).await;
    assert_eq!(serving.accept().await.0.headers()["filler"].len(), limit - 38 - 43 - 43 - 38 - 43);
    peer.all().await;
    for (id, size) in [(3, limit + 1), (5, 2 * limit)] {
        // What does not fit is left out, what comes behind it and fits is not.
        peer.write(&parts(id, &[filled(size), field("behind", "it")].concat(), 10_000)).await;
        let (request, _sender) = serving.accept().await;
        assert!(request.extensions().get::<TooLarge>().is_some());
        assert_eq!(request.headers().keys().collect::<Vec<_>>(), ["behind"]);
        peer.all().await;
    }
    // A path that does not fit makes no difference; without a method, it is no request that somebody could answer.
    let endless = |what| {
        let long = format!("/{}", "x".repeat(limit));
        let value = |name, value: &str| if name == what { long.clone() } else { value.to_owned() };
        POST.iter().flat_map(|(name, usual)| field(name, &value(*name, usual))).collect::<Vec<_>>()
    };
    peer.write(&parts(7, &endless(":path"), 10_000)).await;
    let (request, sender) = serving.accept().await;
    assert!(request.uri().path() == "/" && request.extensions().get::<TooLarge>().is_some());
    drop((request, sender));
    peer.all().await;
    peer.write(&parts(9, &endless(":method"), 10_000)).await;
    let seen = peer.all().await;
    let [Some(head)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(format!("{head:?}"), "HEADERS 9 end");
    assert!(head.payload.windows(3).any(|part| part == b"431"));
    peer.write(&post(11, END, &[])).await;
    assert!(serving.accept().await.0.extensions().is_empty());
    assert!(serving.accepted.is_empty());
}

#[tokio::test(start_paused = true)]
async fn trailers_and_responses_that_are_too_large_are_reset() {
    let large = field("a", &"x".repeat(OURS.max_header_bytes as usize - 33));
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&[post(1, 0, &[]), parts(1, &large, 10_000)].concat()).await;
    let (mut receiver, _sender) = serving.stream().await;
    assert!(read(&mut receiver).await.1.unwrap().is_some());
    let larger = [field("b", ""), large].concat();
    peer.write(&[post(3, 0, &[]), parts(3, &larger, 10_000)].concat()).await;
    assert_eq!(peer.words().await, "RESET 3 code 8");

    let (mut peer, dialled) = dial(OURS, &[]).await;
    let (mut receiver, _sender) = dialled.begin(true);
    peer.write(&parts(1, &[field(":status", "200"), larger].concat(), 10_000)).await;
    assert_eq!(name(&respond_to(&mut receiver).await.unwrap_err()), by_reset(Reason::CANCEL, false));
    assert!(peer.is_answered().await);
}

#[tokio::test(start_paused = true)]
async fn a_header_list_that_never_ends_ends_the_connection() {
    let begin = frame(HEADERS, 0, 1, &fields(&POST));
    let bytes = [begin.clone(), frame(CONTINUATION, 0, 1, &field("a", &"x".repeat(16_000))).repeat(5)].concat();
    let frames = [begin, frame(CONTINUATION, 0, 1, &[]).repeat(65)].concat();
    for flood in [bytes, frames] {
        let (mut peer, serving) = serve(OURS).await;
        peer.write(&flood).await;
        assert_eq!(peer.words().await, "GOAWAY last 0 code 11, end");
        let error = serving.end().await.unwrap_err();
        assert!(error.is_go_away() && !error.is_remote());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_reset_early_is_never_seen() {
    let (mut peer, mut serving) = serve(OURS).await;
    for turn in 0..10 {
        let ids = (0..10).map(|i| 1 + 2 * (10 * turn + i));
        peer.write(&ids.flat_map(|id| [post(id, 0, &[]), reset(id, 8)].concat()).collect::<Vec<u8>>()).await;
        settle().await;
    }
    peer.write(&post(301, END, &[("last", "")])).await;
    assert!(serving.accept().await.0.headers().contains_key("last"));
    assert!(serving.accepted.is_empty());
}

#[tokio::test(start_paused = true)]
async fn too_many_early_resets_end_the_connection() {
    let (mut peer, serving) = serve(OURS).await;
    let ids = (0..11).map(|i| 1 + 2 * i);
    peer.write(&ids.flat_map(|id| [post(id, 0, &[]), reset(id, 8)].concat()).collect::<Vec<u8>>()).await;
    assert_eq!(peer.words().await, "GOAWAY last 21 code 11, end");
    assert_eq!(serving.end().await.unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn too_many_resets_for_errors_end_the_connection() {
    let wrong: [fn(u32) -> Vec<u8>; 4] = [
        |id| post(id, 0, &[("Upper", "x")]),
        |id| [post(id, END, &[]), data(id, 0, b"x")].concat(),
        |id| [post(id, 0, &[]), numbers(WINDOW_UPDATE, id, &[0])].concat(),
        |id| [post(id, 0, &[]), reset(id, 8), data(id, 0, b"x")].concat(),
    ];
    for wrong in wrong {
        let (mut peer, _serving) = serve(Settings { max_error_resets: 3, ..OURS }).await;
        for id in [1, 3, 5] {
            peer.write(&wrong(id)).await;
            assert!(peer.is_answered().await);
        }
        peer.write(&wrong(7)).await;
        let words = peer.words().await;
        assert!(words.ends_with("GOAWAY last 7 code 11, end"), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limit_are_refused() {
    let (mut peer, mut serving) = serve(Settings { max_streams: 2, ..OURS }).await;
    peer.write(&[1, 3, 5].map(|id| post(id, 0, &[])).concat()).await;
    assert_eq!(peer.words().await, "RESET 5 code 7");
    let first = serving.stream().await;
    drop(first);
    assert_eq!(peer.words().await, "RESET 1 code 8");
    peer.write(&post(7, 0, &[])).await;
    assert_eq!(peer.words().await, "");
}

/// Writes for as long as it is read.
async fn flood(peer: &mut Peer, frame: &[u8]) -> usize {
    let frames = frame.repeat(1_000);
    let mut written = 0;
    while written < 64 << 20
        && let Ok(n) = timeout(Duration::from_secs(1), peer.0.write(&frames[written % frames.len()..])).await
    {
        written += n.unwrap();
    }
    written
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_its_answers_is_not_read_either() {
    for (i, bytes) in [frame(PING, 0, 0, &[0; 8]), set(&[]), set(&[(WINDOW, 5), (WINDOW, 6)])].into_iter().enumerate() {
        let (near, far) = duplex(64 << 10);
        let (mut peer, _serving) = (Peer(far), Serving::new(near, OURS));
        peer.write(&set(&[])).await;
        let written = flood(&mut peer, &bytes).await;
        assert!(written < 4 << 20, "{i}: {written}");
        // Nothing is lost of what it asked for.
        let answers = peer.all().await.iter().flatten().filter(|seen| seen.flags == ACK).count();
        assert_eq!(answers, 1 + written / bytes.len(), "{i}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_reads_on_after_it_has_written_much_at_once() {
    let (mut peer, mut serving) = serve(OURS).await;
    let wide = [set(&[(WINDOW, 1 << 20)]), numbers(WINDOW_UPDATE, 0, &[1 << 20]), post(1, END, &[])];
    peer.write(&wide.concat()).await;
    let (_receiver, mut sender) = serving.stream().await;
    sender.respond(&Response::new(()), false).unwrap();
    settle().await;
    send(&mut sender, pattern(1, 1 << 20), false).await.unwrap();
    assert!(peer.is_answered().await);
}

#[tokio::test(start_paused = true)]
async fn a_million_small_frames_cost_no_more_than_their_bytes() {
    const FRAMES: usize = 1_000_000;
    let window = 1 << 20;
    let (mut peer, mut serving) = serve(Settings { stream_window: window, connection_window: window, ..OURS }).await;
    peer.write(&post(1, 0, &[])).await;
    let (mut receiver, _sender) = serving.stream().await;
    let body = pattern(1, FRAMES);
    for bytes in body.chunks(1_000) {
        peer.write(&bytes.iter().flat_map(|byte| data(1, 0, &[*byte])).collect::<Vec<u8>>()).await;
    }
    peer.write(&data(1, END, &[])).await;
    settle().await;
    let (mut chunks, mut read) = (0, Vec::new());
    while let Some(frame) = soon(poll_fn(|cx| receiver.poll_frame(cx))).await {
        chunks += 1;
        read.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    assert!(read == body, "other bytes");
    assert!(chunks <= FRAMES.div_ceil(16 << 10), "{chunks}");
}
