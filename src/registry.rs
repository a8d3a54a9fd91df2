//! What stands in the registry: instances, and the formats in which they are written; and how programs put something
//! there: registrations that heal, leases, locks and elections.
//!
//! Everything here hangs on a lease, and is a guard: dropping it ends it in the background, an `async` method ends it and
//! tells whether that went well.

mod auth;
mod boottime;
mod centre;
mod clip;
mod closing;
mod config;
mod contender;
mod election;
mod error;
mod follow;
pub mod format;
mod holder;
mod instance;
mod keeper;
mod lease;
mod lock;
pub mod queue;
mod registration;
mod session;

use std::sync::Arc;

pub use auth::{Role, Step};
pub use centre::{Centre, Values};
pub(crate) use clip::clip;
pub(crate) use closing::{Closer, Closing};
pub use config::{Config, Retry};
pub use election::{Elections, Leader, Leadership};
pub use error::{Error, Loss};
pub(crate) use follow::{Heard, follow};
#[cfg(feature = "admin")]
pub(crate) use holder::host;
pub use instance::{Address, AddressError, Instance, Protocol};
pub use keeper::Status;
pub use lease::{KeptLease, Leases};
pub use lock::{Lock, LockStatus, Locks, Place};
pub use registration::{Entry, Registering, Registration};

use crate::etcd::Client;

/// The way into one cluster's registry, for writing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    config: Arc<Config>,
    closer: Option<Arc<Closer>>,
}

impl Registry {
    /// The registry of that cluster. What it gives out ends with its guards.
    pub fn new(client: Client, config: Config) -> Self {
        Registry { client, config: Arc::new(config), closer: None }
    }

    /// The same, and all that it gives out ends when that closer says so.
    pub(crate) fn closed_by(mut self, closer: &Arc<Closer>) -> Self {
        self.closer = Some(closer.clone());
        self
    }

    /// The client that it writes through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Leases.
    pub fn leases(&self) -> Leases {
        Leases(self.clone())
    }

    /// Locks.
    pub fn locks(&self) -> Locks {
        Locks::new(self.clone())
    }

    /// Elections.
    pub fn elections(&self) -> Elections {
        Elections::new(self.clone())
    }

    /// Plain keys and values.
    pub fn centre(&self) -> Centre {
        Centre::new(self.clone())
    }

    fn closing(&self) -> Closing {
        self.closer.as_ref().map_or_else(Closing::never, |closer| closer.closing())
    }
}
