//! Registering an instance, or any key, so that it stays registered.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::config::with_slash;
use super::format::{Decoded, Decoder, FormatName};
use super::keeper::{self, Command, Status, Values};
use super::{Address, AddressError, Error, Instance, Protocol, Registry};
use crate::etcd::KeyValue;

/// The name of what has ended, in errors.
const REGISTRATION: &str = "the registration";

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// The value, written as it is.
    pub value: Vec<u8>,
}

impl Registry {
    /// Registers an instance, named `id`, of a service: `host:port`, or `[v6]:port`. More is said with the methods of what
    /// is returned, which is then awaited.
    ///
    /// ```no_run
    /// # async fn example(registry: waypost::registry::Registry) -> Result<(), waypost::registry::Error> {
    /// let registration = registry.register("greeter", "one", "10.0.0.7:50051").weight(3).zone("a").await?;
    /// // … serve calls …
    /// registration.deregister().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register(&self, service: &str, id: &str, address: &str) -> Registering {
        let address: Result<Address, _> = address.parse();
        let instance = address.map(|address| Instance {
            service: service.to_owned(),
            id: id.to_owned(),
            address,
            weight: 1,
            version: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            protocol: None,
            tls: None,
            metadata: self.config().metadata.clone(),
        });
        Registering { registry: self.clone(), instance, format: FormatName::Go, ttl: self.config().ttl }
    }

    /// Registers any key with any value, under a lease of the usual time to live.
    ///
    /// # Errors
    ///
    /// As for an instance.
    pub async fn register_at(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<Registration, Error> {
        self.register_all([Entry { key: key.to_owned(), value: value.into() }], self.config().ttl).await
    }

    /// Registers many keys under one lease, in as few transactions as etcd takes: all come, heal and go together.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none, one is empty or stands there twice; [`Error::Etcd`] if etcd cannot be reached,
    /// after as many attempts as the settings say, or refuses. Cancelled, it may leave keys that go with their lease.
    pub async fn register_all(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        ttl: Duration,
    ) -> Result<Registration, Error> {
        let mut values = Values::new();
        for Entry { key, value } in entries {
            if key.is_empty() {
                return Err(Error::invalid("the key", "it is empty"));
            }
            if values.insert(key.clone().into_bytes(), value).is_some() {
                return Err(Error::invalid("the key", format!("`{key}` stands there twice")));
            }
        }
        if values.is_empty() {
            return Err(Error::invalid("the list of keys", "it is empty"));
        }
        if ttl < Duration::from_secs(2) {
            return Err(Error::invalid("the time to live", format!("{ttl:?} is less than etcd's shortest, 2 s")));
        }
        if self.closing().is_closed() {
            return Err(Error::Ended("the manager"));
        }
        let keys = values.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        let (commands, status) = keeper::start(self, ttl, values).await?;
        Ok(Registration { keys, instance: None, commands, status })
    }

    /// The key and the value under which an instance is registered.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it would not be read as it is: with a name that is no name, or with something that the
    /// format has no place for.
    pub fn entry(&self, instance: &Instance, format: FormatName) -> Result<Entry, Error> {
        let Instance { service, id, .. } = instance;
        for (what, name) in [("the service", service), ("the instance's id", id)] {
            let reason = match name.as_str() {
                "" => "it is empty",
                name if name.starts_with('/') || name.ends_with('/') => "it begins or ends with a slash",
                name if name.chars().any(char::is_control) => "it has control characters",
                _ => continue,
            };
            return Err(Error::invalid(what, reason));
        }
        if id.contains('/') {
            return Err(Error::invalid(
                "the instance's id",
                "it has a slash, and would be read as part of the service",
            ));
        }
        let prefix = with_slash(self.config().prefix.clone());
        let entry = Entry { key: format!("{prefix}{service}/{id}"), value: format.encode(instance).into_bytes() };
        // What is written is what others read: that is the whole rule of each format.
        let kv = KeyValue { key: entry.key.clone().into_bytes(), value: entry.value.clone(), ..KeyValue::default() };
        match Decoder::new(&prefix, format, None).decode(&kv) {
            Decoded::Instances(read) if read.iter().all(|read| says(read, instance)) => Ok(entry),
            Decoded::Instances(_) => Err(Error::invalid(
                "the format",
                format!("`{format}` has no place for all that this instance says; `go` and `json` have"),
            )),
            Decoded::Flawed(_, reason) | Decoded::Unreadable(reason) => Err(Error::invalid("the instance", reason)),
            Decoded::NotAnInstance(what) => Err(Error::invalid("the instance", format!("it would be read as {what}"))),
        }
    }
}

/// Whether `read` says all that `meant` does. A format may say more of what is spoken than was asked for.
fn says(read: &Instance, meant: &Instance) -> bool {
    let protocol = meant.protocol.or(read.protocol);
    *read == Instance { protocol, tls: meant.tls.or(read.tls), ..meant.clone() }
}

/// An instance that is about to be registered: await it.
#[derive(Debug)]
#[must_use = "nothing is registered until this is awaited"]
pub struct Registering {
    registry: Registry,
    instance: Result<Instance, AddressError>,
    format: FormatName,
    ttl: Duration,
}

impl Registering {
    /// Its share of calls relative to its siblings; 0 takes no new calls. Default 1.
    pub fn weight(self, weight: u32) -> Self {
        self.with(|instance| instance.weight = weight)
    }

    /// Its version.
    pub fn version(self, version: &str) -> Self {
        self.with(|instance| version.clone_into(&mut instance.version))
    }

    /// Its zone.
    pub fn zone(self, zone: &str) -> Self {
        self.with(|instance| zone.clone_into(&mut instance.zone))
    }

    /// One more tag.
    pub fn tag(self, tag: &str) -> Self {
        self.with(|instance| instance.tags.push(tag.to_owned()))
    }

    /// One more thing to say of itself.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|instance| drop(instance.metadata.insert(name.to_owned(), value.to_owned())))
    }

    /// What it speaks. Default: not said.
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.with(|instance| instance.protocol = Some(protocol))
    }

    /// Whether it wants TLS. Default: not said.
    pub fn tls(self, tls: bool) -> Self {
        self.with(|instance| instance.tls = Some(tls))
    }

    /// In which format it is written. Default: that of etcd's Go client.
    pub fn format(mut self, format: FormatName) -> Self {
        self.format = format;
        self
    }

    /// How long its lease lives without being renewed, in whole seconds from 2. Default: as the settings say.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Instance)) -> Self {
        if let Ok(instance) = &mut self.instance {
            change(instance);
        }
        self
    }

    /// The key and the value that would be written.
    ///
    /// # Errors
    ///
    /// As [`Registry::entry`].
    pub fn entry(&self) -> Result<Entry, Error> {
        match &self.instance {
            Ok(instance) => self.registry.entry(instance, self.format),
            Err(error) => Err(Error::invalid("the address", error.to_string())),
        }
    }

    async fn register(self) -> Result<Registration, Error> {
        let entry = self.entry()?;
        let registration = self.registry.register_all([entry], self.ttl).await?;
        let instance = self.instance.ok().map(|instance| (self.registry, instance, self.format));
        Ok(Registration { instance, ..registration })
    }
}

impl IntoFuture for Registering {
    type Output = Result<Registration, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Writes the instance, whatever stands under its key, and keeps it there. Fails as [`Registry::register_all`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.register())
    }
}

/// Keeps what was registered in the registry: its lease is renewed, and after any outage it is written again, for ever.
/// Dropping it takes it back in the background.
#[derive(Debug)]
pub struct Registration {
    keys: Vec<String>,
    instance: Option<(Registry, Instance, FormatName)>,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

impl Registration {
    /// Its keys, in order.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The instance, if it is one.
    pub fn instance(&self) -> Option<&Instance> {
        self.instance.as_ref().map(|(_, instance, _)| instance)
    }

    /// How it stands, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Changes the instance in place: its weight, metadata, and all else but service and id. The key and its lease stay,
    /// so nobody sees it leave.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if this is no instance's registration, or the change cannot be written: nothing changes then.
    /// [`Error::Etcd`] if etcd cannot be reached now: then the change is written as soon as it can be. Cancelled, the
    /// change is made all the same.
    pub async fn update(&mut self, change: impl FnOnce(&mut Instance)) -> Result<(), Error> {
        let Some((registry, instance, format)) = &mut self.instance else {
            return Err(Error::invalid("the change", "what is registered here is no instance; use update_value"));
        };
        let mut changed = instance.clone();
        change(&mut changed);
        let Entry { key, value } = registry.entry(&changed, *format)?;
        if key != self.keys[0] {
            return Err(Error::invalid("the change", "service and id are the key's; register the other one anew"));
        }
        *instance = changed;
        self.write(key, value).await
    }

    /// Writes another value under one of the keys.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if that key is not of this registration; [`Error::Etcd`] as [`update`](Registration::update).
    pub async fn update_value(&mut self, key: &str, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        if !self.keys.iter().any(|known| known == key) {
            return Err(Error::invalid("the key", format!("`{key}` is not of this registration")));
        }
        self.write(key.to_owned(), value.into()).await
    }

    async fn write(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.tell(|done| Command::Write(BTreeMap::from([(key.into_bytes(), value)]), done)).await
    }

    /// Takes back what is ours, and waits until that is done. A key that somebody else has overwritten stays.
    ///
    /// # Errors
    ///
    /// [`Error::Etcd`] if etcd could not be told: then it ends with its lease. Cancelled, it goes on in the background.
    pub async fn deregister(self) -> Result<(), Error> {
        match self.tell(Command::End).await {
            // Whoever closed the manager has done it.
            Err(Error::Ended(_)) => Ok(()),
            result => result,
        }
    }

    /// Keeps it up no longer, and leaves it to its lease, as if the process had crashed.
    pub async fn abandon(self) {
        // Where nobody takes this any longer, it is over already.
        let _ = self.commands.send(Command::Abandon).await;
    }

    async fn tell(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), crate::etcd::Error>>) -> Command,
    ) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| Error::Ended(REGISTRATION))?;
        Ok(answer.await.map_err(|_| Error::Ended(REGISTRATION))??)
    }
}
