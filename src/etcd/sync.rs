//! Finding members that are not configured. A member advertises its address as it sees itself, which may be out of
//! reach from here or lead to somebody else; so it is used only after it has answered there, and what is configured is
//! never given up for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::client::{Client, Inner};
use super::connect::Dialer;
use super::error::Error;
use super::{Header, Operation};

/// Asks for the members again and again, until the client is gone.
pub(super) async fn run(inner: Weak<Inner>, every: Duration) {
    loop {
        if let Some(inner) = inner.upgrade() {
            let client = Client::of(inner);
            if let Err(error) = client.sync().await {
                tracing::debug!(client = %client.name(), %error, "the members of the cluster could not be asked for");
            }
        }
        tokio::time::sleep(every.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        if inner.strong_count() == 0 {
            return;
        }
    }
}

impl Client {
    /// Asks the cluster for its members, adds those that answer under an address they advertise, and forgets those
    /// added earlier that have left. Learners don't count: they serve no reads. Runs by itself if `auto_sync` is on.
    ///
    /// # Errors
    ///
    /// As any call. Members that do not answer are none.
    pub async fn sync(&self) -> Result<(), Error> {
        let response = self
            .call(Operation::MemberList, |client| {
                let mut cluster = client.cluster_client();
                async move { cluster.member_list().await }
            })
            .await?
            .0;
        let cluster = Header::from(response.header.unwrap_or_default()).cluster;
        let advertised: Vec<String> =
            response.members.into_iter().filter(|member| !member.is_learner).flat_map(|m| m.client_ur_ls).collect();
        let Inner { dialer, members, .. } = &*self.inner;
        members.retain(|url| advertised.iter().any(|advertised| advertised == url));
        let known = members.urls();
        for url in advertised {
            let url: Arc<str> = url.into();
            if known.contains(&url) {
                continue;
            }
            match cluster_at(dialer, &url).await {
                Ok(found) if found == cluster => members.add(url),
                Ok(_) => tracing::debug!(client = %self.name(), %url, "an advertised address leads to another cluster"),
                Err(error) => tracing::debug!(client = %self.name(), %error, "an advertised address does not answer"),
            }
        }
        Ok(())
    }

    /// The URLs of the members in use: the configured ones, then those found.
    pub fn members(&self) -> Vec<Arc<str>> {
        self.inner.members.urls()
    }
}

/// The id of the cluster whose member answers there.
async fn cluster_at(dialer: &Dialer, url: &Arc<str>) -> Result<u64, Error> {
    let connection = dialer.connect(url, false).await?;
    let mut cluster = connection.cluster_client();
    let response = dialer.call(Operation::MemberList, url, cluster.member_list()).await?;
    Ok(response.0.header.unwrap_or_default().cluster_id)
}
