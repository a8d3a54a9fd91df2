//! Modules made with published SDKs, and such that others wrote: see `tests/guests`.

use super::{Modules, call, logged};
use crate::harness::{
    Backend, Client,
    client::{Answer, full},
    eventually,
    modules::{Guests, guest, header, seen},
    scene::key,
};

#[tokio::test]
async fn the_sdk_for_rust_reads_and_changes_heads_and_bodies() {
    let modes = [
        "headers",
        "headers-set",
        "header x-guest-new some value",
        "body request",
        "body-clear response",
        "body-stream response",
        "local 418 teapot",
        "local-body 409",
        "local-response 500 instead",
        "reset",
    ];
    let guests = Guests::new("rust", &modes).await;
    let answer = guests.ask(0, &[("x-guest-in", "value"), ("x-guest-remove", "1")], "").await;
    assert_eq!(seen(&answer, "x-guest-got"), ["value"]);
    assert_eq!(seen(&answer, "x-guest-add"), ["one", "two"]);
    assert_eq!(seen(&answer, "x-guest-replace"), ["request"]);
    assert!(seen(&answer, "x-guest-remove").is_empty());
    assert_eq!(header(&answer, "x-guest-replace"), "response");
    let answer = guests.ask(1, &[("x-drop-me", "1")], "").await;
    assert_eq!((seen(&answer, "x-guest-set"), seen(&answer, "x-drop-me")), (vec!["request".to_owned()], vec![]));
    assert_eq!(header(&answer, "x-guest-set"), "response");
    assert_eq!(seen(&guests.ask(2, &[], "").await, "x-guest-new"), ["some value"]);
    assert_eq!(guests.ask(3, &[], "four").await.json()["bytes"], 6);
    assert_eq!(guests.ask(4, &[], "").await.text(), "");
    assert!(guests.ask(5, &[], "").await.text().contains("\"INSTANCE\":\"ONE\""));
    let answer = guests.ask(6, &[], "").await;
    assert_eq!((answer.status, &*answer.text(), header(&answer, "x-guest-local")), (418, "teapot", "yes"));
    let answer = guests.ask(7, &[], "whole").await;
    assert_eq!((answer.status, &*answer.text(), header(&answer, "x-guest-local")), (409, "whole", "body"));
    let answer = guests.ask(8, &[], "").await;
    assert_eq!((answer.status, &*answer.text(), header(&answer, "x-guest-local")), (500, "instead", "response"));
    assert_eq!(guests.ask(9, &[], "").await.status, 503);
    guests.sound().await;
}

#[tokio::test]
async fn the_sdk_for_rust_finds_data_metrics_and_services() {
    let modes = [
        "shared-data mine",
        "cas-mismatch other",
        "shared-remove mine2",
        "metrics",
        "http-call judge /ask body",
        "http-calls 3 judge /ask",
        "http-call-response judge /ask",
        "grpc-call judge waypost.test.Echo Unary",
        "grpc-stream judge waypost.test.Echo Bidi",
        "queue q",
        "tick-pause 20",
        "properties request.path request.size:i response.code:i waypost.service nothing.here",
        "set-property my.own value",
        "foreign nothing x",
        "log",
        "http-call nobody /",
        "done-later",
    ];
    let guests = Guests::new("rust", &modes).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(header(&guests.ask(0, &[], "").await, "x-guest-count"), expected);
    }
    let answer = guests.ask(1, &[], "").await;
    assert_eq!((header(&answer, "x-guest-cas"), header(&answer, "x-guest-value")), ("Err(CasMismatch)", "second"));
    assert_eq!(header(&guests.ask(2, &[], "").await, "x-guest-remove"), "Ok(())");
    let answer = guests.ask(3, &[], "").await;
    assert_eq!((header(&answer, "x-guest-counter"), header(&answer, "x-guest-unknown-metric")), ("1", "Err(NotFound)"));
    for (at, calls) in [(4, "1"), (5, "3")] {
        let answer = guests.ask(at, &[], "").await;
        assert_eq!(seen(&answer, "x-guest-call-status"), ["200"], "{at}: {answer:?}");
        assert_eq!(seen(&answer, "x-guest-calls"), [calls]);
        assert_eq!(seen(&answer, "x-guest-call-headers"), ["counted"]);
    }
    assert_eq!(header(&guests.ask(6, &[], "").await, "x-guest-call-status"), "200");
    let answer = guests.ask(7, &[], "").await;
    assert_eq!(seen(&answer, "x-guest-grpc-status"), ["0"], "{answer:?}");
    assert_eq!(header(&guests.ask(8, &[], "").await, "x-guest-stream"), "InternalFailure");
    assert_eq!(header(&guests.ask(9, &[], "").await, "x-guest-resolve"), "false");
    assert_eq!(guests.ask(10, &[], "").await.status, 200);
    let answer = guests.ask(11, &[], "").await;
    assert_eq!(header(&answer, "x-guest-request-path"), "/11");
    assert_eq!(header(&answer, "x-guest-response-code"), "200");
    assert_eq!(header(&answer, "x-guest-waypost-service"), "greeter");
    assert_eq!(header(&answer, "x-guest-nothing-here"), "(none)");
    let answer = guests.ask(12, &[], "").await;
    assert_eq!((header(&answer, "x-guest-property"), header(&answer, "x-guest-property-later")), ("value", "value"));
    assert_eq!(header(&guests.ask(13, &[], "").await, "x-guest-foreign"), "NotFound");
    assert_eq!(guests.ask(14, &[], "").await.status, 200);
    assert!(logged(&guests.scene, &["guest log critical", "\"rust\""]));
    let answer = guests.ask(15, &[], "").await;
    assert_eq!((answer.status, header(&answer, "x-guest-call-refused")), (500, "BadArgument"));
    assert_eq!(guests.ask(16, &[], "").await.status, 200);
    eventually("the late end", || async {
        if logged(&guests.scene, &["guest done"]) { Ok(()) } else { Err(guests.scene.waypost.log()) }
    })
    .await;
    guests.sound().await;
}

#[tokio::test]
async fn a_panic_in_rust_is_a_trap_in_each_phase() {
    let phases = ["request-headers", "request-body", "response-headers", "response-body"];
    let modes = phases.map(|phase| format!("panic {phase}"));
    let modes: Vec<&str> = modes.iter().map(String::as_str).chain(["nothing"]).collect();
    let guests = Guests::new("rust", &modes).await;
    for (at, phase) in phases.iter().enumerate() {
        let client = Client::h2(guests.scene.waypost.data).await;
        let request = http::Request::post(format!("http://greeter/{at}")).body(full("body")).unwrap();
        match client.send(request).await {
            Ok(response) if response.status() == 200 => assert!(Answer::read(response).await.is_err(), "{phase}"),
            Ok(response) => assert_eq!(response.status(), 503, "{phase}"),
            Err(error) => panic!("{phase}: {error}"),
        }
        assert!(logged(&guests.scene, &[&format!("guest panics in {phase}")]), "{:?}", guests.scene.waypost.log());
        assert_eq!(guests.ask(4, &[], "").await.status, 200);
    }
    let traps = guests.scene.waypost.metric("waypost_module_failures_total", &["trap"]).await;
    assert_eq!(traps, 4.0);
}

#[tokio::test]
async fn the_sdk_for_assemblyscript_works() {
    let modes =
        ["headers", "body", "local 418 teapot", "http-call judge /ask", "shared-data k", "property request.path"];
    let guests = Guests::new("assemblyscript", &modes).await;
    let answer = guests.ask(0, &[("x-guest-in", "value")], "").await;
    assert_eq!(seen(&answer, "x-guest-as-got"), ["value"], "{answer:?}");
    assert_eq!(header(&answer, "x-guest-as"), "headers");
    let answer = guests.ask(1, &[], "four").await;
    assert!(answer.text().starts_with("{{") && answer.text().ends_with("}}"), "{answer:?}");
    assert_eq!(header(&answer, "x-guest-as"), "4,4");
    let answer = guests.ask(2, &[], "").await;
    assert_eq!((answer.status, &*answer.text()), (418, "teapot"));
    assert!(seen(&guests.ask(3, &[], "").await, "x-guest-as-call")[0].starts_with("200,"));
    for expected in ["1", "2"] {
        assert_eq!(header(&guests.ask(4, &[], "").await, "x-guest-as"), expected);
    }
    assert_eq!(header(&guests.ask(5, &[], "").await, "x-guest-as"), "/5");
    guests.sound().await;
}

#[tokio::test]
async fn filters_of_the_first_version_by_the_sdk_s_authors_work() {
    let guests = Guests::new("rust_sdk_http_config", &["some text"]).await;
    assert_eq!(header(&guests.ask(0, &[], "").await, "custom-header"), "some text");
    guests.sound().await;

    let guests = Guests::new("rust_sdk_http_headers", &[""]).await;
    let client = guests.scene.client().await;
    assert_eq!(client.http("GET", "http://greeter/0", &[], full("")).await.status, 200);
    guests.sound().await;

    let guests = Guests::new("rust_sdk_http_body", &[""]).await;
    let client = guests.scene.client().await;
    let echo = async |body: &'static str| client.http("POST", "http://greeter/0", &[], full(body)).await.text();
    assert!(echo("x").await.contains("\"instance\":\"one\""));
    let answer = guests.ask(0, &[("x-note", "secret")], "").await;
    assert!(answer.text().starts_with("Original message body ("), "{answer:?}");
    guests.sound().await;

    let guests = Guests::new("rust_sdk_http_auth_random", &[""]).await;
    // What the service answers begins with `{`, which is odd.
    let answer = guests.ask(0, &[], "").await;
    assert_eq!((answer.status, &*answer.text()), (403, "Access forbidden.\n"), "{answer:?}");
    assert_eq!(header(&answer, "powered-by"), "proxy-wasm");
    assert_eq!(guests.backends[2].seen.calls(), 1);
    guests.sound().await;
}

#[tokio::test]
async fn policies_in_c_and_zig_pick() {
    for (name, metadata) in [("c", r#""tags":["preferred"]"#), ("zig", r#""weight":9"#)] {
        let backends = [Backend::h2c("a").await, Backend::h2c("b").await, Backend::h2c("c").await];
        let modules = Modules::new(&[(name, guest(name))]);
        let scene = modules
            .scene(&[&backends[0], &backends[2]], &format!("services: {{default: {{balance: {name}}}}}\n"))
            .await;
        let value = format!(r#"{{"Op":0,"Addr":"{}","Metadata":{{{metadata}}}}}"#, backends[1].address);
        scene.etcd.put(&key("greeter", &backends[1]), &value).await;
        scene.knows(3).await;
        let client = scene.client().await;
        eventually("all calls to go there", || async {
            for _ in 0..10 {
                let reply = client.unary("greeter").await?;
                if reply.instance() != "b" {
                    return Err(format!("{name}: {} took it", reply.instance()));
                }
            }
            Ok(())
        })
        .await;
        assert_ne!(call(&client, &[("x-refuse", "b")]).await.instance(), "b", "{name}");
        assert_eq!(scene.waypost.metric("waypost_module_failures_total", &[]).await, 0.0, "{name}");
    }
}
