use http::Request;

use super::*;

fn head(version: Version, uri: &str, fields: &[(&'static str, &'static str)]) -> request::Parts {
    let mut request = Request::builder().version(version).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn fields(headers: &HeaderMap) -> Vec<String> {
    let mut fields: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    fields.sort();
    fields
}

#[test]
fn what_concerns_one_connection_stays_there() {
    let mut head = head(
        Version::HTTP_11,
        "/x",
        &[
            ("host", "shop"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers;q=0.5, trailers"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("proxy-authorization", "secret"),
            ("x-end", "2"),
        ],
    );
    to_upstream(&mut head, &HeaderValue::from_static("10.1.1.1"), &Via::new(7));
    assert_eq!(
        fields(&head.headers),
        [
            "host: shop",
            "te: trailers",
            "via: 1.1 waypost-0000000000000007",
            "x-end: 2",
            "x-forwarded-for: 10.1.1.1",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn the_list_of_clients_grows_and_what_a_client_claims_of_itself_does_not_count() {
    let mut head = head(
        Version::HTTP_2,
        "http://shop:80/x",
        &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("via", "1.1 edge")],
    );
    to_upstream(&mut head, &HeaderValue::from_static("2.2.2.2"), &Via::new(7));
    assert_eq!(
        fields(&head.headers),
        [
            "via: 1.1 edge",
            "via: 2.0 waypost-0000000000000007",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn the_name_that_was_called_crosses_from_one_http_to_the_other() {
    let from2 = head(Version::HTTP_2, "http://shop/a?b", &[("te", "trailers")]);
    let from1 = head(Version::HTTP_11, "/a?b", &[("host", "shop")]);
    for head in [&from2, &from1] {
        let request = over_http2(head, true, None);
        assert_eq!((request.scheme.as_str(), request.authority, request.path), ("https", Some(&b"shop"[..]), "/a?b"));
        let request = over_http1(head, false, Some(HeaderValue::from_static("5S")));
        assert!(!request.headers().contains_key(TRANSFER_ENCODING));
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.headers()[HOST], "shop");
        assert_eq!(request.headers()[GRPC_TIMEOUT], "5S");
    }
    assert_eq!(over_http1(&from2, false, None).headers()[CONNECTION], "te");
    assert_eq!(over_http1(&from2, true, None).headers()[TRANSFER_ENCODING], "chunked");
}

#[test]
fn grpc_is_told_by_its_content_type() {
    for (content_type, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc; charset=x", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let head = head(Version::HTTP_2, "http://a/", &[("content-type", content_type)]);
        assert_eq!(is_grpc(&head.headers), expected, "{content_type}");
    }
}

#[test]
fn a_call_that_was_here_before_is_known_by_its_via() {
    let via = Via::new(0xabc);
    for (fields, expected) in [
        (&[][..], false),
        (&[("via", "1.1 edge")][..], false),
        (&[("via", "2.0 waypost")][..], false),
        (&[("via", "2.0 waypost-0000000000000abd")][..], false),
        (&[("via", "2.0 waypost-0000000000000abc")][..], true),
        (&[("via", "1.0 waypost-0000000000000abc, 1.1 edge")][..], true),
        (&[("via", "1.1 edge"), ("via", "1.1 edge, 1.1 waypost-0000000000000abc")][..], true),
    ] {
        let head = head(Version::HTTP_11, "/x", fields);
        assert_eq!(via.is_loop(&head.headers), expected, "{fields:?}");
    }
    let mut head = head(Version::HTTP_2, "http://shop/", &[]);
    to_upstream(&mut head, &HeaderValue::from_static("10.1.1.1"), &via);
    assert!(via.is_loop(&head.headers) && !Via::new(0xabd).is_loop(&head.headers));
}

#[test]
fn the_trailers_of_grpc_are_declared_where_there_will_be_some() {
    let check = |fields: &[(&'static str, &'static str)], declared: &[&str]| {
        let mut headers: HeaderMap = head(Version::HTTP_11, "/", fields).headers;
        announce_trailers(&mut headers);
        assert_eq!(headers.get_all(TRAILER).iter().collect::<Vec<_>>(), declared, "{fields:?}");
    };
    let grpc = ("content-type", "application/grpc");
    check(&[grpc], &["grpc-status, grpc-message"]);
    check(&[grpc, ("trailer", "x-sum")], &["x-sum", "grpc-status, grpc-message"]);
    check(&[grpc, ("trailer", "Grpc-Status")], &["Grpc-Status"]);
    check(&[grpc, ("grpc-status", "3")], &[]);
    check(&[("content-type", "text/plain")], &[]);
}
