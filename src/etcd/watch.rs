//! A watch on a range of keys, on a connection of its own.

use std::sync::Arc;

use etcd_client::proto::PbWatchResponse;
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponseStream};
use tokio::time::timeout;

use super::client::Client;
use super::error::{Cause, Error};
use super::members::Member;
use super::{Event, Header, Operation, Response};

/// The id under which etcd answers requests for progress: they are for all watches of a stream.
const ALL_WATCHES: i64 = -1;

/// A watch that a member has confirmed. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    member: Arc<Member>,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    opened: Header,
    /// The first parts of a response that comes in fragments.
    parts: Vec<Event>,
}

impl Watch {
    pub(super) async fn open(
        client: Client,
        member: Arc<Member>,
        (first, end): (&[u8], &[u8]),
        revision: i64,
    ) -> Result<Watch, Error> {
        let dialer = &client.inner.dialer;
        let connection = dialer.connect(&member.url, true).await?;
        let mut watches = connection.watch_client().max_decoding_message_size(dialer.config.max_decoding);
        let options =
            WatchOptions::new().with_range(end).with_start_revision(revision).with_progress_notify().with_fragment();
        let opening = async {
            let (requests, mut responses) = watches.watch(first, Some(options)).await?.split();
            let first = responses.message().await?;
            Ok((requests, responses, first))
        };
        let (requests, responses, first) = dialer.call(Operation::Watch, &member.url, opening).await?;
        let mut watch =
            Watch { client: client.clone(), member, requests, responses, opened: Header::default(), parts: Vec::new() };
        let first = watch.check(first.map(|response| response.0))?;
        watch.opened = first.header.unwrap_or_default().into();
        Ok(watch)
    }

    /// What the member said when it confirmed the watch. Its revision is the store's.
    pub fn opened(&self) -> Header {
        self.opened
    }

    /// The URL of the member.
    pub fn member(&self) -> &str {
        &self.member.url
    }

    /// The next response, whole: what etcd sent in fragments is joined. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Any ends the watch. [`Error::Compacted`] means that there may be a gap which only a new list can close.
    pub async fn next(&mut self) -> Result<Response, Error> {
        loop {
            let message = self.responses.message().await;
            let message = message.map_err(|error| self.failed(error.into()))?;
            let response = self.check(message.map(|response| response.0))?;
            self.parts.extend(response.events.into_iter().filter_map(event));
            if !response.fragment {
                return Ok(Response {
                    header: response.header.unwrap_or_default().into(),
                    requested: response.watch_id == ALL_WATCHES,
                    events: std::mem::take(&mut self.parts),
                });
            }
        }
    }

    /// Asks for a sign of life; it comes out of [`next`](Watch::next). Soon after a watch was opened, servers from
    /// 3.5.8 to 3.5.12 and from 3.4.25 to 3.4.30 put off the answer until there is an event.
    ///
    /// # Errors
    ///
    /// If the watch has ended, or etcd has not taken what was asked before.
    pub async fn request_progress(&mut self) -> Result<(), Error> {
        let limit = self.client.config().call_timeout;
        match timeout(limit, self.requests.request_progress()).await {
            Ok(result) => result.map_err(|error| self.failed(error.into())),
            Err(_) => Err(Error::Timeout { operation: Operation::Watch, member: self.member.url.clone(), limit }),
        }
    }

    /// Ends a watch that went silent: the client goes on with another member.
    pub fn leave(self) {
        self.client.inner.members.leave(&self.member);
    }

    fn check(&self, response: Option<PbWatchResponse>) -> Result<PbWatchResponse, Error> {
        let member = self.member.url.clone();
        match response {
            None => {
                self.client.inner.members.leave(&self.member);
                Err(Error::WatchEnded { member, reason: "the connection was closed".to_owned() })
            }
            Some(response) if response.compact_revision != 0 => {
                Err(Error::Compacted { operation: Operation::Watch, member })
            }
            Some(response) if response.canceled => Err(Error::WatchEnded { member, reason: response.cancel_reason }),
            Some(response) => Ok(response),
        }
    }

    fn failed(&self, cause: Cause) -> Error {
        let error = Error::Call { operation: Operation::Watch, member: self.member.url.clone(), cause };
        if error.is_members_fault() {
            self.client.inner.members.leave(&self.member);
        }
        error
    }
}

/// Translates an event. One of a kind that we don't know is passed over; the next list will tell.
fn event(event: etcd_client::proto::PbEvent) -> Option<Event> {
    let kv = event.kv?;
    match event.r#type {
        0 => Some(Event::Put(kv.into())),
        1 => Some(Event::Delete { key: kv.key, mod_revision: kv.mod_revision }),
        _ => None,
    }
}
