//! The connection to etcd: named clients, each with one member at a time, and watches with a connection of their own.
//! The only place that knows the client crate. It knows nothing of services.
//!
//! A [`Client`] dials when it is first needed, leaves a member that cannot serve it for the next one, resolves names
//! anew with each connection, and logs in again when its token is refused. It does not wait and try again: when to do
//! that belongs to the caller.

mod auth;
mod client;
mod config;
mod connect;
mod error;
mod guarded;
mod lease;
mod members;
mod metrics;
mod status;
mod sync;
mod txn;
mod types;
mod watch;

pub use auth::{Access, Permission};
pub use client::Client;
pub(crate) use client::prefix_end;
pub use config::{Config, DEFAULT_CLIENT, Tls, read_clients};
pub use error::{Cause, Error};
pub use lease::LeaseStatus;
pub use metrics::{Metrics, Operation};
pub use status::{Member, MemberStatus};
pub use txn::{Action, Condition, Done, MAX_TXN_OPS, Txn};
pub use types::{Event, Header, KeyValue, Listing, Response};
pub use watch::Watch;
