//! Reading the configuration again while the proxy runs: when the file changed, and on SIGHUP. Valid settings are
//! handed on whole; wrong ones are reported and change nothing.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::settings::is_fixed;
use super::{Settings, Sources};
use crate::config::{Effective, Errors};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What came of reading the configuration again.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is valid and was handed on.
    Applied {
        /// The keys that changed and hold from now on.
        changed: Vec<String>,
        /// The keys that differ from what the process was started with, and wait for a restart.
        waiting: Vec<String>,
    },
    /// It is wrong; what held before holds on.
    Rejected(Errors),
}

/// Watches the configuration of a running proxy.
pub struct Reloader {
    sources: Sources,
    settings: watch::Sender<Arc<Settings>>,
    /// What the process was started with.
    started: Effective,
    /// What was handed on last.
    current: watch::Sender<Effective>,
    /// The content of the file that was acted upon last, as a hash.
    handled: u64,
    /// The content at the last look. A change is acted upon when it is found twice, so that no half-written file is.
    seen: u64,
    /// While the last reading was rejected: the files of modules at that time, and at the last look. One that comes or
    /// changes may be what was wrong.
    rejected: Option<(u64, u64)>,
}

type Content = Option<io::Result<Vec<u8>>>;

impl Reloader {
    /// Reads the configuration for the first time.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn start(sources: Sources) -> Result<(Self, watch::Receiver<Arc<Settings>>), Errors> {
        let content = sources.path().map(std::fs::read);
        let hash = hash(content.as_ref());
        let (settings, effective) = sources.load_from(content)?;
        let (settings, receiver) = watch::channel(Arc::new(settings));
        let current = watch::Sender::new(effective.clone());
        let (started, handled, seen, rejected) = (effective, hash, hash, None);
        Ok((Reloader { sources, settings, started, current, handled, seen, rejected }, receiver))
    }

    /// What was read in the end, and from where.
    pub fn effective(&self) -> watch::Receiver<Effective> {
        self.current.subscribe()
    }

    /// Looks at the file each second, and reads everything again when the file changed or `hangup` completes; or, if it was
    /// rejected the last time, when a file of a module changed. What can be read is handed on if `try_out` finds nothing wrong
    /// with it. `report` hears what came of it, after it was logged. Runs until it is dropped, which may happen at any time.
    pub async fn run(
        mut self,
        mut hangup: impl AsyncFnMut(),
        try_out: impl AsyncFn(&Settings, &Effective) -> Result<(), Errors>,
        mut report: impl FnMut(&Outcome),
    ) {
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                () = hangup() => true,
                _ = ticks.tick() => false,
            };
            let content = self.content().await;
            let modules = self.modules().await;
            let changed = self.has_changed(&content);
            if !self.may_be_mended(modules) && !changed && !told {
                continue;
            }
            let outcome = match self.read(content) {
                Ok((settings, effective)) => match try_out(&settings, &effective).await {
                    Ok(()) => self.apply(settings, effective),
                    Err(errors) => Outcome::Rejected(errors),
                },
                Err(errors) => Outcome::Rejected(errors),
            };
            self.rejected = matches!(outcome, Outcome::Rejected(_)).then_some((modules, modules));
            log(&outcome);
            report(&outcome);
        }
    }

    /// The file as it is now. It is found by its name each time, because editors replace files by renaming and
    /// Kubernetes by switching a link.
    async fn content(&self) -> Content {
        match self.sources.path() {
            Some(path) => Some(tokio::fs::read(path).await),
            None => None,
        }
    }

    /// The files of modules as they are now.
    async fn modules(&self) -> u64 {
        let settings = self.settings.borrow().clone();
        tokio::task::spawn_blocking(move || settings.wasm.files()).await.unwrap_or_default()
    }

    /// Whether the last reading was rejected, and the files of modules changed since and have come to rest.
    fn may_be_mended(&mut self, now: u64) -> bool {
        let Some((then, seen)) = &mut self.rejected else { return false };
        std::mem::replace(seen, now) == now && now != *then
    }

    /// Whether the file changed and has come to rest.
    fn has_changed(&mut self, content: &Content) -> bool {
        let before = std::mem::replace(&mut self.seen, hash(content.as_ref()));
        self.seen == before && self.seen != self.handled
    }

    /// Reads everything again.
    fn read(&mut self, content: Content) -> Result<(Settings, Effective), Errors> {
        self.seen = hash(content.as_ref());
        self.handled = self.seen;
        self.sources.load_from(content)
    }

    /// Hands on what was read.
    fn apply(&self, settings: Settings, effective: Effective) -> Outcome {
        let changed = self.current.borrow().changed(&effective).into_iter().filter(|key| !is_fixed(key)).collect();
        let waiting = self.started.changed(&effective).into_iter().filter(|key| is_fixed(key)).collect();
        self.current.send_replace(effective);
        self.settings.send_if_modified(|current| {
            let differs = **current != settings;
            if differs {
                *current = Arc::new(settings);
            }
            differs
        });
        Outcome::Applied { changed, waiting }
    }
}

/// A file that cannot be read has a hash too: that it went away is a change.
fn hash(content: Option<&io::Result<Vec<u8>>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.map(|read| read.as_ref().map_err(io::Error::kind)).hash(&mut hasher);
    hasher.finish()
}

fn log(outcome: &Outcome) {
    match outcome {
        Outcome::Applied { changed, waiting } => {
            if changed.is_empty() {
                tracing::info!("configuration read again: nothing to apply");
            } else {
                tracing::info!(changed = changed.join(", "), "configuration read again and applied");
            }
            if !waiting.is_empty() {
                tracing::warn!(keys = waiting.join(", "), "these changes take effect at the next start");
            }
        }
        Outcome::Rejected(errors) => {
            for error in errors.iter() {
                tracing::error!("{error}");
            }
            tracing::error!(errors = errors.len(), "the changed configuration is wrong; the old one stays in effect");
        }
    }
}

#[cfg(test)]
mod tests;
