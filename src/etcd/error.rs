//! What can go wrong with etcd, by the step that failed. No text here holds a password or a token.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Operation;
use crate::telemetry::GRPC_STATUSES;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used, as when a certificate cannot be read.
    #[error("the etcd client `{client}` cannot be set up: {cause}")]
    Setup {
        /// The client's name.
        client: Arc<str>,
        /// What is wrong.
        #[source]
        cause: Cause,
    },
    /// User name and password were not accepted, or could not be sent.
    #[error("logging in to etcd at {member} as `{user}` failed: {cause}")]
    Authenticate {
        /// The member's URL.
        member: Arc<str>,
        /// The user.
        user: String,
        /// What etcd said.
        #[source]
        cause: Cause,
    },
    /// A call failed.
    #[error("{operation} at {member} failed: {cause}")]
    Call {
        /// What was asked.
        operation: Operation,
        /// The member's URL.
        member: Arc<str>,
        /// What etcd, or the connection to it, said.
        #[source]
        cause: Cause,
    },
    /// No answer came in time.
    #[error("{operation} at {member} got no answer within {limit:?}")]
    Timeout {
        /// What was asked.
        operation: Operation,
        /// The member's URL.
        member: Arc<str>,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The history that was asked for is gone. Only a new list helps.
    #[error("{member} no longer has the history that {operation} needs; it was compacted")]
    Compacted {
        /// What was asked.
        operation: Operation,
        /// The member's URL.
        member: Arc<str>,
    },
    /// Pages of one list came from different clusters.
    #[error("the list under `{prefix}` was answered by two different clusters; do all endpoints belong to one?")]
    ClusterChanged {
        /// What was listed.
        prefix: String,
    },
    /// etcd ended the watch.
    #[error("{member} ended the watch: {reason}")]
    WatchEnded {
        /// The member's URL.
        member: Arc<str>,
        /// What etcd said.
        reason: String,
    },
}

impl Error {
    /// Whether the same may succeed later although nobody changes the configuration or the rights of the user.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Setup { .. } => false,
            Error::Authenticate { cause, .. } | Error::Call { cause, .. } => {
                cause.is_transport() || cause.is_token() || matches!(cause.status(), "ABORTED" | "RESOURCE_EXHAUSTED")
            }
            Error::Timeout { .. }
            | Error::Compacted { .. }
            | Error::ClusterChanged { .. }
            | Error::WatchEnded { .. } => true,
        }
    }

    /// Whether etcd said that there is no such lease.
    pub fn is_no_lease(&self) -> bool {
        matches!(self, Error::Call { cause, .. } if cause.text.contains("requested lease not found"))
    }

    /// Whether etcd said that the user may not do this.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Call { cause, .. } if cause.text.contains("permission denied"))
    }

    /// Whether another member may serve what this one did not.
    pub(super) fn is_members_fault(&self) -> bool {
        match self {
            Error::Authenticate { cause, .. } | Error::Call { cause, .. } => cause.is_transport(),
            Error::Timeout { .. } | Error::WatchEnded { .. } => true,
            Error::Setup { .. } | Error::Compacted { .. } | Error::ClusterChanged { .. } => false,
        }
    }

    /// Whether etcd refused the token of the connection, so that a new login helps.
    pub(super) fn is_token(&self) -> bool {
        matches!(self, Error::Call { cause, .. } if cause.is_token())
    }
}

/// What etcd, or the connection to it, said.
#[derive(Debug)]
pub struct Cause {
    status: &'static str,
    text: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl Cause {
    /// The gRPC status, as `UNAVAILABLE`; `UNKNOWN` if there was none.
    pub fn status(&self) -> &'static str {
        self.status
    }

    /// The connection failed, or the member could not serve anybody.
    fn is_transport(&self) -> bool {
        matches!(self.status, "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "CANCELLED" | "INTERNAL" | "UNKNOWN")
            && !self.is_token()
    }

    /// The three ways in which etcd refuses a token; the last is what it says to a call without one.
    fn is_token(&self) -> bool {
        self.status == "UNAUTHENTICATED"
            || ["invalid auth token", "revision of auth store is old", "user name is empty"]
                .iter()
                .any(|text| self.text.contains(text))
    }

    /// etcd no longer has the revision that was asked for.
    pub(super) fn is_compacted(&self) -> bool {
        self.status == "OUT_OF_RANGE" && self.text.contains("compacted")
    }

    /// The server knows no users.
    pub(super) fn is_auth_not_enabled(&self) -> bool {
        self.text.contains("authentication is not enabled")
    }

    /// A fault of the set-up, found before anything was sent.
    pub(super) fn setup(text: String, source: impl StdError + Send + Sync + 'static) -> Self {
        Cause { status: "UNKNOWN", text, source: Box::new(source) }
    }
}

impl From<etcd_client::Error> for Cause {
    fn from(error: etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => {
                let number = usize::try_from(i32::from(status.code())).unwrap_or(usize::MAX);
                let label = GRPC_STATUSES.get(number).copied().unwrap_or("UNKNOWN");
                // What really happened, such as "connection refused", stands at the end of the chain.
                let mut text = status.message().to_owned();
                let mut root = status.source();
                while let Some(deeper) = root.and_then(StdError::source) {
                    root = Some(deeper);
                }
                if let Some(root) = root.map(ToString::to_string).filter(|root| !text.contains(root)) {
                    text = format!("{text}: {root}");
                }
                Cause { status: label, text, source: Box::new(status) }
            }
            other => Cause { status: "UNKNOWN", text: other.to_string(), source: Box::new(other) },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: &'static str, text: &str) -> Error {
        let cause = Cause { status, text: text.to_owned(), source: "test".into() };
        Error::Call { operation: Operation::Range, member: "http://a:1".into(), cause }
    }

    #[test]
    fn each_way_to_refuse_a_token_asks_for_a_new_login_and_not_for_another_member() {
        for (status, text) in [
            ("UNAUTHENTICATED", "etcdserver: invalid auth token"),
            ("UNKNOWN", "etcdserver: invalid auth token"),
            ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old"),
            ("INVALID_ARGUMENT", "etcdserver: user name is empty"),
        ] {
            let error = call(status, text);
            assert!(error.is_token() && error.is_retryable() && !error.is_members_fault(), "{error}");
        }
    }

    #[test]
    fn what_a_member_cannot_do_another_may() {
        for (status, text) in [
            ("UNAVAILABLE", "etcdserver: no leader"),
            ("UNAVAILABLE", "etcdserver: request timed out"),
            ("UNKNOWN", "transport error"),
            ("CANCELLED", "h2 protocol error"),
        ] {
            let error = call(status, text);
            assert!(error.is_members_fault() && error.is_retryable() && !error.is_token(), "{error}");
        }
    }

    #[test]
    fn what_no_member_may_do_is_not_tried_elsewhere() {
        for (status, text) in [
            ("PERMISSION_DENIED", "etcdserver: permission denied"),
            ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password"),
        ] {
            let error = call(status, text);
            assert!(!error.is_members_fault() && !error.is_retryable() && !error.is_token(), "{error}");
        }
    }
}
