//! Settings that a program makes itself. They go through the same reader as those of files, as its strongest layer, so
//! that ranges and errors are the same; an error names the method.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::find::find;
use super::{Manager, Preset, Settings};
use crate::config::{self, Argument, Errors, File, Layers, show_duration};
use crate::registry::Error;

/// Settings of a program's own. Whatever is wrong with them is told by [`connect`](Builder::connect), all at once.
#[derive(Clone, Default)]
#[must_use = "nothing happens until `connect` is called"]
pub struct Builder {
    arguments: Vec<Argument>,
    preset: Option<Preset>,
    file: Option<PathBuf>,
    folder: Option<PathBuf>,
    environment: Option<Vec<(String, String)>>,
    metadata: Vec<(String, String)>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may hold a password.
        f.debug_struct("Builder").field("preset", &self.preset).field("file", &self.file).finish_non_exhaustive()
    }
}

impl Builder {
    /// Other defaults than the usual ones.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = Some(preset);
        self
    }

    /// This file, and no other. Default: the one that `WAYPOST_CONFIG` names, or the first that is found.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some(path.as_ref().to_owned());
        self
    }

    /// The folder in which files are looked for. Default: the working directory.
    pub fn folder(mut self, path: impl AsRef<Path>) -> Self {
        self.folder = Some(path.as_ref().to_owned());
        self
    }

    /// These variables instead of the process's own.
    pub fn environment<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.environment = Some(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect());
        self
    }

    /// Any key of the file, by its path, such as `etcd.keep_alive`; or `etcd.clients.other.endpoints` for a further client.
    pub fn set(self, key: &str, value: impl Into<String>) -> Self {
        self.with("set()", key, value.into())
    }

    /// The members of the cluster, as `http://host:2379`.
    pub fn endpoints<E: AsRef<str>>(self, endpoints: impl IntoIterator<Item = E>) -> Self {
        let endpoints: Vec<_> = endpoints.into_iter().map(|endpoint| endpoint.as_ref().to_owned()).collect();
        self.with("endpoints()", "etcd.endpoints", endpoints.join(","))
    }

    /// How long a connection may take to be made; from 10 ms to 1 min.
    pub fn dial_timeout(self, limit: Duration) -> Self {
        self.with("dial_timeout()", "etcd.dial_timeout", show_duration(limit))
    }

    /// How long a call may take; from 10 ms to 5 min.
    pub fn call_timeout(self, limit: Duration) -> Self {
        self.with("call_timeout()", "etcd.call_timeout", show_duration(limit))
    }

    /// Who to log in as.
    pub fn auth(self, user: &str, password: &str) -> Self {
        self.with("auth()", "etcd.user", user.to_owned()).with("auth()", "etcd.password", password.to_owned())
    }

    /// A PEM file with what the servers' certificates are signed by.
    pub fn tls(self, ca: &str) -> Self {
        self.with("tls()", "etcd.tls.ca", ca.to_owned())
    }

    /// PEM files with our own certificate and its key.
    pub fn tls_identity(self, cert: &str, key: &str) -> Self {
        self.with("tls_identity()", "etcd.tls.cert", cert.to_owned()).with(
            "tls_identity()",
            "etcd.tls.key",
            key.to_owned(),
        )
    }

    /// How long leases live without being renewed; from 2 s to 1 d.
    pub fn default_ttl(self, ttl: Duration) -> Self {
        self.with("default_ttl()", "registry.ttl", show_duration(ttl))
    }

    /// Below which prefix services are registered, and looked for unless `prefixes` says otherwise.
    pub fn service_prefix(self, prefix: &str) -> Self {
        self.with("service_prefix()", "registry.prefix", prefix.to_owned())
    }

    /// Below which prefix locks are.
    pub fn lock_prefix(self, prefix: &str) -> Self {
        self.with("lock_prefix()", "registry.lock_prefix", prefix.to_owned())
    }

    /// One more thing that every registration says.
    pub fn default_metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How often it is asked whether a cluster is well, and how long the answer may take.
    pub fn health_check(self, interval: Duration, timeout: Duration) -> Self {
        self.with("health_check()", "registry.health_interval", show_duration(interval)).with(
            "health_check()",
            "registry.health_timeout",
            show_duration(timeout),
        )
    }

    /// How often what failed is tried again, the first wait and the longest, and by what each is longer than the one
    /// before.
    pub fn retry(self, max: u32, initial: Duration, longest: Duration, multiplier: f64) -> Self {
        self.with("retry()", "registry.retry.max", max.to_string())
            .with("retry()", "registry.retry.initial", show_duration(initial))
            .with("retry()", "registry.retry.longest", show_duration(longest))
            .with("retry()", "registry.retry.multiplier", multiplier.to_string())
    }

    /// How many calls may be under way at a time. Calls share one connection, so that none is ever idle beside it.
    pub fn max_active(self, calls: u32) -> Self {
        self.with("max_active()", "etcd.max_active", calls.to_string())
    }

    /// The age at which a connection is replaced by a new one.
    pub fn connection_lifetime(self, lifetime: Duration) -> Self {
        self.with("connection_lifetime()", "etcd.lifetime", show_duration(lifetime))
    }

    /// The largest messages taken from etcd and sent to it, in bytes.
    pub fn message_sizes(self, decoding: u64, encoding: u64) -> Self {
        self.with("message_sizes()", "etcd.max_decoding", decoding.to_string()).with(
            "message_sizes()",
            "etcd.max_encoding",
            encoding.to_string(),
        )
    }

    /// How often etcd is asked for members that are not configured.
    pub fn auto_sync(self, every: Duration) -> Self {
        self.with("auto_sync()", "etcd.auto_sync", show_duration(every))
    }

    /// How much the program should log: `error`, `warn`, `info`, `debug` or `trace`.
    pub fn log_level(self, level: &str) -> Self {
        self.with("log_level()", "log.level", level.to_owned())
    }

    /// Puts all layers together.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with everything that is wrong.
    pub fn settings(self) -> Result<Settings, Error> {
        let environment = self.environment.unwrap_or_else(|| {
            let variables = std::env::vars_os();
            variables.map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into())).collect()
        });
        let named = environment.iter().find(|(name, value)| name == "WAYPOST_CONFIG" && !value.is_empty());
        let named = named.map(|(_, path)| PathBuf::from(path));
        let path = self.file.or(named).or_else(|| find(self.folder.as_deref().unwrap_or(Path::new("."))));
        let file = path.map(|path| File::decode(&path.display().to_string(), std::fs::read(&path)));
        let file = file.transpose().map_err(Errors::from)?;
        let arguments = self.arguments;
        let preset = self.preset.map(Preset::arguments).unwrap_or_default();
        let layers = Layers { arguments, environment, file, preset };
        let (mut settings, _) = config::load(&layers, Settings::read)?;
        settings.registry.metadata.extend(self.metadata);
        Ok(settings)
    }

    /// The manager with these settings. Nothing is dialled before it is needed. To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`settings`](Builder::settings).
    pub fn connect(self) -> Result<Manager, Error> {
        Ok(Manager::with_config(self.settings()?))
    }

    fn with(mut self, method: &str, key: &str, value: String) -> Self {
        self.arguments.push(Argument { flag: method.to_owned(), key: key.to_owned(), value });
        self
    }
}
