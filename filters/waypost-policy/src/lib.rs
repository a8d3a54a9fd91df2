#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod call;
pub mod config;
mod endpoint;
#[doc(hidden)]
pub mod export;
mod host;
mod loads;
mod macros;
mod policy;
mod read;
pub mod share;
mod snapshot;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod weighted;

pub use call::{Call, Outcome, Status};
pub use endpoint::Endpoint;
pub use loads::Loads;
pub use log;
pub use policy::{Filter, Health, Pick, Policy, Results, Verdict, Weights};
pub use proxy_wasm;
pub use snapshot::{Load, Probes, Snapshot};
pub use weighted::{Weighted, another};
