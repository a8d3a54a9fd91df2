//! Requests and the services that they are for, and what the configuration refuses.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::config::parse;

#[track_caller]
fn router(text: &str) -> Router {
    Router::new(&parse(text, Config::read).unwrap())
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .collect()
}

/// `host path name=value name=value …`; a host of `-` is none.
#[track_caller]
fn check(router: &Router, request: &str, expected: Result<&str, NoRoute>) {
    let mut words = request.split(' ');
    let authority = words.next().filter(|host| *host != "-");
    let path = words.next().unwrap_or("/");
    let pairs: Vec<_> = words.map(|pair| pair.split_once('=').unwrap()).collect();
    let headers = headers(&pairs);
    let matched = router.route(authority, path, &headers);
    assert_eq!(matched.map(|matched| matched.service), expected, "{request}");
}

#[test]
fn the_host_is_the_service() {
    let plain = Router::default();
    for (authority, service) in [
        ("greeter", "greeter"),
        ("greeter:8400", "greeter"),
        ("greeter:", "greeter"),
        ("greeter.", "greeter"),
        ("greeter.:80", "greeter"),
        ("user.rpc", "user.rpc"),
        ("Greeter.Svc.Local:80", "Greeter.Svc.Local"),
        ("a_b-c~d%20", "a_b-c~d%20"),
        ("приём:80", "приём"),
        ("127.0.0.1:8400", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:8400", "[::1]"),
    ] {
        check(&plain, authority, Ok(service));
    }
    let long = "x".repeat(256);
    for (authority, error) in [
        ("-", NoRoute::NoAuthority),
        ("", NoRoute::NoAuthority),
        (":80", NoRoute::NoAuthority),
        (".", NoRoute::BadAuthority),
        ("::1", NoRoute::BadAuthority),
        ("::1:80", NoRoute::BadAuthority),
        ("[::1", NoRoute::BadAuthority),
        ("[::1]x", NoRoute::BadAuthority),
        ("[::1]é", NoRoute::BadAuthority),
        ("[::1]80", NoRoute::BadAuthority),
        ("[greeter]", NoRoute::BadAuthority),
        ("[]", NoRoute::BadAuthority),
        ("a]:80", NoRoute::BadAuthority),
        ("greeter:http", NoRoute::BadAuthority),
        ("greeter:80:80", NoRoute::BadAuthority),
        ("user@greeter", NoRoute::BadAuthority),
        ("http://greeter", NoRoute::BadAuthority),
        ("greeter/../x", NoRoute::BadAuthority),
        ("<script>alert(1)</script>", NoRoute::BadAuthority),
        ("a\u{1b}[2J", NoRoute::BadAuthority),
        ("a\tb", NoRoute::BadAuthority),
        ("a\\b", NoRoute::BadAuthority),
        (&long, NoRoute::BadAuthority),
    ] {
        check(&plain, authority, Err(error));
    }
    let headers = HeaderMap::new();
    assert_eq!(plain.route(Some("a b"), "/", &headers), Err(NoRoute::BadAuthority));
}

#[test]
fn the_longest_suffix_is_cut_off() {
    let router = router("suffixes: [.local, svc.local, .Cluster.SVC.local]");
    for (authority, service) in [
        ("pay.svc.local:80", "pay"),
        ("Pay.Svc.LOCAL", "Pay"),
        ("pay.cluster.svc.local.", "pay"),
        ("pay.eu.local", "pay.eu"),
        ("svc.local", "svc"),
        (".svc.local", ".svc"),
        ("pay.svc.locale", "pay.svc.locale"),
        ("paysvc.local", "paysvc"),
        ("é.svc.local", "é"),
        ("[::1]", "[::1]"),
        ("local", "local"),
    ] {
        check(&router, authority, Ok(service));
    }
}

#[test]
fn only_names_from_the_host_have_no_case() {
    let router = router("{service_header: true, routes: [{match: {host: a}, service: Pay}]}");
    for (authority, name, lower) in [
        ("Greeter", None, Some("greeter")),
        ("greeter", None, None),
        ("A", None, None),
        ("x", Some(("waypost-service", "Pay")), None),
    ] {
        let headers = headers(name.as_slice());
        assert_eq!(router.route(Some(authority), "/", &headers).unwrap().lower_case().as_deref(), lower);
    }
}

#[test]
fn the_header_names_the_service_outright_if_it_may() {
    let off = router("routes: [{match: {host: a}, service: b}]");
    check(&off, "a / waypost-service=pay", Ok("b"));
    let on = router("{service_header: true, suffixes: [.local], routes: [{match: {host: a}, service: b}]}");
    for (request, expected) in [
        ("a / waypost-service=pay", Ok("pay")),
        ("a", Ok("b")),
        ("- / waypost-service=team/pay.local", Ok("team/pay.local")),
        ("a@b / waypost-service=pay", Ok("pay")),
        ("a / waypost-service=приём", Ok("приём")),
        ("a / waypost-service=", Err(NoRoute::BadServiceHeader)),
        ("a / waypost-service=pay waypost-service=pay", Err(NoRoute::BadServiceHeader)),
    ] {
        check(&on, request, expected);
    }
    check(&on, &format!("a / waypost-service={}", "x".repeat(256)), Err(NoRoute::BadServiceHeader));
    let mut headers = HeaderMap::new();
    headers.insert(SERVICE_HEADER, HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(on.route(Some("a"), "/", &headers), Err(NoRoute::BadServiceHeader));
}

#[test]
fn routes_match_host_path_and_headers() {
    for (matches, takes, leaves) in [
        (
            "host: shop.example",
            &["shop.example", "SHOP.example:80 /x", "shop.example."][..],
            &["a.shop.example", "-"][..],
        ),
        (
            "host: '*.Shop.example'",
            &["a.shop.example", "a.b.shop.EXAMPLE"],
            &["shop.example", ".shop.example", "ashop.example", "-"],
        ),
        ("host: '[::1]'", &["[::1]:80"], &["[::2]"]),
        ("host: '*'", &["a", "- /"], &[]),
        (
            "path_prefix: /api",
            &["a /api", "a /api/", "a /api/x?y", "- /api?x=1"],
            &["a /apix", "a /", "a /x/api", "a /API", "a /%61pi"],
        ),
        ("path_prefix: /api/", &["a /api", "a /api/x"], &["a /apix"]),
        ("path_prefix: /", &["a /", "a /x", "a *"], &[]),
        (
            "grpc: shop.v1.Cart",
            &["a /shop.v1.Cart/Add", "a /shop.v1.Cart"],
            &["a /shop.v1.Cart2/Add", "a /shop.v1/Cart"],
        ),
        (
            "grpc: shop.v1.Cart/Add",
            &["a /shop.v1.Cart/Add"],
            &["a /shop.v1.Cart/AddAll", "a /shop.v1.Cart/Add/x", "a /shop.v1.Cart"],
        ),
        (
            "headers: {X-Canary: {exact: '1'}}",
            &["a / x-canary=1", "a / x-canary=0 x-canary=1"],
            &["a", "a / x-canary=11", "a / x-canary="],
        ),
        ("headers: {x-user: {present: true}}", &["a / x-user=", "a / x-user=bob"], &["a", "a / x-users=1"]),
        (
            "headers: {x-tenant: {prefix: acme-}}",
            &["a / x-tenant=acme-", "a / x-tenant=acme-1"],
            &["a / x-tenant=ACME-1", "a"],
        ),
        ("headers: {a: {exact: '1'}, b: {present: true}}", &["a / a=1 b=2"], &["a / a=1", "a / b=2"]),
        (
            "{host: a, path_prefix: /x, headers: {b: {exact: '1'}}}",
            &["a /x/y b=1"],
            &["b /x b=1", "a /y b=1", "a /x b=2"],
        ),
    ] {
        let matches = if matches.starts_with('{') { matches.to_owned() } else { format!("{{{matches}}}") };
        let router = router(&format!("routes: [{{match: {matches}, service: taken}}]"));
        for request in takes {
            check(&router, request, Ok("taken"));
        }
        for request in leaves {
            let (plain, headers) = (Router::default(), HeaderMap::new());
            let host = request.split(' ').next().filter(|host| *host != "-");
            let default = plain.route(host, "/", &headers).map(|matched| matched.service);
            check(&router, request, default);
        }
    }
}

/// The most specific first; each route leads to the name of its line.
const ORDERED: &[(&str, &str)] = &[
    ("shop.example /p.S/M x=1", "{host: shop.example, grpc: p.S/M}"),
    ("shop.example /p.S/N/longer x=1", "{host: shop.example, path_prefix: /p.S/N}"),
    ("shop.example /p.S/O x=1", "{host: shop.example, grpc: p.S}"),
    ("shop.example /other x=1 y=1", "{host: shop.example, headers: {x: {exact: '1'}, y: {present: true}}}"),
    ("shop.example /other x=1", "{host: shop.example, headers: {x: {exact: '1'}}}"),
    ("shop.example /other x=22", "{host: shop.example, headers: {x: {prefix: '22'}}}"),
    ("shop.example /other x=21", "{host: shop.example, headers: {x: {prefix: '2'}}}"),
    ("shop.example /other x=3", "{host: shop.example, headers: {x: {present: true}}}"),
    ("shop.example /other", "{host: shop.example}"),
    ("a.b.shop.example /p.S/M", "{host: '*.b.shop.example'}"),
    ("a.shop.example /p.S/M", "{host: '*.shop.example', grpc: p.S}"),
    ("a.shop.example /x", "{host: '*.shop.example'}"),
    ("other /p.S/M", "{grpc: p.S/M}"),
    ("other /api/v2/x", "{path_prefix: /api/v2}"),
    ("other /api/v1", "{path_prefix: /api}"),
    ("other / x=1 y=2", "{headers: {x: {exact: '1'}, y: {exact: '2'}}}"),
    ("other / x=1 y=1", "{headers: {x: {exact: '1'}, y: {present: true}}}"),
    ("- /", "{}"),
];

#[test]
fn the_most_specific_route_wins_however_they_are_written() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let mut routes: Vec<String> =
            ORDERED.iter().zip(0..).map(|((_, matches), n)| format!("{{match: {matches}, service: s{n}}}")).collect();
        random.shuffle(&mut routes);
        let router = router(&format!("routes: [{}]", routes.join(", ")));
        for ((request, _), n) in ORDERED.iter().zip(0..) {
            check(&router, request, Ok(&format!("s{n}")));
        }
    }
    // Of equals, the first in the file.
    let router = router(
        "routes: [{match: {headers: {b: {exact: '1'}}}, service: b}, {match: {headers: {a: {exact: '1'}}}, service: a}]",
    );
    check(&router, "x / a=1 b=1", Ok("b"));
}

#[test]
fn a_route_may_ask_for_a_subset_and_a_timeout() {
    let router = router(
        "routes:
  - {match: {path_prefix: /a}, service: pay, subset: {version: v2, tags: [canary, eu]}, fallback: none, timeout: 5s}
  - {match: {path_prefix: /b}, service: pay, subset: {zone: z1}}
  - {match: {path_prefix: /c}, service: cart, subset: {version: v2, tags: 'canary, eu'}, fallback: none, timeout: off}
  - {match: {path_prefix: /d}, service: pay}",
    );
    let headers = HeaderMap::new();
    let matched = |path| router.route(Some("x"), path, &headers).unwrap();
    let canary = router.subset(matched("/a").subset.unwrap()).unwrap();
    assert_eq!((canary.subset.version.as_deref(), canary.subset.zone.as_deref()), (Some("v2"), None));
    assert_eq!((canary.subset.tags.len(), canary.fallback), (2, Fallback::None));
    assert_eq!(matched("/a").timeout, Some(Duration::from_secs(5)));
    let zone = router.subset(matched("/b").subset.unwrap()).unwrap();
    assert_eq!((zone.subset.zone.as_deref(), zone.fallback), (Some("z1"), Fallback::Any));
    assert_eq!(
        (matched("/c").subset, matched("/c").timeout),
        (matched("/a").subset, None),
        "equal subsets share an id"
    );
    assert_eq!((matched("/d").subset, matched("/d").source), (None, Source::Route));
    assert_eq!((matched("/e").subset, matched("/e").source), (None, Source::Host));
    assert_eq!(router.subset(9), None);
}

#[test]
fn a_subset_contains_what_has_all_that_is_asked() {
    let instance = Instance {
        service: "pay".into(),
        id: "1".into(),
        address: "a:1".parse().unwrap(),
        weight: 1,
        version: "v2".into(),
        zone: String::new(),
        tags: vec!["canary".into(), "eu".into()],
        protocol: None,
        tls: None,
        metadata: Default::default(),
    };
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for (version, zone, tags, contains) in [
        ("", "", &[][..], true),
        ("v2", "", &["eu"], true),
        ("", "", &["eu", "canary"], true),
        ("v1", "", &["eu"], false),
        ("v2", "z1", &[], false),
        ("v2", "", &["eu", "us"], false),
    ] {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        assert_eq!(Subset { version: text(version), zone: text(zone), tags }.contains(&instance), contains);
    }
}

#[test]
fn nothing_configured_is_the_default() {
    let config = Config::default();
    assert_eq!(config, Config { suffixes: vec![], service_header: false, routes: vec![] });
    assert_eq!(parse("", Config::read).unwrap(), config);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("suffixes: ['']", "suffixes"),
        ("suffixes: ['a b']", "`a b` is none"),
        ("suffixes: ['.local:80']", "`.local:80` is none"),
        ("routes: [{match: {host: a}}]", "needs the service"),
        ("routes: [{match: {host: 'a:80'}, service: s}]", "host without port"),
        ("routes: [{match: {host: '[::1]:80'}, service: s}]", "host without port"),
        ("routes: [{match: {host: 'a.*'}, service: s}]", "host without port"),
        ("routes: [{match: {host: '*.'}, service: s}]", "neither a host name nor an IP"),
        ("routes: [{match: {host: 'a b'}, service: s}]", "neither a host name nor an IP"),
        ("routes: [{match: {path_prefix: api}, service: s}]", "starts with `/`"),
        ("routes: [{match: {path_prefix: '/a?b'}, service: s}]", "without a query"),
        ("routes: [{match: {grpc: /p.S}, service: s}]", "package.Service"),
        ("routes: [{match: {grpc: p.S/M/x}, service: s}]", "package.Service"),
        ("routes: [{match: {grpc: p.S/}, service: s}]", "package.Service"),
        ("routes: [{match: {grpc: p.S, path_prefix: /a}, service: s}]", "not by both"),
        ("routes: [{match: {headers: {'a b': {present: true}}}, service: s}]", "not a header's name"),
        ("routes: [{match: {headers: {a: {}}}, service: s}]", "needs one of"),
        ("routes: [{match: {headers: {a: {exact: x, prefix: y}}}, service: s}]", "needs one of"),
        ("routes: [{service: s, fallback: some}]", "one of none, any"),
        ("routes: [{service: s, timeout: 0s}]", "timeout"),
        ("routes: [{match: {hots: a}, service: s}]", "host"),
        ("routes:\n  - {service: a}\n  - {match: {}, service: b}", "config:3:"),
        (
            "routes: [{match: {host: A.x, grpc: p.S}, service: a}, {match: {host: a.X, path_prefix: /p.S/}, service: b}]",
            "same requests as routes[0]",
        ),
        (
            "routes: [{match: {headers: {A: {exact: x}, b: {present: true}}}, service: a},
                      {match: {headers: {B: {present: true}, a: {exact: x}}}, service: b}]",
            "same requests as routes[0]",
        ),
    ] {
        let error = parse(text, Config::read).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
