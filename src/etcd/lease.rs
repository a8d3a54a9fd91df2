//! Leases of a cluster: granted, kept alive, revoked. Who keeps them alive, and when, is the caller's affair.

use std::time::Duration;

use etcd_client::LeaseTimeToLiveOptions;

use super::Operation;
use super::client::Client;
use super::error::Error;

/// A lease as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Its id.
    pub id: i64,
    /// How long it lives when it is renewed.
    pub granted: Duration,
    /// How long it lives from now on unless it is renewed, in whole seconds. A new leader begins with the whole time.
    pub remaining: Duration,
    /// The keys that hang on it, if they were asked for.
    pub keys: Vec<Vec<u8>>,
}

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

    /// How long a lease still lives, and with `keys` what hangs on it. None: it has ended, or never was.
    ///
    /// # Errors
    ///
    /// As any call. Since 3.5.9 and 3.6.0, whoever asks for keys must be allowed to read all of them.
    pub async fn time_to_live(&self, lease: i64, keys: bool) -> Result<Option<LeaseStatus>, Error> {
        let response = self
            .call(Operation::LeaseTimeToLive, |client| {
                let mut leases = client.lease_client();
                let options = LeaseTimeToLiveOptions::new();
                let options = if keys { options.with_keys() } else { options };
                async move { leases.time_to_live(lease, Some(options)).await }
            })
            .await?
            .0;
        let seconds = |seconds: i64| u64::try_from(seconds).ok().map(Duration::from_secs);
        Ok(seconds(response.ttl).map(|remaining| LeaseStatus {
            id: lease,
            granted: seconds(response.granted_ttl).unwrap_or_default(),
            remaining,
            keys: response.keys,
        }))
    }

    /// The ids of all leases of the cluster.
    ///
    /// # Errors
    ///
    /// As any call. Since 3.5.28 and 3.6.9, users may ask only if they may read every key of every lease.
    pub async fn leases(&self) -> Result<Vec<i64>, Error> {
        let response = self
            .call(Operation::LeaseList, |client| {
                let mut leases = client.lease_client();
                async move { leases.leases().await }
            })
            .await?;
        Ok(response.0.leases.into_iter().map(|lease| lease.id).collect())
    }
}
