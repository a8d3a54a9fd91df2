//! What is registered, service by service, at one revision of etcd. One writer, many readers, whole snapshots.
//!
//! Per prefix a watcher lists, then watches, and tells the writer of changes. The writer keeps the instances of all
//! prefixes, decides which disappearances to doubt, and puts the endpoints of each service that changed into its
//! [`Slot`]. Workers read slots, and nothing else. While etcd is away, what was last known stays.
//!
//! ```text
//! etcd ──> watcher per prefix ──Change──> writer ──Endpoints──> slot per service ──> workers
//! ```

mod change;
mod config;
mod endpoint;
mod follow;
mod keys;
mod metrics;
mod services;
mod slot;
mod status;
mod tasks;
mod watcher;
mod writer;

pub use config::{Config, Prefix};
pub use endpoint::{Endpoint, EndpointId, EndpointState, Endpoints};
pub use slot::{Slot, Table};
pub use status::{PrefixStatus, Relist, Unreadable};
pub use tasks::{Source, Tasks, start};
