use proxy_wasm::types::{BufferType, MapType};
use waypost_policy::testing::{Host, example, host};

use super::*;

const HEADER: &str = r#"{"percent": 20, "header": "X-User", "service": "orders-canary"}"#;
const COOKIE: &str = r#"{"percent": 20, "cookie": "Trial", "version": "2.0"}"#;

fn root(config: &str) -> Root {
    host(|host| {
        *host = Host::default();
        host.now = 1_700_000_000_000_000_000;
        host.set_buffer(BufferType::PluginConfiguration, config.as_bytes());
    });
    let mut root = Root::default();
    assert!(root.on_configure(config.len()));
    root
}

/// What a request with these headers leads to: service, version, and the header that sets a cookie.
type Led = (Option<String>, Option<String>, Option<String>);

fn request(root: &Root, context: u32, headers: &[(&str, &str)]) -> Led {
    host(|host| {
        host.properties.clear();
        host.set_headers(MapType::HttpRequestHeaders, headers);
        host.set_headers(MapType::HttpResponseHeaders, &[]);
    });
    let mut exchange = root.create_http_context(context).unwrap();
    assert_eq!(exchange.on_http_request_headers(headers.len(), true), Action::Continue);
    assert_eq!(exchange.on_http_response_headers(0, false), Action::Continue);
    host(|host| {
        let cookie = host.headers(MapType::HttpResponseHeaders, "set-cookie").pop();
        (host.property("waypost.service"), host.property("waypost.subset.version"), cookie)
    })
}

#[test]
fn the_same_users_go_to_the_canary_each_time() {
    let root = root(HEADER);
    let among = || -> Vec<_> {
        let goes = |user: &u32| request(&root, 2, &[("x-user", &user.to_string())]).0.is_some();
        (0..1000).filter(goes).collect()
    };
    let users = among();
    assert!((160..240).contains(&users.len()), "{}", users.len());
    assert_eq!(among(), users);
    let led = request(&root, 2, &[("x-user", &users[0].to_string())]);
    assert_eq!(led, (Some("orders-canary".to_owned()), None, None));
}

#[test]
fn more_percent_only_add_users() {
    let goes = |root: &Root, user: u32| request(root, 2, &[("x-user", &user.to_string())]).0.is_some();
    let few = root(HEADER);
    let some: Vec<_> = (0..200).filter(|user| goes(&few, *user)).collect();
    let more = root(&HEADER.replace("20", "60"));
    assert!(some.iter().all(|user| goes(&more, *user)));
    let none = root(&HEADER.replace("20", "0"));
    let all = root(&HEADER.replace("20", "100"));
    assert!((0..200).all(|user| !goes(&none, user) && goes(&all, user)));
}

#[test]
fn a_user_without_a_cookie_gets_one_and_keeps_its_place() {
    let root = root(COOKIE);
    let mut canaries = 0;
    for context in 0..200 {
        let (_, version, set) = request(&root, context, &[]);
        let set = set.unwrap();
        let (pair, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure");
        assert!(pair.starts_with("Trial=") && pair.len() == "Trial=".len() + 16, "{pair}");
        canaries += u32::from(version.is_some());
        // Among others, in one header or in several.
        let cookies = format!("a=b; {pair};c=");
        assert_eq!(request(&root, 1, &[("cookie", &cookies)]), (None, version.clone(), None));
        assert_eq!(request(&root, 1, &[("cookie", "a=b"), ("cookie", pair)]), (None, version, None));
    }
    assert!((20..65).contains(&canaries), "{canaries}");
}

#[test]
fn names_that_are_given_differ() {
    let root = root(COOKIE);
    let first = request(&root, 1, &[]).2;
    assert_ne!(request(&root, 2, &[]).2, first, "another exchange");
    host(|host| host.now += 1);
    assert_ne!(request(&root, 1, &[]).2, first, "another time");
}

#[test]
fn the_header_counts_before_the_cookie() {
    let root =
        root(r#"{"percent": 50, "header": "x-user", "cookie": "t", "service": "new", "version": "2", "salt": "s"}"#);
    for user in ["a", "b", "c", "d", "e", "f"] {
        let by_header = request(&root, 1, &[("x-user", user)]);
        assert_eq!(by_header.2, None);
        assert_eq!(request(&root, 1, &[("x-user", user), ("cookie", "t=other")]), by_header);
        assert_eq!(request(&root, 1, &[("x-user", ""), ("cookie", &format!("t={user}"))]), by_header, "no name");
        assert_eq!(by_header.0.is_some(), by_header.1.is_some(), "service and version together");
    }
}

#[test]
fn who_cannot_be_told_apart_stays() {
    let root = root(&HEADER.replace("20", "100"));
    assert_eq!(request(&root, 1, &[("cookie", "x-user=1")]), (None, None, None));
}

#[test]
fn the_example_in_the_readme_is_accepted() {
    assert_eq!(Config::read(example(include_str!("../README.md")).as_bytes()).err(), None);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let cases = [
        (
            "",
            "percent: is needed, from 0 to 100; header or cookie: one is needed to tell users apart; service or version: one",
        ),
        (r#"{"percent": 101, "header": "a", "service": "b"}"#, "percent: must be from 0 to 100, is 101"),
        (r#"{"percent": 1, "service": "b"}"#, "header or cookie: one is needed"),
        (r#"{"percent": 1, "header": "a"}"#, "service or version: one is needed"),
        (r#"{"percent": 1, "header": "a b", "service": "b"}"#, "header: \"a b\" cannot be a name"),
        (r#"{"percent": 1, "cookie": "a=b", "service": "b"}"#, "cookie: \"a=b\" cannot be a name"),
        (r#"{"percent": 1, "heder": "a", "service": "b"}"#, "unknown field `heder`"),
    ];
    for (config, reason) in cases {
        let refusal = Config::read(config.as_bytes()).err().unwrap_or_default();
        assert!(refusal.contains(reason), "{config}: {refusal}");
    }
}
