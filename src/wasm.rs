//! Modules: filters on the way of requests and responses, and policies that decide. What a module may do and is given
//! stands in `filters/ABI.md`.
//!
//! A module is compiled when it is named or its file changes, and runs in instances that no two threads share. Instances
//! are made on threads that nobody waits for, and then handed to those who call them; calls are short, have a budget, and
//! never wait.

mod abi;
mod bound;
mod cache;
mod catalog;
mod chain;
mod config;
mod engine;
mod exchange;
mod exports;
mod fault;
mod filter;
mod host;
mod meter;
mod module;
mod policy;
mod trial;
mod vm;

pub use bound::{Bound, Live};
pub use catalog::{Catalog, Need, NeedError, Outcome, Prepared, Role, Status};
pub use chain::{Chain, Stop};
pub use config::{Config, Use};
pub use engine::EngineError;
pub use exchange::{Direction, Exchange, Facts, LocalResponse, Shared};
pub use fault::Fault;
pub use filter::{CallOut, Filter};
pub use host::{Callout, Reply};
pub use meter::Calls;
pub use module::{Aside, Failures, Kinds, LoadError, Module};
pub use policy::{EndpointList, Sample, snapshot};
pub use trial::{Trial, try_out};
pub use vm::Vm;

#[cfg(test)]
mod tests;
