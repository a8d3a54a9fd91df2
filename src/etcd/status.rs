//! How a cluster and its members are.

use std::sync::Arc;

use etcd_client::proto::PbStatusResponse;

use super::Operation;
use super::client::Client;
use super::error::Error;

/// A member by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Its version, such as 3.5.21.
    pub version: String,
    /// The id of the member that it takes for the leader; 0 if it knows none.
    pub leader: u64,
    /// The size of its database, in bytes, and the part of it that is in use.
    pub size: (u64, u64),
    /// Whether it takes no part in votes.
    pub learner: bool,
    /// The revision of its store.
    pub revision: i64,
    /// What is wrong with it, as it says.
    pub errors: Vec<String>,
}

impl MemberStatus {
    fn of(status: PbStatusResponse) -> Self {
        let header = status.header.unwrap_or_default();
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
        MemberStatus {
            id: header.member_id,
            version: status.version,
            leader: status.leader,
            size: (size(status.db_size), size(status.db_size_in_use)),
            learner: status.is_learner,
            revision: header.revision,
            errors: status.errors,
        }
    }
}

/// A member as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The URLs under which it says that clients reach it.
    pub urls: Vec<String>,
}

impl Client {
    /// How one member is: the one that this client uses now.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn status(&self) -> Result<MemberStatus, Error> {
        let status = self
            .call(Operation::Status, |client| {
                let mut maintenance = client.maintenance_client();
                async move { maintenance.status().await }
            })
            .await?;
        Ok(MemberStatus::of(status.0))
    }

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
            statuses.push((url, answer.map(|response| MemberStatus::of(response.0))));
        }
        statuses.sort_by(|a, b| a.0.cmp(&b.0));
        statuses
    }

    /// The alarms that are raised: the member's id, and what it is about.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn alarms(&self) -> Result<Vec<(u64, &'static str)>, Error> {
        use etcd_client::{AlarmAction, AlarmType};
        let response = self
            .call(Operation::Status, |client| {
                let mut maintenance = client.maintenance_client();
                async move { maintenance.alarm(AlarmAction::Get, AlarmType::None, None).await }
            })
            .await?;
        let what = |number| match number {
            1 => "NOSPACE: its database is full, and nothing can be written",
            2 => "CORRUPT: its data differs from that of other members",
            _ => "an alarm of an unknown kind",
        };
        Ok(response.0.alarms.iter().map(|alarm| (alarm.member_id, what(alarm.alarm))).collect())
    }

    /// The members of the cluster.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn member_list(&self) -> Result<Vec<Member>, Error> {
        let response = self
            .call(Operation::MemberList, |client| {
                let mut cluster = client.cluster_client();
                async move { cluster.member_list().await }
            })
            .await?;
        let members = response.0.members.into_iter();
        Ok(members.map(|member| Member { id: member.id, name: member.name, urls: member.client_ur_ls }).collect())
    }
}
