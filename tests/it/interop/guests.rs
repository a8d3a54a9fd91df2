//! Filters made with the SDK for Go: our own, and a whole firewall that others wrote.

use crate::harness::{
    client::full,
    grpc::text,
    modules::{Guests, header, seen},
};

#[tokio::test]
async fn the_sdk_for_go_works() {
    let modes = [
        "headers",
        "body",
        "local 418 teapot",
        "http-call judge /ask",
        "shared-data k",
        "properties request.path",
        "metrics",
    ];
    let guests = Guests::new("go", &modes).await;
    let answer = guests.ask(0, &[("x-guest-remove", "1")], "").await;
    assert_eq!(header(&answer, "x-guest-go"), "headers");
    assert_eq!(seen(&answer, "x-guest-replace"), ["go"]);
    assert!(seen(&answer, "x-guest-remove").is_empty());
    let answer = guests.ask(1, &[], "four").await;
    assert!(answer.text().starts_with(">{") && answer.text().contains("\"bytes\":6"), "{answer:?}");
    let answer = guests.ask(2, &[], "").await;
    assert_eq!((answer.status, &*answer.text(), header(&answer, "x-guest-go")), (418, "teapot", "local"));
    assert!(seen(&guests.ask(3, &[], "").await, "x-guest-go-call")[0].starts_with("200,"));
    for expected in ["1", "2"] {
        assert_eq!(header(&guests.ask(4, &[], "").await, "x-guest-go"), expected);
    }
    assert_eq!(header(&guests.ask(5, &[], "").await, "x-guest-go"), "/5");
    assert_eq!(header(&guests.ask(6, &[], "").await, "x-guest-go"), "1");
    guests.sound().await;
}

const RULES: &str = r#"{"directives_map": {"default": [
    "SecRuleEngine On",
    "SecRequestBodyAccess On",
    "SecAction \"id:100,phase:1,pass,nolog,ctl:forceRequestBodyVariable=On\"",
    "SecRule REQUEST_URI \"@contains forbidden\" \"id:101,phase:1,deny,status:403\"",
    "SecRule REQUEST_BODY \"@contains attack\" \"id:102,phase:2,deny,status:406\"",
    "SecRule RESPONSE_HEADERS:x-echo-server \"@streq secret\" \"id:103,phase:3,deny,status:502\""
]}, "default_directives": "default"}"#;

#[tokio::test]
async fn coraza_guards_requests_and_responses() {
    // It takes half a minute to compile without optimisation, longer than a proxy may take to be ready: the cache has it then.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/guests/coraza.wasm");
    let check = tokio::process::Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(["filters", "check", file, "--config", RULES])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output();
    let check = check.await.unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let guests = Guests::new("coraza", &[&RULES.replace('\n', " ")]).await;
    assert_eq!(guests.ask(0, &[], "").await.status, 200);
    let answer = guests.ask(0, &[], "harmless").await;
    assert_eq!((answer.status, &answer.json()["bytes"]), (200, &8.into()));
    let client = guests.scene.client().await;
    let answer = client.http("GET", "http://greeter/0?forbidden=1", &[], full("")).await;
    assert_eq!((answer.status, answer.text().as_str()), (403, ""));
    assert_eq!(guests.ask(0, &[], "an attack").await.status, 406);
    assert_eq!(guests.ask(0, &[("x-echo-server", "secret")], "").await.status, 502);
    assert_eq!(text(&guests.ask(0, &[("x-echo-server", "open")], "").await.headers, "x-echo-server"), Some("open"));
    let count = guests.scene.waypost.metric("waypost_guest_waf_filter_tx_total", &[]).await;
    assert!(count >= 6.0, "{count}");
    guests.sound().await;
}
