use proxy_wasm::types::{BufferType, MapType};
use waypost_policy::testing::{Answered, Host, example, host};

use super::*;

const CONFIG: &str = r#"{
    "tokens": [
        {"name": "billing", "token": "0123456789abcdef"},
        {"name": "orders", "token": "fedcba9876543210"},
        {"name": "orders", "token": "the-next-one-of-orders"}
    ],
    "caller_header": "X-Caller"
}"#;
const API_KEY: &str =
    r#"{"tokens": [{"name": "a", "token": "0123456789abcdef"}], "header": "x-api-key", "forward_token": true}"#;

/// What becomes of a request with these headers: the answer, or nothing if it passes.
fn request(config: &str, headers: &[(&str, &str)]) -> Option<Answered> {
    host(|host| {
        *host = Host::default();
        host.set_buffer(BufferType::PluginConfiguration, config.as_bytes());
        host.set_headers(MapType::HttpRequestHeaders, headers);
    });
    let mut root = Root::default();
    assert!(root.on_configure(config.len()));
    let action = root.create_http_context(2).unwrap().on_http_request_headers(headers.len(), true);
    let answered = host(|host| host.answered.take());
    assert_eq!(action, if answered.is_some() { Action::Pause } else { Action::Continue });
    answered
}

fn left(name: &str) -> Vec<String> {
    host(|host| host.headers(MapType::HttpRequestHeaders, name))
}

#[test]
fn a_known_token_passes_and_names_the_caller() {
    let cases = [
        ("Bearer 0123456789abcdef", "billing"),
        ("bearer fedcba9876543210", "orders"),
        ("BEARER  the-next-one-of-orders ", "orders"),
    ];
    for (value, caller) in cases {
        assert_eq!(request(CONFIG, &[("authorization", value), ("a", "b")]), None, "{value}");
        assert_eq!(left("x-caller"), [caller]);
        assert_eq!(left("authorization"), [""; 0], "the token ends here");
        assert_eq!(left("a"), ["b"]);
    }
}

#[test]
fn what_the_client_says_of_itself_is_removed() {
    let headers = [("x-caller", "root"), ("authorization", "Bearer 0123456789abcdef"), ("x-caller", "admin")];
    assert_eq!(request(CONFIG, &headers), None);
    assert_eq!(left("x-caller"), ["billing"]);
}

#[test]
fn nobody_says_who_calls_where_no_header_is_configured_for_it() {
    let headers = [("x-api-key", "0123456789abcdef"), ("x-caller", "root")];
    assert_eq!(request(API_KEY, &headers), None);
    assert_eq!(left("x-caller"), ["a"]);
    let off = API_KEY.replace("\"forward_token\": true", "\"caller_header\": \"\"");
    assert_eq!(request(&off, &headers), None);
    assert_eq!(left("x-caller"), ["root"], "it is said that nobody believes it");
}

#[test]
fn all_else_is_refused() {
    let token = "Bearer 0123456789abcdef";
    let cases: [&[(&str, &str)]; 12] = [
        &[],
        &[("x-api-key", "0123456789abcdef")],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "0123456789abcdef")],
        &[("authorization", "Basic 0123456789abcdef")],
        &[("authorization", "Bearer0123456789abcdef")],
        &[("authorization", "Bearer 0123456789abcdeF")],
        &[("authorization", "Bearer 0123456789abcde")],
        &[("authorization", "Bearer 0123456789abcdef0")],
        // Who knows which of the two the endpoint would believe?
        &[("authorization", token), ("authorization", token)],
    ];
    for headers in cases {
        let Some(answered) = request(CONFIG, headers) else { panic!("{headers:?} passed") };
        assert_eq!((answered.status, answered.grpc), (401, None));
        assert!(answered.headers.contains(&("www-authenticate".to_owned(), b"Bearer".to_vec())), "{answered:?}");
        assert_eq!(answered.body, b"a valid token is needed in the header authorization\n");
    }
}

#[test]
fn another_header_has_no_scheme_unless_it_is_configured() {
    assert_eq!(request(API_KEY, &[("x-api-key", "0123456789abcdef")]), None);
    assert_eq!(left("x-api-key"), ["0123456789abcdef"], "forwarded, as configured");
    assert_eq!(left("x-caller"), ["a"]);
    let refused = request(API_KEY, &[("x-api-key", "Bearer 0123456789abcdef")]);
    assert_eq!(refused.map(|answered| answered.headers.len()), Some(1));
    let scheme = API_KEY.replace("\"forward_token\": true", "\"scheme\": \"Key\"");
    assert_eq!(request(&scheme, &[("x-api-key", "Key 0123456789abcdef")]), None);
    assert!(request(&scheme, &[("x-api-key", "0123456789abcdef")]).is_some());
}

#[test]
fn the_example_in_the_readme_is_accepted() {
    assert_eq!(Config::read(example(include_str!("../README.md")).as_bytes()).err(), None);
}

#[test]
fn a_configuration_that_cannot_work_is_refused_without_showing_tokens() {
    let one = |token: &str| format!(r#"{{"tokens": [{{"name": "a", "token": "{token}"}}]}}"#);
    let with = |more: &str| API_KEY.replace("\"forward_token\": true", more);
    let cases = [
        (String::new(), "tokens: must not be empty"),
        (r#"{"tokens": []}"#.to_owned(), "tokens: must not be empty"),
        (one("0123456789abcde"), "tokens[0].token: must be 16 or more letters, digits and signs"),
        (one("0123456789 abcdef"), "tokens[0].token: must be 16 or more letters, digits and signs"),
        (CONFIG.replace("fedcba9876543210", "0123456789abcdef"), "tokens[1].token: orders has the same token"),
        (CONFIG.replace("billing", "bil ling"), "tokens[0].name: must be letters"),
        (
            one("short").replace("{\"tokens\"", r#"{"caller_header": "a b", "header": "", "tokens""#),
            "tokens[0].token: must be 16 or more letters, digits and signs, without spaces; that of a is not; header: \"\" cannot be a name; use letters, digits and hyphens; caller_header: \"a b\" cannot be a name",
        ),
        (with(r#""caller_header": "X-Api-Key""#), "caller_header: must be another header"),
        (with(r#""caller_header": "a b""#), "caller_header: \"a b\" cannot be a name"),
        (with(r#""scheme": "a b""#), "scheme: \"a b\" cannot be a name"),
        (with(r#""forward": true"#), "unknown field `forward`"),
    ];
    for (config, reason) in cases {
        let refusal = Config::read(config.as_bytes()).err().unwrap_or_default();
        assert!(refusal.contains(reason), "{config}: {refusal}");
        assert!(!refusal.contains("0123456789"), "{refusal}");
    }
}
