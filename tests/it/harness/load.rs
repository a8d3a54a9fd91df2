//! A steady load, counted by the client: so many unary calls a second, so many at a time, and streams that stay open.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    client::{Client, channel, grpc_request},
    grpc, until,
};

/// How much.
#[derive(Clone, Copy)]
pub struct Rate {
    /// Unary calls per second.
    pub per_second: u32,
    /// Unary calls under way at a time, at most.
    pub at_once: usize,
    /// Bidirectional streams that stay open, with ten messages per second and direction.
    pub streams: usize,
}

/// The load that the promises of the README are given for.
pub const STEADY: Rate = Rate { per_second: 500, at_once: 20, streams: 4 };

/// What the client has counted.
#[derive(Debug, Default)]
pub struct Counted {
    /// Unary calls that ended well.
    pub calls: AtomicU64,
    /// Messages that came back over the open streams.
    pub messages: AtomicU64,
    /// Calls by the instance that answered.
    pub by_instance: Mutex<BTreeMap<String, u64>>,
    /// What went wrong, in order.
    pub failures: Mutex<Vec<String>>,
}

impl Counted {
    /// Calls that this instance has answered.
    pub fn by(&self, instance: &str) -> u64 {
        self.by_instance.lock().unwrap().get(instance).copied().unwrap_or_default()
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }
}

/// A load that runs until it is stopped.
pub struct Load {
    /// What it has counted so far.
    pub counted: Arc<Counted>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    started: Instant,
}

/// No call may take longer.
const LIMIT: Duration = Duration::from_secs(10);
/// Client connections that the unary calls share.
const CONNECTIONS: usize = 4;

impl Load {
    /// Starts calling `service` through the proxy at `address`; returns when the first calls have ended well.
    pub async fn start(address: SocketAddr, service: &str, rate: Rate) -> Self {
        let counted = Arc::new(Counted::default());
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let each = Rate {
            per_second: rate.per_second / u32::try_from(CONNECTIONS).unwrap(),
            at_once: rate.at_once / CONNECTIONS,
            ..rate
        };
        for _ in 0..CONNECTIONS {
            tasks.spawn(unary(address, service.to_owned(), each, Arc::clone(&counted), stopped.clone()));
        }
        for _ in 0..rate.streams {
            tasks.spawn(stream(address, service.to_owned(), Arc::clone(&counted), stopped.clone()));
        }
        let load = Self { counted, stop, tasks, started: Instant::now() };
        until("the load to begin", || load.counted.calls.load(Ordering::SeqCst) > 0).await;
        load
    }

    /// Stops, waits for the calls under way, and panics if one failed or if the rate was not kept.
    pub async fn stop(mut self, rate: Rate) -> Arc<Counted> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let took = self.started.elapsed();
        let calls = self.counted.calls.load(Ordering::SeqCst);
        let failures = self.counted.failures.lock().unwrap();
        let first = &failures[..failures.len().min(10)];
        assert!(failures.is_empty(), "{} of {calls} calls failed, the first: {first:#?}", failures.len());
        let expected = f64::from(rate.per_second) * took.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a count of calls in a test")]
        let share = calls as f64 / expected;
        assert!(share > 0.8, "only {calls} calls in {took:?}: the load was not what the test is about");
        drop(failures);
        self.counted
    }
}

async fn unary(address: SocketAddr, service: String, rate: Rate, counted: Arc<Counted>, stop: watch::Receiver<bool>) {
    let client = Arc::new(Client::h2(address).await);
    let places = Arc::new(Semaphore::new(rate.at_once));
    let mut ticks = interval(Duration::from_secs(1) / rate.per_second);
    // After a hiccup the calls that are owed are made up for, so that the count stays honest.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    while !*stop.borrow() {
        ticks.tick().await;
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let (client, service, counted) = (Arc::clone(&client), service.clone(), Arc::clone(&counted));
        calls.spawn(async move {
            let _place = place;
            match timeout(LIMIT, client.unary(&service)).await {
                Ok(Ok(reply)) if reply.status == 0 => {
                    *counted.by_instance.lock().unwrap().entry(reply.instance().to_owned()).or_default() += 1;
                    counted.calls.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Ok(reply)) => counted.fail(format!("status {}: {}", reply.status, reply.message)),
                Ok(Err(error)) => counted.fail(error),
                Err(_) => counted.fail(format!("no answer within {LIMIT:?}")),
            }
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

async fn stream(address: SocketAddr, service: String, counted: Arc<Counted>, stop: watch::Receiver<bool>) {
    if let Err(error) = echo(address, &service, &counted, stop).await {
        counted.fail(format!("open stream: {error}"));
    }
}

async fn echo(
    address: SocketAddr,
    service: &str,
    counted: &Counted,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let client = Client::h2(address).await;
    let (sender, body) = channel();
    let request = grpc_request(service, "Bidi", &[]).body(body).unwrap();
    let response = client.send(request).await.map_err(|error| format!("{error:?}"))?;
    let mut body = response.into_body();
    let mut ticks = interval(Duration::from_millis(100));
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        sender.send(Frame::data(grpc::frame(b"tick"))).await.map_err(|_| "the request was cut")?;
        while grpc::take_message(&mut buffer).is_none() {
            let frame = timeout(LIMIT, body.frame()).await.map_err(|_| "no echo in time")?;
            let frame = frame.ok_or("the response ended early")?.map_err(|error| format!("{error:?}"))?;
            buffer.extend_from_slice(&frame.into_data().map_err(|frame| format!("{frame:?} came early"))?);
        }
        counted.messages.fetch_add(1, Ordering::SeqCst);
    }
    drop(sender);
    let end = timeout(LIMIT, body.collect()).await.map_err(|_| "no end in time")?;
    let trailers = end.map_err(|error| format!("{error:?}"))?.trailers().cloned().unwrap_or_default();
    match grpc::number(&trailers, "grpc-status") {
        Some(0) => Ok(()),
        other => Err(format!("ended with status {other:?}")),
    }
}
