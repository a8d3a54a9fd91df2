//! The channel by a service's name, under tonic's own client: weights, streams, failures, and instances that come and go.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Buf, BufMut};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use waypost::{
    Manager,
    balance::Balancer,
    channel::{Channel, Config},
    manager::Preset,
    registry::{Protocol, Registration},
};

use crate::harness::{Backend, Etcd, PATIENCE, Version, eventually, scene::key};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

fn request<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

async fn unary(
    channel: &Channel,
    message: &[u8],
    headers: &[(&'static str, &str)],
) -> Result<Response<Vec<u8>>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = "/waypost.test.Echo/Unary".parse().unwrap();
    timeout(PATIENCE, grpc.unary(request(message.to_vec(), headers), path, Raw)).await.expect("an answer")
}

/// Who answers.
async fn who(channel: &Channel) -> String {
    let answer = unary(channel, b"hello", &[]).await.unwrap();
    answer.metadata().get("x-instance").unwrap().to_str().unwrap().to_owned()
}

struct Scene {
    manager: Manager,
    etcd: Etcd,
}

impl Scene {
    async fn new() -> Self {
        let etcd = Etcd::start(Version::Wheel).await;
        let endpoint = format!("http://{}", etcd.address(0));
        let builder = Manager::builder().preset(Preset::Test).folder("/").environment([("HOME", "/")]);
        Scene { manager: builder.endpoints([endpoint]).connect().unwrap(), etcd }
    }

    async fn register(&self, backend: &Backend, weight: u32) -> Registration {
        let address = backend.address.to_string();
        let registering = self.manager.registry().register("greeter", &backend.name, &address);
        registering.weight(weight).protocol(Protocol::Http2).await.unwrap()
    }

    /// Waits until the table has so many instances.
    async fn knows(&self, count: usize) {
        let discovery = self.manager.discovery().await;
        eventually("the instances", async || {
            let list = discovery.instances("greeter", &Default::default()).list;
            if list.len() == count { Ok(()) } else { Err(list) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_shared_by_weight_exactly() {
    let scene = Scene::new().await;
    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let _one = scene.register(&one, 1).await;
    let mut two = (scene.register(&two, 3).await, two);
    scene.knows(2).await;
    let channel = scene.manager.channel("greeter").await;
    assert_eq!(one.seen.connections(), 0, "nothing is connected to before the first call");
    let mut seen = BTreeMap::<_, u32>::new();
    for _ in 0..40 {
        *seen.entry(who(&channel).await).or_default() += 1;
    }
    assert_eq!(seen, BTreeMap::from([("one".to_owned(), 10), ("two".to_owned(), 30)]));
    assert_eq!((one.seen.connections(), two.1.seen.connections()), (1, 1));

    // A changed weight keeps the connections.
    two.0.update(|instance| instance.weight = 0).await.unwrap();
    eventually("no more calls to two", async || {
        for _ in 0..4 {
            if who(&channel).await == "two" {
                return Err("still");
            }
        }
        Ok(())
    })
    .await;
    assert_eq!((one.seen.connections(), two.1.seen.connections()), (1, 1));
    let round = Config { balancer: Balancer::RoundRobin, ..Config::default() };
    assert_eq!(who(&scene.manager.channel_with("greeter", round).await).await, "one");
    assert_eq!((channel.service(), two.1.seen.open()), ("greeter", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_trailers_and_big_messages_pass() {
    let scene = Scene::new().await;
    let one = Backend::h2c("one").await;
    let _one = scene.register(&one, 1).await;
    let channel = scene.manager.channel("greeter").await;
    let big = vec![7; 3 << 20];
    assert_eq!(unary(&channel, &big, &[]).await.unwrap().into_inner().len(), big.len());

    let error = unary(&channel, b"", &[("x-status", "9"), ("x-message", "not now")]).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "not now"));

    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
    let messages = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let path = "/waypost.test.Echo/Bidi".parse().unwrap();
    let answer = grpc.streaming(request(messages, &[("x-trailer-a", "b")]), path, Raw).await.unwrap();
    let mut answers = answer.into_inner();
    for n in 0..5u8 {
        // Each is answered before the next one is sent.
        sender.send(vec![n; 70_000]).await.unwrap();
        let message = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(message, vec![n; 70_000]);
    }
    drop(sender);
    assert!(timeout(PATIENCE, answers.next()).await.unwrap().is_none());
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-trailer-a").unwrap(), "b");

    // One that is dropped is cancelled at the endpoint.
    let slow = timeout(Duration::from_millis(300), unary(&channel, b"", &[("x-delay-ms", "20000")])).await;
    assert!(slow.is_err());
    eventually("the cancellation", async || if one.seen.cancelled() == 1 { Ok(()) } else { Err(one.seen.cancelled()) })
        .await;
    let start = Instant::now();
    let late = unary(&channel, b"", &[("x-delay-ms", "20000"), ("grpc-timeout", "300m")]).await.unwrap_err();
    assert!(late.code() == Code::DeadlineExceeded && start.elapsed() < Duration::from_secs(5), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_come_and_go_and_no_call_fails() {
    let scene = Scene::new().await;
    let channel = scene.manager.channel("greeter").await;
    let nobody = unary(&channel, b"", &[]).await.unwrap_err();
    assert!(nobody.code() == Code::Unavailable && nobody.message().contains("unknown service `greeter`"), "{nobody}");

    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let (first, second) = (scene.register(&one, 1).await, scene.register(&two, 1).await);
    scene.knows(2).await;
    // What one refuses, the other takes, with its body.
    for _ in 0..6 {
        let answer = unary(&channel, b"body", &[("x-refuse", "one")]).await.unwrap();
        assert_eq!(answer.metadata().get("x-instance").unwrap(), "two");
        assert_eq!(answer.into_inner(), b"body");
    }
    let refused = unary(&channel, b"", &[("x-refuse", "all")]).await.unwrap_err();
    assert!(refused.code() == Code::Unavailable && refused.message().contains("refused"), "{refused}");

    let calls = tokio::spawn({
        let channel = channel.clone();
        async move {
            let mut failed = Vec::new();
            for _ in 0..400 {
                failed.extend(unary(&channel, b"x", &[]).await.err());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            failed
        }
    });
    first.deregister().await.unwrap();
    scene.knows(1).await;
    eventually("the connection to what left to close", async || {
        if one.seen.open_connections() == 0 { Ok(()) } else { Err(one.seen.open_connections()) }
    })
    .await;
    // It crashes while it is registered: whoever cannot connect goes elsewhere.
    let back = scene.register(&one, 1).await;
    scene.knows(2).await;
    drop(one);
    assert_eq!(calls.await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    drop(back);

    second.deregister().await.unwrap();
    scene.knows(0).await;
    let nobody = unary(&channel, b"", &[]).await.unwrap_err();
    assert!(nobody.code() == Code::Unavailable && nobody.message().contains("has no instances now"), "{nobody}");
    // The same channel serves when there is somebody again.
    let _again = scene.register(&two, 1).await;
    scene.knows(1).await;
    assert_eq!(who(&channel).await, "two");
    // Whoever is there only by name is told why.
    drop(two);
    scene.etcd.put(&key("greeter", &Backend::h2c("gone").await), "127.0.0.1:1").await;
    let dead = unary(&channel, b"", &[]).await.unwrap_err();
    assert!(dead.code() == Code::Unavailable && dead.message().contains("service `greeter`: 127.0.0.1:"), "{dead}");
}
