//! A named client of one cluster.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{DeleteOptions, GetOptions, PutOptions};
use tokio::sync::Semaphore;

use super::connect::Dialer;
use super::error::{Cause, Error};
use super::members::{Member, Members};
use super::watch::Watch;
use super::{Config, Header, KeyValue, Listing, Metrics, Operation, sync};

/// How many keys are asked for at once. A thousand registrations are some hundred kilobytes.
const PAGE: i64 = 500;

/// A handle on one etcd cluster. Cheap to clone; the last one closes the connections.
///
/// Every call is tried at each member once, until one serves it; so a put or delete may be done twice when the first
/// answer got lost, which changes nothing but revisions. All calls are cancel-safe in that sense: dropped, they may or
/// may not have happened.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    /// How long a call to one member may take.
    limit: Duration,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dialer: Dialer,
    pub(super) members: Members,
    active: Semaphore,
}

impl Client {
    /// A client under the name by which prefixes refer to it. Nothing is dialled yet. Must be called inside a tokio
    /// runtime if `auto_sync` is on.
    pub fn new(name: &str, config: Config, metrics: Metrics) -> Self {
        let members = Members::new(&config.endpoints);
        let (auto_sync, active) = (config.auto_sync, Semaphore::new(config.max_active));
        let inner = Arc::new(Inner { dialer: Dialer { client: name.into(), config, metrics }, members, active });
        if let Some(every) = auto_sync {
            tokio::spawn(sync::run(Arc::downgrade(&inner), every));
        }
        Client::of(inner)
    }

    pub(super) fn of(inner: Arc<Inner>) -> Self {
        let limit = inner.dialer.config.call_timeout;
        Client { inner, limit }
    }

    /// The same client, whose calls give a member no longer than `limit` to answer, nor longer than is configured: for
    /// what must be done in time.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Client { inner: self.inner.clone(), limit: limit.min(self.config().call_timeout) }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.dialer.client
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.inner.dialer.config
    }

    /// Whether both are handles on the same client.
    pub fn is(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Reads all keys that begin with `prefix`, in pages that are all of the first page's revision. The read is
    /// linearizable: it sees everything that was written before it.
    ///
    /// # Errors
    ///
    /// As any call; [`Error::Compacted`] if that revision was compacted before the last page was read.
    pub async fn list(&self, prefix: &[u8]) -> Result<Listing, Error> {
        self.list_as(prefix, |kv| kv).await
    }

    /// The same, each key made into something else as soon as its page has come.
    ///
    /// # Errors
    ///
    /// As [`list`](Client::list).
    pub async fn list_as<T>(&self, prefix: &[u8], read: impl Fn(KeyValue) -> T) -> Result<Listing<T>, Error> {
        let end = prefix_end(prefix);
        let mut from = prefix.to_vec();
        let mut listing: Option<Listing<T>> = None;
        loop {
            let revision = listing.as_ref().map_or(0, |listing| listing.header.revision);
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let response = self
                .call(Operation::Range, |client| {
                    let (mut kv, from, options) = (self.kv(&client), from.clone(), options.clone());
                    async move { kv.get(from, Some(options)).await }
                })
                .await?
                .0;
            let header = Header::from(response.header.unwrap_or_default());
            let last = response.kvs.last().filter(|_| response.more).map(|kv| kv.key.clone());
            let keys = response.kvs.into_iter().map(|kv| read(kv.into()));
            let listing = match &mut listing {
                Some(listing) => {
                    if header.cluster != listing.header.cluster {
                        return Err(Error::ClusterChanged { prefix: String::from_utf8_lossy(prefix).into_owned() });
                    }
                    listing.keys.extend(keys);
                    listing
                }
                None => listing.insert(Listing { header, keys: keys.collect() }),
            };
            match last {
                Some(last) => {
                    from = last;
                    from.push(0);
                }
                None => return Ok(Listing { header: listing.header, keys: std::mem::take(&mut listing.keys) }),
            }
        }
    }

    /// Reads a key; none if it is not there. Linearizable, as [`list`](Client::list).
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        let response = self
            .call(Operation::Range, |client| {
                let (mut kv, key) = (self.kv(&client), key.to_vec());
                async move { kv.get(key, None).await }
            })
            .await?
            .0;
        Ok(response.kvs.into_iter().next().map(Into::into))
    }

    /// Writes a key that lives as long as `lease`; 0 is none, and takes the key off the lease that it hung on.
    ///
    /// # Errors
    ///
    /// As any call. That there is no such lease is one.
    pub async fn put(&self, key: &[u8], value: &[u8], lease: i64) -> Result<Header, Error> {
        let response = self
            .call(Operation::Put, |client| {
                let (mut kv, key, value) = (self.kv(&client), key.to_vec(), value.to_vec());
                let options = PutOptions::new().with_lease(lease);
                async move { kv.put(key, value, Some(options)).await }
            })
            .await?;
        Ok(response.0.header.unwrap_or_default().into())
    }

    /// Deletes a key.
    ///
    /// # Errors
    ///
    /// As any call. That there is no such key is none.
    pub async fn delete(&self, key: &[u8]) -> Result<Header, Error> {
        let response = self
            .call(Operation::Delete, |client| {
                let (mut kv, key) = (self.kv(&client), key.to_vec());
                async move { kv.delete(key, Some(DeleteOptions::new())).await }
            })
            .await?;
        Ok(response.0.header.unwrap_or_default().into())
    }

    /// Watches all keys that begin with `prefix`, for what happened at `revision` and later; from now on if that is 0.
    /// The watch has a connection and a login of its own. Returns when a member that has a leader has confirmed it.
    ///
    /// # Errors
    ///
    /// As any call. That `revision` is compacted is often said only by the watch itself.
    pub async fn watch(&self, prefix: &[u8], revision: i64) -> Result<Watch, Error> {
        self.watch_range(prefix, &prefix_end(prefix), revision).await
    }

    /// Watches all keys from `first` on and before `end`, as [`watch`](Client::watch).
    ///
    /// # Errors
    ///
    /// As [`watch`](Client::watch).
    pub async fn watch_range(&self, first: &[u8], end: &[u8], revision: i64) -> Result<Watch, Error> {
        self.somewhere(|member| Watch::open(self.clone(), member, (first, end), revision)).await
    }

    /// Makes a call at one member after the other until one serves it.
    pub(super) async fn call<T, F, Fut>(&self, operation: Operation, call: F) -> Result<T, Error>
    where
        F: Fn(etcd_client::Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        // It is never closed, so this is an error never.
        let _permit = self.inner.active.acquire().await;
        self.somewhere(|member| self.call_at(member, operation, &call)).await
    }

    async fn somewhere<T, F, Fut>(&self, at: F) -> Result<T, Error>
    where
        F: Fn(Arc<Member>) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let members = &self.inner.members;
        let mut failed = None;
        for member in members.in_order() {
            match at(member.clone()).await {
                Err(error) if error.is_members_fault() => {
                    members.leave(&member);
                    failed = Some(error);
                }
                result => return result,
            }
        }
        let none = || Error::Setup {
            client: self.name().clone(),
            cause: Cause::setup("it has no endpoints".to_owned(), std::fmt::Error),
        };
        Err(failed.unwrap_or_else(none))
    }

    /// Makes a call at one member; a second time with a new login if the first one's token was refused.
    pub(super) async fn call_at<T, F, Fut>(
        &self,
        member: Arc<Member>,
        operation: Operation,
        call: &F,
    ) -> Result<T, Error>
    where
        F: Fn(etcd_client::Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let dialer = &self.inner.dialer;
        let mut may_login = dialer.config.user.is_some();
        loop {
            let connection = member.connection(dialer).await?;
            let error =
                match dialer.call_within(self.limit, operation, &member.url, call(connection.client.clone())).await {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
            if error.is_members_fault() || error.is_token() {
                member.disconnect(&connection).await;
            }
            if !error.is_token() || !std::mem::take(&mut may_login) {
                return Err(error);
            }
        }
    }

    pub(super) fn kv(&self, client: &etcd_client::Client) -> etcd_client::KvClient {
        let config = self.config();
        client.kv_client().max_decoding_message_size(config.max_decoding).max_encoding_message_size(config.max_encoding)
    }
}

/// The first key behind all keys that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0] // etcd's way to say that there is no end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_behind_it() {
        for (prefix, end) in
            [(&b"/foo/"[..], &b"/foo0"[..]), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"\xff", b"\0"), (b"", b"\0")]
        {
            assert_eq!(prefix_end(prefix), end);
        }
    }
}
