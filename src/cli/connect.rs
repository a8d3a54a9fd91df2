//! What every command needs that talks to etcd: where it is, and a runtime to do it in.

use std::path::PathBuf;

use clap::Args;

use super::sources::{Given, key_value};
use super::{Failure, Settings, Sources, process};
use crate::etcd::{Client, DEFAULT_CLIENT, Metrics};
use crate::registry::Registry;
use crate::table::Source;
use crate::telemetry::init_log;

/// The arguments that say where etcd is.
#[derive(Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connect {
    /// The configuration file (YAML), as of the proxy; WAYPOST_CONFIG names it too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The etcd endpoints, with commas between (etcd.endpoints, default http://127.0.0.1:2379).
    #[arg(long, value_name = "URL,...")]
    etcd: Option<String>,
    /// Which client of the section etcd: default, or a name below etcd.clients.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_CLIENT)]
    client: String,
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
    /// Set any key of the file, such as registry.ttl=30s; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

/// What a command works with.
pub(super) struct Open {
    pub(super) settings: Settings,
    pub(super) client: Client,
    pub(super) registry: Registry,
}

impl Connect {
    /// Reads the settings, and does the command's work in a runtime.
    pub(super) fn run<T>(
        self,
        environment: Vec<(String, String)>,
        work: impl AsyncFnOnce(Open) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (given, name) = (Given::of(self.config, self.etcd, self.log, self.set), self.client);
        let (settings, _) = Sources::new(given, environment).load()?;
        let Some(config) = settings.etcd.get(&name).cloned() else {
            let known: Vec<_> = settings.etcd.keys().map(String::as_str).collect();
            return Err(Failure::Usage(format!("--client {name}: there are only {}", known.join(", "))));
        };
        init_log(&settings.log);
        process::run(async {
            let client = Client::new(&name, config, Metrics::default());
            let registry = Registry::new(client.clone(), settings.registry.clone());
            work(Open { settings, client, registry }).await
        })?
    }
}

impl Open {
    /// The prefixes of this client below which services are registered.
    pub(super) fn sources(&self) -> Result<Vec<Source>, Failure> {
        let prefixes = self.settings.prefixes.iter().filter(|prefix| *prefix.client == **self.client.name());
        let sources: Vec<_> =
            prefixes.map(|prefix| Source { prefix: prefix.clone(), client: self.client.clone() }).collect();
        match sources.is_empty() {
            false => Ok(sources),
            true => Err(Failure::Usage(format!("no prefix of `prefixes` is of the client {}", self.client.name()))),
        }
    }
}

/// Why a command ends as it does.
pub(super) fn exit(code: u8, message: impl Into<String>) -> Failure {
    Failure::Exit { code, message: message.into() }
}

/// A lease's id as etcd's tools write it.
pub(super) fn lease(text: &str) -> Result<i64, String> {
    match i64::from_str_radix(text, 16) {
        Ok(id) if id > 0 => Ok(id),
        _ => Err("write the lease's id as etcd does, as a hexadecimal number".to_owned()),
    }
}

/// A pair, as of metadata.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}
