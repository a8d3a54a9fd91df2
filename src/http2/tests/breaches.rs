//! Frames that break the rules of RFC 9113, and some that only look so.

use super::peer::*;
use super::*;

/// What a server answers to a client that says this after its SETTINGS.
async fn server_says(bytes: &[u8]) -> String {
    let (mut peer, _serving) = serve(OURS).await;
    peer.write(bytes).await;
    peer.words().await
}

/// What a client says to a server that says this; the client has begun stream 1.
async fn client_says(bytes: &[u8]) -> String {
    let (mut peer, dialled) = dial(OURS, &[]).await;
    let _handles = dialled.begin(true);
    peer.write(bytes).await;
    peer.words().await
}

fn priority(id: u32, on: u32) -> Vec<u8> {
    frame(PRIORITY, 0, id, &[&on.to_be_bytes()[..], &[7]].concat())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_the_rules_of_frames_is_told_which() {
    let block = fields(&POST);
    let begun = post(1, 0, &[]);
    let after = |bytes: Vec<u8>| [begun.clone(), bytes].concat();
    let headers = |flags, payload: &[u8]| frame(HEADERS, WHOLE | flags, 1, payload);
    let full = data(1, 0, &[0; 16_384]).repeat(4);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("DATA on the connection", data(0, 0, b"x"), "GOAWAY last 0 code 1, end"),
        ("DATA on an idle stream", data(1, 0, b"x"), "GOAWAY last 0 code 1, end"),
        ("DATA on a stream of the server's", data(2, 0, b"x"), "GOAWAY last 0 code 1, end"),
        ("HEADERS on the connection", post(0, 0, &[]), "GOAWAY last 0 code 1, end"),
        ("HEADERS on an even stream", post(2, 0, &[]), "GOAWAY last 0 code 1, end"),
        ("a number that goes back", [post(5, 0, &[]), post(3, 0, &[])].concat(), "GOAWAY last 5 code 5, end"),
        ("PRIORITY on the connection", priority(0, 3), "GOAWAY last 0 code 1, end"),
        ("PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4]), "GOAWAY last 0 code 6, end"),
        ("PRIORITY of 6 bytes on an open stream", after(frame(PRIORITY, 0, 1, &[0; 6])), "RESET 1 code 6"),
        ("a stream that depends on itself", after(priority(1, 1)), "RESET 1 code 1"),
        ("an exclusive one", after(priority(1, 1 | 1 << 31)), "RESET 1 code 1"),
        ("one from the start", headers(WITH_PRIORITY, &[&[0, 0, 0, 1, 7], &block[..]].concat()), "RESET 1 code 1"),
        ("RST_STREAM on the connection", reset(0, 0), "GOAWAY last 0 code 1, end"),
        ("RST_STREAM on an idle stream", reset(1, 0), "GOAWAY last 0 code 1, end"),
        ("RST_STREAM of 3 bytes", after(frame(RESET, 0, 1, &[0; 3])), "GOAWAY last 1 code 6, end"),
        ("RST_STREAM of 5 bytes", after(frame(RESET, 0, 1, &[0; 5])), "GOAWAY last 1 code 6, end"),
        ("SETTINGS on a stream", after(frame(SETTINGS, 0, 1, &[])), "GOAWAY last 1 code 1, end"),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), "GOAWAY last 0 code 6, end"),
        ("an ACK that says something", frame(SETTINGS, ACK, 0, &[0; 6]), "GOAWAY last 0 code 6, end"),
        ("a push that is neither on nor off", set(&[(2, 2)]), "GOAWAY last 0 code 1, end"),
        ("a window too large", set(&[(WINDOW, 1 << 31)]), "GOAWAY last 0 code 3, end"),
        ("frames too small", set(&[(5, 16_383)]), "GOAWAY last 0 code 1, end"),
        ("frames too large", set(&[(5, 1 << 24)]), "GOAWAY last 0 code 1, end"),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), "GOAWAY last 0 code 6, end"),
        ("PING of 9 bytes", frame(PING, ACK, 0, &[0; 9]), "GOAWAY last 0 code 6, end"),
        ("PING on a stream", after(frame(PING, 0, 1, &[0; 8])), "GOAWAY last 1 code 1, end"),
        ("GOAWAY of 7 bytes", frame(GO_AWAY, 0, 0, &[0; 7]), "GOAWAY last 0 code 6, end"),
        ("GOAWAY on a stream", after(numbers(GO_AWAY, 1, &[0, 0])), "GOAWAY last 1 code 1, end"),
        ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), "GOAWAY last 0 code 6, end"),
        ("WINDOW_UPDATE of 5 bytes", after(frame(WINDOW_UPDATE, 0, 1, &[0; 5])), "GOAWAY last 1 code 6, end"),
        ("WINDOW_UPDATE on an idle stream", numbers(WINDOW_UPDATE, 1, &[1]), "GOAWAY last 0 code 1, end"),
        ("WINDOW_UPDATE by 0", numbers(WINDOW_UPDATE, 0, &[0]), "GOAWAY last 0 code 1, end"),
        ("a reserved bit and 0", numbers(WINDOW_UPDATE, 0, &[1 << 31]), "GOAWAY last 0 code 1, end"),
        ("the same on a stream", after(numbers(WINDOW_UPDATE, 1, &[0])), "RESET 1 code 1"),
        ("a window that overflows", numbers(WINDOW_UPDATE, 0, &[i32::MAX as u32]), "GOAWAY last 0 code 3, end"),
        ("the same of a stream", after(numbers(WINDOW_UPDATE, 1, &[i32::MAX as u32])), "RESET 1 code 3"),
        (
            "a window of a stream that SETTINGS make overflow",
            after([numbers(WINDOW_UPDATE, 1, &[i32::MAX as u32 - 65_535]), set(&[(WINDOW, 65_536)])].concat()),
            "GOAWAY last 1 code 3, end",
        ),
        ("PUSH_PROMISE", after(frame(PUSH_PROMISE, WHOLE, 1, &[0; 4])), "GOAWAY last 1 code 1, end"),
        ("a frame too large", frame(PING, 0, 0, &[0; 16_385]), "GOAWAY last 0 code 6, end"),
        ("one of a kind unknown", frame(77, 0, 0, &[0; 16_385]), "GOAWAY last 0 code 6, end"),
        ("CONTINUATION of nothing", frame(CONTINUATION, WHOLE, 1, &[]), "GOAWAY last 0 code 1, end"),
        ("CONTINUATION of what was whole", after(frame(CONTINUATION, WHOLE, 1, &[])), "GOAWAY last 1 code 1, end"),
        (
            "CONTINUATION of another stream",
            [frame(HEADERS, 0, 1, &block), frame(CONTINUATION, WHOLE, 3, &[])].concat(),
            "GOAWAY last 0 code 1, end",
        ),
        (
            "PING within a header block",
            [frame(HEADERS, 0, 1, &block), frame(PING, 0, 0, &[0; 8])].concat(),
            "GOAWAY last 0 code 1, end",
        ),
        (
            "a frame of a kind unknown within a header block",
            [frame(HEADERS, 0, 1, &block), frame(77, 0, 1, &[])].concat(),
            "GOAWAY last 0 code 1, end",
        ),
        ("DATA padded without a length", after(data(1, PADDED, &[])), "GOAWAY last 1 code 6, end"),
        ("DATA with more padding than there is", after(data(1, PADDED, &[2, 0])), "GOAWAY last 1 code 1, end"),
        ("HEADERS padded without a length", headers(PADDED, &[]), "GOAWAY last 0 code 6, end"),
        ("HEADERS with more padding than there is", headers(PADDED, &[9, 0, 0]), "GOAWAY last 0 code 1, end"),
        ("HEADERS with half a priority", headers(WITH_PRIORITY, &[0; 4]), "GOAWAY last 0 code 6, end"),
        ("index 0", headers(0, &[0x80]), "GOAWAY last 0 code 9, end"),
        ("an index that was never filled", headers(0, &[0xff, 0]), "GOAWAY last 0 code 9, end"),
        ("a field that is cut off", headers(0, &block[..block.len() - 1]), "GOAWAY last 0 code 9, end"),
        ("a table larger than ours", headers(0, &[0x3f, 0xe2, 0x1f]), "GOAWAY last 0 code 9, end"),
        ("bad compression in trailers", after(headers(END, &[0x80])), "GOAWAY last 1 code 9, end"),
        ("a byte more than a stream's window", after([full.clone(), data(1, 0, b"x")].concat()), "RESET 1 code 3"),
        (
            "a byte more than the connection's window",
            after([full.clone(), post(3, 0, &[]), data(3, 0, &[0; 16_384]).repeat(4), data(3, 0, b"x")].concat()),
            "GOAWAY last 3 code 3, end",
        ),
        ("DATA after the end", [post(1, END, &[]), data(1, 0, b"x")].concat(), "RESET 1 code 5"),
        ("an empty frame after the end", after([data(1, END, &[]), data(1, 0, &[])].concat()), "RESET 1 code 5"),
        ("HEADERS after the end", [post(1, END, &[]), headers(END, &[])].concat(), "RESET 1 code 5"),
        ("DATA after its own reset", after([reset(1, 8), data(1, 0, b"x")].concat()), "RESET 1 code 5"),
        ("more of it", after([reset(1, 8), data(1, 0, b"x").repeat(3)].concat()), "RESET 1 code 5"),
        ("HEADERS after its own reset", after([reset(1, 8), headers(END, &[])].concat()), "GOAWAY last 1 code 5, end"),
        ("trailers that are not the end", after(headers(0, &field("a", "b"))), "RESET 1 code 1"),
        ("trailers with a pseudo-field", after(headers(END, &field(":path", "/"))), "RESET 1 code 1"),
        ("trailers with a connection field", after(headers(END, &field("upgrade", "x"))), "RESET 1 code 1"),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(server_says(&bytes).await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_only_unusual_is_taken() {
    let block = fields(&POST);
    let (one, two) = block.split_at(20);
    let headers = |flags, payload: &[u8]| frame(HEADERS, WHOLE | flags, 1, payload);
    let begun = post(1, 0, &[]);
    let after = |bytes: Vec<u8>| [begun.clone(), bytes].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a frame of a kind unknown", after(frame(77, 255, 1, b"something"))),
        ("flags unknown", frame(HEADERS, WHOLE | 0xc0, 1, &block)),
        ("a reserved bit", frame(HEADERS, WHOLE, 1 | 1 << 31, &block)),
        ("padding", headers(PADDED, &[&[3], &block[..], &[0; 3]].concat())),
        (
            "padding and a priority",
            headers(PADDED | WITH_PRIORITY, &[&[2, 0, 0, 0, 3, 7], &block[..], &[0; 2]].concat()),
        ),
        ("a priority before the stream", [priority(9, 3), begun.clone()].concat()),
        (
            "a block in three parts",
            [frame(HEADERS, 0, 1, one), frame(CONTINUATION, 0, 1, &[]), frame(CONTINUATION, WHOLE, 1, two)].concat(),
        ),
        ("DATA that is only padding", after(data(1, PADDED, &[255; 256]))),
        ("an empty frame", after(data(1, 0, &[]))),
        ("a window used to its last byte", after(data(1, 0, &[0; 16_384]).repeat(4))),
        ("a window for a stream that is over", after([reset(1, 8), numbers(WINDOW_UPDATE, 1, &[0])].concat())),
        ("a second reset", after([reset(1, 8), reset(1, 8)].concat())),
        ("a table resized twice", headers(0, &[&[0x20, 0x3f, 0xe1, 0x1f], &block[..]].concat())),
        ("an answer to no question", after(frame(PING, ACK, 0, &[0; 8]))),
        ("an acknowledgement of nothing", after(frame(SETTINGS, ACK, 0, &[]))),
        ("GOAWAY with words", after(frame(GO_AWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0, b'b', b'y', b'e']))),
        ("streams that were left out", [post(7, 0, &[])].concat()),
    ];
    for (name, bytes) in cases {
        let (mut peer, mut serving) = serve(OURS).await;
        peer.write(&[bytes, post(9, END, &[])].concat()).await;
        let _last = serving.accept().await;
        assert_eq!(peer.words().await, "", "{name}");
        assert!(peer.is_answered().await, "{name}");
    }
    let unknown = set(&[(0x55, 7), (8, 1), (WINDOW, i32::MAX as u32), (5, (1 << 24) - 1), (2, 1), (1, 0)]);
    assert_eq!(server_says(&unknown).await, "SETTINGS flags 1");
}

#[tokio::test(start_paused = true)]
async fn a_connection_begins_with_settings() {
    let starts = [
        frame(PING, 0, 0, &[0; 8]),
        post(1, 0, &[]),
        frame(SETTINGS, ACK, 0, &[]),
        frame(77, 0, 0, &[]),
        data(1, 0, &[]),
    ];
    for start in starts {
        let (near, far) = duplex(ROOMY);
        let (mut peer, serving) = (Peer(far), Serving::new(near, OURS));
        peer.write(&[start, set(&[])].concat()).await;
        assert_eq!(peer.words().await, "SETTINGS flags 0, GOAWAY last 0 code 1, end");
        assert!(serving.end().await.unwrap_err().is_go_away());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_rules_of_frames_is_told_which() {
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a push that was not wanted", frame(PUSH_PROMISE, WHOLE, 1, &[0; 4]), "GOAWAY last 0 code 1, end"),
        ("leave to push", set(&[(2, 1)]), "GOAWAY last 0 code 1, end"),
        ("a response to nothing", ok(3, END, &[]), "GOAWAY last 0 code 1, end"),
        ("a stream of its own", ok(2, END, &[]), "GOAWAY last 0 code 1, end"),
        ("DATA of nothing", data(3, 0, b"x"), "GOAWAY last 0 code 1, end"),
        ("RST_STREAM of nothing", reset(3, 0), "GOAWAY last 0 code 1, end"),
        ("a window of nothing", numbers(WINDOW_UPDATE, 3, &[1]), "GOAWAY last 0 code 1, end"),
        ("DATA before the head", data(1, 0, b"x"), "RESET 1 code 1"),
        ("DATA after the end", [ok(1, END, &[]), data(1, 0, b"x")].concat(), ""),
        ("a second response after the end", [ok(1, END, &[]), ok(1, END, &[])].concat(), ""),
        ("a reset after the end", [ok(1, END, &[]), reset(1, 0)].concat(), ""),
    ];
    for (name, bytes, expected) in cases {
        let said = client_says(&bytes).await;
        let expected = if expected.is_empty() { "HEADERS 1 end".into() } else { format!("HEADERS 1 end, {expected}") };
        assert_eq!(said, expected, "{name}");
    }
}
