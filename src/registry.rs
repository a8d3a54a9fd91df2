//! What stands in the registry: instances, and the formats in which they are written.

pub mod format;
mod instance;

pub use instance::{Address, AddressError, Instance, Protocol};
