//! An etcd for development: the v3 API of a single member, in memory, in this process. Nothing is kept on disk; in
//! production the registry is a real etcd cluster.
//!
//! It serves KV, Watch, Lease, Cluster and Maintenance with the revisions, events, errors and messages of etcd; one
//! contract suite runs against it and against real etcd 3.4, 3.5 and 3.6. So etcdctl (also its `lock` and `elect`), the
//! clients of Go, Python, Node and Rust, and Waypost itself work with it. [`Faults`] make it misbehave on command.
//!
//! ```
//! use waypost::embedded::{Code, Config, Server};
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let server = Server::start(listener, Config::default())?;
//! println!("etcdctl --endpoints {} get --prefix /", server.address());
//! // The next put fails; the one after that does not.
//! server.faults().refuse("KV/Put", Code::Unavailable, 1);
//! # Ok(())
//! # }
//! ```
//!
//! What is different from an etcd:
//!
//! * It is alone: members cannot be added, removed or promoted, and leadership cannot be moved. There are no snapshots.
//! * There are no users: but for AuthStatus, every call to Auth is answered with "authentication is not enabled", also
//!   those that would prepare it.
//! * The services Lock and Election are not there, nor is the JSON gateway: the client crate has no server stubs for
//!   the former, and clients in use need neither.
//! * It compacts by itself: the last 100,000 revisions are kept at most, fewer if keys and values take more than 512 MiB;
//!   from 1 GiB on, puts are refused.
//! * It takes 1,024 connections at a time, and ends those that ask for nothing within 30 s.
//! * Messages of more than 2 MiB and transactions that are nested deeper than about 30 are refused by the gRPC library, in
//!   its own words.
//! * Leases end within a quarter of a second of their time, not half. Those that it revives after a rewind live a minute.
//! * Watches are always told their progress when they ask, also those that begin in the future.
//! * Hashes are comparable with each other, not with those of an etcd.

mod error;
mod faults;
mod server;
mod service;
mod shared;
mod store;
mod watchers;

pub use faults::{Faults, Impossible};
pub use server::{Config, Server};
pub use tonic::Code;

/// The name of the only member.
const NAME: &str = "embedded";
/// Clients read the first two numbers to know what they may ask for.
const VERSION: &str = "3.5.0";
