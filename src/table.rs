//! What is registered, service by service, at one revision of etcd. One writer, many readers, whole snapshots.

mod endpoint;
mod slot;

pub use endpoint::{Endpoint, EndpointId, EndpointState, Endpoints};
pub use slot::{Slot, Table};
