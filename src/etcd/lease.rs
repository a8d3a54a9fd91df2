//! Leases of a cluster: granted, kept alive, revoked. Who keeps them alive, and when, is the caller's affair.

use std::time::Duration;

use super::Operation;
use super::client::Client;
use super::error::Error;

impl Client {
    /// Grants a lease that lives for `ttl`, in whole seconds and at least as long as the cluster's shortest, usually two
    /// seconds. Gives back its id.
    ///
    /// # Errors
    ///
    /// As any call. If an answer got lost, the cluster may hold a lease that nobody knows; it ends by itself.
    pub async fn grant(&self, ttl: Duration) -> Result<i64, Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let response = self
            .call(Operation::LeaseGrant, |client| {
                let mut leases = client.lease_client();
                async move { leases.grant(seconds, None).await }
            })
            .await?;
        Ok(response.id())
    }

    /// Lets a lease live anew for the time that it was granted for. False if it has ended.
    ///
    /// # Errors
    ///
    /// As any call; whether the lease still lives is then unknown.
    pub async fn keep_alive(&self, lease: i64) -> Result<bool, Error> {
        self.call(Operation::LeaseKeepAlive, |client| {
            let mut leases = client.lease_client();
            async move {
                match leases.keep_alive(lease).await {
                    Ok(_) => Ok(true),
                    // How the client crate says that the answer left no time to live.
                    Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        })
        .await
    }

    /// Ends a lease, and with it all keys that hang on it, in one revision.
    ///
    /// # Errors
    ///
    /// As any call. That there is no such lease is one.
    pub async fn revoke(&self, lease: i64) -> Result<(), Error> {
        self.call(Operation::LeaseRevoke, |client| {
            let mut leases = client.lease_client();
            async move { leases.revoke(lease).await }
        })
        .await
        .map(drop)
    }
}
