//! A key under a lease that is kept alive: instances and contenders for locks are no more than that.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::etcd::{Client, Error};

/// The leases' time to live.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// Dropping it lets the lease run out, as a crash does.
pub(super) struct Registration {
    client: Client,
    key: String,
    lease: i64,
    renewing: JoinHandle<()>,
}

impl Registration {
    /// Writes the key that `key` makes of a new lease's id.
    pub(super) async fn write(client: &Client, key: impl FnOnce(i64) -> String, value: &str) -> Result<Self, Error> {
        let lease = client.grant(TTL).await?;
        let key = key(lease);
        client.put(key.as_bytes(), value.as_bytes(), lease).await?;
        let renewing = tokio::spawn(renew(client.clone(), lease));
        Ok(Registration { client: client.clone(), key, lease, renewing })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Writes another value in place; the key and its lease stay.
    pub(super) async fn update(&self, value: &str) -> Result<(), Error> {
        self.client.put(self.key.as_bytes(), value.as_bytes(), self.lease).await.map(drop)
    }

    /// Ends the lease and with it the key.
    pub(super) async fn end(self) {
        if let Err(error) = self.client.revoke(self.lease).await {
            // Somebody who tries things out has ended it already.
            tracing::debug!(key = self.key, %error, "a lease could not be revoked");
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Keeps a lease alive as long as there is one.
async fn renew(client: Client, lease: i64) {
    loop {
        tokio::time::sleep(TTL / 3).await;
        if let Ok(false) = client.keep_alive(lease).await {
            return;
        }
    }
}
