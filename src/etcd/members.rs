//! The members of a cluster: which one is used, and the connection to each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::connect::Dialer;
use super::error::Error;

/// The members that a client knows, and the one that it uses.
#[derive(Debug)]
pub(super) struct Members(Mutex<Known>);

#[derive(Debug)]
struct Known {
    list: Vec<Arc<Member>>,
    current: usize,
}

impl Members {
    /// The configured members, beginning with one chosen at random, so that not every client uses the same.
    pub(super) fn new(urls: &[String]) -> Self {
        let list: Vec<_> = urls.iter().map(|url| Arc::new(Member::new(url.as_str().into(), true))).collect();
        let current = fastrand::usize(..list.len().max(1));
        Members(Mutex::new(Known { list, current }))
    }

    /// All members, the one in use first and the others in the order in which they come next.
    pub(super) fn in_order(&self) -> Vec<Arc<Member>> {
        let known = self.lock();
        let mut list = known.list.clone();
        list.rotate_left(known.current);
        list
    }

    /// Moves on to the next member, if this one is in use.
    pub(super) fn leave(&self, member: &Arc<Member>) {
        let mut known = self.lock();
        if known.list.get(known.current).is_some_and(|current| Arc::ptr_eq(current, member)) {
            known.current = (known.current + 1) % known.list.len();
        }
    }

    /// The URLs of all members.
    pub(super) fn urls(&self) -> Vec<Arc<str>> {
        self.lock().list.iter().map(|member| member.url.clone()).collect()
    }

    /// Adds a member that was not configured.
    pub(super) fn add(&self, url: Arc<str>) {
        self.lock().list.push(Arc::new(Member::new(url, false)));
    }

    /// Forgets the members that were not configured and that `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut known = self.lock();
        let current = known.list.get(known.current).cloned();
        known.list.retain(|member| member.configured || keep(&member.url));
        let place = current.and_then(|current| known.list.iter().position(|member| Arc::ptr_eq(member, &current)));
        known.current = place.unwrap_or(0);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member and the connection to it, if there is one.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) url: Arc<str>,
    configured: bool,
    connection: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<etcd_client::Client>,
    /// When the connection is to be replaced, if it is.
    replace: Option<Instant>,
    /// Counts connections, so that only the one that failed is closed for it.
    number: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A connection as one call uses it.
pub(super) struct Connection {
    pub(super) client: etcd_client::Client,
    number: u64,
}

impl Member {
    fn new(url: Arc<str>, configured: bool) -> Self {
        Member { url, configured, connection: tokio::sync::Mutex::default() }
    }

    /// The connection, a new one if there is none. Of several callers one makes it and the others wait.
    pub(super) async fn connection(&self, dialer: &Dialer) -> Result<Connection, Error> {
        let mut state = self.connection.lock().await;
        let old = state.replace.is_some_and(|replace| replace <= Instant::now());
        let client = match &state.client {
            Some(client) if !old => client.clone(),
            _ => {
                let client = dialer.connect(&self.url, false).await?;
                state.number += 1;
                // Not all at once, where many clients were started together.
                let lifetime = dialer.config.lifetime.map(|lifetime| lifetime.mul_f64(0.9 + 0.2 * fastrand::f64()));
                state.replace = lifetime.map(|lifetime| Instant::now() + lifetime);
                state.client.insert(client).clone()
            }
        };
        Ok(Connection { client, number: state.number })
    }

    /// Has the next call make a new connection: with the name resolved anew, and a new login.
    pub(super) async fn disconnect(&self, connection: &Connection) {
        let mut state = self.connection.lock().await;
        if state.number == connection.number {
            state.client = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(urls: &[&str]) -> Members {
        Members::new(&urls.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn order(members: &Members) -> Vec<String> {
        members.in_order().iter().map(|member| member.url.to_string()).collect()
    }

    #[test]
    fn a_member_that_is_left_comes_last() {
        let members = members(&["a", "b", "c"]);
        let before = members.in_order();
        members.leave(&before[0]);
        members.leave(&before[0]); // it is no longer in use: a second caller that saw it fail changes nothing
        let urls = |list: &[Arc<Member>]| list.iter().map(|member| member.url.to_string()).collect::<Vec<_>>();
        assert_eq!(order(&members), urls(&[before[1].clone(), before[2].clone(), before[0].clone()]));
    }

    #[test]
    fn configured_members_stay_whatever_the_cluster_says() {
        let members = members(&["a"]);
        members.add("b".into());
        members.add("c".into());
        members.leave(&members.in_order()[0]);
        members.retain(|url| url == "b");
        assert_eq!(order(&members), ["b", "a"]);
        members.retain(|_| false);
        assert_eq!(order(&members), ["a"]);
    }
}
