//! One watcher per prefix: does what [`Follow`] asks for, for ever, and tells the writer what changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep, sleep_until};

use super::follow::{Ask, Follow, Input};
use super::keys::Put;
use super::status::Shared;
use super::writer::{Message, SourceId};
use super::{Config, Relist};
use crate::etcd::{Client, Error, Response, Watch};
use crate::registry::format::Decoder;
use crate::telemetry::Rarely;

/// The waits between attempts: the first, which doubles up to the last. What is waited is between half of it and all.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A trouble that lasts is logged no more often than this.
const COMPLAIN: Duration = Duration::from_mins(1);

/// What keeps a watcher from following its prefix.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Etcd(#[from] Error),
    #[error("nothing came from {member} for {silence:?}")]
    Silent { member: String, silence: Duration },
    #[error("{member} has an older revision or belongs to another cluster than what was listed")]
    OtherData { member: String },
}

pub(super) struct Watcher {
    id: SourceId,
    client: Client,
    prefix: Arc<str>,
    decoder: Decoder,
    config: watch::Receiver<Config>,
    status: Arc<Shared>,
    writer: mpsc::Sender<Message>,
    follow: Follow,
    relist: Instant,
    complaint: Rarely,
    failures: u32,
}

impl Watcher {
    pub(super) fn new(
        id: SourceId,
        client: Client,
        prefix: Arc<str>,
        decoder: Decoder,
        config: watch::Receiver<Config>,
        status: Arc<Shared>,
        writer: mpsc::Sender<Message>,
    ) -> Self {
        let (follow, complaint) = (Follow::new(), Rarely::new(COMPLAIN));
        let relist = Instant::now();
        Watcher { id, client, prefix, decoder, config, status, writer, follow, relist, complaint, failures: 0 }
    }

    /// Follows the prefix until it is dropped, which it may be at any point.
    pub(super) async fn run(mut self) {
        loop {
            let result = match self.follow.ask() {
                Ask::List(reason) => self.list(reason).await,
                Ask::Watch { .. } if self.relist <= Instant::now() => self.list(Some(Relist::Periodic)).await,
                Ask::Watch { from } => self.watch(from).await,
            };
            if let Err(trouble) = result {
                let compacted = matches!(trouble, Trouble::Etcd(Error::Compacted { .. }));
                self.take(Input::Failed { compacted }).await;
                self.wait(&trouble).await;
            }
        }
    }

    async fn list(&mut self, reason: Option<Relist>) -> Result<(), Trouble> {
        // Also if it fails, so that a prefix that can be watched but not listed is watched.
        self.relist = self.next_relist();
        let listing = self.client.list_as(self.prefix.as_bytes(), |kv| Put::read(&self.decoder, kv)).await?;
        if let Some(reason) = reason {
            self.status.change(|status| *status.relists.entry(reason).or_default() += 1);
        }
        self.take(Input::Listed(listing)).await;
        Ok(())
    }

    /// Opens a watch and follows it until it breaks or cannot be trusted.
    async fn watch(&mut self, from: i64) -> Result<(), Trouble> {
        let mut watch = self.client.watch(self.prefix.as_bytes(), from).await?;
        self.take(Input::Opened(watch.opened())).await;
        while self.follow.is_watching() {
            match self.next(&mut watch).await {
                Ok(Some(response)) => {
                    self.take(Input::Response(response)).await;
                    self.recovered();
                }
                // A list that fails beside a sound watch harms nothing: the next one comes.
                Ok(None) => {
                    if let Err(error) = self.list(Some(Relist::Periodic)).await {
                        tracing::debug!(prefix = %self.prefix, %error, "the prefix could not be listed again");
                    }
                }
                Err(trouble) => {
                    self.status.change(|status| status.watch_restarts += 1);
                    if let Trouble::Silent { .. } = trouble {
                        watch.leave();
                    }
                    return Err(trouble);
                }
            }
        }
        Err(Trouble::OtherData { member: watch.member().to_owned() })
    }

    /// The next response; none when it is time to list again. The first sign of life is asked for only after a while,
    /// for some servers would owe it for ever if asked too early.
    async fn next(&mut self, watch: &mut Watch) -> Result<Option<Response>, Trouble> {
        let silence = self.config.borrow().silence;
        let now = Instant::now();
        let mut ask = interval_at(now + silence / 3, silence / 3);
        loop {
            tokio::select! {
                response = watch.next() => return Ok(Some(response?)),
                () = sleep_until(self.relist) => return Ok(None),
                () = sleep_until(now + silence) => {
                    return Err(Trouble::Silent { member: watch.member().to_owned(), silence });
                }
                _ = ask.tick() => watch.request_progress().await?,
                Ok(()) = self.config.changed() => self.relist = self.next_relist(),
            }
        }
    }

    /// Takes a step and tells the writer what it means.
    async fn take(&mut self, input: Input) {
        if !matches!(input, Input::Failed { .. }) {
            self.status.heard(Instant::now());
        }
        let (next, update) = self.follow.step(input);
        self.follow = next;
        self.status.change(|status| status.watching = next.is_watching());
        if let Some(update) = update
            && self.writer.send(Message::Update(self.id, update)).await.is_err()
        {
            // Without the writer everything ends, and this with it.
            std::future::pending::<()>().await;
        }
    }

    /// Notes what went wrong and waits before the next attempt.
    async fn wait(&mut self, trouble: &Trouble) {
        let (client, prefix) = (self.client.name(), &self.prefix);
        let text = trouble.to_string();
        if let Some(kept_back) = self.complaint.due(Instant::now()) {
            let kept_back = (kept_back > 0).then_some(kept_back);
            tracing::warn!(%client, %prefix, kept_back, "etcd cannot be followed, what is known stays in use: {text}");
        }
        self.status.change(|status| status.error = Some(text));
        let (first, last) = BACK_OFF;
        let wait = last.min(first * 2_u32.saturating_pow(self.failures.min(16)));
        self.failures += 1;
        sleep(wait.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }

    /// The watch told something, so all is well. That it could be opened would not be enough: one that opens and breaks
    /// at once must not be opened in a tight loop.
    fn recovered(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            self.status.change(|status| status.error = None);
        }
        if self.complaint.over() {
            tracing::info!(client = %self.client.name(), prefix = %self.prefix, "etcd is followed again");
        }
    }

    fn next_relist(&self) -> Instant {
        Instant::now() + self.config.borrow().relist.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}
