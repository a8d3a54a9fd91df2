//! What etcd's v3 API answers, written as cases that every server must pass: real ones of each version, and any other
//! that claims to speak it.
//!
//! The assertions are the same for every target; what an old version has not yet is a [`Lack`] of that target, and is
//! not asked of it. A file in `contract/` is an area, and an area is run on a fresh server, case after case, because
//! cases count revisions. Every case has its own keys and its own connection.
//!
//! Where versions differ and neither is better, nothing is asserted:
//!
//! * A watch from a revision below 0 begins with the history on 3.4.23 and 3.5.1; 3.5.35 and 3.6.16 refuse it.
//! * A request for progress on a stream that has no watch, or one that lies behind or begins in the future, is answered
//!   by 3.4.23 and 3.5.1; 3.5.35 and 3.6.16 ignore it, and the client has to ask again.
//! * A range that is sorted by an unknown target is refused by 3.6.16 with "etcdserver: invalid sort option"; it ends
//!   the process of 3.4.23, 3.5.1 and 3.5.35.
//! * The hash of a compacted revision tells of that compaction or of the one before, on 3.5.35 and 3.6.16.

pub mod calls;
pub mod compaction;
pub mod compare;
pub mod contention;
pub mod events;
pub mod lease;
pub mod maintenance;
pub mod ops;
pub mod range;
pub mod streams;
pub mod txn;
pub mod txn_refused;
pub mod watch;
pub mod write;

use std::{any::Any, future::Future, net::SocketAddr, pin::Pin};

use etcd_client::proto::{PbKeyValue, PbResponseHeader};
use tokio::time::timeout;

use crate::harness::{Etcd, PATIENCE, Version};
pub use calls::{Case, Refused, refused};

/// Whom the suite asks.
#[derive(Clone, Debug)]
pub struct Target {
    /// What failures call it.
    pub name: String,
    /// Where it listens, without TLS.
    pub address: SocketAddr,
    /// What it has not.
    pub lacks: &'static [Lack],
}

/// What not every version has, or has right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lack {
    /// The call `AuthStatus`: since 3.5.
    AuthStatus,
    /// A header in the answer about alarms: since 3.5.
    AlarmHeader,
    /// The hash of the compacted revision itself: not in 3.4.23 and 3.5.1.
    HashOfCompacted,
    /// A watch from the compacted revision tells of what was deleted at it: not in 3.4.23 and 3.5.1.
    CompactedDeletes,
    /// Progress that is never ahead of what the stream has told: not in 3.4.23 and 3.5.1.
    HonestProgress,
}

impl Target {
    /// A target that lacks nothing.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self { name: name.to_owned(), address, lacks: &[] }
    }

    /// A real server.
    fn real(version: Version, etcd: &Etcd) -> Self {
        use Lack::{AlarmHeader, AuthStatus, CompactedDeletes, HashOfCompacted, HonestProgress};
        let lacks: &[Lack] = match version {
            Version::Debian => &[AuthStatus, AlarmHeader, HashOfCompacted, CompactedDeletes, HonestProgress],
            Version::Wheel => &[HashOfCompacted, CompactedDeletes, HonestProgress],
            Version::Current35 | Version::Current36 => &[],
        };
        Self { lacks, ..Self::new(&format!("etcd {version:?}"), etcd.address(0)) }
    }
}

/// What did not hold, each with its target and case.
pub type Failures = Vec<String>;

/// A case, as [`run`] takes it.
pub type Body = fn(Case) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// All cases of an area, by name: `cases![limits, sorts]`.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        [$((stringify!($case), (|case| Box::pin($case(case))) as $crate::contract::Body)),*]
    };
}
pub(crate) use cases;

/// A test for each area, which gives it to `$runner`.
macro_rules! tests {
    ($runner:ident) => {
        $crate::contract::tests! {
            $runner: range write compare txn txn_refused lease watch events compaction maintenance contention
        }
    };
    ($runner:ident: $($area:ident)*) => {$(
        #[tokio::test]
        async fn $area() {
            $runner($crate::contract::$area::holds).await;
        }
    )*};
}
pub(crate) use tests;

/// Runs `cases` one after the other, all of them whatever fails.
pub async fn run<const N: usize>(target: &Target, area: &str, cases: [(&'static str, Body); N]) -> Failures {
    let mut failures = Failures::new();
    for (name, body) in cases {
        let case = Case::connect(target, area, name).await;
        let mut task = tokio::spawn(body(case));
        let failure = match timeout(2 * PATIENCE, &mut task).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => said(error.into_panic()),
            Err(_) => {
                task.abort();
                format!("it did not end within {:?}", 2 * PATIENCE)
            }
        };
        failures.push(format!("{}: {area}::{name}: {failure}", target.name));
    }
    failures
}

/// What a panic said.
fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |text| (*text).to_owned()),
    }
}

/// Runs an area on a fresh server of each version, on both at the same time.
pub async fn on_real(versions: [Version; 2], area: impl AsyncFn(&Target) -> Failures) -> Failures {
    let on = async |version| {
        let etcd = Etcd::start(version).await;
        area(&Target::real(version, &etcd)).await
    };
    let [first, second] = versions;
    let (first, second) = tokio::join!(on(first), on(second));
    [first, second].concat()
}

/// Says all that failed at once.
pub fn none(failures: &[String]) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The version, create revision and mod revision of a key.
pub fn ages(kv: &PbKeyValue) -> (i64, i64, i64) {
    (kv.version, kv.create_revision, kv.mod_revision)
}

/// A header's revision.
pub fn revision(header: &Option<PbResponseHeader>) -> i64 {
    header.expect("a header").revision
}
