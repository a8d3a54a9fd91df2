//! The two streams of the API, each read with patience: watches, and the keep-alive of leases.

use std::{collections::BTreeMap, fmt::Debug, future::Future};

use etcd_client::{
    WatchOptions, WatchStream,
    proto::{PbEvent, PbLeaseKeepAliveResponse, PbWatchResponse},
};
use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;

use super::Case;
use crate::harness::PATIENCE;

/// The next message of a stream, which has one; `what` says what was waited for.
pub async fn next<T, E: Debug>(what: &str, message: impl Future<Output = Result<Option<T>, E>>) -> T {
    let message = timeout(PATIENCE, message).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"));
    message.unwrap_or_else(|error| panic!("{error:?} instead of {what}")).unwrap_or_else(|| panic!("no more {what}"))
}

/// A watch stream. What comes for which watch is sorted out; all that comes must be in order.
pub struct Watching {
    pub stream: WatchStream,
    /// Events that have come and were not asked for yet, by watch.
    waiting: BTreeMap<i64, Vec<PbEvent>>,
    /// The revision of each watch's last event.
    last: BTreeMap<i64, i64>,
}

impl Watching {
    /// Opens a stream with a first watch, and returns that watch's id.
    pub async fn open(case: &Case, key: impl Into<Vec<u8>>, options: WatchOptions) -> (Self, i64) {
        let (mut watching, created) = Self::ask(case, key, options).await;
        watching.check_created(&created);
        (watching, created.watch_id)
    }

    /// Opens a stream with a watch that may be refused, and returns the first answer.
    pub async fn ask(case: &Case, key: impl Into<Vec<u8>>, options: WatchOptions) -> (Self, PbWatchResponse) {
        let stream = case.client().watch(key, Some(options)).await.unwrap();
        let mut watching = Self { stream, waiting: BTreeMap::new(), last: BTreeMap::new() };
        let answer = watching.answer().await;
        (watching, answer)
    }

    /// Opens a stream that watches the keys of this case from now on.
    pub async fn all(case: &Case) -> (Self, i64) {
        Self::open(case, case.key(""), WatchOptions::new().with_prefix()).await
    }

    /// One watch more on the stream; returns its id.
    pub async fn add(&mut self, key: impl Into<Vec<u8>>, options: WatchOptions) -> i64 {
        self.stream.watch(key, Some(options)).await.unwrap();
        let created = self.answer().await;
        self.check_created(&created);
        created.watch_id
    }

    fn check_created(&mut self, answer: &PbWatchResponse) {
        assert!(answer.created && !answer.canceled && answer.watch_id >= 0, "{answer:?}");
        assert!(!self.last.contains_key(&answer.watch_id), "an id that nobody else has: {answer:?}");
        self.last.insert(answer.watch_id, 0);
    }

    /// The next message, whatever it is.
    pub async fn message(&mut self) -> PbWatchResponse {
        self.message_for("a message of the watch").await
    }

    async fn message_for(&mut self, what: &str) -> PbWatchResponse {
        let message = next(what, self.stream.message()).await.0;
        if message.canceled {
            let untold = self.waiting.remove(&message.watch_id).unwrap_or_default();
            assert!(untold.is_empty(), "more than the case knows of: {untold:?}");
            // Whatever comes for it later is nobody's.
            self.last.remove(&message.watch_id);
        }
        message
    }

    /// The next message that is not about events.
    pub async fn answer(&mut self) -> PbWatchResponse {
        loop {
            let message = self.message_for("an answer of the watch").await;
            if message.events.is_empty() {
                return message;
            }
            self.keep(message);
        }
    }

    /// The next events of a watch, in their order. Anything else than events ends the test.
    pub async fn events(&mut self, id: i64, count: usize) -> Vec<PbEvent> {
        loop {
            let waiting = self.waiting.entry(id).or_default();
            if waiting.len() >= count {
                return waiting.drain(..count).collect();
            }
            let what = format!("{count} events of watch {id}, of which {} came", waiting.len());
            let message = self.message_for(&what).await;
            assert!(!message.events.is_empty(), "{message:?} instead of {what}");
            self.keep(message);
        }
    }

    fn keep(&mut self, message: PbWatchResponse) {
        let strays = message.created || message.canceled || message.fragment || message.compact_revision != 0;
        assert!(!strays, "events and nothing else: {message:?}");
        let last = self.last.get_mut(&message.watch_id).unwrap_or_else(|| panic!("whose is {message:?}"));
        for (at, event) in message.events.iter().enumerate() {
            let revision = event.kv.as_ref().expect("a key").mod_revision;
            let in_order = if at == 0 { *last < revision } else { *last <= revision };
            assert!(in_order, "{revision} after {last}, in order and no revision in two messages: {message:?}");
            *last = revision;
        }
        let header = message.header.expect("a header");
        assert!(
            header.member_id != 0 && header.revision >= *last,
            "the header is no older than the events: {message:?}"
        );
        self.waiting.entry(message.watch_id).or_default().extend(message.events);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeepAliveRequest {
    #[prost(int64, tag = "1")]
    id: i64,
}

/// A keep-alive stream, on which any lease may be asked for.
pub struct KeepAlive {
    requests: mpsc::Sender<KeepAliveRequest>,
    answers: Streaming<PbLeaseKeepAliveResponse>,
}

impl KeepAlive {
    /// Opens a stream, and returns the answer for the first lease.
    pub async fn open(case: &Case, lease: i64) -> (Self, PbLeaseKeepAliveResponse) {
        let (requests, receiver) = mpsc::channel(100);
        requests.send(KeepAliveRequest { id: lease }).await.unwrap();
        let answers = case.stream("/etcdserverpb.Lease/LeaseKeepAlive", receiver).await.unwrap();
        let mut stream = Self { requests, answers };
        let answer = stream.answer().await;
        (stream, answer)
    }

    /// Asks for a lease, without waiting for the answer.
    pub async fn send(&mut self, lease: i64) {
        self.requests.send(KeepAliveRequest { id: lease }).await.unwrap();
    }

    /// The next answer.
    pub async fn answer(&mut self) -> PbLeaseKeepAliveResponse {
        next("an answer about a lease", self.answers.message()).await
    }

    /// Keeps a lease alive; returns the time to live that it has again, 0 for a lease that is not there.
    pub async fn renew(&mut self, lease: i64) -> i64 {
        self.send(lease).await;
        let answer = self.answer().await;
        assert_eq!(answer.id, lease);
        answer.ttl
    }

    /// Closes the client's side, and returns whether the server closed its own without an error.
    pub async fn close(mut self) -> bool {
        drop(self.requests);
        matches!(timeout(PATIENCE, self.answers.message()).await, Ok(Ok(None)))
    }
}
