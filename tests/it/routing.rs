//! Which service a request is for: its host, a route, or the header that names it.

use crate::harness::{Backend, Client, Scene, client::full, scene::key};

const ROUTES: &str = "routing:
  suffixes: [.svc.local]
  routes:
  - match: {path_prefix: /static/}
    service: web
  - match: {grpc: waypost.test.Echo/Server}
    service: streams
  - match: {headers: {x-canary: {exact: 'yes'}}}
    service: greeter
    subset: {version: v2}
    fallback: none
";

/// Who answers a unary call, or the message of the failure.
async fn answers(client: &Client, service: &str, headers: &[(&str, &str)]) -> String {
    let reply = client.grpc(service, "Unary", headers, &[b""]).await.unwrap();
    if reply.status == 0 { reply.instance().to_owned() } else { reply.message }
}

#[tokio::test]
async fn the_host_names_the_service_less_port_and_suffix() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], ROUTES).await;
    let client = scene.client().await;
    for host in ["greeter", "greeter:80", "greeter.svc.local", "GREETER.svc.local:443", "greeter.svc.local:1"] {
        assert_eq!(answers(&client, host, &[]).await, "one", "{host}");
    }
    for host in ["greeter.other", "svc.local", "greete"] {
        assert!(answers(&client, host, &[]).await.contains("unknown"), "{host}");
    }
    // The header names nothing unless that is switched on.
    assert!(answers(&client, "nobody", &[("waypost-service", "greeter")]).await.contains("unknown"));
}

#[tokio::test]
async fn routes_lead_elsewhere_than_the_host_says() {
    let (greeter, web, streams) = (Backend::h2c("one").await, Backend::h2c("web").await, Backend::h2c("streams").await);
    let scene = Scene::with("greeter", &[&greeter], ROUTES).await;
    scene.etcd.put("/services/web/1", &web.url()).await;
    scene.etcd.put("/services/streams/1", &streams.url()).await;
    scene.knows(3).await;
    let client = scene.client().await;
    assert_eq!(answers(&client, "greeter", &[]).await, "one");
    let seen = client.http("GET", "http://greeter/static/a.css", &[], full("")).await;
    assert_eq!(seen.json()["instance"], "web");
    let reply = client.grpc("greeter", "Server", &[], &[b""]).await.unwrap();
    assert_eq!(reply.instance(), "streams");
}

#[tokio::test]
async fn a_route_s_subset_takes_the_instances_of_a_version() {
    let (old, new) = (Backend::h2c("old").await, Backend::h2c("new").await);
    let scene = Scene::with("greeter", &[], ROUTES).await;
    let versioned = |backend: &Backend, version: &str| {
        format!(r#"{{"Op":0,"Addr":"{}","Metadata":{{"version":"{version}"}}}}"#, backend.address)
    };
    scene.etcd.put(&key("greeter", &old), &versioned(&old, "v1")).await;
    scene.knows(1).await;
    let client = scene.client().await;
    let canary = [("x-canary", "yes")];
    assert!(answers(&client, "greeter", &canary).await.contains("subset"));
    scene.etcd.put(&key("greeter", &new), &versioned(&new, "v2")).await;
    scene.reaches("greeter", "new").await;
    for _ in 0..10 {
        assert_eq!(answers(&client, "greeter", &canary).await, "new");
    }
}

#[tokio::test]
async fn the_header_names_the_service_where_that_is_switched_on() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "routing: {service_header: true}\n").await;
    let client = scene.client().await;
    assert_eq!(answers(&client, "nobody", &[("waypost-service", "greeter")]).await, "one");
}
