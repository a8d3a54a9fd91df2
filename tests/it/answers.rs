//! What a caller is told when a call can't be carried, and what is done about an endpoint that is dead.

use crate::harness::{
    Backend, Scene,
    client::full,
    eventually,
    scene::{key, register},
};

const UNAVAILABLE: u32 = 14;

#[tokio::test]
async fn an_unknown_service_is_named_to_the_caller() {
    let scene = Scene::new("").await;
    let client = scene.client().await;
    let reply = client.unary("nobody").await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE);
    assert!(reply.message.contains("unknown") && reply.message.contains("nobody"), "{}", reply.message);
    let answer = client.http("GET", "http://nobody/", &[], full("")).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("unknown") && answer.text().contains("nobody"), "{}", answer.text());
}

#[tokio::test]
async fn an_empty_service_is_another_answer() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let client = scene.client().await;
    assert_eq!(client.unary("greeter").await.unwrap().status, 0);
    scene.etcd.delete(&key("greeter", &backend)).await;
    eventually("no instance", || async {
        let reply = client.unary("greeter").await?;
        if reply.status == UNAVAILABLE && reply.message.contains("no instances") { Ok(()) } else { Err(reply.message) }
    })
    .await;
    assert_eq!(client.http("GET", "http://greeter/", &[], full("")).await.status, 503);
}

#[tokio::test]
async fn no_answer_tells_an_address() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    let address = backend.stop().await;
    let client = scene.client().await;
    let reply = client.unary("greeter").await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE);
    let answer = client.http("GET", "http://greeter/", &[], full("")).await;
    assert_eq!(answer.status, 503);
    for text in [format!("{reply:?}"), format!("{answer:?}"), answer.text()] {
        assert!(!text.contains(&address.port().to_string()) && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_call_and_is_remembered() {
    let (alive, dead) = (Backend::h2c("alive").await, Backend::h2c("dead").await);
    let scene = Scene::with("greeter", &[&alive, &dead], "").await;
    let address = dead.stop().await;
    let client = scene.client().await;
    for _ in 0..200 {
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!((reply.status, reply.instance()), (0, "alive"), "{}", reply.message);
    }
    // It comes back: after its back-off one call tries it.
    let back = Backend::start("dead", crate::harness::backend::Speaks::H2c, &address.to_string(), 100).await;
    scene.reaches("greeter", "dead").await;
    // All that time it was tried a few times at most, not once per call.
    assert!(back.seen.connections() <= 2, "{}", back.seen.connections());
}

#[tokio::test]
async fn what_an_endpoint_refuses_goes_to_another() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one], "").await;
    let client = scene.client().await;
    // Alone, its refusal is the answer.
    let reply = client.grpc("greeter", "Unary", &[("x-refuse", "one")], &[b""]).await.unwrap();
    assert_eq!(reply.status, UNAVAILABLE, "{}", reply.message);
    register(&scene.etcd, "greeter", &two).await;
    scene.reaches("greeter", "two").await;
    for _ in 0..20 {
        let reply = client.grpc("greeter", "Unary", &[("x-refuse", "one")], &[b"kept"]).await.unwrap();
        assert_eq!((reply.status, reply.instance(), &reply.messages[0][..]), (0, "two", &b"kept"[..]));
    }
}

#[tokio::test]
async fn an_endpoint_that_drains_loses_no_call() {
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let scene = Scene::with("greeter", &[&one, &two], "").await;
    let client = scene.client().await;
    for at in 0..400 {
        if at == 100 {
            one.drain();
        }
        let reply = client.unary("greeter").await.unwrap();
        assert_eq!(reply.status, 0, "{}", reply.message);
    }
}
