//! How a watcher follows a prefix: list, watch from there on, and what to do when that breaks. A state machine
//! without I/O and without a clock: [`ask`](Follow::ask) says what to do next, [`step`](Follow::step) takes what came
//! of it and gives back the next state and what the writer must know.

use super::Relist;
use super::change::{Change, Gone, Update};
use super::keys::Put;
use crate::etcd::{Event, Header, Listing, Response};

/// Where a watcher stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Follow {
    /// Everything up to this revision is known: it was listed, or it arrived on the stream of a watch. Nothing else
    /// moves it, for what another connection says of the cluster may be ahead of a watch that is dead. 0: nothing is.
    known: i64,
    cluster: u64,
    term: u64,
    /// The watch broke and is not open again.
    lost: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No list yet, or none that can be followed.
    List(Option<Relist>),
    /// Listed; no watch.
    Open,
    /// A watch is open. `at`: the revision of its last response that came in order.
    Watch { at: i64 },
}

/// What a watcher should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// List the prefix, for this reason; none for the first time.
    List(Option<Relist>),
    /// Watch it from this revision on.
    Watch { from: i64 },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A list. It may come at any time.
    Listed(Listing<Put>),
    /// A watch was opened.
    Opened(Header),
    /// A response of the watch.
    Response(Response),
    /// It failed, or the watch ended. `compacted`: the history that it needs is gone.
    Failed { compacted: bool },
}

impl Follow {
    pub(super) fn new() -> Self {
        Follow { known: 0, cluster: 0, term: 0, lost: false, phase: Phase::List(None) }
    }

    pub(super) fn ask(&self) -> Ask {
        match self.phase {
            Phase::List(reason) => Ask::List(reason),
            // From the last known revision, not the one after it: etcd's start revision is inclusive, and the writer
            // drops what it knows already. Servers from 3.5.22 and 3.6.2 on give no sign of life to a watch that begins
            // in the future, so that one from the next revision would look dead until somebody writes something.
            Phase::Open | Phase::Watch { .. } => Ask::Watch { from: self.known },
        }
    }

    /// Whether the watch that is open may go on.
    pub(super) fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watch { .. })
    }

    pub(super) fn step(self, input: Input) -> (Follow, Option<Update>) {
        match (input, self.phase) {
            (Input::Listed(listing), _) => self.listed(listing),
            (Input::Opened(header), _) => self.opened(header),
            (Input::Response(response), Phase::Watch { at }) => self.response(response, at),
            (Input::Response(_), _) => (self, None),
            (Input::Failed { compacted }, phase) => {
                let phase = match phase {
                    Phase::List(reason) => Phase::List(reason),
                    _ if compacted => Phase::List(Some(Relist::Compacted)),
                    Phase::Open | Phase::Watch { .. } => Phase::Open,
                };
                (Follow { lost: self.known > 0, phase, ..self }, None)
            }
        }
    }

    fn listed(self, Listing { header, keys }: Listing<Put>) -> (Follow, Option<Update>) {
        let first = self.known == 0;
        let other = !first && (header.cluster != self.cluster || header.revision < self.known);
        let phase = match self.phase {
            // A list beside a sound watch does not disturb it: the watch goes on where it is, and what it still has to
            // tell of the time before the list is old news to the writer.
            Phase::Watch { at } if !other => Phase::Watch { at },
            _ => Phase::Open,
        };
        let unsettled = !first && (other || self.lost || header.term != self.term);
        let next =
            Follow { known: header.revision, cluster: header.cluster, term: header.term, phase, lost: self.lost };
        (next, Some(Update { unsettled, change: Some(Change::Reset { revision: header.revision, all: keys }) }))
    }

    fn opened(self, header: Header) -> (Follow, Option<Update>) {
        if header.cluster != self.cluster || header.revision < self.known {
            return self.other_data();
        }
        let unsettled = self.lost || header.term != self.term;
        let next = Follow { term: header.term, lost: false, phase: Phase::Watch { at: 0 }, ..self };
        (next, unsettled.then_some(Update { unsettled, change: None }))
    }

    fn response(self, response: Response, at: i64) -> (Follow, Option<Update>) {
        let Response { header, requested, events } = response;
        if header.cluster != self.cluster || (!requested && header.revision < at) {
            return self.other_data();
        }
        let unsettled = header.term != self.term;
        let mut next = Follow { term: header.term, ..self };
        if requested {
            // It may have overtaken events, so its revision says nothing.
            return (next, unsettled.then_some(Update { unsettled, change: None }));
        }
        next.phase = Phase::Watch { at: header.revision };
        // A response with events may be one of several that catch up: its header is ahead of what it brings.
        let revision = events.iter().map(Event::revision).max().unwrap_or(header.revision).max(self.known);
        next.known = revision;
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Put(kv) => set.push(kv),
                Event::Delete { key, mod_revision } => gone.push(Gone { key, revision: mod_revision }),
            }
        }
        (next, Some(Update { unsettled, change: Some(Change::Delta { revision, set, gone }) }))
    }

    /// The store is another than the one that was listed, or was put back to an earlier time, or this member lags. A
    /// list, which every member answers only when it is current, tells which.
    fn other_data(self) -> (Follow, Option<Update>) {
        (Follow { lost: true, phase: Phase::List(Some(Relist::OtherData)), ..self }, None)
    }
}

#[cfg(test)]
mod tests;
