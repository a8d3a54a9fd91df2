//! What the process says of itself: metrics for Prometheus and logs. It stands below everything else, knows none of
//! it, and holds the names of all metrics in one place, [`names`].

mod collect;
mod histogram;
mod log;
pub mod names;
mod rarely;
mod registry;
mod status;

pub use collect::Families;
pub use histogram::{Distribution, Histogram, add, bounds};
pub use log::{ACCESS, LogConfig, LogFormat};
#[cfg(feature = "cli")]
pub use log::{LogHandle, init_log};
pub use rarely::Rarely;
pub use registry::Registry;
pub use status::{GRPC_STATUSES, StatusCounters};
