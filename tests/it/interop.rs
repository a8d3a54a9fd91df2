//! What needs Go: h2spec, grpc-go's interop client and server, our grpc-go client, current etcd servers.
//!
//! `make interop` builds what this needs and runs it; a plain `cargo test` leaves it out.
#![allow(unreachable_pub, reason = "the harness is one module of a test binary: pub reads better than pub(crate)")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on ends where it stands")]
#![allow(clippy::print_stderr, reason = "what a failed test has to say")]

#[path = "interop/black_hole.rs"]
mod black_hole;
#[path = "interop/conformance.rs"]
mod conformance;
mod contract;
#[path = "interop/contract.rs"]
mod contract_current;
#[path = "interop/etcd.rs"]
mod etcd;
#[path = "interop/go.rs"]
mod go;
#[path = "interop/guests.rs"]
mod guests;
#[allow(dead_code, unused_imports, reason = "each of the two binaries uses a part of it")]
mod harness;
#[path = "interop/locks.rs"]
mod locks;
mod scenarios;
