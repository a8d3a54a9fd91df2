//! Leases for whoever wants to hang keys of their own on them.

use std::time::Duration;

use super::boottime::Moment;
use super::session::{AtEnd, Session};
use super::{Error, Loss, Registry};
use crate::etcd::{Client, LeaseStatus};

/// Grants, renews and ends leases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leases(pub(super) Registry);

impl Leases {
    /// Grants a lease that lives for `ttl`, in whole seconds; etcd makes it as long as its shortest, mostly 2 s. Gives back
    /// its id, which etcd's tools write as a hexadecimal number.
    ///
    /// # Errors
    ///
    /// Those of etcd; [`Error::Invalid`] for less than a second. Cancelled, it may leave a lease that ends by itself.
    pub async fn grant(&self, ttl: Duration) -> Result<i64, Error> {
        if ttl < Duration::from_secs(1) {
            return Err(Error::invalid("the time to live", format!("{ttl:?} is less than a second")));
        }
        Ok(self.client().grant(ttl).await?)
    }

    /// Ends a lease, and with it all keys that hang on it, at one revision. False: it had ended before.
    ///
    /// # Errors
    ///
    /// Those of etcd. Cancelled, it may or may not have happened.
    pub async fn revoke(&self, lease: i64) -> Result<bool, Error> {
        match self.client().revoke(lease).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_no_lease() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Renews a lease at once, and then every third of its time to live until what is returned is dropped. It is not
    /// revoked then.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(registry: waypost::registry::Registry) -> Result<(), waypost::registry::Error> {
    /// let leases = registry.leases();
    /// let lease = leases.keep_alive(leases.grant(Duration::from_secs(10)).await?).await?;
    /// registry.client().put(b"/mine", b"value", lease.id()).await?;
    /// println!("lost: {}", lease.lost().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if there is no such lease, and those of etcd. Cancel-safe.
    pub async fn keep_alive(&self, lease: i64) -> Result<KeptLease, Error> {
        let ended = || Error::Lost { what: format!("the lease {lease:x}"), loss: Loss::LeaseEnded };
        let status = self.time_to_live(lease).await?.ok_or_else(ended)?;
        let sent = Moment::now();
        if !self.client().keep_alive(lease).await? {
            return Err(ended());
        }
        let closing = self.0.closing();
        let session = Session::start(self.client(), lease, status.granted, sent, AtEnd::Leave, closing);
        Ok(KeptLease(session))
    }

    /// How long a lease still lives, and which keys hang on it. None: it has ended, or never was.
    ///
    /// # Errors
    ///
    /// Those of etcd. Since 3.5.9 and 3.6.0, one must be allowed to read all keys that hang on it. Cancel-safe.
    pub async fn time_to_live(&self, lease: i64) -> Result<Option<LeaseStatus>, Error> {
        Ok(self.client().time_to_live(lease, true).await?)
    }

    /// All leases of the cluster with the keys that hang on them, in the order of their ids. Asks for each one singly, so
    /// one that ends meanwhile is left out.
    ///
    /// # Errors
    ///
    /// Those of etcd. Since 3.5.28 and 3.6.9, one must be allowed to read every key of every lease. Cancel-safe.
    pub async fn list(&self) -> Result<Vec<LeaseStatus>, Error> {
        let mut ids = self.client().leases().await?;
        ids.sort_unstable();
        let mut leases = Vec::with_capacity(ids.len());
        for id in ids {
            leases.extend(self.time_to_live(id).await?);
        }
        Ok(leases)
    }

    fn client(&self) -> &Client {
        self.0.client()
    }
}

/// A lease that is kept alive until this is dropped.
#[derive(Debug)]
pub struct KeptLease(Session);

impl KeptLease {
    /// The lease's id.
    pub fn id(&self) -> i64 {
        self.0.lease()
    }

    /// How it was lost, if it was. A lease counts as lost a tenth of its time before the cluster would end it, by a clock
    /// that goes on while the machine sleeps.
    pub fn loss(&self) -> Option<Loss> {
        self.0.shared().loss()
    }

    /// Waits until it is lost. Cancel-safe.
    pub async fn lost(&self) -> Loss {
        self.0.shared().lost().await
    }
}
