//! Somebody in the queue for a lock or an office, in the way of etcd's Go client: a key `<prefix><lease in hex>` for each,
//! and the oldest is first. Keys, not calls to the server's lock service, so that Go, etcdctl and we exclude one another,
//! and nothing waits in a call that a broken connection would leave behind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::boottime::Moment;
use super::session::{AtEnd, Session, Shared};
use super::{Error, Heard, Loss, Registry, follow};
use crate::etcd::{self, Action, Client, Condition, Event, Txn};

/// A place in a queue. Dropping it leaves the queue in the background.
#[derive(Debug)]
pub(super) struct Contender {
    /// What it is about, for errors: the lock `a`.
    what: String,
    registry: Registry,
    session: Session,
    prefix: Vec<u8>,
    key: Vec<u8>,
    created: i64,
    since: Moment,
    watching: JoinHandle<()>,
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Contender {
    /// Stands in line, and says whether it is first. The prefix ends with a slash. Cancelled, it leaves again.
    pub(super) async fn enter(
        registry: &Registry,
        what: String,
        prefix: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(Self, bool), Error> {
        if registry.closing().is_closed() {
            return Err(Error::Ended("the manager"));
        }
        if ttl < Duration::from_secs(2) {
            return Err(Error::invalid("the time to live", format!("{ttl:?} is less than etcd's shortest, 2 s")));
        }
        let (client, retry) = (registry.client(), &registry.config().retry);
        let closing = registry.closing();
        let session = retry.attempt(|| Session::grant(client, ttl, AtEnd::Revoke, closing.clone())).await?;
        let lease = session.lease();
        let key = format!("{prefix}{lease:x}").into_bytes();
        let oldest = || Action::Oldest(prefix.as_bytes().to_vec());
        let txn = Txn {
            when: vec![Condition::Created(key.clone(), 0)],
            then: vec![Action::Put(key.clone(), value.to_vec(), lease), oldest()],
            // When the first answer got lost: it stands there already.
            or_else: vec![Action::Get(key.clone()), oldest()],
        };
        let done = retry.attempt(|| async { Ok(client.txn(txn.clone()).await?) }).await?;
        let (mine, first) = match (done.held, &done.found[..]) {
            (true, [first]) => (None, first.as_ref()),
            (_, [mine, first]) => (mine.as_ref(), first.as_ref()),
            _ => (None, None),
        };
        let created = mine.map_or(done.header.revision, |kv| kv.create_revision);
        let is_first = first.is_some_and(|kv| kv.key == key);
        let watching = tokio::spawn(watch(registry.clone(), key.clone(), created, session.shared().clone()));
        let (prefix, registry) = (prefix.as_bytes().to_vec(), registry.clone());
        let contender = Contender { what, registry, session, prefix, key, created, since: Moment::now(), watching };
        Ok((contender, is_first))
    }

    /// Waits until it is first. While etcd is away it waits on, for as long as its lease holds. Cancel-safe.
    pub(super) async fn turn(&self) -> Result<(), Error> {
        tokio::select! {
            loss = self.lost() => Err(self.is_lost(loss)),
            turn = self.wait() => turn,
        }
    }

    async fn wait(&self) -> Result<(), Error> {
        let (client, retry) = (self.client(), &self.registry.config().retry);
        let mut failures = 0;
        loop {
            let listing = match client.list(&self.prefix).await {
                Err(error) if error.is_retryable() => {
                    failures += 1;
                    sleep(retry.wait(failures, fastrand::f64())).await;
                    continue;
                }
                listing => listing?,
            };
            failures = 0;
            if !listing.keys.iter().any(|kv| kv.key == self.key && kv.create_revision == self.created) {
                self.session.shared().lose(Loss::KeyGone);
                return Err(self.is_lost(Loss::KeyGone));
            }
            // Only the one before us: if all waited for the first one, each change would wake everybody.
            let older = listing.keys.into_iter().filter(|kv| kv.create_revision < self.created);
            let Some(before) = older.max_by_key(|kv| kv.create_revision) else { return Ok(()) };
            let end = [&before.key[..], b"\0"].concat();
            let mut events = follow(client.clone(), (before.key, end), retry.clone(), listing.header.revision + 1);
            while let Some(Heard::Events(events)) = events.next().await {
                if events.iter().any(|event| matches!(event, Event::Delete { .. })) {
                    break;
                }
            }
        }
    }

    /// The fencing token, if what hangs on it is still ours by the clock.
    pub(super) fn token(&self) -> Result<i64, Error> {
        match self.loss() {
            None => Ok(self.created),
            Some(loss) => Err(self.is_lost(loss)),
        }
    }

    pub(super) fn loss(&self) -> Option<Loss> {
        self.session.shared().loss()
    }

    pub(super) async fn lost(&self) -> Loss {
        self.session.shared().lost().await
    }

    /// Writes another value, if the key is still ours.
    pub(super) async fn write(&self, value: &[u8]) -> Result<(), Error> {
        let put = Action::Put(self.key.clone(), value.to_vec(), self.session.lease());
        self.if_ours(put).await
    }

    /// Leaves, and waits until that is done.
    pub(super) async fn leave(mut self) -> Result<(), Error> {
        let gone = match self.loss() {
            None => self.if_ours(Action::Delete(self.key.clone())).await,
            Some(loss) => Err(self.is_lost(loss)),
        };
        self.session.end().await.and(gone)
    }

    async fn if_ours(&self, action: Action) -> Result<(), Error> {
        let when = vec![Condition::Created(self.key.clone(), self.created)];
        let done = self.client().txn(Txn { when, then: vec![action], or_else: Vec::new() }).await?;
        if done.held {
            return Ok(());
        }
        self.session.shared().lose(Loss::KeyGone);
        Err(self.is_lost(Loss::KeyGone))
    }

    pub(super) fn key(&self) -> String {
        String::from_utf8_lossy(&self.key).into_owned()
    }

    pub(super) fn lease(&self) -> i64 {
        self.session.lease()
    }

    pub(super) fn since(&self) -> Duration {
        self.since.elapsed()
    }

    fn is_lost(&self, loss: Loss) -> Error {
        Error::Lost { what: self.what.clone(), loss }
    }

    fn client(&self) -> &Client {
        self.registry.client()
    }
}

/// Notes a loss as soon as the key is gone.
async fn watch(registry: Registry, key: Vec<u8>, created: i64, shared: Arc<Shared>) {
    let end = [&key[..], b"\0"].concat();
    let retry = registry.config().retry.clone();
    let mut events = follow(registry.client().clone(), (key.clone(), end), retry, created + 1);
    while let Some(heard) = events.next().await {
        let gone = match heard {
            Heard::Events(events) => events.iter().any(|event| matches!(event, Event::Delete { .. })),
            Heard::Gap => is_gone(registry.client(), &key, created).await.unwrap_or(false),
        };
        if gone {
            shared.lose(Loss::KeyGone);
            return;
        }
    }
}

async fn is_gone(client: &Client, key: &[u8], created: i64) -> Result<bool, etcd::Error> {
    Ok(client.get(key).await?.is_none_or(|kv| kv.create_revision != created))
}
