//! A lease that is kept alive, and that knows by the clock when it can no longer be trusted. What hangs on it, a lock or
//! an office, is lost with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::boottime::{self, Moment};
use super::closing::Closing;
use super::{Error, Loss};
use crate::etcd::{self, Client};

/// Renewed so many times within its time to live, as etcd's own clients do.
const RENEWALS: u32 = 3;
/// The part of the time to live by which it is given up early: clocks run at different rates, and whoever asks whether
/// it still holds needs a moment to act on the answer.
const MARGIN: u32 = 10;
/// How often it is tried to end a lease that is no longer wanted; then it ends by itself.
const TRIES: u32 = 3;

/// What becomes of the lease when nobody wants it any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// It is revoked, and all that hangs on it goes.
    Revoke,
    /// It lives on for its time.
    Leave,
}

/// A lease that is kept alive until this is dropped.
#[derive(Debug)]
pub(super) struct Session {
    lease: i64,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<oneshot::Sender<Result<(), etcd::Error>>>>,
}

/// What is known of a lease.
#[derive(Debug)]
pub(super) struct Shared {
    /// In nanoseconds of the clock that counts sleep.
    deadline: AtomicU64,
    ttl: Duration,
    loss: watch::Sender<Option<Loss>>,
}

impl Shared {
    /// The loss, if it is lost, by the clock too. What was told once stays so, though the cluster may have been late.
    pub(super) fn loss(&self) -> Option<Loss> {
        if Moment::now() >= Moment::from_nanos(self.deadline.load(Ordering::Acquire)) {
            self.lose(Loss::Expired(self.ttl));
        }
        *self.loss.borrow()
    }

    /// Notes a loss. The first one stays.
    pub(super) fn lose(&self, loss: Loss) {
        self.loss.send_if_modified(|known| known.is_none() && known.replace(loss).is_none());
    }

    /// Waits until it is lost.
    pub(super) async fn lost(&self) -> Loss {
        let mut losses = self.loss.subscribe();
        match losses.wait_for(Option::is_some).await.map(|loss| *loss) {
            Ok(Some(loss)) => loss,
            // We hold the sender.
            _ => std::future::pending().await,
        }
    }

    fn renewed(&self, sent: Moment) {
        self.deadline.store(sent.plus(self.ttl - self.ttl / MARGIN).nanos(), Ordering::Release);
    }
}

impl Session {
    /// Grants a lease and keeps it alive.
    pub(super) async fn grant(client: &Client, ttl: Duration, at_end: AtEnd, closing: Closing) -> Result<Self, Error> {
        let sent = Moment::now();
        let lease = client.grant(ttl).await?;
        Ok(Session::start(client, lease, ttl, sent, at_end, closing))
    }

    /// Keeps a lease alive that was renewed at `renewed` at the latest, and lives for `ttl` since.
    pub(super) fn start(
        client: &Client,
        lease: i64,
        ttl: Duration,
        renewed: Moment,
        at_end: AtEnd,
        closing: Closing,
    ) -> Self {
        let shared = Arc::new(Shared { deadline: AtomicU64::new(0), ttl, loss: watch::Sender::new(None) });
        shared.renewed(renewed);
        let (end, ended) = oneshot::channel();
        tokio::spawn(keep(client.clone(), lease, shared.clone(), at_end, ended, closing));
        Session { lease, shared, end: Some(end) }
    }

    pub(super) fn lease(&self) -> i64 {
        self.lease
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends it, and waits until what is to become of the lease has.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        // A task that has ended already has lost the lease: nothing is left to be done.
        if let Some(end) = self.end.take()
            && end.send(done).is_ok()
            && let Ok(result) = answer.await
        {
            result?;
        }
        Ok(())
    }
}

async fn keep(
    client: Client,
    lease: i64,
    shared: Arc<Shared>,
    at_end: AtEnd,
    mut ended: oneshot::Receiver<oneshot::Sender<Result<(), etcd::Error>>>,
    mut closing: Closing,
) {
    // A member that does not answer is left while there is time to ask another one.
    let prompt = client.within(shared.ttl / RENEWALS);
    let mut wait = shared.ttl / RENEWALS;
    let answer = loop {
        let deadline = Moment::from_nanos(shared.deadline.load(Ordering::Acquire));
        tokio::select! {
            ended = &mut ended => break ended.ok(),
            () = closing.closed() => break None,
            loss = shared.lost() => {
                tracing::debug!(lease = format!("{lease:x}"), %loss, "a lease is no longer kept alive");
                break tokio::select! {
                    ended = &mut ended => ended.ok(),
                    () = closing.closed() => None,
                };
            }
            () = boottime::sleep_until(deadline) => shared.lose(Loss::Expired(shared.ttl)),
            (sent, renewed) = renew(&prompt, lease, wait) => match renewed {
                Ok(true) => {
                    shared.renewed(sent);
                    wait = shared.ttl / RENEWALS;
                }
                Ok(false) => shared.lose(Loss::LeaseEnded),
                Err(error) => {
                    wait = (shared.ttl / MARGIN).min(Duration::from_secs(1));
                    tracing::debug!(lease = format!("{lease:x}"), %error, "a lease could not be renewed yet");
                }
            },
        }
    };
    shared.lose(Loss::Released);
    let result = match at_end {
        AtEnd::Revoke => revoke(&client, lease).await,
        AtEnd::Leave => Ok(()),
    };
    if let Err(error) = &result {
        tracing::debug!(lease = format!("{lease:x}"), %error, "a lease could not be revoked; it ends by itself");
    }
    if let Some(answer) = answer {
        // Whoever asked may have stopped to wait.
        let _ = answer.send(result);
    }
}

async fn renew(client: &Client, lease: i64, wait: Duration) -> (Moment, Result<bool, etcd::Error>) {
    sleep(wait).await;
    let sent = Moment::now();
    (sent, client.keep_alive(lease).await)
}

/// Ends a lease. That it has ended already is as good.
pub(super) async fn revoke(client: &Client, lease: i64) -> Result<(), etcd::Error> {
    let mut tries = 1;
    loop {
        match client.revoke(lease).await {
            Err(error) if error.is_no_lease() => return Ok(()),
            Err(error) if error.is_retryable() && tries < TRIES => {
                tries += 1;
                sleep(Duration::from_millis(100 + fastrand::u64(..100))).await;
            }
            result => return result,
        }
    }
}
