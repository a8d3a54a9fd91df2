//! Contenders for locks, with the keys of etcd's Go client: `<lock>/<lease in hex>`, and the oldest key holds the lock.

use super::Say;
use super::registration::Registration;
use crate::etcd::{Client, Error};

/// Somebody in the queue of a lock, its head included.
pub(super) struct Contender {
    client: Client,
    lock: &'static str,
    registration: Registration,
}

impl Contender {
    /// Stands in line.
    pub(super) async fn queue(client: &Client, say: &Say, lock: &'static str) -> Result<Self, Error> {
        let registration = Registration::write(client, say, move |lease| format!("{lock}/{lease:x}"), "").await?;
        Ok(Contender { client: client.clone(), lock, registration })
    }

    /// Waits until it holds the lock, and gives back the fencing token.
    pub(super) async fn holds(&self) -> Result<i64, Error> {
        let prefix = format!("{}/", self.lock);
        loop {
            let listing = self.client.list(prefix.as_bytes()).await?;
            let oldest = listing.keys.iter().min_by_key(|kv| kv.create_revision);
            if let Some(holder) = oldest.filter(|kv| kv.key == self.registration.key().as_bytes()) {
                return Ok(holder.create_revision);
            }
            let mut watch = self.client.watch(prefix.as_bytes(), listing.header.revision + 1).await?;
            while watch.next().await?.events.is_empty() {}
        }
    }

    /// Lets the lock go, or leaves the queue.
    pub(super) async fn release(self) {
        self.registration.end().await;
    }
}
