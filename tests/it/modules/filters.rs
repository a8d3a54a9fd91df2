//! What filters see and change of heads, and where they send calls.

use super::{Modules, call, kit::filter, logged, on, pairs, reaches};
use crate::harness::{Backend, Client, client::full, grpc::text, scene::key};

/// Adds its configuration to the header `x-seen`, both ways.
fn signs() -> Vec<u8> {
    let sign = |map| format!("(call $sign (i32.const {map}) @\"x-echo-seen\") (i32.const 0)");
    filter(&(on("request_headers", &sign(0)) + &on("response_headers", &sign(2))))
}

#[tokio::test]
async fn global_filters_come_first_and_a_route_s_own_then_and_backwards_with_the_response() {
    let backend = Backend::h2c("one").await;
    let modules = Modules::new(&[("signs", signs())]);
    let scene = modules
        .scene(
            &[&backend],
            "filters: [{module: signs, config: a}, {module: signs, config: b}]
routing: {routes: [{match: {grpc: waypost.test.Echo/Unary}, service: greeter, filters: [{module: signs, config: c}]}]}\n",
        )
        .await;
    for client in [scene.client().await, Client::h2(scene.waypost.data).await] {
        let reply = call(&client, &[]).await;
        let seen: Vec<_> = reply.headers.get_all("x-echo-seen").iter().map(|v| v.to_str().unwrap()).collect();
        // The first three came back from the backend, as it got them.
        assert_eq!(seen, ["a", "b", "c", "c", "b", "a"]);
        let reply = client.grpc("greeter", "Server", &[], &[b""]).await.unwrap();
        let seen: Vec<_> = reply.headers.get_all("x-echo-seen").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(seen, ["a", "b", "b", "a"]);
    }
}

#[tokio::test]
async fn what_a_global_filter_changes_decides_the_route() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let body = "(if (i32.eqz (call $get (i32.const 0) @\"x-host\"))
          (then (call $set (i32.const 0) @\":authority\" (call $at) (call $len))))
        (if (i32.eqz (call $get (i32.const 0) @\"x-path\"))
          (then (call $set (i32.const 0) @\":path\" (call $at) (call $len)))) (i32.const 0)";
    let modules = Modules::new(&[("host", filter(&on("request_headers", body)))]);
    let routes = "filters: [{module: host}]\nrouting: {routes: [{match: {path_prefix: /two/}, service: two}]}\n";
    let scene = modules.scene(&[&one], routes).await;
    scene.etcd.put(&key("two", &two), &two.url()).await;
    scene.knows(2).await;
    for client in [Client::h1(scene.waypost.data).await, scene.client().await] {
        for (headers, instance) in [
            (vec![], "one"),
            (vec![("x-host", "two")], "two"),
            (vec![("x-path", "/two/a")], "two"),
            (vec![("x-host", "nonsense/")], "one"),
        ] {
            let seen = client.http("GET", "http://greeter/", &headers, full("")).await;
            assert_eq!(seen.json()["instance"], instance, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn a_route_s_filter_may_have_the_call_routed_again() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let move_on = "(call $set (i32.const 0) @\":path\" @\"/moved\")
        (drop (call $foreign @\"clear_route_cache\" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4))) (i32.const 0)";
    let stay = "(call $set (i32.const 0) @\":path\" @\"/moved\") (i32.const 0)";
    let modules = Modules::new(&[
        ("moves", filter(&on("request_headers", move_on))),
        ("stays", filter(&on("request_headers", stay))),
    ]);
    let routes = "routing:
  routes:
  - {match: {path_prefix: /move}, service: greeter, filters: [{module: moves}]}
  - {match: {path_prefix: /stay}, service: greeter, filters: [{module: stays}]}
  - {match: {path_prefix: /moved}, service: two}\n";
    let scene = modules.scene(&[&one], routes).await;
    scene.etcd.put(&key("two", &two), &two.url()).await;
    scene.knows(2).await;
    let client = scene.client().await;
    for (path, instance) in [("/move", "two"), ("/stay", "one"), ("/", "one"), ("/moved", "two")] {
        let seen = client.http("GET", &format!("http://greeter{path}"), &[], full("")).await;
        assert_eq!(seen.json()["instance"], instance, "{path}");
    }
}

/// Sets properties, and an endpoint, as the request's headers say.
fn steers() -> Vec<u8> {
    let set = |header: &str, path: &str| {
        format!(
            "(if (i32.eqz (call $get (i32.const 0) @\"{header}\"))
               (then (drop (call $property_set @\"{path}\" (call $at) (call $len)))))"
        )
    };
    let body = [
        set("x-service", "waypost\\00service"),
        set("x-version", "waypost\\00subset\\00version"),
        "(if (i32.eqz (call $get (i32.const 0) @\"x-endpoint\"))
           (then (drop (call $foreign @\"waypost.set_endpoint\" (call $at) (call $len) (i32.const 0) (i32.const 4)))))
         (i32.const 0)"
            .to_owned(),
    ];
    filter(&on("request_headers", &body.concat()))
}

#[tokio::test]
async fn a_filter_names_the_service_a_subset_or_the_endpoint() {
    let (one, two, other) = (Backend::h2c("one").await, Backend::h2c("two").await, Backend::h2c("other").await);
    let modules = Modules::new(&[("steers", steers())]);
    let scene = modules.scene(&[], "filters: [{module: steers}]\n").await;
    for (backend, version) in [(&one, "v1"), (&two, "v2")] {
        let value = format!(r#"{{"Op":0,"Addr":"{}","Metadata":{{"version":"{version}"}}}}"#, backend.address);
        scene.etcd.put(&key("greeter", backend), &value).await;
    }
    scene.etcd.put(&key("other", &other), &other.url()).await;
    scene.knows(3).await;
    let client = scene.client().await;
    let second = two.address.to_string();
    for _ in 0..6 {
        assert_eq!(call(&client, &[("x-service", "other")]).await.instance(), "other");
        assert_eq!(call(&client, &[("x-version", "v1")]).await.instance(), "one");
        assert_eq!(call(&client, &[("x-version", "v2")]).await.instance(), "two");
        assert_eq!(call(&client, &[("x-endpoint", &second)]).await.instance(), "two");
    }
    let unknown = call(&client, &[("x-service", "nobody")]).await;
    assert!(unknown.status == 14 && unknown.message.contains("unknown service `nobody`"), "{unknown:?}");
    assert_eq!(scene.waypost.metric("waypost_endpoint_overrides_missed_total", &[]).await, 0.0);
    // One that is not there is no reason to fail, but one to speak of.
    assert_eq!(call(&client, &[("x-endpoint", "10.0.0.1:1")]).await.status, 0);
    assert_eq!(scene.waypost.metric("waypost_endpoint_overrides_missed_total", &["greeter"]).await, 1.0);
    assert!(logged(&scene, &["a filter asked for an endpoint that is not there", "10.0.0.1:1"]));
}

#[tokio::test]
async fn a_filter_answers_each_kind_of_caller_in_its_own_way() {
    let backend = Backend::h2c("one").await;
    let headers = pairs(&[
        ("x-why", "test"),
        ("content-length", "99"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-why"),
    ]);
    let respond = |status: u32, grpc: i32| {
        format!(
            "(drop (call $local_response (i32.const {status}) (i32.const 0) (i32.const 0) @\"no entry\" @\"{headers}\"
               (i32.const {grpc})))"
        )
    };
    let body = format!(
        "(if (i32.eqz (call $get (i32.const 0) @\"x-grpc\")) (then {} (return (i32.const 1))))
         (if (i32.eqz (call $get (i32.const 0) @\"x-deny\")) (then {} (return (i32.const 1)))) (i32.const 0)",
        respond(200, 8),
        respond(403, -1)
    );
    let modules = Modules::new(&[("guard", filter(&on("request_headers", &body))), ("signs", signs())]);
    let scene =
        modules.scene(&[&backend], "filters: [{module: signs, config: s}, {module: guard}, {module: signs}]\n").await;
    for client in [Client::h1(scene.waypost.data).await, scene.client().await] {
        for method in ["GET", "POST", "HEAD"] {
            let answer = client.http(method, "http://greeter/", &[("x-deny", "1")], full("some body")).await;
            assert_eq!(answer.status, 403, "{method}");
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "no entry" }, "{method}");
            assert_eq!(text(&answer.headers, "content-length"), Some("8"));
            assert!(!answer.headers.contains_key("transfer-encoding"));
            // The filters before it saw the answer, those behind it did not.
            assert_eq!(answer.headers.get_all("x-echo-seen").iter().count(), 1);
        }
        // The connection is as good as before.
        assert_eq!(client.http("GET", "http://greeter/", &[], full("")).await.status, 200);
    }
    let client = scene.client().await;
    for (header, status) in [("x-deny", 7), ("x-grpc", 8)] {
        let reply = call(&client, &[(header, "1")]).await;
        assert_eq!((reply.status, &*reply.message), (status, "no entry"), "{header}");
        assert_eq!(text(&reply.headers, "content-type"), Some("application/grpc"));
    }
    let answered = scene.waypost.metric("waypost_exchanges_total", &["outcome=\"filter\""]).await;
    assert_eq!(answered, 8.0);
}

#[tokio::test]
async fn no_filter_changes_how_bodies_are_framed() {
    let (one, web) = (Backend::h2c("one").await, Backend::http1("web").await);
    let spoil = |map: u32| {
        format!(
            "(call $set (i32.const {map}) @\"content-length\" @\"3\")
             (call $set (i32.const {map}) @\"transfer-encoding\" @\"chunked\")
             (call $set (i32.const {map}) @\"connection\" @\"close, x-a\")
             (call $set (i32.const {map}) @\"upgrade\" @\"h2c\") (i32.const 0)"
        )
    };
    let text = on("request_headers", &spoil(0)) + &on("response_headers", &spoil(2));
    let modules = Modules::new(&[("spoils", filter(&text))]);
    let scene = modules.scene(&[&one], "filters: [{module: spoils}]\n").await;
    scene.etcd.put(&key("web", &web), &web.url()).await;
    scene.knows(2).await;
    for client in [Client::h1(scene.waypost.data).await, scene.client().await] {
        for service in ["greeter", "web"] {
            for _ in 0..2 {
                let answer = client.http("POST", &format!("http://{service}/echo"), &[], full("0123456789")).await;
                assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"), "{service}");
            }
        }
    }
}

#[tokio::test]
async fn a_filter_asks_a_service_and_waits_for_the_answer() {
    let (backend, asked) = (Backend::h2c("one").await, Backend::h2c("judge").await);
    let web = Backend::http1("web").await;
    let http = |service: &str| {
        format!(
            "(drop (call $http_call @\"{service}\" @\"{}\" @\"body\" (i32.const 0) (i32.const 0) (i32.const 2000) (i32.const 8)))",
            pairs(&[(":method", "POST"), (":path", "/judge"), (":authority", "judge"), ("x-echo-verdict", "fine")])
        )
    };
    let grpc = format!(
        "(drop (call $grpc_call @\"judge\" @\"waypost.test.Echo\" @\"Unary\" @\"{}\" @\"message\" (i32.const 2000) (i32.const 8)))",
        pairs(&[("x-meta", "1")])
    );
    // Which call is made says the configuration's first letter.
    let body = format!(
        "(global.set $waiting (local.get 0)) (drop (call $config))
         (if (call $is @\"h\") (then {})) (if (call $is @\"w\") (then {})) (if (call $is @\"g\") (then {grpc}))
         (i32.const 1)",
        http("judge"),
        http("web")
    );
    let text = format!(
        "(global $waiting (mut i32) (i32.const 0)) {}
         (func $go_on (param $key i32) (param $key_len i32)
           (drop (call $set_context (global.get $waiting)))
           (call $set (i32.const 0) (local.get 0) (local.get 1) (call $at) (call $len))
           (drop (call $resume (i32.const 0))))
         (func (export \"proxy_on_http_call_response\") (param i32 i32 i32 i32 i32)
           (if (i32.eqz (local.get 2)) (then (drop (call $config)))
             (else (if (call $get (i32.const 6) @\"x-echo-verdict\") (then (drop (call $body (i32.const 4)))))))
           (call $go_on @\"x-echo-verdict\"))
         (func (export \"proxy_on_grpc_receive\") (param i32 i32 i32)
           (drop (call $body (i32.const 5))) (call $go_on @\"x-echo-verdict\"))
         (func (export \"proxy_on_grpc_close\") (param i32 i32 i32)
           (drop (call $config)) (call $go_on @\"x-echo-verdict\"))",
        on("request_headers", &body)
    );
    let modules = Modules::new(&[("asks", filter(&text))]);
    let routes = "routing:
  routes:
  - {match: {path_prefix: /http}, service: greeter, filters: [{module: asks, config: http}]}
  - {match: {path_prefix: /web}, service: greeter, filters: [{module: asks, config: web}]}
  - {match: {path_prefix: /grpc}, service: greeter, filters: [{module: asks, config: grpc}]}\n";
    let scene = modules.scene(&[&backend], routes).await;
    scene.etcd.put(&key("judge", &asked), &asked.url()).await;
    scene.etcd.put(&key("web", &web), &web.url()).await;
    scene.knows(3).await;
    let client = scene.client().await;
    for (path, verdict) in [("/http", "fine"), ("/web", "fine"), ("/grpc", "message")] {
        for _ in 0..3 {
            let answer = client.http("GET", &format!("http://greeter{path}"), &[], full("")).await;
            assert_eq!(text_of(&answer, "x-echo-verdict"), verdict, "{path}");
        }
    }
    assert_eq!(asked.seen.calls(), 6);
    // Nobody answers any more: the filter is told so.
    asked.is(crate::harness::backend::Mood::Hangs);
    for (path, verdict) in [("/http", "http"), ("/grpc", "grpc")] {
        let answer = client.http("GET", &format!("http://greeter{path}"), &[], full("")).await;
        // The pause ends after two seconds too, so either is right, but not to wait for ever.
        assert!(answer.status == 504 || text_of(&answer, "x-echo-verdict") == verdict, "{path}: {answer:?}");
    }
}

fn text_of(answer: &crate::harness::client::Answer, name: &str) -> String {
    text(&answer.headers, name).unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
}

#[tokio::test]
async fn ticks_come_and_a_module_s_metrics_are_shown() {
    let backend = Backend::h2c("one").await;
    let text = "(func (export \"proxy_on_vm_start\") (param i32 i32) (result i32)
          (drop (call $tick_every (i32.const 20))) (i32.const 1))
        (func (export \"proxy_on_tick\") (param i32) (call $count @\"ticks of mine\"))";
    let modules = Modules::new(&[("ticks", filter(text))]);
    let scene = modules.scene(&[&backend], "filters: [{module: ticks}]\n").await;
    reaches(&scene, "waypost_guest_ticks_of_mine_total", &["module=\"ticks\""], 10.0).await;
    assert_eq!(scene.waypost.metric("waypost_module_up", &["module=\"ticks\""]).await, 1.0);
    let loads = scene.waypost.metric("waypost_module_loads_total", &["module=\"ticks\"", "loaded"]).await;
    assert_eq!(loads, 1.0);
}

#[tokio::test]
async fn a_pause_for_ever_ends_for_the_caller() {
    let backend = Backend::h2c("one").await;
    let pauses = |callback| filter(&on(callback, "(i32.const 1)"));
    let names = ["request_headers", "request_body", "response_headers", "response_body"];
    let modules = Modules::new(&names.map(|name| (name, pauses(name))));
    let routes = names.map(|name| {
        format!("  - {{match: {{path_prefix: /{name}}}, service: greeter, filters: [{{module: {name}}}]}}\n")
    });
    let scene = modules.scene(&[&backend], &format!("routing:\n  routes:\n{}", routes.concat())).await;
    for client in [Client::h1(scene.waypost.data).await, scene.client().await] {
        for name in ["request_headers", "request_body", "response_headers"] {
            let answer = client.http("POST", &format!("http://greeter/{name}"), &[], full("body")).await;
            assert_eq!(answer.status, 504, "{name}");
            assert!(answer.text().contains("held the call for longer than it may"), "{name}: {}", answer.text());
        }
        // The head of this one is gone when its body is held: it breaks off.
        let request = http::Request::post("http://greeter/response_body").body(full("body")).unwrap();
        let response = client.send(request).await.unwrap();
        assert!(crate::harness::client::Answer::read(response).await.is_err());
    }
    let failed = scene.waypost.metric("waypost_exchanges_total", &["outcome=\"filter_failed\""]).await;
    assert_eq!(failed, 8.0);
}

#[tokio::test]
async fn what_a_filter_answers_a_grpc_call_arrives_whole_over_http_1_too() {
    let backend = Backend::h2c("one").await;
    let answers = "(call $respond (i32.const 400) @\"one\\0atwo %0A\" (i32.const 3)) (i32.const 1)";
    let trailers = on("response_headers", "(call $set (i32.const 2) @\"trailer\" @\"x-extra\") (i32.const 0)")
        + "(func (export \"proxy_on_response_trailers\") (param i32 i32) (result i32)
             (call $set (i32.const 3) @\"x-extra\" @\"7\") (i32.const 0))";
    let invalid = "(drop (call $local_response (i32.const 0) @\"\" @\"no\" @\"\" (i32.const -1))) (i32.const 1)";
    let modules = Modules::new(&[
        ("head", filter(&on("request_headers", answers))),
        ("body", filter(&on("response_body", answers))),
        ("trailers", filter(&trailers)),
        ("invalid", filter(&on("request_headers", invalid))),
    ]);
    let route = |name: &str| {
        format!(
            "  - {{match: {{headers: {{x-to: {{exact: {name}}}}}}}, service: greeter, filters: [{{module: {name}}}]}}\n"
        )
    };
    let routes = ["head", "body", "trailers", "invalid"].map(route).concat();
    let scene = modules.scene(&[&backend], &format!("routing:\n  routes:\n{routes}")).await;
    for client in [Client::h1(scene.waypost.data).await, scene.client().await] {
        let ask = async |to: &str| {
            let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("x-to", to)];
            let body = full(crate::harness::grpc::frame(b"hello"));
            client.http("POST", "http://greeter/waypost.test.Echo/Unary", &headers, body).await
        };
        let message = "one%0Atwo %250A";
        let head = ask("head").await;
        assert_eq!(
            (text(&head.headers, "grpc-status"), text(&head.headers, "grpc-message")),
            (Some("3"), Some(message))
        );
        assert_eq!((text(&head.headers, "trailer"), head.trailers.len()), (None, 0), "there are none: {head:?}");
        let body = ask("body").await;
        assert_eq!(
            (text(&body.trailers, "grpc-status"), text(&body.trailers, "grpc-message")),
            (Some("3"), Some(message))
        );
        let both = ask("trailers").await;
        assert_eq!((text(&both.trailers, "grpc-status"), text(&both.trailers, "x-extra")), (Some("0"), Some("7")));
        let invalid = ask("invalid").await;
        assert_eq!(text(&invalid.headers, "grpc-status"), Some("13"));
        let invalid = client.http("GET", "http://greeter/", &[("x-to", "invalid")], full("")).await;
        assert_eq!(invalid.status, 500, "{}", invalid.text());
        assert!(invalid.text().starts_with("filter `invalid` gave an answer that cannot be sent"));
    }
    assert!(logged(&scene, &["invalid", "its status is 0, and not from 200 to 599"]));
    let failures = ["module=\"invalid\"", "reason=\"answer\""];
    assert_eq!(scene.waypost.metric("waypost_module_failures_total", &failures).await, 4.0);
}
