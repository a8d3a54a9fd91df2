//! Locks: of all who want one, one holds it, as long as its lease lives and its key stands.
//!
//! A holder that was stopped for longer than its lease lives may still believe that it holds the lock. So each guarded
//! step asks [`Lock::token`], which refuses then, and hands the token to what it writes to, which refuses smaller ones
//! than it has seen: the clock makes a stale step unlikely, only the fencing token makes it impossible.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::boottime::Moment;
use super::contender::Contender;
use super::{Error, Loss, Registry, holder};
use crate::etcd::{KeyValue, LeaseStatus};

/// When each place, by key and token, was seen first.
type Seen = HashMap<(Vec<u8>, i64), Moment>;

/// Takes locks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Locks {
    registry: Registry,
    ttl: Duration,
    holder: Arc<str>,
    seen: Arc<Mutex<Seen>>,
}

impl Locks {
    pub(super) fn new(registry: Registry) -> Self {
        let ttl = registry.config().ttl;
        Locks { registry, ttl, holder: holder::own().into(), seen: Arc::default() }
    }

    /// Locks whose leases live for `ttl` without being renewed, in whole seconds from 2. A holder that crashes keeps the
    /// others out for so long. Default: as the settings say.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Locks that are held under this name, which people see who ask for the holder and the waiters: `worker-2`. Default:
    /// the machine's name and the number of the process.
    #[must_use]
    pub fn with_holder(mut self, name: &str) -> Self {
        self.holder = name.into();
        self
    }

    /// Waits until the lock is ours, while etcd is away too, for as long as the lease holds.
    ///
    /// ```no_run
    /// # async fn example(registry: waypost::registry::Registry) -> Result<(), waypost::registry::Error> {
    /// # async fn write(line: &str, token: i64) {}
    /// let lock = registry.locks().lock("nightly-report").await?;
    /// for line in ["one", "two"] {
    ///     write(line, lock.token()?).await;
    /// }
    /// lock.unlock().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the place in the queue was lost, [`Error::Invalid`] for a name that is none, and those of etcd.
    /// Cancelled, it leaves the queue in the background.
    pub async fn lock(&self, name: &str) -> Result<Lock, Error> {
        let (contender, first) = self.enter(name).await?;
        if !first {
            contender.turn().await?;
        }
        Ok(Lock { name: name.to_owned(), contender })
    }

    /// Takes the lock if nobody has it or waits for it; none if somebody does.
    ///
    /// # Errors
    ///
    /// As [`lock`](Locks::lock).
    pub async fn try_lock(&self, name: &str) -> Result<Option<Lock>, Error> {
        let (contender, first) = self.enter(name).await?;
        if first {
            return Ok(Some(Lock { name: name.to_owned(), contender }));
        }
        contender.leave().await?;
        Ok(None)
    }

    /// Waits for the lock for so long at most; none if it was not ours then.
    ///
    /// # Errors
    ///
    /// As [`lock`](Locks::lock).
    pub async fn lock_timeout(&self, name: &str, limit: Duration) -> Result<Option<Lock>, Error> {
        if let Ok(lock) = timeout(limit, self.lock(name)).await {
            return lock.map(Some);
        }
        // That nothing came of it may also mean that etcd is out of reach, or that there was no time at all.
        match self.status(name).await?.holder() {
            Some(_) => Ok(None),
            None => self.try_lock(name).await,
        }
    }

    /// Who holds a lock, and who waits for it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Locks::lock). Cancel-safe.
    pub async fn status(&self, name: &str) -> Result<LockStatus, Error> {
        let mut all = self.read(&self.prefix(name)?).await?;
        // Whoever stands below a deeper name is in the way as well: that is how the recipe counts.
        let mut queue: Vec<_> = all.drain(..).flat_map(|lock| lock.queue).collect();
        queue.sort_by_key(|place| place.token);
        Ok(LockStatus { name: name.to_owned(), queue })
    }

    /// All locks that somebody holds or waits for, in the order of their names.
    ///
    /// # Errors
    ///
    /// Those of etcd. Cancel-safe.
    pub async fn list(&self) -> Result<Vec<LockStatus>, Error> {
        self.read(&self.registry.config().lock_prefix.clone()).await
    }

    async fn read(&self, prefix: &str) -> Result<Vec<LockStatus>, Error> {
        let mut locks: Vec<LockStatus> = Vec::new();
        let keys = self.registry.client().list(prefix.as_bytes()).await?.keys;
        for kv in keys.into_iter().filter(is_contender) {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            let below = key.strip_prefix(self.registry.config().lock_prefix.as_str()).unwrap_or(&key);
            let name = below.rsplit_once('/').map_or(below, |(name, _)| name).to_owned();
            let own = holder::read(&kv.value);
            // Its lease ended while we asked: it is gone by now.
            let Some(lease) = self.lease(kv.lease, own.is_none()).await? else { continue };
            let place = Place {
                name: own.or_else(|| self.registered(&lease)),
                lease: kv.lease,
                token: kv.create_revision,
                ttl: lease.granted,
                remaining: lease.remaining,
                seen: self.seen(&kv).elapsed(),
                value: kv.value,
                key,
            };
            match locks.iter_mut().find(|lock| lock.name == name) {
                Some(lock) => lock.queue.push(place),
                None => locks.push(LockStatus { name, queue: vec![place] }),
            }
        }
        for lock in &mut locks {
            lock.queue.sort_by_key(|place| place.token);
        }
        Ok(locks)
    }

    /// A lease, with what hangs on it if that is wanted and we may read all of it.
    async fn lease(&self, lease: i64, keys: bool) -> Result<Option<LeaseStatus>, Error> {
        let client = self.registry.client();
        match client.time_to_live(lease, keys).await {
            Err(error) if keys && error.is_denied() => Ok(client.time_to_live(lease, false).await?),
            status => Ok(status?),
        }
    }

    /// The instance that is registered on a lease, below the prefix of services.
    fn registered(&self, lease: &LeaseStatus) -> Option<String> {
        let prefix = self.registry.config().prefix.as_bytes();
        let below = lease.keys.iter().find_map(|key| key.strip_prefix(prefix))?;
        Some(String::from_utf8_lossy(below).into_owned())
    }

    /// When this place was seen first.
    fn seen(&self, kv: &KeyValue) -> Moment {
        const MOST: usize = 10_000;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > MOST {
            seen.clear();
        }
        *seen.entry((kv.key.clone(), kv.create_revision)).or_insert_with(Moment::now)
    }

    async fn enter(&self, name: &str) -> Result<(Contender, bool), Error> {
        let (prefix, value) = (self.prefix(name)?, holder::write(&self.holder));
        Contender::enter(&self.registry, format!("the lock `{name}`"), &prefix, &value, self.ttl).await
    }

    fn prefix(&self, name: &str) -> Result<String, Error> {
        Ok(format!("{}{}/", self.registry.config().lock_prefix, check("the lock's name", name)?))
    }
}

/// Whether somebody stands there for a lock: its last part is its own lease.
fn is_contender(kv: &KeyValue) -> bool {
    let last = kv.key.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    kv.lease != 0 && last == format!("{:x}", kv.lease).as_bytes()
}

/// A name as a part of a key.
pub(super) fn check<'a>(what: &'static str, name: &'a str) -> Result<&'a str, Error> {
    match name {
        "" => Err(Error::invalid(what, "it is empty")),
        name if name.starts_with('/') || name.ends_with('/') => {
            Err(Error::invalid(what, format!("`{name}` begins or ends with a slash")))
        }
        name if name.chars().any(char::is_control) => Err(Error::invalid(what, "it has control characters")),
        name => Ok(name),
    }
}

/// A lock that is ours until this is dropped, or it is lost. Dropping it unlocks in the background.
#[derive(Debug)]
pub struct Lock {
    name: String,
    contender: Contender,
}

impl Lock {
    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key under which we hold it.
    pub fn key(&self) -> String {
        self.contender.key()
    }

    /// The lease on which it hangs.
    pub fn lease(&self) -> i64 {
        self.contender.lease()
    }

    /// How long ago we stood in line for it.
    pub fn age(&self) -> Duration {
        self.contender.since()
    }

    /// The fencing token: greater for each next holder. To be asked for before each guarded step, and given to what is
    /// written to, so that it can refuse a step of somebody who held the lock earlier.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lock is lost, or may be by the clock: within a tenth of its time to live of the moment at
    /// which the cluster may end its lease. That clock goes on while this process or its machine stands still.
    pub fn token(&self) -> Result<i64, Error> {
        self.contender.token()
    }

    /// How it was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.contender.loss()
    }

    /// Waits until it is lost: within one event of its key's deletion or its lease's revocation, or when by the clock its
    /// lease may have ended. Cancel-safe.
    pub async fn lost(&self) -> Loss {
        self.contender.lost().await
    }

    /// Gives it back, if it is still ours, and waits until that is done.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it was no longer ours; [`Error::Etcd`] if etcd could not be told: then it ends with its lease.
    /// Cancelled, it goes on in the background.
    pub async fn unlock(self) -> Result<(), Error> {
        self.contender.leave().await
    }
}

/// A lock as the cluster sees it: a holder may believe something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockStatus {
    /// Its name.
    pub name: String,
    /// The holder, and behind it those who wait, in their order.
    pub queue: Vec<Place>,
}

impl LockStatus {
    /// Who holds it.
    pub fn holder(&self) -> Option<&Place> {
        self.queue.first()
    }

    /// Who waits for it, the next one first.
    pub fn waiters(&self) -> &[Place] {
        self.queue.get(1..).unwrap_or_default()
    }
}

/// Somebody in the queue of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The whole key.
    pub key: String,
    /// The lease on which it hangs.
    pub lease: i64,
    /// The fencing token that it has, or will have.
    pub token: i64,
    /// How long its lease lives when it is renewed.
    pub ttl: Duration,
    /// How long its lease lives from now on unless it is renewed, in whole seconds.
    pub remaining: Duration,
    /// For how long at least it has stood there: since these locks were first asked for it. etcd stores no time.
    pub seen: Duration,
    /// Who it is: the name that its key says, or else the instance that is registered on the same lease, as `greeter/one`.
    pub name: Option<String>,
    /// What its key says; nothing if it is of another client, mostly.
    pub value: Vec<u8>,
}
