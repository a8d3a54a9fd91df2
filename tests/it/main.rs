//! The whole proxy, as a process, between real clients, real etcd servers and backends in this process.
//!
//! One binary, because linking is dear; a module per subject, and [`harness`] for what they share.
#![allow(unreachable_pub, reason = "the harness is one module of a test binary: pub reads better than pub(crate)")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on ends where it stands")]
#![allow(clippy::print_stderr, reason = "what a failed test has to say")]

mod answers;
mod balancing;
mod calls;
mod channel;
mod clients;
mod commands;
mod contract;
mod contract_local;
mod curl;
mod dashboard;
mod demo;
mod discovery;
mod embedded;
mod endpoint_tls;
mod etcd_table;
mod examples;
mod fencing;
#[allow(dead_code, unused_imports, reason = "each of the two binaries uses a part of it")]
mod harness;
mod harness_check;
mod health;
mod http;
mod lifecycle;
mod limits;
mod locking;
mod managing;
mod modules;
mod outage;
mod readme;
mod registering;
mod roles;
mod routing;
mod scenarios;
mod tidy;
