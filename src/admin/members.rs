//! How the members of etcd are. They are asked only while somebody looks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::view::Level;
use super::view::overview::Member;
use crate::etcd::{Client, Error, MemberStatus};

/// How often they are asked.
const EVERY: Duration = Duration::from_secs(5);

/// What is known of the members.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    members: Vec<Member>,
    /// When somebody looked last, and when they were asked last.
    looked: Option<Instant>,
    asked: Option<Instant>,
}

impl Members {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of them; that somebody looks has them asked.
    pub(super) fn known(&self) -> Vec<Member> {
        let mut known = self.lock();
        known.looked = Some(Instant::now());
        known.members.clone()
    }

    /// Asks them, if somebody looks and it is time to.
    pub(super) async fn look(&self, clients: &[Client]) {
        {
            let mut known = self.lock();
            let now = Instant::now();
            let is_looked_at = known.looked.is_some_and(|looked| now < looked + EVERY);
            let is_due = known.asked.is_none_or(|asked| now >= asked + EVERY);
            if !is_looked_at || !is_due {
                return;
            }
            known.asked = Some(now);
        }
        let mut members = Vec::new();
        for client in clients {
            let statuses = client.statuses().await;
            members.extend(statuses.into_iter().map(|(url, answer)| member(client.name(), &url, answer)));
        }
        self.lock().members = members;
    }
}

fn member(client: &str, url: &str, answer: Result<MemberStatus, Error>) -> Member {
    let (client, url) = (client.to_owned(), url.to_owned());
    match answer {
        Err(error) => Member {
            client,
            url,
            level: Level::Bad,
            state: error.to_string(),
            version: String::new(),
            revision: 0,
            size: 0,
        },
        Ok(status) => {
            let (level, state) = match &status {
                status if !status.errors.is_empty() => (Level::Bad, status.errors.join(", ")),
                status if status.leader == 0 => (Level::Bad, "has no leader".to_owned()),
                status if status.learner => (Level::Good, "learner".to_owned()),
                status if status.leader == status.id => (Level::Good, "leader".to_owned()),
                _ => (Level::Good, "follower".to_owned()),
            };
            Member {
                client,
                url,
                level,
                state,
                version: status.version,
                revision: status.revision,
                size: status.size.0,
            }
        }
    }
}
