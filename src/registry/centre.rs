//! A config centre: values under keys that programs load, and follow while they run.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use tokio::time::sleep;

use super::{Error, Heard, Registry, follow};
use crate::etcd::{Action, Txn, prefix_end};

/// Keys, each with its value, in order.
pub type Values = BTreeMap<String, Vec<u8>>;

/// Reads and writes plain keys. Cheap to clone. What a key's name that is no UTF-8 holds is left out of maps.
#[derive(Debug, Clone)]
pub struct Centre(Registry);

impl Centre {
    pub(super) fn new(registry: Registry) -> Self {
        Centre(registry)
    }

    /// The value of a key; none if it is not there.
    ///
    /// # Errors
    ///
    /// Those of etcd. Cancel-safe.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.client().get(key.as_bytes()).await?.map(|kv| kv.value))
    }

    /// Writes a key, without a lease: it stays until it is deleted. Gives back the revision.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an empty key, and those of etcd. Cancelled, it may or may not have happened.
    pub async fn put(&self, key: &str, value: impl AsRef<[u8]>) -> Result<i64, Error> {
        if key.is_empty() {
            return Err(Error::invalid("the key", "it is empty"));
        }
        Ok(self.0.client().put(key.as_bytes(), value.as_ref(), 0).await?.revision)
    }

    /// Deletes a key, if it is there.
    ///
    /// # Errors
    ///
    /// As [`put`](Centre::put).
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.client().delete(key.as_bytes()).await?;
        Ok(())
    }

    /// All keys that begin with a prefix, as they were at one revision.
    ///
    /// # Errors
    ///
    /// Those of etcd. Cancel-safe.
    pub async fn load(&self, prefix: &str) -> Result<Values, Error> {
        Ok(self.read(prefix, true).await?.0)
    }

    /// The value of a key, at first and whenever it changes; none when it is not there. The stream never ends; while etcd
    /// is away it waits, and then goes on with what is there. A slow reader misses what was in between, never the last.
    /// Dropping `next` loses nothing.
    ///
    /// ```no_run
    /// # use futures_util::StreamExt;
    /// # async fn example(registry: waypost::registry::Registry) {
    /// let mut limits = registry.centre().watch("/config/limit");
    /// while let Some(limit) = limits.next().await {
    ///     println!("the limit is {:?}", limit.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    /// }
    /// # }
    /// ```
    pub fn watch(&self, key: &str) -> Pin<Box<dyn Stream<Item = Option<Vec<u8>>> + Send>> {
        let values = self.follow(key, false);
        Box::pin(values.map(|values| values.into_values().next()))
    }

    /// All keys that begin with a prefix, at first and whenever one of them changes, as [`watch`](Centre::watch).
    pub fn watch_all(&self, prefix: &str) -> Pin<Box<dyn Stream<Item = Values> + Send>> {
        self.follow(prefix, true)
    }

    async fn read(&self, from: &str, prefix: bool) -> Result<(Values, i64), Error> {
        let (keys, header) = if prefix {
            let listing = self.0.client().list(from.as_bytes()).await?;
            (listing.keys, listing.header)
        } else {
            let read = Txn { then: vec![Action::Get(from.as_bytes().to_vec())], ..Txn::default() };
            let done = self.0.client().txn(read).await?;
            (done.found.into_iter().flatten().collect(), done.header)
        };
        let text = keys.into_iter().filter_map(|kv| Some((String::from_utf8(kv.key).ok()?, kv.value)));
        Ok((text.collect(), header.revision))
    }

    fn follow(&self, from: &str, prefix: bool) -> Pin<Box<dyn Stream<Item = Values> + Send>> {
        let state = Following { centre: self.clone(), from: from.to_owned(), prefix, events: None, known: None };
        Box::pin(unfold(state, |mut state| async move {
            let values = state.next().await;
            Some((values, state))
        }))
    }
}

struct Following {
    centre: Centre,
    from: String,
    prefix: bool,
    events: Option<Pin<Box<dyn Stream<Item = Heard> + Send>>>,
    known: Option<Values>,
}

impl Following {
    async fn next(&mut self) -> Values {
        let registry = self.centre.0.clone();
        let retry = &registry.config().retry;
        let mut failures = 0;
        loop {
            // After a failure the same is asked again, or what was heard would be forgotten.
            if failures == 0
                && self.known.is_some()
                && let Some(events) = &mut self.events
            {
                events.next().await;
            }
            match self.centre.read(&self.from, self.prefix).await {
                Ok((values, revision)) => {
                    failures = 0;
                    let first = self.from.clone().into_bytes();
                    let end = if self.prefix { prefix_end(&first) } else { [&first[..], b"\0"].concat() };
                    let client = registry.client().clone();
                    self.events.get_or_insert_with(|| follow(client, (first, end), retry.clone(), revision + 1));
                    if self.known.as_ref() != Some(&values) {
                        self.known = Some(values.clone());
                        return values;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "keys that are watched cannot be read now");
                    failures += 1;
                    sleep(retry.wait(failures, fastrand::f64())).await;
                }
            }
        }
    }
}
