//! An instance behind a network that swallows all packets: no refusal, no reset, nothing. It needs root, for a network
//! namespace of its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::harness::{
    Backend, Client, PATIENCE, Scene, client, eventually,
    process::{Process, run},
    tools::{project, tool},
    until,
};

/// A host of its own, reached by a pair of network devices. It goes on drop.
struct Host {
    name: String,
    /// The last numbers of its address and of ours.
    net: u32,
}

impl Host {
    async fn new() -> Self {
        let id = std::process::id();
        let host = Self { name: format!("wp{id}"), net: id % 200 + 20 };
        let (name, near, far) = (&host.name, host.device(), host.address());
        ip(&["netns", "add", name]).await;
        ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", name]).await;
        ip(&["address", "add", &format!("10.77.{}.1/24", host.net), "dev", &near]).await;
        ip(&["link", "set", &near, "up"]).await;
        ip(&["-n", name, "address", "add", &format!("{far}/24"), "dev", "eth0"]).await;
        ip(&["-n", name, "link", "set", "eth0", "up"]).await;
        host
    }

    fn device(&self) -> String {
        format!("wp{}n", std::process::id())
    }

    fn address(&self) -> String {
        format!("10.77.{}.2", self.net)
    }

    /// From now on, or no longer, it swallows every answer: packets reach it, and none comes back.
    async fn is_black_hole(&self, is: bool) {
        let us = format!("10.77.{}.1/32", self.net);
        ip(&["-n", &self.name, "route", if is { "add" } else { "delete" }, "blackhole", &us]).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // With the namespace, both devices go.
        let _ = std::process::Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

async fn ip(arguments: &[&str]) {
    run("ip (this test needs root, and iproute2)", PATIENCE, Command::new("ip").args(arguments)).await;
}

/// What became of a call: when it began, by whom it was answered, if it was.
type Call = (Instant, Option<String>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_black_hole_only_calls_that_were_on_their_way_fail() {
    let host = Host::new().await;
    let address = format!("{}:50051", host.address());
    let mut server = Command::new("ip");
    server.args(["netns", "exec", &host.name]).arg(tool("python/bin/python", "setup-test"));
    let server =
        Process::start("three", server.arg(project("tests/clients/python/anything.py")).args(["three", &address]));
    until("three to listen", || !server.log().is_empty()).await;

    let (one, two) = (Backend::h2c("one").await, Backend::h2c("two").await);
    let probe = "services: {default: {health: {probe: {kind: tcp, interval: 500ms, timeout: 250ms, fall: 2}}}}\n";
    let scene = Scene::with("greeter", &[&one, &two], probe).await;
    scene.etcd.put("/services/greeter/three", &address).await;
    scene.reaches("greeter", "three").await;

    // 200 calls a second, each with a deadline of two seconds.
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let caller = {
        let (client, calls) = (Arc::new(Client::h2(scene.waypost.data).await), calls.clone());
        tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(5));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut under_way = JoinSet::new();
            loop {
                ticks.tick().await;
                let (client, calls) = (client.clone(), calls.clone());
                under_way.spawn(async move {
                    let began = Instant::now();
                    let reply = client.grpc("greeter", "Unary", &[("grpc-timeout", "2S")], &[b"x"]).await;
                    let answered = reply.ok().filter(|reply| reply.status == 0);
                    calls.lock().unwrap().push((began, answered.map(|reply| reply.instance().to_owned())));
                });
                while under_way.try_join_next().is_some() {}
            }
        })
    };
    let by = |name: &str, since: Instant| {
        let calls = calls.lock().unwrap();
        calls.iter().filter(|(began, by)| *began > since && by.as_deref() == Some(name)).count()
    };
    let start = Instant::now();
    until("three to take calls", || by("three", start) > 50).await;

    host.is_black_hole(true).await;
    let swallowed = Instant::now();
    let health = async |state: &str| {
        eventually("its state", || async {
            let text = client::get(scene.waypost.admin, "/health").await.expect("an answer").1;
            let line = text.lines().find(|line| line.contains(&address)).unwrap_or_default().to_owned();
            if line.contains(state) { Ok(line) } else { Err(text) }
        })
        .await
    };
    let line = health(" unhealthy for ").await;
    assert!(line.contains("no answer within 250ms"), "{line}");
    let noticed = Instant::now();
    assert!(noticed - swallowed < Duration::from_secs(5), "{:?}", noticed - swallowed);
    // Long enough that TCP waits for seconds before it tries the old connection again.
    until("calls after that", || by("one", noticed) + by("two", noticed) > 1_200).await;

    host.is_black_hole(false).await;
    let back = Instant::now();
    health(" healthy for ").await;
    until("three to take calls again", || by("three", back) > 50).await;
    caller.abort();

    let calls = calls.lock().unwrap();
    let failed: Vec<_> = calls.iter().filter(|(_, by)| by.is_none()).map(|(began, _)| *began).collect();
    let late: Vec<_> = failed.iter().filter(|began| **began > noticed).map(|began| *began - swallowed).collect();
    assert!(
        late.is_empty(),
        "calls that began after it was noticed, {:?} after the fall: {late:?}",
        noticed - swallowed
    );
    let early = failed.iter().filter(|began| **began + Duration::from_secs(2) < swallowed).count();
    assert_eq!(early, 0);
    eprintln!(
        "noticed after {:?}; {} of {} calls failed, all of them on their way to it until then",
        noticed - swallowed,
        failed.len(),
        calls.len()
    );
}
