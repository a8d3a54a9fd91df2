//! What can go wrong for a program that uses this crate as a library: one closed enum, each variant with whether trying
//! again can help.

use std::time::Duration;

use crate::{config, etcd};

/// Why an operation of the library failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are wrong. Trying again does not help; every mistake is named.
    #[error(transparent)]
    Config(#[from] config::Errors),
    /// etcd could not be reached, or refused. Whether trying again can help depends on what it said.
    #[error(transparent)]
    Etcd(#[from] etcd::Error),
    /// An argument cannot be used. Trying again does not help.
    #[error("{what} cannot be used: {reason}")]
    Invalid {
        /// Which argument.
        what: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// A lease, lock or office is no longer ours. Trying again does not help; take it anew.
    #[error("{what} is lost: {loss}")]
    Lost {
        /// What was held.
        what: String,
        /// How it was lost.
        loss: Loss,
    },
    /// What was asked for is not there. Trying again helps once somebody has made it.
    #[error("{0}")]
    Missing(String),
    /// The manager was closed, or the runtime in which the work was done has ended. Trying again does not help.
    #[error("{0} has ended: its manager was closed, or the runtime that it ran on is gone")]
    Ended(&'static str),
}

impl Error {
    /// Whether the same may succeed later although nobody changes the program, its settings or its rights.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Etcd(error) => error.is_retryable(),
            Error::Missing(_) => true,
            Error::Config(_) | Error::Invalid { .. } | Error::Lost { .. } | Error::Ended(_) => false,
        }
    }

    pub(crate) fn invalid(what: &'static str, reason: impl Into<String>) -> Self {
        Error::Invalid { what, reason: reason.into() }
    }
}

/// How something that hung on a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The cluster said that the lease has ended: it was revoked, or was not renewed in time.
    #[error("its lease has ended; it was revoked, or could not be renewed in time")]
    LeaseEnded,
    /// The lease was not renewed for so long that the cluster may have ended it: etcd was away, or this process or its
    /// machine stood still.
    #[error("its lease could not be renewed within {0:?}; etcd was out of reach, or this process stood still")]
    Expired(Duration),
    /// The key is gone: somebody deleted it, or ended its lease.
    #[error("its key is gone; somebody deleted it or ended its lease")]
    KeyGone,
    /// It was given back.
    #[error("it was given back")]
    Released,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_says_whether_trying_again_can_help() {
        let lost = Error::Lost { what: "the lock `a`".to_owned(), loss: Loss::KeyGone };
        assert_eq!(lost.to_string(), "the lock `a` is lost: its key is gone; somebody deleted it or ended its lease");
        let away = etcd::Error::WatchEnded { member: "http://a:1".into(), reason: "test".to_owned() };
        let wrong = config::parse("a: 1", |_| ()).unwrap_err();
        for (error, retryable) in [
            (lost, false),
            (Error::Etcd(away), true),
            (Error::Config(wrong), false),
            (Error::invalid("the name", "it is empty"), false),
            (Error::Missing("nobody leads".to_owned()), true),
            (Error::Ended("the registration"), false),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
        }
    }
}
