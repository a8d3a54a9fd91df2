//! Messages that are malformed: RFC 9113 section 8.

use super::peer::*;
use super::*;

type Fields = &'static [(&'static str, &'static str)];

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "x");

#[tokio::test(start_paused = true)]
async fn a_malformed_request_is_reset_and_never_seen() {
    let cases: &[Fields] = &[
        &[],
        &[SCHEME, PATH, AUTHORITY],
        &[METHOD, PATH, AUTHORITY],
        &[METHOD, SCHEME, AUTHORITY],
        &[METHOD, METHOD, SCHEME, PATH, AUTHORITY],
        &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY],
        &[METHOD, SCHEME, PATH, PATH, AUTHORITY],
        &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY],
        &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")],
        &[METHOD, SCHEME, PATH, AUTHORITY, (":protocol", "websocket")],
        &[METHOD, SCHEME, PATH, AUTHORITY, (":", "x")],
        &[METHOD, SCHEME, PATH, ("a", "b"), AUTHORITY],
        &[("a", "b"), METHOD, SCHEME, PATH, AUTHORITY],
        &[(":method", ""), SCHEME, PATH, AUTHORITY],
        &[(":method", "PO ST"), SCHEME, PATH, AUTHORITY],
        &[METHOD, (":scheme", ""), PATH, AUTHORITY],
        &[METHOD, (":scheme", "ht tp"), PATH, AUTHORITY],
        &[METHOD, SCHEME, (":path", ""), AUTHORITY],
        &[METHOD, SCHEME, (":path", "x"), AUTHORITY],
        &[METHOD, SCHEME, (":path", "/ /"), AUTHORITY],
        &[METHOD, SCHEME, (":path", "/#x"), AUTHORITY],
        &[METHOD, SCHEME, PATH, (":authority", "a b")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("Upper", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("a b", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("a", "b\nc: d")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("a", "b\0")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("connection", "close")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("keep-alive", "1")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("proxy-connection", "close")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("transfer-encoding", "chunked")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("upgrade", "h2c")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("te", "gzip")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("te", "trailers, gzip")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("content-length", "")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("content-length", "+1")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("content-length", "-1")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("content-length", "1, 1")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("content-length", "18446744073709551616")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("content-length", "1"), ("content-length", "2")],
        &[(":method", "CONNECT")],
        &[(":method", "CONNECT"), SCHEME, AUTHORITY],
        &[(":method", "CONNECT"), PATH, AUTHORITY],
    ];
    for case in cases {
        let (mut peer, mut serving) = serve(OURS).await;
        peer.write(&frame(HEADERS, WHOLE, 1, &fields(case))).await;
        assert_eq!(peer.words().await, "RESET 1 code 1", "{case:?}");
        peer.write(&post(3, END, &[])).await;
        let next = serving.accept().await;
        assert!(serving.accepted.is_empty(), "{case:?}");
        drop(next);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_only_unusual_is_seen() {
    let cases: &[(Fields, &str)] = &[
        (&[METHOD, SCHEME, PATH], "POST /"),
        (&[AUTHORITY, PATH, SCHEME, METHOD], "POST http://x/"),
        (&[METHOD, SCHEME, (":path", "/a?b"), AUTHORITY], "POST http://x/a?b"),
        (&[(":method", "OPTIONS"), SCHEME, (":path", "*")], "OPTIONS *"),
        (&[(":method", "CONNECT"), (":authority", "x:1")], "CONNECT x:1"),
        (&[METHOD, SCHEME, PATH, ("host", "y")], "POST /"),
        (&[METHOD, SCHEME, PATH, ("te", "trailers")], "POST /"),
        (&[METHOD, SCHEME, PATH, ("content-length", "1"), ("content-length", "1")], "POST /"),
        (&[METHOD, SCHEME, PATH, ("cookie", "a"), ("cookie", "b"), ("x", "")], "POST /"),
    ];
    for (case, expected) in cases {
        let (mut peer, mut serving) = serve(OURS).await;
        peer.write(&frame(HEADERS, WHOLE, 1, &fields(case))).await;
        let (request, _sender) = serving.accept().await;
        assert_eq!(format!("{} {}", request.method(), request.uri()), *expected);
        let regular = case.iter().filter(|(name, _)| !name.starts_with(':')).count();
        assert_eq!(request.headers().len(), regular, "{case:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_must_be_as_long_as_its_head_says() {
    let said = |length| post(1, 0, &[("content-length", length)]);
    let trailers = frame(HEADERS, WHOLE | END, 1, &field("a", "b"));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no body", post(1, END, &[("content-length", "1")]), "RESET 1 code 1"),
        ("an end too early", [said("5"), data(1, END, b"1234")].concat(), "RESET 1 code 1"),
        ("trailers too early", [said("5"), data(1, 0, b"1234"), trailers.clone()].concat(), "RESET 1 code 1"),
        ("a byte too much", [said("5"), data(1, 0, b"123"), data(1, 0, b"456")].concat(), "RESET 1 code 1"),
        ("padding in its stead", [said("5"), data(1, END | PADDED, b"\x03ab\0\0\0")].concat(), "RESET 1 code 1"),
        ("all of it", [said("5"), data(1, 0, b"123"), data(1, END, b"45")].concat(), ""),
        ("all of it, and padding", [said("2"), data(1, END | PADDED, b"\x03ab\0\0\0")].concat(), ""),
        ("all of it, and trailers", [said("4"), data(1, 0, b"1234"), trailers].concat(), ""),
        ("nothing, as it said", post(1, END, &[("content-length", "0")]), ""),
    ];
    for (name, bytes, expected) in cases {
        let (mut peer, _serving) = serve(OURS).await;
        peer.write(&bytes).await;
        assert_eq!(peer.words().await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_of_a_body_that_is_too_short_are_not_passed_on() {
    let (mut peer, mut serving) = serve(OURS).await;
    peer.write(&[post(1, 0, &[("content-length", "5")]), data(1, 0, b"1234")].concat()).await;
    let (mut receiver, _sender) = serving.stream().await;
    peer.write(&frame(HEADERS, WHOLE | END, 1, &field("a", "b"))).await;
    settle().await;
    let mut frames = 0;
    let error = loop {
        match soon(poll_fn(|cx| receiver.poll_frame(cx))).await.expect("not a good end") {
            Ok(frame) => frames += usize::from(frame.is_data() || panic!("trailers")),
            Err(error) => break error,
        }
    };
    assert_eq!((frames, name(&error)), (1, by_reset(Reason::PROTOCOL_ERROR, false)));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_reset() {
    let head = |case: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &fields(case));
    let status = (":status", "200");
    let length = |length| head(&[status, ("content-length", length)]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no status", head(&[("a", "b")])),
        ("two of them", head(&[status, status])),
        ("one after a field", head(&[("a", "b"), status])),
        ("no number", head(&[(":status", "abc")])),
        ("two digits", head(&[(":status", "20")])),
        ("a switch of protocols", head(&[(":status", "101")])),
        ("a part of a request", head(&[status, PATH])),
        ("another", head(&[status, AUTHORITY])),
        ("upper case", head(&[status, ("A", "b")])),
        ("a connection field", head(&[status, ("connection", "close")])),
        ("no number of bytes", length("x")),
        ("an end with a head that is none", ok(1, END, &[("content-length", "1")])),
        ("an informational end", frame(HEADERS, WHOLE | END, 1, &field(":status", "103"))),
        ("too few bytes", [length("5"), data(1, END, b"1234")].concat()),
        ("too many", [length("5"), data(1, 0, b"123456")].concat()),
        ("trailers that are not the end", [head(&[status]), head(&[("a", "b")])].concat()),
        ("a second head", [head(&[status]), ok(1, END, &[])].concat()),
    ];
    for (what, bytes) in cases {
        let (mut peer, dialled) = dial(OURS, &[]).await;
        let (mut receiver, _sender) = dialled.begin(true);
        peer.write(&bytes).await;
        assert_eq!(peer.words().await, "HEADERS 1 end, RESET 1 code 1", "{what}");
        let error = match respond_to(&mut receiver).await {
            Ok(_) => read(&mut receiver).await.1.map(|_| what).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(name(&error), by_reset(Reason::PROTOCOL_ERROR, false), "{what}");
        assert!(peer.is_answered().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_may_tell_the_length_of_one() {
    let long = ("content-length", "7");
    let not_modified = frame(HEADERS, WHOLE | END, 1, &fields(&[(":status", "304"), long]));
    for (method, bytes) in [(Method::HEAD, ok(1, END, &[long])), (Method::GET, not_modified)] {
        let (mut peer, dialled) = dial(OURS, &[]).await;
        let head = request(method, "http://x/");
        let (mut receiver, _sender) = dialled.client.send(&RequestHead::of(&head), true).unwrap();
        peer.write(&bytes).await;
        assert_eq!(respond_to(&mut receiver).await.unwrap().headers()["content-length"], "7");
        assert_eq!(whole(&mut receiver).await, (vec![], None));
    }
}

#[tokio::test(start_paused = true)]
async fn informational_heads_come_before_the_response() {
    let (mut peer, dialled) = dial(OURS, &[]).await;
    let (mut receiver, _sender) = dialled.begin(true);
    let early = frame(HEADERS, WHOLE, 1, &fields(&[(":status", "103"), ("link", "x")]));
    peer.write(&[early.clone(), early, ok(1, END, &[("a", "b")])].concat()).await;
    let response = respond_to(&mut receiver).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().len()), (200, 1));
}
