//! Where a command's configuration comes from, kept so that it can be read again.

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::config::{self, Argument, Effective, Errors, File, Layers};

use super::Settings;

/// The arguments that say what the configuration is.
#[derive(Clone, Default, Args)]
pub(super) struct Given {
    /// The configuration file (YAML). Without one, the defaults hold.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where calls come in (proxy.listen, default 127.0.0.1:8400).
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where metrics and readiness are served (admin.listen, default 127.0.0.1:8401).
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// The etcd endpoints, with commas between (etcd.endpoints, default http://127.0.0.1:2379).
    #[arg(long, value_name = "URL,...")]
    etcd: Option<String>,
    /// A prefix of keys below which services are registered (prefixes, default /services/); may be repeated.
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// How much is logged: error, warn, info, debug or trace (log.level, default info).
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// The number of worker threads (proxy.workers, default the number of cores, at most 4).
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Set any key of the file, such as proxy.listen=127.0.0.1:9000; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value, such as proxy.workers=4")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Given {
    /// The part that concerns commands which only talk to etcd.
    pub(super) fn of(config: Option<PathBuf>, etcd: Option<String>, log: String, set: Vec<(String, String)>) -> Self {
        Given { config, etcd, log: Some(log), set, ..Given::default() }
    }

    fn arguments(self) -> Vec<Argument> {
        let argument = |flag: &str, key: &str, value| Argument { flag: flag.into(), key: key.into(), value };
        // JSON is YAML, and quotes what needs it.
        let prefixes = self.prefix.iter().map(|prefix| serde_json::json!({ "prefix": prefix })).collect();
        let prefixes = (!self.prefix.is_empty()).then(|| serde_json::Value::Array(prefixes).to_string());
        let flags = [
            ("--listen", "proxy.listen", self.listen),
            ("--admin", "admin.listen", self.admin),
            ("--etcd", "etcd.endpoints", self.etcd),
            ("--prefix", "prefixes", prefixes),
            ("--log", "log.level", self.log),
            ("--workers", "proxy.workers", self.workers),
        ];
        let flags = flags.into_iter().filter_map(|(flag, key, value)| Some(argument(flag, key, value?)));
        flags.chain(self.set.into_iter().map(|(key, value)| argument("--set", &key, value))).collect()
    }
}

/// Where a configuration comes from: arguments and environment as the process was started, and a file that may change.
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    arguments: Vec<Argument>,
    environment: Vec<(String, String)>,
}

impl Sources {
    /// A file alone.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Sources { file: Some(path.into()), ..Sources::default() }
    }

    /// What the command line gave; `WAYPOST_CONFIG` names the file if `--config` does not.
    pub(super) fn new(given: Given, environment: Vec<(String, String)>) -> Self {
        let named = || environment.iter().find(|(name, value)| name == "WAYPOST_CONFIG" && !value.is_empty());
        let file = given.config.clone().or_else(|| named().map(|(_, path)| path.into()));
        Sources { file, arguments: given.arguments(), environment }
    }

    /// These values for these keys, and a file, if there is one.
    pub(super) fn with(file: Option<PathBuf>, values: &[(&str, String)]) -> Self {
        let argument =
            |(key, value): &(&str, String)| Argument { flag: "demo".into(), key: (*key).into(), value: value.clone() };
        Sources { file, arguments: values.iter().map(argument).collect(), ..Sources::default() }
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Reads and validates everything.
    ///
    /// # Errors
    ///
    /// All that is wrong; that the file cannot be read, too.
    pub fn load(&self) -> Result<(Settings, Effective), Errors> {
        self.load_from(self.file.as_ref().map(std::fs::read))
    }

    /// Like [`load`](Sources::load), from what reading the file gave.
    pub(super) fn load_from(&self, content: Option<io::Result<Vec<u8>>>) -> Result<(Settings, Effective), Errors> {
        let file = match (&self.file, content) {
            (Some(path), Some(content)) => Some(File::decode(&path.display().to_string(), content)?),
            _ => None,
        };
        let layers = Layers {
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            file,
            ..Layers::default()
        };
        config::load(&layers, Settings::read)
    }
}
