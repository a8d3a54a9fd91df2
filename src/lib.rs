//! Waypost carries gRPC and HTTP calls to services that are registered in etcd.
//!
//! A client names a service; the proxy knows from etcd which instances of it are there, picks one, and carries the
//! call. This crate is the library behind the `waypost` command.
//!
//! Modules import downwards only, in the order of this list (a test holds it):
//!
//! * [`cli`]: the command line;
//! * [`manager`]: the entry for programs that use this crate as a library;
//! * [`admin`], [`proxy`], [`channel`]: what listens, and what calls;
//! * [`health`], [`balance`]: which endpoints work, and which of them takes a call;
//! * [`upstream`], [`route`], [`discovery`]: connections to endpoints, which service a request is for, and what programs
//!   learn of instances;
//! * [`http2`]: the protocol that most calls come and go by;
//! * [`table`]: what is registered, kept current by watching etcd;
//! * [`registry`]: instances and the formats in which they are registered; registrations, leases, locks, elections;
//! * [`etcd`]: the connection to etcd; [`embedded`]: an etcd for development, in memory.
//!
//! [`config`] and [`telemetry`] stand below all of them.

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "calls")]
pub mod balance;
#[cfg(feature = "channel")]
pub mod channel;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod discovery;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod etcd;
#[cfg(feature = "wasm")]
pub mod health;
#[cfg(feature = "calls")]
pub mod http2;
pub mod manager;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod registry;
#[cfg(feature = "calls")]
pub mod route;
pub mod table;
pub mod telemetry;
#[cfg(feature = "calls")]
pub mod upstream;
#[cfg(feature = "wasm")]
pub mod wasm;

pub use manager::Manager;
pub use registry::Error;
