//! Faults ordered over HTTP, by tests in any language: a document in YAML or JSON says which.

use std::time::Duration;

use tonic::Code;

use super::{Faults, Impossible, ends_in};
use crate::config::{self, Errors, File, Layers, Section};
use crate::telemetry::GRPC_STATUSES;

/// The longest delay that can be ordered.
const MOST_DELAY: Duration = Duration::from_mins(60);

/// The calls that can be refused.
const METHODS: [&str; 26] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Auth/AuthStatus",
];

/// Why a document was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::embedded) enum Refused {
    #[error(transparent)]
    Document(#[from] Errors),
    #[error(transparent)]
    Impossible(#[from] Impossible),
}

/// What a document orders.
struct Ordered {
    refuse: Option<(String, Code, u32)>,
    delay: Option<Duration>,
    stall_watches: Option<bool>,
    compact: Option<i64>,
    expire_lease: Option<i64>,
    rewind: Option<i64>,
    lose_all_data: bool,
    cut_watches: bool,
    cut_connections: bool,
}

impl Faults {
    /// Carries out a document, in the order of the fields above.
    pub(in crate::embedded) fn carry_out(&self, document: String) -> Result<(), Refused> {
        let file = Some(File { name: "faults".to_owned(), text: document });
        let (ordered, _) = config::load(&Layers { file, ..Layers::default() }, Ordered::read)?;
        if let Some((method, code, times)) = ordered.refuse {
            self.refuse(&method, code, times);
        }
        if let Some(delay) = ordered.delay {
            self.delay(delay);
        }
        if let Some(stalled) = ordered.stall_watches {
            self.stall_watches(stalled);
        }
        if let Some(revision) = ordered.compact {
            self.compact((revision > 0).then_some(revision))?;
        }
        if let Some(lease) = ordered.expire_lease {
            self.expire_lease(lease)?;
        }
        if let Some(revision) = ordered.rewind {
            self.rewind(revision)?;
        }
        if ordered.lose_all_data {
            self.lose_all_data();
        }
        if ordered.cut_watches {
            self.cut_watches();
        }
        if ordered.cut_connections {
            self.cut_connections();
        }
        Ok(())
    }
}

impl Ordered {
    fn read(section: &mut Section<'_>) -> Self {
        let lease = section.optional("expire_lease");
        let lease = lease.map(|text| {
            i64::from_str_radix(&text, 16)
                .map_err(|_| format!("`{text}` is no lease id; write it in hexadecimal digits, as etcdctl does"))
        });
        if let Some(Err(message)) = &lease {
            section.error("expire_lease", message);
        }
        Ordered {
            refuse: section.section("refuse", |section| {
                let codes: Vec<_> = GRPC_STATUSES
                    .into_iter()
                    .zip(0..)
                    .skip(1)
                    .map(|(name, code)| (name, Code::from_i32(code)))
                    .collect();
                let code = section.choice("status", &codes, Code::Unavailable);
                let times = section.integer("times", 1, 0..=1_000_000);
                let method = section.optional("method");
                if method.as_ref().is_some_and(|method| !METHODS.iter().any(|known| ends_in(known, method))) {
                    section.error(
                        "method",
                        "is no call of the API; write it such as KV/Put, Watch/Watch or Lease/LeaseGrant",
                    );
                }
                method.map(|method| (method, code, times))
            }),
            delay: section.optional_duration("delay", None, Duration::ZERO..=MOST_DELAY),
            stall_watches: section.optional_parsed("stall_watches"),
            compact: section.optional_parsed::<u32>("compact").map(i64::from),
            expire_lease: lease.and_then(Result::ok),
            rewind: section.optional_parsed::<u32>("rewind").map(i64::from),
            lose_all_data: section.boolean("lose_all_data", false),
            cut_watches: section.boolean("cut_watches", false),
            cut_connections: section.boolean("cut_connections", false),
        }
    }
}
