//! Each function of proxy-wasm: what it does, and what it answers when it is used wrongly. Guests in Rust end at any status
//! that they do not expect, so which one it is matters as much.

use http::{HeaderMap, StatusCode};

use super::guest::{
    BAD_ARGUMENT, CAS_MISMATCH, EMPTY, Guest, INTERNAL, INVALID_MEMORY, LEN, MEMORY, NOT_FOUND, OK, OUT,
};
use crate::wasm::exchange::{Asked, Direction};

/// A pointer that is no place in the memory.
const NOWHERE: i32 = MEMORY;

#[test]
fn heads_are_read_with_what_stands_before_their_headers() {
    let mut guest = Guest::new();
    for (map, key, expected) in [
        (0, ":authority", Ok("shop")),
        (0, ":method", Ok("POST")),
        (0, ":path", Ok("/buy?item=1")),
        (0, ":scheme", Ok("http")),
        (0, "Host", Ok("shop")),
        (0, "x-one", Ok("1")),
        (0, "X-Two", Ok("2,two")),
        (0, "x-three", Err(NOT_FOUND)),
        (0, "", Err(NOT_FOUND)),
        (0, "\u{e9}", Err(NOT_FOUND)),
        (1, "x-one", Err(NOT_FOUND)),
        (2, ":status", Ok("201")),
        (2, "set-cookie", Ok("a=b")),
        (3, "grpc-status", Err(NOT_FOUND)),
        (4, "any", Err(NOT_FOUND)),
        (7, "any", Err(NOT_FOUND)),
        (8, "any", Err(BAD_ARGUMENT)),
        (-1, "any", Err(BAD_ARGUMENT)),
    ] {
        assert_eq!(guest.header(map, key), expected.map(str::to_owned), "{map} {key}");
    }
    assert_eq!(guest.call("get_header_map_value", &[0, NOWHERE, 5, OUT, LEN]), INVALID_MEMORY);
    let [key, len] = guest.text("x-one");
    assert_eq!(guest.call("get_header_map_value", &[0, key, -1, OUT, LEN]), INVALID_MEMORY);
    assert_eq!(guest.call("get_header_map_value", &[0, key, len, NOWHERE, LEN]), INVALID_MEMORY);
    assert_eq!(guest.call("get_header_map_value", &[0, key, len, 1, MEMORY - 3]), INVALID_MEMORY);
}

#[test]
fn maps_are_counted_and_read_as_a_whole() {
    let mut guest = Guest::new();
    for (map, expected) in [(0, 8), (2, 3), (1, 0), (6, 0)] {
        assert_eq!(guest.call("get_header_map_size", &[map, OUT]), OK);
        assert_eq!(guest.number(OUT), expected, "map {map}");
        assert_eq!(guest.call("get_header_map_pairs", &[map, OUT, LEN]), OK);
        let pairs = guest.given();
        assert_eq!(u32::from_le_bytes(pairs[..4].try_into().unwrap()), expected);
    }
    assert_eq!(guest.call("get_header_map_size", &[9, OUT]), BAD_ARGUMENT);
    assert_eq!(guest.call("get_header_map_size", &[0, NOWHERE]), INVALID_MEMORY);
    // A misaligned place is a place.
    assert_eq!(guest.call("get_header_map_size", &[0, 3]), OK);
    assert_eq!(guest.number(3), 8);
}

fn change(guest: &mut Guest, how: &str, map: i32, key: &str, value: &str) -> i32 {
    let ([key, key_len], [value, len]) = (guest.text(key), guest.text(value));
    guest.call(&format!("{how}_header_map_value"), &[map, key, key_len, value, len])
}

#[test]
fn heads_and_trailers_are_changed() {
    let mut guest = Guest::new();
    guest.shared.lock().response_trailers = Some(HeaderMap::new());
    for (how, map, key, value) in [
        ("add", 0, "x-one", "one"),
        ("replace", 0, "X-Two", "both"),
        ("replace", 0, ":path", "/sell"),
        ("replace", 0, ":authority", "market"),
        ("replace", 0, ":method", "PUT"),
        ("replace", 2, ":status", "404"),
        ("replace", 3, "x-sum", "42"),
    ] {
        assert_eq!(change(&mut guest, how, map, key, value), OK, "{key}");
    }
    let [key, len] = guest.text("user-agent");
    assert_eq!(guest.call("remove_header_map_value", &[0, key, len]), OK);
    let exchange = guest.shared.lock();
    let (request, response) = (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    assert_eq!(request.headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "one"]);
    assert_eq!(request.headers.get_all("x-two").iter().collect::<Vec<_>>(), ["both"]);
    assert!(!request.headers.contains_key("user-agent"));
    assert_eq!(request.uri, "http://market/sell");
    assert_eq!(request.method, "PUT");
    assert_eq!(response.status, StatusCode::NOT_FOUND);
    assert_eq!(exchange.response_trailers.as_ref().unwrap()["x-sum"], "42");
}

#[test]
fn changes_that_cannot_be_made_have_no_effect_and_are_no_error() {
    let mut guest = Guest::new();
    for (how, map, key, value) in [
        ("replace", 0, "a b", "1"),
        ("replace", 0, "x-new", "1\r\nx-evil: 1"),
        ("add", 0, "x-new", "\0"),
        ("replace", 0, ":path", "no path"),
        ("replace", 0, ":authority", "a/b@"),
        ("replace", 0, ":method", "no method"),
        ("replace", 0, ":method", "CONNECT"),
        ("replace", 0, ":status", "200"),
        ("replace", 2, ":status", "99"),
        ("replace", 2, ":status", "101"),
        ("replace", 2, ":path", "/"),
        ("replace", 6, "x-new", "1"),
    ] {
        assert_eq!(change(&mut guest, how, map, key, value), OK, "{key}: {value}");
    }
    let exchange = guest.shared.lock();
    let (request, response) = (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    assert!(!request.headers.contains_key("x-new") && !response.headers.contains_key("x-new"));
    assert_eq!((request.uri.to_string().as_str(), request.method.as_str()), ("http://shop/buy?item=1", "POST"));
    assert_eq!(response.status, 201);
}

#[test]
fn whole_maps_are_set_and_broken_ones_are_not() {
    let mut guest = Guest::new();
    let pairs = [(":path", "/all"), ("x-new", "1"), ("x-new", "2")];
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect();
    let encoded = crate::wasm::abi::encode_pairs(&pairs);
    let [at, len] = guest.text(&encoded);
    assert_eq!(guest.call("set_header_map_pairs", &[0, at, len]), OK);
    {
        let exchange = guest.shared.lock();
        let request = exchange.request.as_ref().unwrap();
        assert_eq!(request.uri, "http://shop/all");
        assert_eq!(request.headers.len(), 2, "{:?}", request.headers);
    }
    assert_eq!(guest.call("set_header_map_pairs", &[0, at, len / 2]), BAD_ARGUMENT);
    assert_eq!(guest.call("set_header_map_pairs", &[0, at, -1]), INVALID_MEMORY);
    assert_eq!(guest.call("set_header_map_pairs", &[8, at, len]), BAD_ARGUMENT);
    assert_eq!(guest.header(0, "x-new"), Ok("1,2".to_owned()));
}

#[test]
fn buffers_are_read_in_parts_and_changed() {
    let mut guest = Guest::new();
    guest.shared.lock().request_body = (&b"12345"[..]).into();
    for (buffer, start, most, expected) in [
        (0, 0, 100, Ok("12345")),
        (0, 1, 3, Ok("234")),
        (0, 4, -1, Ok("5")),
        (0, 9, 9, Ok("")),
        (1, 0, 9, Ok("")),
        (6, 0, 9, Ok("")),
        (7, 0, 100, Ok("{\"a\": 1}")),
        (8, 0, 9, Ok("")),
        (4, 0, 9, Err(NOT_FOUND)),
        (5, 0, 9, Err(NOT_FOUND)),
        (2, 0, 9, Err(NOT_FOUND)),
        (99, 0, 9, Err(NOT_FOUND)),
    ] {
        let got = match guest.call("get_buffer_bytes", &[buffer, start, most, OUT, LEN]) {
            OK => Ok(String::from_utf8(guest.given()).unwrap()),
            status => Err(status),
        };
        assert_eq!(got, expected.map(str::to_owned), "{buffer} from {start}");
    }
    assert_eq!(guest.call("get_buffer_status", &[0, OUT, LEN]), OK);
    assert_eq!(guest.number(OUT), 5);
    assert_eq!(guest.call("get_buffer_status", &[42, OUT, LEN]), NOT_FOUND);
    let [at, len] = guest.text("ab");
    for (start, size) in [(0, 0), (99, 0), (1, 1)] {
        assert_eq!(guest.call("set_buffer_bytes", &[0, start, size, at, len]), OK);
    }
    assert_eq!(guest.shared.lock().request_body, "aab12345ab");
    assert_eq!(guest.call("set_buffer_bytes", &[0, 0, 0, at, -1]), INVALID_MEMORY);
    assert_eq!(guest.call("set_buffer_bytes", &[7, 0, 0, at, len]), BAD_ARGUMENT);
}

#[test]
fn a_body_that_a_filter_makes_too_large_ends_the_exchange_and_not_the_filter() {
    let mut guest = Guest::new();
    // The limit of the tests is 64 KiB.
    assert_eq!(guest.call("set_buffer_bytes", &[0, 0, 0, 0, 70_000]), OK);
    let exchange = guest.shared.lock();
    assert!(exchange.too_large && exchange.request_body.is_empty());
}

#[test]
fn an_exchange_goes_on_ends_or_is_answered() {
    let mut guest = Guest::new();
    assert_eq!(guest.call("continue_stream", &[0]), OK);
    assert_eq!(guest.call("continue_stream", &[3]), OK);
    let key = Asked { instance: guest.vm.id(), context: guest.context };
    assert!(guest.shared.lock().take_resumed(Direction::Request, key));
    assert!(!guest.shared.lock().take_resumed(Direction::Response, key));
    let ([details, details_len], [body, body_len]) = (guest.text("because"), guest.text("no"));
    let headers = crate::wasm::abi::encode_pairs(&[(&b"x-why"[..], &b"test"[..]), (b":path", b"/")]);
    let [headers, headers_len] = guest.text(&headers);
    let say = |guest: &mut Guest, status, headers_len| {
        let arguments = [status, details, details_len, body, body_len, headers, headers_len, -1];
        guest.call("send_local_response", &arguments)
    };
    for status in [0, 99, 101, 600, -1] {
        assert_eq!(say(&mut guest, status, headers_len), BAD_ARGUMENT, "{status}");
    }
    assert_eq!(say(&mut guest, 403, 3), BAD_ARGUMENT);
    assert!(guest.shared.lock().local.is_none());
    assert_eq!(say(&mut guest, 403, headers_len), OK);
    // The first answer counts.
    assert_eq!(say(&mut guest, 500, headers_len), OK);
    let local = guest.shared.lock().local.take().unwrap();
    assert_eq!((local.status, &*local.details, &local.body[..], local.grpc_status), (403, "because", &b"no"[..], None));
    assert_eq!(local.headers.len(), 1);
    assert_eq!(guest.call("close_stream", &[1]), OK);
    assert!(guest.shared.lock().closed);
}

#[test]
fn properties_tell_what_is_known() {
    let mut guest = Guest::new();
    {
        let mut exchange = guest.shared.lock();
        exchange.facts.service = "shop".into();
        exchange.facts.endpoint = "10.0.0.1:80".into();
        exchange.facts.grpc_status = Some(5);
    }
    let number = |n: u64| n.to_le_bytes().to_vec();
    for (path, expected) in [
        ("plugin_name", Ok(b"tested".to_vec())),
        ("plugin_root_id", Ok(b"tested".to_vec())),
        ("request.path", Ok(b"/buy?item=1".to_vec())),
        ("request.url_path", Ok(b"/buy".to_vec())),
        ("request.query", Ok(b"item=1".to_vec())),
        ("request.host", Ok(b"shop".to_vec())),
        ("request.method", Ok(b"POST".to_vec())),
        ("request.scheme", Ok(b"http".to_vec())),
        ("request.protocol", Ok(b"HTTP/1.1".to_vec())),
        ("request.headers.x-one", Ok(b"1".to_vec())),
        ("request.headers.X-One", Ok(b"1".to_vec())),
        ("request.useragent", Ok(b"a test".to_vec())),
        ("request.referer", Err(NOT_FOUND)),
        ("request.size", Ok(number(0))),
        ("response.code", Ok(number(201))),
        ("response.headers.set-cookie", Ok(b"a=b".to_vec())),
        ("response.code_details", Ok(b"via_upstream".to_vec())),
        ("response.grpc_status", Ok(number(5))),
        ("source.address", Ok(b"127.0.0.1:0".to_vec())),
        ("source.port", Ok(number(0))),
        ("destination.address", Ok(b"127.0.0.1:0".to_vec())),
        ("upstream.address", Ok(b"10.0.0.1:80".to_vec())),
        ("upstream.port", Ok(number(80))),
        ("cluster_name", Ok(b"shop".to_vec())),
        ("xds.cluster_name", Ok(b"shop".to_vec())),
        ("waypost.service", Ok(b"shop".to_vec())),
        ("connection.mtls", Ok(vec![0])),
        ("node.id", Err(NOT_FOUND)),
        ("", Err(NOT_FOUND)),
        ("request", Err(NOT_FOUND)),
    ] {
        assert_eq!(guest.property(path), expected, "{path}");
    }
    assert_eq!(guest.property("request.time").map(|time| time.len()), Ok(8));
    assert_eq!(guest.property("request.duration").map(|time| time.len()), Ok(8));
    assert_eq!(guest.call("get_property", &[NOWHERE, 1, OUT, LEN]), INVALID_MEMORY);
}

#[test]
fn properties_are_set_for_others_and_ours_decide() {
    let mut guest = Guest::new();
    assert_eq!(guest.set_property("my.own", "value"), OK);
    assert_eq!(guest.property("my.own"), Ok(b"value".to_vec()));
    for (path, value) in [
        ("waypost.service", "other"),
        ("waypost.subset.version", "v2"),
        ("waypost.subset.zone", "z"),
        ("waypost.subset.tag", "t"),
        ("waypost.nonsense", "x"),
    ] {
        assert_eq!(guest.set_property(path, value), OK, "{path}");
    }
    {
        let exchange = guest.shared.lock();
        assert_eq!(exchange.service.as_deref(), Some("other"));
        assert_eq!(exchange.subset.version.as_deref(), Some("v2"));
        assert_eq!(exchange.subset.zone.as_deref(), Some("z"));
        assert_eq!(exchange.subset.tags, ["t"]);
    }
    // A module that sets ever more does not fill the memory.
    for n in 0..1_000 {
        guest = match n % 100 {
            0 => Guest::new(),
            _ => guest,
        };
        assert_eq!(guest.set_property(&format!("mine.{n}"), "x"), OK);
    }
}

#[test]
fn foreign_functions_clear_the_route_and_name_an_endpoint() {
    let mut guest = Guest::new();
    let call = |guest: &mut Guest, name: &str, argument: &str| {
        let ([name, name_len], [at, len]) = (guest.text(name), guest.text(argument));
        guest.call("call_foreign_function", &[name, name_len, at, len, OUT, LEN])
    };
    assert_eq!(call(&mut guest, "clear_route_cache", ""), OK);
    assert_eq!(call(&mut guest, "waypost.set_endpoint", "10.0.0.1:80"), OK);
    assert_eq!(call(&mut guest, "compress", "x"), NOT_FOUND);
    let exchange = guest.shared.lock();
    assert!(exchange.reroute);
    assert_eq!(exchange.endpoint.as_deref(), Some("10.0.0.1:80"));
}

#[test]
fn shared_data_is_compared_and_swapped() {
    let mut guest = Guest::new();
    let ([key, key_len], [value, len]) = (guest.text("key"), guest.text("value"));
    assert_eq!(guest.call("get_shared_data", &[key, key_len, OUT, LEN, 8]), NOT_FOUND);
    assert_eq!(guest.call("set_shared_data", &[key, key_len, value, len, 0]), OK);
    assert_eq!(guest.call("get_shared_data", &[key, key_len, OUT, LEN, 8]), OK);
    assert_eq!(guest.given(), b"value");
    let cas = guest.number(8).cast_signed();
    assert_eq!(guest.call("set_shared_data", &[key, key_len, value, 1, cas]), OK);
    assert_eq!(guest.call("set_shared_data", &[key, key_len, value, 1, cas]), CAS_MISMATCH);
    assert_eq!(guest.call("set_shared_data", &[key, key_len, NOWHERE, 1, 0]), INVALID_MEMORY);
}

#[test]
fn queues_and_streams_answer_as_guests_bear() {
    let mut guest = Guest::new();
    let [name, len] = guest.text("queue");
    assert_eq!(guest.call("register_shared_queue", &[name, len, OUT]), OK);
    assert_eq!(guest.call("resolve_shared_queue", &[name, len, name, len, OUT]), NOT_FOUND);
    assert_eq!(guest.call("enqueue_shared_queue", &[0, name, len]), NOT_FOUND);
    assert_eq!(guest.call("dequeue_shared_queue", &[0, OUT, LEN]), EMPTY);
    assert_eq!(guest.call("grpc_stream", &[name, len, name, len, name, len, 0, 0, OUT]), INTERNAL);
    assert_eq!(guest.call("grpc_cancel", &[7]), NOT_FOUND);
    assert_eq!(guest.call("grpc_close", &[7]), NOT_FOUND);
}

#[test]
fn time_ticks_levels_and_logs() {
    let mut guest = Guest::new();
    assert_eq!(guest.call("get_current_time_nanoseconds", &[OUT]), OK);
    assert_eq!(guest.call("get_log_level", &[OUT]), OK);
    assert!(guest.number(OUT) <= 5);
    assert_eq!(guest.call("set_tick_period_milliseconds", &[50]), OK);
    assert_eq!(guest.vm.period().unwrap().as_millis(), 50);
    assert_eq!(guest.call("set_tick_period_milliseconds", &[0]), OK);
    assert_eq!(guest.vm.period(), None);
    let [at, len] = guest.text("said \x1b[31m\r\n\0");
    for level in 0..6 {
        assert_eq!(guest.call("log", &[level, at, len]), OK);
    }
    assert_eq!(guest.call("log", &[2, NOWHERE, 1]), INVALID_MEMORY);
    assert_eq!(guest.call("get_current_time_nanoseconds", &[MEMORY - 7]), INVALID_MEMORY);
}

#[test]
fn another_context_is_worked_on_when_it_is_set() {
    let mut guest = Guest::new();
    assert_eq!(guest.call("set_effective_context", &[99]), OK);
    assert_eq!(guest.header(0, "x-one"), Err(NOT_FOUND));
    assert_eq!(change(&mut guest, "replace", 0, "x-one", "2"), OK);
    let context = guest.context.cast_signed();
    assert_eq!(guest.call("set_effective_context", &[context]), OK);
    assert_eq!(guest.header(0, "x-one"), Ok("1".to_owned()));
}
