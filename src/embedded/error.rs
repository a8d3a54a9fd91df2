//! What the server refuses, in etcd's own words and codes: clients tell errors apart by both.

use tonic::{Code, Status};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: invalid sort option")]
    InvalidSort,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    TtlTooLarge,
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    #[error("etcdserver: authentication is not enabled")]
    AuthNotEnabled,
    #[error("etcdserver: server stopped")]
    Stopped,
    /// Ours: for what needs a cluster, or a disk.
    #[error("the embedded development registry does not do this; use a real etcd")]
    Unsupported,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::EmptyKey
            | Error::KeyNotFound
            | Error::ValueProvided
            | Error::LeaseProvided
            | Error::TooManyOperations
            | Error::DuplicateKey
            | Error::InvalidSort
            | Error::TooLarge => Code::InvalidArgument,
            Error::Compacted | Error::FutureRevision | Error::TtlTooLarge => Code::OutOfRange,
            Error::NoSpace => Code::ResourceExhausted,
            Error::LeaseNotFound => Code::NotFound,
            Error::LeaseExists | Error::BadTransferee | Error::AuthNotEnabled => Code::FailedPrecondition,
            Error::Stopped => Code::Unavailable,
            Error::Unsupported => Code::Unimplemented,
        };
        Status::new(code, error.to_string())
    }
}
