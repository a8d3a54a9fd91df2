//! Elections: a lock whose holder says something.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use tokio::time::sleep;

use super::contender::Contender;
use super::lock::check;
use super::{Error, Heard, Loss, Registry, follow};

/// Holds elections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Elections {
    registry: Registry,
    ttl: Duration,
}

impl Elections {
    pub(super) fn new(registry: Registry) -> Self {
        let ttl = registry.config().ttl;
        Elections { registry, ttl }
    }

    /// Candidates whose leases live for `ttl` without being renewed, in whole seconds from 2. Default: as the settings say.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Stands for election with a value, and waits until elected.
    ///
    /// ```no_run
    /// # async fn example(registry: waypost::registry::Registry) -> Result<(), waypost::registry::Error> {
    /// let leadership = registry.elections().campaign("scheduler", "host-7").await?;
    /// println!("leading with the fencing token {}", leadership.token()?);
    /// println!("no longer: {}", leadership.lost().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the candidacy was lost, [`Error::Invalid`] for a name that is none, and those of etcd. Cancelled,
    /// it is taken back in the background.
    pub async fn campaign(&self, name: &str, value: impl AsRef<[u8]>) -> Result<Leadership, Error> {
        let what = format!("the leadership of `{name}`");
        let prefix = self.prefix(name)?;
        let (contender, first) = Contender::enter(&self.registry, what, &prefix, value.as_ref(), self.ttl).await?;
        if !first {
            contender.turn().await?;
        }
        Ok(Leadership { name: name.to_owned(), contender })
    }

    /// Who leads now; none if nobody does.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is none, and those of etcd. Cancel-safe.
    pub async fn leader(&self, name: &str) -> Result<Option<Leader>, Error> {
        Ok(self.look(&self.prefix(name)?).await?.0)
    }

    /// Who leads, at first and whenever that or what the leader says changes; none when nobody does. The stream never
    /// ends; while etcd is away it waits. Dropping `next` loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is none.
    pub fn observe(&self, name: &str) -> Result<Pin<Box<dyn Stream<Item = Option<Leader>> + Send>>, Error> {
        let prefix = self.prefix(name)?;
        let observer = Observer { elections: self.clone(), prefix, events: None, known: None };
        Ok(Box::pin(unfold(observer, |mut observer| async move {
            let leader = observer.next().await;
            Some((leader, observer))
        })))
    }

    async fn look(&self, prefix: &str) -> Result<(Option<Leader>, i64), Error> {
        let listing = self.registry.client().list(prefix.as_bytes()).await?;
        let first = listing.keys.into_iter().min_by_key(|kv| kv.create_revision);
        let leader = first.map(|kv| Leader { token: kv.create_revision, lease: kv.lease, value: kv.value });
        Ok((leader, listing.header.revision))
    }

    fn prefix(&self, name: &str) -> Result<String, Error> {
        Ok(format!("{}{}/", self.registry.config().election_prefix, check("the election's name", name)?))
    }
}

struct Observer {
    elections: Elections,
    prefix: String,
    events: Option<Pin<Box<dyn Stream<Item = Heard> + Send>>>,
    /// What was told last.
    known: Option<Option<Leader>>,
}

impl Observer {
    async fn next(&mut self) -> Option<Leader> {
        let retry = self.elections.registry.config().retry.clone();
        let mut failures = 0;
        loop {
            // After a failure the same is asked again, or what was heard would be forgotten.
            if failures == 0
                && self.known.is_some()
                && let Some(events) = &mut self.events
            {
                events.next().await;
            }
            match self.elections.look(&self.prefix).await {
                Ok((leader, revision)) => {
                    failures = 0;
                    let client = self.elections.registry.client().clone();
                    let range = (self.prefix.clone().into_bytes(), crate::etcd::prefix_end(self.prefix.as_bytes()));
                    self.events.get_or_insert_with(|| follow(client, range, retry.clone(), revision + 1));
                    if self.known.as_ref() != Some(&leader) {
                        self.known = Some(leader.clone());
                        return leader;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "an election cannot be observed now");
                    failures += 1;
                    sleep(retry.wait(failures, fastrand::f64())).await;
                }
            }
        }
    }
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// What the leader says.
    pub value: Vec<u8>,
    /// The fencing token.
    pub token: i64,
    /// The lease on which it hangs.
    pub lease: i64,
}

/// We lead until this is dropped, or it is lost. Dropping it resigns in the background.
#[derive(Debug)]
pub struct Leadership {
    name: String,
    contender: Contender,
}

impl Leadership {
    /// The election's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lease on which it hangs.
    pub fn lease(&self) -> i64 {
        self.contender.lease()
    }

    /// The fencing token, as that of a lock.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the leadership is lost, or may be by the clock.
    pub fn token(&self) -> Result<i64, Error> {
        self.contender.token()
    }

    /// How it was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.contender.loss()
    }

    /// Waits until it is lost, as a lock is. Cancel-safe.
    pub async fn lost(&self) -> Loss {
        self.contender.lost().await
    }

    /// Says something else.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if we no longer lead, and those of etcd. Cancelled, it may or may not be said.
    pub async fn proclaim(&self, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.token()?;
        self.contender.write(value.as_ref()).await
    }

    /// Gives it up, if it is still ours, and waits until that is done.
    ///
    /// # Errors
    ///
    /// As [`Lock::unlock`](super::Lock::unlock).
    pub async fn resign(self) -> Result<(), Error> {
        self.contender.leave().await
    }
}
