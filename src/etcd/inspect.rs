//! Looking at a cluster without changing it: its members.

use std::sync::Arc;

use super::Operation;
use super::client::Client;
use super::error::Error;

/// A member that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// The version of its server.
    pub version: String,
    /// The revision that it stands at.
    pub revision: i64,
    /// Whether it leads the cluster.
    pub is_leader: bool,
    /// Whether it is a learner, which serves no reads.
    pub is_learner: bool,
    /// Whether the cluster has a leader.
    pub has_leader: bool,
    /// Bytes of its database on the disk.
    pub size: u64,
    /// What it says is wrong with it, such as that its space is used up.
    pub errors: Vec<String>,
}

impl Client {
    /// Asks each member that is in use how it is, one after the other. Cancel-safe.
    pub async fn statuses(&self) -> Vec<(Arc<str>, Result<MemberStatus, Error>)> {
        let mut statuses = Vec::new();
        for member in self.inner.members.in_order() {
            let call = |client: etcd_client::Client| {
                let mut maintenance = client.maintenance_client();
                async move { maintenance.status().await }
            };
            let url = member.url.clone();
            let answer = self.call_at(member, Operation::Status, &call).await;
            statuses.push((url, answer.map(|response| status(response.0))));
        }
        statuses.sort_by(|a, b| a.0.cmp(&b.0));
        statuses
    }
}

fn status(response: etcd_client::proto::PbStatusResponse) -> MemberStatus {
    let header = response.header.unwrap_or_default();
    MemberStatus {
        version: response.version,
        revision: header.revision,
        is_leader: response.leader != 0 && response.leader == header.member_id,
        is_learner: response.is_learner,
        has_leader: response.leader != 0,
        size: u64::try_from(response.db_size).unwrap_or(0),
        errors: response.errors,
    }
}
