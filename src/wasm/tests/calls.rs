//! Calls that modules make.

use http::{HeaderValue, StatusCode};

use super::guest::{BAD_ARGUMENT, Guest, INTERNAL, LEN, OK, OUT, PARSE_FAILURE};
use crate::wasm::host::Reply;

fn http_call(guest: &mut Guest, service: &str, pairs: &[(&[u8], &[u8])]) -> i32 {
    let ([service, len], [headers, headers_len]) =
        (guest.text(service), guest.text(crate::wasm::abi::encode_pairs(pairs)));
    guest.call("http_call", &[service, len, headers, headers_len, 0, 0, 0, 0, 1_000, OUT])
}

#[test]
fn calls_are_made_to_services_that_there_are() {
    let mut guest = Guest::new();
    let head: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":path", b"/ask"), (b":authority", b"greeter"), (b"x-a", b"1")];
    assert_eq!(http_call(&mut guest, "greeter", &head), OK);
    assert_eq!(guest.number(OUT), 1);
    assert_eq!(http_call(&mut guest, "nobody", &head), BAD_ARGUMENT);
    assert_eq!(http_call(&mut guest, "greeter", &head[1..]), BAD_ARGUMENT);
    assert_eq!(http_call(&mut guest, "greeter", &[(b":method", b"GET"), (b":path", b"a b")]), BAD_ARGUMENT);
    let [name, len] = guest.text("greeter");
    let [method, method_len] = guest.text("Hello");
    let grpc = |guest: &mut Guest, at| {
        let arguments = [at, len, name, len, method, method_len, 0, 0, method, method_len, 1_000, OUT];
        guest.call("grpc_call", &arguments)
    };
    assert_eq!(grpc(&mut guest, name), OK);
    assert_eq!(guest.number(OUT), 2);
    assert_eq!(grpc(&mut guest, method), PARSE_FAILURE);
    let callouts = guest.vm.callouts();
    assert_eq!(callouts.len(), 2);
    assert_eq!(callouts[0].request.uri(), "http://greeter/ask");
    assert_eq!(callouts[0].request.headers()["x-a"], "1");
    assert_eq!(callouts[1].request.uri(), "http://greeter/greeter/Hello");
    assert_eq!(callouts[1].request.body()[..], b"\0\0\0\0\x05Hello"[..]);
    assert_eq!(callouts[1].request.headers()["content-type"], "application/grpc");
}

#[test]
fn a_module_has_only_so_many_calls_under_way() {
    let mut guest = Guest::new();
    let head: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/")];
    let ([service, len], [headers, headers_len]) =
        (guest.text("greeter"), guest.text(crate::wasm::abi::encode_pairs(&head)));
    let call =
        |guest: &mut Guest| guest.call("http_call", &[service, len, headers, headers_len, 0, 0, 0, 0, 1_000, OUT]);
    let mut made = Vec::new();
    while call(&mut guest) == OK {
        made.extend(guest.vm.callouts());
        assert!(made.len() <= 1_000, "there must be an end");
    }
    assert_eq!(made.len(), 1_000);
    guest.vm.reply(&made[0], None).unwrap();
    assert_eq!((call(&mut guest), call(&mut guest)), (OK, INTERNAL));
}

#[test]
fn what_came_of_a_call_is_in_its_maps_and_buffer() {
    let mut guest = Guest::new();
    let mut reply = Reply { status: Some(StatusCode::ACCEPTED), body: "answer".into(), ..Reply::default() };
    reply.headers.insert("x-a", HeaderValue::from_static("1"));
    reply.trailers.insert("x-b", HeaderValue::from_static("2"));
    reply.grpc = (5, "not there".to_owned());
    guest.vm.host().reply = Some(reply);
    assert_eq!(guest.header(6, ":status"), Ok("202".to_owned()));
    assert_eq!(guest.header(6, "x-a"), Ok("1".to_owned()));
    assert_eq!(guest.header(7, "x-b"), Ok("2".to_owned()));
    assert_eq!(guest.call("get_buffer_bytes", &[4, 0, -1, OUT, LEN]), OK);
    assert_eq!(guest.given(), b"answer");
    assert_eq!(guest.call("get_status", &[8, OUT, LEN]), OK);
    assert_eq!((guest.number(8), guest.given()), (5, b"not there".to_vec()));
}
