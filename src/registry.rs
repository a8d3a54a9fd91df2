//! What stands in the registry: instances, and the formats in which they are written.

mod clip;
pub mod format;
mod instance;
pub mod queue;

pub(crate) use clip::clip;
pub use instance::{Address, AddressError, Instance, Protocol};
