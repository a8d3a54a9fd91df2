//! A key under a lease that is kept alive: instances and contenders for locks are no more than that. Whoever ends the
//! lease or deletes the key sees it come back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Say;
use crate::etcd::{Client, Error};

/// The leases' time to live.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// Dropping it lets the lease run out, as a crash does.
pub(super) struct Registration {
    written: Arc<Written>,
    keeping: JoinHandle<()>,
}

/// What stands in the registry, and how it is written again.
struct Written {
    client: Client,
    say: Say,
    key: Box<dyn Fn(i64) -> String + Send + Sync>,
    now: Mutex<Now>,
}

#[derive(Clone)]
struct Now {
    lease: i64,
    key: String,
    value: String,
}

impl Registration {
    /// Writes the key that `key` makes of a new lease's id.
    pub(super) async fn write(
        client: &Client,
        say: &Say,
        key: impl Fn(i64) -> String + Send + Sync + 'static,
        value: &str,
    ) -> Result<Self, Error> {
        let now = Mutex::new(Now { lease: 0, key: String::new(), value: value.to_owned() });
        let written = Arc::new(Written { client: client.clone(), say: say.clone(), key: Box::new(key), now });
        written.write().await?;
        let keeping = tokio::spawn(keep(written.clone()));
        Ok(Registration { written, keeping })
    }

    pub(super) fn key(&self) -> String {
        self.written.now().key.clone()
    }

    /// Writes another value in place; the key and its lease stay.
    pub(super) async fn update(&self, value: &str) {
        self.written.now().value = value.to_owned();
        let Now { lease, key, value } = self.written.now().clone();
        if let Err(error) = self.written.client.put(key.as_bytes(), value.as_bytes(), lease).await {
            // Its lease has ended; it comes back with the new value.
            tracing::debug!(key, %error, "a value could not be written");
        }
    }

    /// Ends the lease and with it the key.
    pub(super) async fn end(self) {
        self.keeping.abort();
        let Now { lease, key, .. } = self.written.now().clone();
        if let Err(error) = self.written.client.revoke(lease).await {
            // Somebody who tries things out has ended it already.
            tracing::debug!(key, %error, "a lease could not be revoked");
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Written {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the key under a new lease.
    async fn write(&self) -> Result<(), Error> {
        let lease = self.client.grant(TTL).await?;
        let (key, value) = ((self.key)(lease), self.now().value.clone());
        self.client.put(key.as_bytes(), value.as_bytes(), lease).await?;
        *self.now() = Now { lease, key, value };
        Ok(())
    }

    /// Whether the lease lives and the key is there.
    async fn stands(&self) -> Result<bool, Error> {
        let Now { lease, key, .. } = self.now().clone();
        let lives = self.client.keep_alive(lease).await?;
        Ok(lives && self.client.list(key.as_bytes()).await?.keys.iter().any(|kv| kv.key == key.as_bytes()))
    }
}

/// Keeps the lease alive, and writes the key again when it is gone.
async fn keep(written: Arc<Written>) {
    loop {
        tokio::time::sleep(TTL / 3).await;
        if let Ok(false) = written.stands().await {
            written.say.line(format!("{} is gone: it is registered again", written.now().key));
            if let Err(error) = written.write().await {
                tracing::warn!(%error, "the demo cannot register again yet");
            }
        }
    }
}
